//! The memory of a shared area made of loom's atomics: only the words that the models touch exist,
//! so that loom has little to track. Payload bytes are loom's cells, which find any access that the
//! atomics do not order.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bellwether::sharedarea::Geometry;
use bellwether::sharedarea::algorithm::board;
use bellwether::sharedarea::algorithm::memory::{Memory, Word};
use bellwether::sharedarea::algorithm::publish::{Committed, Step, WouldBlock};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};

/// Participant slots that exist in the models.
const SLOTS: u16 = 4;
/// A spool of eight messages of two bytes, a log of four entries, a table of one channel.
const GEOMETRY: Geometry = Geometry {
    spool_bytes: 16,
    entries: 4,
    channels: 1,
};

/// One of loom's atomics, with what the lock's owner knows of it.
pub(crate) struct Word32 {
    shared: AtomicU32,
    owned: Owned<u32>,
}
/// Likewise.
pub(crate) struct Word64 {
    shared: AtomicU64,
    owned: Owned<u64>,
}

/// A copy of a word that answers its owner without an access that loom tracks (see
/// [`Word::load_owned`]). The cell finds two owners that the lock has not ordered.
struct Owned<V> {
    copy: Mutex<V>,
    cell: UnsafeCell<()>,
}

impl<V: Copy> Owned<V> {
    fn new(value: V) -> Self {
        Self {
            copy: Mutex::new(value),
            cell: UnsafeCell::new(()),
        }
    }

    fn set(&self, value: V) {
        *self.copy.lock().unwrap() = value;
    }

    fn get(&self) -> V {
        self.cell.with_mut(|_| ());
        *self.copy.lock().unwrap()
    }
}

macro_rules! word {
    ($word:ident, $atomic:ty, $value:ty) => {
        impl $word {
            fn new(value: $value) -> Self {
                Self {
                    shared: <$atomic>::new(value),
                    owned: Owned::new(value),
                }
            }
        }

        impl Word for $word {
            type Value = $value;
            fn load(&self, order: Ordering) -> $value {
                self.shared.load(order)
            }
            fn load_owned(&self) -> $value {
                self.owned.get()
            }
            fn store(&self, value: $value, order: Ordering) {
                self.shared.store(value, order);
                self.owned.set(value);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                self.shared.swap(value, order)
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.shared.fetch_add(value, order)
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.shared.fetch_or(value, order)
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.shared.fetch_and(value, order)
            }
            fn replace(&self, current: $value, new: $value, order: Ordering) -> bool {
                self.shared
                    .compare_exchange(current, new, order, Ordering::Relaxed)
                    .is_ok()
            }
        }
    };
}

word!(Word32, AtomicU32, u32);
word!(Word64, AtomicU64, u64);

/// A shared area for loom.
pub(crate) struct ModelMemory {
    board32: BTreeMap<usize, Word32>,
    board64: BTreeMap<usize, Word64>,
    log: Vec<[Word64; board::ENTRY_WORDS]>,
    spool: Vec<UnsafeCell<u8>>,
    /// What the lock alone protects.
    inside: UnsafeCell<u64>,
    dead: Vec<AtomicBool>,
    rings: AtomicUsize,
}

impl ModelMemory {
    /// An area where slots 0 to 3 have joined with generation 1.
    pub(crate) fn new() -> Self {
        let mut board32 = BTreeMap::new();
        let mut board64 = BTreeMap::new();
        for at in [board::LOCK, board::EDITION, board::EDITING] {
            board32.insert(at, Word32::new(0));
        }
        for at in [
            board::HEAD,
            board::END,
            board::HORIZON,
            board::SAFE,
            board::PARKED,
            board::WILD,
            board::RECOVERIES,
            board::RECLAIMED,
        ] {
            board64.insert(at, Word64::new(0));
        }
        board64.insert(board::JOINED, Word64::new((1 << SLOTS) - 1));
        for slot in 0..SLOTS {
            let at = |field| board::participant(slot, field);
            board32.insert(at(board::PARTICIPANT_GENERATION), Word32::new(1));
            board32.insert(at(board::PARTICIPANT_VISITING), Word32::new(0));
            board64.insert(at(board::PARTICIPANT_PIN), Word64::new(board::PIN_NONE));
        }
        for field in [
            board::CHANNEL_GENERATION,
            board::CHANNEL_EPOCH,
            board::CHANNEL_NAME_BYTES,
        ] {
            board32.insert(board::channel(0, field), Word32::new(0));
        }
        let words = (0..board::CHANNEL_NAME_BYTES_MAX / 8).map(|at| board::CHANNEL_NAME + at * 8);
        for field in words.chain([
            board::CHANNEL_HASH,
            board::CHANNEL_MESSAGES,
            board::CHANNEL_LAST,
            board::CHANNEL_INTEREST,
            board::CHANNEL_TOUCHED,
        ]) {
            board64.insert(board::channel(0, field), Word64::new(0));
        }
        Self {
            board32,
            board64,
            log: (0..GEOMETRY.entries)
                .map(|_| std::array::from_fn(|_| Word64::new(0)))
                .collect(),
            spool: (0..GEOMETRY.spool_bytes)
                .map(|_| UnsafeCell::new(0))
                .collect(),
            inside: UnsafeCell::new(0),
            dead: (0..SLOTS).map(|_| AtomicBool::new(false)).collect(),
            rings: AtomicUsize::new(0),
        }
    }

