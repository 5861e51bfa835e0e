//! Bytes on their way out: corked while a client is read from, in its outbox when the kernel does
//! not take them, flushed at the end of a turn when they came from elsewhere.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use crate::app::{Message, SendError};
use crate::event_loop::{Key, KeyQueue};
use crate::net::Progress;
use crate::protocol::websocket::{State, frame_header};
use crate::sharedarea::Reading;
use crate::sys::socket;

use super::client::{Client, Marks, Phase};
use super::core::{Core, LINGER_MS};

/// The shared buffer is given back to the system when it has grown beyond this.
const CORK_BYTES_KEPT: usize = 4 * 1024 * 1024;

/// Messages from this size on are sent from where they lie. Below it, one copy costs less than the
/// system call that it saves by gathering.
pub(super) const LARGE_BYTES: usize = 8 * 1024;

/// Where bytes for clients go first.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// All answers to one read; sent as one.
    corked: Vec<u8>,
    /// Who is being read from.
    reader: Option<Key>,
    /// Who has got something in its outbox during this turn.
    dirty: KeyQueue,
}

impl Output {
    /// From now on what is for `key` is gathered, until [`Core::uncork`].
    pub(super) fn cork(&mut self, key: Key) {
        self.reader = Some(key);
    }

    /// Where bytes for `key`, whose outbox this is, are to be appended.
    pub(super) fn sink<'o>(
        &'o mut self,
        key: Key,
        outbox: &'o mut super::client::Outbox,
    ) -> &'o mut Vec<u8> {
        if self.reader == Some(key) {
            return &mut self.corked;
        }
        self.dirty.push(key);
        outbox.tail()
    }

    /// Bytes gathered for `key`.
    fn gathered_bytes(&self, key: Key) -> usize {
        if self.reader == Some(key) {
            self.corked.len()
        } else {
            0
        }
    }

    /// Takes what is gathered for `key`; goes with [`Self::give_back`].
    fn take_gathered(&mut self, key: Key) -> Vec<u8> {
        if self.reader == Some(key) {
            std::mem::take(&mut self.corked)
        } else {
            Vec::new()
        }
    }

    /// Takes the memory back of what was gathered for `key`.
    fn give_back(&mut self, key: Key, mut gathered: Vec<u8>) {
        if self.reader == Some(key) && gathered.capacity() <= CORK_BYTES_KEPT {
            gathered.clear();
            self.corked = gathered;
        }
    }
}

impl Core {
    /// Whether too much waits for a client already. So many gathered bytes are sent first: what the
    /// kernel takes does not wait.
    pub(super) fn is_full(&mut self, key: Key) -> bool {
        let bytes_max = self.settings.outbox_bytes_max;
        let waiting = |core: &Self| {
            core.clients
                .get(key)
                .map_or(0, |client| client.outbox.len())
        };
        let gathered = self.output.gathered_bytes(key);
        if gathered > 0 && waiting(self) + gathered >= bytes_max {
            self.send_gathered();
        }
        waiting(self) >= bytes_max
    }

    /// Sends what was gathered for the client that was read from.
    pub(super) fn uncork(&mut self) {
        self.send_gathered();
        if let Some(key) = self.output.reader.take() {
            self.farewell(key);
        }
    }

    /// Sends what was gathered so far for the client that is being read from.
    pub(super) fn send_gathered(&mut self) {
        let Some(key) = self.output.reader else {
            return;
        };
        let gathered = self.output.take_gathered(key);
        let mut sent = Some(0);
        if let Some(client) = self.clients.get(key)
            && !gathered.is_empty()
            && client.outbox.is_empty()
            && !client.is_mid_frame()
        {
            let progress = client.transport.send(&gathered);
            sent = self.taken(key, progress);
        }
        if let Some(sent) = sent
            && let Some(client) = self.clients.get_mut(key)
        {
            client.outbox.push(&gathered[sent..]);
        }
        self.output.give_back(key, gathered);
    }

