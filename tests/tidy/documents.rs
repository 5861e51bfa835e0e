//! Documents can be followed: each Rust file says its purpose, each page has one title, and each
//! link leads somewhere.

use crate::report::Finding;
use crate::tree::Source;

const SAY_PURPOSE: &str = "open it with `//!`: what it is for, and what it must not know";
const ONE_TITLE: &str = "start the page with its one `# Title`; sections below it take `##`";
const RESOLVE: &str = "correct the path or the #heading, relative to the page the link stands in";

/// Rust files that do not open with a module doc.
pub(crate) fn check_module_docs(sources: &[Source]) -> Vec<Finding> {
    let says = |text: &str| {
        text.strip_prefix("//! ")
            .is_some_and(|first| first.contains(' '))
    };
    sources
        .iter()
        .filter(|source| source.is_rust() && !says(&source.text))
        .map(|source| Finding::new(&source.path, 1, "does not say what it is for", SAY_PURPOSE))
        .collect()
}

/// Pages without exactly one title as their first line.
pub(crate) fn check_titles(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in sources.iter().filter(|source| source.has_extension("md")) {
        let titles: Vec<usize> = headings(page)
            .filter(|h| h.level == 1)
            .map(|h| h.line)
            .collect();
        if titles.first() != Some(&1) {
            findings.push(Finding::new(
                &page.path,
                1,
                "does not start with its title",
                ONE_TITLE,
            ));
        }
        for line in titles.into_iter().skip(1) {
            findings.push(Finding::new(&page.path, line, "a second title", ONE_TITLE));
        }
    }
    findings
}

/// Links into the tree that lead nowhere.
pub(crate) fn check_links(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in sources.iter().filter(|source| source.has_extension("md")) {
        for (line, text) in prose(page) {
            for target in text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                if !target.contains("://") && !resolves(target, page, sources) {
                    let problem = format!("the link to `{target}` leads nowhere");
                    findings.push(Finding::new(&page.path, line, problem, RESOLVE));
                }
            }
        }
    }
    findings
}

fn resolves(target: &str, page: &Source, sources: &[Source]) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        page.path.clone()
    } else {
        join(&page.path, path)
    };
    let Some(file) = sources.iter().find(|source| source.path == path) else {
        let folder = format!("{}/", path.trim_end_matches('/'));
        return anchor.is_empty()
            && sources
                .iter()
                .any(|source| source.path.starts_with(&folder));
    };
    anchor.is_empty() || headings(file).any(|heading| slug(heading.text) == anchor)
}

/// The path of a link, seen from the folder of its page.
fn join(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

struct Heading<'s> {
    line: usize,
    level: usize,
    text: &'s str,
}

fn headings(page: &Source) -> impl Iterator<Item = Heading<'_>> {
    prose(page).filter_map(|(line, text)| {
        let title = text.trim_start_matches('#');
        let level = text.len() - title.len();
        (level > 0 && title.starts_with(' ')).then(|| Heading {
            line,
            level,
            text: title.trim(),
        })
    })
}

/// The lines outside fenced and indented code.
fn prose(page: &Source) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    page.lines().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence && !line.starts_with("    ")
    })
}

/// The anchor that renderers give to a heading.
fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    #[test]
    fn a_file_without_purpose_is_found() {
        let checked = |text| check_module_docs(&[Source::sample("src/a.rs", text)]);
        expect_one(&checked("use std::io;\n"), 1);
        expect_one(&checked("//!\n"), 1);
        expect_none(&checked("//! Sends what waits.\n"));
    }

    #[test]
    fn titles_are_counted_outside_code() {
        let checked = |text| check_titles(&[Source::sample("docs/a.md", text)]);
        expect_one(&checked("Text.\n\n## Section\n"), 1);
        expect_one(&checked("# One\n\n# Two\n"), 3);
        expect_none(&checked(
            "# One\n\n```\n# a comment\n```\n\n    # another\n",
        ));
    }

    #[test]
    fn dead_links_are_found() {
        let other = || Source::sample("docs/other.md", "# Other\n\n## What `it` is, now\n");
        let checked = |text: &str| check_links(&[Source::sample("docs/a.md", text), other()]);
        expect_one(&checked("# A\n\nSee [it](missing.md).\n"), 3);
        expect_one(&checked("# A\n[it](other.md#nothing)\n"), 2);
        expect_one(&checked("# A\n[it](#nothing)\n"), 2);
        expect_none(&checked(
            "# A\n[a](other.md#what-it-is-now) [b](../docs) [c](#a)\n",
        ));
        expect_none(&checked(
            "# A\n[rfc](https://www.rfc-editor.org/) `x`\n```\n[x](y)\n```\n",
        ));
    }
}
