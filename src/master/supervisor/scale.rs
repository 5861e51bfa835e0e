//! How many workers there are, and whether they accept.
//!
//! It must not know the order in which a reload replaces workers.

use super::{Action, Notice, Phase, SlotState, Supervisor};

impl Supervisor {
    /// Wants so many workers from now on.
    pub(super) fn scale(&mut self, processes: u16, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Starting { .. } | Phase::Running | Phase::Reloading(_) => {}
            Phase::Draining | Phase::Stopping { .. } | Phase::Ended => {
                actions.push(Action::Tell(Notice::ScaleIgnored));
                return;
            }
        }
        let (from, to) = (self.policy.processes, self.within_reach(processes));
        self.policy.processes = to;
        self.scaling = true;
        actions.push(Action::Tell(Notice::Scaling { from, to }));
        if self.phase == Phase::Running {
            self.fit(actions);
        }
    }

    /// The number of workers nearest to this one that there can be.
    pub(super) fn within_reach(&self, processes: u16) -> u16 {
        processes.clamp(1, self.policy.slots.saturating_sub(1).max(1))
    }

    /// Makes as many workers as are wanted, or lets as many leave as are too many.
    pub(super) fn fit(&mut self, actions: &mut Vec<Action>) {
        let wanted = usize::from(self.policy.processes);
        let staffed = self.staffed();
        for _ in staffed..wanted {
            // With every slot in use by somebody who leaves, the next one that empties is taken.
            let Some(slot) = self.spare() else { return };
            self.forget_crashes(slot);
            let (until_ms, generation) = (self.now_ms, self.good);
            let state = SlotState::Paused {
                until_ms,
                generation,
            };
            self.set(slot, state);
        }
        for _ in wanted..staffed {
            self.let_one_go(actions);
        }
    }

    /// Who is of least use goes first: those that do not serve, then the last one that does.
    fn let_one_go(&mut self, actions: &mut Vec<Action>) {
        let use_of = |state: SlotState| match state {
            SlotState::Abandoned { .. } => Some(0),
            SlotState::Paused { .. } => Some(1),
            SlotState::Killed {
                respawn: Some(_), ..
            } => Some(2),
            SlotState::Forking { .. } | SlotState::Booting { .. } => Some(3),
            SlotState::Serving { .. } => Some(4),
            SlotState::Empty
            | SlotState::Draining { .. }
            | SlotState::Leftover { .. }
            | SlotState::Stopping { .. }
            | SlotState::Killed { respawn: None, .. } => None,
        };
        let candidates = self
            .slots()
            .filter_map(|(slot, state)| Some((use_of(state)?, slot, state)));
        let least = candidates.min_by_key(|(of_use, slot, _)| (*of_use, u16::MAX - slot));
        let Some((_, slot, state)) = least else {
            return;
        };
        match state {
            SlotState::Abandoned { .. } | SlotState::Paused { .. } => {
                self.set(slot, SlotState::Empty);
            }
            SlotState::Killed { pid, .. } => {
                self.set(slot, SlotState::Killed { pid, respawn: None });
            }
            SlotState::Booting { .. } => self.stop_slot(slot, actions),
            SlotState::Serving { .. } => self.replace(slot, None, actions),
            // There is nobody yet who could be told.
            SlotState::Forking { .. }
            | SlotState::Empty
            | SlotState::Draining { .. }
            | SlotState::Leftover { .. }
            | SlotState::Stopping { .. } => {}
        }
    }

    /// Says that as many workers serve as are wanted, or that no more will come.
    pub(super) fn tell_if_scaled(&mut self, actions: &mut Vec<Action>) {
        let settled = |state: SlotState| {
            matches!(
                state,
                SlotState::Empty
                    | SlotState::Abandoned { .. }
                    | SlotState::Serving { .. }
                    | SlotState::Leftover { .. }
            )
        };
        if !self.scaling || self.phase != Phase::Running {
            return;
        }
        let wanted = self.policy.processes;
        // Who is missing may be waiting for the slot of a leftover.
        let complete = self.staffed() >= usize::from(wanted);
        let leftovers = self.leftovers();
        if self.slots().all(|(_, state)| settled(state)) && (complete || leftovers.workers == 0) {
            self.scaling = false;
            let serving = self.serving();
            actions.push(Action::Tell(Notice::Scaled {
                serving,
                wanted,
                leftovers,
            }));
        }
    }

    /// Slots in which somebody sits who stays, or will.
    fn staffed(&self) -> usize {
        self.slots().filter(|(_, state)| is_staffed(*state)).count()
    }

    /// Lets workers accept clients, or lets clients wait.
    pub(super) fn accept(&mut self, on: bool, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Starting { .. } | Phase::Running | Phase::Reloading(_) => {}
            Phase::Draining | Phase::Stopping { .. } | Phase::Ended => return,
        }
        if self.accepting == on {
            return;
        }
        self.accepting = on;
        actions.push(Action::Tell(Notice::Accepting { on }));
        for (slot, state) in self.slots() {
            if matches!(state, SlotState::Booting { .. } | SlotState::Serving { .. }) {
                actions.push(Action::Accept { slot, on });
            }
        }
    }
}

/// Whether somebody sits there who stays, or will.
fn is_staffed(state: SlotState) -> bool {
    match state {
        SlotState::Abandoned { .. }
        | SlotState::Paused { .. }
        | SlotState::Forking { .. }
        | SlotState::Booting { .. }
        | SlotState::Serving { .. }
        | SlotState::Killed {
            respawn: Some(_), ..
        } => true,
        SlotState::Empty
        | SlotState::Draining { .. }
        | SlotState::Leftover { .. }
        | SlotState::Stopping { .. }
        | SlotState::Killed { respawn: None, .. } => false,
    }
}
