//! What the engine keeps of one peer's connection. It is small, because ten thousand idle ones
//! should cost next to nothing: whatever is rare is boxed or empty.

use crate::app::AppId;
use crate::channel::{ChannelId, Memberships, Variant};
use crate::net::Transport;
use crate::protocol::http::BodyReader;
use crate::protocol::websocket::{Agreed, Connection, State};
use crate::sharedarea::Figures;

use super::half::Behind;
use super::trace::Trace;

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// One peer's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) transport: Transport,
    pub(super) phase: Phase,
    /// Frames for this client alone that the kernel has not taken yet.
    pub(super) outbox: Outbox,
    /// Where in the log the client is, when the kernel does not take from us as fast as the log
    /// moves; without it the client is where the worker is.
    pub(super) behind: Option<Box<Behind>>,
    pub(super) memberships: Memberships,
    /// When it was last heard of, or took something after it had been blocked.
    pub(super) seen_ms: u64,
    /// The deadline of every phase but [`Phase::Open`] before its closing handshake.
    pub(super) deadline_ms: u64,
    /// The time of the one alarm that counts; [`NEVER`] for none.
    pub(super) alarm_ms: u64,
    pub(super) app: Option<AppId>,
    pub(super) marks: Marks,
    /// What the request log will say of it.
    pub(super) trace: Option<Box<Trace>>,
}

bitflags::bitflags! {
    /// Independent facts about a client; its state is [`Phase`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Marks: u16 {
        /// The app has asked not to read from it.
        const PAUSED = 1;
        /// There may be input that no event will tell us about again.
        const UNREAD = 1 << 1;
        /// A ping of ours is unanswered.
        const PINGED = 1 << 2;
        /// The peer has ended its side of the stream.
        const ENDED = 1 << 3;
        /// It is on the list of those that are gone.
        const GONE = 1 << 4;
        /// At least one request was answered.
        const SERVED = 1 << 5;
        /// It is on its way to or from another worker: nothing is read or written.
        const FROZEN = 1 << 6;
        /// What was described of it when it was frozen is not true any more.
        const CHANGED = 1 << 7;
        /// An event has told that the peer has ended its side, which was not read yet.
        const ENDING = 1 << 8;
        /// It reads alternates of broadcasts.
        const DEFLATING = 1 << 9;
    }
}

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// A request head is awaited; what has come of it.
    Head(Vec<u8>),
    /// The body of a plain request is awaited.
    Body(Box<Gathering>),
    /// A WebSocket was asked for, and the app has not answered.
    Deciding(Box<Deciding>),
    /// A WebSocket, until it is closed.
    Open(Connection),
    /// All is said and about to be sent; what still comes is thrown away until the peer ends.
    Lingering {
        /// Our direction is ended.
        shut: bool,
    },
}

/// A request whose body is on its way.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Its head, to be parsed again when the body is complete.
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) reader: BodyReader,
}

/// What an accepted handshake needs.
#[derive(Debug)]
pub(super) struct Deciding {
    pub(super) key: String,
    pub(super) subprotocols: Vec<String>,
    pub(super) deflate: Option<Agreed>,
    /// What came behind the head.
    pub(super) unread: Vec<u8>,
}

impl Client {
    pub(super) fn new(transport: Transport, now_ms: u64, deadline_ms: u64) -> Self {
        Self {
            transport,
            phase: Phase::Head(Vec::new()),
            outbox: Outbox::default(),
            behind: None,
            memberships: Memberships::default(),
            seen_ms: now_ms,
            deadline_ms,
            alarm_ms: NEVER,
            app: None,
            marks: Marks::empty(),
            trace: None,
        }
    }

    /// Counts bytes that the kernel has given us from it.
    #[inline]
    pub(super) fn count_in(&mut self, bytes: usize, figures: &mut Figures) {
        figures.bytes_in += bytes as u64;
        if let Some(trace) = &mut self.trace {
            trace.traffic.bytes_in += bytes as u64;
        }
    }

    /// Counts bytes that the kernel has taken from us for it.
    #[inline]
    pub(super) fn count_out(&mut self, bytes: usize, figures: &mut Figures) {
        figures.bytes_out += bytes as u64;
        if let Some(trace) = &mut self.trace {
            trace.traffic.bytes_out += bytes as u64;
        }
    }

    /// Counts whole messages to it.
    #[inline]
    pub(super) fn trace_messages_out(&mut self, messages: u64) {
        if let Some(trace) = &mut self.trace {
            trace.traffic.messages_out += messages;
        }
    }

    /// Whether it is a WebSocket that nobody closes.
    pub(super) fn is_open(&self) -> bool {
        matches!(&self.phase, Phase::Open(connection) if connection.state() == State::Open)
    }

    /// As what it gets messages of the log.
    #[inline]
    pub(super) fn variant(&self) -> Variant {
        if self.marks.contains(Marks::DEFLATING) {
            Variant::Alternate
        } else {
            Variant::Frame
        }
    }

    /// Whether it may be read from now.
    pub(super) fn is_readable(&self, outbox_bytes_unread: usize) -> bool {
        !self.marks.intersects(Marks::PAUSED | Marks::FROZEN)
            && !matches!(self.phase, Phase::Deciding(_))
            && self.outbox.len() < outbox_bytes_unread
    }

    /// Whether the entry `seq` of a channel is for it.
    pub(super) fn listens(&self, channel: ChannelId, seq: u64) -> bool {
        let behind = self.behind.as_ref();
        self.memberships.contains(channel)
            && behind.is_none_or(|behind| behind.listened(channel, seq))
    }

    /// Whether a frame of the log is half sent, so that nothing else may go out.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.behind
            .as_ref()
            .is_some_and(|behind| behind.half.is_some())
    }
}

/// Bytes that wait for one client, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent
    }

    /// What waits.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Where more may be appended.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts bytes in, behind the first `at` that wait.
    pub(super) fn insert(&mut self, at: usize, bytes: &[u8]) {
        let at = (self.sent + at).min(self.bytes.len());
        self.bytes.splice(at..at, bytes.iter().copied());
    }

    /// Forgets what the kernel has taken. An emptied outbox gives its memory back; of a long one
    /// the sent part is dropped when it outweighs the rest, so that it never takes more than twice
    /// of what waits.
    pub(super) fn consume(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= self.bytes.len() {
            *self = Self::default();
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_keeps_order_and_gives_memory_back() {
        let mut outbox = Outbox::default();
        outbox.push(b"abcdef");
        outbox.consume(2);
        assert_eq!(outbox.unsent(), b"cdef");
        outbox.push(b"gh");
        outbox.consume(3);
        assert_eq!(outbox.unsent(), b"fgh");
        assert_eq!(outbox.len(), 3);
        outbox.consume(3);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes.capacity(), 0);
    }

    #[test]
    fn an_outbox_takes_bytes_behind_others_that_wait() {
        let mut outbox = Outbox::default();
        outbox.push(b"abcdefgh");
        outbox.consume(2);
        outbox.insert(3, b"xy");
        assert_eq!(outbox.unsent(), b"cdexyfgh");
        outbox.insert(8, b"z");
        assert_eq!(outbox.unsent(), b"cdexyfghz");
    }

    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Client>() <= 200, "{}", size_of::<Client>());
    }
}
