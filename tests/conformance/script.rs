//! Runs the case files. A case is a head line and the lines of a conversation:
//!
//! ```text
//! case 5.6 a ping between two fragments
//! > text- "fragment1"          the client sends; `-` means no FIN
//! > ping "ping payload"
//! < pong "ping payload"        the server must have answered exactly this by now
//! > cont "fragment2"
//! < text "fragment1fragment2"
//! ```
//!
//! Frames are `text`, `binary`, `cont`, `close`, `ping`, `pong` or `op11`, then `rsv5` or `unmasked`, a close code, and strings with `\xNN` escapes that
//! `*N` repeats. `> head text 20` sends the header of a frame of 20 bytes and `> more "..."` a piece of its payload; `> raw 81 ff` sends
//! bytes as they are. `< close 1000` is the server's part of a clean closing handshake, `< fail 1002` its close frame after a fault.
//! `limit 10` sets the message limit in bytes, `fragments 3` the fragment limit. A case that is still open at its end is closed with 1000.

use std::fmt::Write as _;

use bellwether::protocol::websocket::{DeflatePolicy, Limits, apply_mask};

use crate::peer::{
    BINARY, CLOSE, CONTINUATION, EchoServer, FIN, MASK, PING, PONG, ServerFrame, TEXT,
    client_frame, client_header, parse_server_frames,
};

struct Case {
    name: String,
    limits: Limits,
    steps: Vec<Step>,
}

enum Step {
    Send(Vec<u8>),
    Expect(String),
}

/// How a case's bytes are cut into reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    AsWritten,
    Octets,
    OnePiece,
}

/// Runs every case of a file in every cut; `cases` guards against losing some.
pub(crate) fn check_file(text: &str, cases: usize) {
    let parsed = parse(text);
    assert_eq!(parsed.len(), cases, "number of cases in the file");
    for case in &parsed {
        for cut in [Cut::AsWritten, Cut::Octets, Cut::OnePiece] {
            check(case, cut);
        }
    }
}

fn check(case: &Case, cut: Cut) {
    let mut server = EchoServer::new(case.limits, DeflatePolicy::default(), None);
    let mut held = Vec::new();
    let mut expected = Vec::new();
    for (index, step) in case.steps.iter().enumerate() {
        match (step, cut) {
            (Step::Send(bytes), Cut::AsWritten) => server.feed(bytes),
            (Step::Send(bytes), Cut::Octets) => bytes.iter().for_each(|byte| server.feed(&[*byte])),
            (Step::Send(bytes), Cut::OnePiece) => held.extend(bytes),
            (Step::Expect(line), _) => {
                expected.push(line.clone());
                let is_last = !matches!(case.steps.get(index + 1), Some(Step::Expect(_)));
                if is_last && cut != Cut::OnePiece {
                    assert_eq!(transcript(&server), expected, "case {} {cut:?}", case.name);
                }
            }
        }
    }
    server.feed(&held);
    if server.closed.is_none() {
        server.feed(&client_frame(FIN | CLOSE, &1000_u16.to_be_bytes()));
        expected.push("close 1000".to_owned());
    }
    assert_eq!(
        transcript(&server),
        expected,
        "case {} {cut:?}, at its end",
        case.name
    );
    assert!(
        server.is_idle(),
        "case {} {cut:?} keeps memory after its end",
        case.name
    );
}

/// What the server sent, in the words of the case files.
fn transcript(server: &EchoServer) -> Vec<String> {
    parse_server_frames(&server.out)
        .into_iter()
        .map(
            |ServerFrame {
                 opcode,
                 compressed,
                 payload,
             }| {
                assert!(!compressed, "nothing was agreed");
                match opcode {
                    TEXT => format!("text {}", quoted(&payload)),
                    BINARY => format!("binary {}", quoted(&payload)),
                    PONG => format!("pong {}", quoted(&payload)),
                    CLOSE => close_line(server, &payload),
                    other => panic!("the server sent opcode {other}"),
                }
            },
        )
        .collect()
}

