//! A connection's half-read state as bytes: what a fresh connection has to receive to be where this one is.
//!
//! That is how a client moves to another process, even one of another version: the only format is the protocol's own. It must not know
//! where the bytes go.

use super::assembly::{Message, Partial, Reading};
use super::connection::{Connection, State};
use super::frame::{Header, Kind, Opcode};
use super::mask::apply_mask;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

impl Connection {
    /// The bytes that bring a fresh connection with the same [`Connection::deflate`] to this one's state: received there they give no
    /// event and no answer. Empty between two messages.
    ///
    /// `None` for a connection that cannot be moved so: one that is closing, or whose compression remembers earlier messages
    /// (context takeover).
    ///
    /// Of the fragments of an unfinished message the moved connection remembers the bytes, but counts them as one.
    #[must_use]
    pub fn replay(&self) -> Option<Vec<u8>> {
        if self.state != State::Open || self.contexts.is_some() {
            return None;
        }
        let mut bytes = Vec::new();
        if let Some(partial) = &self.partial {
            write_partial(partial, &mut bytes);
        }
        Some(bytes)
    }
}

fn write_partial(partial: &Partial, out: &mut Vec<u8>) {
    match &partial.reading {
        Reading::Data { header, arrived } => {
            let payload = partial
                .message
                .as_ref()
                .map_or(&[][..], |message| &message.payload);
            let (earlier, current) = payload.split_at(payload.len().saturating_sub(*arrived));
            if let (Some(message), Opcode::Continuation) = (&partial.message, header.opcode) {
                write_fragment(message, earlier, out);
            }
            write_cut_frame(header, current, out);
        }
        Reading::Nothing => write_message(partial.message.as_ref(), out),
        Reading::Header(so_far) => {
            write_message(partial.message.as_ref(), out);
            out.extend_from_slice(so_far.as_slice());
        }
        Reading::Control { header, payload } => {
            write_message(partial.message.as_ref(), out);
            write_cut_frame(header, payload.as_slice(), out);
        }
    }
}

fn write_message(message: Option<&Message>, out: &mut Vec<u8>) {
    if let Some(message) = message {
        write_fragment(message, &message.payload, out);
    }
}

/// All fragments so far as the first one.
fn write_fragment(message: &Message, payload: &[u8], out: &mut Vec<u8>) {
    let header = Header {
        fin: false,
        compressed: message.compressed,
        opcode: match message.kind {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        },
        mask: [0; 4],
        payload_bytes: payload.len() as u64,
    };
    write_cut_frame(&header, payload, out);
}

/// A client's frame of which only `arrived` has come.
fn write_cut_frame(header: &Header, arrived: &[u8], out: &mut Vec<u8>) {
    let fin = if header.fin { FIN } else { 0 };
    let compressed = if header.compressed { RSV1 } else { 0 };
    out.push(fin | compressed | header.opcode as u8);
    match (
        u8::try_from(header.payload_bytes),
        u16::try_from(header.payload_bytes),
    ) {
        (Ok(short @ 0..=125), _) => out.push(MASKED | short),
        (_, Ok(middle)) => {
            out.push(MASKED | 126);
            out.extend(middle.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(MASKED | 127);
            out.extend(header.payload_bytes.to_be_bytes());
        }
    }
    out.extend(header.mask);
    let payload_at = out.len();
    out.extend_from_slice(arrived);
    apply_mask(
        header.mask,
        0,
        out.get_mut(payload_at..).unwrap_or_default(),
    );
}

#[cfg(test)]
mod tests {
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
    fn who_is_closing_or_remembers_stays() {
        let mut out = Vec::new();
        let mut closing = Connection::new(None);
        assert_eq!(closing.replay(), Some(Vec::new()));
        closing.close(None, "", &mut out);
        assert_eq!(closing.replay(), None);

        let takeover = Agreed {
            client_no_context_takeover: false,
            ..AGREED
        };
        let mut remembering = Connection::new(Some(takeover));
        assert_eq!(
            remembering.replay(),
            Some(Vec::new()),
            "nothing to remember yet"
        );
        let message = frame(FIN | RSV1 | 1, [0; 4], &compressed(&"x".repeat(400)));
        assert_eq!(events(&mut remembering, &message, &mut out).len(), 1);
        assert_eq!(remembering.replay(), None);
    }
}
