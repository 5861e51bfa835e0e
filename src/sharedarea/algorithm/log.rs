//! The log: a ring of 64-byte entries, each valid while its first word is its own number. Written
//! under the lock, read by everybody without one. It must not know how channels are found or workers
//! woken.

use std::sync::atomic::Ordering;

use super::board;
use super::memory::{Memory, Word};
use super::spool::Range;

bitflags::bitflags! {
    /// What a published frame is. Bits not named here are reserved and read as 0.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct EntryFlags: u8 {
        /// The frame carries a text message.
        const TEXT = 1;
        /// The frame carries a binary message.
        const BINARY = 1 << 1;
        /// The payload is a range of an area, and nothing but a travelling name is in the spool.
        const REF = 1 << 2;
    }
}

/// A range of an area that an entry announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Announced {
    /// The area.
    pub area: u8,
    /// The first byte of the payload in the area.
    pub position: u64,
    /// Bytes of the payload.
    pub bytes: u32,
    /// Low bits of the area's `updates` when it was announced; with another value the range may have
    /// changed since.
    pub updates: u32,
}

/// A committed entry, copied out of the log and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Number of the entry; the first of an area is 1.
    pub seq: u64,
    /// Absolute spool position of the frame (behind a preceding name).
    pub position: u64,
    /// Wire bytes of the frame.
    pub frame_bytes: u32,
    /// Wire bytes of the alternate, a deflated frame of the same message behind the frame; 0 = none.
    pub alternate_bytes: u32,
    /// Index in the channel table. `None`: the name precedes the frame, see [`Entry::name_range`].
    pub channel: Option<u32>,
    /// Bytes of the preceding name; 0 when the channel has an index.
    pub name_bytes: u8,
    /// Number of the message in its channel, from 1; 0 for a channel without an index.
    pub offset: u64,
    /// Number of the entry with the channel's previous message; 0 = none.
    pub prev: u64,
    /// Low bits of the generation of the channel's slot when this was published.
    pub channel_generation: u16,
    /// What the frame is.
    pub flags: EntryFlags,
    /// When it was published, microseconds of Unix time (56 bits).
    pub time_us: u64,
    /// Who published, as the publisher says; 0 for an announcement.
    pub origin: u64,
    /// The range of an area that this entry announces; its frame is empty then.
    pub announced: Option<Announced>,
}

/// Largest time an entry can carry.
const TIME_US_MAX: u64 = (1 << 56) - 1;

impl Entry {
    /// The frame.
    #[must_use]
    pub fn range(&self) -> Range {
        Range {
            position: self.position,
            bytes: self.frame_bytes,
        }
    }

    /// The alternate, if there is one.
    #[must_use]
    pub fn alternate_range(&self) -> Option<Range> {
        let position = self.range().end();
        (self.alternate_bytes > 0).then_some(Range {
            position,
            bytes: self.alternate_bytes,
        })
    }

    /// The channel's name, if it travels in front of the frame.
    #[must_use]
    pub fn name_range(&self) -> Option<Range> {
        let bytes = u32::from(self.name_bytes);
        self.channel.is_none().then(|| Range {
            position: self.record_position(),
            bytes,
        })
    }

    /// The first byte of the whole record: name, frame, alternate.
    #[must_use]
    pub fn record_position(&self) -> u64 {
        self.position.wrapping_sub(u64::from(self.name_bytes))
    }

    /// Position behind the whole record.
    #[must_use]
    pub fn record_end(&self) -> u64 {
        self.range()
            .end()
            .wrapping_add(u64::from(self.alternate_bytes))
    }

    fn to_words(self) -> [u64; board::ENTRY_WORDS] {
        let channel = self.channel.unwrap_or(board::CHANNEL_BY_NAME);
        // An announcement's range stands where a message's lengths and publisher do.
        let (bytes, low, area, last) = match self.announced {
            Some(range) => (range.bytes, range.updates, range.area, range.position),
            None => (self.frame_bytes, self.alternate_bytes, 0, self.origin),
        };
        let mut flags = self.flags;
        flags.set(EntryFlags::REF, self.announced.is_some());
        let mut words = [0; board::ENTRY_WORDS];
        words[board::ENTRY_SEQ] = self.seq;
        words[board::ENTRY_POSITION] = self.record_position();
        words[board::ENTRY_FRAME] = u64::from(bytes) | (u64::from(channel) << 32);
        words[board::ENTRY_OFFSET] = self.offset;
        words[board::ENTRY_PREV] = self.prev;
        words[board::ENTRY_TIME] =
            self.time_us.min(TIME_US_MAX) | (u64::from(self.name_bytes) << 56);
        words[board::ENTRY_ALTERNATE] = u64::from(low)
            | (u64::from(flags.bits()) << 32)
            | (u64::from(area) << 40)
            | (u64::from(self.channel_generation) << 48);
        words[board::ENTRY_ORIGIN] = last;
        words
    }

