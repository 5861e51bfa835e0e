//! A secret that is compared, never shown.
//!
//! It must not know what it protects.

use std::fmt;
use std::hint::black_box;

use super::values::Refused;

/// Longest secret.
const BYTES_MAX: usize = 1024;

/// A token. `Debug` does not show it, and there is no way to read it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a token of visible ASCII characters, as a header can carry it.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.is_empty() && text.len() <= BYTES_MAX && visible {
            return Ok(Self(text.to_owned()));
        }
        Err(Refused::new(format!(
            "1 to {BYTES_MAX} visible ASCII characters without blanks"
        )))
    }

    /// Whether `given` is the secret. How long that takes depends on the length of `given` alone.
    pub fn matches(&self, given: &[u8]) -> bool {
        let secret = self.0.bytes().cycle();
        let differs = given
            .iter()
            .zip(secret)
            .fold(0, |differs, (given, secret)| {
                black_box(differs | (given ^ secret))
            });
        // A repeated secret is another length.
        black_box(differs == 0) & (given.len() == self.0.len())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::parse("s3cret").unwrap();
        assert!(secret.matches(b"s3cret"));
        for wrong in [
            &b""[..],
            b"s3cre",
            b"s3crets",
            b"s3crets3cret",
            b"S3cret",
            b"x3cret",
        ] {
            assert!(!secret.matches(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{secret:?}"), "(secret)");
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused() {
        for text in ["", "a b", "a\n", "\u{e9}", &"x".repeat(BYTES_MAX + 1)] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
    }
}
