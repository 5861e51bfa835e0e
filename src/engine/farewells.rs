//! The end of all clients of a worker, politely and, where they would all come back at once, not
//! all at once.

use std::collections::VecDeque;

use crate::app::Context;
use crate::event_loop::Key;
use crate::protocol::websocket::CloseCode;

use super::Engine;
use super::client::Marks;

/// While farewells are due, a turn waits no longer.
pub(super) const STEP_MS: u64 = 20;

/// Clients that are told to go one after the other.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    queue: VecDeque<Key>,
    clients: usize,
    begun_ms: u64,
    spread_ms: u64,
}

impl Farewells {
    /// Whether nobody is left to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next one whose time has come.
    fn due(&mut self, now_ms: u64) -> Option<Key> {
        let told = self.clients - self.queue.len();
        let passed_ms = now_ms.saturating_sub(self.begun_ms);
        // The n-th is told after n parts of the time; with no time to spread over, all at once.
        let is_due = told as u64 * self.spread_ms <= passed_ms * self.clients as u64;
        if is_due { self.queue.pop_front() } else { None }
    }
}

impl Engine {
    /// Ends all clients, politely, with this close code, evenly spread over `spread_ms`, so that
    /// they do not all come back in the same moment. [`Self::clients`] tells when they are gone.
    ///
    /// Connections that ask for something from now on are refused; but when the server only
    /// restarts (1012) they get what they ask for, and then are ended like the others.
    ///
    /// Called again, it counts for those whose app has not closed them yet, told or not.
    pub fn drain(&mut self, code: u16, spread_ms: u64) {
        self.core.draining = Some(CloseCode(code));
        let mut queue = VecDeque::new();
        for key in self.core.clients.keys() {
            if self.core.open_app(key).is_some() {
                queue.push_back(key);
            } else {
                self.core.hurry_closing(key);
                self.core.drop_idle(key);
            }
        }
        let clients = queue.len();
        let begun_ms = self.core.now_ms;
        self.core.farewells = Farewells {
            queue,
            clients,
            begun_ms,
            spread_ms,
        };
        self.say_farewells();
        self.core.flush_dirty();
    }

    /// Ends what is left of our clients without another word to them; their apps are told. What these
    /// publish has to be in the log at once, or it is not.
    pub fn cut_off(&mut self) {
        for key in self.core.clients.keys() {
            let client = self.core.clients.get(key);
            // Who is frozen may be another worker's.
            if client.is_some_and(|client| !client.marks.contains(Marks::FROZEN)) {
                self.core.lost(key);
            }
        }
        self.settle();
        for app in self.apps.iter_mut() {
            app.turn(&mut Context::new(&mut self.core));
        }
        self.core.retry_publications();
    }

    /// Tells those to go whose time has come.
    pub(super) fn say_farewells(&mut self) {
        let Some(code) = self.core.draining else {
            return;
        };
        while let Some(key) = self.core.farewells.due(self.core.now_ms) {
            if let Some(app) = self.core.open_app(key) {
                let context = &mut Context::new(&mut self.core);
                self.apps.get_mut(app).drain(context, key, code.0);
            }
        }
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::Slab;

    fn farewells(clients: usize, spread_ms: u64) -> Farewells {
        let mut slab = Slab::new();
        let queue: VecDeque<Key> = (0..clients).map(|_| slab.insert(())).collect();
        Farewells {
            queue,
            clients,
            begun_ms: 1000,
            spread_ms,
        }
    }

    fn told_by(farewells: &mut Farewells, now_ms: u64) -> usize {
        std::iter::from_fn(|| farewells.due(now_ms)).count()
    }

    #[test]
    fn they_are_spread_evenly() {
        let mut farewells = farewells(100, 1000);
        assert_eq!(told_by(&mut farewells, 1000), 1);
        assert_eq!(told_by(&mut farewells, 1500), 50);
        assert_eq!(told_by(&mut farewells, 1990), 49);
        assert!(farewells.is_empty());
        assert_eq!(told_by(&mut farewells, 9000), 0);
    }

    #[test]
    fn with_no_time_to_spread_over_all_go_at_once() {
        assert_eq!(told_by(&mut farewells(100, 0), 1000), 100);
        assert_eq!(told_by(&mut farewells(0, 1000), 1000), 0);
    }
}
