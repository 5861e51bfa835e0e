//! UTF-8 checked piece by piece (RFC 6455 section 8.1): a fault is known with the first byte that cannot be right, wherever the pieces
//! were cut. It must not know frames.

use super::Violation;

/// Below this the set-up of the vectorised check costs more than it saves.
const WIDE_BYTES_MIN: usize = 64;

/// Whether a whole text is UTF-8.
pub(super) fn is_utf8(text: &[u8]) -> bool {
    if text.len() < WIDE_BYTES_MIN {
        std::str::from_utf8(text).is_ok()
    } else {
        simdutf8::basic::from_utf8(text).is_ok()
    }
}

/// The check of a text that arrives in pieces; it holds the bytes of a character that a cut went through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Utf8 {
    pending: [u8; 4],
    pending_bytes: u8,
}

impl Utf8 {
    /// Nothing checked yet.
    pub(super) const NEW: Self = Self {
        pending: [0; 4],
        pending_bytes: 0,
    };

    /// Checks the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), Violation> {
        while self.pending_bytes > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.complete_pending(byte)?;
        }
        let valid_bytes = match simdutf8::compat::from_utf8(piece) {
            Ok(_) => return Ok(()),
            Err(error) if error.error_len().is_some() => return Err(Violation::NotUtf8),
            Err(error) => error.valid_up_to(),
        };
        for &byte in piece.get(valid_bytes..).unwrap_or_default() {
            self.hold(byte);
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) fn finish(self) -> Result<(), Violation> {
        if self.pending_bytes == 0 {
            Ok(())
        } else {
            Err(Violation::NotUtf8)
        }
    }

    fn complete_pending(&mut self, byte: u8) -> Result<(), Violation> {
        self.hold(byte);
        let held = self
            .pending
            .get(..usize::from(self.pending_bytes))
            .unwrap_or_default();
        match std::str::from_utf8(held) {
            Ok(_) => {
                self.pending_bytes = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_some() => Err(Violation::NotUtf8),
            Err(_) => Ok(()),
        }
    }

    fn hold(&mut self, byte: u8) {
        if let Some(place) = self.pending.get_mut(usize::from(self.pending_bytes)) {
            *place = byte;
            self.pending_bytes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes until the fault is reported, pushing one at a time; `None` if the text is fine so far.
    fn fault_at(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::NEW;
        text.iter().position(|byte| utf8.push(&[*byte]).is_err())
    }

    #[test]
    fn the_first_impossible_byte_is_the_fault() {
        assert_eq!(
            fault_at(b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80"),
            Some(6),
            "above U+10FFFF"
        );
        assert_eq!(fault_at(b"a\xed\xa0\x80"), Some(2), "a surrogate");
        assert_eq!(fault_at(b"\xc0\xaf"), Some(0), "overlong in two");
        assert_eq!(fault_at(b"\xe0\x80\xaf"), Some(1), "overlong in three");
        assert_eq!(fault_at(b"\xf0\x80\x80\xaf"), Some(1), "overlong in four");
        assert_eq!(fault_at(b"\x80"), Some(0), "a lone continuation");
        assert_eq!(fault_at(b"\xe2\x82a"), Some(2), "a character cut short");
        assert_eq!(fault_at("\u{7ff}\u{ffff}\u{10ffff}".as_bytes()), None);
    }

    #[test]
    fn a_text_may_not_end_inside_a_character() {
        let mut utf8 = Utf8::NEW;
        utf8.push(b"\xf0\x9f\x90").unwrap();
        assert_eq!(utf8.finish(), Err(Violation::NotUtf8));
        utf8.push(b"\x91").unwrap();
        assert_eq!(utf8.finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_verdict_of_the_whole(
            text in prop_oneof![
                any::<Vec<u8>>(),
                any::<String>().prop_map(String::into_bytes),
                (any::<String>(), any::<Vec<u8>>()).prop_map(|(text, bytes)| [text.as_bytes(), &bytes].concat()),
            ],
            pieces in prop::collection::vec(0_usize..70, 0..20),
        ) {
            let mut utf8 = Utf8::NEW;
            let mut rest = text.as_slice();
            let mut verdict = Ok(());
            for bytes in pieces.into_iter().chain([text.len()]) {
                let (piece, tail) = rest.split_at(bytes.min(rest.len()));
                rest = tail;
                verdict = verdict.and_then(|()| utf8.push(piece));
            }
            let verdict = verdict.and_then(|()| utf8.finish());
            prop_assert_eq!(verdict.is_ok(), std::str::from_utf8(&text).is_ok());
            prop_assert_eq!(verdict.is_ok(), is_utf8(&text));
        }
    }
}
