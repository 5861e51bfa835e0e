//! The one loop of a worker, as a library: connections, outboxes, cursors, deadlines.
//!
//! Built-in apps, Rust apps and language hosts all run on it. The owner calls [`Engine::turn`] in
//! a loop, gives it accepted transports, and is told about the readiness of what is its own
//! (listeners, control socket, mailbox). The engine knows neither the master nor other workers; it
//! meets them only in the shared log.
//!
//! A turn: wait; go on with those who are behind; read and answer what is ready, one send for all answers to one read; hand what is
//! new in the log to the clients that listen; ring alarms; let the apps finish; flush.
//!
//! Invariants:
//! * a client's bytes leave in whole frames: private frames and frames of the log never mix,
//! * nothing that a client does or leaves undone delays a writer of the log: a half-sent frame is
//!   pinned, and copied out once when it grows old,
//! * an app is never called while it runs: calls of an app that have consequences for an app are
//!   noted and carried out by `settle`.

mod areas;
mod bodies;
mod broadcast;
mod client;
mod core;
mod deadlines;
mod farewells;
mod half;
mod handover;
mod handshake;
mod input;
mod laggards;
mod operations;
mod output;
mod publish;
mod record;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod trace;

use std::io;
use std::time::Duration;

use crate::app::{Apps, Context};
use crate::event_loop::{Key, Ready, Source};
use crate::net::Transport;
use crate::protocol::http::Status;
use crate::sharedarea::{Participant, SharedArea};

use self::core::{Core, Gone};
pub use self::handover::{Arrival, Shipment};
pub use self::settings::Settings;
pub use self::trace::TARGET as REQUEST_LOG;

/// Bytes that one read takes at most; one buffer of this size serves all clients.
const RECEIVE_BYTES: usize = 64 * 1024;

/// All clients of a worker and what happens to them.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    apps: Apps,
    receive: Box<[u8]>,
    ready: Vec<Ready>,
    /// `settle` is at work.
    settling: bool,
}

impl Engine {
    /// An engine without clients. Make it after `fork`.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance.
    pub fn new(
        settings: Settings,
        apps: Apps,
        area: SharedArea,
        participant: Participant,
    ) -> io::Result<Self> {
        Ok(Self {
            core: Core::new(settings, area, participant)?,
            apps,
            receive: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            ready: Vec::new(),
            settling: false,
        })
    }

    /// One turn of the loop, which waits for at most `wait_max`. Readiness of what is not the
    /// engine's own is appended to `others`.
    ///
    /// # Errors
    /// Only when waiting itself fails; no client can make it fail.
    pub fn turn(&mut self, wait_max: Duration, others: &mut Vec<Source>) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.core.wait(wait_max, &mut ready)?;
        self.core.go_on_catching_up();
        for event in &ready {
            match event.source {
                Source::Client(key) => self.client_ready(key, event),
                Source::Bell => {}
                other @ (Source::Listener(_) | Source::Control | Source::Mailbox) => {
                    others.push(other);
                }
            }
        }
        self.ready = ready;
        for key in self.core.unread.take() {
            self.readable(key);
        }
        self.core.retry_publications();
        self.core.flush_dirty();
        self.core.fan_out();
        self.ring_alarms();
        self.say_farewells();
        let Self { apps, core, .. } = self;
        for (area, updates) in core.take_updates() {
            for app in apps.iter_mut() {
                app.area_updated(&mut Context::new(core), area, updates);
            }
        }
        core.meet_wake();
        for app in apps.iter_mut() {
            core.again |= app.turn(&mut Context::new(core));
        }
        self.settle();
        self.core.flush_dirty();
        self.core.tend_laggards();
        self.core.tend_halves();
        self.core.report();
        Ok(())
    }

    /// Takes a new client in. It is read from at once.
    pub fn adopt(&mut self, transport: Transport) {
        if let Some(key) = self.core.adopt(transport) {
            self.readable(key);
            if self.core.draining.is_some() {
                self.core.drop_idle(key);
            }
        }
    }

    /// Tells a new client that there is no room for it, and ends with it.
    pub fn refuse(&mut self, transport: Transport) {
        if let Some(key) = self.core.adopt(transport) {
            let text = "this server is full (--max-clients)";
            let headers = [("Retry-After", "1")];
            self.core
                .refuse(key, Status::SERVICE_UNAVAILABLE, text, &headers);
            // What it has sent meanwhile is read, so that the answer is not lost.
            self.readable(key);
        }
    }

    /// Clients there are, those in the middle of their handshake or farewell among them.
    pub fn clients(&self) -> usize {
        self.core.clients.len()
    }

    /// Messages of clients that the log has not taken yet.
    pub fn unpublished(&self) -> usize {
        self.core.waiting.len()
    }

    /// Tells the board what has happened since the last turn did.
    pub fn report_figures(&mut self) {
        self.core.report_figures();
    }

    /// The loop, for registering what is the owner's.
    pub fn event_loop(&self) -> &crate::event_loop::EventLoop {
        &self.core.event_loop
    }

    /// The worker's seat in the shared board.
    pub fn participant(&mut self) -> &mut Participant {
        &mut self.core.participant
    }

    /// The time of this turn in milliseconds since the engine was made.
    pub fn now_ms(&self) -> u64 {
        self.core.now_ms
    }

    /// Gives away the clients that have not said anything yet: another worker can begin with them.
    pub fn take_silent(&mut self) -> Vec<Transport> {
        self.core.take_silent()
    }

    fn client_ready(&mut self, key: Key, event: &Ready) {
        if event.writable {
            self.core.writable(key);
        }
        if event.readable {
            if event.ended {
                self.ending(key);
            }
            self.readable(key);
        }
    }

    /// Carries out what could not be done while an app was running.
    fn settle(&mut self) {
        // Whoever is accepted may have sent messages before, and what comes of them is settled by
        // the loop that is running already: a thousand of them would be a thousand calls deep.
        if std::mem::replace(&mut self.settling, true) {
            return;
        }
        self.settle_all();
        self.settling = false;
    }

    fn settle_all(&mut self) {
        loop {
            if let Some((key, unread)) = self.core.opened.pop() {
                self.opened(key, unread);
            } else if let Some(Gone { key, app, closed }) = self.core.gone.pop() {
                self.core.bury(key);
                if let Some(app) = app {
                    self.apps
                        .get_mut(app)
                        .close(&mut Context::new(&mut self.core), key, &closed);
                }
            } else {
                return;
            }
        }
    }
}
