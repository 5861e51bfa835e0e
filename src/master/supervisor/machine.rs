//! Start and respawn: the events that concern single slots, and what is due.
//!
//! It must not know the order in which a reload replaces workers.

use nix::unistd::Pid;

use super::{
    Action, CANNOT_BOOT, Change, Event, GOING_AWAY, Notice, Phase, Policy, Slot, SlotState,
    Supervisor,
};
use crate::sys::process::Exit;

impl Supervisor {
    /// A master before its first fork; the configuration at hand is generation 1.
    pub fn new(policy: Policy) -> Self {
        Self {
            phase: Phase::Starting {
                workers: policy.processes,
            },
            slots: vec![Slot::empty(); usize::from(policy.slots)],
            policy,
            generation: 1,
            good: 1,
            stop_ms: None,
            next: None,
            scaling: false,
            accepting: true,
            now_ms: 0,
            due_ms: None,
        }
    }

    /// Takes one event that happened at `now_ms` and appends what is to be done, in order.
    pub fn handle(&mut self, event: Event, now_ms: u64, actions: &mut Vec<Action>) {
        self.advance_clock(now_ms);
        match event {
            Event::Begin => self.begin(),
            Event::Forked { slot, pid } => self.forked(slot, pid, actions),
            Event::ForkFailed { slot } => self.crashed(slot, None, actions),
            Event::Ready { slot } => self.ready(slot, actions),
            Event::Moved { slot } => self.moved(slot, actions),
            Event::Exited { pid, exit } => self.exited(pid, exit, actions),
            Event::Stop { haste } => self.stop(haste, actions),
            Event::Reload => self.ask(Change::Reload, actions),
            Event::Upgrade => self.ask(Change::Upgrade, actions),
            Event::ProbePassed => self.probe_passed(actions),
            Event::ConfigLoaded { wanted } => self.config_loaded(wanted, actions),
            Event::ProbeFailed | Event::ConfigRefused | Event::ExecFailed => {
                self.change_refused(actions);
            }
            Event::Scale { processes } => self.scale(processes, actions),
            Event::Accept { on } => self.accept(on, actions),
            Event::Stuck { slot } => self.stuck(slot, actions),
            Event::Renew { slot } => self.renew(slot, actions),
            Event::Timeout => {}
        }
        self.do_what_is_due(actions);
        self.tell_if_scaled(actions);
        self.end_if_nobody_is_left(actions);
        self.due_ms = self.next_timeout_ms();
    }

