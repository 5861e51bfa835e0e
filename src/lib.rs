//! Bellwether: a prefork WebSocket server with shared-memory broadcast.
//!
//! The modules, top down; imports only point down and `tests/tidy` checks it:
//!
//! ```text
//! client > master > worker > engine > app > channel > net, event_loop, sharedarea > config, protocol, sys
//! ```

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
pub mod sys;
pub mod worker;
