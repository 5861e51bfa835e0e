//! The handle of a shared area: created by the master, inherited or attached by others; reading,
//! sending and looking at the board. It must not know whose clients it serves.

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::algorithm::channels;
use super::algorithm::lock::{self, Identity};
use super::algorithm::log::{self as entries, Entry, Lapped, ReadError};
use super::algorithm::memory::Memory;
use super::algorithm::spool::{self, Piece, Range};
use super::algorithm::{areas, board};
use super::areas::Body;
use super::geometry::Geometry;
use super::mapping::PIECES_MAX;
use super::objects::{AttachError, CreateError, Descriptors, Objects};
use super::participant::{self, Participant, ParticipantKind, ParticipantState};
use crate::sys::memory as sys_memory;

/// A shared area: log, spool and board in sealed memory objects. The handle is cheap to clone and
/// survives fork; all copies of a process share one mapping.
#[derive(Debug, Clone)]
pub struct SharedArea {
    pub(super) inner: Rc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) objects: Objects,
    /// Who this process is when it must take the lock without a participant at hand.
    pub(super) identity: Cell<Option<Identity>>,
    /// The areas, once they are made or attached.
    pub(super) bodies: OnceCell<Box<[Body]>>,
}

/// What the board shows of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParticipantView {
    /// Its slot.
    pub slot: u16,
    /// Which of the slot's successive owners.
    pub generation: u32,
    /// Its process, as it saw itself.
    pub pid: u32,
    /// What it is.
    pub kind: ParticipantKind,
    /// What it is doing.
    pub state: ParticipantState,
    /// Connected clients.
    pub clients: u32,
    /// Clients about to be handed over to it.
    pub reserved: u32,
    /// Subscriptions of its clients.
    pub subscriptions: u32,
    /// Last entry it has processed.
    pub cursor: u64,
    /// When its loop last turned, microseconds.
    pub beat_us: u64,
    /// Deliveries of entries to clients since the area was created, all owners of the slot.
    pub delivered: u64,
    /// Clients found lapped, likewise.
    pub lapped: u64,
    /// Deliveries of announced ranges left out because the range had changed, likewise.
    pub stale: u64,
    /// Oldest spool byte it holds.
    pub pin: Option<u64>,
}

/// What has happened since the area was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages published.
    pub published: u64,
    /// Bytes written to the spool.
    pub bytes: u64,
    /// Publications refused because lock or space was busy.
    pub would_block: u64,
    /// Locks taken over from dead owners.
    pub recoveries: u64,
    /// Entries that made no sense.
    pub bad: u64,
    /// Channel slots given to another name.
    pub reclaimed: u64,
    /// Publications that carried their channel's name for want of a slot.
    pub named: u64,
    /// Deliveries of entries to clients.
    pub delivered: u64,
    /// Clients found lapped.
    pub lapped: u64,
    /// Deliveries of announced ranges left out because the range had changed.
    pub stale: u64,
}

/// What the board shows of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// Index in the table.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Messages published there; the offset of the newest.
    pub messages: u64,
    /// Epoch of the offsets, as in [`super::Published`].
    pub epoch: u64,
    /// Subscribers by participant slot; 65,535 = that many or more.
    pub subscribers: [u16; board::PARTICIPANT_COUNT as usize],
}

impl SharedArea {
    /// Creates an area. `boot_id` is random and names this life of all history; `created_us` is the
    /// time, microseconds of Unix time.
    ///
    /// # Errors
    /// Wrong sizes, or memory that is not to be had.
    pub fn create(geometry: Geometry, boot_id: u128, created_us: u64) -> Result<Self, CreateError> {
        Objects::create(geometry, boot_id, created_us).map(Self::new)
    }

    /// Maps an area that exists, from descriptors in the order of [`SharedArea::fds`].
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn attach(fds: Descriptors<OwnedFd>) -> Result<Self, AttachError> {
        Objects::attach(fds).map(Self::new)
    }

