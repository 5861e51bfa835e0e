//! A process that takes part in an area: it owns a slot of the board, publishes, pins, parks and shows
//! its figures. It must not know what its clients are.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::algorithm::areas;
use super::algorithm::board;
use super::algorithm::channels::{self, Name};
use super::algorithm::lock::{self, Identity, Patience};
use super::algorithm::memory::Memory;
use super::algorithm::publish::{self, Record, Step};
use super::algorithm::{bell, pin};
use super::area::Inner;
use super::objects::Objects;
use super::publication::{Announcement, Publication, PublishError, Published};
use crate::sys::memory as sys_memory;

/// What a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ParticipantKind {
    /// Serves clients; never sleeps to publish.
    Worker = 1,
    /// Supervises; may sleep to publish.
    Master = 2,
    /// Carries messages between machines; may sleep to publish.
    Bridge = 3,
    /// Any other writer; may sleep to publish.
    External = 4,
}

impl ParticipantKind {
    /// How often it may sleep for a busy lock or busy space when it publishes.
    fn patience(self) -> Patience {
        match self {
            Self::Worker => Patience(0),
            Self::Master | Self::Bridge | Self::External => Patience(32),
        }
    }

    pub(super) fn of_word(word: u32) -> Option<Self> {
        [Self::Worker, Self::Master, Self::Bridge, Self::External]
            .into_iter()
            .find(|kind| *kind as u32 == word)
    }
}

/// What a participant is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ParticipantState {
    /// It has taken its slot and is not ready.
    Starting = 1,
    /// It serves.
    Ready = 2,
    /// It takes no new clients.
    Draining = 3,
}

impl ParticipantState {
    pub(super) fn of_word(word: u32) -> Option<Self> {
        [Self::Starting, Self::Ready, Self::Draining]
            .into_iter()
            .find(|state| *state as u32 == word)
    }
}

/// A lookup that inserts may sleep this often even in a worker: it happens once per subscription.
const CHANNEL_PATIENCE: Patience = Patience(4);

/// A process's place in the area. Dropping it leaves the area; in a process that inherited it over fork,
/// dropping only closes the descriptor (and must happen, or the parent's death goes unnoticed).
#[derive(Debug)]
pub struct Participant {
    area: Rc<Inner>,
    pub(super) identity: Identity,
    kind: ParticipantKind,
    pid: u32,
    /// The spool from here on is known to be protected by our pin.
    protected: Cell<u64>,
    /// Look-ups that failed because the lock was busy.
    postponed: u64,
    /// Holds the byte lock of the slot: the proof of life.
    _alive: OwnedFd,
}

impl Participant {
    pub(super) fn join(area: Rc<Inner>, kind: ParticipantKind, slot: u16) -> io::Result<Self> {
        if slot >= board::PARTICIPANT_COUNT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let objects = &area.objects;
        let alive = sys_memory::reopen(objects.fds().board)?;
        if !sys_memory::try_lock_byte(alive.as_fd(), slot)? {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        clean_slot(objects, slot);
        let half = |field| objects.board32(board::participant(slot, field));
        let pid = std::process::id();
        half(board::PARTICIPANT_KIND).store(kind as u32, Ordering::Relaxed);
        half(board::PARTICIPANT_STATE).store(ParticipantState::Starting as u32, Ordering::Relaxed);
        half(board::PARTICIPANT_PID).store(pid, Ordering::Relaxed);
        // From here on a lock that our predecessor left is seen as a dead one's.
        let generation = half(board::PARTICIPANT_GENERATION)
            .fetch_add(1, Ordering::Release)
            .wrapping_add(1);
        objects
            .board64(board::JOINED)
            .fetch_or(board::bit(slot), Ordering::Relaxed);
        let identity = Identity { slot, generation };
        area.identity.set(Some(identity));
        if lock::is_orphaned(objects, board::LOCK, identity, slot) {
            recover(objects, identity);
        }
        areas::recover_all(objects, identity, slot);
        let protected = Cell::new(board::PIN_NONE);
        Ok(Self {
            area,
            identity,
            kind,
            pid,
            protected,
            postponed: 0,
            _alive: alive,
        })
    }

    /// The slot, 0..64.
    #[must_use]
    pub fn slot(&self) -> u16 {
        self.identity.slot
    }

    /// Which of the slot's successive owners this is.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.identity.generation
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.area.objects
    }

    /// Publishes a message: one copy into the spool, one entry, one ring if a concerned worker sleeps.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published.
    pub fn publish(&mut self, publication: &Publication<'_>) -> Result<Published, PublishError> {
        self.publish_traced(publication, &mut |_| {})
    }

