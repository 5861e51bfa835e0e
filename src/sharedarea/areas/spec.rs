//! What areas are wanted, and why one cannot be had. It must not know how options are written.

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::sharedarea::algorithm::board;

/// Areas that there can be.
pub const AREAS_MAX: usize = board::AREA_COUNT;
/// Bytes of the longest name of an area.
pub const AREA_NAME_BYTES_MAX: usize = board::AREA_NAME_BYTES_MAX;

/// How large an area is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AreaSize {
    /// That many pages of the system.
    Pages(u64),
    /// That many bytes; an area of memory is rounded up to whole pages.
    Bytes(u64),
}

/// What an area is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AreaSource {
    /// A sealed memory object, zero filled.
    Memory,
    /// A part of a file that exists and is long enough.
    File {
        /// The file.
        path: PathBuf,
        /// Where the area begins in it.
        offset: u64,
    },
    /// The same, of a file that this process has inherited.
    Descriptor {
        /// Its number.
        fd: RawFd,
        /// Where the area begins in it.
        offset: u64,
    },
}

/// An area that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaSpec {
    /// What it is made of.
    pub source: AreaSource,
    /// How large it is.
    pub size: AreaSize,
    /// What it is called besides its number; at most [`AREA_NAME_BYTES_MAX`] bytes.
    pub name: Option<String>,
    /// The master looks at its head so often, in milliseconds, and publishes what is announced there;
    /// 0 for never.
    pub watch_ms: u32,
}

/// Why an area cannot be made. The message names the area by its number.
#[derive(Debug, thiserror::Error)]
#[error("sharedarea {id} ({what}): {problem}")]
pub struct AreaSpecError {
    /// Its number.
    pub id: usize,
    /// What it was to be made of.
    pub what: String,
    /// What is wrong.
    pub problem: AreaProblem,
}

/// What is wrong with a wanted area.
#[derive(Debug, thiserror::Error)]
pub enum AreaProblem {
    /// It has no bytes, or more than 63 bits can count.
    #[error("an area has at least one byte and must fit the address space")]
    Size,
    /// There are too many.
    #[error("there can be {AREAS_MAX} areas")]
    TooMany,
    /// The name is empty or too long.
    #[error("an area's name has 1 to {AREA_NAME_BYTES_MAX} bytes without control characters")]
    Name,
    /// Another area has the name.
    #[error("area {0} has this name already")]
    NameTaken(usize),
    /// The memory is not to be had.
    #[error("cannot create {bytes} bytes of shared memory: {source}")]
    Memory {
        /// How much it was.
        bytes: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// The file cannot be opened for reading and writing.
    #[error("cannot be opened for reading and writing (it must exist): {0}")]
    Open(io::Error),
    /// It is not a file with a size.
    #[error("is not a regular file")]
    NotRegular,
    /// It is too short.
    #[error("has {bytes} bytes, {needed} are needed; it is never made longer")]
    Short {
        /// Its length.
        bytes: u64,
        /// Offset and size together.
        needed: u64,
    },
    /// Its head does not fit.
    #[error("a watched area needs more than {0} bytes: they are its head")]
    NoRoomForHead(u64),
    /// The areas of this server are made already.
    #[error("areas are made once, before the first fork")]
    Late,
}
