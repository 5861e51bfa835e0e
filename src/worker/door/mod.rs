//! The worker's door: accepting, and passing new clients on to workers with clearly fewer.

use std::io;
use std::os::fd::AsFd;

use log::{debug, warn};

use crate::net::{Listener, Transport};
use crate::status::counted;
use crate::sys::descriptors;

use super::balance::{better_slot, other_slot};
use super::mail::Letter;
use super::run::{Phase, Worker};

/// Clients accepted from one listener in one turn; then those that are there have theirs.
const ACCEPTS_PER_TURN: usize = 64;
/// That there is no room for more is told once in this time.
const FULL_TOLD_MS: u64 = 60_000;
/// After the system has refused a descriptor, no client is accepted for this time.
const REFUSED_PAUSE_MS: u64 = 100;

/// When something was last told that may come very often.
#[derive(Debug, Default)]
pub(super) struct Told {
    last_ms: Option<u64>,
}

impl Told {
    /// Whether it is to be told again.
    fn is_due(&mut self, now_ms: u64) -> bool {
        let is_due = self
            .last_ms
            .is_none_or(|last_ms| now_ms >= last_ms + FULL_TOLD_MS);
        if is_due {
            self.last_ms = Some(now_ms);
        }
        is_due
    }
}

impl Worker {
    pub(super) fn may_accept(&self) -> bool {
        self.open
            && self.engine.clients() < self.clients_max
            && self.engine.now_ms() >= self.accept_from_ms
    }

    pub(super) fn watch_listeners(&mut self) -> io::Result<()> {
        for (number, listener) in (0..).zip(&self.listeners) {
            self.engine
                .event_loop()
                .register_listener(listener.as_fd(), number)?;
        }
        self.accepting = true;
        Ok(())
    }

    pub(super) fn leave_listeners(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.accepting) {
            for listener in &self.listeners {
                self.engine.event_loop().deregister(listener.as_fd())?;
            }
        }
        Ok(())
    }

    pub(super) fn accept(&mut self, number: u16) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.accepting {
                return Ok(());
            }
            if !self.may_accept() {
                self.tell_full("no more are accepted");
                return self.leave_listeners();
            }
            let Some(listener) = self.listeners.get(usize::from(number)) else {
                return Ok(());
            };
            match listener.accept() {
                Ok(Some(transport)) => self.seat(transport),
                Ok(None) => return Ok(()),
                Err(error) => {
                    warn!("cannot accept on {}: {error}", listener.local_address());
                    self.accept_from_ms = self.engine.now_ms() + REFUSED_PAUSE_MS;
                    return self.leave_listeners();
                }
            }
        }
        Ok(())
    }

    /// Takes those in who wait at a listener that is not watched any more.
    pub(super) fn accept_last(&mut self, listener: &Listener) {
        for _ in 0..ACCEPTS_PER_TURN {
            match listener.accept() {
                Ok(Some(transport)) => self.seat(transport),
                Ok(None) => return,
                Err(error) => {
                    debug!("cannot accept on {}: {error}", listener.local_address());
                    return;
                }
            }
        }
    }

    /// A worker at its limit comes and goes there with every client: that is told seldom.
    fn tell_full(&mut self, consequence: &str) {
        if self.full_told.is_due(self.engine.now_ms()) {
            let clients = counted(self.engine.clients(), "client");
            warn!("serving {clients}, {consequence}");
        }
    }

    /// Takes in a client that another worker has passed on.
    pub(super) fn take_in(&mut self, transport: Transport) {
        let clients = self.engine.clients();
        match self.phase {
            Phase::Serving if clients < self.clients_max => self.engine.adopt(transport),
            // There was room when it was passed on.
            Phase::Serving => {
                let mine = u32::try_from(clients).unwrap_or(u32::MAX);
                let other = other_slot(self.area.participants(), self.slot, mine);
                if !other.is_some_and(|slot| self.hand_over(&transport, slot)) {
                    self.tell_full("one that was passed on is refused");
                    self.engine.refuse(transport);
                }
            }
            Phase::Moving { .. } | Phase::Mercy(_) | Phase::Draining { .. } | Phase::Stopped => {
                self.seat(transport);
            }
        }
    }

    /// Forgets the reservations of workers that have died before they could claim them.
    pub(super) fn mend_reservations(&mut self) {
        let now_ms = self.engine.now_ms();
        let participant = self.engine.participant();
        if self.unclaimed.is_over(participant.is_reserved(), now_ms) {
            let places = participant.forget_reservations();
            debug!("{places} places were reserved by workers that are gone");
        }
    }

    /// Keeps a new client, or hands it to a worker that has clearly fewer.
    pub(super) fn seat(&mut self, transport: Transport) {
        let mine = match self.phase {
            Phase::Serving => u32::try_from(self.engine.clients()).unwrap_or(u32::MAX),
            Phase::Moving { .. } | Phase::Mercy(_) | Phase::Draining { .. } | Phase::Stopped => {
                u32::MAX
            }
        };
        let better = better_slot(self.area.participants(), self.slot, mine);
        if !better.is_some_and(|slot| self.hand_over(&transport, slot)) {
            self.engine.adopt(transport);
        }
    }

    /// Whether the client is in the other's mailbox now.
    fn hand_over(&mut self, transport: &Transport, slot: u16) -> bool {
        let Some(peer) = self.mailboxes.peers.get(usize::from(slot) - 1) else {
            return false;
        };
        if !self.engine.participant().reserve(slot) {
            return false;
        }
        let letter = Letter::New(transport.purpose()).encode();
        match descriptors::send(peer.as_fd(), &letter, &[transport.as_fd()]) {
            Ok(()) => true,
            Err(error) => {
                debug!("cannot hand a client to slot {slot}, keeping it: {error}");
                self.engine.participant().release_reservation(slot);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
