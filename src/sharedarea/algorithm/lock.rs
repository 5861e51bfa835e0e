//! Locks of one word with the owner's token: the log's writer lock, and the write lock of each area.
//! An owner that died is found out and its lock taken over; the taker repairs what was left half done.
//! It must not know what a lock protects.

use std::sync::atomic::Ordering;

use super::board;
use super::memory::{Memory, Word};

/// Set in the lock word while somebody sleeps for it.
const WAITERS: u32 = 1 << 31;
const SLOT_BITS: u32 = 7;
const GENERATION_MASK: u32 = (1 << (31 - SLOT_BITS)) - 1;
/// Longest sleep before the owner's life is checked again.
pub const WAIT_MS_MAX: u32 = 2;

/// Who takes the lock: a slot and which of its successive owners. The generation tells a worker from
/// its dead predecessor in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Participant slot.
    pub slot: u16,
    /// Generation of the slot.
    pub generation: u32,
}

impl Identity {
    /// The lock word that says this identity is inside.
    #[must_use]
    pub fn token(self) -> u32 {
        ((self.generation & GENERATION_MASK) << SLOT_BITS) | (u32::from(self.slot) + 1)
    }

    /// `None` for a word that no participant could have written.
    fn of_token(word: u32) -> Option<Self> {
        let slot = (word & ((1 << SLOT_BITS) - 1)).checked_sub(1)?;
        let slot = u16::try_from(slot)
            .ok()
            .filter(|slot| *slot < board::PARTICIPANT_COUNT)?;
        Some(Self {
            slot,
            generation: (word & !WAITERS) >> SLOT_BITS,
        })
    }
}

/// The slot of the owner that a lock word names; for people.
#[must_use]
pub fn slot_of_word(word: u32) -> Option<u16> {
    Identity::of_token(word).map(|owner| owner.slot)
}

/// How often a participant may sleep for a busy lock or busy space, each time [`WAIT_MS_MAX`]. A
/// worker never sleeps when it publishes: 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub u32);

/// The lock is held by a live process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// How the lock was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Acquired {
    /// It was free.
    Free,
    /// From an owner that died inside; the protected data may need repair.
    FromTheDead,
}

/// Takes the log's lock for `me`.
///
/// # Errors
/// [`Busy`] when a live owner did not leave within the patience.
#[inline]
pub fn acquire<M: Memory>(memory: &M, me: Identity, patience: Patience) -> Result<Acquired, Busy> {
    acquire_at(memory, board::LOCK, me, patience)
}

/// Takes the lock in board word `at` for `me`, who does not have it.
///
/// # Errors
/// [`Busy`] when a live owner did not leave within the patience.
#[inline]
pub fn acquire_at<M: Memory>(
    memory: &M,
    at: usize,
    me: Identity,
    patience: Patience,
) -> Result<Acquired, Busy> {
    // Acquire pairs with the Release of `release`: what earlier owners wrote is visible. Release makes
    // our generation, stored when we joined, visible to whoever reads the token (`owner_is_dead`).
    if memory.board32(at).replace(0, me.token(), Ordering::AcqRel) {
        return Ok(Acquired::Free);
    }
    acquire_contended(memory, at, me, patience)
}

#[cold]
fn acquire_contended<M: Memory>(
    memory: &M,
    at: usize,
    me: Identity,
    patience: Patience,
) -> Result<Acquired, Busy> {
    let word = memory.board32(at);
    for _ in 0..M::SPINS_MAX {
        memory.spin();
        if word.load(Ordering::Relaxed) == 0 && word.replace(0, me.token(), Ordering::AcqRel) {
            return Ok(Acquired::Free);
        }
    }
    let mut slept = 0;
    loop {
        // After a sleep others may sleep still: whoever has slept keeps the waiters bit, so that its
        // own release wakes the next.
        let sticky = if slept > 0 { WAITERS } else { 0 };
        // Acquire pairs with the Release half of the owner's exchange, see `owner_is_dead`.
        let seen = word.load(Ordering::Acquire);
        if seen == 0 {
            if word.replace(0, me.token() | sticky, Ordering::AcqRel) {
                return Ok(Acquired::Free);
            }
            continue;
        }
        if owner_is_dead(memory, me, seen) {
            let mine = me.token() | (seen & WAITERS) | sticky;
            if word.replace(seen, mine, Ordering::AcqRel) {
                return Ok(Acquired::FromTheDead);
            }
            // Somebody was faster, or has only begun to wait: look again, however little patience there is.
            continue;
        }
        if slept == patience.0 {
            return Err(Busy);
        }
        slept += 1;
        if seen & WAITERS != 0 || word.replace(seen, seen | WAITERS, Ordering::Relaxed) {
            memory.wait(at, seen | WAITERS);
        }
    }
}

/// Whether the owner named by lock word `seen` is gone. A dead owner's token stays in the word until
/// somebody exchanges it, so an exchange that expects `seen` takes it from exactly that owner.
fn owner_is_dead<M: Memory>(memory: &M, me: Identity, seen: u32) -> bool {
    let Some(owner) = Identity::of_token(seen) else {
        // Nobody can have written this; somebody scribbled over the board.
        return true;
    };
    // The token was loaded with Acquire after the owner stored it with Release, and the owner had
    // stored its generation before: an older generation cannot be read here for a live owner.
    let place = board::participant(owner.slot, board::PARTICIPANT_GENERATION);
    let generation = memory.board32(place).load(Ordering::Relaxed) & GENERATION_MASK;
    if owner.generation != generation {
        return true;
    }
    // Our own slot and generation: nobody else has them, and we are not inside.
    owner.slot == me.slot || !memory.slot_is_held(owner.slot)
}

/// Whether the lock in word `at` is held by somebody who is no longer alive.
pub fn has_dead_owner<M: Memory>(memory: &M, at: usize, me: Identity) -> bool {
    let seen = memory.board32(at).load(Ordering::Acquire);
    seen != 0 && owner_is_dead(memory, me, seen)
}

/// Whether `me` is inside.
#[inline]
pub fn is_mine<M: Memory>(memory: &M, at: usize, me: Identity) -> bool {
    memory.board32(at).load(Ordering::Relaxed) & !WAITERS == me.token()
}

/// Whether the lock in word `at` is held by an owner of `slot` who is no longer alive. For the sweep:
/// whoever sees `true` acquires and repairs.
pub fn is_orphaned<M: Memory>(memory: &M, at: usize, me: Identity, slot: u16) -> bool {
    let seen = memory.board32(at).load(Ordering::Acquire);
    seen != 0
        && Identity::of_token(seen).is_none_or(|owner| owner.slot == slot)
        && owner_is_dead(memory, me, seen)
}

/// Leaves the log's lock; the caller holds it.
#[inline]
pub fn release<M: Memory>(memory: &M) {
    release_at(memory, board::LOCK);
}

/// Leaves the lock in word `at`; the caller holds it.
#[inline]
pub fn release_at<M: Memory>(memory: &M, at: usize) {
    // Release pairs with the Acquire of `acquire_at`.
    if memory.board32(at).swap(0, Ordering::Release) & WAITERS != 0 {
        memory.wake_one(at);
    }
}
