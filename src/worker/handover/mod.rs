//! Moving clients to another worker, batch by batch, over the mailboxes.
//!
//! ```text
//! sender:    freeze ─ Move ──▶        ──▶ Release ─ gone
//! receiver:            revive, Taken ──┘             └▶ admit
//! ```
//!
//! Until the Release is in the other's mailbox, the sender owns the clients: whatever goes wrong, it
//! gives them back to itself. From then on the receiver does; should it die before it reads it, they
//! are lost like all its other clients. What a client is, only the engine knows.

mod arrivals;
mod departure;
mod post;
#[cfg(test)]
mod tests;

pub(super) use arrivals::Arrivals;
pub(super) use departure::Departure;
pub(super) use post::{Post, Unsent};

/// A batch that is not answered in this time stays where it is, and so do clients for whom the
/// other's mailbox has had no room for so long.
const ANSWER_MS: u64 = 5_000;
