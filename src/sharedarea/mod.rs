//! The shared area: what master, workers and outside programs see of each other. Broadcasting is
//! writing a frame here once; every worker sends it to its clients straight from the mapping.
//!
//! The module must not know WebSocket, HTTP, sockets' states, or what an app is: frames are bytes.
//!
//! # The picture
//!
//! * The **spool** is a circle of bytes; a publication is one record there, its wire bytes as they go
//!   out. Positions are absolute and only grow.
//! * The **log** is a ring of 64-byte entries that say where the records lie, in one order for
//!   everybody. Publishing is committing an entry.
//! * The **board** holds small tables: the writer lock, head and horizon, participants, channels.
//! * **Areas** are plain memory or files that programs share for their own purposes; a range of one can
//!   be announced in the log instead of a record in the spool.
//! * The **bell** is one eventfd; writers ring it for workers that sleep and are concerned.
//!
//! Writers take one short lock; readers never lock. A reader **pins** the oldest byte it hands to the
//! kernel, and writers do not overwrite pinned bytes; whoever is slower without a pin is **lapped**. A
//! process may be killed at any instruction: the next taker of the lock repairs ([`algorithm`]).
//! Everything read from the area is copied, checked, then used. The layout is normative in
//! `docs/sharedarea.md`.
//!
//! # Example
//!
//! ```
//! use bellwether::sharedarea::{EntryFlags, Geometry, ParticipantKind, Publication, SharedArea};
//!
//! let area = SharedArea::create(Geometry::with_spool(64 * 1024), 7, 0)?;
//! let mut master = area.join(ParticipantKind::Master, 0)?;
//! let published = master.publish(&Publication {
//!     channel: "news",
//!     flags: EntryFlags::TEXT,
//!     parts: &[&[0x81, 5], b"hello"],
//!     alternate: &[],
//!     origin: 0,
//!     time_us: 0,
//! })?;
//!
//! let entry = area.entry(area.head())?;
//! assert_eq!((entry.seq, entry.offset), (published.seq, 1));
//! assert!(master.pin(entry.position));
//! let mut frame = Vec::new();
//! area.copy_out(entry.range(), &mut frame)?;
//! master.unpin();
//! assert_eq!(frame, b"\x81\x05hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tests
//!
//! Unit tests here; `tests/model` explores the very same algorithms under loom; `tests/torture` kills
//! processes at random and at every single step.

#[doc(hidden)]
pub mod algorithm;
mod area;
mod areas;
mod figures;
mod geometry;
mod lags;
mod mapping;
mod objects;
mod participant;
mod publication;
mod tally;
#[cfg(test)]
mod tests;

pub use algorithm::log::{Announced, Entry, EntryFlags, Lapped};
pub use algorithm::spool::Range;
pub use area::{ChannelView, Counters, ParticipantView, SharedArea};
pub use areas::{
    AREA_NAME_BYTES_MAX, AREAS_MAX, Area, AreaError, AreaInfo, AreaKind, AreaProblem, AreaSize,
    AreaSource, AreaSpec, AreaSpecError, HEAD_BYTES, Head, HeadError, Reading,
};
pub use geometry::{
    CHANNELS_DEFAULT, CHANNELS_MAX, ENTRIES_MAX, ENTRIES_MIN, Geometry, GeometryError,
    SPOOL_BYTES_DEFAULT, SPOOL_BYTES_MAX, SPOOL_BYTES_MIN,
};
pub use lags::{LAGGARDS_SHOWN_MAX, Lag, Laggard, Laggards};
pub use objects::{AttachError, CreateError, Descriptors};
pub use participant::{Participant, ParticipantKind, ParticipantState};
pub use publication::{Announcement, Publication, PublishError, Published};
pub use tally::{CLOSE_CODES, Figures, ServerNote, SlotNote};

/// The last slot of the board. The first, 0, is the master's.
pub const SLOT_MAX: u16 = algorithm::board::PARTICIPANT_COUNT - 1;
