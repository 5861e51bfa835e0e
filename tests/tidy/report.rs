//! What a rule says when it is broken: where, what is wrong, and what to do about it.

use std::fmt;

/// One broken rule at one place. The text always ends in what to do.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    problem: String,
    remedy: &'static str,
}

impl Finding {
    /// A finding at a line; lines count from 1, and 0 stands for the whole file.
    pub(crate) fn new(
        path: &str,
        line: usize,
        problem: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            path: path.to_owned(),
            line,
            problem: problem.into(),
            remedy,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}\n    do: {}", self.problem, self.remedy)
    }
}

/// Fails the running test with every finding, so that one run shows all there is to do.
pub(crate) fn expect_none(findings: &[Finding]) {
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{} to put right:\n{}",
        findings.len(),
        text.join("\n")
    );
}

/// For the samples: the rule must find exactly one thing, at this line.
#[track_caller]
pub(crate) fn expect_one(findings: &[Finding], line: usize) {
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        findings.len(),
        1,
        "the sample breaks the rule once, found:\n{}",
        text.join("\n")
    );
    assert_eq!(
        findings[0].line,
        line,
        "found at the wrong line:\n{}",
        text.join("\n")
    );
}
