//! The memory of a shared area made of loom's atomics: only the words that the models touch exist,
//! so that loom has little to track. Payload bytes are loom's cells, which find any access that the
//! atomics do not order. It can be made with a flaw, to see that a model finds it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bellwether::sharedarea::Geometry;
use bellwether::sharedarea::algorithm::board;
use bellwether::sharedarea::algorithm::memory::{Memory, Word};
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

/// What is wrong with a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing.
    None,
    /// Fences of this order do nothing.
    NoFence(Ordering),
    /// Words order nothing: every access is relaxed.
    Relaxed,
}

impl Flaw {
    fn order(self, order: Ordering) -> Ordering {
        match self {
            Self::None | Self::NoFence(_) => order,
            Self::Relaxed => Ordering::Relaxed,
        }
    }
}

/// One of loom's atomics, with what the lock's owner knows of it.
pub(crate) struct Word32 {
    shared: AtomicU32,
    owned: Owned<u32>,
    flaw: Flaw,
}
/// Likewise.
pub(crate) struct Word64 {
    shared: AtomicU64,
    owned: Owned<u64>,
    flaw: Flaw,
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
            fn new(value: $value, flaw: Flaw) -> Self {
                Self {
                    shared: <$atomic>::new(value),
                    owned: Owned::new(value),
                    flaw,
                }
            }
        }

        impl Word for $word {
            type Value = $value;
            fn load(&self, order: Ordering) -> $value {
                self.shared.load(self.flaw.order(order))
            }
            fn load_owned(&self) -> $value {
                self.owned.get()
            }
            fn store(&self, value: $value, order: Ordering) {
                self.shared.store(value, self.flaw.order(order));
                self.owned.set(value);
            }
            fn swap(&self, value: $value, order: Ordering) -> $value {
                self.shared.swap(value, self.flaw.order(order))
            }
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.shared.fetch_add(value, self.flaw.order(order))
            }
            fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.shared.fetch_or(value, self.flaw.order(order))
            }
            fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.shared.fetch_and(value, self.flaw.order(order))
            }
            fn replace(&self, current: $value, new: $value, order: Ordering) -> bool {
                self.shared
                    .compare_exchange(current, new, self.flaw.order(order), Ordering::Relaxed)
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
    flaw: Flaw,
}

impl ModelMemory {
    /// A shared area where slots 0 to 3 have joined with generation 1, without plain areas.
    pub(crate) fn new() -> Self {
        let mut memory = Self::empty(Flaw::None);
        for at in [board::LOCK, board::EDITION, board::EDITING] {
            memory.add32(at, 0);
        }
        for at in [
            board::HEAD,
            board::END,
            board::HORIZON,
            board::SAFE,
            board::PARKED,
            board::WILD,
            board::RECLAIMED,
        ] {
            memory.add64(at, 0);
        }
        memory.add64(board::JOINED, (1 << SLOTS) - 1);
        for slot in 0..SLOTS {
            let at = |field| board::participant(slot, field);
            memory.add32(at(board::PARTICIPANT_VISITING), 0);
            memory.add64(at(board::PARTICIPANT_PIN), board::PIN_NONE);
        }
        for field in [
            board::CHANNEL_GENERATION,
            board::CHANNEL_EPOCH,
            board::CHANNEL_NAME_BYTES,
        ] {
            memory.add32(board::channel(0, field), 0);
        }
        let words = (0..board::CHANNEL_NAME_BYTES_MAX / 8).map(|at| board::CHANNEL_NAME + at * 8);
        for field in words.chain([
            board::CHANNEL_HASH,
            board::CHANNEL_MESSAGES,
            board::CHANNEL_LAST,
            board::CHANNEL_INTEREST,
            board::CHANNEL_TOUCHED,
        ]) {
            memory.add64(board::channel(0, field), 0);
        }
        memory.log = (0..GEOMETRY.entries)
            .map(|_| std::array::from_fn(|_| Word64::new(0, Flaw::None)))
            .collect();
        memory.spool = (0..GEOMETRY.spool_bytes)
            .map(|_| UnsafeCell::new(0))
            .collect();
        memory
    }

    /// A shared area where slots 0 to 3 have joined with generation 1, with one plain area and without a log.
    pub(crate) fn with_area(flaw: Flaw) -> Self {
        let mut memory = Self::empty(flaw);
        for field in [board::AREA_WRITER, board::AREA_TURN] {
            memory.add32(board::area(0, field), 0);
        }
        for field in [
            board::AREA_UPDATES,
            board::AREA_READERS,
            board::AREA_WAITING,
            board::AREA_WATCHERS,
        ] {
            memory.add64(board::area(0, field), 0);
        }
        memory
    }

    /// What both have.
    fn empty(flaw: Flaw) -> Self {
        let mut memory = Self {
            board32: BTreeMap::new(),
            board64: BTreeMap::new(),
            log: Vec::new(),
            spool: Vec::new(),
            inside: UnsafeCell::new(0),
            dead: (0..SLOTS).map(|_| AtomicBool::new(false)).collect(),
            rings: AtomicUsize::new(0),
            flaw,
        };
        for slot in 0..SLOTS {
            memory.add32(board::participant(slot, board::PARTICIPANT_GENERATION), 1);
        }
        memory.add64(board::RECOVERIES, 0);
        memory
    }

    fn add32(&mut self, at: usize, value: u32) {
        self.board32.insert(at, Word32::new(value, self.flaw));
    }

    fn add64(&mut self, at: usize, value: u64) {
        self.board64.insert(at, Word64::new(value, self.flaw));
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

    /// Looks at what only the owner of the lock may touch, as several may at once.
    #[expect(unsafe_code, reason = "loom's cells check what the block claims")]
    pub(crate) fn look_inside(&self) -> u64 {
        // SAFETY: loom fails the model when a write is concurrent.
        self.inside.with(|value| unsafe { *value })
    }

    /// How often the bell was rung.
    pub(crate) fn rings(&self) -> usize {
        self.rings.load(Ordering::Acquire)
    }

    /// Does `work` as `slot`, stops at `step` for ever, and lets the kernel notice.
    pub(crate) fn work_and_die<S: PartialEq, R>(
        &self,
        slot: u16,
        step: S,
        work: impl FnOnce(&mut dyn FnMut(S)) -> R,
    ) {
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            work(&mut |at| {
                if at == step {
                    std::panic::resume_unwind(Box::new(()));
                }
            })
        }));
        // A lock that was busy is no death.
        if stopped.is_err() {
            self.die(slot);
        }
    }

    /// The kernel drops the byte lock of `slot` after its owner's last store.
    pub(crate) fn die(&self, slot: u16) {
        self.dead[usize::from(slot)].store(true, Ordering::Release);
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
        if self.flaw != Flaw::NoFence(order) {
            fence(order);
        }
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
