//! The channel table: names, offsets, and which workers have subscribers. Open addressing within a
//! window; edited under the lock, looked up by everybody without one. It must not know what is
//! published.

use std::sync::atomic::Ordering;

use super::board;
use super::memory::{Memory, Word};

/// Words of the longest name.
const NAME_WORDS: usize = board::CHANNEL_NAME_BYTES_MAX / 8;
/// Multiplier of the hash: an odd constant with well-mixed bits (the golden ratio's).
const HASH_MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Steps of an edit that a test may stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditStep {
    /// The slot is marked, its old name still stands.
    Begun,
    /// The new name stands, the slot is still marked.
    Filled,
}

/// A name prepared for look-up: its words and their hash. Costs a few nanoseconds, outside the lock.
#[derive(Debug, Clone, Copy)]
pub struct Name<'n> {
    bytes: &'n [u8],
    /// As in a slot; without meaning for a name that does not fit one.
    words: [u64; NAME_WORDS],
    hash: u64,
}

impl<'n> Name<'n> {
    /// `None` for a name that cannot be a channel's: empty or above 255 bytes.
    #[must_use]
    pub fn new(name: &'n str, key: u64) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || u8::try_from(bytes.len()).is_err() {
            return None;
        }
        let mut padded = [0; board::CHANNEL_NAME_BYTES_MAX];
        let kept = bytes.len().min(padded.len());
        padded[..kept].copy_from_slice(&bytes[..kept]);
        let mut words = [0; NAME_WORDS];
        for (word, chunk) in words.iter_mut().zip(padded.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let used = kept.div_ceil(size_of::<u64>());
        Some(Self {
            bytes,
            hash: hash(&words[..used], bytes.len() as u64, key),
            words,
        })
    }

    /// The name.
    #[must_use]
    pub fn bytes(&self) -> &'n [u8] {
        self.bytes
    }

    fn fits(&self) -> bool {
        self.bytes.len() <= board::CHANNEL_NAME_BYTES_MAX
    }

    /// The words that the name fills, the last one zero padded.
    fn used_words(&self) -> &[u64] {
        &self.words[..self.bytes.len().div_ceil(size_of::<u64>()).min(NAME_WORDS)]
    }
}

/// Folds the name eight bytes at a time; the key is the low half of the boot id, so that nobody
/// outside can choose names that collide.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of the product are what is folded"
)]
fn hash(words: &[u64], bytes: u64, key: u64) -> u64 {
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(HASH_MULTIPLIER);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let hash = words
        .iter()
        .fold(fold(key, bytes), |state, word| fold(state ^ key, *word));
    // The two lowest values mean "unused" and "vacant".
    hash.max(board::HASH_VACANT + 1)
}

/// Where a look-up of `hash` goes, in order.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the hash's low bits choose the first slot"
)]
fn window<M: Memory>(memory: &M, hash: u64) -> impl Iterator<Item = u32> + use<M> {
    let channels = memory.geometry().channels;
    let first = hash as u32;
    (0..board::CHANNEL_WINDOW.min(channels))
        .map(move |step| first.wrapping_add(step) & (channels - 1))
}

/// Whether slot `index` bears the name now.
#[inline]
fn bears<M: Memory>(memory: &M, index: u32, name: &Name<'_>) -> bool {
    let generation = memory.board32(board::channel(index, board::CHANNEL_GENERATION));
    // Acquire pairs with the Release of `Edit::finish`: an even generation vouches for the name.
    let before = generation.load(Ordering::Acquire);
    let bytes = memory.board32(board::channel(index, board::CHANNEL_NAME_BYTES));
    let same = before.is_multiple_of(2)
        && memory
            .board64(board::channel(index, board::CHANNEL_HASH))
            .load(Ordering::Relaxed)
            == name.hash
        && bytes.load(Ordering::Relaxed) as usize == name.bytes.len()
        && name.used_words().iter().enumerate().all(|(at, word)| {
            let at = board::channel(index, board::CHANNEL_NAME + at * 8);
            memory.board64(at).load(Ordering::Relaxed) == *word
        });
    // Pairs with the fence of `Edit::begin`: words of a later name come with a later generation.
    memory.fence(Ordering::Acquire);
    same && generation.load(Ordering::Relaxed) == before
}

