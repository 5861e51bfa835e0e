//! The two ends of a test: a client's frames as bytes, and an echo server around a [`Connection`].

use bellwether::protocol::websocket::{
    Agreed, Closed, Codec, Connection, DeflatePolicy, Event, Kind, Limits, apply_mask,
};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
/// Of no meaning but that all four bytes differ and none is zero.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame header: first byte, announced length, mask.
pub(crate) fn client_header(first: u8, payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length @ 0..=125), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame
}

/// A whole client frame.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client_header(first, payload.len());
    let start = frame.len();
    frame.extend(payload);
    apply_mask(MASK, 0, &mut frame[start..]);
    frame
}

/// A message cut into frames of `fragment_bytes`; `rsv1` marks the first as compressed.
pub(crate) fn client_message(
    opcode: u8,
    rsv1: bool,
    payload: &[u8],
    fragment_bytes: usize,
) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut pieces = payload.chunks(fragment_bytes.max(1)).peekable();
    let mut first = opcode | if rsv1 { RSV1 } else { 0 };
    if pieces.peek().is_none() {
        return client_frame(FIN | first, b"");
    }
    while let Some(piece) = pieces.next() {
        let fin = if pieces.peek().is_none() { FIN } else { 0 };
        wire.extend(client_frame(fin | first, piece));
        first = CONTINUATION;
    }
    wire
}

/// A frame that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerFrame {
    pub(crate) opcode: u8,
    pub(crate) compressed: bool,
    pub(crate) payload: Vec<u8>,
}

/// Takes whole frames apart; the server neither masks nor fragments.
pub(crate) fn parse_server_frames(mut wire: &[u8]) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = wire {
        assert_eq!(first & 0xb0, FIN, "FIN and no RSV2, RSV3");
        assert!(*second < 0x80, "a server must not mask");
        let (bytes, rest) = match second {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            127 => (
                usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap(),
                &rest[8..],
            ),
            short => (usize::from(*short), rest),
        };
        let (payload, behind) = rest.split_at(bytes);
        frames.push(ServerFrame {
            opcode: first & 0x0f,
            compressed: first & RSV1 != 0,
            payload: payload.to_vec(),
        });
        wire = behind;
    }
    assert!(wire.is_empty(), "half a header at the end: {wire:?}");
    frames
}

/// Echoes messages and remembers how the connection ended.
pub(crate) struct EchoServer {
    connection: Connection,
    codec: Codec,
    pub(crate) out: Vec<u8>,
    pub(crate) closed: Option<Closed>,
}

impl EchoServer {
    pub(crate) fn new(limits: Limits, policy: DeflatePolicy, agreed: Option<Agreed>) -> Self {
        let codec = Codec::new(limits, policy);
        Self {
            connection: Connection::new(agreed),
            codec,
            out: Vec::new(),
            closed: None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.connection.is_idle()
    }

    /// Gives `bytes` to the connection as one read and answers what comes of it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut input = bytes.to_vec();
        let mut rest = input.as_mut_slice();
        loop {
            let step = self
                .connection
                .receive(rest, &mut self.codec, &mut self.out);
            let consumed = step.consumed;
            match step.event {
                None => {
                    assert_eq!(
                        consumed,
                        rest.len(),
                        "without an event all input is consumed"
                    );
                    return;
                }
                Some(Event::Message { kind, payload }) => {
                    if kind == Kind::Text {
                        assert!(std::str::from_utf8(&payload).is_ok(), "text is UTF-8");
                    }
                    self.connection
                        .send(kind, &payload, &mut self.codec, &mut self.out)
                        .expect("a message comes only while open");
                }
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                Some(Event::Closed(closed)) => {
                    assert_eq!(self.closed.replace(closed), None, "the end is told once");
                    assert_eq!(
                        self.connection.end_of_stream(),
                        None,
                        "the end is told once"
                    );
                }
            }
            rest = &mut rest[consumed..];
        }
    }
}
