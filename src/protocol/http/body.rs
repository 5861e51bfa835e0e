//! Request bodies with a length or in chunks (RFC 9112 sections 6 and 7.1), however they are cut into
//! reads. Trailers are skipped. It must not know what a body is for.

use super::rules::Body;
use super::{Request, Status};

/// Bytes of chunk extensions and trailers of one body; nobody here reads them.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;

/// Why a body is refused. The connection cannot be used for another request after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than are taken; known from the head when there is a length.
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge {
        /// What is taken.
        bytes_max: usize,
    },
    /// The chunks are not as they should be.
    #[error("the chunks of the body are malformed")]
    Chunks,
    /// Extensions and trailers without end.
    #[error("the chunks of the body have too many extensions or trailers")]
    Overhead,
}

impl BodyError {
    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::TooLarge { .. } => Status::CONTENT_TOO_LARGE,
            Self::Chunks | Self::Overhead => Status::BAD_REQUEST,
        }
    }
}

/// How far a read went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRead {
    /// Bytes of the input that belong to the body.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

/// Takes the body of one request out of the bytes behind its head.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    bytes_max: usize,
    overhead_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A body of known length.
    Length {
        left: usize,
    },
    /// The digits of a chunk's size; `None` before the first.
    Size {
        value: Option<usize>,
    },
    /// Up to the end of the line with the size.
    Extension {
        value: usize,
    },
    SizeEnd {
        value: usize,
    },
    Chunk {
        left: usize,
    },
    ChunkCr,
    ChunkLf,
    /// At the start of a line behind the last chunk.
    Trailer,
    TrailerLine,
    TrailerLf,
    End,
    Done,
}

impl BodyReader {
    /// For the body of `request`, of which at most `bytes_max` bytes are taken.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when the length in the head is larger.
    pub fn new(request: &Request<'_>, bytes_max: usize) -> Result<Self, BodyError> {
        let state = match request.body() {
            Body::Absent => State::Done,
            Body::Length(bytes) => match usize::try_from(bytes) {
                Ok(0) => State::Done,
                Ok(left) if left <= bytes_max => State::Length { left },
                Ok(_) | Err(_) => return Err(BodyError::TooLarge { bytes_max }),
            },
            Body::Chunked => State::Size { value: None },
        };
        Ok(Self {
            state,
            bytes_max,
            overhead_bytes: 0,
        })
    }