    /// When [`Event::Timeout`] is wanted, on the clock of `handle`.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        let slots = self.slots.iter().filter_map(|slot| slot.state.due_ms());
        slots.chain(self.change_due_ms()).min()
    }

    /// Whether workers accept clients.
    pub fn accepts(&self) -> bool {
        self.accepting
    }

    /// Workers that are wanted.
    pub fn processes(&self) -> u16 {
        self.policy.processes
    }

    /// The generation that a request for a reload or upgrade will lead to, now or when it can begin.
    pub fn next_generation(&self) -> u32 {
        self.generation.saturating_add(1)
    }

    /// What is going on.
    pub fn change(&self) -> Option<Change> {
        match &self.phase {
            Phase::Reloading(reload) => Some(reload.change),
            Phase::Starting { .. }
            | Phase::Running
            | Phase::Draining
            | Phase::Stopping { .. }
            | Phase::Ended => None,
        }
    }

    /// Every slot with its number, from 1.
    pub fn slots(&self) -> impl Iterator<Item = (u16, SlotState)> + '_ {
        (1..).zip(self.slots.iter().map(|slot| slot.state))
    }

    /// What the master is doing, in one word for people.
    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Starting { .. } => "starting",
            Phase::Running if self.accepting => "running",
            Phase::Running => "paused",
            Phase::Reloading(_) => "reloading",
            Phase::Draining => "draining",
            Phase::Stopping { .. } => "stopping",
            Phase::Ended => "ended",
        }
    }

    /// Whether anybody still needs the configuration of this generation.
    pub fn needs_generation(&self, generation: u32) -> bool {
        generation == self.good
            || self
                .slots
                .iter()
                .any(|slot| slot.state.forks_with() == Some(generation))
            || matches!(&self.phase, Phase::Reloading(reload) if reload.needs(generation))
    }

    /// The clock never runs back here. When a timeout is noticed far too late, the machine (or
    /// the whole container) was asleep and so were the workers: they get the missed time, and the
    /// grace to use it.
    fn advance_clock(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let Some(due_ms) = self.due_ms else { return };
        let late_ms = self.now_ms.saturating_sub(due_ms);
        if late_ms <= self.policy.late_ms_max {
            return;
        }
        let more_ms = late_ms.saturating_add(self.policy.grace_ms);
        for slot in &mut self.slots {
            match &mut slot.state {
                SlotState::Booting { deadline_ms, .. }
                | SlotState::Draining { deadline_ms, .. }
                | SlotState::Leftover { deadline_ms, .. }
                | SlotState::Stopping { deadline_ms, .. } => {
                    *deadline_ms = deadline_ms.saturating_add(more_ms);
                }
                SlotState::Empty
                | SlotState::Abandoned { .. }
                | SlotState::Paused { .. }
                | SlotState::Forking { .. }
                | SlotState::Serving { .. }
                | SlotState::Killed { .. } => {}
            }
        }
    }

    fn begin(&mut self) {
        let (now_ms, generation) = (self.now_ms, self.generation);
        for slot in self
            .slots
            .iter_mut()
            .take(usize::from(self.policy.processes))
        {
            slot.state = SlotState::Paused {
                until_ms: now_ms,
                generation,
            };
        }
    }

    fn forked(&mut self, slot: u16, pid: Pid, actions: &mut Vec<Action>) {
        let deadline_ms = self.now_ms.saturating_add(self.policy.boot_timeout_ms);
        let SlotState::Forking { generation } = self.state(slot) else {
            return;
        };
        self.set(
            slot,
            SlotState::Booting {
                pid,
                generation,
                deadline_ms,
            },
        );
        match self.phase {
            Phase::Starting { .. } | Phase::Reloading(_) => {}
            // It may be one too many by now.
            Phase::Running => self.fit(actions),
            // A stop came between the order to fork and its answer.
            Phase::Draining => self.drain(slot, GOING_AWAY, self.policy.drain_timeout_ms, actions),
            Phase::Stopping { .. } | Phase::Ended => self.stop_slot(slot, actions),
        }
    }

    fn ready(&mut self, slot: u16, actions: &mut Vec<Action>) {
        // One that was told to leave meanwhile stays told.
        let SlotState::Booting {
            pid, generation, ..
        } = self.state(slot)
        else {
            return;
        };
        let since_ms = self.now_ms;
        self.set(
            slot,
            SlotState::Serving {
                pid,
                generation,
                since_ms,
            },
        );
        actions.push(Action::Tell(Notice::Ready { slot, pid }));
        match self.phase {
            Phase::Starting { workers } => self.running_if_all_serve(workers, actions),
            Phase::Reloading(_) => self.replacement_ready(slot, actions),
            Phase::Running => actions.push(Action::Share { slot }),
            Phase::Draining | Phase::Stopping { .. } | Phase::Ended => {}
        }
    }

    fn running_if_all_serve(&mut self, workers: u16, actions: &mut Vec<Action>) {
        if self.serving() == workers {
            actions.push(Action::Tell(Notice::AllReady { workers }));
            self.run(actions);
        }
    }

    /// How many serve.
    pub(super) fn serving(&self) -> u16 {
        let serving = |state: SlotState| u16::from(matches!(state, SlotState::Serving { .. }));
        self.slots().map(|(_, state)| serving(state)).sum()
    }

    /// Nothing special is going on any more; what had to wait begins.
    pub(super) fn run(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Running;
        match self.next.take() {
            Some(change) => self.ask(change, actions),
            None => self.fit(actions),
        }
    }

    fn exited(&mut self, pid: Pid, exit: Exit, actions: &mut Vec<Action>) {
        let Some((slot, state)) = self.slots().find(|(_, state)| state.pid() == Some(pid)) else {
            return;
        };
        match state {
            SlotState::Draining { .. }
            | SlotState::Leftover { .. }
            | SlotState::Stopping { .. }
            | SlotState::Killed { respawn: None, .. } => {
                self.set(slot, SlotState::Empty);
                actions.push(Action::Tell(Notice::Left { slot, exit }));
                self.slot_emptied(slot, actions);
            }
            SlotState::Booting { .. }
            | SlotState::Serving { .. }
            | SlotState::Killed {
                respawn: Some(_), ..
            } => self.crashed(slot, Some(exit), actions),
            // These have no process.
            SlotState::Empty
            | SlotState::Abandoned { .. }
            | SlotState::Paused { .. }
            | SlotState::Forking { .. } => {}
        }
    }

    /// A worker ended unasked, or could not be forked.
    fn crashed(&mut self, slot: u16, exit: Option<Exit>, actions: &mut Vec<Action>) {
        let state = self.state(slot);
        if state.generation().is_none() || self.replacement_failed(slot, exit, actions) {
            return;
        }
        // Not with what may have been the cause: a generation that has not proved itself.
        let generation = self.good;
        let (streak, recent) = self.record_crash(slot, state);
        let storm = recent >= self.policy.crashes_max;
        let starting = matches!(self.phase, Phase::Starting { .. });
        // At start somebody waits for the result, so slow crashes in a row count as well.
        let hopeless = exit == Some(Exit::Code(CANNOT_BOOT))
            || usize::try_from(streak).is_ok_and(|streak| streak >= self.policy.crashes_max);
        if starting && (storm || hopeless) {
            self.set(slot, SlotState::Empty);
            actions.push(Action::Tell(Notice::CannotBoot { slot, exit }));
            self.stop_all(CANNOT_BOOT, actions);
        } else if storm {
            self.set(slot, SlotState::Abandoned { generation });
            actions.push(Action::Tell(Notice::Storm { slot, exit }));
        } else {
            let pause_ms = self.pause_ms(streak);
            let until_ms = self.now_ms.saturating_add(pause_ms);
            self.set(
                slot,
                SlotState::Paused {
                    until_ms,
                    generation,
                },
            );
            actions.push(Action::Tell(Notice::Crashed {
                slot,
                exit,
                pause_ms,
            }));
        }
        self.end_if_unsettled(slot, actions);
    }

    /// Notes a crash; returns crashes in a row and crashes within the window.
    fn record_crash(&mut self, slot: u16, state: SlotState) -> (u32, usize) {
        let now_ms = self.now_ms;
        let window_ms = self.policy.crash_window_ms;
        let stable = match state {
            SlotState::Serving { since_ms, .. } => now_ms - since_ms >= self.policy.stable_ms,
            SlotState::Empty
            | SlotState::Abandoned { .. }
            | SlotState::Paused { .. }
            | SlotState::Forking { .. }
            | SlotState::Booting { .. }
            | SlotState::Draining { .. }
            | SlotState::Leftover { .. }
            | SlotState::Stopping { .. }
            | SlotState::Killed { .. } => false,
        };
        let slot = &mut self.slots[index(slot)];
        if stable {
            slot.streak = 0;
        }
        slot.streak = slot.streak.saturating_add(1);
        slot.crashes_ms.push_back(now_ms);
        slot.crashes_ms.retain(|at_ms| now_ms - at_ms < window_ms);
        (slot.streak, slot.crashes_ms.len())
    }

    /// None for the first crash in a row, then doubling.
    pub(super) fn pause_ms(&self, streak: u32) -> u64 {
        let Some(doublings) = streak.checked_sub(2) else {
            return 0;
        };
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.policy
            .pause_first_ms
            .saturating_mul(factor)
            .min(self.policy.pause_max_ms)
    }

    pub(super) fn kill(&mut self, slot: u16, respawn: Option<u32>, actions: &mut Vec<Action>) {
        if let Some(pid) = self.state(slot).pid() {
            self.set(slot, SlotState::Killed { pid, respawn });
            actions.push(Action::Kill { slot, pid });
        }
    }

    /// A worker that serves and shows no sign of life is killed and forked again; one that is leaving
    /// is only killed.
    fn stuck(&mut self, slot: u16, actions: &mut Vec<Action>) {
        let respawn = match self.state(slot) {
            SlotState::Serving { generation, .. } => Some(generation),
            SlotState::Draining { .. } | SlotState::Leftover { .. } => None,
            // These have deadlines of their own, or no process.
            SlotState::Empty
            | SlotState::Abandoned { .. }
            | SlotState::Paused { .. }
            | SlotState::Forking { .. }
            | SlotState::Booting { .. }
            | SlotState::Stopping { .. }
            | SlotState::Killed { .. } => return,
        };
        if let Some(pid) = self.state(slot).pid() {
            actions.push(Action::Tell(Notice::Stuck { slot, pid }));
        }
        self.kill(slot, respawn, actions);
    }

    fn do_what_is_due(&mut self, actions: &mut Vec<Action>) {
        for (slot, state) in self.slots().collect::<Vec<_>>() {
            if state.due_ms().is_none_or(|due_ms| due_ms > self.now_ms) {
                continue;
            }
            let respawn = match state {
                SlotState::Paused { generation, .. } => {
                    self.fork(slot, generation, actions);
                    continue;
                }
                SlotState::Booting { generation, .. } => Some(generation),
                SlotState::Draining { .. }
                | SlotState::Leftover { .. }
                | SlotState::Stopping { .. } => None,
                SlotState::Empty
                | SlotState::Abandoned { .. }
                | SlotState::Forking { .. }
                | SlotState::Serving { .. }
                | SlotState::Killed { .. } => continue,
            };
            if let Some(pid) = state.pid() {
                let doing = state.name();
                actions.push(Action::Tell(Notice::Overdue { slot, pid, doing }));
            }
            self.kill(slot, respawn, actions);
        }
        self.change_is_due(actions);
    }

    pub(super) fn fork(&mut self, slot: u16, generation: u32, actions: &mut Vec<Action>) {
        self.set(slot, SlotState::Forking { generation });
        actions.push(Action::Fork { slot, generation });
    }

    fn end_if_nobody_is_left(&mut self, actions: &mut Vec<Action>) {
        let gone =
            |slot: &Slot| matches!(slot.state, SlotState::Empty | SlotState::Abandoned { .. });
        if !self.slots.iter().all(gone) {
            return;
        }
        let code = match self.phase {
            Phase::Draining => 0,
            Phase::Stopping { code } => code,
            Phase::Starting { .. } | Phase::Running => {
                actions.push(Action::Tell(Notice::NobodyLeft));
                CANNOT_BOOT
            }
            // A new configuration may be on its way that brings them back.
            Phase::Reloading(_) | Phase::Ended => return,
        };
        self.phase = Phase::Ended;
        actions.push(Action::Exit { code });
    }

    pub(super) fn state(&self, slot: u16) -> SlotState {
        self.slots[index(slot)].state
    }

    pub(super) fn set(&mut self, slot: u16, state: SlotState) {
        self.slots[index(slot)].state = state;
    }

    /// The numbers of all slots.
    pub(super) fn numbers(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.policy.slots
    }
}

/// Slot n is at n - 1. A number that is not a slot's is a fault of ours, and the bounds check ends us.
fn index(slot: u16) -> usize {
    usize::from(slot) - 1
}
