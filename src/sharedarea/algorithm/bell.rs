//! Waking workers: a worker says that it sleeps, a writer rings only for sleepers that are concerned.
//! It must not know what they wait for.

use std::sync::atomic::Ordering;

use super::board;
use super::memory::{Memory, Word};

/// Says that `slot` is about to sleep having processed entries up to `seen`. `false`: there is more,
/// do not sleep (and the slot is not parked).
pub fn park<M: Memory>(memory: &M, slot: u16, seen: u64) -> bool {
    memory
        .board64(board::PARKED)
        .fetch_or(board::bit(slot), Ordering::Relaxed);
    // Pairs with the fence of `ring`: either the writer sees us parked, or we see its head.
    memory.fence(Ordering::SeqCst);
    if memory.board64(board::HEAD).load(Ordering::Acquire) == seen {
        return true;
    }
    unpark(memory, slot);
    false
}

/// Says that `slot` is awake.
pub fn unpark<M: Memory>(memory: &M, slot: u16) {
    let parked = memory.board64(board::PARKED);
    // Usually the writer that rang has cleared the bit; then the line is only read.
    if parked.load(Ordering::Relaxed) & board::bit(slot) != 0 {
        parked.fetch_and(!board::bit(slot), Ordering::Relaxed);
    }
}

/// Rings if a slot that is interested in `channel`, or one that wants everything, sleeps. The caller
/// has committed an entry. Whether it rang.
#[inline]
pub fn ring<M: Memory>(memory: &M, channel: Option<u32>) -> bool {
    // Pairs with the fence of `park`. Who is interested is read behind it as well: it may have come
    // to the channel, and gone to sleep, while the entry was written.
    memory.fence(Ordering::SeqCst);
    let wild = memory.board64(board::WILD).load(Ordering::Relaxed);
    let interest = channel.map_or(0, |index| {
        memory
            .board64(board::channel(index, board::CHANNEL_INTEREST))
            .load(Ordering::Relaxed)
    });
    ring_parked(memory, interest | wild)
}

/// Rings if a slot of `wanted` sleeps. The caller has changed what they look at, and fenced. Whether
/// it rang.
#[inline]
pub fn ring_parked<M: Memory>(memory: &M, wanted: u64) -> bool {
    let targets = memory.board64(board::PARKED).load(Ordering::Relaxed) & wanted;
    if targets == 0 {
        return false;
    }
    // Clear first: whoever parks again after the ring must find its bit kept. A writer killed between
    // the two leaves sleepers; the sweep of its slot rings.
    let before = memory
        .board64(board::PARKED)
        .fetch_and(!targets, Ordering::Relaxed);
    if before & targets == 0 {
        // Another writer has cleared the same bits and rings.
        return false;
    }
    memory.ring();
    true
}
