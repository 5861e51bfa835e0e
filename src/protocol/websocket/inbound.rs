//! The receiving half of a connection: frames to messages (RFC 6455 sections 5.4, 5.5, 6.2, 7). It must not know where bytes come from nor
//! what an app makes of a message.
//!
//! The way that matters: a whole, unfragmented message in the input is unmasked where it lies and lent to the caller. Everything
//! else goes through [`Partial`], which exists only meanwhile.

use std::borrow::Cow;

use super::Violation;
use super::assembly::{ControlBytes, HeaderBytes, Message, Partial, Reading};
use super::close::{self, CloseCode, Closed};
use super::codec::Codec;
use super::connection::{Connection, State};
use super::frame::{Header, Kind, Opcode, parse_header, write_control};
use super::mask::apply_mask;
use super::utf8::is_utf8;

/// What one call of [`Connection::receive`] came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'i> {
    /// Bytes of the input that are done with; call again with the rest.
    pub consumed: usize,
    /// What happened; `None` means that all input was consumed.
    pub event: Option<Event<'i>>,
}

/// What a client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A whole message. Text is UTF-8.
    Message {
        /// Text or binary.
        kind: Kind,
        /// Unmasked, inflated, all fragments together.
        payload: Cow<'i, [u8]>,
    },
    /// A ping, already answered.
    Ping(Cow<'i, [u8]>),
    /// A pong, asked for or not.
    Pong(Cow<'i, [u8]>),
    /// The end; told once, and the last event.
    Closed(Closed),
}

/// An event, if a frame completed one, and the input behind.
type Advance<'i> = Result<(Option<Event<'i>>, &'i mut [u8]), Violation>;

impl Connection {
    /// Reads `input` up to the next event, unmasking it in place. What has to be answered (pong, close) is appended to `out`.
    ///
    /// How the bytes are cut into inputs makes no difference to the events or to `out`. A fault of the peer is answered with a close frame
    /// and told as [`Event::Closed`]; from then on input is consumed and ignored. After [`Connection::close`] messages, pings and pongs are
    /// dropped and only the peer's close frame, or a fault, is told.
    #[inline]
    pub fn receive<'i>(
        &mut self,
        input: &'i mut [u8],
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) -> Step<'i> {
        let input_bytes = input.len();
        let mut rest = input;
        while !rest.is_empty() && self.state != State::Closed {
            match self.advance(rest, codec, out) {
                Ok((None, behind)) => rest = behind,
                Ok((Some(event), behind)) => {
                    return Step {
                        consumed: input_bytes - behind.len(),
                        event: Some(event),
                    };
                }
                Err(violation) => {
                    let event = Some(Event::Closed(self.fail(violation, out)));
                    return Step {
                        consumed: input_bytes,
                        event,
                    };
                }
            }
        }
        Step {
            consumed: input_bytes,
            event: None,
        }
    }

    /// Reads at most one frame.
    #[inline]
    fn advance<'i>(
        &mut self,
        input: &'i mut [u8],
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) -> Advance<'i> {
        if let Some(partial) = self.partial.as_mut() {
            match &mut partial.reading {
                Reading::Nothing => {}
                Reading::Header(bytes) => {
                    let (header, taken) = bytes.push(input)?;
                    let (_taken, behind) = input.split_at_mut(taken);
                    let Some(header) = header else {
                        return Ok((None, behind));
                    };
                    partial.reading = Reading::Nothing;
                    return self.frame(header, behind, codec, out);
                }
                Reading::Data { .. } | Reading::Control { .. } => {
                    return self.resume(input, codec, out);
                }
            }
        }
        match parse_header(input)? {
            Some((header, header_bytes)) => {
                let (_header, behind) = input.split_at_mut(header_bytes);
                self.frame(header, behind, codec, out)
            }
            None => {
                let mut bytes = HeaderBytes::default();
                let (_none, taken) = bytes.push(input)?;
                self.partial().reading = Reading::Header(bytes);
                Ok((None, input.split_at_mut(taken).1))
            }
        }
    }

    /// A header is whole; `input` is what came behind it.
    #[inline]
    fn frame<'i>(
        &mut self,
        header: Header,
        input: &'i mut [u8],
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) -> Advance<'i> {
        let payload_bytes = self.admit(&header, codec)?;
        if input.len() < payload_bytes {
            self.begin(header);
            return self.resume(input, codec, out);
        }
        let (payload, behind) = input.split_at_mut(payload_bytes);
        apply_mask(header.mask, 0, payload);
        let event = match header.opcode {
            Opcode::Text if header.fin => self.whole_message(Kind::Text, header, payload, codec)?,
            Opcode::Binary if header.fin => {
                self.whole_message(Kind::Binary, header, payload, codec)?
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                self.push_fragment(&header, payload, 0)?;
                self.end_fragment(&header, codec)?
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                self.control(header.opcode, Cow::Borrowed(payload), out)?
            }
        };
        self.drop_empty_partial();
        Ok((event, behind))
    }

    /// Holds a header against the state and the limits, before any memory is taken; the payload's size if it may come.
    #[inline]
    fn admit(&self, header: &Header, codec: &Codec) -> Result<usize, Violation> {
        let message = self
            .partial
            .as_ref()
            .and_then(|partial| partial.message.as_ref());
        let (compressed, collected, fragments) = match (header.opcode, message) {
            // At most 125 bytes by the header's own rules.
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                return usize::try_from(header.payload_bytes)
                    .map_err(|_| Violation::ControlTooLong);
            }
            (Opcode::Continuation, None) => return Err(Violation::UnexpectedContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::InterleavedMessage),
            // RFC 7692 section 6.1: only the first frame of a message says that it is compressed.
            (Opcode::Continuation, Some(_)) if header.compressed => {
                return Err(Violation::ReservedBit);
            }
            (Opcode::Text | Opcode::Binary, None) if header.compressed && self.agreed.is_none() => {
                return Err(Violation::ReservedBit);
            }
            (Opcode::Continuation, Some(message)) => {
                (message.compressed, message.payload.len(), message.fragments)
            }
            (Opcode::Text | Opcode::Binary, None) => (header.compressed, 0, 0),
        };
        let limits = codec.limits();
        if fragments >= limits.fragments_max {
            return Err(Violation::TooManyFragments);
        }
        let bytes_max = if compressed {
            limits.compressed_bytes_max()
        } else {
            limits.message_bytes_max
        };
        usize::try_from(header.payload_bytes)
            .ok()
            .filter(|bytes| {
                collected
                    .checked_add(*bytes)
                    .is_some_and(|sum| sum <= bytes_max)
            })
            .ok_or(Violation::MessageTooBig)
    }

    /// The payload of a frame that was cut by the end of the input.
    fn begin(&mut self, header: Header) {
        self.partial().reading = match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => Reading::Control {
                header,
                payload: ControlBytes::new(),
            },
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                Reading::Data { header, arrived: 0 }
            }
        };
    }

    /// More of that payload.
    fn resume<'i>(
        &mut self,
        input: &'i mut [u8],
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) -> Advance<'i> {
        let (header, arrived) = match self.partial.as_ref().map(|partial| &partial.reading) {
            Some(Reading::Data { header, arrived }) => (*header, *arrived),
            Some(Reading::Control { header, payload }) => (*header, payload.len()),
            Some(Reading::Nothing | Reading::Header(_)) | None => return Ok((None, input)),
        };
        // `admit` has seen that the size fits.
        let missing = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX) - arrived;
        let (piece, behind) = input.split_at_mut(missing.min(input.len()));
        let missing = missing - piece.len();
        apply_mask(header.mask, arrived, piece);
        let event = match &mut self.partial().reading {
            Reading::Control { payload, .. } => {
                payload.push(piece);
                if missing > 0 {
                    return Ok((None, behind));
                }
                let payload = payload.as_slice().to_vec();
                self.partial().reading = Reading::Nothing;
                self.control(header.opcode, Cow::Owned(payload), out)?
            }
            Reading::Data { arrived, .. } => {
                *arrived += piece.len();
                self.push_fragment(&header, piece, missing)?;
                if missing > 0 {
                    return Ok((None, behind));
                }
                self.partial().reading = Reading::Nothing;
                self.end_fragment(&header, codec)?
            }
            Reading::Nothing | Reading::Header(_) => None,
        };
        self.drop_empty_partial();
        Ok((event, behind))
    }

    /// An unfragmented message that is whole in the input.
    #[inline]
    fn whole_message<'i>(
        &mut self,
        kind: Kind,
        header: Header,
        payload: &'i [u8],
        codec: &mut Codec,
    ) -> Result<Option<Event<'i>>, Violation> {
        if self.state != State::Open {
            return Ok(None);
        }
        if header.compressed {
            return self.inflate(kind, payload, codec).map(Some);
        }
        if kind == Kind::Text && !is_utf8(payload) {
            return Err(Violation::NotUtf8);
        }
        Ok(Some(Event::Message {
            kind,
            payload: Cow::Borrowed(payload),
        }))
    }

    /// Adds a piece of a data frame to the message, which the first piece of its first frame begins.
    fn push_fragment(
        &mut self,
        header: &Header,
        piece: &[u8],
        missing: usize,
    ) -> Result<(), Violation> {
        let is_open = self.state == State::Open;
        let partial = self.partial();
        let message = match (header.opcode, &mut partial.message) {
            (Opcode::Text, place @ None) => {
                place.insert(Message::new(Kind::Text, header.compressed))
            }
            (_, place) => place.get_or_insert(Message::new(Kind::Binary, header.compressed)),
        };
        // Whoever is closing drops messages unread; only their framing matters.
        if is_open {
            message.push(piece, header.fin.then_some(missing))?;
        }
        Ok(())
    }

    /// A data frame that did not come as a whole message is complete.
    fn end_fragment(
        &mut self,
        header: &Header,
        codec: &mut Codec,
    ) -> Result<Option<Event<'static>>, Violation> {
        let partial = self.partial();
        if !header.fin {
            if let Some(message) = partial.message.as_mut() {
                message.fragments += 1;
            }
            return Ok(None);
        }
        let Some(message) = partial.message.take().filter(|_| self.state == State::Open) else {
            return Ok(None);
        };
        if message.compressed {
            return self
                .inflate(message.kind, &message.payload, codec)
                .map(Some);
        }
        message.finish()?;
        Ok(Some(Event::Message {
            kind: message.kind,
            payload: Cow::Owned(message.payload),
        }))
    }

    fn inflate(
        &mut self,
        kind: Kind,
        compressed: &[u8],
        codec: &mut Codec,
    ) -> Result<Event<'static>, Violation> {
        let remembers = self
            .agreed
            .is_some_and(|agreed| !agreed.client_no_context_takeover);
        let own = remembers.then(|| &mut self.contexts.get_or_insert_default().inflater);
        let payload = codec.inflate(own, kind, compressed)?;
        Ok(Event::Message {
            kind,
            payload: Cow::Owned(payload),
        })
    }

    /// A control frame is whole.
    fn control<'i>(
        &mut self,
        opcode: Opcode,
        payload: Cow<'i, [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, Violation> {
        let is_open = self.state == State::Open;
        match opcode {
            Opcode::Close => {
                let (code, reason) = close::parse_payload(&payload)?;
                if is_open {
                    close::write_close(code, "", out);
                }
                let code = code.unwrap_or(CloseCode::NO_STATUS);
                let closed = Closed {
                    code,
                    reason: reason.to_owned(),
                    clean: true,
                    fault: None,
                };
                self.end();
                Ok(Some(Event::Closed(closed)))
            }
            Opcode::Ping if is_open => {
                write_control(Opcode::Pong, &[&payload], out);
                Ok(Some(Event::Ping(payload)))
            }
            Opcode::Pong if is_open => Ok(Some(Event::Pong(payload))),
            Opcode::Ping | Opcode::Pong => Ok(None),
            // Data frames do not come here.
            Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(None),
        }
    }

    /// Section 7.1.7: says why, and is done.
    #[cold]
    fn fail(&mut self, violation: Violation, out: &mut Vec<u8>) -> Closed {
        let code = violation.close_code();
        let reason = violation.to_string();
        if self.state == State::Open {
            close::write_close(Some(code), &reason, out);
        }
        self.end();
        Closed {
            code,
            reason,
            clean: false,
            fault: Some(violation),
        }
    }

    fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_with(|| Box::new(Partial::new()))
    }

    #[inline]
    fn drop_empty_partial(&mut self) {
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.is_empty())
        {
            self.partial = None;
        }
    }
}
