//! A reload, an upgrade or a renewal: one worker after the other is replaced.
//!
//! First a child probes whether the new configuration or program can be used at all. Then, for each
//! worker: the replacement boots in an empty slot; when it is ready, the old worker hands its clients
//! over to it and leaves, or stays behind as a leftover for those who cannot be handed over; when the
//! replacement has lived for [`super::Policy::settle_ms`], the next one's turn has come. A replacement that fails ends the reload, its slot goes back to what was
//! there before, and the workers that are still of the old generation stay. It must not know how
//! workers are respawned or stopped.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Notice, Phase, SlotState, Supervisor, Wanted};
use crate::sys::process::Exit;

/// Why workers are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new configuration, the same program.
    Reload,
    /// A new program.
    Upgrade,
    /// One worker is old or large.
    Renewal,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::Renewal => "renewal",
        })
    }
}

/// A change that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reload {
    pub(super) change: Change,
    pub(super) generation: u32,
    step: Step,
    /// Slots whose workers are still to be replaced.
    waiting: VecDeque<u16>,
    /// Workers that the new configuration wants, if it wants another number than the old one.
    processes: Option<u16>,
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
    /// A child looks whether it can work; it is ended then.
    Probe { until_ms: u64 },
    /// The configuration is being resolved, by this program or the next.
    Config,
    /// Nobody can be replaced before some slot empties.
    Crowded,
    /// A replacement is booting in `slot`.
    Booting { slot: u16, place: Place },
    /// The worker of `victim` is giving its place to that of `new`.
    Leaving { victim: u16, new: u16 },
    /// The replacement must live until then.
    Settling { new: u16, until_ms: u64 },
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
    /// A change whose configuration is being resolved.
    pub(super) fn resolving(change: Change, generation: u32) -> Self {
        Self {
            change,
            generation,
            step: Step::Config,
            waiting: VecDeque::new(),
            processes: None,
            progress: Progress::Going,
        }
    }

    /// Whether it leads to this generation, or may go back to it.
    pub(super) fn needs(&self, generation: u32) -> bool {
        generation == self.generation
            || match self.step {
                Step::Booting {
                    place: Place::Own { before },
                    ..
                } => before.generation() == Some(generation),
                Step::Probe { .. }
                | Step::Config
                | Step::Crowded
                | Step::Booting { .. }
                | Step::Leaving { .. }
                | Step::Settling { .. } => false,
            }
    }
}

