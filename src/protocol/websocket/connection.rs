//! A connection after its opening handshake (RFC 6455 sections 5 to 7), server side: its state, and what the server sends. What a client
//! sends is read in `inbound`. It must not know sockets, clocks, channels or apps.
//!
//! ```text
//!            close()                peer's close frame
//!   Open ──────────────▶ LocalClosing ──────────────▶ Closed
//!     │  peer's close frame (answered), a fault (told      ▲
//!     └─ in a close frame), or the end of the stream ──────┘
//! ```

use super::assembly::Partial;
use super::close::{self, CloseCode, Closed};
use super::codec::Codec;
use super::deflate::{Deflater, Inflater};
use super::extension::Agreed;
use super::frame::{CONTROL_BYTES_MAX, Kind, Opcode, append_frame, write_control};

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Messages go both ways.
    Open,
    /// We sent a close frame and wait for the peer's; nothing is sent any more and messages that still come are dropped.
    LocalClosing,
    /// Both close frames are through, or the connection failed, or the stream ended; input is ignored.
    Closed,
}

/// Nothing can be sent, because a close frame was sent or the connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closing or closed")]
pub struct Closing;

/// One client's side of the protocol; a few words while nothing is half received and no compression context is kept.
#[derive(Debug)]
pub struct Connection {
    pub(super) state: State,
    pub(super) agreed: Option<Agreed>,
    /// Rare: only while a frame or a message is under way.
    pub(super) partial: Option<Box<Partial>>,
    /// Rare: only with context takeover, from the first compressed message on.
    pub(super) contexts: Option<Box<Contexts>>,
}

/// Deflate state that lives from one message to the next.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    pub(super) inflater: Option<Inflater>,
    pub(super) deflater: Option<Deflater>,
}

impl Connection {
    /// A connection whose handshake has just been answered, with what was agreed on compression.
    #[must_use]
    pub const fn new(deflate: Option<Agreed>) -> Self {
        Self {
            state: State::Open,
            agreed: deflate,
            partial: None,
            contexts: None,
        }
    }

    /// How far the connection is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What was agreed on compression.
    #[must_use]
    pub const fn deflate(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// Whether nothing is half received and no context is kept: then the connection is no more than this value.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none() && self.contexts.is_none()
    }

    /// Appends one message as one frame; compressed if that was agreed, the payload has the codec's threshold, and it gets smaller.
    ///
    /// A [`Kind::Text`] payload must be UTF-8; that is the caller's to know.
    ///
    /// # Errors
    /// [`Closing`] once a close frame was sent or the connection ended; nothing is appended then.
    pub fn send(
        &mut self,
        kind: Kind,
        payload: &[u8],
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) -> Result<(), Closing> {
        if self.state != State::Open {
            return Err(Closing);
        }
        if let Some(agreed) = self.agreed {
            let own = if agreed.server_no_context_takeover {
                None
            } else if payload.len() < codec.deflate_policy().threshold_bytes {
                // Too small to be compressed: no reason to make a context.
                append_frame(kind, false, payload, out);
                return Ok(());
            } else {
                Some(&mut self.contexts.get_or_insert_default().deflater)
            };
            if codec.append_compressed(agreed, own, kind, payload, out) {
                return Ok(());
            }
        }
        append_frame(kind, false, payload, out);
        Ok(())
    }

    /// Appends a ping, its payload cut to 125 bytes; nothing if the connection is not open.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if self.state == State::Open {
            let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
            write_control(Opcode::Ping, &[payload], out);
        }
    }

    /// Starts the closing handshake; does nothing if it has started or the connection ended.
    ///
    /// The reason is cut to 123 bytes at a character's end. Without a code, or with one that must not be sent
    /// ([`CloseCode::is_sendable`]), the frame is empty. What was half received is dropped.
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
        if self.state != State::Open {
            return;
        }
        close::write_close(code, reason, out);
        self.state = State::LocalClosing;
        self.contexts = None;
        if let Some(message) = self
            .partial
            .as_mut()
            .and_then(|partial| partial.message.as_mut())
        {
            message.payload = Vec::new();
        }
    }

    /// The peer's TCP stream ended. `None` if the end of the connection was told before.
    pub fn end_of_stream(&mut self) -> Option<Closed> {
        if self.state == State::Closed {
            return None;
        }
        self.end();
        Some(Closed {
            code: CloseCode::ABNORMAL,
            reason: String::new(),
            clean: false,
            fault: None,
        })
    }

    /// Nothing more will happen, so nothing is kept.
    pub(super) fn end(&mut self) {
        self.state = State::Closed;
        self.partial = None;
        self.contexts = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_a_few_words() {
        assert!(
            size_of::<Connection>() <= 64,
            "{} bytes",
            size_of::<Connection>()
        );
        assert!(Connection::new(None).is_idle());
    }
}
