//! An inflater's window, taken out and put in: what the peer's compressor may still refer to, at most 32 KiB.
//!
//! The library does not give it out, so it is asked for in DEFLATE's own terms (RFC 1951): a block of nothing but matches, each from
//! as far back as the window reaches, inflates to the window. A stored block fills a fresh inflater with it. It must not know where
//! the bytes go.

use super::deflate::{Inflated, Inflater};
use super::frame::Kind;

/// The farthest that a match may reach back.
pub(super) const WINDOW_BYTES_MAX: usize = 32 * 1024;
/// The longest match.
const MATCH_BYTES: usize = 258;

impl Inflater {
    /// The window between two messages. The inflater goes on as before: it reads what it would have read and refuses what it would
    /// have refused.
    ///
    /// `None` if it is not between two blocks: the peer's last message broke off within one, against RFC 7692 section 7.2.1. The
    /// inflater then refuses whatever comes.
    pub(super) fn window(&mut self, chunk: &mut [u8]) -> Option<Vec<u8>> {
        let bytes = self.window_bytes();
        let matches = bytes.div_ceil(MATCH_BYTES);
        let expected = matches * MATCH_BYTES;
        let mut window = Inflated::new(Kind::Binary, expected);
        // The block is a final one: it is read to its end, and ends the stream, only by an inflater that awaits a block.
        let ended = self.inflate_part(&matches_from(bytes, matches), chunk, &mut window);
        if !matches!(ended, Ok(true)) || window.bytes.len() != expected {
            self.refuse_all(chunk);
            return None;
        }
        // The matches repeat the window, and the last one may reach beyond its end.
        window.bytes.truncate(bytes);
        // The inflater is fresh now, so that nothing is left of the repetitions.
        self.fill(&window.bytes, chunk).then_some(window.bytes)
    }

    /// Gives a fresh inflater the window of another; false if it is too long for one.
    #[must_use]
    pub(super) fn fill(&mut self, window: &[u8], chunk: &mut [u8]) -> bool {
        let length = u16::try_from(window.len());
        let Some(length) = length.ok().filter(|_| window.len() <= WINDOW_BYTES_MAX) else {
            return false;
        };
        if length == 0 {
            return true;
        }
        // RFC 1951 section 3.2.4: a block that is not final and not compressed, its length, and its complement.
        let [low, high] = length.to_le_bytes();
        let header = [0, low, high, !low, !high];
        let mut filled = Inflated::new(Kind::Binary, window.len());
        [&header[..], window]
            .into_iter()
            .all(|part| matches!(self.inflate_part(part, chunk, &mut filled), Ok(false)))
    }
}

/// A final block, with the fixed codes (RFC 1951 section 3.2.6), of so many matches of the greatest length from `distance` bytes back.
fn matches_from(distance: usize, matches: usize) -> Vec<u8> {
    const FINAL: u32 = 1;
    const FIXED: u32 = 0b01;
    /// Length 258 is symbol 285, which has no extra bits.
    const LONGEST: u32 = 0b1100_0101;
    const END: u32 = 0;

    let (symbol, extra, extra_bits) = distance_symbol(distance);
    let mut block = Bits::default();
    block.push(FINAL, 1);
    block.push(FIXED, 2);
    for _ in 0..matches {
        block.push_code(LONGEST, 8);
        block.push_code(symbol, 5);
        block.push(extra, extra_bits);
    }
    block.push_code(END, 7);
    block.finish()
}

/// The symbol of a distance, its extra bits and their number (RFC 1951 section 3.2.5): two symbols for each power of two.
fn distance_symbol(distance: usize) -> (u32, u32, u32) {
    let below = u32::try_from(distance.saturating_sub(1)).unwrap_or(u32::MAX);
    match below.checked_ilog2() {
        None | Some(0) => (below, 0, 0),
        Some(log) => {
            let extra_bits = log - 1;
            let symbol = 2 * log + (below >> extra_bits & 1);
            (symbol, below & ((1 << extra_bits) - 1), extra_bits)
        }
    }
}