impl Supervisor {
    /// A reload or upgrade is asked for.
    pub(super) fn ask(&mut self, change: Change, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Running => {
                self.generation += 1;
                let generation = self.generation;
                let until_ms = self.now_ms.saturating_add(self.policy.probe_timeout_ms);
                self.phase = Phase::Reloading(Reload {
                    step: Step::Probe { until_ms },
                    ..Reload::resolving(change, generation)
                });
                actions.push(Action::Tell(Notice::ReloadBegins { change, generation }));
                actions.push(Action::Probe { change });
            }
            Phase::Starting { .. } | Phase::Reloading(_) => {
                // An upgrade loads the configuration as well.
                let queued = match (self.next, change) {
                    (Some(Change::Upgrade), _) => Change::Upgrade,
                    (_, change) => change,
                };
                self.next = Some(queued);
                actions.push(Action::Tell(Notice::ReloadQueued { change }));
            }
            Phase::Draining | Phase::Stopping { .. } | Phase::Ended => {
                actions.push(Action::Tell(Notice::ReloadIgnored { change }));
            }
        }
    }

    /// One worker is to be replaced by another like it; not while anything else goes on, and not if
    /// that had to wait for a slot: others want to reload.
    pub(super) fn renew(&mut self, slot: u16, actions: &mut Vec<Action>) {
        let serves = matches!(self.state(slot), SlotState::Serving { .. });
        if serves && self.phase == Phase::Running && self.spare().is_some() {
            self.phase = Phase::Reloading(Reload {
                waiting: VecDeque::from([slot]),
                ..Reload::resolving(Change::Renewal, self.good)
            });
            self.replace_next(actions);
        }
    }

    pub(super) fn probe_passed(&mut self, actions: &mut Vec<Action>) {
        let Phase::Reloading(reload) = &mut self.phase else {
            return;
        };
        if !matches!(reload.step, Step::Probe { .. }) {
            return;
        }
        reload.step = Step::Config;
        let generation = reload.generation;
        actions.push(match reload.change {
            Change::Reload | Change::Renewal => Action::LoadConfig { generation },
            Change::Upgrade => Action::Exec,
        });
    }

    pub(super) fn config_loaded(&mut self, wanted: Wanted, actions: &mut Vec<Action>) {
        if self.step() != Some(Step::Config) {
            return;
        }
        self.policy.drain_timeout_ms = wanted.drain_timeout_ms;
        self.policy.mercy_ms = wanted.mercy_ms;
        self.policy.settle_ms = wanted.settle_ms;
        let waiting = self
            .slots()
            .filter(|(_, state)| *state != SlotState::Empty)
            .map(|(slot, _)| slot)
            .collect();
        if let Phase::Reloading(reload) = &mut self.phase {
            reload.waiting = waiting;
            reload.processes = wanted.processes;
        }
        self.replace_next(actions);
    }

    /// The new configuration or program cannot be used; nothing has changed.
    pub(super) fn change_refused(&mut self, actions: &mut Vec<Action>) {
        let Phase::Reloading(reload) = &self.phase else {
            return;
        };
        let (change, generation) = (reload.change, reload.generation);
        if matches!(reload.step, Step::Probe { .. } | Step::Config) {
            actions.push(Action::Tell(Notice::ReloadRefused { change, generation }));
            self.run(actions);
        }
    }

    /// The child that probes is of no use any more, if there is one.
    pub(super) fn end_probe(&self, actions: &mut Vec<Action>) {
        if matches!(self.step(), Some(Step::Probe { .. })) {
            actions.push(Action::EndProbe);
        }
    }

    /// Begins the next replacement, or ends the reload when none is left.
    fn replace_next(&mut self, actions: &mut Vec<Action>) {
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
    fn settle(&mut self, new: u16) {
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

    /// When the change at hand goes on by itself.
    pub(super) fn change_due_ms(&self) -> Option<u64> {
        match self.step()? {
            Step::Probe { until_ms } | Step::Settling { until_ms, .. } => Some(until_ms),
            Step::Config | Step::Crowded | Step::Booting { .. } | Step::Leaving { .. } => None,
        }
    }

    pub(super) fn change_is_due(&mut self, actions: &mut Vec<Action>) {
        if self.change_due_ms().is_none_or(|due| due > self.now_ms) {
            return;
        }
        match self.step() {
            Some(Step::Probe { .. }) => {
                let change = self.change().unwrap_or(Change::Reload);
                actions.push(Action::Tell(Notice::ProbeOverdue { change }));
                actions.push(Action::EndProbe);
                // Its end is the answer; this is for a child that cannot even be killed.
                let until_ms = self.now_ms.saturating_add(self.policy.probe_timeout_ms);
                self.set_step(Step::Probe { until_ms });
            }
            Some(Step::Settling { new, .. }) => match self.state(new) {
                SlotState::Killed { .. } => self.settle(new),
                SlotState::Empty
                | SlotState::Abandoned { .. }
                | SlotState::Paused { .. }
                | SlotState::Forking { .. }
                | SlotState::Booting { .. }
                | SlotState::Serving { .. }
                | SlotState::Draining { .. }
                | SlotState::Leftover { .. }
                | SlotState::Stopping { .. } => self.replace_next(actions),
            },
            Some(Step::Config | Step::Crowded | Step::Booting { .. } | Step::Leaving { .. })
            | None => {}
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
        if matches!(self.step(), Some(Step::Settling { new, .. }) if new == slot) {
            self.run(actions);
        }
    }

    /// A slot that nobody has.
    pub(super) fn spare(&self) -> Option<u16> {
        self.slots()
            .find(|(_, state)| *state == SlotState::Empty)
            .map(|(slot, _)| slot)
    }

    fn step(&self) -> Option<Step> {
        match &self.phase {
            Phase::Reloading(reload) => Some(reload.step),
            Phase::Starting { .. }
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
    pub(super) fn forget_crashes(&mut self, slot: u16) {
        let slot = &mut self.slots[usize::from(slot) - 1];
        slot.crashes_ms.clear();
        slot.streak = 0;
    }
}
