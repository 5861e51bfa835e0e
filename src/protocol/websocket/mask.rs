//! Masking (RFC 6455 section 5.3): an exclusive or with four bytes over and over, in wide words.

/// Bytes that one step of the loop takes: four words, which the compiler puts into vector registers.
const BLOCK_BYTES: usize = 32;

/// Masks or unmasks `data` in place. `offset` is how many bytes of the same payload came before it. Applied twice it changes nothing.
pub fn apply_mask(mask: [u8; 4], offset: usize, data: &mut [u8]) {
    let mask = turned(mask, offset);
    let half = u32::from_ne_bytes(mask);
    let word = u64::from(half) << 32 | u64::from(half);
    let (blocks, rest) = data.as_chunks_mut::<BLOCK_BYTES>();
    for block in blocks {
        for place in block.as_chunks_mut::<8>().0 {
            *place = (u64::from_ne_bytes(*place) ^ word).to_ne_bytes();
        }
    }
    let (halves, rest) = rest.as_chunks_mut::<4>();
    for place in halves {
        *place = (u32::from_ne_bytes(*place) ^ half).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The mask as it applies to a byte at `offset`.
fn turned(mut mask: [u8; 4], offset: usize) -> [u8; 4] {
    mask.rotate_left(offset % 4);
    mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_do_what_bytes_do(mask: [u8; 4], offset in 0_usize..9, data: Vec<u8>) {
            let mut masked = data.clone();
            apply_mask(mask, offset, &mut masked);
            let plain: Vec<u8> =
                data.iter().enumerate().map(|(at, byte)| byte ^ mask[(offset + at) % 4]).collect();
            prop_assert_eq!(masked, plain);
        }

        #[test]
        fn masking_twice_is_identity(mask: [u8; 4], offset: usize, data: Vec<u8>) {
            let mut masked = data.clone();
            apply_mask(mask, offset, &mut masked);
            apply_mask(mask, offset, &mut masked);
            prop_assert_eq!(masked, data);
        }

        #[test]
        fn pieces_are_masked_like_the_whole(mask: [u8; 4], data: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(data.len() + 1);
            let (mut whole, mut pieces) = (data.clone(), data);
            apply_mask(mask, 0, &mut whole);
            let (head, tail) = pieces.split_at_mut(cut);
            apply_mask(mask, 0, head);
            apply_mask(mask, cut, tail);
            prop_assert_eq!(whole, pieces);
        }
    }
}
