//! A connection's state as bytes: what a fresh connection has to receive to be where this one is, and what the client's compressor
//! may still refer to.
//!
//! That is how a client moves to another process, even one of another version: the only format is the protocol's own. It must not know
//! where the bytes go.

use super::assembly::{Message, Partial, Reading};
use super::codec::Codec;
use super::connection::{Connection, State};
use super::extension::Agreed;
use super::frame::{Header, Kind, Opcode};
use super::mask::apply_mask;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

impl Connection {
    /// The bytes that bring a fresh connection with the same [`Connection::deflate`] and [`Connection::window`] to this one's state:
    /// received there they give no event and no answer. Empty between two messages.
    ///
    /// `None` for a connection that is closing.
    ///
    /// Of the fragments of an unfinished message the moved connection remembers the bytes, but counts them as one.
    #[must_use]
    pub fn replay(&self) -> Option<Vec<u8>> {
        if self.state != State::Open {
            return None;
        }
        let mut bytes = Vec::new();
        if let Some(partial) = &self.partial {
            write_partial(partial, &mut bytes);
        }
        Some(bytes)
    }

    /// The end of what the client has sent compressed, to which its next messages may refer (RFC 7692 section 7.2.2): at most 32 KiB,
    /// whatever smaller window it has promised, since all 32 KiB are understood here. Empty unless the client's compressor remembers
    /// earlier messages. The connection goes on as before.
    ///
    /// Our own compressor needs nothing of the kind: it begins anew elsewhere, where it does not refer to what was sent before.
    ///
    /// `None` when the client's last message broke off within a block, against section 7.2.1: no further one is accepted then.
    pub fn window(&mut self, codec: &mut Codec) -> Option<Vec<u8>> {
        let contexts = self.contexts.as_mut();
        match contexts.and_then(|contexts| contexts.inflater.as_mut()) {
            Some(inflater) => codec.window(inflater),
            None => Some(Vec::new()),
        }
    }

    /// A connection that was open elsewhere and had this window there. `None` if it cannot have had it.
    #[must_use]
    pub fn with_window(deflate: Option<Agreed>, window: &[u8], codec: &mut Codec) -> Option<Self> {
        let mut connection = Self::new(deflate);
        if !window.is_empty() {
            deflate.filter(|agreed| !agreed.client_no_context_takeover)?;
            let contexts = connection.contexts.get_or_insert_default();
            contexts.inflater = Some(codec.inflater_with(window)?);
        }
        Some(connection)
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
mod tests;
