//! Sending from areas: a range to one client, an announced range to all who listen, and telling apps
//! that an area was updated.
//!
//! An announced range is sent from where it lies, with the area's read lock held, so that nobody who
//! uses the lock can change it under the system call. What must outlive the lock is copied at once, one
//! copy for all clients: when a send falls short, and when a writer waits. A range that was changed
//! before a client's turn came is left out for that client.

use std::os::fd::AsFd;
use std::rc::Rc;

use crate::app::{AreaRange, PublishError, SendError};
use crate::channel::{Batch, ChannelName, kind_of};
use crate::event_loop::Key;
use crate::protocol::websocket::{FrameHeader, Kind, frame_header};
use crate::sharedarea::{Announced, Area, AreaError, Entry, Range, Reading, SharedArea};
use crate::sys::socket::{self, Progress};

use super::broadcast::Share;
use super::client::{Client, Marks};
use super::core::Core;
use super::half::{Behind, Half, NOTHING};

/// An area that an app wants to be told about.
#[derive(Debug)]
pub(super) struct Watched {
    area: Area,
    /// Updates that the apps were told about; `None`: not yet.
    told: Option<u64>,
}

/// An announced range on its way to clients.
struct Sending<'a> {
    seq: u64,
    range: Announced,
    header: FrameHeader,
    source: Source<'a>,
}

/// Where the bytes come from.
enum Source<'a> {
    /// The area itself, protected by its read lock.
    Area(Reading<'a>),
    /// A copy of the whole frame.
    Copy(Rc<Vec<u8>>),
    /// Nowhere: the range has changed.
    Stale,
}

/// What came of sending the range to one client.
enum Outcome {
    All,
    /// The kernel took nothing.
    Blocked,
    /// The kernel took this much; the rest must come from the copy.
    Half(Half),
    Stale,
    Lost,
}

impl<'a> Sending<'a> {
    /// `None` for an announcement that makes no sense.
    fn new(entry: &Entry, area: &'a Result<Area, AreaError>, core: &mut Core) -> Option<Self> {
        let range = entry.announced?;
        let area = area.as_ref().ok()?;
        let mut sending = Self {
            seq: entry.seq,
            range,
            header: frame_header(kind_of(entry.flags), false, range.bytes as usize),
            source: Source::Stale,
        };
        sending.source = match core.rescued.of_entry(entry.seq) {
            Some(copy) => Source::Copy(copy),
            None => Reading::of_announced(area, &range).map_or(Source::Stale, Source::Area),
        };
        if !area.is_mapped() {
            sending.let_go(core);
        }
        Some(sending)
    }

    fn frame_bytes(&self) -> usize {
        self.header.as_bytes().len() + self.range.bytes as usize
    }

    /// Copies the frame, if that has not been done yet, and gives the lock back.
    fn let_go(&mut self, core: &mut Core) {
        if let Source::Area(reading) = &self.source {
            let copy = self.copy(reading, core);
            self.source = copy.map_or(Source::Stale, Source::Copy);
        }
    }

    /// A copy of the whole frame; `None` when no more may be copied, or it would not be whole.
    fn copy(&self, reading: &Reading<'_>, core: &mut Core) -> Option<Rc<Vec<u8>>> {
        if !core.rescued.has_room(self.frame_bytes()) {
            return None;
        }
        let mut frame = Vec::with_capacity(self.frame_bytes());
        frame.extend_from_slice(self.header.as_bytes());
        let bytes = Some(u64::from(self.range.bytes));
        reading.copy(self.range.position, bytes, &mut frame).ok()?;
        let frame = Rc::new(frame);
        reading.is_still(&self.range).then(|| {
            core.rescued.keep(self.seq, &frame);
            frame
        })
    }

