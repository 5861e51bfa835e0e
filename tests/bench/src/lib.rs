//! Load generator and bare peers; run by `scripts/bench`.
//!
//! A benchmark tells nothing by itself: every figure here stands beside the same figure of a bare program that
//! moves the same bytes in the same run. It must not know how Bellwether works inside; it starts the program,
//! talks to its socket and reads `/proc`.
//!
//! * [`frames`]: what is sent and what must come back, byte for byte.
//! * [`survey`]: what a client has got that was not promised everything.
//! * [`sockets`]: listening and connecting on loopback, the opening handshake.
//! * [`link`]: one non-blocking connection.
//! * [`process`]: CPU time and memory of a process tree, pinning to cores.
//! * [`load`]: the modes of the generator.
//! * [`server`], [`cases`] and [`table`]: what the `bench` program starts, measures and prints.

pub mod cases;
pub mod frames;
pub mod histogram;
pub mod link;
pub mod load;
pub mod numbers;
pub mod options;
pub mod process;
pub mod server;
pub mod sockets;
pub mod survey;
pub mod table;

/// What went wrong, in words for the person at the terminal.
pub type Failure = Box<dyn std::error::Error>;
