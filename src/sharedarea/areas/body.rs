//! The bytes of one area: a sealed memory object that is mapped, or a file that is not.
//!
//! A file can be made shorter by anybody at any time, and a mapping of it would then end in SIGBUS. So
//! files are read and written by `pread` and `pwrite` only, which fail instead. It must not know locks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::spec::{AreaProblem, AreaSize, AreaSource};
use crate::sharedarea::algorithm::spool::Piece;
use crate::sharedarea::mapping::Mapping;
use crate::sys::memory as sys_memory;

/// What an area is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum AreaKind {
    /// A sealed memory object.
    Memory = 1,
    /// A file.
    File = 2,
    /// A file that was inherited.
    Descriptor = 3,
}

impl AreaKind {
    pub(super) fn of_word(word: u32) -> Option<Self> {
        [Self::Memory, Self::File, Self::Descriptor]
            .into_iter()
            .find(|kind| *kind as u32 == word)
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File => "file",
            Self::Descriptor => "fd",
        }
    }
}

#[derive(Debug)]
pub(in crate::sharedarea) struct Body {
    kind: AreaKind,
    fd: OwnedFd,
    /// For memory only.
    mapping: Option<Mapping>,
    path: Option<PathBuf>,
    offset: u64,
    bytes: u64,
}

impl Body {
    /// Whether it could be made, and of how many bytes: a file is opened, memory is not taken.
    pub(super) fn check(
        id: usize,
        source: &AreaSource,
        size: AreaSize,
    ) -> Result<u64, AreaProblem> {
        let bytes = Self::bytes_of(source, size)?;
        match source {
            AreaSource::Memory => sys_memory::check_bytes(bytes)
                .map_err(|source| AreaProblem::Memory { bytes, source })?,
            AreaSource::File { .. } | AreaSource::Descriptor { .. } => {
                Self::create(id, source, size)?;
            }
        }
        Ok(bytes)
    }

    fn bytes_of(source: &AreaSource, size: AreaSize) -> Result<u64, AreaProblem> {
        let page_bytes = sys_memory::page_bytes();
        let bytes = match size {
            AreaSize::Pages(pages) => pages.checked_mul(page_bytes),
            AreaSize::Bytes(bytes) => match source {
                AreaSource::Memory => bytes.checked_next_multiple_of(page_bytes),
                AreaSource::File { .. } | AreaSource::Descriptor { .. } => Some(bytes),
            },
        };
        bytes
            .filter(|bytes| *bytes > 0 && i64::try_from(*bytes).is_ok())
            .ok_or(AreaProblem::Size)
    }

    /// Makes or opens what an area is made of.
    pub(super) fn create(
        id: usize,
        source: &AreaSource,
        size: AreaSize,
    ) -> Result<Self, AreaProblem> {
        let bytes = Self::bytes_of(source, size)?;
        match source {
            AreaSource::Memory => {
                let memory = |source| AreaProblem::Memory { bytes, source };
                let name = format!("bellwether-area-{id}");
                let fd = sys_memory::create_sealed(&name, bytes).map_err(memory)?;
                Self::of_memory(fd, bytes).map_err(memory)
            }
            AreaSource::File { path, offset } => {
                let file = open(path).map_err(AreaProblem::Open)?;
                let mut body = Self::of_file(AreaKind::File, file, *offset, bytes)?;
                body.path = Some(path.clone());
                Ok(body)
            }
            AreaSource::Descriptor { fd, offset } => {
                // A description of our own, which nobody else closes.
                let path = format!("/proc/self/fd/{fd}");
                let file = open(Path::new(&path)).map_err(AreaProblem::Open)?;
                Self::of_file(AreaKind::Descriptor, file, *offset, bytes)
            }
        }
    }

    /// A memory object that is sealed and has so many bytes.
    pub(super) fn of_memory(fd: OwnedFd, bytes: u64) -> io::Result<Self> {
        if sys_memory::sealed_bytes(fd.as_fd())? < bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            kind: AreaKind::Memory,
            mapping: Some(Mapping::new(fd.as_fd(), bytes)?),
            fd,
            path: None,
            offset: 0,
            bytes,
        })
    }

    /// A part of an open file.
    pub(super) fn of_file(
        kind: AreaKind,
        file: File,
        offset: u64,
        bytes: u64,
    ) -> Result<Self, AreaProblem> {
        let metadata = file.metadata().map_err(AreaProblem::Open)?;
        if !metadata.is_file() {
            return Err(AreaProblem::NotRegular);
        }
        let needed = offset.checked_add(bytes).ok_or(AreaProblem::Size)?;
        if metadata.len() < needed {
            return Err(AreaProblem::Short {
                bytes: metadata.len(),
                needed,
            });
        }
        Ok(Self {
            kind,
            fd: file.into(),
            mapping: None,
            path: None,
            offset,
            bytes,
        })
    }

    pub(super) fn kind(&self) -> AreaKind {
        self.kind
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(in crate::sharedarea) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether bytes can be handed to the kernel from where they lie.
    pub(super) fn is_mapped(&self) -> bool {
        self.mapping.is_some()
    }

    /// Fills `into` from `position`; the caller has checked the bounds.
    pub(super) fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        sys_memory::read_exact_at(self.fd.as_fd(), into, self.offset + position)
    }

    /// Writes `bytes` to `position`; the caller has checked the bounds. A file that has become shorter
    /// is not made longer.
    pub(super) fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(mapping) = &self.mapping {
            // The mapping is as long as the area, and so fits.
            let at = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
            mapping.write(at, bytes);
            return Ok(());
        }
        let end = self.offset + position + bytes.len() as u64;
        if sys_memory::file_bytes(self.fd.as_fd())? < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sys_memory::write_all_at(self.fd.as_fd(), bytes, self.offset + position)
    }

    /// Sends `head`, then `bytes` at `position` straight from the mapping, in one system call that does
    /// not block. The caller has checked the bounds and that there is a mapping.
    pub(super) fn send(
        &self,
        socket: BorrowedFd<'_>,
        head: &[u8],
        position: u64,
        bytes: u64,
    ) -> io::Result<usize> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let mapping = self.mapping.as_ref().ok_or_else(unsupported)?;
        let in_memory = |number| usize::try_from(number).map_err(|_| unsupported());
        let piece = Piece {
            at: in_memory(position)?,
            bytes: in_memory(bytes)?,
        };
        mapping.send_behind(socket, head, piece)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
}
