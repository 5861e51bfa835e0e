//! Autobahn section 9: large messages, many fragments, small reads, many messages.

use bellwether::protocol::websocket::{DeflatePolicy, Limits};

use crate::peer::{BINARY, EchoServer, TEXT, client_message, parse_server_frames};

const LIMITS: Limits = Limits {
    message_bytes_max: 16 << 20,
    fragments_max: 131_072,
};

fn payload(opcode: u8, bytes: usize) -> Vec<u8> {
    let pattern: &[u8] = if opcode == TEXT {
        b"BAsd7&jh23"
    } else {
        b"\x00\xfe\x23\xfa\xf0\x80\xff"
    };
    pattern.iter().copied().cycle().take(bytes).collect()
}

/// Echoes one message that is cut into frames of `fragment_bytes` and reads of `read_bytes`.
fn check(number: &str, opcode: u8, bytes: usize, fragment_bytes: usize, read_bytes: usize) {
    let payload = payload(opcode, bytes);
    let mut server = EchoServer::new(LIMITS, DeflatePolicy::default(), None);
    for read in client_message(opcode, false, &payload, fragment_bytes).chunks(read_bytes) {
        server.feed(read);
    }
    let frames = parse_server_frames(&server.out);
    assert_eq!(frames.len(), 1, "case {number}");
    assert_eq!(frames[0].opcode, opcode, "case {number}");
    assert!(
        frames[0].payload == payload,
        "case {number}: the payload comes back"
    );
    assert!(server.is_idle(), "case {number}: nothing is kept");
}

#[test]
fn large_messages() {
    for (section, opcode) in [(1, TEXT), (2, BINARY)] {
        for (case, kibibytes) in [
            (1, 64),
            (2, 256),
            (3, 1024),
            (4, 4096),
            (5, 8192),
            (6, 16_384),
        ] {
            let bytes = kibibytes << 10;
            check(&format!("9.{section}.{case}"), opcode, bytes, bytes, 65_536);
        }
    }
}

#[test]
fn four_mebibytes_in_fragments() {
    let sizes = [
        64,
        256,
        1 << 10,
        4 << 10,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
        4 << 20,
    ];
    for (section, opcode) in [(3, TEXT), (4, BINARY)] {
        for (case, fragment_bytes) in (1..).zip(sizes) {
            check(
                &format!("9.{section}.{case}"),
                opcode,
                4 << 20,
                fragment_bytes,
                65_536,
            );
        }
    }
}

#[test]
fn one_mebibyte_in_small_reads() {
    for (section, opcode) in [(5, TEXT), (6, BINARY)] {
        for (case, read_bytes) in (1..).zip([64, 128, 256, 512, 1024, 2048]) {
            check(
                &format!("9.{section}.{case}"),
                opcode,
                1 << 20,
                1 << 20,
                read_bytes,
            );
        }
    }
}

#[test]
fn a_thousand_messages_in_a_row() {
    for (section, opcode) in [(7, TEXT), (8, BINARY)] {
        for (case, bytes) in (1..).zip([0, 16, 64, 256, 1024, 4096]) {
            let payload = payload(opcode, bytes);
            let mut server = EchoServer::new(LIMITS, DeflatePolicy::default(), None);
            let wire = client_message(opcode, false, &payload, usize::MAX).repeat(1000);
            for read in wire.chunks(65_536) {
                server.feed(read);
            }
            let frames = parse_server_frames(&server.out);
            assert_eq!(frames.len(), 1000, "case 9.{section}.{case}");
            assert!(
                frames.iter().all(|frame| frame.payload == payload),
                "case 9.{section}.{case}"
            );
            assert!(server.is_idle(), "case 9.{section}.{case}: nothing is kept");
        }
    }
}