fn close_line(server: &EchoServer, payload: &[u8]) -> String {
    let closed = server
        .closed
        .as_ref()
        .expect("a close frame goes with the event");
    assert_eq!(closed.clean, closed.fault.is_none());
    let word = if closed.clean { "close" } else { "fail" };
    match payload {
        [] => {
            assert_eq!(closed.code.0, 1005);
            word.to_owned()
        }
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            assert_eq!(closed.code.0, code);
            assert_eq!(
                reason.is_empty(),
                closed.clean,
                "a fault is named, an echo has no reason"
            );
            format!("{word} {code}")
        }
        [_] => panic!("a close frame of one byte"),
    }
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            cases.push(Case {
                name: rest.to_owned(),
                limits: Limits::default(),
                steps: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a case begins before its lines");
        match word {
            ">" => case.steps.push(Step::Send(client_bytes(rest))),
            "<" => case.steps.push(Step::Expect(expected_line(rest))),
            "limit" => case.limits.message_bytes_max = rest.parse().unwrap(),
            "fragments" => case.limits.fragments_max = rest.parse().unwrap(),
            _ => panic!("no such line: {line}"),
        }
    }
    cases
}

/// Strings written out, so that `"a"*3` equals `"aaa"`.
fn expected_line(line: &str) -> String {
    match line.split_once('"') {
        Some((word, _)) => format!("{word}{}", quoted(&string_bytes(line))),
        None => line.to_owned(),
    }
}

fn client_bytes(line: &str) -> Vec<u8> {
    let words_end = line.find('"').unwrap_or(line.len());
    let mut words = line[..words_end].split_whitespace();
    let name = words.next().expect("a frame has a name");
    match name {
        "raw" => {
            return words
                .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                .collect();
        }
        "head" => {
            let first = FIN | opcode(words.next().unwrap());
            return client_header(first, words.next().unwrap().parse().unwrap());
        }
        // Cases that cut a payload do so at multiples of four, so the mask starts over.
        "more" => {
            let mut piece = string_bytes(line);
            apply_mask(MASK, 0, &mut piece);
            return piece;
        }
        _ => {}
    }
    let (name, fin) = name.strip_suffix('-').map_or((name, FIN), |name| (name, 0));
    let mut first = fin | opcode(name);
    let mut payload = Vec::new();
    let mut is_masked = true;
    for word in words {
        if let Some(bits) = word.strip_prefix("rsv") {
            first |= bits.parse::<u8>().unwrap() << 4;
        } else if word == "unmasked" {
            is_masked = false;
        } else {
            payload.extend(word.parse::<u16>().unwrap().to_be_bytes());
        }
    }
    payload.extend(string_bytes(line));
    if is_masked {
        client_frame(first, &payload)
    } else {
        let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload);
        frame
    }
}

fn opcode(name: &str) -> u8 {
    match name {
        "cont" => CONTINUATION,
        "text" => TEXT,
        "binary" => BINARY,
        "close" => CLOSE,
        "ping" => PING,
        "pong" => PONG,
        other => other.strip_prefix("op").unwrap().parse().unwrap(),
    }
}

/// The bytes of all strings of a line, each with its repetition.
fn string_bytes(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = line.split('"').skip(1);
    while let (Some(string), after) = (parts.next(), parts.next().unwrap_or("")) {
        let times = after
            .trim()
            .strip_prefix('*')
            .map_or(1, |times| times.trim().parse().unwrap());
        bytes.extend(unescaped(string).repeat(times));
    }
    bytes
}

fn unescaped(string: &str) -> Vec<u8> {
    let mut pieces = string.split("\\x");
    let mut bytes = pieces.next().unwrap_or("").as_bytes().to_vec();
    for piece in pieces {
        let (digits, text) = piece.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            other => write!(text, "\\x{other:02x}").unwrap(),
        }
    }
    text.push('"');
    text
}