    /// As [`Participant::publish`], telling each step; for tests that stop a writer half way.
    #[doc(hidden)]
    pub fn publish_traced(
        &mut self,
        publication: &Publication<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Result<Published, PublishError> {
        let objects = &self.area.objects;
        let name = Name::new(publication.channel, objects.hash_key())
            .ok_or(PublishError::InvalidChannel)?;
        let sum = |parts: &[&[u8]]| parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let frame_bytes = sum(publication.parts);
        let bytes = frame_bytes + name.bytes().len() as u64;
        let max = objects.geometry().record_bytes_max();
        // Whoever reads alternates reads the frame as well.
        let alternate = match bytes + sum(publication.alternate) <= max {
            true => publication.alternate,
            false => &[],
        };
        let (Ok(frame_bytes), Ok(alternate_bytes), true) = (
            u32::try_from(frame_bytes),
            u32::try_from(sum(alternate)),
            bytes <= max,
        ) else {
            return Err(PublishError::TooLarge { bytes, max });
        };
        let record = Record {
            name,
            parts: publication.parts,
            alternate,
            frame_bytes,
            alternate_bytes,
            flags: publication.flags,
            origin: publication.origin,
            time_us: publication.time_us,
            announced: None,
        };
        self.append(&record, trace)
    }

    /// Publishes a range of an area, by one entry and without a copy: each worker sends it from where it
    /// lies, or skips it if the area has been updated since [`super::Area::announcement`].
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published.
    pub fn announce(&mut self, announcement: &Announcement<'_>) -> Result<Published, PublishError> {
        let name = Name::new(announcement.channel, self.objects().hash_key())
            .ok_or(PublishError::InvalidChannel)?;
        let record = Record {
            name,
            parts: &[],
            alternate: &[],
            frame_bytes: 0,
            alternate_bytes: 0,
            flags: announcement.flags,
            origin: 0,
            time_us: announcement.time_us,
            announced: Some(announcement.range),
        };
        self.append(&record, &mut |_| {})
    }

    fn append(
        &self,
        record: &Record<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Result<Published, PublishError> {
        let objects = self.objects();
        match publish::publish(objects, self.identity, self.kind.patience(), record, trace) {
            Ok(committed) => Ok(Published {
                seq: committed.seq,
                offset: committed.offset,
                epoch: if committed.offset == 0 {
                    0
                } else {
                    objects.epoch(committed.epoch)
                },
            }),
            Err(publish::WouldBlock) => {
                objects
                    .board64(board::WOULD_BLOCK)
                    .fetch_add(1, Ordering::Relaxed);
                Err(PublishError::WouldBlock)
            }
        }
    }

    /// The channel's index in the table, inserting the name if it is new. The index stays the channel's
    /// until this participant's next `channel` call, and longer for as long as it has subscribers there.
    ///
    /// `None`: the table has no room, the name is longer than 72 bytes, or the lock is busy. Such a
    /// channel travels by name: match entries whose `channel` is `None` by [`super::Entry::name_range`],
    /// keep [`Participant::set_wild`] on meanwhile, and ask again when [`Participant::channel_edition`] has
    /// changed, before processing entries up to a newly read head.
    pub fn channel(&mut self, name: &str) -> Option<u32> {
        let objects = &self.area.objects;
        let slot = self.identity.slot;
        let name = Name::new(name, objects.hash_key())?;
        if let Some(index) = channels::visit(objects, slot, &name) {
            return Some(index);
        }
        channels::end_visit(objects, slot);
        if publish::enter(objects, self.identity, CHANNEL_PATIENCE).is_err() {
            self.postponed += 1;
            return None;
        }
        let index = channels::find_or_insert(objects, &name, &mut |_| {});
        if let Some(index) = index {
            channels::announce_visit(objects, slot, index);
        }
        lock::release(objects);
        index
    }

    /// Changes when a channel has got a slot, or when a look-up of ours should be tried again.
    #[must_use]
    pub fn channel_edition(&self) -> u64 {
        let edition = self
            .objects()
            .board32(board::EDITION)
            .load(Ordering::Relaxed);
        (self.postponed << 32) ^ u64::from(edition)
    }

    /// Says how many of this process's clients subscribe to channel `index`. 0 gives the index up.
    pub fn set_interest(&mut self, index: u32, subscribers: u32) {
        let objects = &self.area.objects;
        if index >= objects.geometry().channels {
            return;
        }
        let slot = self.identity.slot;
        let shown = u16::try_from(subscribers).unwrap_or(u16::MAX);
        objects
            .subscribers(index, slot)
            .store(shown, Ordering::Relaxed);
        channels::set_interest(objects, slot, index, subscribers > 0);
    }

    /// Says whether this process wants to be woken for every channel.
    pub fn set_wild(&mut self, on: bool) {
        self.set_bit(board::WILD, on);
    }

    /// Says whether some client of this process reads alternates.
    pub fn set_deflating(&mut self, on: bool) {
        self.set_bit(board::DEFLATING, on);
    }

    fn set_bit(&self, bitmap: usize, on: bool) {
        let bitmap = self.objects().board64(bitmap);
        let bit = board::bit(self.identity.slot);
        if on {
            bitmap.fetch_or(bit, Ordering::Relaxed);
        } else {
            bitmap.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether a message to this channel should have an alternate: a process with a subscriber has clients
    /// that read them. A hint, given without the lock; whoever finds no alternate takes the frame.
    #[must_use]
    pub fn wants_alternate(&self, channel: &str) -> bool {
        let objects = self.objects();
        let word = |at| objects.board64(at).load(Ordering::Relaxed);
        let deflating = word(board::DEFLATING);
        if deflating == 0 {
            return false;
        }
        let index =
            Name::new(channel, objects.hash_key()).and_then(|name| channels::find(objects, &name));
        let interest = index.map_or(0, |index| {
            word(board::channel(index, board::CHANNEL_INTEREST))
        });
        deflating & (interest | word(board::WILD)) != 0
    }

    /// Names the oldest spool byte that this process may still hand to the kernel. `true`: all bytes
    /// from there on stay as they are until the pin moves up or away. `false`: they were given up
    /// already, the client is lapped, and the pin has not changed. A pin that moves up is always `true`.
    pub fn pin(&self, position: u64) -> bool {
        let protected = self.protected.get();
        match pin::set(self.objects(), self.identity.slot, position, protected) {
            Some(protected) => {
                self.protected.set(protected);
                true
            }
            None => false,
        }
    }

    /// Takes the pin away: writers may reuse everything.
    pub fn unpin(&self) {
        if self.protected.replace(board::PIN_NONE) != board::PIN_NONE {
            pin::clear(self.objects(), self.identity.slot);
        }
    }

    /// Says that this process is about to sleep, having processed entries up to `seen`. `false`: there
    /// are more already, do not sleep.
    #[must_use]
    pub fn park(&self, seen: u64) -> bool {
        bell::park(self.objects(), self.identity.slot, seen)
    }

    /// Says that this process is awake.
    pub fn unpark(&self) {
        bell::unpark(self.objects(), self.identity.slot);
    }

    /// Leaves as a killed process does: without a word. For tests.
    #[doc(hidden)]
    pub fn vanish(mut self) {
        // A process with another id only closes the descriptor.
        self.pid = 0;
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        if self.area.identity.get() == Some(self.identity) {
            self.area.identity.set(None);
        }
        if self.pid != std::process::id() {
            return;
        }
        // The lock, should a panic have left it taken, stays: its next waiter repairs what we left.
        clean_slot(&self.area.objects, self.identity.slot);
    }
}

/// Takes the lock from a dead owner and repairs.
pub(super) fn recover(objects: &Objects, me: Identity) {
    // Busy means that somebody else was faster.
    if publish::enter(objects, me, CHANNEL_PATIENCE).is_ok() {
        lock::release(objects);
    }
}

/// Removes what an owner that has gone left in its slot. The caller holds the slot's byte lock.
pub(super) fn clean_slot(objects: &Objects, slot: u16) {
    let mask = !board::bit(slot);
    pin::clear(objects, slot);
    for bitmap in [board::PARKED, board::WILD, board::DEFLATING] {
        objects.board64(bitmap).fetch_and(mask, Ordering::Relaxed);
    }
    for index in 0..objects.geometry().channels {
        let interest = objects.board64(board::channel(index, board::CHANNEL_INTEREST));
        if interest.load(Ordering::Relaxed) & !mask != 0 {
            objects.subscribers(index, slot).store(0, Ordering::Relaxed);
            interest.fetch_and(mask, Ordering::Relaxed);
        }
    }
    channels::end_visit(objects, slot);
    areas::clean(objects, slot);
    for field in [
        board::PARTICIPANT_PID,
        board::PARTICIPANT_KIND,
        board::PARTICIPANT_STATE,
        board::PARTICIPANT_CLIENTS,
        board::PARTICIPANT_RESERVED,
        board::PARTICIPANT_SUBSCRIPTIONS,
    ] {
        objects
            .board32(board::participant(slot, field))
            .store(0, Ordering::Relaxed);
    }
    let laggards = |field| board::laggards(slot, field);
    objects
        .board32(laggards(board::LAGGARDS_CLIENTS))
        .store(0, Ordering::Relaxed);
    for field in (board::LAGGARDS_ENTRIES..board::LAGGARDS_STRIDE).step_by(8) {
        objects.board64(laggards(field)).store(0, Ordering::Relaxed);
    }
    objects
        .board64(board::JOINED)
        .fetch_and(mask, Ordering::Relaxed);
}
