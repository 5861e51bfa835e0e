//! Programs that others wrote talk to the real server: tungstenite, Python's websockets, node's ws, Chromium.
//!
//! The server is the built `master`, on a free port and in a run directory of its own. The other runtimes are named
//! by environment variables, as a machine may lack them (`foreign`); a test without its runtime says `skipped` and
//! passes, except in CI, where it fails. What they must not know: anything of the library under test.

#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the environment and the clock, and looks again after a pause"
)]

// `cfg(test)` tells clippy that helpers outside of test functions are tests as well.
#[cfg(test)]
mod browser;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod monitors;
#[cfg(test)]
mod rust;
#[cfg(test)]
mod scripts;
#[cfg(test)]
#[expect(dead_code, reason = "tests/it needs more of it")]
mod server;

/// The program under test.
const MASTER: &str = env!("CARGO_BIN_EXE_master");
