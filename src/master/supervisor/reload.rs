//! A reload: one worker after the other is replaced by one of the new generation.
//!
//! The replacement boots on the spare slot and must be ready before the old worker is told to
//! leave; when it has left, its slot is the spare for the next. A replacement that fails ends the
//! reload, and the workers that are still of the old generation stay. It must not know how workers
//! are respawned or stopped.

use std::collections::VecDeque;

use super::{Action, Notice, Phase, SERVICE_RESTART, SlotState, Supervisor};
use crate::sys::process::Exit;

/// A reload that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reload {
    generation: u32,
    step: Step,
    /// Slots whose workers are still to be replaced.
    waiting: VecDeque<u16>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Going,
    /// A worker of the new generation failed; the step at hand is finished, and no other begins.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The configuration is being resolved.
    Config,
    /// A replacement is booting in `slot`.
    Booting { slot: u16, place: Place },
    /// The worker of `victim` is leaving.
    Leaving { victim: u16 },
}

/// Whose place a replacement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// That of the worker in another slot.
    Of { victim: u16 },
    /// Its own slot's: nobody was there. If the replacement fails, the slot is again what it was.
    Own { before: SlotState },
}

impl Reload {
    /// Whether it may go back to this generation.
    pub(super) fn needs(&self, generation: u32) -> bool {
        match self.step {
            Step::Booting {
                place: Place::Own { before },
                ..
            } => before.generation() == Some(generation),
            Step::Config | Step::Booting { .. } | Step::Leaving { .. } => false,
        }
    }
}

impl Supervisor {
    pub(super) fn reload(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => {
                self.generation += 1;
                let generation = self.generation;
                self.phase = Phase::Reloading(Reload {
                    generation,
                    step: Step::Config,
                    waiting: VecDeque::new(),
                    progress: Progress::Going,
                });
                actions.push(Action::Tell(Notice::ReloadBegins { generation }));
                actions.push(Action::LoadConfig { generation });
            }
            Phase::Starting | Phase::Reloading(_) => {
                self.reload_again = true;
                actions.push(Action::Tell(Notice::ReloadQueued));
            }
            Phase::Draining | Phase::Stopping { .. } | Phase::Ended => {
                actions.push(Action::Tell(Notice::ReloadIgnored));
            }
        }
    }

    pub(super) fn config_loaded(&mut self, actions: &mut Vec<Action>) {
        let waiting = self
            .slots()
            .filter(|(_, state)| *state != SlotState::Empty)
            .map(|(slot, _)| slot)
            .collect();
        let Phase::Reloading(reload) = &mut self.phase else {
            return;
        };
        reload.waiting = waiting;
        self.replace_next(actions);
    }

    pub(super) fn config_refused(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Reloading(_)) {
            actions.push(Action::Tell(Notice::ReloadRefused));
            self.run(actions);
        }
    }

    /// Begins the next replacement, or ends the reload when none is left.
    fn replace_next(&mut self, actions: &mut Vec<Action>) {
        loop {
            let Phase::Reloading(reload) = &mut self.phase else {
                return;
            };
            let new = reload.generation;
            let Some(victim) = reload.waiting.pop_front() else {
                if reload.progress == Progress::Going {
                    actions.push(Action::Tell(Notice::ReloadDone { generation: new }));
                }
                return self.run(actions);
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
                    None => continue,
                },
                // It is going anyway.
                SlotState::Empty
                | SlotState::Draining { .. }
                | SlotState::Stopping { .. }
                | SlotState::Killed { respawn: None, .. } => continue,
            };
            self.set_step(Step::Booting { slot, place });
            self.forget_crashes(slot);
            return self.fork(slot, new, actions);
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
            Place::Own { .. } => return self.replace_next(actions),
        };
        actions.push(Action::Tell(Notice::Replaced {
            old: victim,
            new: slot,
        }));
        match self.state(victim) {
            SlotState::Booting { .. } | SlotState::Serving { .. } => {
                self.set_step(Step::Leaving { victim });
                self.drain(victim, SERVICE_RESTART, actions);
            }
            SlotState::Killed { pid, .. } => {
                self.set_step(Step::Leaving { victim });
                self.set(victim, SlotState::Killed { pid, respawn: None });
            }
            // It died meanwhile and would have been respawned.
            SlotState::Abandoned { .. } | SlotState::Paused { .. } => {
                self.set(victim, SlotState::Empty);
                self.replace_next(actions);
            }
            SlotState::Empty
            | SlotState::Forking { .. }
            | SlotState::Draining { .. }
            | SlotState::Stopping { .. } => self.replace_next(actions),
        }
    }

    pub(super) fn victim_left(&mut self, slot: u16, actions: &mut Vec<Action>) {
        if self.step() == Some(Step::Leaving { victim: slot }) {
            self.replace_next(actions);
        }
    }

    /// A worker ended unasked or could not be forked. Ends the reload if it was of the new
    /// generation; true if it was the replacement itself, whose slot is then settled.
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
        let generation = reload.generation;
        if state_generation != Some(generation) {
            return false;
        }
        if reload.progress == Progress::Going {
            actions.push(Action::Tell(Notice::ReloadFailed {
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
                true
            }
            Step::Config | Step::Booting { .. } | Step::Leaving { .. } => false,
        }
    }

    /// The slot that nobody has.
    fn spare(&self) -> Option<u16> {
        self.slots()
            .find(|(_, state)| *state == SlotState::Empty)
            .map(|(slot, _)| slot)
    }

    fn step(&self) -> Option<Step> {
        match &self.phase {
            Phase::Reloading(reload) => Some(reload.step),
            Phase::Starting
            | Phase::Running
            | Phase::Draining
            | Phase::Stopping { .. }
            | Phase::Ended => None,
        }
    }

    fn set_step(&mut self, step: Step) {
        if let Phase::Reloading(reload) = &mut self.phase {
            reload.step = step;
        }
    }

    /// What a slot did under the old configuration is not held against the new one.
    fn forget_crashes(&mut self, slot: u16) {
        let slot = &mut self.slots[usize::from(slot) - 1];
        slot.crashes_ms.clear();
        slot.streak = 0;
    }
}
