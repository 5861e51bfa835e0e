//! What the fuzz targets check, as plain functions: the fuzzer calls them with its inputs, `tests/conformance` with the committed corpora.

use bellwether::protocol::http::{self, Parsed, decode_path, parse_request};
use bellwether::protocol::websocket::{
    Agreed, Closed, Codec, Connection, DeflatePolicy, Event, Limits, negotiate, origin_allowed,
    read_upgrade, write_accept,
};

/// A request head: nothing panics, the verdict does not depend on how the bytes were cut, an accepted handshake can be answered.
pub fn head(data: &[u8]) {
    let limits = http::Limits {
        head_bytes_max: 1024,
        headers_max: 16,
        target_bytes_max: 256,
    };
    let whole = verdict(data, &limits);
    let grown = (0..=data.len())
        .map(|end| verdict(data.get(..end).unwrap_or_default(), &limits))
        .find(|verdict| *verdict != Verdict::Partial)
        .unwrap_or(Verdict::Partial);
    assert_eq!(grown.status(), whole.status(), "byte by byte");
    let Ok(Parsed::Complete {
        value: request,
        consumed,
    }) = parse_request(data, &limits)
    else {
        return;
    };
    assert!(consumed <= data.len().min(limits.head_bytes_max));
    let _decoded = decode_path(request.path());
    let Ok(Some(upgrade)) = read_upgrade(&request) else {
        return;
    };
    assert_eq!(upgrade.key.len(), 24);
    let _allowed = origin_allowed(upgrade.origin, upgrade.host, &[]);
    let agreed = negotiate(&upgrade.offers, &DeflatePolicy::default());
    let mut out = Vec::new();
    write_accept(
        &upgrade,
        upgrade.subprotocols.first().copied(),
        agreed.as_ref(),
        &mut out,
    );
    assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"\r\n\r\n"));
    assert!(
        !out.windows(2)
            .any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
    );
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Partial,
    Complete(usize),
    Refused(u16),
}

impl Verdict {
    fn status(&self) -> (u16, usize) {
        match self {
            Self::Partial => (0, 0),
            Self::Complete(consumed) => (200, *consumed),
            Self::Refused(status) => (*status, 0),
        }
    }
}

fn verdict(data: &[u8], limits: &http::Limits) -> Verdict {
    match parse_request(data, limits) {
        Ok(Parsed::Partial) => Verdict::Partial,
        Ok(Parsed::Complete { consumed, .. }) => Verdict::Complete(consumed),
        Err(error) => Verdict::Refused(error.status().code()),
    }
}

/// Frames without an extension. The first byte says how the rest is cut into reads.
pub fn frame(data: &[u8]) {
    cut_makes_no_difference(data, None, DeflatePolicy::default());
}

/// Frames with compression. The lowest bits of the first byte choose takeover, the others how the rest is cut.
pub fn deflate(data: &[u8]) {
    let takeover = data.first().is_some_and(|byte| byte & 1 == 1);
    let agreed = Agreed {
        server_no_context_takeover: !takeover,
        client_no_context_takeover: !takeover,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    let policy = DeflatePolicy {
        threshold_bytes: 8,
        ..DeflatePolicy::default()
    };
    cut_makes_no_difference(data, Some(agreed), policy);
}

fn cut_makes_no_difference(data: &[u8], agreed: Option<Agreed>, policy: DeflatePolicy) {
    let Some((&cut, wire)) = data.split_first() else {
        return;
    };
    let whole = echo(wire, wire.len().max(1), agreed, policy);
    let cut = echo(wire, usize::from(cut >> 1) % 31 + 1, agreed, policy);
    assert_eq!(whole, cut);
}

/// All that can be seen of an echo server that reads `read_bytes` at a time.
fn echo(
    wire: &[u8],
    read_bytes: usize,
    agreed: Option<Agreed>,
    policy: DeflatePolicy,
) -> (Vec<u8>, Option<Closed>) {
    let limits = Limits {
        message_bytes_max: 4096,
        fragments_max: 8,
    };
    let mut codec = Codec::new(limits, policy);
    let mut connection = Connection::new(agreed);
    let mut out = Vec::new();
    let mut closed = None;
    for read in wire.chunks(read_bytes) {
        let mut input = read.to_vec();
        let mut rest = input.as_mut_slice();
        loop {
            let step = connection.receive(rest, &mut codec, &mut out);
            let consumed = step.consumed;
            match step.event {
                None => break,
                Some(Event::Message { kind, payload }) => {
                    assert!(payload.len() <= limits.message_bytes_max);
                    assert_eq!(closed, None, "nothing comes behind the end");
                    assert_eq!(
                        connection.send(kind, &payload, &mut codec, &mut out),
                        Ok(())
                    );
                }
                Some(Event::Ping(_) | Event::Pong(_)) => assert_eq!(closed, None),
                Some(Event::Closed(end)) => assert_eq!(closed.replace(end), None, "told once"),
            }
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }
    if closed.is_some() {
        assert!(connection.is_idle(), "nothing is kept");
    }
    (out, closed)
}
