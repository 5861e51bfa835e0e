//! What verbs want of an area, as bytes and back. Pure; it must not know what becomes of it.

use super::frames::{kind_byte, kind_of, text};
use crate::protocol::websocket::Kind;

const READ: u8 = 1;
const WRITE: u8 = 2;
const SEND: u8 = 3;

/// Stands for the rest of the area.
const REST: u64 = u64::MAX;

/// What a verb wants of an area, which it names by its number or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AreaRequest {
    /// Show bytes.
    Read {
        /// The area.
        area: String,
        /// The first byte.
        position: u64,
        /// How many; `None` for the rest.
        bytes: Option<u64>,
    },
    /// Write bytes.
    Write {
        /// The area.
        area: String,
        /// The first byte.
        position: u64,
        /// What is written.
        bytes: Vec<u8>,
    },
    /// Send a range to every client of a channel.
    Send {
        /// The area.
        area: String,
        /// The first byte.
        position: u64,
        /// How many; `None` for the rest.
        bytes: Option<u64>,
        /// The channel's name.
        channel: String,
        /// Text or binary.
        kind: Kind,
    },
}

impl AreaRequest {
    /// Appends the body of the frame: what, the area's name behind its length, position, then bytes
    /// (8, all ones for the rest) or what is written, then kind and channel.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut begin = |what, area: &str, position: u64| {
            out.push(what);
            // A name that does not fit is cut, and the master does not know what is left of it.
            let name_bytes = u8::try_from(area.len()).unwrap_or(u8::MAX);
            out.push(name_bytes);
            out.extend(area.bytes().take(usize::from(name_bytes)));
            out.extend(position.to_le_bytes());
        };
        match self {
            Self::Read {
                area,
                position,
                bytes,
            } => {
                begin(READ, area, *position);
                out.extend(bytes.unwrap_or(REST).to_le_bytes());
            }
            Self::Write {
                area,
                position,
                bytes,
            } => {
                begin(WRITE, area, *position);
                out.extend_from_slice(bytes);
            }
            Self::Send {
                area,
                position,
                bytes,
                channel,
                kind,
            } => {
                begin(SEND, area, *position);
                out.extend(bytes.unwrap_or(REST).to_le_bytes());
                out.push(kind_byte(*kind));
                out.extend(channel.bytes());
            }
        }
    }

    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (&what, rest) = body.split_first()?;
        let (&name_bytes, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(name_bytes))?;
        let area = text(name)?;
        let (position, rest) = rest.split_first_chunk()?;
        let position = u64::from_le_bytes(*position);
        if what == WRITE {
            let bytes = rest.to_vec();
            return Some(Self::Write {
                area,
                position,
                bytes,
            });
        }
        let (bytes, rest) = rest.split_first_chunk()?;
        let bytes = Some(u64::from_le_bytes(*bytes)).filter(|bytes| *bytes != REST);
        match what {
            READ => rest.is_empty().then_some(Self::Read {
                area,
                position,
                bytes,
            }),
            SEND => {
                let (&kind, channel) = rest.split_first()?;
                Some(Self::Send {
                    area,
                    position,
                    bytes,
                    channel: text(channel)?,
                    kind: kind_of(kind)?,
                })
            }
            _ => None,
        }
    }
}
