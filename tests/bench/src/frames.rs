//! The frames that are sent and the check of what comes back, byte for byte.
//!
//! Every message has the same size and carries its number in its first eight bytes, so the stream of answers is
//! known in advance and is compared as it arrives, without collecting frames. Knows no sockets.

use std::fmt;

/// Bytes of the number that every payload starts with; also the least payload.
pub const STAMP_BYTES: usize = 8;

pub(crate) const FIN: u8 = 0x80;
const OPCODE_TEXT: u8 = 1;
const OPCODE_BINARY: u8 = 2;
pub(crate) const OPCODE_CLOSE: u8 = 8;
const MASKED: u8 = 0x80;

/// A frame of fixed size of which only the number changes from message to message.
#[derive(Debug, Clone)]
pub struct Template {
    header: Vec<u8>,
    /// The payload as it is on the wire, so masked if the frame is.
    payload: Vec<u8>,
    mask: [u8; 4],
}

impl Template {
    /// A binary frame as a server sends it: not masked.
    pub fn server(payload_bytes: usize) -> Self {
        Self::build(payload_bytes, None)
    }

    /// A binary frame as a client sends it: masked with `mask`.
    pub fn client(payload_bytes: usize, mask: [u8; 4]) -> Self {
        Self::build(payload_bytes, Some(mask))
    }

    fn build(payload_bytes: usize, mask: Option<[u8; 4]>) -> Self {
        let payload_bytes = payload_bytes.max(STAMP_BYTES);
        let mask_bit = if mask.is_some() { MASKED } else { 0 };
        let mut header = vec![FIN | OPCODE_BINARY];
        match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(short), _) if short <= 125 => header.push(mask_bit | short),
            (_, Ok(medium)) => {
                header.push(mask_bit | 126);
                header.extend_from_slice(&medium.to_be_bytes());
            }
            (_, Err(_)) => {
                header.push(mask_bit | 127);
                header.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
            }
        }
        if let Some(mask) = mask {
            header.extend_from_slice(&mask);
        }
        let mask = mask.unwrap_or_default();
        // Printable ASCII, so that a server may treat the same bytes as text.
        let payload = (0..payload_bytes)
            .map(|at| (b'0' + (at % 64) as u8) ^ mask[at % 4])
            .collect();
        Self {
            header,
            payload,
            mask,
        }
    }

    /// Bytes of the whole frame on the wire.
    pub fn frame_bytes(&self) -> usize {
        self.header.len() + self.payload.len()
    }

    /// Bytes of its payload.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Appends message `number` as a frame.
    pub fn append(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
        self.append_payload(number, out);
    }

    /// Appends the payload of message `number` alone.
    pub fn append_payload(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.stamp(number));
        out.extend_from_slice(&self.payload[STAMP_BYTES..]);
    }

    /// The number in a whole frame of this kind; none if a byte of it is wrong.
    pub fn number_in(&self, frame: &[u8]) -> Option<u64> {
        let payload = frame.strip_prefix(self.header.as_slice())?;
        let (stamp, rest) = payload.split_first_chunk::<STAMP_BYTES>()?;
        if rest != &self.payload[STAMP_BYTES..] {
            return None;
        }
        let mut number = 0;
        for (at, byte) in stamp.iter().enumerate() {
            let digit = (byte ^ self.mask[at % 4]).checked_sub(b'0')?;
            number |= u64::from(digit & 63) << (6 * at);
        }
        (self.stamp(number) == *stamp).then_some(number)
    }

    fn stamp(&self, number: u64) -> [u8; STAMP_BYTES] {
        // Six bits a byte from '0' upwards: 48 bits of number in eight bytes of ASCII.
        std::array::from_fn(|at| (b'0' + ((number >> (6 * at)) & 63) as u8) ^ self.mask[at % 4])
    }
}

/// The answer differs from what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The first byte of a frame is not that of a whole data frame.
    Opening(u8),
    /// The server closed with this code (0 when it gave none).
    Closed(u16),
    /// A byte of the message with this number, counted from the start of its frame, is wrong.
    Byte {
        /// The number of the message.
        number: u64,
        /// Where in its frame.
        at: usize,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening(byte) => write!(f, "a frame starts with the byte {byte:#04x}"),
            Self::Closed(code) => write!(f, "the server closed with code {code}"),
            Self::Byte { number, at } => write!(
                f,
                "message {number} is wrong or out of order at byte {at} of its frame"
            ),
        }
    }
}

impl std::error::Error for Mismatch {}

/// Follows the stream of one connection.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    number: u64,
    at: usize,
    control: Option<Control>,
}

/// A control frame that is being skipped.
#[derive(Debug, Clone)]
struct Control {
    close: bool,
    payload_left: Option<u8>,
    code: u16,
    code_bytes: u8,
}

impl Checker {
    /// How many whole messages have been seen.
    pub fn received(&self) -> u64 {
        self.number
    }

    /// Compares `input` with what must follow; returns how many messages it completed. Pings and pongs between
    /// frames are skipped.
    pub fn check(&mut self, mut input: &[u8], expected: &Template) -> Result<u64, Mismatch> {
        let before = self.number;
        while let Some((&first, rest)) = input.split_first() {
            if self.control.is_some() {
                self.control_byte(first)?;
                input = rest;
            } else if self.at == 0 {
                self.open(first, expected)?;
                input = rest;
            } else {
                input = self.data(input, expected)?;
            }
        }
        Ok(self.number - before)
    }

