//! Keys that wait for something, each once.

use std::collections::VecDeque;

use super::Key;

/// Keys in the order in which they came. One that is in it already keeps its place, so it is never longer than there
/// are keys. A key whose value was removed stays in it like any other: who takes it out finds nothing.
#[derive(Debug, Default)]
pub struct KeyQueue {
    order: VecDeque<Key>,
    /// The generation of the latest key in it at each index of the slab; 0 for none.
    generations: Vec<u32>,
}

impl KeyQueue {
    /// An empty queue; it takes no memory yet.
    pub const fn new() -> Self {
        Self {
            order: VecDeque::new(),
            generations: Vec::new(),
        }
    }

    /// Puts a key at the end unless it is in already.
    #[inline]
    pub fn push(&mut self, key: Key) {
        let place = key.place();
        if self.generations.len() <= place {
            self.generations.resize(place + 1, 0);
        }
        if std::mem::replace(&mut self.generations[place], key.generation) != key.generation {
            self.order.push_back(key);
        }
    }

    /// Takes the first key out.
    pub fn pop(&mut self) -> Option<Key> {
        let key = self.order.pop_front()?;
        self.left(key);
        Some(key)
    }

    /// Takes all keys out. What is put in while they are looked at waits for the next time.
    pub fn take(&mut self) -> VecDeque<Key> {
        let keys = std::mem::take(&mut self.order);
        for key in &keys {
            self.left(*key);
        }
        keys
    }

    fn left(&mut self, key: Key) {
        let generation = &mut self.generations[key.place()];
        // Its successor may be in, too.
        if *generation == key.generation {
            *generation = 0;
        }
    }

    /// Whether a key that has not been removed from its slab is in it.
    pub fn contains(&self, key: Key) -> bool {
        self.generations.get(key.place()) == Some(&key.generation)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Slab;
    use super::*;

    #[test]
    fn a_key_and_its_successor_are_two() {
        let mut slab = Slab::new();
        let mut queue = KeyQueue::new();
        let old = slab.insert(());
        queue.push(old);
        slab.remove(old);
        let new = slab.insert(());
        queue.push(new);
        queue.push(new);
        assert_eq!(queue.pop(), Some(old));
        queue.push(new);
        assert_eq!(queue.pop(), Some(new));
        queue.push(new);
        assert_eq!(queue.take(), [new]);
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_list_that_is_searched(steps in prop::collection::vec((0_u8..8, 0_usize..6), 1..100)) {
            let mut slab = Slab::new();
            let keys: Vec<Key> = (0..6).map(|number| slab.insert(number)).collect();
            let mut queue = KeyQueue::new();
            let mut model: VecDeque<Key> = VecDeque::new();
            for (step, pick) in steps {
                match step {
                    0..4 => {
                        queue.push(keys[pick]);
                        if !model.contains(&keys[pick]) {
                            model.push_back(keys[pick]);
                        }
                    }
                    4..7 => prop_assert_eq!(queue.pop(), model.pop_front()),
                    _ => prop_assert_eq!(queue.take(), std::mem::take(&mut model)),
                }
                for key in &keys {
                    prop_assert_eq!(queue.contains(*key), model.contains(key));
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}