/// The slot that bears the name. Without the lock the answer may be old the moment it is given.
#[inline]
pub fn find<M: Memory>(memory: &M, name: &Name<'_>) -> Option<u32> {
    if !name.fits() {
        return None;
    }
    for index in window(memory, name.hash) {
        let hash = memory
            .board64(board::channel(index, board::CHANNEL_HASH))
            .load(Ordering::Relaxed);
        if hash == board::HASH_UNUSED {
            return None;
        }
        if hash == name.hash && bears(memory, index, name) {
            return Some(index);
        }
    }
    None
}

/// Finds the name without the lock and keeps its slot from being given away: `slot` visits it until
/// its next look-up or its subscription.
pub fn visit<M: Memory>(memory: &M, slot: u16, name: &Name<'_>) -> Option<u32> {
    let index = find(memory, name)?;
    announce_visit(memory, slot, index);
    // Pairs with the fence of `Edit::begin`: either the editor sees our visit, or we see its mark.
    memory.fence(Ordering::SeqCst);
    bears(memory, index, name).then_some(index)
}

/// Marks channel `index` as looked up by `slot`; under the lock it needs no check.
pub fn announce_visit<M: Memory>(memory: &M, slot: u16, index: u32) {
    let at = board::participant(slot, board::PARTICIPANT_VISITING);
    memory.board32(at).store(index + 1, Ordering::Relaxed);
}

/// Finds the name or inserts it; the caller holds the lock. `None`: no room, or the name does not fit.
#[inline]
pub fn find_or_insert<M: Memory>(
    memory: &M,
    name: &Name<'_>,
    trace: &mut dyn FnMut(EditStep),
) -> Option<u32> {
    match find(memory, name) {
        Some(index) => Some(index),
        None if name.fits() => insert(memory, name, trace),
        None => None,
    }
}

#[cold]
fn insert<M: Memory>(memory: &M, name: &Name<'_>, trace: &mut dyn FnMut(EditStep)) -> Option<u32> {
    let hash_of = |index| {
        memory
            .board64(board::channel(index, board::CHANNEL_HASH))
            .load(Ordering::Relaxed)
    };
    let free = window(memory, name.hash).find(|index| hash_of(*index) <= board::HASH_VACANT);
    if let Some(index) = free {
        Edit::begin(memory, index).fill(name, trace);
        return Some(index);
    }
    // Nobody subscribes to an idle channel; the one that rests longest goes first.
    let mut idle: Vec<(u64, u32)> = window(memory, name.hash)
        .filter(|index| is_idle(memory, *index))
        .map(|index| {
            let touched = board::channel(index, board::CHANNEL_TOUCHED);
            (memory.board64(touched).load(Ordering::Relaxed), index)
        })
        .collect();
    idle.sort_unstable();
    for (_, index) in idle {
        let edit = Edit::begin(memory, index);
        // The mark is out: a visitor that comes now sees it, one that came before is seen here.
        if is_idle(memory, index) {
            memory
                .board64(board::RECLAIMED)
                .fetch_add(1, Ordering::Relaxed);
            edit.fill(name, trace);
            return Some(index);
        }
        edit.abandon();
    }
    None
}

/// Whether nobody subscribes to the channel or is about to.
fn is_idle<M: Memory>(memory: &M, index: u32) -> bool {
    let joined = memory.board64(board::JOINED).load(Ordering::Relaxed);
    let is_visited = board::slots(joined).any(|slot| {
        let at = board::participant(slot, board::PARTICIPANT_VISITING);
        // Acquire pairs with the Release of `set_interest`: a visit that has ended shows its interest.
        memory.board32(at).load(Ordering::Acquire) == index + 1
    });
    let interest = memory.board64(board::channel(index, board::CHANNEL_INTEREST));
    !is_visited && interest.load(Ordering::Relaxed) == 0
}

