//! The chain: one worker after the other is replaced.
//!
//! For each worker the replacement boots in an empty slot; when it is ready, the old worker hands its
//! clients over to it and leaves, or stays behind as a leftover for those who cannot be handed over;
//! when the replacement has lived for [`super::Policy::settle_ms`], the next one's turn has come. A
//! replacement that fails ends the chain, its slot goes back to what was there before, and the workers
//! that are still of the old generation stay. It must not know why workers are replaced, nor how they
//! are respawned or stopped.

use super::reload::{Change, Place, Progress, Step};
use super::{Action, Notice, Phase, SlotState, Supervisor};
use crate::sys::process::Exit;

impl Supervisor {
    /// Begins the next replacement, or ends the reload when none is left.
    pub(super) fn replace_next(&mut self, actions: &mut Vec<Action>) {
        loop {
            let Phase::Reloading(reload) = &mut self.phase else {
                return;
            };
            let generation = reload.generation;
            let Some(victim) = reload.waiting.pop_front() else {
                return self.end_change(actions);
            };
            let (slot, place) = match self.state(victim) {
                before @ (SlotState::Abandoned { .. } | SlotState::Paused { .. }) => {
                    (victim, Place::Own { before })
                }
                SlotState::Forking { .. }
                | SlotState::Booting { .. }
                | SlotState::Serving { .. }
                | SlotState::Killed {
                    respawn: Some(_), ..
                } => match self.spare() {
                    Some(spare) => (spare, Place::Of { victim }),
                    None => return self.wait_for_a_slot(victim, actions),
                },
                // It is going anyway.
                SlotState::Empty
                | SlotState::Draining { .. }
                | SlotState::Leftover { .. }
                | SlotState::Stopping { .. }
                | SlotState::Killed { respawn: None, .. } => continue,
            };
            self.set_step(Step::Booting { slot, place });
            self.forget_crashes(slot);
            return self.fork(slot, generation, actions);
        }
    }

    /// Everybody is replaced, or nobody more will be.
    fn end_change(&mut self, actions: &mut Vec<Action>) {
        let Phase::Reloading(reload) = &self.phase else {
            return;
        };
        let (change, generation) = (reload.change, reload.generation);
        if reload.progress == Progress::Going {
            if let Some(processes) = reload.processes {
                self.policy.processes = self.within_reach(processes);
            }
            match change {
                Change::Reload | Change::Upgrade => self.good = generation,
                Change::Renewal => {}
            }
            actions.push(Action::Tell(Notice::ReloadDone {
                change,
                generation,
                leftovers: self.leftovers(),
            }));
        }
        self.run(actions);
    }

    fn wait_for_a_slot(&mut self, victim: u16, actions: &mut Vec<Action>) {
        if let Phase::Reloading(reload) = &mut self.phase {
            reload.waiting.push_front(victim);
            reload.step = Step::Crowded;
            let change = reload.change;
            actions.push(Action::Tell(Notice::ReloadCrowded { change }));
        }
    }

    /// A worker is ready: if it is the replacement, the old one is told to leave.
    pub(super) fn replacement_ready(&mut self, ready: u16, actions: &mut Vec<Action>) {
        let Some(Step::Booting { slot, place }) = self.step() else {
            return;
        };
        if slot != ready {
            return;
        }
        let victim = match place {
            Place::Of { victim } => victim,
            Place::Own { .. } => {
                actions.push(Action::Share { slot });
                return self.settle(slot);
            }
        };
        let change = self.change().unwrap_or(Change::Reload);
        actions.push(Action::Tell(Notice::Replaced {
            change,
            old: victim,
            new: slot,
        }));
        let leaving = Step::Leaving { victim, new: slot };
        match self.state(victim) {
            SlotState::Booting { .. } | SlotState::Serving { .. } => {
                self.set_step(leaving);
                self.replace(victim, Some(slot), actions);
            }
            SlotState::Killed { pid, .. } => {
                self.set_step(leaving);
                self.set(victim, SlotState::Killed { pid, respawn: None });
            }
            // It died meanwhile and would have been respawned.
            SlotState::Abandoned { .. } | SlotState::Paused { .. } => {
                self.set(victim, SlotState::Empty);
                self.settle(slot);
            }
            SlotState::Empty
            | SlotState::Forking { .. }
            | SlotState::Draining { .. }
            | SlotState::Leftover { .. }
            | SlotState::Stopping { .. } => self.settle(slot),
        }
    }

