//! Runtimes of others, found by environment variables, and scripts that are run in them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::server::succeeded;

/// A Python that has `websockets`, `prometheus-client` and `uwsgitop`.
pub(super) const PYTHON: &str = "BELLWETHER_TEST_PYTHON";
/// A folder `node_modules` that has `ws` and `playwright-core`.
pub(super) const NODE_MODULES: &str = "BELLWETHER_TEST_NODE_MODULES";
/// The program Chromium.
pub(super) const CHROMIUM: &str = "BELLWETHER_TEST_CHROMIUM";

/// What a variable names; without it the test is skipped, except in CI.
pub(super) fn named_by(variable: &str) -> Option<String> {
    let value = std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty());
    if value.is_none() {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "{variable} is not set, and CI skips nothing");
        println!("skipped: {variable} is not set");
    }
    value
}

/// A file of `tests/clients/scripts`.
pub(super) fn script(name: &str) -> PathBuf {
    [
        env!("CARGO_MANIFEST_DIR"),
        "tests",
        "clients",
        "scripts",
        name,
    ]
    .iter()
    .collect()
}

/// Runs a script to its end; it keeps its own deadline, and its exit status tells how it went.
pub(super) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    succeeded(&output.unwrap_or_else(|error| panic!("{command:?}: {error}")));
}
