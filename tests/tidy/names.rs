//! Names that say something: no module, file or type is called after nothing in particular.

use crate::report::Finding;
use crate::rust::{code_only, line_of, words};
use crate::tree::Source;

const BANNED: [&str; 10] = [
    "util", "utils", "common", "helper", "helpers", "manager", "managers", "types", "misc", "stuff",
];

/// Keywords that give a module or type its name.
const NAMING: [&str; 6] = ["mod", "struct", "enum", "trait", "type", "union"];

const RENAME: &str = "name it after what it holds or does; the words of the project are in \
                      ARCHITECTURE.md";

/// Every banned word in the name of a file, folder, module or type.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let parts = source.path.trim_end_matches(".rs").split('/');
        for word in parts
            .flat_map(split)
            .filter(|word| BANNED.contains(&word.as_str()))
        {
            let problem = format!("the path has `{word}` in it");
            findings.push(Finding::new(&source.path, 0, problem, RENAME));
        }
        let code = code_only(&source.text);
        let all: Vec<_> = words(&code).collect();
        for pair in all.windows(2).filter(|pair| NAMING.contains(&pair[0].text)) {
            if split(pair[1].text)
                .iter()
                .any(|word| BANNED.contains(&word.as_str()))
            {
                let problem = format!("`{} {}`", pair[0].text, pair[1].text);
                let line = line_of(&code, pair[1].at);
                findings.push(Finding::new(&source.path, line, problem, RENAME));
            }
        }
    }
    findings
}

/// The words of a `snake_case` or `CamelCase` name, in lower case.
fn split(name: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || !c.is_alphanumeric() {
            found.push(String::new());
        }
        if let Some(last) = found.last_mut().filter(|_| c.is_alphanumeric()) {
            last.extend(c.to_lowercase());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    #[test]
    fn empty_names_are_found() {
        expect_one(&check(&[Source::sample("src/engine/utils.rs", "")]), 0);
        expect_one(&check(&[Source::sample("tests/common/mod.rs", "")]), 0);
        expect_one(
            &check(&[Source::sample("src/a.rs", "\nstruct WorkerManager;")]),
            2,
        );
        expect_one(
            &check(&[Source::sample("src/a.rs", "mod test_helpers;")]),
            1,
        );
        expect_one(
            &check(&[Source::sample("src/a.rs", "pub type FrameTypes = u8;")]),
            1,
        );
    }

    #[test]
    fn telling_names_pass() {
        let text = "mod frame; struct Manage; enum Kind {} fn helper() {} // the manager";
        expect_none(&check(&[Source::sample("src/engine/outbox.rs", text)]));
    }
}
