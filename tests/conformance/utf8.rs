//! Autobahn 6.5 to 6.23: one text message for each octet sequence, whole and in fragments of one octet.

use bellwether::protocol::websocket::{DeflatePolicy, Limits};

use crate::peer::{CLOSE, EchoServer, ServerFrame, TEXT, client_message, parse_server_frames};

/// Octets of a hexadecimal number.
fn from_hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn valid_sequences_are_echoed_and_invalid_ones_are_1007() {
    let lines = include_str!("cases/utf8.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let mut cases = 0;
    for line in lines {
        let mut words = line.split(' ');
        let (number, verdict) = (words.next().unwrap(), words.next().unwrap());
        let octets = from_hex(words.next().unwrap());
        for fragment_bytes in [octets.len(), 1] {
            let mut server = EchoServer::new(Limits::default(), DeflatePolicy::default(), None);
            server.feed(&client_message(TEXT, false, &octets, fragment_bytes));
            let frames = parse_server_frames(&server.out);
            let [
                ServerFrame {
                    opcode, payload, ..
                },
            ] = frames.as_slice()
            else {
                panic!("case {number}: one answer, not {frames:?}");
            };
            match verdict {
                "valid" => assert_eq!((*opcode, payload), (TEXT, &octets), "case {number}"),
                "invalid" => {
                    assert_eq!(
                        (*opcode, &payload[..2]),
                        (CLOSE, &[0x03, 0xef][..]),
                        "case {number}"
                    );
                }
                other => panic!("case {number}: no such verdict: {other}"),
            }
        }
        cases += 1;
    }
    assert_eq!(cases, 132, "number of sequences in the file");
}
