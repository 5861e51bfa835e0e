//! From the log to the clients that listen: a client is a cursor, not a queue.
//!
//! A client that keeps up is where its worker is, and gets what is new in one send straight from
//! the mapping. One that the kernel does not take from has a place of its own in the log and goes
//! on from there when it is writable. One that the log has overtaken is treated by its channel's policy (`laggards`).

use std::os::fd::AsFd;

use log::debug;

use crate::channel::{Batch, Memberships, Piece, Run, Variant};
use crate::event_loop::Key;
use crate::sharedarea::{Entry, Figures, Lapped, SharedArea};
use crate::sys::socket::{self, Progress};

use super::client::{Client, Marks};
use super::core::Core;
use super::half::{Behind, Half, NOTHING};
use super::trace::Trace;

/// Bytes that one client gets in one turn while it catches up; then the others have theirs.
const CATCH_UP_BYTES: u64 = 256 * 1024;
/// Entries that are looked at for one client in one turn.
const CATCH_UP_ENTRIES: u64 = 4096;

/// Most ranges in one send. The area takes 64 pieces, and one range may wrap into two.
const RANGES_PER_SEND_MAX: usize = 63;

/// How far a run went.
enum Sent {
    All,
    /// The kernel took so many bytes of it.
    Short(u64),
    Ended,
}

/// What is left of a turn's share for a client that catches up.
#[derive(Debug)]
pub(super) struct Share {
    bytes: u64,
    entries: u64,
}

impl Share {
    fn of_a_turn() -> Self {
        Self {
            bytes: CATCH_UP_BYTES,
            entries: CATCH_UP_ENTRIES,
        }
    }

    fn is_used_up(&self) -> bool {
        self.bytes == 0 || self.entries == 0
    }

    /// An entry was looked at, which took so many bytes.
    pub(super) fn use_up(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.entries = self.entries.saturating_sub(1);
    }
}

impl Core {
    /// Sends what is new in the log to the clients that listen to it.
    pub(super) fn fan_out(&mut self) {
        let head = self.area.head();
        if self.next > head {
            return;
        }
        self.adopt_indices();
        while self.next <= head {
            if self.subscriptions.is_empty() {
                self.next = head + 1;
                break;
            }
            let mut batch = std::mem::take(&mut self.batch);
            match self.deliver_some(&mut batch, head) {
                Ok(next) => self.next = next,
                Err(Lapped) => self.worker_lapped(),
            }
            self.batch = batch;
        }
        self.repin();
    }

    /// Brings the worker to the head of the log. Who is being read from gets first what has been
    /// said to it before, its opening handshake perhaps.
    pub(super) fn deliver_before_joining(&mut self) {
        if self.next <= self.area.head() {
            self.send_gathered();
            self.fan_out();
        }
    }

    /// Delivers what can be delivered together: an announced range, or messages up to the next one.
    /// Returns the first entry that was not looked at.
    fn deliver_some(&mut self, batch: &mut Batch, head: u64) -> Result<u64, Lapped> {
        let first = self.pin_from(self.next)?;
        if first.announced.is_some() {
            self.deliver_announced(&first, batch);
            return Ok(self.next + 1);
        }
        let next = batch.scan(&self.area, &self.subscriptions, self.next, head)?;
        self.deliver(batch);
        Ok(next)
    }

    /// Channels that had no place in the shared table when the first client came may have one now;
    /// what is published there does not carry their names any more. Done between reading the head
    /// and reading entries, so that no entry is read with an old view.
    fn adopt_indices(&mut self) {
        if !self.subscriptions.has_unindexed() {
            return;
        }
        let edition = self.participant.channel_edition();
        if std::mem::replace(&mut self.channel_edition, edition) == edition {
            return;
        }
        for (id, name) in self.subscriptions.unindexed() {
            if let Some(index) = self.participant.channel(&name) {
                let members = self.subscriptions.index(id, index);
                self.participant.set_interest(index, members);
            }
        }
        self.participant
            .set_wild(self.subscriptions.has_unindexed());
    }

