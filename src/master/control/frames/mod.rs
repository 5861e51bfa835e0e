//! Frames of the control socket: bytes to requests and answers and back.
//!
//! Pure. It must not know where the bytes come from.

#[cfg(test)]
mod tests;

use thiserror::Error;

use super::Errand;
use super::area_request::AreaRequest;
use crate::protocol::websocket::Kind;

/// What a frame may have beyond the message it carries: kind, flags, name.
pub const OVERHEAD_BYTES_MAX: usize = 1024;

const LENGTH_BYTES: usize = 4;

const PUBLISH: u8 = 1;
const TAIL: u8 = 2;
const STATUS: u8 = 3;
const AREA: u8 = 4;
const ERRAND: u8 = 5;
const PUBLISHED: u8 = 129;
const TAILING: u8 = 130;
const MESSAGE: u8 = 131;
const LAPPED: u8 = 132;
const STATUS_IS: u8 = 133;
const REFUSED: u8 = 134;
const AREA_BYTES: u8 = 135;
const AREA_WRITTEN: u8 = 136;
const DONE: u8 = 137;

/// What a verb wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Publish a message.
    Publish {
        /// The channel's name, as it came.
        channel: String,
        /// Text or binary; text is not checked yet.
        kind: Kind,
        /// The message.
        payload: Vec<u8>,
    },
    /// Show what is published.
    Tail {
        /// The channel's name, as it came.
        channel: String,
    },
    /// Show what is going on.
    Status,
    /// Change something, and answer when that is finished.
    Errand(Errand),
    /// Do something with an area.
    Area(AreaRequest),
}

/// What the master says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The message is published.
    Published {
        /// Workers that have handed it to their clients.
        reached: u16,
        /// Workers there were.
        workers: u16,
        /// Number of its entry in the log.
        seq: u64,
    },
    /// The tail has begun.
    Tailing,
    /// Something was published.
    Message {
        /// Text or binary.
        kind: Kind,
        /// Microseconds of Unix time.
        time_us: u64,
        /// The message.
        payload: Vec<u8>,
    },
    /// The tail was too slow.
    Lapped {
        /// Entries of all channels that it has not seen.
        entries: u64,
    },
    /// The state of the server, as JSON.
    Status {
        /// See [`crate::status::Status`].
        json: Vec<u8>,
    },
    /// An errand is finished.
    Done {
        /// With what result.
        result: String,
    },
    /// Bytes of an area.
    AreaBytes {
        /// How many of those that were asked for follow these.
        left: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The bytes are written.
    AreaWritten,
    /// It cannot be done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Bytes that are no frame of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The frame is longer than allowed; decided from its length alone.
    #[error("a frame of {bytes} bytes, the most is {max}")]
    TooLong {
        /// What it says.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// A kind that does not exist, or a body that does not fit its kind.
    #[error("a frame of kind {kind} that makes no sense")]
    Malformed {
        /// The kind.
        kind: u8,
    },
}

/// Collects bytes and cuts them into frames.
#[derive(Debug)]
pub struct Frames {
    bytes: Vec<u8>,
    frame_bytes_max: usize,
}

impl Frames {
    /// For frames of at most `frame_bytes_max`, kind and body.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            frame_bytes_max,
        }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was taken and is not a whole frame, or was not asked for yet.
    pub fn unread(&self) -> &[u8] {
        &self.bytes
    }

    /// The next request; None when it is not complete.
    ///
    /// # Errors
    /// The stream cannot be read any further.
    pub fn request(&mut self) -> Result<Option<Request>, FrameError> {
        self.next(Request::read)
    }

    /// The next answer; None when it is not complete.
    ///
    /// # Errors
    /// The stream cannot be read any further.
    pub fn answer(&mut self) -> Result<Option<Answer>, FrameError> {
        self.next(Answer::read)
    }

    fn next<T>(&mut self, read: fn(u8, &[u8]) -> Option<T>) -> Result<Option<T>, FrameError> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if bytes > self.frame_bytes_max {
            return Err(FrameError::TooLong {
                bytes,
                max: self.frame_bytes_max,
            });
        }
        let Some(frame) = rest.get(..bytes) else {
            return Ok(None);
        };
        let Some((&kind, body)) = frame.split_first() else {
            return Err(FrameError::Malformed { kind: 0 });
        };
        let value = read(kind, body).ok_or(FrameError::Malformed { kind })?;
        self.bytes.drain(..LENGTH_BYTES + bytes);
        if self.bytes.is_empty() {
            // A large message must not stay as an empty buffer of its size.
            self.bytes = Vec::new();
        }
        Ok(Some(value))
    }
}

