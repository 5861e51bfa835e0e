//! The lock and the update counter of one area: many readers or one writer, a counter that is odd
//! while something is being written, and telling those who wait for the next update. It must not know
//! what an area is made of.
//!
//! A reader sets its bit, then looks for a writer; a writer takes its word, then looks for readers.
//! With a full fence between the two steps on both sides, one of them sees the other. Nobody keeps a
//! lock that died: the next writer, or the sweep, takes the word over and clears the bits.

use std::sync::atomic::Ordering;

use super::bell;
use super::board::{self, bit};
use super::lock::{self, Acquired, Busy, Identity, Patience};
use super::memory::{Memory, Word};

/// Steps of a write, in order; tests stop a writer at one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The writer's word is ours; readers may still be inside.
    Taken,
    /// Nobody else is inside, and the counter is odd.
    Begun,
    /// The counter is even again, the word is still ours.
    Ended,
    /// The lock is free, nobody has been told.
    Unlocked,
    /// Everybody has been told.
    Told,
}

/// What a process has of an area's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    None,
    /// The read lock.
    Read,
    /// The write lock.
    Write,
}

/// What `me` has of the lock of area `id`.
pub fn hold<M: Memory>(memory: &M, me: Identity, id: u8) -> Hold {
    if lock::is_mine(memory, board::area(id, board::AREA_WRITER), me) {
        return Hold::Write;
    }
    let readers = memory.board64(board::area(id, board::AREA_READERS));
    // Only this process sets and clears its bit, but for a sweep after its death.
    if readers.load(Ordering::Relaxed) & bit(me.slot) != 0 {
        Hold::Read
    } else {
        Hold::None
    }
}

/// Takes the read lock if no writer has it or waits for it; `me` holds nothing.
#[inline]
pub fn try_read<M: Memory>(memory: &M, me: Identity, id: u8) -> bool {
    let readers = memory.board64(board::area(id, board::AREA_READERS));
    readers.fetch_or(bit(me.slot), Ordering::Relaxed);
    // Pairs with the fence of `write`: either the writer sees our bit, or we see its token.
    memory.fence(Ordering::SeqCst);
    let writer = memory.board32(board::area(id, board::AREA_WRITER));
    // Acquire pairs with the Release of `lock::release_at`: what the last writer wrote is visible.
    if writer.load(Ordering::Acquire) == 0 {
        return true;
    }
    end_read(memory, me, id);
    false
}

/// Takes the read lock; `me` holds nothing.
///
/// # Errors
/// [`Busy`] when a live writer did not leave within the patience.
pub fn read<M: Memory>(memory: &M, me: Identity, id: u8, patience: Patience) -> Result<(), Busy> {
    let mut slept = 0;
    loop {
        for _ in 0..M::SPINS_MAX {
            if try_read(memory, me, id) {
                return Ok(());
            }
            memory.spin();
        }
        if lock::has_dead_owner(memory, board::area(id, board::AREA_WRITER), me) {
            recover(memory, me, id);
            continue;
        }
        if slept == patience.0 {
            return Err(Busy);
        }
        slept += 1;
        memory.pause();
    }
}

/// Leaves the read lock.
#[inline]
pub fn end_read<M: Memory>(memory: &M, me: Identity, id: u8) {
    // Release pairs with the Acquire of `readers_are_gone`: our reads are over before a writer writes.
    memory
        .board64(board::area(id, board::AREA_READERS))
        .fetch_and(!bit(me.slot), Ordering::Release);
}

/// Whether a writer waits for readers, or has the lock.
#[inline]
pub fn is_wanted<M: Memory>(memory: &M, id: u8) -> bool {
    let writer = memory.board32(board::area(id, board::AREA_WRITER));
    writer.load(Ordering::Relaxed) != 0
}

/// Takes the write lock and makes the counter odd. `me` does not have it; if it has the read lock, it
/// keeps that too.
///
/// # Errors
/// [`Busy`] when others did not leave within the patience.
pub fn write<M: Memory>(
    memory: &M,
    me: Identity,
    id: u8,
    patience: Patience,
    trace: &mut impl FnMut(Step),
) -> Result<(), Busy> {
    let writer = board::area(id, board::AREA_WRITER);
    if lock::acquire_at(memory, writer, me, patience)? == Acquired::FromTheDead {
        count_recovery(memory);
    }
    trace(Step::Taken);
    // Pairs with the fence of `try_read`.
    memory.fence(Ordering::SeqCst);
    let updates = memory.board64(board::area(id, board::AREA_UPDATES));
    if !readers_leave(memory, me, id, patience) {
        let is_update = settle(memory, id);
        lock::release_at(memory, writer);
        if is_update {
            tell(memory, id);
        }
        return Err(Busy);
    }
    // A dead writer may have left it odd: then its update and ours are two.
    let odd = updates.load(Ordering::Relaxed) & 1;
    updates.fetch_add(1 + odd, Ordering::Relaxed);
    // Whoever reads a byte that we write sees the odd counter before.
    memory.fence(Ordering::Release);
    trace(Step::Begun);
    Ok(())
}

/// Leaves the write lock and tells who waits.
pub fn end_write<M: Memory>(memory: &M, id: u8, trace: &mut impl FnMut(Step)) {
    settle(memory, id);
    trace(Step::Ended);
    lock::release_at(memory, board::area(id, board::AREA_WRITER));
    trace(Step::Unlocked);
    tell(memory, id);
    trace(Step::Told);
}

/// Counts an update by somebody who does not use the lock, and tells who waits.
pub fn update<M: Memory>(memory: &M, id: u8) {
    memory
        .board64(board::area(id, board::AREA_UPDATES))
        .fetch_add(2, Ordering::Release);
    tell(memory, id);
}

