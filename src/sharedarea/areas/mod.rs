//! Plain areas: memory or a part of a file that any process may read, write, lock, wait for, and send
//! from. They are numbered 0, 1, 2.. and made by the master before its first fork.
//!
//! An area's bytes are the user's alone: its record (lock, counters, name) is in the board. Integers
//! are native-endian and may lie anywhere. It must not know clients or frames.
//!
//! # Locks
//!
//! Every call takes the lock that it needs for as long as it takes, unless the process has it already:
//! whoever has called [`Area::wlock`] may read and write as it likes until [`Area::unlock`]. A lock
//! whose holder died is given back by the next who wants it, or by the master.
//!
//! # Updates
//!
//! The counter is odd in the board while the write lock is held; [`Area::updates`] counts whole
//! updates. Whatever is announced of an area names the counter it had, and is not sent once it differs.

mod body;
mod error;
mod head;
mod integers;
mod record;
mod sending;
mod spec;

use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::algorithm::areas::{self, Hold, Step};
use super::algorithm::board;
use super::algorithm::lock::{Identity, Patience};
use super::algorithm::memory::Memory;
use super::area::Inner;
use super::objects::Objects;
use super::participant::ParticipantKind;

pub use body::AreaKind;
pub(super) use body::Body;
pub use error::AreaError;
pub use head::{HEAD_BYTES, Head, HeadError};
pub use record::AreaInfo;
pub use sending::Reading;
pub use spec::{
    AREA_NAME_BYTES_MAX, AREAS_MAX, AreaProblem, AreaSize, AreaSource, AreaSpec, AreaSpecError,
};

/// How often a worker or the master sleeps for a lock, 2 ms each time: others wait meanwhile.
const PATIENCE_OF_LOOPS: Patience = Patience(4);
/// The same for everybody else.
const PATIENCE: Patience = Patience(500);
/// A sleeper looks again after this time, should a writer have died before it could wake anybody.
const SLEEP_MS_MAX: u32 = 500;

/// One area. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Area {
    inner: Rc<Inner>,
    id: u8,
}

/// The write lock for as long as a call takes, unless the caller had it before.
struct Writing<'a, T: FnMut(Step)> {
    area: &'a Area,
    is_ours: bool,
    trace: T,
}

