//! Thin safe faces on system calls that the standard library does not offer.
//!
//! This folder and `sharedarea::mapping` are the only places with unsafe code. It knows nothing of
//! WebSockets, clients or workers: descriptors and bytes go in, results come out.

pub mod descriptors;
pub mod epoll;
pub mod futex;
pub mod limits;
pub mod lines;
pub mod memory;
pub mod process;
pub mod socket;
pub mod streams;
