//! How a worker leaves: it closes its door, hands over whom it can, serves the others for the time
//! that it is given, tells them to go, and ends when they have gone or their time is up.
//!
//! ```text
//! Serving ─ Replace ─▶ Moving ─▶ Mercy ─▶ Moving ─▶ Draining ─▶ (gone)
//!     └────── Drain ─────┴─────────┴─────────┴─────────▲
//! ```
//!
//! A stop is more urgent than a replacement: it skips what is left of that, and nobody gets more time
//! by it. It must not know how clients are handed over, nor what is said to them.

use std::io;

use log::{info, warn};

use crate::config::Orphans;
use crate::sharedarea::ParticipantState;
use crate::status::counted;

use super::Report;
use super::balance::better_slot;
use super::run::{Phase, Worker};

/// Close code of a server that stops (RFC 6455 section 7.4.1).
pub(super) const GOING_AWAY: u16 = 1001;
/// Close code of a worker that is replaced (RFC 6455's registry: service restart).
const RESTART: u16 = 1012;

/// Handing over may take so long even if clients get no time to leave. It is less than the grace
/// after which the master kills.
const MOVING_MS_MIN: u64 = 1_000;

/// What those who cannot be moved are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// The close code.
    code: u16,
    /// They are served until then; None: they are told to go at once.
    pub(super) mercy_until_ms: Option<u64>,
    /// The worker leaves then, in any case.
    pub(super) until_ms: u64,
}

impl Worker {
    /// Hands everybody who can be moved over to the worker in slot `by`; the others may stay for
    /// `mercy_ms`, and then have `timeout_ms` to leave.
    pub(super) fn give_place(
        &mut self,
        by: u16,
        code: u16,
        mercy_ms: u32,
        timeout_ms: u32,
    ) -> io::Result<()> {
        if self.phase != Phase::Serving {
            return Ok(());
        }
        let now_ms = self.engine.now_ms();
        let (mercy_ms, timeout_ms) = (u64::from(mercy_ms), u64::from(timeout_ms));
        let terms = Terms {
            code,
            mercy_until_ms: (mercy_ms > 0).then_some(now_ms + mercy_ms),
            until_ms: now_ms + mercy_ms + timeout_ms,
        };
        self.phase = self.moving(terms, timeout_ms);
        self.close_door()?;
        self.abandon_departure();
        self.begin_departure(by, usize::MAX);
        Ok(())
    }

    /// From now on everybody is handed over. Half of the time that clients have to leave is for that;
    /// the other half is for those who are left then.
    fn moving(&self, terms: Terms, timeout_ms: u64) -> Phase {
        let until_ms = self.engine.now_ms() + (timeout_ms / 2).max(MOVING_MS_MIN);
        Phase::Moving { terms, until_ms }
    }

    /// Mercy is over. Who can be moved by now is, to whoever has the fewest.
    fn end_mercy(&mut self, terms: Terms) {
        let terms = Terms {
            mercy_until_ms: None,
            ..terms
        };
        let timeout_ms = terms.until_ms.saturating_sub(self.engine.now_ms());
        match better_slot(self.area.participants(), self.slot, u32::MAX) {
            Some(by) => {
                self.phase = self.moving(terms, timeout_ms);
                self.begin_departure(by, usize::MAX);
            }
            None => self.dismiss(terms.code, terms.until_ms),
        }
    }

    /// Lets everybody go, in this time or what is left of a time they were given before.
    pub(super) fn drain(&mut self, code: u16, timeout_ms: u32) -> io::Result<()> {
        let until_ms = self.engine.now_ms() + u64::from(timeout_ms);
        match self.phase {
            Phase::Serving => {
                self.close_door()?;
                self.dismiss(code, until_ms);
            }
            Phase::Moving { terms, .. } => {
                self.abandon_departure();
                self.dismiss(code, until_ms.min(terms.until_ms));
            }
            Phase::Mercy(terms) => self.dismiss(code, until_ms.min(terms.until_ms)),
            Phase::Draining { until_ms: before } => self.dismiss(code, until_ms.min(before)),
            Phase::Stopped => {}
        }
        Ok(())
    }

    /// The master is gone: nobody would tell us to leave.
    pub(super) fn leave_as_orphan(&mut self) -> io::Result<()> {
        match (self.phase, self.operations.orphans) {
            (Phase::Stopped, _) => {}
            (_, Orphans::Exit) => {
                warn!("the master is gone: leaving at once");
                self.phase = Phase::Stopped;
            }
            (Phase::Serving | Phase::Moving { .. } | Phase::Mercy(_), Orphans::Drain) => {
                warn!("the master is gone: leaving");
                self.drain(GOING_AWAY, self.drain_timeout_ms)?;
            }
            (Phase::Draining { .. }, Orphans::Drain) => {}
        }
        Ok(())
    }

