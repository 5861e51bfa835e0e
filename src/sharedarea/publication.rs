//! What is published, what comes of it, and what can be in the way. It must not know how.

use super::algorithm::log::{Announced, EntryFlags};

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'p> {
    /// The channel's name: 1..=255 bytes.
    pub channel: &'p str,
    /// What the frame is.
    pub flags: EntryFlags,
    /// The wire bytes of the frame, in parts that are put together in the spool.
    pub parts: &'p [&'p [u8]],
    /// The wire bytes of the alternate: the same message as a deflated frame; empty = none. It is left out
    /// where only the frame fits.
    pub alternate: &'p [&'p [u8]],
    /// Who publishes; readers compare it to leave the sender out.
    pub origin: u64,
    /// Microseconds of Unix time.
    pub time_us: u64,
}

/// A range of an area to publish.
#[derive(Debug, Clone, Copy)]
pub struct Announcement<'p> {
    /// The channel's name: 1..=255 bytes.
    pub channel: &'p str,
    /// Text or binary.
    pub flags: EntryFlags,
    /// The range, as [`super::Area::announcement`] gave it.
    pub range: Announced,
    /// Microseconds of Unix time.
    pub time_us: u64,
}

/// A message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Number of its entry in the log.
    pub seq: u64,
    /// Number of the message in its channel, from 1; 0 for a channel without a slot.
    pub offset: u64,
    /// Distinguishes this channel's offsets from those of an earlier boot or an earlier life of the
    /// channel's slot; 0 for a channel without a slot.
    pub epoch: u64,
}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The record does not fit.
    #[error("message of {bytes} bytes: the spool takes at most {max}")]
    TooLarge {
        /// Its bytes: frame and name.
        bytes: u64,
        /// The most there can be.
        max: u64,
    },
    /// Another writer is inside, or a half-sent frame holds the space. Try again next turn.
    #[error("the shared log is busy")]
    WouldBlock,
    /// The name is empty or longer than 255 bytes.
    #[error("channel names have 1 to 255 bytes")]
    InvalidChannel,
}