    fn deliver(&mut self, batch: &Batch) {
        let mut several: Vec<Key> = Vec::new();
        for (channel, run) in batch.runs() {
            for index in 0..self.subscriptions.members(channel).len() {
                let key = self.subscriptions.members(channel)[index];
                match self.clients.get(key).map(|client| &client.memberships) {
                    Some(Memberships::Many(_)) if batch.len() > 1 => several.push(key),
                    Some(Memberships::Many(_) | Memberships::One(_) | Memberships::None) => {
                        self.send_run(key, run);
                    }
                    None => {}
                }
            }
        }
        several.sort_unstable();
        several.dedup();
        let mut merged = std::mem::take(&mut self.merged);
        for key in several {
            if let Some(client) = self.clients.get(key) {
                batch.merge(&client.memberships, &mut merged);
                self.send_run(key, &merged);
            }
        }
        self.merged = merged;
    }

    /// Sends a run to a client that keeps up; one that does not will come to it by its cursor.
    fn send_run(&mut self, key: Key, run: &Run) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Some(first) = run.pieces.first() else {
            return;
        };
        if client.marks.intersects(Marks::GONE | Marks::FROZEN) {
            return;
        }
        if let Some(behind) = &mut client.behind {
            behind.next = behind.next.min(first.seq);
            return;
        }
        if !client.outbox.is_empty() {
            let next = first.seq;
            return self.fall_behind(key, Behind::at(next, None));
        }
        match send_ranges(&self.area, client, run, &mut self.figures) {
            Sent::All => {
                client.trace_messages_out(run.pieces.len() as u64);
                self.delivered += run.pieces.len() as u64;
            }
            Sent::Short(bytes) => {
                let (whole, behind) = place(run, client.variant(), bytes, NOTHING);
                client.trace_messages_out(whole);
                self.delivered += whole;
                self.fall_behind(key, behind);
            }
            Sent::Ended => self.lost(key),
        }
    }

    /// From now on a client is at another place than its worker, or at another one than before.
    pub(super) fn fall_behind(&mut self, key: Key, mut behind: Behind) {
        if let Some(half) = behind.half.as_ref().filter(|half| half.rescued.is_none()) {
            self.oldest_half = self.oldest_half.min(half.frame.position);
            self.halves.push(key);
        }
        if let Some(client) = self.clients.get_mut(key) {
            self.laggards.push(key);
            if let Some(before) = client.behind.take() {
                behind.joined = before.joined;
            }
            client.behind = Some(Box::new(behind));
        }
    }

    /// Whether the client stands between two frames now.
    pub(super) fn finish_half(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        let Some(behind) = &mut client.behind else {
            return true;
        };
        while let Some(half) = &mut behind.half {
            let fd = client.transport.as_fd();
            let result = match &half.rescued {
                Some(copy) => socket::send(fd, &copy[half.sent as usize..]),
                None => socket::progress_of(self.area.send(fd, &[half.rest()])),
            };
            match result {
                Ok(Progress::Moved(bytes)) => {
                    let finished = half.sent as usize + bytes >= half.frame.bytes as usize;
                    trace_half(&mut client.trace, bytes, finished);
                    self.figures.bytes_out += bytes as u64;
                    half.sent += u32::try_from(bytes).unwrap_or(u32::MAX);
                    if half.sent >= half.frame.bytes {
                        behind.half = None;
                        self.delivered += 1;
                    }
                }
                Ok(Progress::Blocked) => return false,
                Ok(Progress::Ended) | Err(_) => {
                    self.lost(key);
                    return false;
                }
            }
        }
        true
    }

    /// Those who had their share of the last turn get that of this one.
    pub(super) fn go_on_catching_up(&mut self) {
        for key in self.catching_up.take() {
            self.push_out(key);
        }
    }

    /// Sends a client that stands between two frames what it has missed, one share in a turn.
    pub(super) fn catch_up(&mut self, key: Key) {
        if self.catching_up.contains(key) {
            return;
        }
        let mut share = Share::of_a_turn();
        let mut run = std::mem::take(&mut self.merged);
        while let Some(client) = self.clients.get_mut(key)
            && let Some(behind) = &mut client.behind
            && client.outbox.is_empty()
        {
            let next = behind.next;
            if next >= self.next || matches!(client.memberships, Memberships::None) {
                client.behind = None;
                break;
            }
            if share.is_used_up() {
                self.catching_up.push(key);
                break;
            }
            match self.pass_announced(key, next, &mut share) {
                Some(true) => continue,
                Some(false) => break,
                None => {}
            }
            let Ok(end) = self.gather(key, next, &mut run, &mut share) else {
                self.lag(key);
                continue;
            };
            let Some(client) = self.clients.get_mut(key) else {
                break;
            };
            match send_ranges(&self.area, client, &run, &mut self.figures) {
                Sent::All => {
                    client.trace_messages_out(run.pieces.len() as u64);
                    self.delivered += run.pieces.len() as u64;
                    self.go_on_from(key, end);
                }
                Sent::Short(bytes) => {
                    let (whole, behind) = place(&run, client.variant(), bytes, end);
                    client.trace_messages_out(whole);
                    self.delivered += whole;
                    self.fall_behind(key, behind);
                    break;
                }
                Sent::Ended => {
                    self.lost(key);
                    break;
                }
            }
        }
        self.merged = run;
        self.repin();
    }

    /// Collects what a client listens to, from `next` on but not beyond where the worker is nor
    /// beyond its share; returns the first entry that was not looked at.
    fn gather(
        &mut self,
        key: Key,
        next: u64,
        run: &mut Run,
        share: &mut Share,
    ) -> Result<u64, Lapped> {
        run.clear();
        let _first = self.pin_from(next)?;
        let variant = self
            .clients
            .get(key)
            .map_or(Variant::Frame, Client::variant);
        for seq in next..self.next {
            if share.is_used_up() || run.ranges(variant).len() >= RANGES_PER_SEND_MAX {
                return Ok(seq);
            }
            let entry = self.area.entry(seq)?;
            if entry.announced.is_some() {
                return Ok(seq);
            }
            let mut bytes = 0;
            let channel = self.batch.listened(&self.area, &self.subscriptions, &entry);
            let client = self.clients.get(key);
            if let (Some(channel), Some(client)) = (channel, client)
                && client.listens(channel, seq)
                && self.is_due(channel, seq)
            {
                let piece = Piece::of(&entry);
                run.push(piece);
                bytes = u64::from(piece.range(variant).bytes);
            }
            share.use_up(bytes);
        }
        Ok(self.next)
    }

    /// From now on no writer overwrites the spool from the entry `seq` on, if it is still there; it is
    /// returned.
    pub(super) fn pin_from(&self, seq: u64) -> Result<Entry, Lapped> {
        let entry = self.area.entry(seq)?;
        let start = entry.record_position();
        if self.participant.pin(self.oldest_half.min(start)) {
            Ok(entry)
        } else {
            Err(Lapped)
        }
    }

    pub(super) fn repin(&self) {
        if self.oldest_half == u64::MAX {
            self.participant.unpin();
        } else {
            // A pin that moves up is always taken.
            let _pinned: bool = self.participant.pin(self.oldest_half);
        }
    }

    /// The log was faster than this worker: all who listen have missed something.
    fn worker_lapped(&mut self) {
        let head = self.area.head();
        debug!(
            "the log has overtaken this worker at entry {}, now at {head}",
            self.next
        );
        self.next = head + 1;
        for key in self.clients.keys() {
            let Some(client) = self.clients.get(key) else {
                continue;
            };
            if !matches!(client.memberships, Memberships::None) {
                self.lag(key);
            }
        }
    }
}

