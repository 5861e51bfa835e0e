//! RFC 7692 beyond Autobahn: its own examples, what a message may refer to, bombs, faults, and frames compressed for everyone.

use bellwether::protocol::websocket::{
    Codec, DeflatePolicy, Kind, Limits, Offer, Violation, negotiate,
};
use flate2::{Compress, Compression, FlushCompress};

use crate::deflate::{AS_OFFERED, Client, PLAIN, deflated, test_data};
use crate::peer::{
    BINARY, CLOSE, CONTINUATION, EchoServer, FIN, PING, PONG, RSV1, TEXT, client_frame,
    client_message, parse_server_frames,
};

/// A server that agreed to the default policy, and what it makes of one compressed message.
fn server(limits: Limits, takeover: bool) -> EchoServer {
    let policy = if takeover {
        AS_OFFERED
    } else {
        DeflatePolicy::default()
    };
    let agreed = negotiate(&[PLAIN], &policy).unwrap();
    EchoServer::new(limits, policy, Some(agreed))
}

fn echo_of(opcode: u8, compressed: &[u8]) -> Result<Vec<u8>, Violation> {
    let mut results = Vec::new();
    for takeover in [false, true] {
        for read_bytes in [1, usize::MAX] {
            let mut server = server(Limits::default(), takeover);
            for read in client_frame(FIN | RSV1 | opcode, compressed).chunks(read_bytes) {
                server.feed(read);
            }
            results.push(match server.closed.and_then(|closed| closed.fault) {
                Some(fault) => Err(fault),
                None => Ok(parse_server_frames(&server.out).swap_remove(0).payload),
            });
        }
    }
    let first = results.swap_remove(0);
    assert!(
        results.iter().all(|result| *result == first),
        "{first:?} but {results:?}"
    );
    first
}

/// RFC 7692 sections 7.2.3.1 to 7.2.3.5, byte for byte.
#[test]
fn the_examples_of_the_rfc() {
    let hello = Ok(b"Hello".to_vec());
    assert_eq!(
        echo_of(TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        hello,
        "one block"
    );
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(echo_of(TEXT, &stored), hello, "a block without compression");
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(echo_of(TEXT, &last), hello, "a block with BFINAL");
    let two = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(echo_of(TEXT, &two), hello, "two blocks");
    assert_eq!(echo_of(TEXT, &[0x00]), Ok(Vec::new()), "an empty message");
    assert_eq!(echo_of(TEXT, &[]), Ok(Vec::new()), "no payload at all");
    assert_eq!(
        echo_of(TEXT, &last[..7]),
        hello,
        "BFINAL without the byte behind it"
    );
}

/// RFC 7692 section 7.2.3.2: the second message refers to the first.
#[test]
fn a_message_may_refer_to_the_one_before() {
    let wire = [
        client_frame(
            FIN | RSV1 | TEXT,
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ),
        client_frame(FIN | RSV1 | TEXT, &[0xf2, 0x00, 0x11, 0x00, 0x00]),
    ]
    .concat();
    let mut remembering = server(Limits::default(), true);
    remembering.feed(&wire);
    let echoes = parse_server_frames(&remembering.out);
    assert!(
        echoes.len() == 2 && remembering.closed.is_none(),
        "{:?}",
        remembering.closed
    );
}

/// What one client sent must never be readable by another, whose messages the same inflater reads.
#[test]
fn nothing_of_a_message_is_left_for_the_next() {
    let wire = [
        client_frame(
            FIN | RSV1 | TEXT,
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ),
        client_frame(FIN | RSV1 | TEXT, &[0xf2, 0x00, 0x11, 0x00, 0x00]),
    ]
    .concat();
    let mut forgetting = server(Limits::default(), false);
    forgetting.feed(&wire);
    let closed = forgetting.closed.expect("the reference leads nowhere");
    assert_eq!(closed.fault, Some(Violation::BadDeflate));
}

#[test]
fn what_does_not_inflate_is_1007() {
    assert_eq!(
        echo_of(BINARY, &[0xff, 0xff, 0xff]),
        Err(Violation::BadDeflate)
    );
    assert_eq!(
        echo_of(BINARY, b"plain text, not compressed"),
        Err(Violation::BadDeflate)
    );
    let mut compress = Compress::new(Compression::new(6), false);
    let not_text = deflated(&mut compress, b"ok so far \xff", FlushCompress::Sync);
    assert_eq!(
        echo_of(TEXT, &not_text[..not_text.len() - 4]),
        Err(Violation::NotUtf8)
    );
    assert_eq!(
        echo_of(BINARY, &not_text[..not_text.len() - 4]).as_deref(),
        Ok(&b"ok so far \xff"[..])
    );
    let half_character = deflated(
        &mut Compress::new(Compression::new(6), false),
        b"\xe2\x82",
        FlushCompress::Sync,
    );
    assert_eq!(
        echo_of(TEXT, &half_character[..half_character.len() - 4]),
        Err(Violation::NotUtf8)
    );
}

#[test]
fn a_bomb_is_1009_while_it_inflates() {
    let limits = Limits {
        message_bytes_max: 1 << 20,
        ..Limits::default()
    };
    for takeover in [false, true] {
        for (bytes, fault) in [
            (1 << 20, None),
            ((1 << 20) + 1, Some(Violation::MessageTooBig)),
            (64 << 20, Some(Violation::MessageTooBig)),
        ] {
            let mut compress = Compress::new(Compression::new(9), false);
            let mut bomb = deflated(&mut compress, &vec![0; bytes], FlushCompress::Sync);
            bomb.truncate(bomb.len() - 4);
            assert!(bomb.len() < 100_000, "a small frame");
            let mut server = server(limits, takeover);
            server.feed(&client_frame(FIN | RSV1 | BINARY, &bomb));
            assert_eq!(
                server.closed.and_then(|closed| closed.fault),
                fault,
                "{bytes} bytes"
            );
        }
    }
}

#[test]
fn incompressible_data_of_the_limit_still_comes_through() {
    let limits = Limits {
        message_bytes_max: 100_000,
        ..Limits::default()
    };
    let (_, noise) = test_data(4, 100_000, 1);
    let mut compress = Compress::new(Compression::new(6), false);
    let mut compressed = deflated(&mut compress, &noise, FlushCompress::Sync);
    compressed.truncate(compressed.len() - 4);
    assert!(compressed.len() > noise.len(), "it grew");
    let mut server = server(limits, false);
    server.feed(&client_frame(FIN | RSV1 | BINARY, &compressed));
    assert_eq!(server.closed, None);
    // Nor does the server send what grew.
    assert!(
        parse_server_frames(&server.out)
            .iter()
            .all(|frame| !frame.compressed)
    );
}

#[test]
fn only_the_first_frame_says_that_a_message_is_compressed() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let mut good = server(Limits::default(), false);
    good.feed(&client_frame(RSV1 | TEXT, &hello[..3]));
    good.feed(&client_frame(FIN | PING, b"?"));
    good.feed(&client_frame(CONTINUATION, b""));
    good.feed(&client_frame(FIN | CONTINUATION, &hello[3..]));
    let frames = parse_server_frames(&good.out);
    assert_eq!(
        (frames[0].opcode, frames[1].payload.as_slice()),
        (PONG, &b"Hello"[..])
    );

    let mut bad = server(Limits::default(), false);
    bad.feed(&client_frame(RSV1 | TEXT, &hello[..3]));
    bad.feed(&client_frame(FIN | RSV1 | CONTINUATION, &hello[3..]));
    assert_eq!(
        bad.closed.and_then(|closed| closed.fault),
        Some(Violation::ReservedBit)
    );

    let mut control = server(Limits::default(), false);
    control.feed(&client_frame(FIN | RSV1 | PING, &hello));
    assert_eq!(
        control.closed.and_then(|closed| closed.fault),
        Some(Violation::ReservedBit)
    );
}