/// A slot under edit: marked by an odd generation and named in `EDITING`, so that whoever takes the
/// lock from a dead editor can undo it.
struct Edit<'m, M: Memory> {
    memory: &'m M,
    index: u32,
    generation: u32,
}

impl<'m, M: Memory> Edit<'m, M> {
    fn begin(memory: &'m M, index: u32) -> Self {
        let word = memory.board32(board::channel(index, board::CHANNEL_GENERATION));
        let generation = word.load_owned() | 1;
        memory
            .board32(board::EDITING)
            .store(index + 1, Ordering::Relaxed);
        // Release keeps the compiler from marking the slot before it is named in `EDITING`: after a
        // kill between the two the mark would stay for ever.
        word.store(generation, Ordering::Release);
        // Pairs with the fences of `bears` and `visit`.
        memory.fence(Ordering::SeqCst);
        Self {
            memory,
            index,
            generation,
        }
    }

    fn field(&self, field: usize) -> &'m M::Word64 {
        self.memory.board64(board::channel(self.index, field))
    }

    fn fill(self, name: &Name<'_>, trace: &mut dyn FnMut(EditStep)) {
        trace(EditStep::Begun);
        let head = self.memory.board64(board::HEAD).load_owned();
        // Stored only now that the edit is certain: the epoch of a channel never comes twice.
        let edition = self
            .memory
            .board32(board::EDITION)
            .fetch_add(1, Ordering::Relaxed);
        let epoch = board::channel(self.index, board::CHANNEL_EPOCH);
        self.memory.board32(epoch).store(edition, Ordering::Relaxed);
        self.field(board::CHANNEL_MESSAGES)
            .store(0, Ordering::Relaxed);
        self.field(board::CHANNEL_LAST).store(0, Ordering::Relaxed);
        self.field(board::CHANNEL_TOUCHED)
            .store(head, Ordering::Relaxed);
        for (at, word) in name.words.iter().enumerate() {
            self.field(board::CHANNEL_NAME + at * 8)
                .store(*word, Ordering::Relaxed);
        }
        let bytes = u32::try_from(name.bytes.len()).unwrap_or(0);
        let name_bytes = board::channel(self.index, board::CHANNEL_NAME_BYTES);
        self.memory
            .board32(name_bytes)
            .store(bytes, Ordering::Relaxed);
        self.field(board::CHANNEL_HASH)
            .store(name.hash, Ordering::Relaxed);
        trace(EditStep::Filled);
        self.finish();
    }

    fn abandon(self) {
        self.finish();
    }

    fn finish(self) {
        let word = self
            .memory
            .board32(board::channel(self.index, board::CHANNEL_GENERATION));
        // Release pairs with the Acquire of `bears`.
        word.store(self.generation.wrapping_add(1), Ordering::Release);
        // Release for the same reason as in `begin`: the mark goes first.
        self.memory
            .board32(board::EDITING)
            .store(0, Ordering::Release);
    }
}

/// Undoes the edit of a dead owner; the caller holds the lock. The slot loses its name, but stays a
/// stepping stone for look-ups that pass it.
pub fn repair<M: Memory>(memory: &M) {
    let editing = memory.board32(board::EDITING).load_owned();
    let Some(index) = editing
        .checked_sub(1)
        .filter(|index| *index < memory.geometry().channels)
    else {
        return;
    };
    let generation = board::channel(index, board::CHANNEL_GENERATION);
    if memory.board32(generation).load_owned() % 2 == 1 {
        let edit = Edit::begin(memory, index);
        edit.field(board::CHANNEL_HASH)
            .store(board::HASH_VACANT, Ordering::Relaxed);
        let name_bytes = board::channel(index, board::CHANNEL_NAME_BYTES);
        memory.board32(name_bytes).store(0, Ordering::Relaxed);
        edit.finish();
    } else {
        memory.board32(board::EDITING).store(0, Ordering::Relaxed);
    }
}