impl Request {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Publish {
                channel,
                kind,
                payload,
            } => frame(PUBLISH, out, |out| {
                out.push(kind_byte(*kind));
                // A name that does not fit is cut, and the master refuses what is left of it.
                let name_bytes = u16::try_from(channel.len()).unwrap_or(u16::MAX);
                out.extend_from_slice(&name_bytes.to_le_bytes());
                out.extend(channel.bytes().take(usize::from(name_bytes)));
                out.extend_from_slice(payload);
            }),
            Self::Tail { channel } => frame(TAIL, out, |out| out.extend(channel.bytes())),
            Self::Status => frame(STATUS, out, |_| {}),
            Self::Errand(errand) => frame(ERRAND, out, |out| errand.write(out)),
            Self::Area(request) => frame(AREA, out, |out| request.write(out)),
        }
    }

    fn read(kind: u8, body: &[u8]) -> Option<Self> {
        match kind {
            PUBLISH => {
                let (&kind, rest) = body.split_first()?;
                let (name_bytes, rest) = rest.split_first_chunk()?;
                let name_bytes = usize::from(u16::from_le_bytes(*name_bytes));
                let (name, payload) = rest.split_at_checked(name_bytes)?;
                Some(Self::Publish {
                    channel: text(name)?,
                    kind: kind_of(kind)?,
                    payload: payload.to_vec(),
                })
            }
            TAIL => Some(Self::Tail {
                channel: text(body)?,
            }),
            STATUS => body.is_empty().then_some(Self::Status),
            ERRAND => Errand::read(body).map(Self::Errand),
            AREA => AreaRequest::read(body).map(Self::Area),
            _ => None,
        }
    }
}

impl Answer {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Published {
                reached,
                workers,
                seq,
            } => frame(PUBLISHED, out, |out| {
                out.extend_from_slice(&reached.to_le_bytes());
                out.extend_from_slice(&workers.to_le_bytes());
                out.extend_from_slice(&seq.to_le_bytes());
            }),
            Self::Tailing => frame(TAILING, out, |_| {}),
            Self::Message {
                kind,
                time_us,
                payload,
            } => frame(MESSAGE, out, |out| {
                out.push(kind_byte(*kind));
                out.extend_from_slice(&time_us.to_le_bytes());
                out.extend_from_slice(payload);
            }),
            Self::Lapped { entries } => frame(LAPPED, out, |out| out.extend(entries.to_le_bytes())),
            Self::Status { json } => frame(STATUS_IS, out, |out| out.extend_from_slice(json)),
            Self::Done { result } => frame(DONE, out, |out| out.extend(result.bytes())),
            Self::AreaBytes { left, bytes } => frame(AREA_BYTES, out, |out| {
                out.extend_from_slice(&left.to_le_bytes());
                out.extend_from_slice(bytes);
            }),
            Self::AreaWritten => frame(AREA_WRITTEN, out, |_| {}),
            Self::Refused { reason } => frame(REFUSED, out, |out| out.extend(reason.bytes())),
        }
    }

    fn read(kind: u8, body: &[u8]) -> Option<Self> {
        match kind {
            PUBLISHED => {
                let (reached, rest) = body.split_first_chunk()?;
                let (workers, rest) = rest.split_first_chunk()?;
                Some(Self::Published {
                    reached: u16::from_le_bytes(*reached),
                    workers: u16::from_le_bytes(*workers),
                    seq: u64::from_le_bytes(rest.try_into().ok()?),
                })
            }
            TAILING => body.is_empty().then_some(Self::Tailing),
            MESSAGE => {
                let (&kind, rest) = body.split_first()?;
                let (time_us, payload) = rest.split_first_chunk()?;
                Some(Self::Message {
                    kind: kind_of(kind)?,
                    time_us: u64::from_le_bytes(*time_us),
                    payload: payload.to_vec(),
                })
            }
            LAPPED => Some(Self::Lapped {
                entries: u64::from_le_bytes(body.try_into().ok()?),
            }),
            STATUS_IS => Some(Self::Status {
                json: body.to_vec(),
            }),
            DONE => Some(Self::Done {
                result: text(body)?,
            }),
            AREA_BYTES => {
                let (left, bytes) = body.split_first_chunk()?;
                Some(Self::AreaBytes {
                    left: u64::from_le_bytes(*left),
                    bytes: bytes.to_vec(),
                })
            }
            AREA_WRITTEN => body.is_empty().then_some(Self::AreaWritten),
            REFUSED => Some(Self::Refused {
                reason: text(body)?,
            }),
            _ => None,
        }
    }
}

/// Appends length, kind and what `body` appends.
fn frame(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    body(out);
    // Bodies are bounded by a message, which has at most 32 bits of length.
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

pub(super) fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Text => 0,
        Kind::Binary => 1,
    }
}

pub(super) fn kind_of(byte: u8) -> Option<Kind> {
    match byte {
        0 => Some(Kind::Text),
        1 => Some(Kind::Binary),
        _ => None,
    }
}
