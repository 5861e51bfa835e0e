//! Options are documented and tested by their names, and documents name no option that is not.
//! That `docs/options.md` is what the option table generates is checked beside the table.

use std::collections::BTreeSet;

use crate::report::Finding;
use crate::tree::Source;

const PAGE: &str = "docs/options.md";

/// Options of other programs that our documents show.
const FOREIGN: [&str; 13] = [
    "fuzz-dir",
    "release",
    "test",
    "bin",
    "example",
    "package",
    "cfg",
    "all-targets",
    "url",
    "kill-whom",
    "signal",
    "stop-timeout",
    "unix-socket",
];

/// Options of the verbs of the program, which the table of server options does not list.
const VERBS: [&str; 6] = ["binary", "fast", "json", "instance", "help", "version"];

const GENERATE: &str = "generate it from the option table; src/config says how";
const TEST_IT: &str = "write a test under src/config or tests/ that sets it by one of its names and \
                       looks at what follows";
const NO_SUCH: &str = "correct the name; options that do not exist yet are not documented";

/// Missing page, options that no test names, and options in documents that do not exist.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(page) = sources.iter().find(|source| source.path == PAGE) else {
        return vec![Finding::new(PAGE, 0, "is missing", GENERATE)];
    };
    let rows: Vec<(usize, &str)> = page
        .lines()
        .filter(|(_, line)| line.starts_with("| `--"))
        .collect();
    if rows.is_empty() {
        return vec![Finding::new(PAGE, 0, "documents no option", GENERATE)];
    }
    let mut findings = untested(&rows, sources);
    let documented: BTreeSet<&str> = rows.iter().flat_map(|(_, row)| named(row)).collect();
    let is_page = |source: &&Source| source.has_extension("md") && source.path != PAGE;
    for source in sources.iter().filter(is_page) {
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

/// The rows none of whose names stands in a test.
fn untested(rows: &[(usize, &str)], sources: &[Source]) -> Vec<Finding> {
    let is_test = |source: &&Source| {
        let path = source.path.as_str();
        (path.starts_with("tests/") && !path.starts_with("tests/tidy/"))
            || (path.starts_with("src/config/") && path.contains("tests"))
    };
    let tests: Vec<&Source> = sources.iter().filter(is_test).collect();
    let in_tests: BTreeSet<&str> = tests
        .iter()
        .flat_map(|source| named(&source.text))
        .collect();
    let is_tested = |row: &str| {
        let names = row.split('|').nth(1).unwrap_or_default();
        let mut letters = names
            .split('`')
            .filter(|name| name.len() == 2 && name.starts_with('-'));
        named(names).any(|name| in_tests.contains(name))
            || letters.any(|letter| {
                tests
                    .iter()
                    .any(|t| t.text.contains(&format!("\"{letter}\"")))
            })
    };
    let untested = rows.iter().filter(|(_, row)| !is_tested(row));
    untested
        .map(|(line, row)| {
            let name = named(row).next().unwrap_or_default();
            Finding::new(PAGE, *line, format!("no test sets --{name}"), TEST_IT)
        })
        .collect()
}

/// The names behind `--` in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.match_indices("--").filter_map(move |(at, _)| {
        let starts = !text[..at].ends_with(|c: char| is_inside(c) || c.is_alphanumeric());
        let rest = &text[at + 2..];
        let bytes = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
        let name = &rest[..bytes];
        // An arrow of a picture, `--fork-->`, is none.
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
        (starts && is_name).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    fn page() -> Source {
        Source::sample(
            PAGE,
            "# Options\n\n| `--processes N`, `-p` | `1` | workers |\n",
        )
    }

    fn tests_with(text: &str) -> Source {
        Source::sample("tests/it/start.rs", text)
    }

    #[test]
    fn a_missing_page_and_untested_options_are_found() {
        expect_one(&check(&[]), 0);
        expect_one(&check(&[page()]), 3);
        expect_one(&check(&[page(), tests_with("--processes-max")]), 3);
        expect_none(&check(&[
            page(),
            tests_with("args([\"--processes\", \"2\"])"),
        ]));
        expect_none(&check(&[page(), tests_with("args([\"-p\", \"2\"])")]));
    }

    #[test]
    fn options_that_do_not_exist_are_found() {
        let readme = Source::sample("README.md", "# R\n\n    master --processes 2 --emperor x\n");
        expect_one(&check(&[page(), tests_with("--processes"), readme]), 3);
        let picture = Source::sample("README.md", "# R\n\n    master --fork--> worker\n");
        expect_none(&check(&[page(), tests_with("--processes"), picture]));
    }
}
