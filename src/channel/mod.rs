//! Named channels as one worker sees them: who listens to what, and what a stretch of the log
//! means for its own clients.
//!
//! Names and indices of the shared table go in, members and byte ranges come out. It sends nothing
//! and knows no socket; the engine above does the sending.

mod batch;
mod kind;
mod memberships;
mod name;
mod subscriptions;

pub use batch::{Batch, Piece, Run, Variant};
pub use kind::{flags_of, kind_of};
pub use memberships::{Membership, Memberships};
pub use name::{ChannelName, InvalidName, NAME_BYTES_MAX};
pub use subscriptions::{ChannelId, Left, Subscriptions};
