//! The frame header both ways (RFC 6455 section 5.2); it must not know messages, extensions or the state of a connection.

use super::Violation;

/// Longest payload of a control frame (section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// Longest header: two bytes, eight of length, four of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// Longest header that a server writes: it does not mask.
const OWN_HEADER_BYTES_MAX: usize = 10;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;
const LENGTH_16_BITS: u8 = 126;
const LENGTH_64_BITS: u8 = 127;

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8, checked.
    Text,
    /// Any bytes.
    Binary,
}

/// The opcodes that have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    const fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// A client's frame header, right by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// RSV1, which RFC 7692 section 6 gives its meaning.
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u64,
}

/// Reads a header and its size in bytes; `None` while it is not whole. Each rule is decided as soon as its bytes are there.
#[inline]
pub(super) fn parse_header(input: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
    let [first, second, rest @ ..] = input else {
        return Ok(None);
    };
    let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
        return Err(Violation::ReservedOpcode);
    };
    let fin = first & FIN != 0;
    let length = second & !MASKED;
    if first & RSV2_RSV3 != 0 {
        return Err(Violation::ReservedBit);
    }
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    if opcode.is_control() {
        if first & RSV1 != 0 {
            return Err(Violation::ReservedBit);
        }
        if !fin {
            return Err(Violation::ControlFragmented);
        }
        if length >= LENGTH_16_BITS {
            return Err(Violation::ControlTooLong);
        }
    }
    let (payload_bytes, rest, length_bytes) = match length {
        LENGTH_16_BITS => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*bytes);
            if length < u16::from(LENGTH_16_BITS) {
                return Err(Violation::LengthNotMinimal);
            }
            (u64::from(length), rest, 2)
        }
        LENGTH_64_BITS => {
            let Some((bytes, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*bytes);
            if length >> 63 != 0 {
                return Err(Violation::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal);
            }
            (length, rest, 8)
        }
        short => (u64::from(short), rest, 0),
    };
    let Some((&mask, _payload)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let header = Header {
        fin,
        compressed: first & RSV1 != 0,
        opcode,
        mask,
        payload_bytes,
    };
    Ok(Some((header, 2 + length_bytes + 4)))
}

/// The header of a frame that the server sends; on the wire it is followed by the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; OWN_HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHeader {
    /// The header as it goes onto the wire: 2, 4 or 10 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The header of an unfragmented message of `payload_bytes`; `compressed` sets RSV1 (RFC 7692 section 6).
#[must_use]
pub fn frame_header(kind: Kind, compressed: bool, payload_bytes: usize) -> FrameHeader {
    let mut bytes = [0; OWN_HEADER_BYTES_MAX];
    bytes[0] = FIN | Opcode::from(kind) as u8 | if compressed { RSV1 } else { 0 };
    let len = match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length), _) if length < LENGTH_16_BITS => {
            bytes[1] = length;
            2
        }
        (_, Ok(length)) => {
            bytes[1] = LENGTH_16_BITS;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            4
        }
        _ => {
            bytes[1] = LENGTH_64_BITS;
            bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    FrameHeader { bytes, len }
}

/// Appends an unfragmented, uncompressed message: what publish stores, once for every client.
pub fn encode_frame(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    append_frame(kind, false, payload, out);
}

#[inline]
pub(super) fn append_frame(kind: Kind, compressed: bool, payload: &[u8], out: &mut Vec<u8>) {
    let header = frame_header(kind, compressed, payload.len());
    out.reserve(OWN_HEADER_BYTES_MAX + payload.len());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a control frame whose payload is `parts` together, which the caller keeps within [`CONTROL_BYTES_MAX`].
pub(super) fn write_control(opcode: Opcode, parts: &[&[u8]], out: &mut Vec<u8>) {
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(
        payload_bytes <= CONTROL_BYTES_MAX,
        "a control frame is short"
    );
    let Ok(length) = u8::try_from(payload_bytes) else {
        return;
    };
    out.extend_from_slice(&[FIN | opcode as u8, length]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The header that a client would send, the long way round.
    fn client_header(first: u8, payload_bytes: u64, mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![first];
        match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(length @ 0..=125), _) => bytes.push(MASKED | length),
            (_, Ok(length)) => {
                bytes.push(MASKED | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(MASKED | 127);
                bytes.extend(payload_bytes.to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_identity(
            fin: bool,
            compressed: bool,
            mask: [u8; 4],
            payload_bytes in prop_oneof![0_u64..300, 65_500_u64..65_600, any::<u64>().prop_map(|bytes| bytes >> 1)],
        ) {
            let first = 2 | if fin { FIN } else { 0 } | if compressed { RSV1 } else { 0 };
            let bytes = client_header(first, payload_bytes, mask);
            let header = Header { fin, compressed, opcode: Opcode::Binary, mask, payload_bytes };
            prop_assert_eq!(parse_header(&bytes), Ok(Some((header, bytes.len()))));
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse_header(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn a_fault_stays_a_fault_when_more_bytes_come(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut verdict = Ok(None);
            for cut in 0..=bytes.len() {
                let next = parse_header(&bytes[..cut]);
                if verdict != Ok(None) {
                    prop_assert_eq!(&next, &verdict);
                }
                verdict = next;
            }
        }
    }

    #[test]
    fn own_headers_use_the_shortest_length() {
        let header = |bytes| frame_header(Kind::Text, false, bytes).as_bytes().to_vec();
        assert_eq!(header(0), [0x81, 0]);
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(frame_header(Kind::Binary, true, 5).as_bytes(), [0xc2, 5]);
    }

    #[test]
    fn lengths_are_minimal_and_have_no_top_bit() {
        let long = |bytes: u64| [&[0x82, 0xff][..], &bytes.to_be_bytes()].concat();
        assert_eq!(
            parse_header(&[0x82, 0xfe, 0, 125]),
            Err(Violation::LengthNotMinimal)
        );
        assert_eq!(
            parse_header(&long(65_535)),
            Err(Violation::LengthNotMinimal)
        );
        assert_eq!(parse_header(&long(1 << 63)), Err(Violation::LengthTopBit));
        assert_eq!(
            parse_header(&long(65_536)),
            Ok(None),
            "the mask is still to come"
        );
    }
}