    /// What the kernel does in `send`: reads bytes of the spool, unordered by itself.
    #[expect(unsafe_code, reason = "loom's cells check what the block claims")]
    pub(crate) fn read_spool(&self, position: u64, bytes: u32) -> Vec<u8> {
        (position..position + u64::from(bytes))
            .map(|position| {
                let cell = &self.spool[usize::try_from(position % GEOMETRY.spool_bytes).unwrap()];
                // SAFETY: loom fails the model when a write is concurrent.
                cell.with(|byte| unsafe { *byte })
            })
            .collect()
    }

    /// Touches what only the owner of the lock may touch.
    #[expect(unsafe_code, reason = "loom's cells check what the block claims")]
    pub(crate) fn work_inside(&self) {
        // SAFETY: loom fails the model when another access is concurrent.
        self.inside.with_mut(|value| unsafe { *value += 1 });
    }

    /// How often the bell was rung.
    pub(crate) fn rings(&self) -> usize {
        self.rings.load(Ordering::Acquire)
    }

    /// Publishes as `slot`, stops at `step` for ever, and lets the kernel notice.
    pub(crate) fn publish_and_die<P>(&self, slot: u16, step: Step, publish: P)
    where
        P: FnOnce(&Self, u16, &mut dyn FnMut(Step)) -> Result<Committed, WouldBlock>,
    {
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            publish(self, slot, &mut |at| {
                if at == step {
                    std::panic::resume_unwind(Box::new(()));
                }
            })
        }));
        // A lock that was busy is no death; else the kernel drops the byte lock after the last store.
        if stopped.is_err() {
            self.dead[usize::from(slot)].store(true, Ordering::Release);
        }
    }
}

impl Memory for ModelMemory {
    type Word32 = Word32;
    type Word64 = Word64;

    const SPINS_MAX: u32 = 2;

    fn geometry(&self) -> &Geometry {
        &GEOMETRY
    }

    fn board32(&self, at: usize) -> &Word32 {
        &self.board32[&at]
    }

    fn board64(&self, at: usize) -> &Word64 {
        &self.board64[&at]
    }

    fn entry(&self, index: u32) -> &[Word64; board::ENTRY_WORDS] {
        &self.log[index as usize]
    }

    #[expect(unsafe_code, reason = "loom's cells check what the block claims")]
    fn write_spool(&self, at: usize, bytes: &[u8]) {
        for (cell, byte) in self.spool[at..].iter().zip(bytes) {
            // SAFETY: loom fails the model when another access is concurrent.
            cell.with_mut(|target| unsafe { *target = *byte });
        }
    }

    fn fence(&self, order: Ordering) {
        fence(order);
    }

    fn spin(&self) {
        // Not a yield: that would run the others to their end, and nothing would be contended.
    }

    fn wait(&self, _at: usize, _expected: u32) {
        loom::thread::yield_now();
    }

    fn wake_one(&self, _at: usize) {}

    fn wake_all(&self, _at: usize) {}

    fn pause(&self) {
        loom::thread::yield_now();
    }

    fn slot_is_held(&self, slot: u16) -> bool {
        !self.dead[usize::from(slot)].load(Ordering::Acquire)
    }

    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Release);
    }
}