    fn new(objects: Objects) -> Self {
        Self {
            inner: Rc::new(Inner {
                objects,
                identity: Cell::new(None),
                bodies: OnceCell::new(),
            }),
        }
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// The descriptors, for inheriting or handing over.
    #[must_use]
    pub fn fds(&self) -> Descriptors<BorrowedFd<'_>> {
        self.objects().fds()
    }

    /// The shared eventfd: poll it edge-triggered and never read it.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.objects().fds().bell
    }

    /// Wakes every participant that polls the bell: the master's safety tick.
    pub fn ring(&self) {
        self.objects().ring();
    }

    /// Number of the last committed entry; 0 = none yet.
    #[must_use]
    pub fn head(&self) -> u64 {
        // One more is a number as well, whatever somebody has scribbled there.
        entries::head(self.objects()).min(u64::MAX - 1)
    }

    /// Entry `seq`, copied and checked. Its bytes are safe to send only below a pin that was set (and
    /// confirmed) before: [`Participant::pin`] with [`Entry::position`] or lower.
    ///
    /// # Errors
    /// [`Lapped`]: overwritten or given up, or no sound entry (which is counted as bad), or not yet
    /// committed.
    #[inline]
    pub fn entry(&self, seq: u64) -> Result<Entry, Lapped> {
        if seq > self.head() {
            return Err(Lapped);
        }
        entries::read(self.objects(), seq).map_err(|error| {
            if error == ReadError::Bad {
                self.objects()
                    .board64(board::BAD)
                    .fetch_add(1, Ordering::Relaxed);
            }
            Lapped
        })
    }

    /// Sends the ranges in order, in one system call straight from the mapping, without blocking.
    /// Adjacent ranges become one piece; at most 64 pieces are sent. Returns the bytes taken, which may
    /// be fewer than given. The caller's pin protects the bytes.
    ///
    /// # Errors
    /// What the kernel says, `WouldBlock` included.
    pub fn send(&self, socket: BorrowedFd<'_>, ranges: &[Range]) -> io::Result<usize> {
        let mut list = [Piece::default(); PIECES_MAX];
        let count = self.gather(ranges, &mut list);
        if count == 0 {
            return Ok(0);
        }
        self.objects().spool().send(socket, &list[..count])
    }

    /// Turns ranges into pieces; how many.
    fn gather(&self, ranges: &[Range], list: &mut [Piece; PIECES_MAX]) -> usize {
        let mut count: usize = 0;
        for range in ranges {
            let pieces = spool::pieces(
                self.objects().geometry(),
                range.position,
                range.bytes as usize,
            );
            for piece in pieces.into_iter().filter(|piece| piece.bytes > 0) {
                let last = count.checked_sub(1).and_then(|last| list.get_mut(last));
                match last {
                    Some(last) if last.at + last.bytes == piece.at => last.bytes += piece.bytes,
                    Some(_) | None => {
                        let Some(next) = list.get_mut(count) else {
                            return count;
                        };
                        *next = piece;
                        count += 1;
                    }
                }
            }
        }
        count
    }

    /// Appends the bytes of a range to `out`; the kernel copies. The caller's pin protects the bytes.
    ///
    /// # Errors
    /// What the kernel says; `out` is then as before.
    pub fn copy_out(&self, range: Range, out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        let pieces = spool::pieces(
            self.objects().geometry(),
            range.position,
            range.bytes as usize,
        );
        for piece in pieces.into_iter().filter(|piece| piece.bytes > 0) {
            let at = out.len();
            out.resize(at + piece.bytes, 0);
            let spool = self.objects().fds().spool;
            if let Err(error) = sys_memory::read_exact_at(spool, &mut out[at..], piece.at as u64) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a slot for this process, after fork. Slot 0 is the master's.
    ///
    /// # Errors
    /// `InvalidInput` for a slot that does not exist, `ResourceBusy` for one whose owner lives, else what
    /// the kernel says.
    pub fn join(&self, kind: ParticipantKind, slot: u16) -> io::Result<Participant> {
        Participant::join(Rc::clone(&self.inner), kind, slot)
    }

    /// Removes what a dead participant left: lock, pin, interest, figures; then rings, since it may have
    /// published without ringing. Does nothing for a slot whose owner lives. Called by the master when it
    /// has reaped a worker, before it starts another in the slot.
    pub fn sweep(&self, slot: u16) {
        if slot >= board::PARTICIPANT_COUNT {
            return;
        }
        match self.try_sweep(slot) {
            Ok(true) => self.objects().ring(),
            Ok(false) => {}
            Err(error) => log::warn!("sweep of slot {slot}: {error}"),
        }
    }

    fn try_sweep(&self, slot: u16) -> io::Result<bool> {
        // Held while we sweep, so that no successor joins under our hands.
        let claim = sys_memory::reopen(self.objects().fds().board)?;
        if !sys_memory::try_lock_byte(claim.as_fd(), slot)? {
            return Ok(false);
        }
        participant::clean_slot(self.objects(), slot);
        drop(claim);
        // Without an identity of our own the next waiter recovers the lock.
        if let Some(me) = self.inner.identity.get()
            && lock::is_orphaned(self.objects(), board::LOCK, me, slot)
        {
            participant::recover(self.objects(), me);
        }
        if let Some(me) = self.inner.identity.get() {
            areas::recover_all(self.objects(), me, slot);
        }
        Ok(true)
    }

    /// The slot of whoever is in the log's lock, dead or alive; for people and tests.
    #[must_use]
    pub fn lock_owner(&self) -> Option<u16> {
        let word = self.objects().board32(board::LOCK);
        lock::slot_of_word(word.load(Ordering::Relaxed))
    }

    /// The participants, by slot.
    pub fn participants(&self) -> impl Iterator<Item = ParticipantView> {
        let joined = self
            .objects()
            .board64(board::JOINED)
            .load(Ordering::Relaxed);
        board::slots(joined).filter_map(|slot| self.participant(slot))
    }

    /// The participant in `slot`; `None` when the slot is free.
    #[must_use]
    pub fn participant(&self, slot: u16) -> Option<ParticipantView> {
        if slot >= board::PARTICIPANT_COUNT {
            return None;
        }
        let half = |field| {
            self.objects()
                .board32(board::participant(slot, field))
                .load(Ordering::Relaxed)
        };
        let word = |field| {
            self.objects()
                .board64(board::participant(slot, field))
                .load(Ordering::Relaxed)
        };
        let pin = word(board::PARTICIPANT_PIN);
        Some(ParticipantView {
            slot,
            generation: half(board::PARTICIPANT_GENERATION),
            pid: half(board::PARTICIPANT_PID),
            kind: ParticipantKind::of_word(half(board::PARTICIPANT_KIND))?,
            state: ParticipantState::of_word(half(board::PARTICIPANT_STATE))?,
            clients: half(board::PARTICIPANT_CLIENTS),
            reserved: half(board::PARTICIPANT_RESERVED),
            subscriptions: half(board::PARTICIPANT_SUBSCRIPTIONS),
            cursor: word(board::PARTICIPANT_CURSOR),
            beat_us: word(board::PARTICIPANT_BEAT_US),
            delivered: word(board::PARTICIPANT_DELIVERED),
            lapped: word(board::PARTICIPANT_LAPPED),
            stale: word(board::PARTICIPANT_STALE),
            pin: (pin != board::PIN_NONE).then_some(pin),
        })
    }

    /// What has happened since the area was created.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let word = |at| self.objects().board64(at).load(Ordering::Relaxed);
        let sum = |field| {
            (0..board::PARTICIPANT_COUNT)
                .map(|slot| word(board::participant(slot, field)))
                .fold(0, u64::wrapping_add)
        };
        Counters {
            published: word(board::HEAD),
            bytes: word(board::END),
            would_block: word(board::WOULD_BLOCK),
            recoveries: word(board::RECOVERIES),
            bad: word(board::BAD),
            reclaimed: word(board::RECLAIMED),
            named: word(board::NAMED),
            delivered: sum(board::PARTICIPANT_DELIVERED),
            lapped: sum(board::PARTICIPANT_LAPPED),
            stale: sum(board::PARTICIPANT_STALE),
        }
    }

    /// Shows every channel that has a slot. Visits the whole table: for a person's question, not for a
    /// turn of the loop.
    pub fn channels(&self, visit: &mut dyn FnMut(ChannelView)) {
        for index in 0..self.objects().geometry().channels {
            if let Some(view) = self.channel(index) {
                visit(view);
            }
        }
    }

    /// The channel at `index`; `None` when there is none.
    #[must_use]
    pub fn channel(&self, index: u32) -> Option<ChannelView> {
        if index >= self.objects().geometry().channels {
            return None;
        }
        let name = channels::name(self.objects(), index)?;
        let seat = channels::seat(self.objects(), index);
        let mut subscribers = [0; board::PARTICIPANT_COUNT as usize];
        for (slot, count) in (0..).zip(&mut subscribers) {
            *count = self
                .objects()
                .subscribers(index, slot)
                .load(Ordering::Relaxed);
        }
        let epoch = self.objects().epoch(seat.epoch);
        Some(ChannelView {
            index,
            name,
            messages: seat.messages,
            epoch,
            subscribers,
        })
    }

    /// Whether the slot of the entry's channel is still that channel's: for ever, as long as somebody
    /// shows interest in it; but whoever has just done so may find entries of a channel that was there before.
    #[inline]
    #[must_use]
    pub fn is_of_channel_now(&self, entry: &Entry) -> bool {
        let Some(index) = entry.channel else {
            return true;
        };
        if index >= self.geometry().channels {
            return false;
        }
        let at = board::channel(index, board::CHANNEL_GENERATION);
        let generation = self.objects().board32(at).load(Ordering::Acquire);
        generation & u32::from(u16::MAX) == u32::from(entry.channel_generation)
    }

    /// The entry of the newest message of a channel; 0 for none.
    #[must_use]
    pub fn newest_of(&self, index: u32) -> u64 {
        if index >= self.geometry().channels {
            return 0;
        }
        channels::seat(self.objects(), index).last
    }

    /// Spool bytes below may have vanished.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        self.objects()
            .board64(board::HORIZON)
            .load(Ordering::Relaxed)
    }

    /// Size of the spool.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        self.geometry().spool_bytes
    }

    /// The most bytes that one publication may take.
    #[must_use]
    pub fn record_bytes_max(&self) -> u64 {
        self.geometry().record_bytes_max()
    }

    /// The sizes.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        *self.objects().geometry()
    }

    /// The sizes, in a line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let geometry = self.geometry();
        format!(
            "shared area: spool {} KiB, log {} entries, {} channels, {} KiB in all, \
             messages up to {} KiB",
            geometry.spool_bytes / 1024,
            geometry.entries,
            geometry.channels,
            geometry.total_bytes() / 1024,
            geometry.record_bytes_max() / 1024,
        )
    }
}

impl Objects {
    /// The subscribers that `slot` shows for channel `index`.
    pub(super) fn subscribers(&self, index: u32, slot: u16) -> &AtomicU16 {
        let at = board::channel(index, board::CHANNEL_SUBSCRIBERS);
        self.board()
            .word16(at + usize::from(slot) * size_of::<u16>())
    }

    /// The epoch of a channel: which boot, which insertion.
    pub(super) fn epoch(&self, insertion: u32) -> u64 {
        (self.hash_key() & !u64::from(u32::MAX)) | u64::from(insertion)
    }
}
