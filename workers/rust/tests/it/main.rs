//! The examples as real servers, talked to by a foreign client.
//!
//! They take the command line of `master`, so the harness of the server's own tests starts them. What this must not
//! know: how an example is written.

#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the environment and the clock, and looks again after a pause"
)]

// `cfg(test)` tells clippy that functions outside of test functions are tests as well.
#[cfg(test)]
mod examples;
#[cfg(test)]
#[expect(dead_code, reason = "tests/clients needs more of it")]
#[path = "../../../../tests/clients/foreign.rs"]
mod foreign;
#[cfg(test)]
#[expect(dead_code, reason = "the server's own tests need more of it")]
#[path = "../../../../tests/clients/server.rs"]
mod server;
#[cfg(test)]
mod stream;
