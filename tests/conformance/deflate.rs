//! Autobahn sections 12 and 13: a client that compresses as it was agreed, for each set of parameters and kind of data.

use bellwether::protocol::websocket::{Agreed, DeflatePolicy, Limits, Offer, negotiate};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::peer::{BINARY, EchoServer, TEXT, client_message, parse_server_frames};

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Takes what the client offers and asks for nothing itself; compresses everything.
pub(crate) const AS_OFFERED: DeflatePolicy = DeflatePolicy {
    enabled: true,
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_window_bits_max: 15,
    client_window_bits_max: 15,
    threshold_bytes: 0,
    level: 6,
};

pub(crate) const PLAIN: Offer = Offer {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: None,
    client_max_window_bits: Some(None),
};

/// The client's end: a compressor and an inflater that keep to the agreement.
pub(crate) struct Client {
    agreed: Agreed,
    compress: Compress,
    inflate: Decompress,
}

impl Client {
    pub(crate) fn new(agreed: Agreed) -> Self {
        // zlib has no raw window of 8 bits, so no client that uses it has either.
        let own_bits = agreed.client_max_window_bits.unwrap_or(15).max(9);
        let server_bits = agreed.server_max_window_bits.unwrap_or(15);
        Self {
            agreed,
            compress: Compress::new_with_window_bits(Compression::new(6), false, own_bits),
            inflate: Decompress::new_with_window_bits(false, server_bits),
        }
    }

    pub(crate) fn compress(&mut self, payload: &[u8]) -> Vec<u8> {
        if self.agreed.client_no_context_takeover {
            self.compress.reset();
        }
        let mut compressed = deflated(&mut self.compress, payload, FlushCompress::Sync);
        if compressed.is_empty() {
            // zlib flushes nothing twice; section 7.2.3.6 says what an empty message is.
            return vec![0];
        }
        assert!(compressed.ends_with(&TAIL));
        compressed.truncate(compressed.len() - TAIL.len());
        compressed
    }

    pub(crate) fn inflate(&mut self, compressed: &[u8]) -> Vec<u8> {
        if self.agreed.server_no_context_takeover {
            self.inflate = Decompress::new_with_window_bits(
                false,
                self.agreed.server_max_window_bits.unwrap_or(15),
            );
        }
        let mut out = Vec::with_capacity(1 << 20);
        let input = [compressed, &TAIL].concat();
        self.inflate
            .decompress_vec(&input, &mut out, FlushDecompress::Sync)
            .unwrap();
        out
    }
}

pub(crate) fn deflated(compress: &mut Compress, payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 1024);
    compress.compress_vec(payload, &mut out, flush).unwrap();
    out
}

/// Autobahn's five kinds of data, made here: text, a picture, a book, markup, noise.
pub(crate) fn test_data(kind: usize, bytes: usize, message: usize) -> (u8, Vec<u8>) {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(u32::try_from(message).unwrap() + 1) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut data = Vec::with_capacity(bytes + 64);
    while data.len() < bytes {
        match kind {
            0 => data.extend(
                format!(
                    "{{\"id\":{},\"name\":\"n{}\"}},",
                    random() % 1000,
                    random() % 9
                )
                .bytes(),
            ),
            1 => data.push(
                u8::try_from(data.len() / 7 % 256).unwrap() ^ u8::try_from(random() % 4).unwrap(),
            ),
            2 => data.extend(
                [
                    "Habe nun, ach! ",
                    "Philosophie, ",
                    "Juristerei und Medizin ",
                ][random() as usize % 3]
                    .bytes(),
            ),
            3 => data.extend(format!("<li class=\"c{}\">&amp;</li>\n", random() % 50).bytes()),
            _ => data.extend(random().to_le_bytes()),
        }
    }
    data.truncate(bytes);
    (if kind == 0 || kind == 3 { TEXT } else { BINARY }, data)
}

/// Sends messages compressed, in frames of `fragment_bytes`, and compares what comes back.
fn check(
    number: &str,
    offers: &[Offer],
    policy: DeflatePolicy,
    data_kind: usize,
    sizes: &[(usize, usize)],
) {
    let agreed =
        negotiate(offers, &policy).unwrap_or_else(|| panic!("case {number}: nothing agreed"));
    for &(bytes, fragment_bytes) in sizes {
        let mut client = Client::new(agreed);
        let mut server = EchoServer::new(Limits::default(), policy, Some(agreed));
        for message in 0..12 {
            let (opcode, payload) = test_data(data_kind, bytes, message);
            let compressed = client.compress(&payload);
            let wire = client_message(opcode, true, &compressed, fragment_bytes);
            // Every third message arrives in small reads.
            let read_bytes = if message % 3 == 0 { 100 } else { usize::MAX };
            for read in wire.chunks(read_bytes) {
                server.feed(read);
            }
            let frames = parse_server_frames(&server.out);
            assert_eq!(
                frames.len(),
                1,
                "case {number}, {bytes} bytes: {:?}",
                server.closed
            );
            assert_eq!(frames[0].opcode, opcode, "case {number}");
            let echoed = if frames[0].compressed {
                assert!(
                    frames[0].payload.len() < payload.len(),
                    "compressed only if smaller"
                );
                client.inflate(&frames[0].payload)
            } else {
                frames[0].payload.clone()
            };
            assert!(
                echoed == payload,
                "case {number}, {bytes} bytes, message {message}"
            );
            server.out.clear();
        }
        let keeps = !agreed.client_no_context_takeover || !agreed.server_no_context_takeover;
        assert_eq!(
            server.is_idle(),
            !keeps,
            "case {number}: only takeover keeps memory"
        );
    }
}

const SIZES: [(usize, usize); 12] = [
    (0, usize::MAX),
    (16, usize::MAX),
    (64, usize::MAX),
    (256, usize::MAX),
    (1024, usize::MAX),
    (4096, usize::MAX),
    (16_384, usize::MAX),
    (65_536, usize::MAX),
    (131_072, usize::MAX),
    (8192, 256),
    (131_072, 1024),
    (131_072, 32_768),
];

#[test]
fn the_default_offer_with_five_kinds_of_data() {
    for data_kind in 0..5 {
        check(
            &format!("12.{}", data_kind + 1),
            &[PLAIN],
            AS_OFFERED,
            data_kind,
            &SIZES,
        );
        check(
            &format!("12.{}", data_kind + 1),
            &[PLAIN],
            DeflatePolicy::default(),
            data_kind,
            &SIZES,
        );
    }
}

#[test]
fn every_set_of_parameters() {
    let offer = |server_no_context_takeover, server_max_window_bits| Offer {
        server_no_context_takeover,
        server_max_window_bits,
        ..PLAIN
    };
    let sets = [
        vec![PLAIN],
        vec![offer(true, None)],
        vec![offer(false, Some(9))],
        vec![offer(false, Some(15))],
        vec![offer(true, Some(9))],
        vec![offer(true, Some(15))],
        vec![offer(true, Some(9)), offer(true, None), PLAIN],
    ];
    for (case, offers) in (1..).zip(sets) {
        check(&format!("13.{case}"), &offers, AS_OFFERED, 0, &SIZES);
    }
}

#[test]
fn every_window_both_ways() {
    for bits in 9..=15 {
        for takeover in [false, true] {
            let offer = Offer {
                server_no_context_takeover: !takeover,
                client_no_context_takeover: !takeover,
                server_max_window_bits: Some(bits),
                client_max_window_bits: Some(Some(bits)),
            };
            check(
                &format!("window {bits}"),
                &[offer],
                AS_OFFERED,
                3,
                &[(100_000, 7000)],
            );
        }
    }
}
