//! Files and functions that fit in the head.

use crate::report::Finding;
use crate::rust::{block_end, code_only, line_of, words};
use crate::tree::Source;

const FILE_LINES_MAX: usize = 500;
const MEDIAN_LINES_MAX: usize = 200;
/// Lines of code in the body; blank lines and comments do not count, so that explaining costs
/// nothing. Clippy counts the same in what it compiles; this sees code behind `cfg` too.
const FUNCTION_LINES_MAX: usize = 70;

const SPLIT_FILE: &str =
    "split it by what its parts know; large unit tests go to a `tests.rs` below it";
const SPLIT_FUNCTION: &str = "give a part of it a name and a function of its own";
const SPLIT_MANY: &str = "split the largest files: half of all files shall be short";

/// Files above the cap.
pub(crate) fn check_files(sources: &[Source]) -> Vec<Finding> {
    let lines = sources
        .iter()
        .filter(|source| source.is_rust())
        .map(|s| (s, s.lines().count()));
    lines
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(source, lines)| {
            let problem = format!("{lines} lines, at most {FILE_LINES_MAX} are allowed");
            Finding::new(&source.path, 0, problem, SPLIT_FILE)
        })
        .collect()
}

/// The median of all files.
pub(crate) fn check_median(sources: &[Source]) -> Vec<Finding> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let mut lines: Vec<usize> = rust.map(|source| source.lines().count()).collect();
    lines.sort_unstable();
    let median = lines.get(lines.len() / 2).copied().unwrap_or(0);
    if median <= MEDIAN_LINES_MAX {
        return Vec::new();
    }
    let problem = format!("the median file has {median} lines, at most {MEDIAN_LINES_MAX}");
    vec![Finding::new("src", 0, problem, SPLIT_MANY)]
}

/// Functions above the cap.
pub(crate) fn check_functions(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let code = code_only(&source.text);
        let names: Vec<_> = words(&code).collect();
        for pair in names.windows(2).filter(|pair| pair[0].text == "fn") {
            let Some(open) = body_start(&code, pair[1].at) else {
                continue;
            };
            let body = code
                .get(open + 1..block_end(&code, open) - 1)
                .unwrap_or_default();
            let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
            if lines > FUNCTION_LINES_MAX {
                let problem = format!(
                    "`{}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                    pair[1].text
                );
                let line = line_of(&code, pair[0].at);
                findings.push(Finding::new(&source.path, line, problem, SPLIT_FUNCTION));
            }
        }
    }
    findings
}

/// Where the body of the function named at `at` opens; none for a declaration or a pointer type.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' if depth == 0 => return None,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(at + offset),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    fn function(lines: usize) -> Source {
        let body = "    step();\n".repeat(lines);
        Source::sample(
            "src/sample.rs",
            &format!("\nfn long(a: [u8; 4]) {{\n{body}}}\n"),
        )
    }

    #[test]
    fn a_long_function_is_found() {
        expect_one(&check_functions(&[function(FUNCTION_LINES_MAX + 1)]), 2);
        expect_none(&check_functions(&[function(FUNCTION_LINES_MAX)]));
    }

    #[test]
    fn comments_and_declarations_do_not_count() {
        let talk = "    // why\n\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("fn short() {{\n{talk}}}\ntrait T {{ fn none(&self); }}\n{talk}");
        expect_none(&check_functions(&[Source::sample("src/sample.rs", &text)]));
    }

    #[test]
    fn a_long_file_is_found() {
        let file = |lines| Source::sample("src/sample.rs", &"\n".repeat(lines));
        expect_one(&check_files(&[file(FILE_LINES_MAX + 1)]), 0);
        expect_none(&check_files(&[file(FILE_LINES_MAX)]));
    }

    #[test]
    fn many_long_files_are_found() {
        let files = |long: usize| -> Vec<Source> {
            let lines = |index| {
                if index < long {
                    MEDIAN_LINES_MAX + 1
                } else {
                    10
                }
            };
            (0..5)
                .map(|index| Source::sample("src/s.rs", &"\n".repeat(lines(index))))
                .collect()
        };
        expect_one(&check_median(&files(3)), 0);
        expect_none(&check_median(&files(2)));
    }
}
