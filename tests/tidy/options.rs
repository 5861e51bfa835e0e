//! Options are documented and tested by their names, and documents name no option that is not.
//! That `docs/options.md` is what the option table generates is checked beside the table.

use std::collections::BTreeSet;

use crate::report::Finding;
use crate::tree::Source;

const PAGE: &str = "docs/options.md";

/// Options of other programs that our documents show.
const FOREIGN: [&str; 8] = [
    "release",
    "test",
    "workspace",
    "lib",
    "cfg",
    "check",
    "all-targets",
    "all",
];

/// Options of the verbs of the program, which the page of server options does not list.
const VERBS: [&str; 5] = ["binary", "json", "instance", "help", "version"];

const GENERATE: &str = "generate it from the option table; src/config says how";
const TEST_IT: &str = "write a test under src/config or tests/ that sets it by its name";
const NO_SUCH: &str = "correct the name; options that do not exist yet are not documented";

/// Missing page, options that no test names, and options in documents that do not exist.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return vec![Finding::new(PAGE, 0, "is missing", GENERATE)];
    };
    let documented: BTreeSet<&str> = page
        .lines()
        .filter(|(_, line)| line.starts_with("| `--"))
        .filter_map(|(_, line)| named(line).next())
        .collect();
    let mut findings = Vec::new();
    if documented.is_empty() {
        findings.push(Finding::new(PAGE, 0, "documents no option", GENERATE));
    }
    let tested: BTreeSet<&str> = sources
        .iter()
        .filter(|source| {
            source.path.starts_with("tests/") || source.path.starts_with("src/config/")
        })
        .filter(|source| !source.path.starts_with("tests/tidy/"))
        .flat_map(|source| named(&source.text))
        .collect();
    for option in documented.difference(&tested) {
        findings.push(Finding::new(
            PAGE,
            0,
            format!("no test sets --{option}"),
            TEST_IT,
        ));
    }
    for source in sources
        .iter()
        .filter(|source| source.has_extension("md") && source.path != PAGE)
    {
        for (line, text) in source.lines() {
            let known = |name: &&str| {
                documented.contains(name) || FOREIGN.contains(name) || VERBS.contains(name)
            };
            for name in named(text).filter(|name| !known(name)) {
                let problem = format!("names --{name}, which is no option");
                findings.push(Finding::new(&source.path, line, problem, NO_SUCH));
            }
        }
    }
    findings
}

/// The names behind `--` in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.match_indices("--").filter_map(move |(at, _)| {
        let starts = !text[..at].ends_with(|c: char| is_inside(c) || c.is_alphanumeric());
        let rest = &text[at + 2..];
        let bytes = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
        let name = &rest[..bytes];
        (starts && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    fn page() -> Source {
        Source::sample(
            PAGE,
            "# Options\n\n| `--processes N`, `-p` | `1` | workers |\n| `x` | `--y` |\n",
        )
    }

    #[test]
    fn missing_and_untested_options_are_found() {
        expect_one(&check(&[]), 0);
        expect_one(&check(&[page()]), 0);
        let test = Source::sample("tests/it/start.rs", "args([\"--processes\", \"2\"])");
        expect_none(&check(&[page(), test]));
    }

    #[test]
    fn options_that_do_not_exist_are_found() {
        let test = Source::sample("tests/it/start.rs", "--processes");
        let readme = Source::sample("README.md", "# R\n\n    master --processes 2 --emperor x\n");
        expect_one(&check(&[page(), test, readme]), 3);
    }
}