/// A channel as its publisher finds it under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Offset of the newest message.
    pub messages: u64,
    /// Entry of the newest message.
    pub last: u64,
    /// Generation of the slot.
    pub generation: u32,
    /// How the channel was inserted.
    pub epoch: u32,
}

/// Reads what a publication to channel `index` needs; the caller holds the lock.
#[inline]
pub fn seat<M: Memory>(memory: &M, index: u32) -> Seat {
    let word = |field| {
        memory
            .board64(board::channel(index, field))
            .load(Ordering::Relaxed)
    };
    let half = |field| {
        memory
            .board32(board::channel(index, field))
            .load(Ordering::Relaxed)
    };
    Seat {
        messages: word(board::CHANNEL_MESSAGES),
        last: word(board::CHANNEL_LAST),
        generation: half(board::CHANNEL_GENERATION),
        epoch: half(board::CHANNEL_EPOCH),
    }
}

/// Writes that entry `seq` is the channel's message number `offset`; the caller holds the lock. Doing
/// it twice is the same as once, so a dead writer's successor simply does it again.
#[inline]
pub fn record<M: Memory>(memory: &M, index: u32, seq: u64, offset: u64) {
    // Release keeps these behind the commit in the machine code too: a kill in between must find an
    // entry that its channel does not know, never a channel that knows an entry that is not there.
    let store = |field, value| {
        memory
            .board64(board::channel(index, field))
            .store(value, Ordering::Release);
    };
    store(board::CHANNEL_MESSAGES, offset);
    store(board::CHANNEL_LAST, seq);
    store(board::CHANNEL_TOUCHED, seq);
}

/// Sets or clears the interest of `slot` in channel `index`, and ends its visit there.
pub fn set_interest<M: Memory>(memory: &M, slot: u16, index: u32, is_interested: bool) {
    let interest = memory.board64(board::channel(index, board::CHANNEL_INTEREST));
    let bit = board::bit(slot);
    if is_interested {
        interest.fetch_or(bit, Ordering::Relaxed);
    } else {
        interest.fetch_and(!bit, Ordering::Relaxed);
    }
    end_visit(memory, slot);
}

/// Ends the visit of `slot`, wherever it was.
pub fn end_visit<M: Memory>(memory: &M, slot: u16) {
    // Release pairs with the Acquire of `is_idle`.
    let visiting = board::participant(slot, board::PARTICIPANT_VISITING);
    memory.board32(visiting).store(0, Ordering::Release);
}

/// The name of channel `index` as it is now; `None` while it has none.
pub fn name<M: Memory>(memory: &M, index: u32) -> Option<String> {
    let generation = memory.board32(board::channel(index, board::CHANNEL_GENERATION));
    let before = generation.load(Ordering::Acquire);
    let hash = memory
        .board64(board::channel(index, board::CHANNEL_HASH))
        .load(Ordering::Relaxed);
    let bytes = memory.board32(board::channel(index, board::CHANNEL_NAME_BYTES));
    let bytes = bytes.load(Ordering::Relaxed) as usize;
    let mut name = Vec::with_capacity(board::CHANNEL_NAME_BYTES_MAX);
    for at in 0..NAME_WORDS {
        let word = memory.board64(board::channel(index, board::CHANNEL_NAME + at * 8));
        name.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    // Pairs with the fence of `Edit::begin`, as in `bears`.
    memory.fence(Ordering::Acquire);
    let is_whole = before.is_multiple_of(2) && generation.load(Ordering::Relaxed) == before;
    if !is_whole || hash <= board::HASH_VACANT || bytes == 0 || bytes > name.len() {
        return None;
    }
    name.truncate(bytes);
    String::from_utf8(name).ok()
}
