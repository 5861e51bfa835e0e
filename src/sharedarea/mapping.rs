//! A memory object mapped into this process: checked words, raw copies in, system calls out. The only
//! file of the area with unsafe code; it never forms a slice over shared bytes. It must not know any
//! layout.
#![expect(
    unsafe_code,
    reason = "memory that other processes write is reached by pointers only"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};

use super::algorithm::board::ENTRY_WORDS;
use super::algorithm::spool::Piece;

/// Pieces that one system call takes.
pub(super) const PIECES_MAX: usize = 64;

/// A whole memory object, mapped shared and writable. The object is sealed against resizing, so every
/// byte of the mapping stays valid as long as the mapping lives.
#[derive(Debug)]
pub(super) struct Mapping {
    raw: MmapRaw,
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    /// Maps the first `bytes` of a sealed object that has at least as many.
    pub(super) fn new(object: BorrowedFd<'_>, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let raw = MmapOptions::new().len(bytes).map_raw(object.as_raw_fd())?;
        let start = raw.as_mut_ptr();
        Ok(Self {
            raw,
            start,
            bytes: bytes.min(isize::MAX.unsigned_abs()),
        })
    }

    /// Checks that `bytes` at `at` lie inside and are aligned, and points there.
    #[inline]
    fn point(&self, at: usize, bytes: usize, align: usize) -> *mut u8 {
        debug_assert_eq!(self.start, self.raw.as_mut_ptr());
        assert!(
            bytes <= self.bytes && at <= self.bytes - bytes && at.is_multiple_of(align),
            "offset outside of the memory object"
        );
        self.start.wrapping_add(at)
    }

    /// The 16-bit word at `at`.
    #[inline]
    pub(super) fn word16(&self, at: usize) -> &AtomicU16 {
        let pointer = self.point(at, size_of::<u16>(), align_of::<AtomicU16>());
        // SAFETY: inside the mapping and aligned (the mapping starts on a page); lives as long as
        // `self`; these bytes are accessed as a 16-bit atomic only, in every process.
        unsafe { AtomicU16::from_ptr(pointer.cast()) }
    }

    /// The 32-bit word at `at`.
    #[inline]
    pub(super) fn word32(&self, at: usize) -> &AtomicU32 {
        let pointer = self.point(at, size_of::<u32>(), align_of::<AtomicU32>());
        // SAFETY: as in `word16`, with 32 bits.
        unsafe { AtomicU32::from_ptr(pointer.cast()) }
    }

    /// The 64-bit word at `at`.
    #[inline]
    pub(super) fn word64(&self, at: usize) -> &AtomicU64 {
        let pointer = self.point(at, size_of::<u64>(), align_of::<AtomicU64>());
        // SAFETY: as in `word16`, with 64 bits.
        unsafe { AtomicU64::from_ptr(pointer.cast()) }
    }

    /// The words of an entry at `at`.
    #[inline]
    pub(super) fn entry(&self, at: usize) -> &[AtomicU64; ENTRY_WORDS] {
        let pointer = self.point(
            at,
            size_of::<[AtomicU64; ENTRY_WORDS]>(),
            align_of::<AtomicU64>(),
        );
        // SAFETY: as in `word64`, for eight adjacent words; an array of atomics is a shared reference
        // to atomics, not to bytes.
        unsafe { &*pointer.cast::<[AtomicU64; ENTRY_WORDS]>() }
    }

    /// Copies `bytes` to `at`. The caller has the space to itself: nothing in this program reads these
    /// bytes meanwhile (other programs and the kernel may, which is their affair).
    #[inline]
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let pointer = self.point(at, bytes.len(), 1);
        // SAFETY: the target lies inside the mapping; the source is ordinary memory of this process,
        // and no Rust reference covers mapped payload bytes, so the two do not overlap.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(pointer, bytes.len()) };
    }

    /// Sends the pieces, in order, straight from the mapping; without blocking, without SIGPIPE. The
    /// kernel copies the bytes before it returns. At most [`PIECES_MAX`] pieces are looked at.
    pub(super) fn send(&self, socket: BorrowedFd<'_>, pieces: &[Piece]) -> io::Result<usize> {
        if let [piece] = pieces {
            let pointer = self.point(piece.at, piece.bytes, 1);
            // SAFETY: the kernel reads `bytes` inside the mapping and reports errors by its result.
            let sent =
                unsafe { libc::send(socket.as_raw_fd(), pointer.cast(), piece.bytes, FLAGS) };
            return usize::try_from(sent).map_err(|_| io::Error::last_os_error());
        }
        let mut vectors = [NO_BYTES; PIECES_MAX];
        let count = pieces.len().min(PIECES_MAX);
        for (vector, piece) in vectors.iter_mut().zip(pieces) {
            *vector = self.vector(*piece);
        }
        send_vectors(socket, &mut vectors[..count])
    }

    /// Sends `head` and behind it a piece straight from the mapping, as [`Self::send`] does. A page of
    /// the mapping that is not there any more is an error, not a signal.
    pub(super) fn send_behind(
        &self,
        socket: BorrowedFd<'_>,
        head: &[u8],
        piece: Piece,
    ) -> io::Result<usize> {
        let head = libc::iovec {
            iov_base: head.as_ptr().cast_mut().cast(),
            iov_len: head.len(),
        };
        send_vectors(socket, &mut [head, self.vector(piece)])
    }

    fn vector(&self, piece: Piece) -> libc::iovec {
        libc::iovec {
            iov_base: self.point(piece.at, piece.bytes, 1).cast(),
            iov_len: piece.bytes,
        }
    }
}

const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

const NO_BYTES: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// Sends what the vectors point to; each was made by [`Mapping::vector`] or from a live slice.
fn send_vectors(socket: BorrowedFd<'_>, vectors: &mut [libc::iovec]) -> io::Result<usize> {
    // SAFETY: all bits zero is a valid message header: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    // SAFETY: the header and its vectors outlive the call; the kernel reads only where they point to,
    // which is inside a mapping or a slice that the callers borrow.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, FLAGS) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
