//! A worker process: its seat, its listeners and orders, and the engine that serves its clients.
//!
//! It obeys the master over the control socket, whose end means that the master is gone: then it
//! drains and leaves, so that nobody holds the port. It shares its listening sockets with the
//! other workers, and passes an accepted client on when another has clearly fewer. What happens on
//! a client's connection is the engine's business.

mod balance;
mod door;
mod handover;
mod leave;
mod mail;
mod run;
mod seat;
#[cfg(test)]
mod tests;

pub use mail::is_for_anybody;
pub use run::run;
pub use seat::{Mailboxes, Order, Report, Seat};