/// A piece of a half-sent frame went to a client.
fn trace_half(trace: &mut Option<Box<Trace>>, bytes: usize, finished: bool) {
    if let Some(trace) = trace {
        trace.traffic.bytes_out += bytes as u64;
        trace.traffic.messages_out += u64::from(finished);
    }
}

fn send_ranges(area: &SharedArea, client: &mut Client, run: &Run, figures: &mut Figures) -> Sent {
    let mut sent = 0;
    for ranges in run.ranges(client.variant()).chunks(RANGES_PER_SEND_MAX) {
        let wanted: u64 = ranges.iter().map(|range| u64::from(range.bytes)).sum();
        match socket::progress_of(area.send(client.transport.as_fd(), ranges)) {
            Ok(Progress::Moved(bytes)) => {
                client.count_out(bytes, figures);
                sent += bytes as u64;
                if (bytes as u64) < wanted {
                    return Sent::Short(sent);
                }
            }
            Ok(Progress::Blocked) => return Sent::Short(sent),
            Ok(Progress::Ended) | Err(_) => return Sent::Ended,
        }
    }
    Sent::All
}

/// Where a client stands that got the first `sent` bytes of a run in this variant, and how many whole
/// frames that were. What follows the run begins at `end`.
fn place(run: &Run, variant: Variant, mut sent: u64, end: u64) -> (u64, Behind) {
    for (at, piece) in run.pieces.iter().enumerate() {
        let frame = piece.range(variant);
        let bytes = u64::from(frame.bytes);
        if sent < bytes {
            let following = run.pieces.get(at + 1).map_or(end, |next| next.seq);
            let behind = match u32::try_from(sent) {
                Ok(sent @ 1..) => {
                    let half = Half {
                        frame,
                        sent,
                        rescued: None,
                    };
                    Behind::at(following, Some(half))
                }
                Ok(0) | Err(_) => Behind::at(piece.seq, None),
            };
            return (at as u64, behind);
        }
        sent -= bytes;
    }
    (run.pieces.len() as u64, Behind::at(end, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_by_bytes_or_by_entries() {
        let entries = |bytes_each| {
            let mut share = Share::of_a_turn();
            std::iter::from_fn(|| (!share.is_used_up()).then(|| share.use_up(bytes_each))).count()
        };
        assert_eq!(entries(0) as u64, CATCH_UP_ENTRIES);
        assert_eq!(entries(CATCH_UP_BYTES / 2), 2);
        assert_eq!(entries(CATCH_UP_BYTES * 2), 1);
    }

    #[test]
    fn a_short_send_is_found_in_its_run() {
        let mut run = Run::default();
        for (seq, position, alternate_bytes) in [(3, 100, 0), (5, 110, 4), (6, 500, 0)] {
            run.push(Piece {
                seq,
                position,
                frame_bytes: 10,
                alternate_bytes,
            });
        }
        let at = |variant, sent| {
            let (whole, behind) = place(&run, variant, sent, 9);
            (
                whole,
                behind.next,
                behind.half.map(|half| (half.frame.position, half.sent)),
            )
        };
        let frames = |sent| at(Variant::Frame, sent);
        assert_eq!(frames(0), (0, 3, None));
        assert_eq!(frames(1), (0, 5, Some((100, 1))));
        assert_eq!(frames(10), (1, 5, None));
        assert_eq!(frames(19), (1, 6, Some((110, 9))));
        assert_eq!(frames(29), (2, 9, Some((500, 9))));
        assert_eq!(frames(30), (3, 9, None));
        let alternates = |sent| at(Variant::Alternate, sent);
        assert_eq!(alternates(9), (0, 5, Some((100, 9))));
        assert_eq!(alternates(10), (1, 5, None));
        assert_eq!(alternates(13), (1, 6, Some((120, 3))));
        assert_eq!(alternates(14), (2, 6, None));
        assert_eq!(alternates(24), (3, 9, None));
    }
}
