//! Deadlines of clients, in milliseconds of the loop's clock.
//!
//! A heap with lazy deletion: an alarm cannot be taken back. Who set it checks, when it rings,
//! whether it still means something. So a client whose deadline moves on with every message it
//! sends costs nothing: one alarm stays in the heap and is set again when it rings too early.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Key;

/// Alarms in order of their time.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Key)>>,
}

impl Timers {
    /// No alarms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rings for `key` at `at_ms` or soon after.
    pub fn set(&mut self, at_ms: u64, key: Key) {
        self.heap.push(Reverse((at_ms, key)));
    }

    /// When the next alarm rings.
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// Takes the next alarm that is due at `now_ms`: its time and its key.
    pub fn due(&mut self, now_ms: u64) -> Option<(u64, Key)> {
        if self.next()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(alarm)| alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Slab;
    use super::*;

    #[test]
    fn alarms_ring_in_order_and_not_early() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..3).map(|number| slab.insert(number)).collect();
        let mut timers = Timers::new();
        timers.set(30, keys[0]);
        timers.set(10, keys[1]);
        timers.set(20, keys[2]);
        assert_eq!(timers.due(9), None);
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.due(25), Some((10, keys[1])));
        assert_eq!(timers.due(25), Some((20, keys[2])));
        assert_eq!(timers.due(25), None);
        assert_eq!(timers.due(30), Some((30, keys[0])));
        assert_eq!(timers.next(), None);
    }
}