    /// Goes on leaving, if it does; whether it is time to go.
    pub(super) fn has_left(&mut self) -> bool {
        let now_ms = self.engine.now_ms();
        match self.phase {
            Phase::Serving | Phase::Moving { .. } => return false,
            Phase::Mercy(terms) => {
                let over = terms.mercy_until_ms.is_none_or(|until| now_ms >= until);
                if over && !self.is_empty() {
                    self.end_mercy(terms);
                }
            }
            Phase::Draining { until_ms } => {
                if now_ms >= until_ms && !self.is_empty() {
                    self.cut_off();
                    return true;
                }
            }
            Phase::Stopped => return true,
        }
        let empty = self.is_empty();
        if empty {
            self.tell(Report::Drained);
        }
        empty
    }

    /// Handing over takes too long: who is still here stays.
    pub(super) fn hurry_moving(&mut self) {
        if let Phase::Moving { until_ms, .. } = self.phase
            && self.engine.now_ms() >= until_ms
            && self.departure.is_some()
        {
            let clients = counted(self.engine.clients(), "client");
            warn!("handing over takes too long, not moved: {clients}");
            self.abandon_departure();
        }
    }

    /// Whoever can be moved has been.
    pub(super) fn all_moved(&mut self) {
        let Phase::Moving { terms, .. } = self.phase else {
            return;
        };
        let Some(until_ms) = terms.mercy_until_ms else {
            return self.dismiss(terms.code, terms.until_ms);
        };
        self.phase = Phase::Mercy(terms);
        self.seat_silent();
        if !self.is_empty() {
            self.tell(Report::Moved);
            let clients = counted(self.engine.clients(), "client");
            let left_ms = until_ms.saturating_sub(self.engine.now_ms());
            info!("{clients} cannot be moved, to be served for {left_ms} ms more");
        }
    }

    fn abandon_departure(&mut self) {
        self.with_post(|post, _, departure| {
            if let Some(mut departure) = departure.take() {
                departure.abandon(post);
            }
        });
    }

    fn close_door(&mut self) -> io::Result<()> {
        self.engine
            .participant()
            .set_state(ParticipantState::Draining);
        // Who does not accept at the moment leaves them in the queue for the others.
        let accepting = self.accepting;
        self.leave_listeners()?;
        // The kernel wakes one worker for a newcomer: if that was us, nobody else knows of it. Who
        // comes later wakes another worker that shares the socket.
        for listener in std::mem::take(&mut self.listeners) {
            if accepting {
                self.accept_last(&listener);
            }
        }
        Ok(())
    }

    fn dismiss(&mut self, code: u16, until_ms: u64) {
        let clients = self.engine.clients();
        if clients > 0 || self.phase == Phase::Serving {
            let clients = counted(clients, "client");
            info!("draining {clients} with close code {code}");
        }
        self.phase = Phase::Draining { until_ms };
        let left_ms = until_ms.saturating_sub(self.engine.now_ms());
        // Who is told to restart comes back; who is told that the server goes does not.
        let spread_ms = if code == RESTART {
            self.drain_spread_ms.min(left_ms / 2)
        } else {
            0
        };
        self.engine.drain(code, spread_ms);
        self.seat_silent();
    }

    /// Those that have not asked for anything need not notice: others begin with them.
    fn seat_silent(&mut self) {
        for transport in self.engine.take_silent() {
            self.seat(transport);
        }
    }

    /// Nobody is left, nobody is on the way to us or waits for word from us, and whatever was published
    /// is in the log.
    fn is_empty(&mut self) -> bool {
        self.engine.clients() == 0
            && self.unsent.is_empty()
            && self.engine.unpublished() == 0
            && !self.engine.participant().is_reserved()
    }

    /// Leaves although somebody or something is left.
    fn cut_off(&mut self) {
        let clients = self.engine.clients();
        if clients > 0 {
            let clients = counted(clients, "client");
            warn!("leaving {clients} behind: not gone in time");
        }
        self.engine.cut_off();
        let messages = self.engine.unpublished();
        if messages > 0 {
            let messages = counted(messages, "message");
            warn!("{messages} lost: not taken by the log in time");
        }
    }
}
