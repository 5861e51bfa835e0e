//! Clients that lag behind the log, and the frames that are half sent to them.
//!
//! A client's place in the log is a number, so a slow client costs no queue. Only a frame that the
//! kernel has taken half of must stay: it is pinned in the spool. When it grows old, or a
//! writer is waiting for its place, it is copied out once, for all that hang at the same frame.

use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::channel::ChannelId;
use crate::sharedarea::{Range, SharedArea};

/// Bytes of copied frames in one worker, at most; beyond that the laggards are dropped.
pub(super) const RESCUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// No entry of the log waits for the client.
pub(super) const NOTHING: u64 = u64::MAX;

/// A client that is not where its worker is.
#[derive(Debug)]
pub(super) struct Behind {
    /// The first entry of the log that is for it and that it has not got, or one before that;
    /// [`NOTHING`] when there is none.
    pub(super) next: u64,
    /// The frame before that, if it is half sent.
    pub(super) half: Option<Half>,
    /// Channels that it has come to since it is behind, each with the first entry that is for it.
    pub(super) joined: Vec<(ChannelId, u64)>,
}

impl Behind {
    pub(super) fn at(next: u64, half: Option<Half>) -> Self {
        Self {
            next,
            half,
            joined: Vec::new(),
        }
    }

    /// It listens to `channel` from the entry `first` on.
    pub(super) fn join(&mut self, channel: ChannelId, first: u64) {
        self.joined.retain(|(other, _)| *other != channel);
        self.joined.push((channel, first));
    }

    /// Whether it listened to `channel`, which it listens to now, when the entry `seq` was written.
    pub(super) fn listened(&self, channel: ChannelId, seq: u64) -> bool {
        let too_early = |(other, first): &(ChannelId, u64)| *other == channel && seq < *first;
        !self.joined.iter().any(too_early)
    }
}

/// A frame that must be finished before anything else is sent.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) frame: Range,
    pub(super) sent: u32,
    pub(super) rescued: Option<Rc<Vec<u8>>>,
}

impl Half {
    /// What is left of it in the spool.
    pub(super) fn rest(&self) -> Range {
        Range {
            position: self.frame.position + u64::from(self.sent),
            bytes: self.frame.bytes - self.sent,
        }
    }
}

/// Copies of frames, shared by all clients that hang at the same one.
#[derive(Debug, Default)]
pub(super) struct Rescued {
    by_range: HashMap<Range, Weak<Vec<u8>>>,
    /// Frames of announced ranges, by the number of the entry.
    by_entry: HashMap<u64, Weak<Vec<u8>>>,
}

impl Rescued {
    /// The copy of a frame that is pinned; `None` when no more may be copied.
    pub(super) fn copy(&mut self, area: &SharedArea, frame: Range) -> Option<Rc<Vec<u8>>> {
        if let Some(copy) = self.by_range.get(&frame).and_then(Weak::upgrade) {
            return Some(copy);
        }
        if !self.has_room(frame.bytes as usize) {
            return None;
        }
        let mut bytes = Vec::with_capacity(frame.bytes as usize);
        area.copy_out(frame, &mut bytes).ok()?;
        let copy = Rc::new(bytes);
        self.by_range.insert(frame, Rc::downgrade(&copy));
        Some(copy)
    }

    /// The copy of an announced range's frame, if somebody still hangs at it.
    pub(super) fn of_entry(&self, seq: u64) -> Option<Rc<Vec<u8>>> {
        self.by_entry.get(&seq).and_then(Weak::upgrade)
    }

    /// Remembers the frame of an announced range.
    pub(super) fn keep(&mut self, seq: u64, frame: &Rc<Vec<u8>>) {
        self.by_entry.insert(seq, Rc::downgrade(frame));
    }

    /// Whether so many bytes more may be copied.
    pub(super) fn has_room(&mut self, bytes: usize) -> bool {
        self.by_range.retain(|_, copy| copy.strong_count() > 0);
        self.by_entry.retain(|_, copy| copy.strong_count() > 0);
        self.bytes() + bytes <= RESCUED_BYTES_MAX
    }

    /// Bytes of all copies.
    pub(super) fn bytes(&self) -> usize {
        self.by_range
            .values()
            .chain(self.by_entry.values())
            .filter_map(Weak::upgrade)
            .map(|copy| copy.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharedarea::Geometry;

    #[test]
    fn a_copy_is_shared_by_those_who_hang_at_the_same_range_and_by_nobody_else() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let range = |bytes| Range {
            position: 100,
            bytes,
        };
        let mut rescued = Rescued::default();
        let first = rescued.copy(&area, range(10)).unwrap();
        assert!(Rc::ptr_eq(&first, &rescued.copy(&area, range(10)).unwrap()));
        // Two entries that claim the same place: nobody can have written them.
        assert_eq!(rescued.copy(&area, range(2000)).unwrap().len(), 2000);
        assert_eq!(rescued.bytes(), 10, "the copy nobody holds is gone");
    }
}
