//! The memory objects of one area as this process sees them: board, log, spool and bell, created or
//! attached. It must not know what publishing or reading means.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::algorithm::board;
use super::algorithm::lock::WAIT_MS_MAX;
use super::algorithm::memory::Memory;
use super::geometry::{Geometry, GeometryError};
use super::mapping::Mapping;
use crate::sys::{futex, memory as sys_memory};

/// The area could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The sizes are wrong.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The memory is not to be had.
    #[error("cannot create shared memory for the {object} ({bytes} bytes)")]
    Memory {
        /// Which object.
        object: &'static str,
        /// Its size.
        bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The descriptors are not an area of ours.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The board does not begin as one.
    #[error("not a shared area: magic {magic:#x}")]
    Magic {
        /// What it begins with.
        magic: u64,
    },
    /// Another version wrote it.
    #[error(
        "shared area has layout {layout}, this program knows layout {}",
        board::LAYOUT
    )]
    Layout {
        /// Its layout.
        layout: u32,
    },
    /// The sizes it names are wrong.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// An object has another size than the board says.
    #[error("{object} has {bytes} bytes, {expected} expected")]
    Size {
        /// Which object.
        object: &'static str,
        /// Its size.
        bytes: u64,
        /// What the board says.
        expected: u64,
    },
    /// An object cannot be mapped.
    #[error("cannot map the {object}")]
    Map {
        /// Which object.
        object: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The descriptors of an area, in the order in which they are handed over.
#[derive(Debug)]
pub struct Descriptors<F> {
    /// Memory object with the tables.
    pub board: F,
    /// Memory object with the entries.
    pub log: F,
    /// Memory object with the frames.
    pub spool: F,
    /// The eventfd.
    pub bell: F,
}

/// A mapped area.
#[derive(Debug)]
pub(super) struct Objects {
    geometry: Geometry,
    /// Key of the channel hash.
    hash_key: u64,
    board: Mapping,
    log: Mapping,
    spool: Mapping,
    fds: Descriptors<OwnedFd>,
}

impl Objects {
    /// Creates the objects and writes the superblock.
    pub(super) fn create(
        geometry: Geometry,
        boot_id: u128,
        created_us: u64,
    ) -> Result<Self, CreateError> {
        geometry.check()?;
        let object = |object, bytes| {
            sys_memory::create_sealed(&format!("bellwether-{object}"), bytes).map_err(|source| {
                CreateError::Memory {
                    object,
                    bytes,
                    source,
                }
            })
        };
        let fds = Descriptors {
            board: object("board", geometry.board_bytes())?,
            log: object("log", geometry.log_bytes())?,
            spool: object("spool", geometry.spool_bytes)?,
            bell: sys_memory::create_bell().map_err(|source| CreateError::Memory {
                object: "bell",
                bytes: 0,
                source,
            })?,
        };
        let hash_key = low_half(boot_id);
        let objects =
            Self::map(geometry, hash_key, fds).map_err(|(object, source)| CreateError::Memory {
                object,
                bytes: 0,
                source,
            })?;
        objects.write_superblock(boot_id, created_us);
        Ok(objects)
    }

    /// Maps the objects of an area that exists.
    pub(super) fn attach(fds: Descriptors<OwnedFd>) -> Result<Self, AttachError> {
        let size = |object, fd: &OwnedFd| {
            sys_memory::sealed_bytes(fd.as_fd())
                .map_err(|source| AttachError::Map { object, source })
        };
        let board_bytes = size("board", &fds.board)?;
        if board_bytes < board::CHANNELS as u64 {
            let expected = board::CHANNELS as u64;
            return Err(AttachError::Size {
                object: "board",
                bytes: board_bytes,
                expected,
            });
        }
        let (geometry, hash_key) = Self::read_superblock(&fds)?;
        let expectations = [
            ("board", board_bytes, geometry.board_bytes()),
            ("log", size("log", &fds.log)?, geometry.log_bytes()),
            ("spool", size("spool", &fds.spool)?, geometry.spool_bytes),
        ];
        for (object, bytes, expected) in expectations {
            if bytes != expected {
                return Err(AttachError::Size {
                    object,
                    bytes,
                    expected,
                });
            }
        }
        Self::map(geometry, hash_key, fds)
            .map_err(|(object, source)| AttachError::Map { object, source })
    }

    fn map(
        geometry: Geometry,
        hash_key: u64,
        fds: Descriptors<OwnedFd>,
    ) -> Result<Self, (&'static str, io::Error)> {
        let map = |object, fd: &OwnedFd, bytes| {
            Mapping::new(fd.as_fd(), bytes).map_err(|source| (object, source))
        };
        Ok(Self {
            geometry,
            hash_key,
            board: map("board", &fds.board, geometry.board_bytes())?,
            log: map("log", &fds.log, geometry.log_bytes())?,
            spool: map("spool", &fds.spool, geometry.spool_bytes)?,
            fds,
        })
    }

    fn write_superblock(&self, boot_id: u128, created_us: u64) {
        let word = |at, value| self.board.word64(at).store(value, Ordering::Relaxed);
        let half = |at, value| self.board.word32(at).store(value, Ordering::Relaxed);
        half(board::SUPER_LAYOUT, board::LAYOUT);
        word(board::SUPER_BOOT_LOW, low_half(boot_id));
        word(board::SUPER_BOOT_HIGH, low_half(boot_id >> 64));
        word(board::SUPER_CREATED_US, created_us);
        word(board::SUPER_SPOOL_BYTES, self.geometry.spool_bytes);
        half(board::SUPER_ENTRIES, self.geometry.entries);
        half(board::SUPER_CHANNELS, self.geometry.channels);
        for slot in 0..board::PARTICIPANT_COUNT {
            word(
                board::participant(slot, board::PARTICIPANT_PIN),
                board::PIN_NONE,
            );
        }
        // Release: whoever sees the magic sees the rest.
        self.board
            .word64(board::SUPER_MAGIC)
            .store(board::MAGIC, Ordering::Release);
    }

    fn read_superblock(fds: &Descriptors<OwnedFd>) -> Result<(Geometry, u64), AttachError> {
        let head = Mapping::new(fds.board.as_fd(), board::CHANNELS as u64).map_err(|source| {
            AttachError::Map {
                object: "board",
                source,
            }
        })?;
        let magic = head.word64(board::SUPER_MAGIC).load(Ordering::Acquire);
        if magic != board::MAGIC {
            return Err(AttachError::Magic { magic });
        }
        let layout = head.word32(board::SUPER_LAYOUT).load(Ordering::Relaxed);
        if layout != board::LAYOUT {
            return Err(AttachError::Layout { layout });
        }
        let geometry = Geometry {
            spool_bytes: head
                .word64(board::SUPER_SPOOL_BYTES)
                .load(Ordering::Relaxed),
            entries: head.word32(board::SUPER_ENTRIES).load(Ordering::Relaxed),
            channels: head.word32(board::SUPER_CHANNELS).load(Ordering::Relaxed),
        };
        geometry.check()?;
        Ok((
            geometry,
            head.word64(board::SUPER_BOOT_LOW).load(Ordering::Relaxed),
        ))
    }

    /// Key of the channel hash.
    pub(super) fn hash_key(&self) -> u64 {
        self.hash_key
    }

    /// The spool's mapping.
    pub(super) fn spool(&self) -> &Mapping {
        &self.spool
    }

    /// Sleeps while board word `at` is `expected`, at most `timeout_ms`. `false`: all that time is over.
    pub(super) fn wait_long(&self, at: usize, expected: u32, timeout_ms: u32) -> bool {
        futex::wait(self.board.word32(at), expected, timeout_ms)
    }

    /// The board's mapping.
    pub(super) fn board(&self) -> &Mapping {
        &self.board
    }

    /// The descriptors.
    pub(super) fn fds(&self) -> Descriptors<BorrowedFd<'_>> {
        Descriptors {
            board: self.fds.board.as_fd(),
            log: self.fds.log.as_fd(),
            spool: self.fds.spool.as_fd(),
            bell: self.fds.bell.as_fd(),
        }
    }
}

