//! Bytes in, events out: no I/O, no clock, no randomness, no unsafe code.
#![forbid(unsafe_code)]

pub mod http;
pub mod websocket;
