//! Messages deflated and inflated (RFC 7692 section 7.2). It must not know frames or what was negotiated.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Violation;
use super::extension::{OWN_WINDOW_BITS_MIN, WINDOW_BITS_MAX};
use super::frame::Kind;
use super::utf8::Utf8;
use super::window::WINDOW_BYTES_MAX;

/// What a sender cuts off the end of every message, and a receiver puts back (sections 7.2.1 and 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Bytes inflated at a time; a bomb is noticed at most this far beyond the limit.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// The inflating side of one direction.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        // The largest window reads what any smaller one wrote.
        Self(Decompress::new(false))
    }

    /// Forgets everything, so that the next message can come from another peer.
    pub(super) fn reset(&mut self) {
        self.0.reset(false);
    }

    /// Inflates a whole message. Text is checked and the limit is applied chunk by chunk.
    pub(super) fn inflate(
        &mut self,
        kind: Kind,
        compressed: &[u8],
        message_bytes_max: usize,
        chunk: &mut [u8],
    ) -> Result<Vec<u8>, Violation> {
        let mut message = Inflated::new(kind, message_bytes_max);
        // No payload at all is an empty message; the tail alone would be half a block.
        if !compressed.is_empty() && !self.inflate_part(compressed, chunk, &mut message)? {
            self.inflate_part(&TAIL, chunk, &mut message)?;
        }
        message.utf8.finish()?;
        Ok(message.bytes)
    }

    /// How much of what was inflated later messages may refer to.
    pub(super) fn window_bytes(&self) -> usize {
        let inflated = usize::try_from(self.0.total_out()).unwrap_or(usize::MAX);
        inflated.min(WINDOW_BYTES_MAX)
    }

    /// From here on every message is a broken one.
    pub(super) fn refuse_all(&mut self, chunk: &mut [u8]) {
        self.reset();
        // No block has this type (RFC 1951 section 3.2.3), and nobody reads on behind it.
        let _refused = self.0.decompress(&[0b111], chunk, FlushDecompress::Sync);
    }

    /// Inflates all of `part`; true if a final block (BFINAL) ended exactly with it, so that no tail belongs behind it.
    pub(super) fn inflate_part(
        &mut self,
        mut part: &[u8],
        chunk: &mut [u8],
        message: &mut Inflated,
    ) -> Result<bool, Violation> {
        loop {
            let (read_before, made_before) = (self.0.total_in(), self.0.total_out());
            let status = self
                .0
                .decompress(part, chunk, FlushDecompress::Sync)
                .map_err(|_| Violation::BadDeflate)?;
            let read = moved(read_before, self.0.total_in());
            let made = moved(made_before, self.0.total_out());
            part = part.get(read..).unwrap_or_default();
            message.push(chunk.get(..made).unwrap_or_default())?;
            match status {
                // Section 7.2.3.4: a sender may end a block for good. What follows starts anew, as its compressor did.
                Status::StreamEnd => {
                    self.reset();
                    if part.is_empty() {
                        return Ok(true);
                    }
                }
                Status::Ok | Status::BufError if made == chunk.len() => {}
                Status::Ok | Status::BufError if part.is_empty() => return Ok(false),
                Status::Ok | Status::BufError if read == 0 && made == 0 => {
                    return Err(Violation::BadDeflate);
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// A message as far as it is inflated.
pub(super) struct Inflated {
    kind: Kind,
    pub(super) bytes: Vec<u8>,
    bytes_max: usize,
    utf8: Utf8,
}

impl Inflated {
    pub(super) fn new(kind: Kind, bytes_max: usize) -> Self {
        Self {
            kind,
            bytes: Vec::new(),
            bytes_max,
            utf8: Utf8::NEW,
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Violation> {
        if piece.len() > self.bytes_max - self.bytes.len() {
            return Err(Violation::MessageTooBig);
        }
        if self.kind == Kind::Text {
            self.utf8.push(piece)?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// The deflating side of one direction.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    /// A compressor with a window of 9 to 15 bits and an effort of 1 to 9.
    pub(super) fn new(window_bits: u8, level: u32) -> Self {
        let window_bits = window_bits.clamp(OWN_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let level = Compression::new(level.clamp(1, 9));
        Self(Compress::new_with_window_bits(level, false, window_bits))
    }

    /// Forgets what was compressed before.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }

    /// Deflates `payload` into `scratch`, without the tail. False if that would not make it smaller; then the compressor is
    /// reset, because the peer will not see what it remembers.
    ///
    /// The compressor is always given room to write all it has: zlib-rs 0.6 loses buffer space, and panics later, when it is reset with
    /// output pending.
    pub(super) fn deflate(&mut self, payload: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        // What does not compress grows by an eighth at most, at the lowest effort.
        let growth_bytes = payload.len() / 8 + 64;
        scratch.reserve(payload.len() + growth_bytes);
        let start = self.0.total_in();
        loop {
            let read = moved(start, self.0.total_in());
            let rest = payload.get(read..).unwrap_or_default();
            if self
                .0
                .compress_vec(rest, scratch, FlushCompress::Sync)
                .is_err()
            {
                break;
            }
            if scratch.len() < scratch.capacity() {
                break;
            }
            scratch.reserve(growth_bytes);
        }
        let is_read = moved(start, self.0.total_in()) == payload.len();
        match scratch.strip_suffix(&TAIL).map(<[u8]>::len) {
            Some(bytes) if is_read && bytes < payload.len() => {
                scratch.truncate(bytes);
                true
            }
            Some(_) | None => {
                self.reset();
                false
            }
        }
    }
}

/// A step of one of the compressor's counters; a step is never longer than the slice that it moved through.
fn moved(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}
