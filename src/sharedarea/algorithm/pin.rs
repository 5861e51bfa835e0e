//! Pins: a process names the oldest spool byte that it may still hand to the kernel, and writers do
//! not overwrite from there on. The two sides meet in a store-fence-load on each side, so at least
//! one of them sees the other. It must not know what the bytes mean.

use std::sync::atomic::Ordering;

use super::board;
use super::lock::Identity;
use super::memory::{Memory, Word};

/// Live pins hold the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinned {
    /// Bitmap of the slots whose pins they are.
    pub by: u64,
}

/// Pins the spool from `position` on for `slot`. `protected` is the position from which the slot's pin
/// is known to protect ([`board::PIN_NONE`]: nothing); the new one is returned, and `None` when the bytes were
/// already given up, in which case nothing has changed.
pub fn set<M: Memory>(memory: &M, slot: u16, position: u64, protected: u64) -> Option<u64> {
    let pin = memory.board64(board::participant(slot, board::PARTICIPANT_PIN));
    if protected <= position {
        // Moving up inside what is protected needs no check, even if the horizon has passed: writers
        // wait for pins, not for the horizon. Release pairs with the Acquire of `lowest`: our reads of
        // the bytes let go are over before a writer reuses them.
        pin.store(position, Ordering::Release);
        return Some(position);
    }
    pin.store(position, Ordering::Release);
    // Pairs with the fence of `make_room`: either the writer sees our pin, or we see its horizon.
    memory.fence(Ordering::SeqCst);
    if position >= memory.board64(board::HORIZON).load(Ordering::Relaxed) {
        return Some(position);
    }
    pin.store(protected, Ordering::Release);
    None
}

/// Takes the slot's pin away.
pub fn clear<M: Memory>(memory: &M, slot: u16) {
    // Release pairs with the Acquire of `lowest`.
    memory
        .board64(board::participant(slot, board::PARTICIPANT_PIN))
        .store(board::PIN_NONE, Ordering::Release);
}

/// Makes sure that spool bytes up to `end` may be written; the caller holds the lock. `announced` is
/// called between the announcement and the check of the pins, for tests.
///
/// # Errors
/// [`Pinned`] when live pins did not move away in time. The announcement stands, but the space is not
/// confirmed, so the next writer checks again.
#[inline]
pub fn make_room<M: Memory>(
    memory: &M,
    me: Identity,
    end: u64,
    announced: &mut dyn FnMut(),
) -> Result<(), Pinned> {
    let needed = end.saturating_sub(memory.geometry().spool_bytes);
    if needed <= memory.board64(board::SAFE).load_owned() {
        return Ok(());
    }
    announce_and_check(memory, me, needed, announced)
}

#[cold]
fn announce_and_check<M: Memory>(
    memory: &M,
    me: Identity,
    needed: u64,
    announced: &mut dyn FnMut(),
) -> Result<(), Pinned> {
    // A sixteenth of the spool at a time, so that the pins are looked at rarely.
    let step = memory.geometry().spool_bytes / 16;
    let horizon = memory.board64(board::HORIZON);
    let rounded = needed.checked_next_multiple_of(step).unwrap_or(needed);
    let intent = rounded.max(horizon.load_owned());
    horizon.store(intent, Ordering::Relaxed);
    // Pairs with the fence of `set`.
    memory.fence(Ordering::SeqCst);
    announced();
    for _ in 0..M::SPINS_MAX {
        if confirm(memory, needed, intent) {
            return Ok(());
        }
        if lowest(memory).1 == Some(me.slot) {
            // Our own half-sent frame; it will not move while we are in here.
            return Err(pinned(memory, needed));
        }
        memory.spin();
    }
    while let (position, Some(slot)) = lowest(memory) {
        if position >= needed || slot == me.slot || memory.slot_is_held(slot) {
            break;
        }
        // A successor that joins right now cannot hold this same pin: it would be below the horizon.
        let pin = memory.board64(board::participant(slot, board::PARTICIPANT_PIN));
        pin.replace(position, board::PIN_NONE, Ordering::Relaxed);
    }
    if confirm(memory, needed, intent) {
        Ok(())
    } else {
        Err(pinned(memory, needed))
    }
}

/// Who is in the way of a writer that needs the spool up to `needed`.
fn pinned<M: Memory>(memory: &M, needed: u64) -> Pinned {
    let in_the_way = pins(memory).filter(|(_, pin)| *pin < needed);
    Pinned {
        by: in_the_way.fold(0, |by, (slot, _)| by | board::bit(slot)),
    }
}

/// Confirms what no pin holds; whether that is enough.
fn confirm<M: Memory>(memory: &M, needed: u64, intent: u64) -> bool {
    let confirmed = lowest(memory).0.min(intent);
    let safe = memory.board64(board::SAFE);
    if confirmed > safe.load_owned() {
        safe.store(confirmed, Ordering::Relaxed);
    }
    needed <= confirmed
}

/// The lowest pin and whose it is.
fn lowest<M: Memory>(memory: &M) -> (u64, Option<u16>) {
    let mut lowest = (board::PIN_NONE, None);
    for (slot, pin) in pins(memory) {
        if pin < lowest.0 {
            lowest = (pin, Some(slot));
        }
    }
    lowest
}

/// The pins of all who have joined.
fn pins<M: Memory>(memory: &M) -> impl Iterator<Item = (u16, u64)> {
    // A slot joins before it pins, so the fence that makes its pin visible makes its bit visible too.
    let joined = memory.board64(board::JOINED).load(Ordering::Relaxed);
    board::slots(joined).map(|slot| {
        let at = board::participant(slot, board::PARTICIPANT_PIN);
        // Acquire pairs with the Release of `set` and `clear`.
        (slot, memory.board64(at).load(Ordering::Acquire))
    })
}