/// Bits in DEFLATE's order (RFC 1951 section 3.1.1): from the lowest of each byte on.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// What does not fill a byte yet.
    rest: u32,
    rest_bits: u32,
}

impl Bits {
    /// A number of up to 16 bits: its lowest bit first.
    fn push(&mut self, number: u32, bits: u32) {
        self.rest |= number << self.rest_bits;
        self.rest_bits += bits;
        while self.rest_bits >= 8 {
            self.bytes.push(self.rest.to_le_bytes()[0]);
            self.rest >>= 8;
            self.rest_bits -= 8;
        }
    }

    /// A Huffman code of up to 16 bits: its highest bit first.
    fn push_code(&mut self, code: u32, bits: u32) {
        self.push(code.reverse_bits() >> (u32::BITS - bits), bits);
    }

    fn finish(mut self) -> Vec<u8> {
        if self.rest_bits > 0 {
            self.push(0, 8 - self.rest_bits);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::super::Violation;
    use super::super::deflate::CHUNK_BYTES;
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn chunk() -> Vec<u8> {
        vec![0; CHUNK_BYTES]
    }

    fn inflate(inflater: &mut Inflater, message: &[u8]) -> Result<Vec<u8>, Violation> {
        inflater.inflate(Kind::Binary, message, BYTES_MAX, &mut chunk())
    }

    /// A message of one stored block and the empty one of the flush, without its tail.
    fn stored(payload: &[u8]) -> Vec<u8> {
        let [low, high] = u16::try_from(payload.len()).unwrap().to_le_bytes();
        [&[0, low, high, !low, !high], payload, &[0]].concat()
    }

    /// A message of one match of 258 bytes.
    fn reference(distance: usize) -> Vec<u8> {
        let mut block = Bits::default();
        let (symbol, extra, extra_bits) = distance_symbol(distance);
        block.push(0b010, 3);
        block.push_code(0b1100_0101, 8);
        block.push_code(symbol, 5);
        block.push(extra, extra_bits);
        block.push_code(0, 7);
        // The header of the empty stored block.
        block.push(0, 3);
        block.finish()
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .take(bytes)
        .collect()
    }

    #[test]
    fn each_distance_has_the_symbol_of_the_table() {
        for (distance, expected) in [
            (1, (0, 0, 0)),
            (2, (1, 0, 0)),
            (4, (3, 0, 0)),
            (5, (4, 0, 1)),
            (8, (5, 1, 1)),
            (192, (14, 63, 6)),
            (193, (15, 0, 6)),
            (24_576, (28, 8191, 13)),
            (24_577, (29, 0, 13)),
            (32_768, (29, 8191, 13)),
        ] {
            assert_eq!(distance_symbol(distance), expected, "{distance}");
        }
    }

    #[test]
    fn the_window_is_all_that_came_or_the_last_32_kib_of_it() {
        for bytes in [
            0, 1, 2, 3, 257, 258, 259, 516, 1000, 16_384, 32_767, 32_768, 32_769, 60_000,
        ] {
            let payload = noise(bytes);
            let mut inflater = Inflater::new();
            assert_eq!(inflate(&mut inflater, &stored(&payload)).unwrap(), payload);
            let expected = &payload[bytes.saturating_sub(WINDOW_BYTES_MAX)..];
            for _ in 0..3 {
                assert!(
                    inflater.window(&mut chunk()).unwrap() == expected,
                    "{bytes}"
                );
            }
        }
    }

    #[test]
    fn what_lies_too_far_back_is_refused_before_and_after() {
        let payload = noise(1000);
        let whole = |inflater: &mut Inflater| {
            let expected = payload[..258].to_vec();
            assert_eq!(inflate(inflater, &reference(1000)), Ok(expected));
        };
        let too_far = |inflater: &mut Inflater, distance: usize| {
            let result = inflate(inflater, &reference(distance));
            assert_eq!(result, Err(Violation::BadDeflate), "{distance}");
        };
        for (moves, far_1000_too) in [(0, false), (1, false), (2, false), (0, true), (2, true)] {
            let mut inflater = Inflater::new();
            inflate(&mut inflater, &stored(&payload)).unwrap();
            let window = inflater.window(&mut chunk()).unwrap();
            for _ in 0..moves {
                inflater = Inflater::new();
                assert!(inflater.fill(&window, &mut chunk()));
            }
            if far_1000_too {
                whole(&mut inflater);
                too_far(&mut inflater, 1259);
            } else {
                too_far(&mut inflater, 1001);
            }
        }
    }

    #[test]
    fn a_final_block_empties_the_window() {
        let mut compress = Compress::new(Compression::default(), false);
        let mut ended = Vec::with_capacity(1000);
        compress
            .compress_vec(&noise(500), &mut ended, FlushCompress::Finish)
            .unwrap();
        // Section 7.2.3.4: the sender puts a byte of zeros behind it.
        ended.push(0);
        let mut inflater = Inflater::new();
        inflate(&mut inflater, &stored(b"before")).unwrap();
        inflate(&mut inflater, &ended).unwrap();
        assert_eq!(inflater.window(&mut chunk()), Some(Vec::new()));
        inflate(&mut inflater, &stored(b"behind")).unwrap();
        assert_eq!(inflater.window(&mut chunk()), Some(b"behind".to_vec()));
    }

    #[test]
    fn who_breaks_off_within_a_block_gives_no_window_and_is_refused() {
        let payload = noise(300);
        let whole = stored(&payload);
        let mut compress = Compress::new(Compression::default(), false);
        let mut dynamic = Vec::with_capacity(4000);
        let text = "what is said again and again, ".repeat(40);
        compress
            .compress_vec(text.as_bytes(), &mut dynamic, FlushCompress::Sync)
            .unwrap();
        let mut broken_off = 0;
        for (message, cuts) in [
            (&whole, 2..whole.len() - 5),
            (&dynamic, 1..dynamic.len() - 5),
        ] {
            for cut in cuts {
                let mut inflater = Inflater::new();
                if inflate(&mut inflater, &message[..cut]).is_err() {
                    continue;
                }
                broken_off += 1;
                assert_eq!(inflater.window(&mut chunk()), None, "cut at {cut}");
                for message in [&stored(b"more"), &whole] {
                    assert_eq!(inflate(&mut inflater, message), Err(Violation::BadDeflate));
                }
                assert_eq!(inflater.window(&mut chunk()), None);
            }
        }
        assert!(broken_off > 200, "{broken_off}");
    }

    #[test]
    fn no_window_is_longer_than_32_kib() {
        let mut inflater = Inflater::new();
        assert!(!inflater.fill(&noise(WINDOW_BYTES_MAX + 1), &mut chunk()));
        assert!(!inflater.fill(&noise(70_000), &mut chunk()));
        assert!(inflater.fill(&noise(WINDOW_BYTES_MAX), &mut chunk()));
    }

    proptest! {
        #[test]
        fn a_moved_inflater_reads_on(
            messages in proptest::collection::vec((0_usize..9, 0_usize..9000), 1..12),
            bits in 9_u8..=15,
            moves in any::<u16>(),
        ) {
            let mut compress = Compress::new_with_window_bits(Compression::new(6), false, bits);
            let (mut stays, mut moves_on) = (Inflater::new(), Inflater::new());
            let all = noise(20_000);
            for (at, (kind, bytes)) in messages.into_iter().enumerate() {
                // Pieces of the same noise: what comes again is found again, far back too.
                let payload = &all[kind * 1000..kind * 1000 + bytes];
                let mut message = Vec::with_capacity(2 * bytes + 1000);
                compress.compress_vec(payload, &mut message, FlushCompress::Sync).unwrap();
                let message = message.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap_or(&[0]);
                if moves >> at & 1 == 1 {
                    let window = moves_on.window(&mut chunk()).unwrap();
                    moves_on = Inflater::new();
                    prop_assert!(moves_on.fill(&window, &mut chunk()));
                }
                let stayed = inflate(&mut stays, message);
                prop_assert_eq!(&stayed, &Ok(payload.to_vec()));
                prop_assert_eq!(inflate(&mut moves_on, message), stayed);
            }
            prop_assert_eq!(stays.window(&mut chunk()), moves_on.window(&mut chunk()));
        }
    }
}
