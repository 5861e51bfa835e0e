//! A connection that is cut anywhere and moved goes on as if nothing had happened.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;

use super::super::{Agreed, Codec, DeflatePolicy, Event, Limits};
use super::*;

const AGREED: Agreed = Agreed {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: None,
};

fn codec() -> Codec {
    Codec::new(Limits::default(), DeflatePolicy::default())
}

/// Everything that happens when `input` is received.
fn events(connection: &mut Connection, input: &[u8], out: &mut Vec<u8>) -> Vec<String> {
    let mut codec = codec();
    let mut input = input.to_vec();
    let mut rest = &mut input[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let step = connection.receive(rest, &mut codec, out);
        let consumed = step.consumed;
        if let Some(event) = step.event {
            events.push(match event {
                Event::Message { kind, payload } => format!("{kind:?} {payload:?}"),
                other @ (Event::Ping(_) | Event::Pong(_) | Event::Closed(_)) => {
                    format!("{other:?}")
                }
            });
        }
        rest = &mut rest[consumed..];
    }
    events
}

fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = Header {
        fin: first & FIN != 0,
        compressed: first & RSV1 != 0,
        opcode: [
            Opcode::Continuation,
            Opcode::Text,
            Opcode::Binary,
            Opcode::Ping,
        ][usize::from(first & 3)],
        mask,
        payload_bytes: payload.len() as u64,
    };
    let mut bytes = Vec::new();
    write_cut_frame(&header, payload, &mut bytes);
    bytes
}

fn compressed(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(codec().encode_shared_frame(Kind::Text, text.as_bytes(), &mut bytes));
    // Without the server's header: two bytes, or four for more than 125.
    let header_bytes = if bytes[1] == 126 { 4 } else { 2 };
    bytes.split_off(header_bytes)
}

/// A conversation with everything in it that can be cut.
fn conversation(mask: [u8; 4]) -> Vec<u8> {
    let deflated = compressed(&"grüße und küsse ".repeat(40));
    let (first, second) = deflated.split_at(deflated.len() / 2);
    [
        frame(FIN | 1, mask, "ein grüner Baum".as_bytes()),
        frame(1, mask, "drei ü".as_bytes()),
        frame(FIN | 3, mask, b"ping"),
        frame(0, mask, b""),
        frame(0, mask, &"ü".repeat(100).as_bytes()[..101]),
        frame(FIN, mask, &"ü".repeat(100).as_bytes()[101..]),
        frame(2, mask, &[7; 300]),
        frame(FIN, mask, &[8; 70_000]),
        frame(RSV1 | 1, mask, first),
        frame(FIN, mask, second),
        frame(FIN | RSV1 | 1, mask, &deflated),
        frame(FIN | 2, mask, b""),
    ]
    .concat()
}

proptest! {
    #[test]
    fn a_moved_connection_goes_on_as_if_nothing_had_happened(
        mask in any::<[u8; 4]>(),
        cut in 0.0..1.0_f64,
    ) {
        let whole = conversation(mask);
        let mut expected_out = Vec::new();
        let mut stayed = Connection::new(Some(AGREED));
        let expected = events(&mut stayed, &whole, &mut expected_out);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any place will do")]
        // Long payloads are dull: half of the cuts go where the frames are small.
        let at = if cut < 0.5 { (cut * 2000.0) as usize } else { (cut * whole.len() as f64) as usize };
        let (before, after) = whole.split_at(at.min(whole.len()));
        let mut old = Connection::new(Some(AGREED));
        let mut out = Vec::new();
        let mut seen = events(&mut old, before, &mut out);
        let replay = old.replay().expect("it can be moved");
        let mut new = Connection::new(Some(AGREED));
        let mut nothing = Vec::new();
        prop_assert_eq!(events(&mut new, &replay, &mut nothing), Vec::<String>::new());
        prop_assert_eq!(nothing, Vec::<u8>::new());
        prop_assert_eq!(new.replay(), old.replay());
        seen.extend(events(&mut new, after, &mut out));
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(out, expected_out);
    }
}

#[test]
fn who_is_closing_stays() {
    let mut out = Vec::new();
    let mut closing = Connection::new(None);
    assert_eq!(closing.replay(), Some(Vec::new()));
    closing.close(None, "", &mut out);
    assert_eq!(closing.replay(), None);
}

