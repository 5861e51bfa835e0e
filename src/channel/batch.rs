//! A stretch of the log, sorted by the channels that somebody here listens to.
//!
//! A run holds what one channel's members have to get: the messages one by one, to know which of
//! them a short send has cut, and the same bytes with neighbours joined, to send them with as few
//! vectors as possible. Frames of a busy channel lie side by side in the spool, so a run is mostly
//! one range. Where messages have alternates, a run knows both ways to send them.

use crate::channel::{ChannelId, Memberships, Subscriptions};
use crate::sharedarea::{Entry, Lapped, Range, SharedArea};

/// Most entries that one batch takes.
const ENTRIES_PER_BATCH_MAX: u64 = 4096;

/// As what a client gets messages of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As frames.
    Frame,
    /// As alternates, where there are any.
    Alternate,
}

/// One message of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its place in the log.
    pub seq: u64,
    /// Where its frame is in the spool.
    pub position: u64,
    /// Bytes of the frame.
    pub frame_bytes: u32,
    /// Bytes of the alternate behind it; 0 = none.
    pub alternate_bytes: u32,
}

impl Piece {
    /// The message of an entry that announces nothing.
    pub fn of(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            position: entry.position,
            frame_bytes: entry.frame_bytes,
            alternate_bytes: entry.alternate_bytes,
        }
    }

    /// Its bytes in the spool for those who get this variant.
    pub fn range(&self, variant: Variant) -> Range {
        let frame = Range {
            position: self.position,
            bytes: self.frame_bytes,
        };
        match variant {
            Variant::Alternate if self.alternate_bytes > 0 => Range {
                position: frame.end(),
                bytes: self.alternate_bytes,
            },
            Variant::Alternate | Variant::Frame => frame,
        }
    }
}

/// Messages that go to the same clients, in log order.
#[derive(Debug, Default)]
pub struct Run {
    /// Message by message.
    pub pieces: Vec<Piece>,
    /// Their frames with neighbours joined.
    frames: Vec<Range>,
    /// Their alternates, or the frames of those that have none; empty while none has one.
    alternates: Vec<Range>,
}

impl Run {
    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.frames.clear();
        self.alternates.clear();
    }

    /// Appends a message.
    pub fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
        if piece.alternate_bytes > 0 && self.alternates.is_empty() {
            // So far they were the same.
            self.alternates.extend_from_slice(&self.frames);
        }
        if piece.alternate_bytes > 0 || !self.alternates.is_empty() {
            join(&mut self.alternates, piece.range(Variant::Alternate));
        }
        join(&mut self.frames, piece.range(Variant::Frame));
    }

    /// The bytes of all messages, in order, with neighbours joined.
    pub fn ranges(&self, variant: Variant) -> &[Range] {
        match variant {
            Variant::Alternate if !self.alternates.is_empty() => &self.alternates,
            Variant::Alternate | Variant::Frame => &self.frames,
        }
    }
}

/// Appends a range to the last one, if it is its neighbour, or behind it.
fn join(ranges: &mut Vec<Range>, range: Range) {
    if let Some(last) = ranges.last_mut()
        && last.end() == range.position
        && let Some(bytes) = last.bytes.checked_add(range.bytes)
    {
        last.bytes = bytes;
    } else {
        ranges.push(range);
    }
}

/// What a scan of the log has found.
#[derive(Debug, Default)]
pub struct Batch {
    /// Runs in use come first; the rest is kept for its memory.
    runs: Vec<Run>,
    channels: Vec<ChannelId>,
    run_of_channel: Vec<Option<u32>>,
    in_order: Vec<(ChannelId, Piece)>,
    name: Vec<u8>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads entries from `next` to `head`, but not more than fit into one batch and none behind the
    /// next announcement, and sorts those that somebody listens to. Returns the first entry that was
    /// not read. The first one is no announcement.
    ///
    /// The caller has pinned the spool from the first entry on, so that what is found stays there.
    ///
    /// # Errors
    /// [`Lapped`] when the writers were faster than this worker; nothing is in the batch then.
    pub fn scan(
        &mut self,
        area: &SharedArea,
        subscriptions: &Subscriptions,
        next: u64,
        head: u64,
    ) -> Result<u64, Lapped> {
        self.clear();
        let end = head.min(next.saturating_add(ENTRIES_PER_BATCH_MAX - 1));
        for seq in next..=end {
            let entry = area.entry(seq).inspect_err(|_| self.clear())?;
            if entry.announced.is_some() && seq > next {
                return Ok(seq);
            }
            if let Some(channel) = self.listened(area, subscriptions, &entry) {
                self.push(channel, Piece::of(&entry));
            }
        }
        Ok(end + 1)
    }

    fn clear(&mut self) {
        for (run, channel) in self.runs.iter_mut().zip(&self.channels) {
            run.clear();
            self.run_of_channel[channel.number()] = None;
        }
        self.channels.clear();
        self.in_order.clear();
    }

