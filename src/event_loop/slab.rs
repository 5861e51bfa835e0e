//! Values under keys that are never mistaken for a successor's: an index with a generation.

/// A key of a [`Slab`]: it stops working when its value is removed, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    pub(super) generation: u32,
}

impl Key {
    /// The key as one word: the generation above the index.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key of such a word; `None` for a word with generation 0, which no key has.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let [index, generation] = [bits & 0xffff_ffff, bits >> 32].map(u32::try_from);
        let key = Self {
            index: index.ok()?,
            generation: generation.ok()?,
        };
        (key.generation != 0).then_some(key)
    }

    pub(super) fn place(self) -> usize {
        self.index as usize
    }
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    Free { next: Option<u32> },
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    place: Place<T>,
}

/// A growing table of values; freed places are used again under a new generation.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Option<u32>,
    len: usize,
}

impl<T> Slab<T> {
    /// An empty slab; it takes no memory yet.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: None,
            len: 0,
        }
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes `value` in.
    ///
    /// # Panics
    /// When 2^32 values are held, which no process has the memory for.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if let Some(index) = self.free {
            let entry = &mut self.entries[index as usize];
            if let Place::Free { next } = entry.place {
                self.free = next;
            }
            entry.place = Place::Taken(value);
            return Key {
                index,
                generation: entry.generation,
            };
        }
        #[expect(clippy::expect_used, reason = "2^32 values do not fit into memory")]
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 values");
        self.entries.push(Entry {
            generation: 1,
            place: Place::Taken(value),
        });
        Key {
            index,
            generation: 1,
        }
    }

    /// The value under `key`, unless it was removed.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.place()) {
            Some(Entry {
                generation,
                place: Place::Taken(value),
            }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value under `key`, unless it was removed.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.place()) {
            Some(Entry {
                generation,
                place: Place::Taken(value),
            }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value under `key` out; the key and its copies are dead from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let entry = &mut self.entries[key.place()];
        // Generation 0 is nobody's, so that tokens of other sources cannot look like a key.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        let place = std::mem::replace(&mut entry.place, Place::Free { next: self.free });
        self.free = Some(key.index);
        self.len -= 1;
        match place {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// The keys of all values, in no order that means anything.
    pub fn keys(&self) -> Vec<Key> {
        let taken = |(index, entry): (usize, &Entry<T>)| match entry.place {
            Place::Taken(_) => Some(Key {
                index: u32::try_from(index).ok()?,
                generation: entry.generation,
            }),
            Place::Free { .. } => None,
        };
        self.entries.iter().enumerate().filter_map(taken).collect()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_removed_key_never_finds_its_successor() {
        let mut slab = Slab::new();
        let old = slab.insert("old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert("new");
        assert_eq!(new.index, old.index);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&"new"));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(steps in prop::collection::vec(any::<(bool, u8)>(), 1..200)) {
            let mut slab = Slab::new();
            let mut model: HashMap<Key, usize> = HashMap::new();
            let mut all = Vec::new();
            for (number, (insert, pick)) in steps.into_iter().enumerate() {
                if insert || all.is_empty() {
                    let key = slab.insert(number);
                    prop_assert!(model.insert(key, number).is_none(), "a key is given out once");
                    all.push(key);
                } else {
                    let key = all[usize::from(pick) % all.len()];
                    prop_assert_eq!(slab.remove(key), model.remove(&key));
                }
                for key in &all {
                    prop_assert_eq!(slab.get(*key), model.get(key));
                    prop_assert_eq!(Key::from_bits(key.to_bits()), Some(*key));
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert_eq!(slab.keys().len(), model.len());
            }
        }
    }
}
