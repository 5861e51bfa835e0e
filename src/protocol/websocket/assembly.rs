//! What a client has sent of something that is not yet whole: half a frame, or some fragments of a message. It must not know the state
//! of the connection, nor what becomes of a message.

use super::Violation;
use super::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Kind, parse_header};
use super::utf8::Utf8;

/// Exists only while something is under way, so an idle client has none.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) reading: Reading,
    pub(super) message: Option<Message>,
}

/// Where in a frame the input stopped.
#[derive(Debug)]
pub(super) enum Reading {
    /// Between the frames of a message.
    Nothing,
    /// Inside a header.
    Header(HeaderBytes),
    /// Inside the payload of a data frame; the payload is in the message.
    Data { header: Header, arrived: usize },
    /// Inside the payload of a control frame.
    Control {
        header: Header,
        payload: ControlBytes,
    },
}

impl Partial {
    pub(super) const fn new() -> Self {
        Self {
            reading: Reading::Nothing,
            message: None,
        }
    }

    /// Whether nothing is under way any more.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.reading, Reading::Nothing) && self.message.is_none()
    }
}

/// The bytes of a header so far.
#[derive(Debug, Default)]
pub(super) struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl HeaderBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Takes what belongs to the header from the start of `input`: the header when it is whole, and how many bytes were taken.
    pub(super) fn push(&mut self, input: &[u8]) -> Result<(Option<Header>, usize), Violation> {
        let before = self.len;
        for (place, byte) in self.bytes.iter_mut().skip(before).zip(input) {
            *place = *byte;
            self.len += 1;
        }
        Ok(match parse_header(self.as_slice())? {
            Some((header, header_bytes)) => (Some(header), header_bytes - before),
            None => (None, self.len - before),
        })
    }
}

/// The payload of a control frame so far.
#[derive(Debug)]
pub(super) struct ControlBytes {
    bytes: [u8; CONTROL_BYTES_MAX],
    len: usize,
}

impl ControlBytes {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; CONTROL_BYTES_MAX],
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(piece) {
            *place = *byte;
            self.len += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A message in the making.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) compressed: bool,
    pub(super) fragments: u32,
    pub(super) payload: Vec<u8>,
    utf8: Utf8,
}

impl Message {
    pub(super) const fn new(kind: Kind, compressed: bool) -> Self {
        Self {
            kind,
            compressed,
            fragments: 0,
            payload: Vec::new(),
            utf8: Utf8::NEW,
        }
    }

    /// Adds a piece; `to_come` is how many bytes of the message have not arrived, where its last frame has announced that.
    pub(super) fn push(&mut self, piece: &[u8], to_come: Option<usize>) -> Result<(), Violation> {
        if self.kind == Kind::Text && !self.compressed {
            self.utf8.push(piece)?;
        }
        // Memory follows what has arrived, not what was announced: it doubles, but never beyond the message's end.
        let needed = self.payload.len() + piece.len();
        if needed > self.payload.capacity() {
            let doubled = self.payload.capacity().saturating_mul(2).max(needed);
            let end = to_come.map_or(usize::MAX, |bytes| needed.saturating_add(bytes));
            self.payload
                .reserve_exact(doubled.min(end) - self.payload.len());
        }
        self.payload.extend_from_slice(piece);
        Ok(())
    }

    /// Whether uncompressed text may end here.
    pub(super) fn finish(&self) -> Result<(), Violation> {
        self.utf8.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_follows_what_has_arrived_not_what_was_announced() {
        let mut message = Message::new(Kind::Binary, false);
        let announced = 1 << 20;
        message.push(b"", Some(announced)).unwrap();
        assert_eq!(message.payload.capacity(), 0, "nothing has arrived");
        let mut arrived = 0;
        while arrived < announced {
            arrived += 1024;
            message.push(&[0; 1024], Some(announced - arrived)).unwrap();
            assert!(message.payload.capacity() <= (2 * arrived).min(announced));
        }
        assert_eq!(
            message.payload.capacity(),
            announced,
            "nothing is left over at the end"
        );
    }

    #[test]
    fn many_small_fragments_do_not_move_the_message_each_time() {
        let mut message = Message::new(Kind::Binary, false);
        let mut moves = 0;
        for _ in 0..10_000 {
            let before = message.payload.capacity();
            message.push(&[0; 64], None).unwrap();
            moves += u32::from(message.payload.capacity() != before);
        }
        assert!(moves < 20, "{moves} moves");
    }
}
