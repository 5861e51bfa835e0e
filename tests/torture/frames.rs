//! Frames that prove themselves: every word follows from the first, so any torn, mixed or stale byte
//! is seen.

use std::collections::HashMap;

use bellwether::sharedarea::Entry;

/// Channels that the publishers use.
pub(crate) const CHANNELS: u64 = 32;
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Fills `frame` with `words` words of message `count` by the publisher `origin`.
pub(crate) fn fill(frame: &mut Vec<u8>, origin: u64, count: u64, words: u64) {
    frame.clear();
    let start = origin.rotate_left(32) ^ count;
    for word in [origin, count, words] {
        frame.extend_from_slice(&word.to_le_bytes());
    }
    for at in 0..words {
        frame.extend_from_slice(&start.wrapping_add(at.wrapping_mul(STEP)).to_le_bytes());
    }
}

/// What a reader knows of the messages before.
#[derive(Default)]
pub(crate) struct Checker {
    counts: HashMap<u64, u64>,
    offsets: HashMap<u32, u64>,
}

impl Checker {
    /// Messages were missed: offsets may jump, counts may not go back.
    pub(crate) fn lapped(&mut self) {
        self.offsets.clear();
    }

    /// Checks the frame of `entry`.
    pub(crate) fn check(&mut self, entry: &Entry, frame: &[u8]) -> Result<(), String> {
        let mut words = frame.chunks_exact(8).map(|word| {
            word.iter()
                .rev()
                .fold(0, |value, byte| (value << 8) | u64::from(*byte))
        });
        let mut next = || words.next().unwrap_or(u64::MAX);
        let (origin, count, length) = (next(), next(), next());
        if origin != entry.origin || frame.len() as u64 != (length.wrapping_add(3)).wrapping_mul(8)
        {
            return Err(format!("entry {}: foreign frame of {origin:#x}", entry.seq));
        }
        let start = origin.rotate_left(32) ^ count;
        if (0..length).any(|at| next() != start.wrapping_add(at.wrapping_mul(STEP))) {
            return Err(format!("entry {}: torn frame", entry.seq));
        }
        let last = self.counts.insert(origin, count);
        if last.is_some_and(|last| count <= last) {
            return Err(format!(
                "entry {}: message {count} after {last:?}",
                entry.seq
            ));
        }
        let Some(channel) = entry.channel else {
            return Err(format!("entry {}: no channel", entry.seq));
        };
        let last = self.offsets.insert(channel, entry.offset);
        if last.is_some_and(|last| entry.offset != last + 1) {
            return Err(format!(
                "entry {}: offset {} after {last:?}",
                entry.seq, entry.offset
            ));
        }
        Ok(())
    }
}