    /// Sends the frame to a client that stands between two frames and for whom nothing waits.
    fn send(&mut self, key: Key, core: &mut Core) -> Outcome {
        let Some(client) = core.clients.get_mut(key) else {
            return Outcome::Lost;
        };
        let fd = client.transport.as_fd();
        let progress = match &self.source {
            Source::Stale => return Outcome::Stale,
            Source::Copy(copy) => socket::send(fd, copy),
            Source::Area(reading) => socket::progress_of(reading.send(
                fd,
                self.header.as_bytes(),
                self.range.position,
                u64::from(self.range.bytes),
            )),
        };
        let sent = match progress {
            Ok(Progress::Moved(bytes)) => bytes,
            Ok(Progress::Blocked) => return Outcome::Blocked,
            Ok(Progress::Ended) | Err(_) => return Outcome::Lost,
        };
        client.count_out(sent, &mut core.figures);
        if sent >= self.frame_bytes() {
            client.trace_messages_out(1);
            return Outcome::All;
        }
        self.let_go(core);
        match &self.source {
            Source::Copy(copy) => half(copy, sent),
            // It cannot be finished, and half of it is out.
            Source::Area(_) | Source::Stale => Outcome::Lost,
        }
    }

    /// Lets a writer in that waits for us.
    fn give_way(&mut self, core: &mut Core) {
        if let Source::Area(reading) = &self.source
            && reading.is_in_the_way()
        {
            self.let_go(core);
        }
    }
}

fn half(copy: &Rc<Vec<u8>>, sent: usize) -> Outcome {
    // A frame's length was checked to fit 32 bits.
    let (Ok(bytes), Ok(sent)) = (u32::try_from(copy.len()), u32::try_from(sent)) else {
        return Outcome::Lost;
    };
    Outcome::Half(Half {
        // It is nowhere in the spool: only the copy counts.
        frame: Range { position: 0, bytes },
        sent,
        rescued: Some(Rc::clone(copy)),
    })
}

impl Core {
    /// Sends an announced range to all who listen. The spool is pinned at the entry.
    pub(super) fn deliver_announced(&mut self, entry: &Entry, batch: &mut Batch) {
        let Some(channel) = batch.listened(&self.area, &self.subscriptions, entry) else {
            return;
        };
        let area = announced_area(&self.area, entry);
        let Some(mut sending) = Sending::new(entry, &area, self) else {
            return;
        };
        for index in 0..self.subscriptions.members(channel).len() {
            let key = self.subscriptions.members(channel)[index];
            self.deliver_announced_to(key, &mut sending);
            sending.give_way(self);
        }
    }

    fn deliver_announced_to(&mut self, key: Key, sending: &mut Sending<'_>) {
        let seq = sending.seq;
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if client.marks.intersects(Marks::GONE | Marks::FROZEN) {
            return;
        }
        if let Some(behind) = &mut client.behind {
            behind.next = behind.next.min(seq);
            return;
        }
        let not_now = Behind::at(seq, None);
        if !client.outbox.is_empty() {
            return self.fall_behind(key, not_now);
        }
        match sending.send(key, self) {
            Outcome::All => self.delivered += 1,
            Outcome::Blocked => self.fall_behind(key, not_now),
            Outcome::Half(half) => self.fall_behind(key, Behind::at(NOTHING, Some(half))),
            Outcome::Stale => self.stale += 1,
            Outcome::Lost => self.lost(key),
        }
    }