    /// How much the kernel has taken of what was for a client; `None`: the client is lost.
    fn taken(&mut self, key: Key, progress: io::Result<Progress>) -> Option<usize> {
        match progress {
            Ok(Progress::Moved(bytes)) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.count_out(bytes, &mut self.figures);
                }
                Some(bytes)
            }
            Ok(Progress::Blocked) => Some(0),
            Ok(Progress::Ended) | Err(_) => {
                self.lost(key);
                None
            }
        }
    }

    /// Sends a large message to a client from where it lies, behind what is gathered for it.
    /// `false` when that cannot be done: it is compressed, has to wait, or the client is not open.
    pub(super) fn send_large(&mut self, key: Key, message: &Message<'_>) -> bool {
        let Some(client) = self.clients.get(key) else {
            return false;
        };
        let Phase::Open(connection) = &client.phase else {
            return false;
        };
        let frozen = client.marks.contains(Marks::FROZEN);
        let direct = connection.state() == State::Open && connection.deflate().is_none();
        if !direct || frozen || !client.outbox.is_empty() || client.is_mid_frame() {
            return false;
        }
        let header = frame_header(message.kind, false, message.payload.len());
        let gathered = self.output.take_gathered(key);
        let pieces = [&gathered, header.as_bytes(), &message.payload];
        let progress = client.transport.send_pieces(&pieces.map(IoSlice::new));
        if let Some(mut sent) = self.taken(key, progress)
            && let Some(client) = self.clients.get_mut(key)
        {
            for piece in pieces {
                let of_piece = sent.min(piece.len());
                client.outbox.push(&piece[of_piece..]);
                sent -= of_piece;
            }
        }
        self.output.give_back(key, gathered);
        true
    }

    /// Sends a frame whose payload is a range of an area: from where it lies, if it is large and the
    /// client can take it now; what is left of it is copied.
    pub(super) fn send_from(
        &mut self,
        key: Key,
        reading: &Reading<'_>,
        header: &[u8],
        (position, bytes): (u64, u32),
    ) -> Result<(), SendError> {
        let Some(client) = self.clients.get_mut(key) else {
            return Err(SendError::NotOpen);
        };
        let direct = bytes as usize >= LARGE_BYTES
            && reading.is_mapped()
            && client.outbox.is_empty()
            && !client.is_mid_frame()
            && !client.marks.contains(Marks::FROZEN);
        if !direct {
            let out = self.output.sink(key, &mut client.outbox);
            let start = out.len();
            out.extend_from_slice(header);
            let copied = reading.copy(position, Some(u64::from(bytes)), out);
            return Ok(copied.inspect_err(|_| out.truncate(start))?);
        }
        let mut head = self.output.take_gathered(key);
        head.extend_from_slice(header);
        let fd = client.transport.as_fd();
        let result = reading.send(fd, &head, position, u64::from(bytes));
        let Some(sent) = self.taken(key, socket::progress_of(result)) else {
            return Err(SendError::NotOpen);
        };
        let Some(client) = self.clients.get_mut(key) else {
            return Err(SendError::NotOpen);
        };
        let of_head = sent.min(head.len());
        client.outbox.push(&head[of_head..]);
        let done = (sent - of_head) as u64;
        let rest = Some(u64::from(bytes) - done);
        let copied = reading.copy(position + done, rest, client.outbox.tail());
        self.output.give_back(key, head);
        if copied.is_err() {
            // Half of it is out.
            self.lost(key);
        }
        Ok(copied?)
    }

    /// Sends what others have put into outboxes during this turn.
    pub(super) fn flush_dirty(&mut self) {
        while let Some(key) = self.output.dirty.pop() {
            self.push_out(key);
        }
    }

    /// The kernel takes again: goes on where it was blocked.
    pub(super) fn writable(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        if client.outbox.is_empty() && client.behind.is_none() {
            return;
        }
        self.push_out(key);
        self.heard_of(key);
    }

    /// Sends in the order that keeps frames whole: the half-sent frame, the outbox, the log.
    /// Whoever was not read from because its outbox was full is read from again once it is not.
    pub(super) fn push_out(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        if client.marks.contains(Marks::FROZEN) {
            return;
        }
        let outbox_bytes_unread = self.settings.outbox_bytes_unread();
        let was_full = client.outbox.len() >= outbox_bytes_unread;
        if self.finish_half(key) && self.flush_outbox(key) {
            self.catch_up(key);
            self.farewell(key);
        }
        if was_full
            && let Some(client) = self.clients.get(key)
            && client.marks.contains(Marks::UNREAD)
            && client.is_readable(outbox_bytes_unread)
        {
            self.unread.push(key);
        }
    }

    /// Whether the outbox is empty now.
    fn flush_outbox(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        while !client.outbox.is_empty() {
            match client.transport.send(client.outbox.unsent()) {
                Ok(Progress::Moved(bytes)) => {
                    client.count_out(bytes, &mut self.figures);
                    client.outbox.consume(bytes);
                }
                Ok(Progress::Blocked) => return false,
                Ok(Progress::Ended) | Err(_) => {
                    self.lost(key);
                    return false;
                }
            }
        }
        true
    }

    /// Ends our direction once everything is sent to a client whose conversation is over.
    fn farewell(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if !client.outbox.is_empty() || client.is_mid_frame() {
            return;
        }
        if let Phase::Lingering { shut } = &mut client.phase
            && !*shut
        {
            *shut = true;
            client.transport.shutdown_write();
            client.deadline_ms = self.now_ms + LINGER_MS;
            if client.marks.contains(Marks::ENDED) {
                self.forget(key);
            } else {
                self.arm(key);
            }
        }
    }

    /// Nothing more will be said to this client but what is gathered or in its outbox.
    pub(super) fn linger(&mut self, key: Key) {
        self.leave_all_channels(key);
        if let Some(client) = self.clients.get_mut(key) {
            client.phase = Phase::Lingering { shut: false };
            client.deadline_ms = self.now_ms + LINGER_MS;
            self.arm(key);
            if self.output.reader != Some(key) {
                self.farewell(key);
            }
        }
    }

    /// The part of a client that writes, with where it writes to.
    pub(super) fn with_connection<R>(
        &mut self,
        key: Key,
        write: impl FnOnce(
            &mut crate::protocol::websocket::Connection,
            &mut crate::protocol::websocket::Codec,
            &mut Vec<u8>,
        ) -> R,
    ) -> Option<R> {
        let Client { phase, outbox, .. } = self.clients.get_mut(key)?;
        match phase {
            Phase::Open(connection) => {
                let out = self.output.sink(key, outbox);
                Some(write(connection, &mut self.codec, out))
            }
            Phase::Head(_) | Phase::Body(_) | Phase::Deciding(_) | Phase::Lingering { .. } => None,
        }
    }
}
