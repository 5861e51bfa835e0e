//! The control socket: what verbs and master say to each other, and the master's side of it.
//!
//! A stream socket carries frames both ways: `u32` length in little endian (of what follows), one byte
//! of kind, body. The verb speaks first, one request at a time:
//!
//! | kind | from | body |
//! |---|---|---|
//! | 1 publish | verb | `u8` 0 text, 1 binary; `u16` length of the name, name; the message |
//! | 2 tail | verb | the channel's name |
//! | 3 status | verb | nothing |
//! | 4 area | verb | `u8` 1 read, 2 write, 3 send; `u8` length of the area's name or number, that; `u64` position; then read: `u64` bytes (all ones: the rest); write: the bytes; send: `u64` bytes, `u8` 0 text, 1 binary, the channel's name |
//! | 5 errand | verb | a letter, and `u16` workers for `n`; see [`Errand`] |
//! | 129 published | master | `u16` workers reached, `u16` workers there were, `u64` number of the entry |
//! | 130 tailing | master | nothing: from here on nothing published on the channel is missed |
//! | 131 message | master | `u8` 0 text, 1 binary; `u64` time in microseconds; the message |
//! | 132 lapped | master | `u64` entries of the log that were overwritten before they could be shown |
//! | 133 status | master | JSON, see [`crate::status::Status`] |
//! | 134 refused | master | why, in words |
//! | 135 bytes of an area | master | `u64` how many of those asked for are left, then bytes |
//! | 136 written | master | nothing |
//! | 137 done | master | the result of an errand, in words |
//!
//! Numbers are little endian. The frames here are pure; `server` does the reading and writing. It
//! must not know what the supervisor decides.

mod area;
mod area_request;
mod connection;
mod errand;
mod frames;
mod heritage;
mod publish;
mod server;
mod tail;
#[cfg(test)]
mod tests;
mod waiting;

pub use area_request::AreaRequest;
pub use errand::{Awaited, Errand};
pub use frames::{Answer, FrameError, Frames, OVERHEAD_BYTES_MAX, Request};
pub(super) use heritage::VerbState;
pub(super) use server::{ControlServer, Hub, Source};
