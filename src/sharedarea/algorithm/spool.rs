//! The spool: a circle of bytes addressed by absolute positions that only grow. A record may wrap
//! once a lap and is then two pieces. It must not know who reads it.

use super::memory::Memory;
use crate::sharedarea::geometry::Geometry;

/// Bytes of the spool, by absolute position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Range {
    /// Absolute position of the first byte.
    pub position: u64,
    /// Number of bytes.
    pub bytes: u32,
}

impl Range {
    /// Position behind the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.position.wrapping_add(u64::from(self.bytes))
    }
}

/// Adjacent bytes of the memory object: offset and length, inside the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Piece {
    /// Offset in the object.
    pub at: usize,
    /// Length.
    pub bytes: usize,
}

/// Where `bytes` at `position` lie: one piece, and a second when they wrap. More bytes than the spool
/// has are cut: positions come from shared memory and may be anything.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the mask keeps it below the spool's size"
)]
pub fn pieces(geometry: &Geometry, position: u64, bytes: usize) -> [Piece; 2] {
    let spool_bytes = geometry.spool_bytes as usize;
    let at = (position & (geometry.spool_bytes - 1)) as usize;
    let bytes = bytes.min(spool_bytes);
    let first = bytes.min(spool_bytes - at);
    [
        Piece { at, bytes: first },
        Piece {
            at: 0,
            bytes: bytes - first,
        },
    ]
}

/// Copies `bytes` to `position`; the caller has the lock and has made room. Returns the position
/// behind them.
#[inline]
pub fn write<M: Memory>(memory: &M, position: u64, bytes: &[u8]) -> u64 {
    let [first, second] = pieces(memory.geometry(), position, bytes.len());
    let (head, tail) = bytes.split_at(first.bytes);
    memory.write_spool(first.at, head);
    if second.bytes > 0 {
        memory.write_spool(second.at, tail);
    }
    position.wrapping_add(bytes.len() as u64)
}
