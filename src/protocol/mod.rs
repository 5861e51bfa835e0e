//! Bytes in, events out: no I/O, no clock, no randomness, no unsafe code.
//!
//! What must not be known here: sockets, buffers' owners, timers, channels, apps. Parsers borrow what they are given,
//! encoders append to a vector that the caller owns. Every limit is an argument. Tests therefore need no socket: bytes go in,
//! events and bytes come out, and any way of cutting the bytes gives the same.
#![forbid(unsafe_code)]

pub mod http;
pub mod websocket;