#[test]
fn plain_and_compressed_messages_may_alternate() {
    for policy in [
        AS_OFFERED,
        DeflatePolicy {
            threshold_bytes: 50,
            ..AS_OFFERED
        },
    ] {
        let agreed = negotiate(&[PLAIN], &policy).unwrap();
        let mut client = Client::new(agreed);
        let mut server = EchoServer::new(Limits::default(), policy, Some(agreed));
        for message in 0..20 {
            let (_, payload) =
                test_data(if message % 5 == 4 { 4 } else { 0 }, 10 + 20 * message, 1);
            let wire = if message % 2 == 0 {
                client_frame(FIN | BINARY, &payload)
            } else {
                client_message(BINARY, true, &client.compress(&payload), 30)
            };
            server.feed(&wire);
            let frame = parse_server_frames(&server.out).swap_remove(0);
            assert!(!frame.compressed || payload.len() >= policy.threshold_bytes);
            let echo = if frame.compressed {
                client.inflate(&frame.payload)
            } else {
                frame.payload
            };
            assert_eq!(echo, payload, "message {message}");
            server.out.clear();
        }
        server.feed(&client_frame(FIN | CLOSE, &[]));
        assert!(server.is_idle(), "a closed connection keeps no context");
    }
}

#[test]
fn a_frame_for_everyone_is_compressed_once() {
    let mut codec = Codec::new(Limits::default(), DeflatePolicy::default());
    let text = "news ".repeat(100);
    let mut shared = Vec::new();
    assert!(codec.encode_shared_frame(Kind::Text, text.as_bytes(), &mut shared));
    let frame = parse_server_frames(&shared).swap_remove(0);
    assert!(frame.compressed && frame.payload.len() < 60);
    for offer in [
        PLAIN,
        Offer {
            client_no_context_takeover: true,
            ..PLAIN
        },
    ] {
        let agreed = negotiate(&[offer], &DeflatePolicy::default()).unwrap();
        assert!(agreed.shares_broadcast());
        assert_eq!(Client::new(agreed).inflate(&frame.payload), text.as_bytes());
    }
    let before = shared.clone();
    assert!(
        !codec.encode_shared_frame(Kind::Text, b"short", &mut shared),
        "below the threshold"
    );
    let (_, noise) = test_data(4, 500, 1);
    assert!(
        !codec.encode_shared_frame(Kind::Binary, &noise, &mut shared),
        "does not get smaller"
    );
    assert_eq!(shared, before);
}
