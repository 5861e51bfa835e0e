//! Percent-decoding of a request path (RFC 3986 section 2.1); it must not know what a path means to an app.

/// Why a path cannot be decoded; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("a percent sign in the path is not followed by two hexadecimal digits")]
    BadEscape,
    /// `%00`, which would end the path early for whoever reads it as a C string.
    #[error("the path contains a NUL character")]
    Nul,
    /// The decoded bytes are not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
}

/// Decodes the percent escapes of `path` once. A `+` stays a `+`, and `%2F` becomes a slash like any other.
///
/// # Errors
/// Bad escapes, NUL and what is not UTF-8 are refused, see [`PathError`].
pub fn decode_path(path: &str) -> Result<String, PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let byte = if byte == b'%' {
            let [high, low, tail @ ..] = rest else {
                return Err(PathError::BadEscape);
            };
            rest = tail;
            let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else {
                return Err(PathError::BadEscape);
            };
            high << 4 | low
        } else {
            byte
        };
        if byte == 0 {
            return Err(PathError::Nul);
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Result<&str, PathError>) {
        assert_eq!(decode_path(path), expected.map(str::to_owned), "{path}");
    }

    #[test]
    fn escapes_are_decoded_once() {
        check("/news", Ok("/news"));
        check("/a%20b+c", Ok("/a b+c"));
        check("/%C3%BC%e2%82%ac", Ok("/\u{fc}\u{20ac}"));
        check("/a%2Fb%252F", Ok("/a/b%2F"));
        check("", Ok(""));
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for path in ["/%", "/%4", "/%zz", "/%4g", "/%%41"] {
            check(path, Err(PathError::BadEscape));
        }
        check("/a%00b", Err(PathError::Nul));
        check("/a\0b", Err(PathError::Nul));
        check("/%ff", Err(PathError::NotUtf8));
        check("/%c3", Err(PathError::NotUtf8));
    }
}
