//! Bellwether: a prefork WebSocket server with shared-memory broadcast, as a library.
//!
//! A program that calls [`main`] with an application is a whole server with the command line of
//! `master`:
//!
//! ```no_run
//! use bellwether::app::{self, Accept, WebSocket};
//! use bellwether::protocol::websocket::Closed;
//!
//! async fn echo(mut ws: WebSocket) -> Result<(), Closed> {
//!     ws.handshake(Accept::default()).await?;
//!     loop {
//!         let message = ws.recv().await?;
//!         ws.send(&message)?;
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     bellwether::main(app::per_client(echo))
//! }
//! ```
//!
//! The modules, top down; imports only point down and `tests/tidy` checks it:
//!
//! ```text
//! program > client > master > worker > engine > app > channel, status > net, event_loop > config
//!     > sharedarea > protocol, sys
//! ```

use std::process::ExitCode;

pub mod app;
pub mod channel;
pub mod client;
pub mod config;
pub mod engine;
pub mod event_loop;
pub mod master;
pub mod net;
pub mod program;
pub mod protocol;
pub mod sharedarea;
pub mod status;
pub mod sys;
pub mod worker;

/// Runs a server whose default application is `app`, by the command line of this process.
///
/// Call it first and return what it returns: it forks, so nothing may have started a thread
/// before. It returns in the master and in every worker.
pub fn main(app: impl app::App + 'static) -> ExitCode {
    program::run(Some(Box::new(app)))
}

/// The README's examples are compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