#[test]
fn only_who_may_remember_comes_with_a_window() {
    let takeover = Agreed {
        client_no_context_takeover: false,
        ..AGREED
    };
    let mut codec = codec();
    for (agreed, window, may) in [
        (Some(takeover), &[7; 300][..], true),
        (Some(takeover), &[], true),
        (Some(takeover), &[7; 32 * 1024 + 1], false),
        (Some(AGREED), &[7; 300], false),
        (Some(AGREED), &[], true),
        (None, &[7], false),
        (None, &[], true),
    ] {
        let moved = Connection::with_window(agreed, window, &mut codec);
        assert_eq!(moved.is_some(), may, "{agreed:?}, {} bytes", window.len());
        if let Some(mut moved) = moved {
            assert_eq!(moved.window(&mut codec).as_deref(), Some(window));
        }
    }
}

/// The client's end of a conversation with compression: it never learns that the other end has moved.
struct Client {
    agreed: Agreed,
    compress: Compress,
    decompress: Decompress,
}

/// How a client sends a message.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Plain,
    Compressed,
    /// Compressed, in two fragments with a ping between them.
    Fragments,
    /// Compressed, with a final block, so that the compressor begins anew (RFC 7692 section 7.2.3.4).
    Final,
}

const MANNERS: [Manner; 4] = [
    Manner::Plain,
    Manner::Compressed,
    Manner::Fragments,
    Manner::Final,
];

impl Client {
    fn new(agreed: Agreed) -> Self {
        let bits = |named: Option<u8>| named.unwrap_or(15);
        let client_bits = bits(agreed.client_max_window_bits);
        let server_bits = bits(agreed.server_max_window_bits);
        Self {
            agreed,
            compress: Compress::new_with_window_bits(Compression::new(6), false, client_bits),
            decompress: Decompress::new_with_window_bits(false, server_bits),
        }
    }

    fn deflate(&mut self, text: &str, flush: FlushCompress) -> Vec<u8> {
        if self.agreed.client_no_context_takeover {
            self.compress.reset();
        }
        let mut deflated = Vec::with_capacity(text.len() * 2 + 1000);
        self.compress
            .compress_vec(text.as_bytes(), &mut deflated, flush)
            .unwrap();
        if let Some(shorter) = deflated.strip_suffix(&[0, 0, 0xff, 0xff]) {
            return shorter.to_vec();
        }
        // Nothing was flushed, or a final block is behind it all.
        self.compress.reset();
        deflated.push(0);
        deflated
    }

    fn say(&mut self, text: &str, manner: Manner, mask: [u8; 4]) -> Vec<u8> {
        match manner {
            Manner::Plain => frame(FIN | 1, mask, text.as_bytes()),
            Manner::Compressed => {
                let deflated = self.deflate(text, FlushCompress::Sync);
                frame(FIN | RSV1 | 1, mask, &deflated)
            }
            Manner::Fragments => {
                let deflated = self.deflate(text, FlushCompress::Sync);
                let (first, second) = deflated.split_at(deflated.len() / 2);
                [
                    frame(RSV1 | 1, mask, first),
                    frame(FIN | 3, mask, b"?"),
                    frame(FIN, mask, second),
                ]
                .concat()
            }
            Manner::Final => {
                let deflated = self.deflate(text, FlushCompress::Finish);
                frame(FIN | RSV1 | 1, mask, &deflated)
            }
        }
    }

    /// The texts of the server's frames; pongs are left out.
    fn hear(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut heard = Vec::new();
        while let [first, length, behind @ ..] = bytes {
            let (length, behind) = match length {
                126 => {
                    let (length, behind) = behind.split_first_chunk().unwrap();
                    (usize::from(u16::from_be_bytes(*length)), behind)
                }
                127 => {
                    let (length, behind) = behind.split_first_chunk().unwrap();
                    (
                        usize::try_from(u64::from_be_bytes(*length)).unwrap(),
                        behind,
                    )
                }
                short => (usize::from(*short), behind),
            };
            let (payload, rest) = behind.split_at(length);
            bytes = rest;
            match first & 0x4f {
                0x41 => heard.push(self.inflate(payload)),
                0x01 => heard.push(String::from_utf8(payload.to_vec()).unwrap()),
                _ => {}
            }
        }
        heard
    }

