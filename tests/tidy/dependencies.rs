//! Each direct dependency has its reason in the line above it.

use crate::report::Finding;
use crate::tree::Source;

const REASON: &str = "write a comment line above it: what it does for us that we should not write";

/// Every dependency without a reason.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let is_manifest = |path: &str| path == "Cargo.toml" || path.ends_with("/Cargo.toml");
    sources
        .iter()
        .filter(|source| is_manifest(&source.path))
        .flat_map(check_manifest)
        .collect()
}

fn check_manifest(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut listing = false;
    let mut above = "";
    for (number, line) in source.lines() {
        let line = line.trim();
        let name = if line.starts_with('[') {
            let table = line.trim_matches(['[', ']']);
            listing = table.ends_with("dependencies");
            table.rsplit_once("dependencies.").map(|(_, name)| name)
        } else {
            let key = line.split(['=', '.']).next().unwrap_or_default().trim();
            let starts_entry = key.starts_with(|c: char| c.is_alphanumeric()) && line.contains('=');
            (listing && starts_entry).then_some(key)
        };
        let has_reason = above
            .strip_prefix('#')
            .is_some_and(|reason| reason.trim().len() > 10);
        if let Some(name) = name.filter(|_| !has_reason) {
            let problem = format!("`{name}` does not say why it is here");
            findings.push(Finding::new(&source.path, number, problem, REASON));
        }
        above = line;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    fn manifest(text: &str) -> Vec<Finding> {
        check(&[Source::sample("workers/rust/Cargo.toml", text)])
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        expect_one(&manifest("[dependencies]\nmio = \"1\""), 2);
        expect_one(
            &manifest("[dev-dependencies]\n# Reason enough here.\na = \"1\"\nb.path = \"\""),
            4,
        );
        expect_one(
            &manifest("[target.'cfg(loom)'.dependencies]\n#\nloom = \"1\""),
            3,
        );
        expect_one(&manifest("[dependencies.mio]\nversion = \"1\""), 1);
    }

    #[test]
    fn other_tables_need_none() {
        expect_none(&manifest(
            "[package]\nname = \"x\"\n[lints.rust]\nunsafe_code = \"deny\"",
        ));
        expect_none(&manifest(
            "[dependencies]\n# The readiness loop.\nmio = \"1\"",
        ));
    }
}