    /// The replacement has taken over; what it must still live counts from when it was ready.
    pub(super) fn settle(&mut self, new: u16) {
        let until_ms = match self.state(new) {
            SlotState::Serving { since_ms, .. } => since_ms.saturating_add(self.policy.settle_ms),
            // It has failed, and its end will say so.
            SlotState::Killed { .. } => u64::MAX,
            SlotState::Empty
            | SlotState::Abandoned { .. }
            | SlotState::Paused { .. }
            | SlotState::Forking { .. }
            | SlotState::Booting { .. }
            | SlotState::Draining { .. }
            | SlotState::Leftover { .. }
            | SlotState::Stopping { .. } => self.now_ms,
        };
        self.set_step(Step::Settling { new, until_ms });
    }

    /// A worker has handed over whom it could: if it is the one at hand, its replacement goes on alone.
    pub(super) fn place_given(&mut self, slot: u16) {
        if let Some(Step::Leaving { victim, new }) = self.step()
            && victim == slot
        {
            self.settle(new);
        }
    }

    /// A worker that was told to leave has left.
    pub(super) fn slot_emptied(&mut self, slot: u16, actions: &mut Vec<Action>) {
        match self.step() {
            Some(Step::Leaving { .. }) => self.place_given(slot),
            Some(Step::Crowded) => self.replace_next(actions),
            Some(
                Step::Probe { .. } | Step::Config | Step::Booting { .. } | Step::Settling { .. },
            ) => {}
            None if self.phase == Phase::Running => self.fit(actions),
            None => {}
        }
    }

    /// A worker ended unasked or could not be forked. Ends the change if it was of the new
    /// generation; true if its slot needs nothing more.
    pub(super) fn replacement_failed(
        &mut self,
        slot: u16,
        exit: Option<Exit>,
        actions: &mut Vec<Action>,
    ) -> bool {
        let state_generation = self.state(slot).generation();
        let Phase::Reloading(reload) = &mut self.phase else {
            return false;
        };
        let (change, generation) = (reload.change, reload.generation);
        let new = match reload.step {
            Step::Booting { slot: new, .. }
            | Step::Leaving { new, .. }
            | Step::Settling { new, .. } => Some(new),
            Step::Probe { .. } | Step::Config | Step::Crowded => None,
        };
        let concerned = match change {
            Change::Reload | Change::Upgrade => state_generation == Some(generation),
            Change::Renewal => new == Some(slot),
        };
        if !concerned {
            return false;
        }
        if reload.progress == Progress::Going {
            actions.push(Action::Tell(Notice::ReloadFailed {
                change,
                generation,
                slot,
                exit,
            }));
        }
        reload.progress = Progress::Failed;
        reload.waiting.clear();
        match reload.step {
            Step::Booting { slot: new, place } if new == slot => {
                let state = match place {
                    Place::Of { .. } => SlotState::Empty,
                    Place::Own { before } => before,
                };
                self.set(slot, state);
                self.run(actions);
                return true;
            }
            Step::Probe { .. }
            | Step::Config
            | Step::Crowded
            | Step::Booting { .. }
            | Step::Leaving { .. }
            | Step::Settling { .. } => {}
        }
        false
    }

    /// The slot of a failed replacement has been seen to; without it there is nothing to wait for.
    pub(super) fn end_if_unsettled(&mut self, slot: u16, actions: &mut Vec<Action>) {
        let Phase::Reloading(reload) = &self.phase else {
            return;
        };
        let is_over = match reload.step {
            Step::Settling { new, .. } => new == slot,
            Step::Crowded => reload.progress == Progress::Failed,
            Step::Probe { .. } | Step::Config | Step::Booting { .. } | Step::Leaving { .. } => {
                false
            }
        };
        if is_over {
            self.run(actions);
        }
    }

    /// A slot that nobody has.
    pub(super) fn spare(&self) -> Option<u16> {
        self.slots()
            .find(|(_, state)| *state == SlotState::Empty)
            .map(|(slot, _)| slot)
    }

    /// What a slot did under the old configuration is not held against the new one.
    pub(super) fn forget_crashes(&mut self, slot: u16) {
        let slot = &mut self.slots[usize::from(slot) - 1];
        slot.crashes_ms.clear();
        slot.streak = 0;
    }
}
