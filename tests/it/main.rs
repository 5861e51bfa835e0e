//! The built `master` as real processes: start, broadcast, balance, signals, crashes, slow clients, chaos.
//!
//! Every server is started with a free port and a run directory of its own, and only processes that a test started
//! are signalled, by their ids. Clients are plain sockets (`peer`), so that a test sees every frame as it came.

#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the environment and the clock, has threads, and looks again after a pause"
)]

// `cfg(test)` tells clippy that functions outside of test functions are tests as well.
#[cfg(test)]
mod api;
#[cfg(test)]
mod areas;
#[cfg(test)]
mod balance;
#[cfg(test)]
mod broadcast;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod deflate;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod mercy;
#[cfg(test)]
mod numbered;
#[cfg(test)]
mod ops_commands;
#[cfg(test)]
mod ops_failures;
#[cfg(test)]
mod ops_log;
#[cfg(test)]
mod ops_place;
#[cfg(test)]
mod ops_refused;
#[cfg(test)]
mod ops_reload;
#[cfg(test)]
mod ops_verbs;
#[cfg(test)]
mod ops_versions;
#[cfg(test)]
mod options;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod requests;
#[cfg(test)]
#[expect(dead_code, reason = "tests/clients needs more of it")]
#[path = "../clients/server.rs"]
mod server;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod slow_policies;
#[cfg(test)]
mod start;
#[cfg(test)]
mod stats;
#[cfg(test)]
mod status;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod verbs;

/// The program under test.
const MASTER: &str = env!("CARGO_BIN_EXE_master");

/// For everything that is bound to come; only a broken server takes so long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