    /// Appends what `input` has of the body to `body`, which only this reader appends to.
    ///
    /// # Errors
    /// See [`BodyError`]; do not go on then.
    pub fn read(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<BodyRead, BodyError> {
        let mut rest = input;
        while self.state != State::Done {
            if let State::Length { left } | State::Chunk { left } = self.state {
                let (part, behind) = rest.split_at_checked(left).unwrap_or((rest, &[]));
                body.extend_from_slice(part);
                rest = behind;
                self.state = self.behind(left.saturating_sub(part.len()));
                if part.is_empty() {
                    break;
                }
            } else {
                let Some((&byte, behind)) = rest.split_first() else {
                    break;
                };
                rest = behind;
                self.state = self.step(byte, body.len())?;
            }
        }
        Ok(BodyRead {
            consumed: input.len().saturating_sub(rest.len()),
            done: self.state == State::Done,
        })
    }

    /// The state when `left` bytes of this piece are still to come.
    fn behind(&self, left: usize) -> State {
        match (self.state, left) {
            (State::Length { .. }, 0) => State::Done,
            (State::Length { .. }, left) => State::Length { left },
            (_, 0) => State::ChunkCr,
            (_, left) => State::Chunk { left },
        }
    }

    /// One byte of the lines around the chunks.
    fn step(&mut self, byte: u8, body_bytes: usize) -> Result<State, BodyError> {
        match (self.state, byte) {
            (State::Size { value }, _) => self.size(value, byte, body_bytes),
            (State::Extension { value }, b'\r') => Ok(State::SizeEnd { value }),
            (State::Extension { .. } | State::TrailerLine, b'\n' | 0) => Err(BodyError::Chunks),
            (State::Extension { .. } | State::TrailerLine, _) if byte != b'\r' => {
                self.overhead_bytes = self.overhead_bytes.saturating_add(1);
                if self.overhead_bytes > OVERHEAD_BYTES_MAX {
                    return Err(BodyError::Overhead);
                }
                Ok(self.state)
            }
            (State::SizeEnd { value: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeEnd { value: left }, b'\n') => Ok(State::Chunk { left }),
            (State::ChunkCr, b'\r') => Ok(State::ChunkLf),
            (State::ChunkLf, b'\n') => Ok(State::Size { value: None }),
            (State::Trailer, b'\r') => Ok(State::End),
            (State::Trailer, b'\n' | 0) => Err(BodyError::Chunks),
            (State::Trailer, _) => Ok(State::TrailerLine),
            (State::TrailerLine, _) => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            (State::End, b'\n') => Ok(State::Done),
            (_, _) => Err(BodyError::Chunks),
        }
    }

    /// A byte of the line with a chunk's size.
    fn size(&self, value: Option<usize>, byte: u8, body_bytes: usize) -> Result<State, BodyError> {
        let digit = char::from(byte).to_digit(16);
        match (digit.and_then(|digit| usize::try_from(digit).ok()), value) {
            (Some(digit), value) => {
                let bytes_max = self.bytes_max;
                value
                    .unwrap_or(0)
                    .checked_mul(16)
                    .and_then(|value| value.checked_add(digit))
                    .filter(|value| *value <= bytes_max.saturating_sub(body_bytes))
                    .map(|value| State::Size { value: Some(value) })
                    .ok_or(BodyError::TooLarge { bytes_max })
            }
            (None, Some(value)) => match byte {
                b'\r' => Ok(State::SizeEnd { value }),
                b';' | b' ' | b'\t' => Ok(State::Extension { value }),
                _ => Err(BodyError::Chunks),
            },
            (None, None) => Err(BodyError::Chunks),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::http::{Limits, Parsed, parse_request};

    const LENGTH: &str = "Content-Length: 5";
    const CHUNKED: &str = "Transfer-Encoding: chunked";

    fn reader(header: &str, bytes_max: usize) -> Result<BodyReader, BodyError> {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
        match parse_request(head.as_bytes(), &Limits::default()) {
            Ok(Parsed::Complete { value, .. }) => BodyReader::new(&value, bytes_max),
            other => panic!("{other:?}"),
        }
    }

    /// The body and what stands behind it, read in pieces of `step` bytes.
    fn read(header: &str, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let mut reader = reader(header, 100)?;
        let mut body = Vec::new();
        let mut used = 0;
        for piece in input.chunks(step) {
            let read = reader.read(piece, &mut body)?;
            used += read.consumed;
            if read.done {
                return Ok((body, used, true));
            }
            assert_eq!(read.consumed, piece.len());
        }
        Ok((body, used, false))
    }

    #[test]
    fn any_cut_gives_the_same_body() {
        let chunks = b"3\r\nabc\r\n2 ;x=\"y\"\r\nde\r\n0\r\nA: b\r\nC: d\r\n\r\nGET /";
        for step in 1..chunks.len() {
            let expected = (b"abcde".to_vec(), chunks.len() - 5, true);
            assert_eq!(read(CHUNKED, chunks, step), Ok(expected), "{step}");
            let expected = (b"abcde".to_vec(), 5, true);
            assert_eq!(read(LENGTH, b"abcdeGET /", step), Ok(expected), "{step}");
        }
        let partial = (b"abc".to_vec(), 3, false);
        assert_eq!(read(LENGTH, b"abc", 2), Ok(partial));
    }

    #[test]
    fn no_body_is_done_at_once() {
        for header in ["Content-Length: 0", "A: b"] {
            let mut reader = reader(header, 0).unwrap();
            let read = reader.read(b"GET /", &mut Vec::new()).unwrap();
            assert_eq!((read.consumed, read.done), (0, true));
        }
    }

    #[test]
    fn too_large_is_known_before_it_comes() {
        let too_large = BodyError::TooLarge { bytes_max: 4 };
        assert_eq!(reader(LENGTH, 4).unwrap_err(), too_large);
        assert_eq!(too_large.status(), Status::CONTENT_TOO_LARGE);
        let mut reader = reader(CHUNKED, 4).unwrap();
        let mut body = Vec::new();
        reader.read(b"3\r\nabc\r\n", &mut body).unwrap();
        assert_eq!(reader.read(b"2", &mut body), Err(too_large));
        let digits = b"ffffffffffffffffffffffff";
        assert!(matches!(
            read(CHUNKED, digits, 50),
            Err(BodyError::TooLarge { .. })
        ));
    }

    #[test]
    fn chunks_that_can_be_read_two_ways_are_refused() {
        for input in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"1\nab",
            b"1;a\nb",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\rx",
            b"0\r\n\n",
            b"0\r\n\rx",
            b"0\r\na\nb",
            b"0\r\na\rb",
        ] {
            assert_eq!(
                read(CHUNKED, input, 64),
                Err(BodyError::Chunks),
                "{input:?}"
            );
        }
        let long = [b"1;".to_vec(), vec![b'x'; 9000]].concat();
        assert_eq!(read(CHUNKED, &long, 100), Err(BodyError::Overhead));
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic_or_cut_dependent(
            input in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), b'0'..=b'9'], 0..60),
            step in 1..60_usize,
        ) {
            prop_assert_eq!(read(CHUNKED, &input, step), read(CHUNKED, &input, 64));
        }
    }
}
