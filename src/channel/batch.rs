//! A stretch of the log, sorted by the channels that somebody here listens to.
//!
//! A run holds what one channel's members have to get: the frames one by one, to know which of
//! them a short send has cut, and the same bytes with neighbours joined, to send them with as few
//! vectors as possible. Frames of a busy channel lie side by side in the spool, so a run is mostly
//! one range.

use crate::channel::{ChannelId, Memberships, Subscriptions};
use crate::sharedarea::{Entry, Lapped, Range, SharedArea};

/// Most entries that one batch takes.
const ENTRIES_PER_BATCH_MAX: u64 = 4096;

/// One frame of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its place in the log.
    pub seq: u64,
    /// Its bytes in the spool.
    pub range: Range,
}

/// Frames that go to the same clients, in log order.
#[derive(Debug, Default)]
pub struct Run {
    /// Frame by frame.
    pub pieces: Vec<Piece>,
    /// The same bytes with neighbours joined.
    pub ranges: Vec<Range>,
}

impl Run {
    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.ranges.clear();
    }

    /// Appends a frame.
    pub fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
        if let Some(last) = self.ranges.last_mut()
            && last.position + u64::from(last.bytes) == piece.range.position
            && let Some(bytes) = last.bytes.checked_add(piece.range.bytes)
        {
            last.bytes = bytes;
        } else {
            self.ranges.push(piece.range);
        }
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
                self.push(
                    channel,
                    Piece {
                        seq,
                        range: entry.range(),
                    },
                );
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
        if !subscriptions.has_unindexed() {
            return None;
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
    use super::*;

    fn piece(seq: u64, position: u64, bytes: u32) -> Piece {
        Piece {
            seq,
            range: Range { position, bytes },
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
        assert_eq!(run.ranges, joined);
    }

    #[test]
    fn a_range_never_grows_beyond_its_width() {
        let mut run = Run::default();
        run.push(piece(1, 0, u32::MAX));
        run.push(piece(2, u64::from(u32::MAX), 1));
        assert_eq!(run.ranges.len(), 2);
    }
}
