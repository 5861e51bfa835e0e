//! A reload, an upgrade or a renewal: how it is asked for, refused, and gets its configuration.
//!
//! First a child probes whether the new configuration or program can be used at all. Then the workers
//! are replaced, one after the other (`chain`). It must not know how workers are respawned or stopped.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Notice, Phase, SlotState, Supervisor, Wanted};

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
    pub(super) step: Step,
    /// Slots whose workers are still to be replaced.
    pub(super) waiting: VecDeque<u16>,
    /// Workers that the new configuration wants, if it wants another number than the old one.
    pub(super) processes: Option<u16>,
    pub(super) progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Going,
    /// A worker of the new generation failed; the step at hand is finished, and no other begins.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
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
pub(super) enum Place {
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
                actions.push(Action::Tell(Notice::ProbeOverdue {
                    change,
                    timeout_ms: self.policy.probe_timeout_ms,
                }));
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

    pub(super) fn step(&self) -> Option<Step> {
        match &self.phase {
            Phase::Reloading(reload) => Some(reload.step),
            Phase::Starting { .. }
            | Phase::Running
            | Phase::Draining
            | Phase::Stopping { .. }
            | Phase::Ended => None,
        }
    }

    pub(super) fn set_step(&mut self, step: Step) {
        if let Phase::Reloading(reload) = &mut self.phase {
            reload.step = step;
        }
    }
}