    /// `None` when the words make no sense for an area of this geometry.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are packed by their widths"
    )]
    fn from_words(
        words: &[u64; board::ENTRY_WORDS],
        channels: u32,
        record_bytes_max: u64,
    ) -> Option<Self> {
        let bytes = words[board::ENTRY_FRAME] as u32;
        let low = words[board::ENTRY_ALTERNATE] as u32;
        let last = words[board::ENTRY_ORIGIN];
        let flags = EntryFlags::from_bits_truncate((words[board::ENTRY_ALTERNATE] >> 32) as u8);
        let announced = flags.contains(EntryFlags::REF).then_some(Announced {
            area: (words[board::ENTRY_ALTERNATE] >> 40) as u8,
            position: last,
            bytes,
            updates: low,
        });
        let (frame_bytes, alternate_bytes, origin) = match announced {
            Some(_) => (0, 0, 0),
            None => (bytes, low, last),
        };
        let name_bytes = (words[board::ENTRY_TIME] >> 56) as u8;
        let index = (words[board::ENTRY_FRAME] >> 32) as u32;
        let channel = (index != board::CHANNEL_BY_NAME).then_some(index);
        let record_bytes =
            u64::from(name_bytes) + u64::from(frame_bytes) + u64::from(alternate_bytes);
        let is_sound = record_bytes <= record_bytes_max
            && channel.map_or(name_bytes > 0, |index| index < channels && name_bytes == 0)
            && words[board::ENTRY_POSITION]
                .checked_add(record_bytes)
                .is_some();
        is_sound.then(|| Self {
            seq: words[board::ENTRY_SEQ],
            position: words[board::ENTRY_POSITION] + u64::from(name_bytes),
            frame_bytes,
            alternate_bytes,
            channel,
            name_bytes,
            offset: words[board::ENTRY_OFFSET],
            prev: words[board::ENTRY_PREV],
            channel_generation: (words[board::ENTRY_ALTERNATE] >> 48) as u16,
            flags,
            time_us: words[board::ENTRY_TIME] & TIME_US_MAX,
            origin,
            announced,
        })
    }
}

/// The entry is gone: overwritten, or its bytes may be. A reader goes on behind `head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log has lapped this reader")]
pub struct Lapped;

/// Why an entry could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// Overwritten, not committed, or below the horizon.
    Lapped,
    /// It makes no sense: somebody scribbled over the log.
    Bad,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the mask keeps it below the number of entries"
)]
fn index<M: Memory>(memory: &M, seq: u64) -> u32 {
    (seq & (u64::from(memory.geometry().entries) - 1)) as u32
}

/// Number of the last committed entry.
#[inline]
pub fn head<M: Memory>(memory: &M) -> u64 {
    // Acquire pairs with the Release of `commit`: the entry and its bytes are visible.
    memory.board64(board::HEAD).load(Ordering::Acquire)
}

/// Copies entry `seq` out of the log. The caller knows from [`head`] that it is committed.
///
/// # Errors
/// [`ReadError`].
#[inline]
pub fn read<M: Memory>(memory: &M, seq: u64) -> Result<Entry, ReadError> {
    let words = memory.entry(index(memory, seq));
    let mut copy = [0; board::ENTRY_WORDS];
    // Acquire pairs with the Release of `fill`: the number vouches for the other words.
    copy[board::ENTRY_SEQ] = words[board::ENTRY_SEQ].load(Ordering::Acquire);
    for word in board::ENTRY_SEQ + 1..board::ENTRY_WORDS {
        copy[word] = words[word].load(Ordering::Relaxed);
    }
    // Pairs with the fence of `fill`: if one of the loads above saw a later entry's word, the load
    // below does not see our number.
    memory.fence(Ordering::Acquire);
    let again = words[board::ENTRY_SEQ].load(Ordering::Relaxed);
    if copy[board::ENTRY_SEQ] != seq || again != seq || seq == 0 {
        return Err(ReadError::Lapped);
    }
    let geometry = memory.geometry();
    let entry = Entry::from_words(&copy, geometry.channels, geometry.record_bytes_max())
        .ok_or(ReadError::Bad)?;
    if entry.record_position() < memory.board64(board::HORIZON).load(Ordering::Relaxed) {
        return Err(ReadError::Lapped);
    }
    Ok(entry)
}

/// Makes the entry's place invalid for readers; the caller holds the lock. [`fill`] follows.
#[inline]
pub fn invalidate<M: Memory>(memory: &M, seq: u64) {
    memory.entry(index(memory, seq))[board::ENTRY_SEQ].store(0, Ordering::Relaxed);
    // Pairs with the fence of `read`.
    memory.fence(Ordering::Release);
}

/// Writes the entry; the caller holds the lock and has called [`invalidate`].
#[inline]
pub fn fill<M: Memory>(memory: &M, entry: &Entry) {
    let words = memory.entry(index(memory, entry.seq));
    let values = entry.to_words();
    for word in board::ENTRY_SEQ + 1..board::ENTRY_WORDS {
        words[word].store(values[word], Ordering::Relaxed);
    }
    // Release pairs with the first load of `read`.
    words[board::ENTRY_SEQ].store(entry.seq, Ordering::Release);
}

/// Moves the end of the spool behind the entry's record. A writer that dies right after this leaves a
/// gap of unused bytes, no harm.
#[inline]
pub fn advance_end<M: Memory>(memory: &M, entry: &Entry) {
    memory
        .board64(board::END)
        .store(entry.record_end(), Ordering::Relaxed);
}

/// Commits the entry: from here on it is published.
#[inline]
pub fn commit<M: Memory>(memory: &M, seq: u64) {
    // Release pairs with the Acquire of `head`.
    memory.board64(board::HEAD).store(seq, Ordering::Release);
}
