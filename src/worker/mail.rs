//! The letters that workers put into each other's mailboxes.
//!
//! A letter is one packet; descriptors travel with it. A new client needs no more than its
//! descriptor. Clients that are moved come in batches: their descriptions are in a memory file,
//! the first of the descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use crate::net::Purpose;
use crate::sys::memory;

/// Bytes that no letter is longer than.
pub(super) const LETTER_BYTES_MAX: usize = 256;
/// Clients in one batch: with the memory file they fill one packet of descriptors.
pub(super) const BATCH_CLIENTS_MAX: usize = 63;

/// What one worker writes to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Letter {
    /// With a client of whom nothing is known yet but what it has connected for.
    New(Purpose),
    /// With descriptions and clients, which are frozen at the sender.
    Move { from: u16, batch: u64 },
    /// The answer: which of them are taken, and by whom.
    Taken { by: u16, batch: u64, yes: Vec<bool> },
    /// Those marked belong to the receiver now; with what has gathered for them.
    Release {
        from: u16,
        batch: u64,
        yes: Vec<bool>,
    },
    /// All of them stay where they are.
    Abort { from: u16, batch: u64 },
}

/// Whether any worker may read the letter in a packet: that with a client of whom nothing is known yet.
/// All others are between two, who count on it.
pub fn is_for_anybody(packet: &[u8]) -> bool {
    matches!(Letter::decode(packet), Some(Letter::New(_)))
}

const NEW: u8 = b'n';
const NEW_AT_API: u8 = b'p';
const MOVE: u8 = b'm';
const TAKEN: u8 = b't';
const RELEASE: u8 = b'r';
const ABORT: u8 = b'a';

impl Letter {
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = |letter: u8, slot: u16, batch: u64| {
            let mut packet = vec![letter];
            packet.extend(slot.to_le_bytes());
            packet.extend(batch.to_le_bytes());
            packet
        };
        let with = |mut packet: Vec<u8>, yes: &[bool]| {
            packet.extend(yes.iter().map(|yes| u8::from(*yes)));
            packet
        };
        match self {
            Self::New(Purpose::Clients) => vec![NEW],
            Self::New(Purpose::Api) => vec![NEW_AT_API],
            Self::Move { from, batch } => head(MOVE, *from, *batch),
            Self::Taken { by, batch, yes } => with(head(TAKEN, *by, *batch), yes),
            Self::Release { from, batch, yes } => with(head(RELEASE, *from, *batch), yes),
            Self::Abort { from, batch } => head(ABORT, *from, *batch),
        }
    }

    /// The letter in a packet; `None` if it is none.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        let (&letter, rest) = packet.split_first()?;
        let purpose = match letter {
            NEW => Some(Purpose::Clients),
            NEW_AT_API => Some(Purpose::Api),
            _ => None,
        };
        if let Some(purpose) = purpose {
            return rest.is_empty().then_some(Self::New(purpose));
        }
        let (slot, rest) = rest.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (slot, batch) = (u16::from_le_bytes(*slot), u64::from_le_bytes(*batch));
        let yes = rest.iter().map(|byte| *byte != 0).collect();
        match letter {
            MOVE if rest.is_empty() => Some(Self::Move { from: slot, batch }),
            ABORT if rest.is_empty() => Some(Self::Abort { from: slot, batch }),
            TAKEN => Some(Self::Taken {
                by: slot,
                batch,
                yes,
            }),
            RELEASE => Some(Self::Release {
                from: slot,
                batch,
                yes,
            }),
            _ => None,
        }
    }
}

/// Puts pieces of bytes into a memory file, each behind its length.
pub(super) fn enclose<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<OwnedFd> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    // A file of no bytes would be none.
    bytes.push(0);
    let file = File::from(memory::create_sealed(
        "bellwether-clients",
        bytes.len() as u64,
    )?);
    file.write_all_at(&bytes, 0)?;
    Ok(file.into())
}

/// Takes `count` pieces out of such a file.
pub(super) fn disclose(file: &OwnedFd, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let length = usize::try_from(memory::sealed_bytes(file.as_fd())?)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut bytes = vec![0; length];
    memory::read_exact_at(file.as_fd(), &mut bytes, 0)?;
    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    for _ in 0..count {
        let piece = rest.split_first_chunk().and_then(|(length, behind)| {
            behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        let (piece, behind) = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
        pieces.push(piece.to_vec());
        rest = behind;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_survive() {
        let all = vec![true; BATCH_CLIENTS_MAX];
        for letter in [
            Letter::New(Purpose::Clients),
            Letter::New(Purpose::Api),
            Letter::Move {
                from: 3,
                batch: u64::MAX,
            },
            Letter::Taken {
                by: 2,
                batch: 9,
                yes: vec![true, false],
            },
            Letter::Release {
                from: 1,
                batch: 9,
                yes: all,
            },
            Letter::Abort { from: 1, batch: 9 },
        ] {
            let packet = letter.encode();
            assert!(packet.len() <= LETTER_BYTES_MAX);
            assert_eq!(Letter::decode(&packet), Some(letter));
        }
        for nonsense in [&b""[..], b"nn", b"m12", b"z1234567890"] {
            assert_eq!(Letter::decode(nonsense), None);
        }
    }

    #[test]
    fn pieces_survive_and_missing_ones_are_noticed() {
        let pieces: [&[u8]; 3] = [b"one", b"", &[7; 100_000]];
        let file = enclose(pieces.into_iter()).unwrap();
        assert_eq!(disclose(&file, 3).unwrap(), pieces);
        assert!(disclose(&file, 4).is_err());
        assert!(disclose(&enclose(std::iter::empty()).unwrap(), 1).is_err());
    }
}
