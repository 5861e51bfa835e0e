//! The end of everything, the orders by which a worker leaves, and the leftovers: workers that were
//! replaced and still serve clients who cannot be handed over.
//!
//! It must not know why a single worker is to leave.

use super::{Action, GOING_AWAY, Leftovers, Notice, Phase, SERVICE_RESTART, SlotState, Supervisor};

/// What clients are given when the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// [`super::Policy::drain_timeout_ms`].
    Graceful,
    /// [`super::Policy::fast_stop_ms`]: a close frame, and not the time to answer it at leisure.
    Fast,
}

impl Supervisor {
    pub(super) fn stop(&mut self, haste: Haste, actions: &mut Vec<Action>) {
        let again_ms = self.policy.stop_again_ms;
        let before = self.stop_ms.replace(self.now_ms);
        if before.is_some_and(|before_ms| self.now_ms - before_ms < again_ms) {
            return;
        }
        match self.phase {
            Phase::Starting { .. } | Phase::Running | Phase::Reloading(_) => {
                let timeout_ms = match haste {
                    Haste::Graceful => self.policy.drain_timeout_ms,
                    Haste::Fast => self.policy.fast_stop_ms,
                };
                actions.push(Action::Tell(Notice::Draining { timeout_ms }));
                actions.push(Action::CloseListeners);
                self.end_probe(actions);
                self.phase = Phase::Draining;
                self.want_nobody();
                for slot in self.numbers() {
                    self.drain(slot, GOING_AWAY, timeout_ms, actions);
                }
            }
            Phase::Draining => self.stop_all(0, actions),
            Phase::Stopping { .. } => {
                for (slot, state) in self.slots().collect::<Vec<_>>() {
                    if matches!(state, SlotState::Stopping { .. }) {
                        self.kill(slot, None, actions);
                    }
                }
            }
            Phase::Ended => {}
        }
    }

    /// Everybody leaves at once, and then the master ends with this code.
    pub(super) fn stop_all(&mut self, code: u8, actions: &mut Vec<Action>) {
        actions.push(Action::Tell(Notice::StoppingNow));
        actions.push(Action::CloseListeners);
        self.end_probe(actions);
        self.phase = Phase::Stopping { code };
        self.want_nobody();
        for slot in self.numbers() {
            self.stop_slot(slot, actions);
        }
    }

    /// Nobody is to be respawned any more.
    fn want_nobody(&mut self) {
        for slot in &mut self.slots {
            match &mut slot.state {
                SlotState::Paused { .. } | SlotState::Abandoned { .. } => {
                    slot.state = SlotState::Empty;
                }
                SlotState::Killed { respawn, .. } => *respawn = None,
                SlotState::Empty
                | SlotState::Forking { .. }
                | SlotState::Booting { .. }
                | SlotState::Serving { .. }
                | SlotState::Draining { .. }
                | SlotState::Leftover { .. }
                | SlotState::Stopping { .. } => {}
            }
        }
    }

    /// Orders the worker of a slot, if there is one at work, to let its clients go.
    pub(super) fn drain(
        &mut self,
        slot: u16,
        code: u16,
        timeout_ms: u64,
        actions: &mut Vec<Action>,
    ) {
        if self.leave(slot, timeout_ms, 0) {
            actions.push(Action::Drain {
                slot,
                code,
                timeout_ms,
            });
        }
    }

    /// Orders the worker of a slot, if there is one at work, to hand its clients over and leave.
    pub(super) fn replace(&mut self, slot: u16, by: Option<u16>, actions: &mut Vec<Action>) {
        let (timeout_ms, mercy_ms) = (self.policy.drain_timeout_ms, self.policy.mercy_ms);
        if self.leave(slot, timeout_ms, mercy_ms) {
            actions.push(Action::Replace {
                slot,
                by,
                code: SERVICE_RESTART,
                mercy_ms,
                timeout_ms,
            });
        }
    }

    /// A worker has handed over whom it could. If it may serve the others, it is a leftover from now
    /// on, and nobody waits for it.
    pub(super) fn moved(&mut self, slot: u16, actions: &mut Vec<Action>) {
        let SlotState::Draining {
            pid,
            generation,
            deadline_ms,
            mercy_ms: mercy_ms @ 1..,
        } = self.state(slot)
        else {
            return;
        };
        let deadline_ms = deadline_ms.saturating_add(mercy_ms);
        self.set(
            slot,
            SlotState::Leftover {
                pid,
                generation,
                deadline_ms,
            },
        );
        let left_ms = self.left_ms(deadline_ms);
        actions.push(Action::Tell(Notice::Moved { slot, pid, left_ms }));
        self.place_given(slot);
    }

    /// How many leftovers there are, and for how long at most.
    pub(super) fn leftovers(&self) -> Leftovers {
        let deadline_ms = |state: SlotState| match state {
            SlotState::Leftover { deadline_ms, .. } => Some(deadline_ms),
            SlotState::Empty
            | SlotState::Abandoned { .. }
            | SlotState::Paused { .. }
            | SlotState::Forking { .. }
            | SlotState::Booting { .. }
            | SlotState::Serving { .. }
            | SlotState::Draining { .. }
            | SlotState::Stopping { .. }
            | SlotState::Killed { .. } => None,
        };
        let of_slots = self.slots().filter_map(|(_, state)| deadline_ms(state));
        of_slots.fold(Leftovers::default(), |found, deadline_ms| Leftovers {
            workers: found.workers + 1,
            left_ms: found.left_ms.max(self.left_ms(deadline_ms)),
        })
    }

    /// What clients have of the time until a worker is killed.
    fn left_ms(&self, deadline_ms: u64) -> u64 {
        deadline_ms
            .saturating_sub(self.policy.grace_ms)
            .saturating_sub(self.now_ms)
    }

    /// From now on the worker of the slot is leaving; false if there is none, or it has been told to
    /// leave at once. One that is leaving already gets no more time than it had.
    fn leave(&mut self, slot: u16, timeout_ms: u64, mercy_ms: u64) -> bool {
        let (pid, generation, at_most_ms) = match self.state(slot) {
            SlotState::Booting {
                pid, generation, ..
            }
            | SlotState::Serving {
                pid, generation, ..
            } => (pid, generation, u64::MAX),
            SlotState::Draining {
                pid,
                generation,
                deadline_ms,
                ..
            }
            | SlotState::Leftover {
                pid,
                generation,
                deadline_ms,
            } => (pid, generation, deadline_ms),
            SlotState::Empty
            | SlotState::Abandoned { .. }
            | SlotState::Paused { .. }
            | SlotState::Forking { .. }
            | SlotState::Stopping { .. }
            | SlotState::Killed { .. } => return false,
        };
        let deadline_ms = self
            .now_ms
            .saturating_add(timeout_ms)
            .saturating_add(self.policy.grace_ms)
            .min(at_most_ms);
        self.set(
            slot,
            SlotState::Draining {
                pid,
                generation,
                deadline_ms,
                mercy_ms,
            },
        );
        true
    }

    pub(super) fn stop_slot(&mut self, slot: u16, actions: &mut Vec<Action>) {
        let (SlotState::Booting { pid, .. }
        | SlotState::Serving { pid, .. }
        | SlotState::Draining { pid, .. }
        | SlotState::Leftover { pid, .. }) = self.state(slot)
        else {
            return;
        };
        let deadline_ms = self.now_ms.saturating_add(self.policy.grace_ms);
        self.set(slot, SlotState::Stopping { pid, deadline_ms });
        actions.push(Action::Stop { slot });
    }
}