/// Makes the counter even; the caller has the write lock. Whether it was odd: that was an update.
fn settle<M: Memory>(memory: &M, id: u8) -> bool {
    let updates = memory.board64(board::area(id, board::AREA_UPDATES));
    let is_odd = !updates.load(Ordering::Relaxed).is_multiple_of(2);
    if is_odd {
        // Release: whoever sees it even sees what was written.
        updates.fetch_add(1, Ordering::Release);
    }
    is_odd
}

/// Whole updates so far.
#[inline]
pub fn updates<M: Memory>(memory: &M, id: u8) -> u64 {
    let updates = memory.board64(board::area(id, board::AREA_UPDATES));
    // Acquire pairs with the Release of `settle` and `update`.
    updates.load(Ordering::Acquire) / 2
}

/// Says that `me` is about to sleep until there are other than `last_seen` updates. The value of `turn` to sleep on,
/// and `None` when there are already; in both cases [`end_wait`] has to follow, and until then this may be asked again.
pub fn wait<M: Memory>(memory: &M, me: Identity, id: u8, last_seen: u64) -> Option<u32> {
    let waiting = memory.board64(board::area(id, board::AREA_WAITING));
    waiting.fetch_or(bit(me.slot), Ordering::Relaxed);
    // Pairs with the fence of `tell`: either the writer sees our bit, or we see its update.
    memory.fence(Ordering::SeqCst);
    // Acquire: with the turn of an update we see the update.
    let turn = memory.board32(board::area(id, board::AREA_TURN));
    let turn = turn.load(Ordering::Acquire);
    (updates(memory, id) == last_seen).then_some(turn)
}

/// Says that `me` sleeps no more.
pub fn end_wait<M: Memory>(memory: &M, me: Identity, id: u8) {
    memory
        .board64(board::area(id, board::AREA_WAITING))
        .fetch_and(!bit(me.slot), Ordering::Relaxed);
}

/// Wakes sleepers and rings for watchers that sleep. The caller has changed the counter.
pub fn tell<M: Memory>(memory: &M, id: u8) {
    // Pairs with the fences of who sets its bit and looks at the counter before it sleeps.
    memory.fence(Ordering::SeqCst);
    let waiting = memory.board64(board::area(id, board::AREA_WAITING));
    if waiting.load(Ordering::Relaxed) != 0 {
        let turn = board::area(id, board::AREA_TURN);
        memory.board32(turn).fetch_add(1, Ordering::Relaxed);
        memory.wake_all(turn);
    }
    let watchers = memory.board64(board::area(id, board::AREA_WATCHERS));
    let watchers = watchers.load(Ordering::Relaxed);
    if watchers != 0 {
        bell::ring_parked(memory, watchers);
    }
}

/// Whether all other readers have left; those that died are helped out.
fn readers_leave<M: Memory>(memory: &M, me: Identity, id: u8, patience: Patience) -> bool {
    let readers = memory.board64(board::area(id, board::AREA_READERS));
    let others = || readers.load(Ordering::Acquire) & !bit(me.slot);
    let mut slept = 0;
    loop {
        for _ in 0..M::SPINS_MAX {
            if others() == 0 {
                return true;
            }
            memory.spin();
        }
        for slot in board::slots(others()) {
            // A successor that joins right now backs off from our token, so its bit may go too.
            if !memory.slot_is_held(slot) {
                readers.fetch_and(!bit(slot), Ordering::Relaxed);
            }
        }
        if others() == 0 {
            return true;
        }
        if slept == patience.0 {
            return false;
        }
        slept += 1;
        memory.pause();
    }
}

/// Takes the write lock from a dead owner and gives it back. Does nothing if it has a live one.
#[cold]
pub fn recover<M: Memory>(memory: &M, me: Identity, id: u8) {
    let writer = board::area(id, board::AREA_WRITER);
    match lock::acquire_at(memory, writer, me, Patience(0)) {
        Ok(Acquired::FromTheDead) => {
            count_recovery(memory);
            end_write(memory, id, &mut |_| {});
        }
        Ok(Acquired::Free) => lock::release_at(memory, writer),
        // Somebody else was faster.
        Err(Busy) => {}
    }
}

fn count_recovery<M: Memory>(memory: &M) {
    memory
        .board64(board::RECOVERIES)
        .fetch_add(1, Ordering::Relaxed);
}

/// The areas that exist.
pub fn ids<M: Memory>(memory: &M) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).take_while(|id| {
        let kind = memory.board32(board::area(*id, board::AREA_KIND));
        kind.load(Ordering::Relaxed) != 0
    })
}

/// Removes what an owner of `slot` that has gone left in the areas, but for its write locks
/// ([`recover_all`]).
pub fn clean<M: Memory>(memory: &M, slot: u16) {
    for id in ids(memory) {
        for field in [
            board::AREA_READERS,
            board::AREA_WAITING,
            board::AREA_WATCHERS,
        ] {
            let bitmap = memory.board64(board::area(id, field));
            if bitmap.load(Ordering::Relaxed) & bit(slot) != 0 {
                bitmap.fetch_and(!bit(slot), Ordering::Relaxed);
            }
        }
    }
}

/// Gives back the write locks of a dead owner of `slot`. Tells everybody who waits for an area, since
/// the dead may have updated it without a word.
pub fn recover_all<M: Memory>(memory: &M, me: Identity, slot: u16) {
    for id in ids(memory) {
        let writer = board::area(id, board::AREA_WRITER);
        if lock::is_orphaned(memory, writer, me, slot) {
            recover(memory, me, id);
        }
        tell(memory, id);
    }
}