    fn inflate(&mut self, payload: &[u8]) -> String {
        if self.agreed.server_no_context_takeover {
            self.decompress.reset(false);
        }
        let mut inflated = Vec::with_capacity(1 << 20);
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        self.decompress
            .decompress_vec(&input, &mut inflated, FlushDecompress::Sync)
            .expect("a foreign inflater reads it");
        String::from_utf8(inflated).unwrap()
    }
}

/// The same connection in another worker; or here again, after it was described in vain.
fn moved(mut old: Connection, agreed: Agreed, comes_back: bool) -> Connection {
    let replay = old.replay().expect("it can be moved");
    let window = old.window(&mut codec()).expect("it is between two blocks");
    let mut new = Connection::with_window(Some(agreed), &window, &mut codec()).unwrap();
    let mut nothing = Vec::new();
    assert_eq!(events(&mut new, &replay, &mut nothing), [""; 0]);
    assert_eq!(nothing, b"");
    assert_eq!(new.replay(), Some(replay));
    assert!(new.window(&mut codec()) == Some(window));
    if comes_back { old } else { new }
}

/// One step of a conversation: who speaks, how, what, and where it is cut for a move.
type Step = (bool, usize, (usize, usize), Option<(f64, bool)>);

fn step() -> impl Strategy<Value = Step> {
    let text = (0_usize..30_000, 0_usize..12_000);
    let cut = proptest::option::of((0.0..1.0_f64, any::<bool>()));
    (any::<bool>(), 0..MANNERS.len(), text, cut)
}

/// A long text with little that repeats, so that what repeats lies far back.
fn book() -> String {
    let mut state = 77_u64;
    let numbers = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        format!("{:x} ü ", state >> 40)
    });
    numbers.take(6_000).collect::<String>()
}

fn slice_of(book: &str, (from, bytes): (usize, usize)) -> &str {
    let from = book.floor_char_boundary(from);
    &book[from..book.floor_char_boundary(from + bytes)]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "any place will do"
)]
fn place(cut: f64, bytes: usize) -> usize {
    ((cut * bytes as f64) as usize).min(bytes)
}

proptest! {
    #[test]
    fn a_conversation_with_takeover_goes_on_wherever_it_moves(
        takeovers in any::<(bool, bool)>(),
        bits in proptest::option::of((9_u8..=15, 9_u8..=15)),
        mask in any::<[u8; 4]>(),
        steps in proptest::collection::vec(step(), 1..16),
    ) {
        let agreed = Agreed {
            server_no_context_takeover: takeovers.0,
            client_no_context_takeover: takeovers.1,
            server_max_window_bits: bits.map(|bits| bits.0),
            client_max_window_bits: bits.map(|bits| bits.1),
        };
        let book = book();
        let mut client = Client::new(agreed);
        let mut server = Connection::new(Some(agreed));
        for (client_speaks, manner, text, cut) in steps {
            let text = slice_of(&book, text);
            if client_speaks {
                let bytes = client.say(text, MANNERS[manner], mask);
                let mut out = Vec::new();
                let (before, after) = bytes.split_at(place(cut.map_or(1.0, |cut| cut.0), bytes.len()));
                let mut heard = events(&mut server, before, &mut out);
                if let Some((_, comes_back)) = cut {
                    server = moved(server, agreed, comes_back);
                }
                heard.extend(events(&mut server, after, &mut out));
                heard.retain(|event| !event.starts_with("Ping"));
                prop_assert_eq!(heard, [format!("Text {:?}", text.as_bytes())]);
            } else {
                let mut out = Vec::new();
                server.send(Kind::Text, text.as_bytes(), &mut codec(), &mut out).unwrap();
                if let Some((_, comes_back)) = cut {
                    server = moved(server, agreed, comes_back);
                }
                server.send(Kind::Text, text.as_bytes(), &mut codec(), &mut out).unwrap();
                prop_assert_eq!(client.hear(&out), [text, text]);
            }
        }
    }
}