impl Area {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.body().bytes()
    }

    /// Appends bytes from `position` on to `out`: `bytes` of them, or without a number the rest, which
    /// ends at [`Area::used`] if that was set.
    ///
    /// # Errors
    /// [`AreaError`]; `out` is then as before.
    pub fn read(
        &self,
        position: u64,
        bytes: Option<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), AreaError> {
        self.reading()?.copy(position, bytes, out)
    }

    /// Writes `bytes` from `position` on.
    ///
    /// # Errors
    /// [`AreaError`].
    pub fn write(&self, position: u64, bytes: &[u8]) -> Result<(), AreaError> {
        self.write_traced(position, bytes, &mut |_| {})
    }

    /// As [`Area::write`], telling each step; for tests that stop a writer half way.
    #[doc(hidden)]
    pub fn write_traced(
        &self,
        position: u64,
        bytes: &[u8],
        trace: &mut impl FnMut(Step),
    ) -> Result<(), AreaError> {
        self.check(position, bytes.len() as u64)?;
        let _lock = self.writing(trace)?;
        Ok(self.body().write(position, bytes)?)
    }

    /// Bytes that mean something, if [`Area::set_used`] said so.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        let flags = self.half(board::AREA_FLAGS).load(Ordering::Relaxed);
        let used = self.word(board::AREA_USED).load(Ordering::Acquire);
        (flags & board::AREA_HONOUR_USED != 0).then(|| used.min(self.bytes()))
    }

    /// Says that the first `used` bytes mean something: who asks for the rest of the area gets it up to
    /// there.
    ///
    /// # Errors
    /// [`AreaError`].
    pub fn set_used(&self, used: u64) -> Result<(), AreaError> {
        self.check(0, used)?;
        let _lock = self.writing(|_| {})?;
        self.word(board::AREA_USED).store(used, Ordering::Release);
        self.half(board::AREA_FLAGS)
            .fetch_or(board::AREA_HONOUR_USED, Ordering::Release);
        Ok(())
    }

    /// Counts an update that was not made through this type, and wakes who waits.
    pub fn update(&self) {
        areas::update(self.objects(), self.id);
    }

    /// Updates so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        areas::updates(self.objects(), self.id)
    }

    /// Takes the read lock, until [`Area::unlock`]. Nothing happens if this process has a lock already.
    ///
    /// # Errors
    /// [`AreaError::Busy`], [`AreaError::NotJoined`].
    pub fn rlock(&self) -> Result<(), AreaError> {
        let me = self.identity()?;
        match areas::hold(self.objects(), me, self.id) {
            Hold::Read | Hold::Write => Ok(()),
            Hold::None => Ok(areas::read(self.objects(), me, self.id, self.patience(me))?),
        }
    }

    /// Takes the write lock, until [`Area::unlock`], and gives up after 8 ms in workers and master
    /// and a second elsewhere. Nothing happens if this process has it already.
    ///
    /// # Errors
    /// [`AreaError::Busy`], [`AreaError::NotJoined`].
    pub fn wlock(&self) -> Result<(), AreaError> {
        let me = self.identity()?;
        match areas::hold(self.objects(), me, self.id) {
            Hold::Write => Ok(()),
            Hold::None | Hold::Read => {
                let patience = self.patience(me);
                Ok(areas::write(
                    self.objects(),
                    me,
                    self.id,
                    patience,
                    &mut |_| {},
                )?)
            }
        }
    }

    /// Gives back what this process has of the lock. What was written under it is one update.
    ///
    /// # Errors
    /// [`AreaError::NotJoined`].
    pub fn unlock(&self) -> Result<(), AreaError> {
        let me = self.identity()?;
        if areas::hold(self.objects(), me, self.id) == Hold::Write {
            areas::end_write(self.objects(), self.id, &mut |_| {});
        }
        areas::end_read(self.objects(), me, self.id);
        Ok(())
    }

    /// Sleeps until there has been an update that `last_seen` does not count, at most `timeout_ms`
    /// (without one, for ever). Returns [`Area::updates`], which is `last_seen` after a timeout. Nothing
    /// is missed by a caller that hands in what it got. Not for a worker's loop, where an app is told
    /// instead.
    ///
    /// # Errors
    /// [`AreaError::NotJoined`].
    pub fn wait(&self, last_seen: u64, timeout_ms: Option<u32>) -> Result<u64, AreaError> {
        let me = self.identity()?;
        let mut left_ms = timeout_ms;
        while let Some(turn) = areas::wait(self.objects(), me, self.id, last_seen)
            && left_ms != Some(0)
        {
            let sleep_ms = left_ms.unwrap_or(SLEEP_MS_MAX).min(SLEEP_MS_MAX);
            let at = board::area(self.id, board::AREA_TURN);
            if !self.objects().wait_long(at, turn, sleep_ms) {
                left_ms = left_ms.map(|left| left.saturating_sub(sleep_ms));
            }
        }
        areas::end_wait(self.objects(), me, self.id);
        Ok(self.updates())
    }

    /// Whether this process wants the bell when the area is updated.
    ///
    /// # Errors
    /// [`AreaError::NotJoined`].
    pub fn set_watched(&self, on: bool) -> Result<(), AreaError> {
        let bit = board::bit(self.identity()?.slot);
        let watchers = self.word(board::AREA_WATCHERS);
        if on {
            watchers.fetch_or(bit, Ordering::SeqCst);
        } else {
            watchers.fetch_and(!bit, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks that `bytes` at `position` lie inside.
    ///
    /// # Errors
    /// [`AreaError::OutOfBounds`].
    pub fn check(&self, position: u64, bytes: u64) -> Result<(), AreaError> {
        let limit = self.bytes();
        match position.checked_add(bytes) {
            Some(end) if end <= limit => Ok(()),
            Some(_) | None => Err(AreaError::OutOfBounds {
                position,
                bytes,
                limit,
            }),
        }
    }

    /// How many bytes are meant: those that are asked for, or the rest.
    ///
    /// # Errors
    /// [`AreaError::OutOfBounds`].
    pub fn measure(&self, position: u64, bytes: Option<u64>) -> Result<u64, AreaError> {
        if let Some(bytes) = bytes {
            return self.check(position, bytes).map(|()| bytes);
        }
        let limit = self.used().unwrap_or(self.bytes());
        limit.checked_sub(position).ok_or(AreaError::OutOfBounds {
            position,
            bytes: 0,
            limit,
        })
    }

    fn count_hit(&self) {
        self.word(board::AREA_HITS).fetch_add(1, Ordering::Relaxed);
    }

    fn body(&self) -> &Body {
        self.inner.body(self.id)
    }

    fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    fn half(&self, field: usize) -> &std::sync::atomic::AtomicU32 {
        self.objects().board32(board::area(self.id, field))
    }

    fn word(&self, field: usize) -> &std::sync::atomic::AtomicU64 {
        self.objects().board64(board::area(self.id, field))
    }

    fn identity(&self) -> Result<Identity, AreaError> {
        self.inner.identity.get().ok_or(AreaError::NotJoined)
    }

    fn patience(&self, me: Identity) -> Patience {
        let at = board::participant(me.slot, board::PARTICIPANT_KIND);
        let kind = self.objects().board32(at).load(Ordering::Relaxed);
        match ParticipantKind::of_word(kind) {
            Some(ParticipantKind::Worker | ParticipantKind::Master) | None => PATIENCE_OF_LOOPS,
            Some(ParticipantKind::Bridge | ParticipantKind::External) => PATIENCE,
        }
    }

    fn writing<T: FnMut(Step)>(&self, mut trace: T) -> Result<Writing<'_, T>, AreaError> {
        let me = self.identity()?;
        let is_ours = areas::hold(self.objects(), me, self.id) != Hold::Write;
        if is_ours {
            let patience = self.patience(me);
            areas::write(self.objects(), me, self.id, patience, &mut trace)?;
        }
        Ok(Writing {
            area: self,
            is_ours,
            trace,
        })
    }
}

impl<T: FnMut(Step)> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        if self.is_ours && !std::thread::panicking() {
            areas::end_write(self.area.objects(), self.area.id, &mut self.trace);
        }
    }
}