    fn push(&mut self, channel: ChannelId, piece: Piece) {
        let number = channel.number();
        if self.run_of_channel.len() <= number {
            self.run_of_channel.resize(number + 1, None);
        }
        let run = if let Some(run) = self.run_of_channel[number] {
            run as usize
        } else {
            let run = self.channels.len();
            self.channels.push(channel);
            self.run_of_channel[number] = u32::try_from(run).ok();
            if self.runs.len() == run {
                self.runs.push(Run::default());
            }
            run
        };
        self.runs[run].push(piece);
        self.in_order.push((channel, piece));
    }

    /// The channel of an entry, if somebody here listens to it.
    pub fn listened(
        &mut self,
        area: &SharedArea,
        subscriptions: &Subscriptions,
        entry: &Entry,
    ) -> Option<ChannelId> {
        if let Some(index) = entry.channel {
            // The place may have been another channel's when this was published.
            return subscriptions
                .at_table_index(index)
                .filter(|_| area.is_of_channel_now(entry));
        }
        self.name.clear();
        area.copy_out(entry.name_range()?, &mut self.name).ok()?;
        subscriptions.find(std::str::from_utf8(&self.name).ok()?)
    }

    /// The channels that have something, and what they have.
    pub fn runs(&self) -> impl Iterator<Item = (ChannelId, &Run)> {
        self.channels.iter().copied().zip(&self.runs)
    }

    /// How many channels have something.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether nobody here listens to anything in the batch.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Builds the run of a client that listens to several channels, in the order of the log.
    pub fn merge(&self, memberships: &Memberships, into: &mut Run) {
        into.clear();
        for (channel, piece) in &self.in_order {
            if memberships.contains(*channel) {
                into.push(*piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(seq: u64, position: u64, frame_bytes: u32) -> Piece {
        Piece {
            seq,
            position,
            frame_bytes,
            alternate_bytes: 0,
        }
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut run = Run::default();
        run.push(piece(1, 100, 10));
        run.push(piece(2, 110, 5));
        run.push(piece(4, 200, 7));
        run.push(piece(5, 207, 1));
        assert_eq!(run.pieces.len(), 4);
        let joined = [
            Range {
                position: 100,
                bytes: 15,
            },
            Range {
                position: 200,
                bytes: 8,
            },
        ];
        assert_eq!(run.ranges(Variant::Frame), joined);
        assert_eq!(run.ranges(Variant::Alternate), joined);
    }

    #[test]
    fn both_variants_are_known_from_the_first_alternate_on() {
        let mut run = Run::default();
        run.push(piece(1, 100, 10));
        run.push(piece(2, 110, 10));
        run.push(Piece {
            alternate_bytes: 5,
            ..piece(3, 120, 10)
        });
        run.push(piece(4, 135, 10));
        let range = |position, bytes| Range { position, bytes };
        assert_eq!(run.ranges(Variant::Frame), [range(100, 30), range(135, 10)]);
        assert_eq!(
            run.ranges(Variant::Alternate),
            [range(100, 20), range(130, 15)]
        );
        run.clear();
        run.push(piece(5, 200, 10));
        assert_eq!(run.ranges(Variant::Alternate), [range(200, 10)]);
    }

    proptest! {
        /// Joined or not, the bytes of a run are those of its messages, in order.
        #[test]
        fn joined_ranges_are_the_bytes_of_the_messages(
            messages in prop::collection::vec((0_u64..2, 1_u32..4, 0_u32..4), 0..30),
        ) {
            let mut run = Run::default();
            let mut position = 0;
            for (seq, (gap, frame_bytes, alternate_bytes)) in (1..).zip(messages) {
                position += gap;
                run.push(Piece { alternate_bytes, ..piece(seq, position, frame_bytes) });
                position += u64::from(frame_bytes) + u64::from(alternate_bytes);
            }
            for variant in [Variant::Frame, Variant::Alternate] {
                let bytes = |range: &Range| range.position..range.end();
                let joined: Vec<u64> = run.ranges(variant).iter().flat_map(bytes).collect();
                let single = run.pieces.iter().map(|piece| piece.range(variant));
                let single: Vec<u64> = single.flat_map(|range| bytes(&range)).collect();
                prop_assert_eq!(joined, single);
                let apart = run.ranges(variant).windows(2).all(|pair| pair[0].end() != pair[1].position);
                prop_assert!(apart, "neighbours that are not joined");
            }
        }
    }

    #[test]
    fn a_range_never_grows_beyond_its_width() {
        let mut run = Run::default();
        run.push(piece(1, 0, u32::MAX));
        run.push(piece(2, u64::from(u32::MAX), 1));
        assert_eq!(run.ranges(Variant::Frame).len(), 2);
    }
}
