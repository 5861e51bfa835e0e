//! Why something cannot be done with an area. It must not know what was tried.

use std::io;

use crate::sharedarea::algorithm::lock::Busy;

/// Why an operation on an area failed; nothing was read, written or sent then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AreaError {
    /// There is no such area.
    #[error("there is no such area")]
    NoArea,
    /// The range does not lie inside.
    #[error("{bytes} bytes at {position} do not lie inside the {limit} bytes of the area")]
    OutOfBounds {
        /// First byte.
        position: u64,
        /// Number of bytes.
        bytes: u64,
        /// Bytes that there are.
        limit: u64,
    },
    /// A live process holds the lock and did not leave in time.
    #[error("the area is locked by another process")]
    Busy,
    /// The caller itself holds the write lock, and what it wants needs it to be free.
    #[error("unlock the area first")]
    Locked,
    /// This process has no slot in the board, so that nobody could tell whether it lives.
    #[error("this process takes no part in the shared area")]
    NotJoined,
    /// A message can have at most 32 bits of length.
    #[error("a message has at most {max} bytes, this range has {bytes}")]
    TooLarge {
        /// Bytes of the range.
        bytes: u64,
        /// The most there can be.
        max: u64,
    },
    /// The file below does not work any more; `UnexpectedEof` when somebody has made it shorter.
    #[error("the area's file fails: {0}")]
    File(io::ErrorKind),
}

impl From<Busy> for AreaError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl From<io::Error> for AreaError {
    fn from(error: io::Error) -> Self {
        Self::File(error.kind())
    }
}
