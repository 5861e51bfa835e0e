//! What work in progress leaves behind and must not land.

use crate::report::Finding;
use crate::rust::code_only;
use crate::tree::Source;

/// Split, so that this file does not hold what it looks for.
const TO_DO: &str = concat!("TO", "DO");
const MARKERS: [&str; 3] = [
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Code that must not land, and what to write in its place.
const BANNED_CODE: [(&str, &str); 4] = [
    (
        "dbg!",
        "remove it; what is worth knowing in production is a log line",
    ),
    (
        "#[ignore",
        "repair the test or remove it; an ignored test only looks like one",
    ),
    (
        "#[allow(",
        "write #[expect(.., reason = \"..\")], so that it dies with its cause",
    ),
    (
        "#![allow(",
        "write #![expect(.., reason = \"..\")], so that it dies with its cause",
    ),
];

const MARKED: &str = "do it now, or say in plain words what is missing and why that is right today";
const GIVE_REASON: &str = "write it as TO-DO in parentheses: MARKER(what it waits for): what to do";
const COMMENTED_OUT: &str = "remove it; the history keeps it";
const NUMBERED: &str = "write the reason itself; numbers of a tracker mean nothing to a reader";

/// Everything that was left behind.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let is_prose =
        |source: &&Source| !source.path.contains("lock") && !source.path.starts_with("LICENSE");
    let mut findings: Vec<Finding> = sources
        .iter()
        .filter(is_prose)
        .flat_map(check_markers)
        .collect();
    findings.extend(
        sources
            .iter()
            .filter(|source| source.is_rust())
            .flat_map(check_code),
    );
    findings
}

fn check_markers(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line, problem: String, remedy| {
        findings.push(Finding::new(&source.path, line, problem, remedy));
    };
    for (number, line) in source.lines() {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).collect();
        for marker in MARKERS.into_iter().filter(|marker| words.contains(marker)) {
            find(number, format!("a left-over {marker}"), MARKED);
        }
        let has_reason = line.contains(&format!("{TO_DO}("));
        if words.contains(&TO_DO) && !has_reason {
            find(number, format!("a {TO_DO} without a reason"), GIVE_REASON);
        }
        let counted = words
            .iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>();
        let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        if counted
            .windows(2)
            .any(|pair| pair[0].to_lowercase() == "issue" && is_number(pair[1]))
        {
            find(
                number,
                "points to an issue by its number".to_owned(),
                NUMBERED,
            );
        }
    }
    findings
}

fn check_code(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in code_only(&source.text).lines().enumerate() {
        for (banned, remedy) in BANNED_CODE {
            if line.contains(banned) {
                let problem = format!("`{banned}`");
                findings.push(Finding::new(&source.path, index + 1, problem, remedy));
            }
        }
    }
    for (number, line) in source.lines().filter(|(_, line)| is_commented_out(line)) {
        let problem = format!("commented-out code: {}", line.trim());
        findings.push(Finding::new(&source.path, number, problem, COMMENTED_OUT));
    }
    findings
}

/// A comment that starts and ends like a statement.
fn is_commented_out(line: &str) -> bool {
    const STARTS: [&str; 12] = [
        "let ", "use ", "if ", "for ", "while ", "match ", "fn ", "pub ", "return", "assert",
        "self.", "println!",
    ];
    let Some(comment) = line.trim_start().strip_prefix("// ") else {
        return false;
    };
    STARTS.iter().any(|start| comment.starts_with(start)) && comment.ends_with([';', '{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    #[track_caller]
    fn refused(text: &str, line: usize) {
        expect_one(&check(&[Source::sample("src/sample.rs", text)]), line);
    }

    #[test]
    fn leftovers_are_found() {
        refused("fn f() {\n    dbg!(x);\n}", 2);
        refused("#[ignore]\nfn f() {}", 1);
        refused("#[allow(dead_code)]\nfn f() {}", 1);
        refused(&format!("// {TO_DO}: later"), 1);
        refused(&format!("// {}: this is wrong", MARKERS[0]), 1);
        refused("// let old = f();\nlet new = g();", 1);
        refused(concat!("// see is", "sue 12"), 1);
    }

    #[test]
    fn plain_words_pass() {
        let text = format!(
            "// {TO_DO}(kernel 6.1 everywhere): use the other call\n// if it fails, we wait\n\
             #[expect(dead_code, reason = \"a sample\")]\nlet text = \"dbg!\";"
        );
        expect_none(&check(&[Source::sample("src/sample.rs", &text)]));
    }
}
