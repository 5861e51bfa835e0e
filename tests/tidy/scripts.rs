//! Scripts are short, stop at the first error, can be run, and leave no test out.

use crate::report::Finding;
use crate::tree::Source;

const SCRIPT_LINES_MAX: usize = 59;
const STRICT: &str = "set -euo pipefail";

const SHORTEN: &str = "move a step into a small script of its own";
const START: &str = "start with #!/usr/bin/env bash, a comment that says what for, then \
                     set -euo pipefail as the first command";
const MAKE_EXECUTABLE: &str = "chmod +x it";
const RUN_IT: &str = "add a step for it to scripts/test";

fn is_script(source: &Source) -> bool {
    source.path.starts_with("scripts/") || source.path.starts_with(".ci/")
}

/// Every script that is long, lenient or cannot be run.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| is_script(source)) {
        let lines = source.lines().count();
        if lines > SCRIPT_LINES_MAX {
            let problem = format!("{lines} lines, at most {SCRIPT_LINES_MAX}");
            findings.push(Finding::new(&source.path, 0, problem, SHORTEN));
        }
        let is_code = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        let is_strict = source.text.lines().find(is_code) == Some(STRICT);
        let is_bash = ["#!/usr/bin/env bash\n# ", "#!/bin/bash\n# "]
            .iter()
            .any(|start| source.text.starts_with(start));
        if !is_strict || !is_bash {
            let problem = "not in the form that every script here has";
            findings.push(Finding::new(&source.path, 1, problem, START));
        }
        if !source.executable {
            findings.push(Finding::new(
                &source.path,
                0,
                "cannot be run",
                MAKE_EXECUTABLE,
            ));
        }
    }
    findings
}

/// Every `tests/NAME/main.rs` that no script runs as `--test NAME`.
pub(crate) fn check_runs_every_test_folder(sources: &[Source]) -> Vec<Finding> {
    let scripts: Vec<&Source> = sources.iter().filter(|source| is_script(source)).collect();
    let is_run = |name: &str| {
        let wanted = format!("--test {name}");
        let follows = |rest: &str| rest.starts_with(|c: char| c.is_whitespace() || c == '"');
        scripts.iter().any(|script| {
            script
                .text
                .split(&wanted)
                .skip(1)
                .any(|rest| rest.is_empty() || follows(rest))
        })
    };
    let name_of = |source: &Source| -> Option<String> {
        let inside = source
            .path
            .strip_prefix("tests/")?
            .strip_suffix("/main.rs")?;
        (!inside.contains('/')).then(|| inside.to_owned())
    };
    sources
        .iter()
        .filter(|source| name_of(source).is_some_and(|name| !is_run(&name)))
        .map(|source| Finding::new(&source.path, 0, "no script runs these tests", RUN_IT))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    const GOOD: &str =
        "#!/usr/bin/env bash\n# Says what for.\nset -euo pipefail\ncargo --test it\n";

    #[test]
    fn long_lenient_and_dead_scripts_are_found() {
        let long = format!("{GOOD}{}", "true\n".repeat(SCRIPT_LINES_MAX));
        expect_one(&check(&[Source::sample("scripts/soak", &long)]), 0);
        expect_one(
            &check(&[Source::sample("scripts/soak", &GOOD.replace("euo", "eu"))]),
            1,
        );
        expect_one(
            &check(&[Source::sample(".ci/run", "set -euo pipefail\n")]),
            1,
        );
        let mut dead = Source::sample("scripts/soak", GOOD);
        dead.executable = false;
        expect_one(&check(&[dead]), 0);
        expect_none(&check(&[Source::sample("scripts/soak", GOOD)]));
    }

    #[test]
    fn a_folder_of_tests_that_nobody_runs_is_found() {
        let script = Source::sample("scripts/test", GOOD);
        let run = Source::sample("tests/it/main.rs", "");
        let forgotten = Source::sample("tests/items/main.rs", "");
        expect_one(&check_runs_every_test_folder(&[script, run, forgotten]), 0);
    }
}
