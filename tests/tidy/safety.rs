//! Unsafe code stays where it is looked for. That each block says why is clippy's to check.

use crate::report::Finding;
use crate::rust::{code_only, line_of, words};
use crate::tree::Source;

/// Files and folders that may say `unsafe`: thin faces on system calls, the mapping, the memory
/// that loom watches, the bare measuring loops, and (later) the edges to other languages.
const PLACES: [&str; 7] = [
    "src/sys/",
    "src/sharedarea/mapping.rs",
    "tests/model/",
    "tests/bench/",
    "workers/c/",
    "workers/python/",
    "workers/ruby/",
];

const ELSEWHERE: &str = "call a safe function of src/sys (add one, with its SAFETY reason, if \
                         there is none)";

/// Every `unsafe` outside its places.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        if PLACES.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        let code = code_only(&source.text);
        for word in words(&code).filter(|word| word.text == "unsafe") {
            let line = line_of(&code, word.at);
            findings.push(Finding::new(&source.path, line, "unsafe code", ELSEWHERE));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{expect_none, expect_one};

    #[test]
    fn unsafe_is_found_outside_its_places() {
        let text = "// unsafe\n#![deny(unsafe_code)]\nfn f() { unsafe { g() } }";
        expect_one(&check(&[Source::sample("src/engine/mod.rs", text)]), 3);
        expect_one(&check(&[Source::sample("src/sharedarea/log.rs", text)]), 3);
        expect_none(&check(&[Source::sample("src/sys/socket.rs", text)]));
        expect_none(&check(&[Source::sample("src/sharedarea/mapping.rs", text)]));
    }
}