impl Memory for Objects {
    type Word32 = AtomicU32;
    type Word64 = AtomicU64;

    #[inline]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    fn board32(&self, at: usize) -> &AtomicU32 {
        self.board.word32(at)
    }

    #[inline]
    fn board64(&self, at: usize) -> &AtomicU64 {
        self.board.word64(at)
    }

    #[inline]
    fn entry(&self, index: u32) -> &[AtomicU64; board::ENTRY_WORDS] {
        self.log.entry(index as usize * board::ENTRY_STRIDE)
    }

    #[inline]
    fn write_spool(&self, at: usize, bytes: &[u8]) {
        self.spool.write(at, bytes);
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        fence(order);
    }

    #[inline]
    fn spin(&self) {
        std::hint::spin_loop();
    }

    fn wait(&self, at: usize, expected: u32) {
        let _woken: bool = futex::wait(self.board.word32(at), expected, WAIT_MS_MAX);
    }

    fn wake_one(&self, at: usize) {
        futex::wake_one(self.board.word32(at));
    }

    fn wake_all(&self, at: usize) {
        futex::wake_all(self.board.word32(at));
    }

    fn pause(&self) {
        // A word that nobody else knows: only the timeout ends it.
        let _woken: bool = futex::wait(&AtomicU32::new(0), 0, 1);
    }

    fn slot_is_held(&self, slot: u16) -> bool {
        // The description that was made with the object holds no locks itself, so in every process
        // that inherited it the question is about the others. Unknown counts as alive: never rob.
        sys_memory::byte_is_locked(self.fds.board.as_fd(), slot).unwrap_or(true)
    }

    fn ring(&self) {
        if let Err(error) = sys_memory::ring(self.fds.bell.as_fd()) {
            log::error!("bell: cannot ring: {error}");
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low_half(boot_id: u128) -> u64 {
    boot_id as u64
}
