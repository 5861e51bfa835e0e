//! The head of a watched area: what a program that knows nothing but `mmap` fills in to have a
//! message published. Pure; it must not know who looks at it, or when.

use crate::sharedarea::algorithm::log::EntryFlags;

/// Bytes of the head; the message follows.
pub const HEAD_BYTES: u64 = BYTES as u64;

const BYTES: usize = 64;
const CHANNEL_AT: usize = 24;

/// Why a head announces nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The message is longer than the area.
    #[error("len is {bytes}, and {room} bytes follow the head")]
    TooLong {
        /// What it says.
        bytes: u32,
        /// What there is.
        room: u64,
    },
    /// Neither text nor binary.
    #[error("kind is {0}: 1 is text, 2 is binary")]
    Kind(u8),
    /// The channel is not UTF-8.
    #[error("channel is not UTF-8")]
    Channel,
}

/// A head, copied out of the area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head([u8; BYTES]);

impl Head {
    /// The head in these bytes; `None` unless there are [`HEAD_BYTES`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Counts messages; whatever differs from the last look is a new one.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.word(8)
    }

    /// Whether a writer that says so is filling in the message with the next number.
    #[must_use]
    pub fn is_being_written(&self) -> bool {
        let begun = self.word(16);
        begun != 0 && begun != self.seq()
    }

    /// Bytes of the message, in an area of `area_bytes`.
    ///
    /// # Errors
    /// [`HeadError::TooLong`].
    pub fn message_bytes(&self, area_bytes: u64) -> Result<u32, HeadError> {
        let [a, b, c, d, ..] = self.0;
        let bytes = u32::from_le_bytes([a, b, c, d]);
        let room = area_bytes.saturating_sub(HEAD_BYTES);
        if u64::from(bytes) > room {
            return Err(HeadError::TooLong { bytes, room });
        }
        Ok(bytes)
    }

    /// Text or binary.
    ///
    /// # Errors
    /// [`HeadError::Kind`].
    pub fn kind(&self) -> Result<EntryFlags, HeadError> {
        match self.0[4] {
            1 => Ok(EntryFlags::TEXT),
            2 => Ok(EntryFlags::BINARY),
            other => Err(HeadError::Kind(other)),
        }
    }

    /// The channel; `None` stands for the area's own name.
    ///
    /// # Errors
    /// [`HeadError::Channel`].
    pub fn channel(&self) -> Result<Option<&str>, HeadError> {
        let name = self.0[CHANNEL_AT..].split(|byte| *byte == 0).next();
        let name = str::from_utf8(name.unwrap_or_default()).map_err(|_| HeadError::Channel)?;
        Ok(Some(name).filter(|name| !name.is_empty()))
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = self.0[at..].first_chunk().copied();
        u64::from_le_bytes(bytes.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(len: u32, kind: u8, seq: u64, begun: u64, channel: &[u8]) -> Head {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4] = kind;
        bytes[8..16].copy_from_slice(&seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&begun.to_le_bytes());
        bytes[24..24 + channel.len()].copy_from_slice(channel);
        Head::new(&bytes).unwrap()
    }

    #[test]
    fn a_head_is_read_and_checked() {
        let good = head(3, 1, 7, 0, b"news");
        assert_eq!(good.message_bytes(67), Ok(3));
        assert_eq!(
            good.message_bytes(66),
            Err(HeadError::TooLong { bytes: 3, room: 2 })
        );
        assert_eq!(
            head(1, 2, 7, 0, b"").message_bytes(10),
            Err(HeadError::TooLong { bytes: 1, room: 0 })
        );
        assert_eq!((good.kind(), good.seq()), (Ok(EntryFlags::TEXT), 7));
        assert_eq!(good.channel(), Ok(Some("news")));
        assert_eq!(head(0, 2, 0, 0, b"").kind(), Ok(EntryFlags::BINARY));
        assert_eq!(head(0, 0, 0, 0, b"").kind(), Err(HeadError::Kind(0)));
        assert_eq!(head(0, 1, 0, 0, b"").channel(), Ok(None));
        assert_eq!(head(0, 1, 0, 0, b"\xff").channel(), Err(HeadError::Channel));
        let longest = [b'x'; 40];
        assert_eq!(
            head(0, 1, 0, 0, &longest).channel(),
            Ok(str::from_utf8(&longest).ok())
        );
        assert!(Head::new(&[0; 63]).is_none());
    }

    #[test]
    fn a_writer_may_say_that_it_writes() {
        assert!(!head(0, 1, 7, 0, b"").is_being_written());
        assert!(head(0, 1, 7, 8, b"").is_being_written());
        assert!(!head(0, 1, 8, 8, b"").is_being_written());
    }
}
