//! From readable sockets to the app's callbacks.

use log::debug;

use crate::app::{Context, Message};
use crate::event_loop::Key;
use crate::net::Progress;
use crate::protocol::websocket::{Closed, Event, State};

use super::Engine;
use super::client::{Client, Marks, Phase};
use super::core::CLOSING_MS;

/// Reads of one client in one turn; then the others have theirs.
const READS_PER_TURN: usize = 4;

impl Engine {
    /// The peer has ended its side. No event tells that again, so it is kept until it is read,
    /// which may be in a later turn.
    pub(super) fn ending(&mut self, key: Key) {
        if let Some(client) = self.core.clients.get_mut(key) {
            client.marks.insert(Marks::ENDING);
        }
    }

    /// Reads what a client has sent and acts on it.
    pub(super) fn readable(&mut self, key: Key) {
        let mut buffer = std::mem::take(&mut self.receive);
        for _ in 0..READS_PER_TURN {
            let Some(client) = self.core.clients.get_mut(key) else {
                break;
            };
            client.marks.remove(Marks::UNREAD);
            if !client.is_readable(self.core.settings.outbox_bytes_unread()) {
                client.marks.insert(Marks::UNREAD);
                break;
            }
            let ending = client.marks.contains(Marks::ENDING);
            match client.transport.receive(&mut buffer) {
                Ok(Progress::Moved(bytes)) => {
                    client.count_in(bytes, &mut self.core.figures);
                    self.core.heard_of(key);
                    self.feed(key, &mut buffer[..bytes]);
                    if bytes < buffer.len() && !ending {
                        // Edge-triggered: a short read has emptied the socket, and what comes
                        // later makes a new edge.
                        self.receive = buffer;
                        return;
                    }
                }
                Ok(Progress::Blocked) => {
                    self.receive = buffer;
                    return;
                }
                Ok(Progress::Ended) => {
                    self.stream_ended(key);
                    self.receive = buffer;
                    return;
                }
                Err(error) => {
                    debug!("receiving from a client failed, it is dropped: {error}");
                    self.core.lost(key);
                    self.settle();
                    self.receive = buffer;
                    return;
                }
            }
        }
        self.receive = buffer;
        self.read_on_later(key);
    }

    /// The budget is used up, or the client may not be read from now.
    fn read_on_later(&mut self, key: Key) {
        if let Some(client) = self.core.clients.get_mut(key) {
            client.marks.insert(Marks::UNREAD);
            if client.is_readable(self.core.settings.outbox_bytes_unread()) {
                self.core.unread.push(key);
            }
        }
    }

    /// Acts on `input`; all answers to it leave in one send.
    fn feed(&mut self, key: Key, input: &mut [u8]) {
        self.core.output.cork(key);
        let mut done = 0;
        while done < input.len() {
            let rest = &mut input[done..];
            let Some(client) = self.core.clients.get_mut(key) else {
                break;
            };
            match &mut client.phase {
                Phase::Head(_) => done += self.feed_head(key, rest),
                Phase::Open(_) => done += self.feed_messages(key, rest),
                Phase::Body(_) => done += self.feed_body(key, rest),
                Phase::Deciding(deciding) => {
                    deciding.unread.extend_from_slice(rest);
                    break;
                }
                Phase::Lingering { .. } => break,
            }
        }
        self.core.uncork();
        if !self.core.gone.is_empty() {
            self.settle();
        }
    }

    /// The bytes used; less than all when the connection has left its open phase.
    fn feed_messages(&mut self, key: Key, input: &mut [u8]) -> usize {
        let mut done = 0;
        while done < input.len() {
            let Self { core, apps, .. } = self;
            let Some(Client {
                phase: Phase::Open(connection),
                outbox,
                app,
                trace,
                ..
            }) = core.clients.get_mut(key)
            else {
                break;
            };
            let Some(app) = *app else {
                break;
            };
            let open = connection.state() == State::Open;
            let out = core.output.sink(key, outbox);
            let step = connection.receive(&mut input[done..], &mut core.codec, out);
            done += step.consumed;
            match step.event {
                None => {}
                Some(Event::Message { kind, payload }) if open => {
                    core.figures.messages_in += 1;
                    if let Some(trace) = trace {
                        trace.traffic.messages_in += 1;
                    }
                    let message = Message { kind, payload };
                    apps.get_mut(app)
                        .message(&mut Context::new(core), key, message);
                }
                Some(Event::Message { .. } | Event::Ping(_) | Event::Pong(_)) => {}
                Some(Event::Closed(closed)) => self.closed(key, &closed),
            }
            if !self.core.gone.is_empty() || !self.core.opened.is_empty() {
                self.settle();
            }
        }
        done
    }

    /// The closing handshake is done, or the peer broke the protocol.
    fn closed(&mut self, key: Key, closed: &Closed) {
        if let Some(fault) = &closed.fault {
            debug!("a client was closed with {}: {fault}", closed.code);
        }
        let app = self.core.clients.get(key).and_then(|client| client.app);
        self.core.conversation_ended(key, closed);
        self.core.linger(key);
        if let Some(app) = app {
            self.apps
                .get_mut(app)
                .close(&mut Context::new(&mut self.core), key, closed);
        }
    }

    /// The peer sends no more.
    fn stream_ended(&mut self, key: Key) {
        let Some(client) = self.core.clients.get_mut(key) else {
            return;
        };
        client.marks.insert(Marks::ENDED);
        match &client.phase {
            Phase::Open(_) | Phase::Deciding(_) => self.core.lost(key),
            Phase::Head(_) | Phase::Body(_) | Phase::Lingering { .. } => {
                if client.outbox.is_empty() {
                    self.core.forget(key);
                } else {
                    self.core.linger(key);
                }
            }
        }
        self.settle();
    }

    /// The app has accepted a client, just now or some time after it had asked.
    pub(super) fn opened(&mut self, key: Key, mut unread: Vec<u8>) {
        let Some(client) = self.core.clients.get_mut(key) else {
            return;
        };
        let Some(app) = client.app else {
            return;
        };
        self.core.keep_alive(key);
        self.apps
            .get_mut(app)
            .open(&mut Context::new(&mut self.core), key);
        if let Some(code) = self.core.draining {
            let context = &mut Context::new(&mut self.core);
            self.apps.get_mut(app).drain(context, key, code.0);
        }
        self.feed_messages(key, &mut unread);
        if let Some(client) = self.core.clients.get(key)
            && client.marks.contains(Marks::UNREAD)
        {
            self.core.unread.push(key);
        }
    }
}

impl super::core::Core {
    /// After our close frame the peer has some time to answer.
    pub(super) fn await_closing(&mut self, key: Key) {
        self.await_closing_for(key, CLOSING_MS);
    }

    /// The same with another time, in milliseconds.
    pub(super) fn await_closing_for(&mut self, key: Key, wait_ms: u64) {
        if let Some(client) = self.clients.get_mut(key) {
            client.deadline_ms = self.now_ms + wait_ms;
            self.arm(key);
        }
    }

    /// Whoever is closing already has no longer for it than the usual time from now on.
    pub(super) fn hurry_closing(&mut self, key: Key) {
        if let Some(client) = self.clients.get(key)
            && let Phase::Open(connection) = &client.phase
            && connection.state() == State::LocalClosing
            && client.deadline_ms > self.now_ms + CLOSING_MS
        {
            self.await_closing(key);
        }
    }
}