    fn open(&mut self, first: u8, expected: &Template) -> Result<(), Mismatch> {
        let opcode = first & 0x0f;
        if first & 0xf0 != FIN {
            return Err(Mismatch::Opening(first));
        }
        if opcode & 8 != 0 {
            self.control = Some(Control {
                close: opcode == OPCODE_CLOSE,
                payload_left: None,
                code: 0,
                code_bytes: 0,
            });
            return Ok(());
        }
        // A broadcast server may hand binary on as text; the bytes are what is compared.
        if opcode != OPCODE_TEXT && opcode != OPCODE_BINARY {
            return Err(Mismatch::Opening(first));
        }
        debug_assert_eq!(expected.header[0] & 0xf0, FIN);
        self.at = 1;
        Ok(())
    }

    fn control_byte(&mut self, byte: u8) -> Result<(), Mismatch> {
        let Some(control) = &mut self.control else {
            return Ok(());
        };
        match control.payload_left {
            None => control.payload_left = Some(byte & 0x7f),
            Some(left) => {
                control.payload_left = Some(left - 1);
                if control.code_bytes < 2 {
                    control.code = (control.code << 8) | u16::from(byte);
                    control.code_bytes += 1;
                }
            }
        }
        let ended = control.payload_left == Some(0);
        if control.close && (ended || control.code_bytes == 2) {
            return Err(Mismatch::Closed(control.code));
        }
        if ended {
            self.control = None;
        }
        Ok(())
    }

    fn data<'i>(&mut self, input: &'i [u8], expected: &Template) -> Result<&'i [u8], Mismatch> {
        let header_bytes = expected.header.len();
        let stamp_end = header_bytes + STAMP_BYTES;
        let stamp = expected.stamp(self.number);
        let wanted = match self.at {
            at if at < header_bytes => &expected.header[at..],
            at if at < stamp_end => &stamp[at - header_bytes..],
            at => &expected.payload[at - header_bytes..],
        };
        let common = wanted.len().min(input.len());
        let (head, rest) = input.split_at(common);
        if head != &wanted[..common] {
            let off = head
                .iter()
                .zip(wanted)
                .position(|(a, b)| a != b)
                .unwrap_or(0);
            return Err(Mismatch::Byte {
                number: self.number,
                at: self.at + off,
            });
        }
        self.at += common;
        if self.at == expected.frame_bytes() {
            self.at = 0;
            self.number += 1;
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn any_split_of_the_right_bytes_is_accepted_and_counted() {
        for payload_bytes in [8, 64, 125, 126, 70_000] {
            for template in [
                Template::server(payload_bytes),
                Template::client(payload_bytes, MASK),
            ] {
                let mut bytes = Vec::new();
                (0..3).for_each(|number| template.append(number, &mut bytes));
                assert_eq!(bytes.len(), 3 * template.frame_bytes());
                for step in [1, 2, 7, 1000, bytes.len()] {
                    let mut checker = Checker::default();
                    let counted: u64 = bytes
                        .chunks(step)
                        .map(|part| checker.check(part, &template).unwrap())
                        .sum();
                    assert_eq!((counted, checker.received()), (3, 3));
                }
            }
        }
    }

    #[test]
    fn the_number_of_a_frame_is_read_back_and_a_wrong_one_has_none() {
        for template in [Template::server(64), Template::client(64, MASK)] {
            for number in [0, 1, 63, 64, 1 << 40, (1 << 48) - 1] {
                let mut frame = Vec::new();
                template.append(number, &mut frame);
                assert_eq!(template.number_in(&frame), Some(number));
                frame[40] ^= 1;
                assert_eq!(template.number_in(&frame), None);
                assert_eq!(template.number_in(&frame[..50]), None);
            }
        }
    }

    #[test]
    fn masked_bytes_are_those_of_rfc_6455_once_unmasked() {
        let (server, client) = (Template::server(64), Template::client(64, MASK));
        let (mut plain, mut masked) = (Vec::new(), Vec::new());
        server.append_payload(5, &mut plain);
        client.append_payload(5, &mut masked);
        masked
            .iter_mut()
            .enumerate()
            .for_each(|(at, byte)| *byte ^= MASK[at % 4]);
        assert_eq!(plain, masked);
        assert!(plain.is_ascii());
    }

    #[test]
    fn each_changed_byte_is_found() {
        let template = Template::server(130);
        let mut bytes = Vec::new();
        template.append(0, &mut bytes);
        for at in 1..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(
                Checker::default().check(&bytes, &template),
                Err(Mismatch::Byte { number: 0, at })
            );
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn a_message_that_is_missing_or_comes_twice_is_found() {
        let template = Template::server(16);
        for second in [0, 2] {
            let mut bytes = Vec::new();
            template.append(0, &mut bytes);
            template.append(second, &mut bytes);
            assert_eq!(
                Checker::default().check(&bytes, &template),
                Err(Mismatch::Byte { number: 1, at: 2 })
            );
        }
    }

    #[test]
    fn pings_are_skipped_and_a_close_is_told() {
        let template = Template::server(16);
        let mut bytes = vec![0x89, 4, 1, 2, 3, 4, 0x8a, 0];
        template.append(0, &mut bytes);
        let mut checker = Checker::default();
        assert_eq!(checker.check(&bytes, &template), Ok(1));
        assert_eq!(
            checker.clone().check(&[0x88, 0], &template),
            Err(Mismatch::Closed(0))
        );
        assert_eq!(
            checker.check(&[0x88, 3, 0x03, 0xe8, b'x'], &template),
            Err(Mismatch::Closed(1000))
        );
    }
}
