//! Handshake, keep-alive, closing and farewell deadlines.
//!
//! Every client has at most one alarm that counts. When it rings early, because the client was
//! heard of meanwhile, it is set again; so a busy client costs nothing.

use crate::event_loop::Key;
use crate::protocol::http::Status;
use crate::protocol::websocket::{CloseCode, State};

use super::Engine;
use super::client::{Client, Marks, NEVER, Phase};
use super::core::{Core, Gone, abnormal};

impl Engine {
    pub(super) fn ring_alarms(&mut self) {
        while let Some((at_ms, key)) = self.core.timers.due(self.core.now_ms) {
            self.core.ring(at_ms, key);
        }
        self.settle();
    }
}

impl Core {
    /// Sees to it that an alarm rings when the client's deadline comes.
    pub(super) fn arm(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let deadline_ms = self.deadline(client);
        if deadline_ms < client.alarm_ms
            && let Some(client) = self.clients.get_mut(key)
        {
            client.alarm_ms = deadline_ms;
            self.timers.set(deadline_ms, key);
        }
    }

    /// From now on the client is kept alive by pings; but one that its app has closed already keeps
    /// the deadline of its closing handshake.
    pub(super) fn keep_alive(&mut self, key: Key) {
        if self.open_app(key).is_none() {
            return;
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.seen_ms = self.now_ms;
            client.deadline_ms = NEVER;
            self.arm(key);
        }
    }

    /// It has sent something, or taken something after it had been blocked: it lives, even if the
    /// pong to our last ping is still behind what waits.
    pub(super) fn heard_of(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.seen_ms = self.now_ms;
        if client.marks.contains(Marks::PINGED) {
            client.marks.remove(Marks::PINGED);
            self.arm(key);
        }
    }

    fn deadline(&self, client: &Client) -> u64 {
        match &client.phase {
            Phase::Head(_) | Phase::Body(_) | Phase::Deciding(_) | Phase::Lingering { .. } => {
                client.deadline_ms
            }
            Phase::Open(connection) => match connection.state() {
                State::LocalClosing | State::Closed => client.deadline_ms,
                State::Open if self.settings.ping_freq_ms == 0 => NEVER,
                State::Open if client.marks.contains(Marks::PINGED) => client.deadline_ms,
                State::Open => client.seen_ms + self.settings.ping_freq_ms,
            },
        }
    }

    fn ring(&mut self, at_ms: u64, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        if client.alarm_ms != at_ms {
            return;
        }
        let deadline_ms = self.deadline(client);
        let frozen = client.marks.contains(Marks::FROZEN);
        if let Some(client) = self.clients.get_mut(key) {
            client.alarm_ms = NEVER;
        }
        if frozen {
            // It gets a new alarm when it goes on.
            return;
        }
        if deadline_ms > self.now_ms {
            self.arm(key);
        } else {
            self.deadline_passed(key);
        }
    }

    fn deadline_passed(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match &mut client.phase {
            // Between two requests there is nobody to be told.
            Phase::Head(head) if head.is_empty() && client.marks.contains(Marks::SERVED) => {
                self.forget(key);
            }
            Phase::Head(_) => {
                let text = "the request head did not come in time (--handshake-timeout)";
                self.refuse(key, Status::REQUEST_TIMEOUT, text, &[]);
            }
            Phase::Body(_) => {
                let text = "the request body did not come in time (--handshake-timeout)";
                self.refuse(key, Status::REQUEST_TIMEOUT, text, &[]);
            }
            Phase::Deciding(_) => {
                let app = client.app;
                let text = "the application did not answer in time (--handshake-timeout)";
                self.refuse(key, Status::SERVICE_UNAVAILABLE, text, &[]);
                self.gone.push(Gone {
                    key,
                    app,
                    closed: abnormal(),
                });
            }
            Phase::Lingering { .. } => self.forget(key),
            Phase::Open(connection) => match connection.state() {
                State::LocalClosing | State::Closed => self.lost(key),
                State::Open if client.marks.contains(Marks::PINGED) => self.give_up(key),
                State::Open => self.ping(key),
            },
        }
    }

    fn ping(&mut self, key: Key) {
        self.with_connection(key, |connection, _, out| connection.ping(b"", out));
        self.figures.pings += 1;
        if let Some(client) = self.clients.get_mut(key) {
            client.marks.insert(Marks::PINGED);
            client.deadline_ms = self.now_ms + self.settings.pong_tolerance_ms;
            self.arm(key);
        }
    }

    /// A peer that does not answer a ping is dead: it is told so, in case it is not.
    fn give_up(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && client.outbox.is_empty()
            && !client.is_mid_frame()
            && let Phase::Open(connection) = &mut client.phase
        {
            let mut close = Vec::new();
            connection.close(
                Some(CloseCode::INTERNAL_ERROR),
                "no answer to a ping",
                &mut close,
            );
            // Whether it arrives makes no difference to what follows.
            let _told: std::io::Result<_> = client.transport.send(&close);
        }
        self.figures.pong_timeouts += 1;
        self.lost(key);
    }
}