    /// If the next entry for a client that catches up is an announcement, passes it: sends the range or
    /// leaves it out. `None`: it is none. `Some(false)`: the client is blocked or gone.
    pub(super) fn pass_announced(
        &mut self,
        key: Key,
        next: u64,
        share: &mut Share,
    ) -> Option<bool> {
        let entry = self.pin_from(next).ok()?;
        let range = entry.announced?;
        let channel = self.batch.listened(&self.area, &self.subscriptions, &entry);
        let client = self.clients.get(key)?;
        let is_for_it = channel
            .is_some_and(|channel| client.listens(channel, next) && self.is_due(channel, next));
        if !is_for_it {
            share.use_up(0);
            return Some(self.go_on_from(key, next + 1));
        }
        let area = announced_area(&self.area, &entry);
        let outcome = match Sending::new(&entry, &area, self) {
            Some(mut sending) => sending.send(key, self),
            None => Outcome::Stale,
        };
        match outcome {
            Outcome::All => {
                self.delivered += 1;
                share.use_up(u64::from(range.bytes));
            }
            Outcome::Stale => {
                self.stale += 1;
                share.use_up(0);
            }
            Outcome::Blocked => return Some(false),
            Outcome::Lost => {
                self.lost(key);
                return Some(false);
            }
            Outcome::Half(half) => {
                self.fall_behind(key, Behind::at(next + 1, Some(half)));
                return Some(false);
            }
        }
        Some(self.go_on_from(key, next + 1))
    }

    /// Moves a client that is behind on; whether it still is.
    pub(super) fn go_on_from(&mut self, key: Key, next: u64) -> bool {
        let client = self.clients.get_mut(key);
        match client.and_then(|client| client.behind.as_mut()) {
            Some(behind) => {
                behind.next = next;
                true
            }
            None => false,
        }
    }

    /// Sends a range to one client.
    pub(super) fn send_range(
        &mut self,
        key: Key,
        range: AreaRange,
        kind: Kind,
    ) -> Result<(), SendError> {
        let area = self.area.area(range.area)?;
        let bytes = area.message_bytes(range.position, range.bytes)?;
        if !self.clients.get(key).is_some_and(Client::is_open) {
            return Err(SendError::NotOpen);
        }
        if self.is_full(key) {
            return Err(SendError::Full);
        }
        let reading = area.reading()?;
        let header = frame_header(kind, false, bytes as usize);
        self.send_from(key, &reading, header.as_bytes(), (range.position, bytes))?;
        self.count_message_out(key);
        Ok(())
    }

    /// Announces a range, or queues the announcement when the log does not take it now.
    pub(super) fn announce_or_wait(
        &mut self,
        range: AreaRange,
        channel: ChannelName<'_>,
        kind: Kind,
    ) -> Result<(), PublishError> {
        let area = self.area.area(range.area)?;
        let announced = area.announcement(range.position, range.bytes)?;
        self.announce_range(channel, announced, kind)
    }

    /// From now on apps are told when the area was updated, or not any more.
    pub(super) fn set_watched(&mut self, id: u8, on: bool) -> Result<(), AreaError> {
        let area = self.area.area(id)?;
        let known = self
            .watched
            .iter()
            .position(|watched| watched.area.id() == id);
        match (known, on) {
            (Some(_), true) | (None, false) => {}
            (Some(at), false) => {
                area.set_watched(false)?;
                self.watched.swap_remove(at);
            }
            (None, true) => {
                area.set_watched(true)?;
                self.watched.push(Watched { area, told: None });
                self.again = true;
            }
        }
        Ok(())
    }

    /// The areas that were updated since this was last asked, and their counters.
    pub(super) fn take_updates(&mut self) -> Vec<(u8, u64)> {
        let mut updates = Vec::new();
        for watched in &mut self.watched {
            let now = watched.area.updates();
            if watched.told != Some(now) {
                watched.told = Some(now);
                updates.push((watched.area.id(), now));
            }
        }
        updates
    }

    /// Whether apps know all updates. After parking, nothing that comes later is missed: it rings.
    pub(super) fn knows_updates(&self) -> bool {
        let known = |watched: &Watched| watched.told == Some(watched.area.updates());
        self.watched.iter().all(known)
    }
}

/// The area that an entry announces a range of, if the range lies inside.
fn announced_area(area: &SharedArea, entry: &Entry) -> Result<Area, AreaError> {
    let range = entry.announced.ok_or(AreaError::NoArea)?;
    area.announced_area(&range)
}
