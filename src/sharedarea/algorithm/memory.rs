//! What the algorithms need of memory and kernel, as a trait: the real mapping implements it, and the
//! loom models implement it over loom's atomics, so that the very code that ships is explored. It
//! must not know any layout.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::board::ENTRY_WORDS;
use crate::sharedarea::geometry::Geometry;

/// An atomic word of shared memory.
pub trait Word {
    /// The integer it holds.
    type Value: Copy + Eq;
    /// As [`AtomicU64::load`].
    fn load(&self, order: Ordering) -> Self::Value;
    /// A relaxed load of a word that only the lock's owner stores, by that owner. It has a name of its
    /// own for the models: loom remembers one last access of an atomic, and a writer that reads back
    /// its own word would hide the readers' accesses, leaving interleavings unexplored.
    fn load_owned(&self) -> Self::Value {
        self.load(Ordering::Relaxed)
    }
    /// As [`AtomicU64::store`].
    fn store(&self, value: Self::Value, order: Ordering);
    /// As [`AtomicU64::swap`].
    fn swap(&self, value: Self::Value, order: Ordering) -> Self::Value;
    /// As [`AtomicU64::fetch_add`].
    fn fetch_add(&self, value: Self::Value, order: Ordering) -> Self::Value;
    /// As [`AtomicU64::fetch_or`].
    fn fetch_or(&self, value: Self::Value, order: Ordering) -> Self::Value;
    /// As [`AtomicU64::fetch_and`].
    fn fetch_and(&self, value: Self::Value, order: Ordering) -> Self::Value;
    /// As [`AtomicU64::compare_exchange`], `true` when exchanged. A failure orders nothing.
    fn replace(&self, current: Self::Value, new: Self::Value, order: Ordering) -> bool;
}

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word for $atomic {
            type Value = $value;
            fn load(&self, order: Ordering) -> $value {
                <$atomic>::load(self, order)
            }
            fn store(&self, value: $value, order: Ordering) {
                <$atomic>::store(self, value, order);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::swap(self, value, order)
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_add(self, value, order)
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_or(self, value, order)
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_and(self, value, order)
            }
            fn replace(&self, current: $value, new: $value, order: Ordering) -> bool {
                <$atomic>::compare_exchange(self, current, new, order, Ordering::Relaxed).is_ok()
            }
        }
    };
}

word!(AtomicU32, u32);
word!(AtomicU64, u64);

/// The memory objects of a shared area, and what the kernel does for them. Offsets come from
/// [`super::board`]; an offset outside the objects is a bug of ours and panics.
pub trait Memory {
    /// A 32-bit word.
    type Word32: Word<Value = u32>;
    /// A 64-bit word.
    type Word64: Word<Value = u64>;

    /// Tries before something busy is given up or slept for: a lock is held for tens of nanoseconds,
    /// a pin for microseconds.
    const SPINS_MAX: u32 = 200;

    /// The sizes.
    fn geometry(&self) -> &Geometry;
    /// The 32-bit word at byte `at` of the board.
    fn board32(&self, at: usize) -> &Self::Word32;
    /// The 64-bit word at byte `at` of the board.
    fn board64(&self, at: usize) -> &Self::Word64;
    /// The words of entry `index` of the log.
    fn entry(&self, index: u32) -> &[Self::Word64; ENTRY_WORDS];
    /// Copies `bytes` to byte `at` of the spool; they do not wrap. The caller owns the space: it has
    /// the lock and has made room.
    fn write_spool(&self, at: usize, bytes: &[u8]);
    /// As [`std::sync::atomic::fence`].
    fn fence(&self, order: Ordering);
    /// Tells the processor that this is a spin loop.
    fn spin(&self);
    /// Sleeps while board word `at` is `expected`, at most [`super::lock::WAIT_MS_MAX`].
    fn wait(&self, at: usize, expected: u32);
    /// Sleeps about a millisecond.
    fn pause(&self);
    /// Wakes one sleeper on board word `at`.
    fn wake_one(&self, at: usize);
    /// Wakes all sleepers on board word `at`.
    fn wake_all(&self, at: usize);
    /// Whether a process holds slot `slot`; must be answered for slots of others only.
    fn slot_is_held(&self, slot: u16) -> bool;
    /// Wakes all who poll the bell.
    fn ring(&self);
}
