//! Publishing: lock, room, copy, entry, commit, channel, bell, in this order, and the repair of a
//! publication that a dead writer left half done. It must not know whose process it runs in.

use std::sync::atomic::Ordering;

use super::board;
use super::channels::{self, EditStep, Name};
use super::lock::{self, Acquired, Identity, Patience};
use super::log::{self, Announced, Entry, EntryFlags};
use super::memory::{Memory, Word};
use super::spool;
use super::{bell, pin};

/// Steps of a publication, in order; tests stop a writer at one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The lock is held.
    Locked,
    /// A channel slot is being edited.
    Edit(EditStep),
    /// The horizon is announced, pins are not yet checked.
    SpaceAnnounced,
    /// The bytes may be overwritten.
    SpaceConfirmed,
    /// Part `n` of the record is copied.
    PartCopied(usize),
    /// The entry's place is invalid.
    EntryInvalidated,
    /// The entry is whole but not committed.
    EntryFilled,
    /// The spool's end has moved.
    EndMoved,
    /// The entry is committed.
    Committed,
    /// The channel's slot names the entry.
    ChannelRecorded,
    /// The lock is free.
    Unlocked,
    /// Sleepers are awake.
    Rung,
}

/// What is published, measured and hashed before the lock is taken.
#[derive(Debug, Clone, Copy)]
pub struct Record<'r> {
    /// The channel.
    pub name: Name<'r>,
    /// Wire bytes of the frame.
    pub parts: &'r [&'r [u8]],
    /// Wire bytes of the alternate.
    pub alternate: &'r [&'r [u8]],
    /// Sum of `parts`.
    pub frame_bytes: u32,
    /// Sum of `alternate`.
    pub alternate_bytes: u32,
    /// What the frame is.
    pub flags: EntryFlags,
    /// Who publishes.
    pub origin: u64,
    /// When.
    pub time_us: u64,
    /// The range that is announced instead of a frame, which is empty then.
    pub announced: Option<Announced>,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Number of its entry.
    pub seq: u64,
    /// Number in its channel.
    pub offset: u64,
    /// How its channel was inserted.
    pub epoch: u32,
    /// Its channel, for the bell.
    channel: Option<u32>,
}

/// Lock or space is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WouldBlock;

/// Takes the lock and, when its owner was dead, repairs what it left.
///
/// # Errors
/// [`WouldBlock`] when a live owner keeps it.
#[inline]
pub fn enter<M: Memory>(memory: &M, me: Identity, patience: Patience) -> Result<(), WouldBlock> {
    match lock::acquire(memory, me, patience) {
        Ok(Acquired::Free) => Ok(()),
        Ok(Acquired::FromTheDead) => {
            repair(memory);
            Ok(())
        }
        Err(lock::Busy) => Err(WouldBlock),
    }
}

/// Publishes `record` for `me`.
///
/// # Errors
/// [`WouldBlock`]; nothing was published.
#[inline]
pub fn publish<M: Memory>(
    memory: &M,
    me: Identity,
    patience: Patience,
    record: &Record<'_>,
    trace: &mut impl FnMut(Step),
) -> Result<Committed, WouldBlock> {
    let mut rounds = patience.0;
    let committed = loop {
        enter(memory, me, patience)?;
        trace(Step::Locked);
        let outcome = append(memory, me, record, trace);
        lock::release(memory);
        match outcome {
            Ok(committed) => break committed,
            Err(pin::Pinned { by }) => {
                // Who sleeps with a pin in the way would move it away if it knew.
                bell::ring_parked(memory, by);
                if rounds == 0 {
                    return Err(WouldBlock);
                }
                rounds -= 1;
                memory.pause();
            }
        }
    };
    trace(Step::Unlocked);
    bell::ring(memory, committed.channel);
    trace(Step::Rung);
    Ok(committed)
}

/// Everything that happens under the lock.
#[inline]
fn append<M: Memory>(
    memory: &M,
    me: Identity,
    record: &Record<'_>,
    trace: &mut impl FnMut(Step),
) -> Result<Committed, pin::Pinned> {
    let channel =
        channels::find_or_insert(memory, &record.name, &mut |step| trace(Step::Edit(step)));
    let seat = channel.map(|index| channels::seat(memory, index));
    let name = if channel.is_none() {
        record.name.bytes()
    } else {
        &[]
    };

    let seq = memory.board64(board::HEAD).load_owned().wrapping_add(1);
    let start = memory.board64(board::END).load_owned();
    let entry = Entry {
        seq,
        position: start.wrapping_add(name.len() as u64),
        frame_bytes: record.frame_bytes,
        alternate_bytes: record.alternate_bytes,
        channel,
        // A name was checked to fit; 0 would make the entry unsound, not unsafe.
        name_bytes: u8::try_from(name.len()).unwrap_or(0),
        offset: seat.map_or(0, |seat| seat.messages.wrapping_add(1)),
        prev: seat.map_or(0, |seat| seat.last),
        channel_generation: seat.map_or(0, |seat| low_half(seat.generation)),
        flags: record.flags,
        time_us: record.time_us,
        origin: record.origin,
        announced: record.announced,
    };
    pin::make_room(memory, me, entry.record_end(), &mut || {
        trace(Step::SpaceAnnounced);
    })?;
    trace(Step::SpaceConfirmed);

    let mut position = start;
    let parts = [name]
        .into_iter()
        .chain(record.parts.iter().chain(record.alternate).copied());
    for (at, part) in parts.enumerate() {
        position = spool::write(memory, position, part);
        trace(Step::PartCopied(at));
    }
    log::invalidate(memory, seq);
    trace(Step::EntryInvalidated);
    log::fill(memory, &entry);
    trace(Step::EntryFilled);
    log::advance_end(memory, &entry);
    trace(Step::EndMoved);
    log::commit(memory, seq);
    trace(Step::Committed);
    match channel {
        Some(index) => channels::record(memory, index, seq, entry.offset),
        None => {
            memory.board64(board::NAMED).fetch_add(1, Ordering::Relaxed);
        }
    }
    trace(Step::ChannelRecorded);
    Ok(Committed {
        seq,
        offset: entry.offset,
        epoch: seat.map_or(0, |seat| seat.epoch),
        channel,
    })
}

/// Brings the board to a state between two publications; the caller has taken the lock from a dead
/// owner. Bytes above the end and an entry above the head need nothing: they are invisible and the
/// next publication overwrites them.
#[cold]
fn repair<M: Memory>(memory: &M) {
    memory
        .board64(board::RECOVERIES)
        .fetch_add(1, Ordering::Relaxed);
    channels::repair(memory);
    let head = memory.board64(board::HEAD).load_owned();
    // Committed, but perhaps its channel does not know it yet. The generation tells a channel that has
    // got the slot since.
    if let Ok(entry) = log::read(memory, head)
        && let Some(index) = entry.channel
        && low_half(channels::seat(memory, index).generation) == entry.channel_generation
    {
        channels::record(memory, index, entry.seq, entry.offset);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the entry has room for the low half only"
)]
fn low_half(generation: u32) -> u16 {
    generation as u16
}
