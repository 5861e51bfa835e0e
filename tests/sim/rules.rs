//! The rules, kept by a shadow model that knows only what was ordered and what happened.

use std::collections::{BTreeMap, VecDeque};

use bellwether::master::supervisor::{
    Action, Change, Event, Haste, Notice, Policy, SlotState, Supervisor,
};

/// How far a process is that was told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Usual,
    /// It has reported that clients are left.
    Lingers,
    Killed,
}

/// A process as an onlooker sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    generation: u32,
    ready: bool,
    /// Told to leave, and when it may be killed for not doing so.
    told_until_ms: Option<u64>,
    /// What it gets besides if it reports that clients are left.
    mercy_ms: u64,
    stage: Stage,
    /// It has taken somebody's place.
    replaces: bool,
    forked_ms: u64,
    ready_ms: u64,
}

pub(super) struct Rules {
    policy: Policy,
    alive: BTreeMap<u16, Seen>,
    forking: Option<(u16, u32)>,
    crashes_ms: BTreeMap<u16, VecDeque<u64>>,
    /// The generation of the change that was begun last.
    reloading: Option<u32>,
    /// In the change that is going on, the replacement that took over last, and since when it was ready.
    last_new: Option<(u16, u64)>,
    /// Why the next worker is emptied into another.
    replaces_for: Option<Change>,
    /// Reported to be stuck, and may be killed for it.
    stuck: Option<u16>,
    now_ms: u64,
    slept_ms: u64,
    stops: u32,
    stop_ms: Option<u64>,
    listening: bool,
    /// When the server must be gone.
    end_by_ms: Option<u64>,
    abandoned: usize,
    /// Slots with somebody who stays, or will, before the change that is going on.
    staffed: usize,
    exit_code: Option<u8>,
}

impl Rules {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            alive: BTreeMap::new(),
            forking: None,
            crashes_ms: BTreeMap::new(),
            reloading: None,
            last_new: None,
            replaces_for: None,
            stuck: None,
            now_ms: 0,
            slept_ms: 0,
            stops: 0,
            stop_ms: None,
            listening: true,
            end_by_ms: None,
            abandoned: 0,
            staffed: 0,
            exit_code: None,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.exit_code.is_some()
    }

    pub(super) fn exit_code(&self) -> Option<u8> {
        self.exit_code
    }

    /// Everybody who should be at work is, and nothing is going on.
    pub(super) fn is_settled(&self, supervisor: &Supervisor) -> bool {
        let serving = self
            .alive
            .values()
            .filter(|seen| seen.ready && seen.told_until_ms.is_none());
        let wanted = usize::from(supervisor.processes());
        ["running", "paused"].contains(&supervisor.phase_name())
            && serving.count() + self.abandoned == wanted
            && self.alive.len() + self.abandoned == wanted
    }

    /// A sleeping machine moves every deadline.
    pub(super) fn slept(&mut self, ms: u64) {
        let more_ms = ms + self.policy.grace_ms;
        self.slept_ms += more_ms;
        if let Some(end_by_ms) = &mut self.end_by_ms {
            *end_by_ms += more_ms;
        }
    }

    pub(super) fn before(&mut self, event: &Event, now_ms: u64) {
        self.now_ms = now_ms;
        if let Event::Stop { haste } = event {
            let before = self.stop_ms.replace(now_ms);
            if before.is_some_and(|before_ms| now_ms - before_ms < self.policy.stop_again_ms) {
                return;
            }
            self.stops += 1;
            let allowed_ms = match self.stops {
                1 if *haste == Haste::Fast => self.policy.fast_stop_ms + self.policy.grace_ms,
                1 => self.policy.drain_timeout_ms + self.policy.grace_ms,
                _ => self.policy.grace_ms,
            };
            let by_ms = now_ms + allowed_ms;
            self.end_by_ms = Some(self.end_by_ms.map_or(by_ms, |before| before.min(by_ms)));
        }
    }

    pub(super) fn forked(&mut self, slot: u16) {
        let (asked, generation) = self.forking.take().expect("fork was asked for");
        assert_eq!(asked, slot);
        let seen = Seen {
            generation,
            ready: false,
            told_until_ms: None,
            mercy_ms: 0,
            stage: Stage::Usual,
            replaces: false,
            forked_ms: self.now_ms,
            ready_ms: 0,
        };
        assert!(
            self.alive.insert(slot, seen).is_none(),
            "two processes in slot {slot}"
        );
    }

    pub(super) fn fork_failed(&mut self, slot: u16) {
        assert_eq!(self.forking.take().map(|(asked, _)| asked), Some(slot));
        self.crashes_ms
            .entry(slot)
            .or_default()
            .push_back(self.now_ms);
    }

    pub(super) fn ready(&mut self, slot: u16) {
        let seen = self.alive.get_mut(&slot).expect("a living process");
        seen.ready = true;
        seen.ready_ms = self.now_ms;
    }

    /// A worker has clients left that it could not hand over.
    pub(super) fn moved(&mut self, slot: u16) {
        let seen = self.alive.get_mut(&slot).expect("a living process");
        let mercy_ms = std::mem::take(&mut seen.mercy_ms);
        if mercy_ms > 0 {
            seen.stage = Stage::Lingers;
        }
        seen.told_until_ms = seen.told_until_ms.map(|until_ms| until_ms + mercy_ms);
    }

    /// Who was replaced and still serves.
    pub(super) fn lingers(&self, slot: u16) -> bool {
        let seen = self.alive.get(&slot);
        seen.is_some_and(|seen| seen.stage == Stage::Lingers)
    }

    pub(super) fn leftovers(&self) -> usize {
        let lingers = |seen: &&Seen| seen.stage == Stage::Lingers;
        self.alive.values().filter(lingers).count()
    }

    /// A worker will be said to show no sign of life.
    pub(super) fn stuck(&mut self, slot: u16) {
        self.stuck = Some(slot);
    }

    pub(super) fn exited(&mut self, slot: u16) {
        let seen = self.alive.remove(&slot).expect("a living process");
        if seen.told_until_ms.is_none() {
            self.crashes_ms
                .entry(slot)
                .or_default()
                .push_back(self.now_ms);
        }
    }

    pub(super) fn action(&mut self, action: &Action, now_ms: u64) {
        assert!(!self.ended(), "{action:?} after the end");
        match action {
            Action::Fork { slot, generation } => self.fork(*slot, *generation),
            Action::Drain {
                slot,
                code,
                timeout_ms,
            } => {
                assert_eq!(*code, 1001);
                assert!(self.stops > 0, "going away, and nobody asked for it");
                self.told(*slot, now_ms + timeout_ms + self.policy.grace_ms);
            }
            Action::Replace {
                slot,
                by,
                code,
                mercy_ms,
                timeout_ms,
            } => {
                assert_eq!(*code, 1012);
                self.replace(*slot, *by);
                self.told(*slot, now_ms + timeout_ms + self.policy.grace_ms);
                let seen = self.alive.get_mut(slot).expect("a living process");
                seen.mercy_ms = *mercy_ms;
            }
            Action::Share { slot } | Action::Accept { slot, .. } => {
                assert!(self.alive.contains_key(slot), "orders go to the living");
            }
            Action::Stop { slot } => {
                let grace_ms = self.policy.grace_ms;
                self.told(*slot, now_ms + grace_ms);
            }
            Action::Kill { slot, .. } => self.kill(*slot),
            Action::Probe { .. } | Action::Exec | Action::LoadConfig { .. } => {
                assert_eq!(self.stops, 0, "a change after a stop");
            }
            Action::EndProbe => {}
            Action::CloseListeners => self.listening = false,
            Action::Tell(notice) => self.notice(notice),
            Action::Exit { code } => {
                assert!(
                    self.stops == 0 || !self.listening,
                    "it stops and still listens"
                );
                assert!(self.alive.is_empty(), "the master leaves children behind");
                assert!(*code == 3 || self.stops > 0, "it ends unasked");
                self.exit_code = Some(*code);
            }
        }
    }

    /// A worker is emptied into another one that serves, and stays.
    fn replace(&mut self, slot: u16, by: Option<u16>) {
        let serves = |seen: &Seen| seen.ready && seen.told_until_ms.is_none();
        let Some(by) = by else {
            let others = self.alive.iter().filter(|(other, _)| **other != slot);
            assert!(
                others.filter(|(_, seen)| serves(seen)).count() > 0,
                "slot {slot} was the last one"
            );
            return;
        };
        let (old, new) = (self.alive[&slot], self.alive[&by]);
        assert!(serves(&new), "slot {by} does not serve");
        assert!(!new.replaces, "slot {by} replaces two");
        self.alive.entry(by).and_modify(|seen| seen.replaces = true);
        // A renewal may bring back what was good before a reload that has failed.
        let is_new = self.reloading == Some(new.generation);
        assert!(!is_new || old.generation <= new.generation, "a step back");
        if self.replaces_for != Some(Change::Renewal) {
            self.last_new = Some((by, new.ready_ms));
        }
    }

    fn fork(&mut self, slot: u16, generation: u32) {
        assert!(self.listening, "a worker without a listener");
        assert_eq!(self.stops, 0, "a fork after a stop");
        assert!(!self.alive.contains_key(&slot), "slot {slot} is taken");
        assert!(
            self.alive.len() < usize::from(self.policy.slots),
            "more than slots"
        );
        assert!((1..=self.policy.slots).contains(&slot));
        let window_ms = self.policy.crash_window_ms;
        let now_ms = self.now_ms;
        let crashes = self.crashes_ms.entry(slot).or_default();
        crashes.retain(|at_ms| now_ms - at_ms < window_ms);
        if self.reloading == Some(generation) {
            // A new configuration is a new beginning.
            crashes.clear();
            if let Some((new, ready_ms)) = self.last_new {
                assert!(
                    now_ms >= ready_ms + self.policy.settle_ms,
                    "slot {new} has not settled yet"
                );
                assert!(self.alive.contains_key(&new), "slot {new} has not survived");
            }
        }
        assert!(
            crashes.len() < self.policy.crashes_max,
            "a storm goes on in slot {slot}"
        );
        assert!(
            self.forking.replace((slot, generation)).is_none(),
            "two forks at once"
        );
    }

    fn told(&mut self, slot: u16, until_ms: u64) {
        let slept_ms = self.slept_ms;
        let seen = self.alive.get_mut(&slot).expect("orders go to the living");
        // Stored without the sleep so far, so that later sleep counts and earlier does not.
        let until_ms = until_ms.saturating_sub(slept_ms);
        // Who is told again gets no more time than before.
        let until_ms = seen
            .told_until_ms
            .map_or(until_ms, |before| before.min(until_ms));
        seen.told_until_ms = Some(until_ms);
        seen.mercy_ms = 0;
        seen.stage = Stage::Usual;
    }

    fn kill(&mut self, slot: u16) {
        let stuck = self.stuck.take() == Some(slot);
        let seen = self.alive.get_mut(&slot).expect("the living are killed");
        let untold = seen.told_until_ms.is_none();
        seen.stage = Stage::Killed;
        match seen.told_until_ms {
            Some(_) | None if stuck => {}
            None => assert!(
                !seen.ready && self.now_ms >= seen.forked_ms + self.policy.boot_timeout_ms,
                "slot {slot} is killed for nothing"
            ),
            // A third request to stop kills at once. Sleep is only forgiven where it was noticed,
            // so the deadline is checked without it.
            Some(until_ms) => assert!(
                self.stops >= 3 || self.now_ms >= until_ms,
                "slot {slot} is killed before its time"
            ),
        }
        seen.told_until_ms = seen.told_until_ms.or(Some(self.now_ms));
        if seen.ready && !(stuck && untold) {
            return;
        }
        // Killed for not booting or not beating: its exit is a crash.
        self.crashes_ms
            .entry(slot)
            .or_default()
            .push_back(self.now_ms);
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::ReloadBegins { generation, .. } => {
                self.reloading = Some(*generation);
                self.last_new = None;
            }
            Notice::ReloadFailed {
                change: Change::Reload | Change::Upgrade,
                generation,
                slot,
                ..
            } => {
                assert_eq!(self.reloading, Some(*generation));
                self.last_new = None;
                // The slot may be empty now, and somebody else's before anybody can look.
                self.crashes_ms.remove(slot);
            }
            Notice::Replaced { change, .. } => self.replaces_for = Some(*change),
            Notice::ReloadCrowded { change } => {
                assert_ne!(*change, Change::Renewal, "others may want to reload");
            }
            Notice::ReloadDone { .. } | Notice::ReloadFailed { .. } => self.last_new = None,
            Notice::AllReady { .. }
            | Notice::Ready { .. }
            | Notice::Moved { .. }
            | Notice::Crashed { .. }
            | Notice::Storm { .. }
            | Notice::CannotBoot { .. }
            | Notice::NobodyLeft
            | Notice::Left { .. }
            | Notice::Overdue { .. }
            | Notice::Stuck { .. }
            | Notice::ReloadQueued { .. }
            | Notice::ReloadIgnored { .. }
            | Notice::ProbeOverdue { .. }
            | Notice::ReloadRefused { .. }
            | Notice::Scaling { .. }
            | Notice::Scaled { .. }
            | Notice::ScaleIgnored
            | Notice::Accepting { .. }
            | Notice::Draining { .. }
            | Notice::StoppingNow => {}
        }
        if let Notice::CannotBoot { .. } = notice {
            // Ending is ordered by the supervisor itself.
            self.stops = self.stops.max(2);
            self.end_by_ms = Some(self.now_ms + self.policy.grace_ms);
        }
    }

    /// There are as many workers as are wanted, or they are on their way; a leftover is none of them.
    fn nobody_is_missing(&mut self, supervisor: &Supervisor) {
        let count = |names: &[&str]| {
            let slots = supervisor.slots();
            slots
                .filter(|(_, state)| names.contains(&state.name()))
                .count()
        };
        let serves = |seen: &&Seen| seen.ready && seen.told_until_ms.is_none();
        assert_eq!(
            count(&["serving"]),
            self.alive.values().filter(serves).count()
        );
        assert_eq!(count(&["leftover"]), self.leftovers());
        let waits = ["abandoned", "paused", "forking", "booting", "serving"];
        let respawns = |(_, state): &(u16, SlotState)| {
            matches!(
                state,
                SlotState::Killed {
                    respawn: Some(_),
                    ..
                }
            )
        };
        let staffed = count(&waits) + supervisor.slots().filter(respawns).count();
        match supervisor.phase_name() {
            "reloading" => assert!(staffed >= self.staffed, "a change has lost a worker"),
            "running" | "paused" => {
                let wanted = usize::from(supervisor.processes());
                assert!(
                    staffed >= wanted || count(&["empty"]) == 0,
                    "{staffed} of {wanted} workers, and there are slots"
                );
                self.staffed = staffed;
            }
            _ => self.staffed = staffed,
        }
    }

    /// Whoever was told to leave has, or has been killed.
    fn everybody_leaves_in_time(&self) {
        let lives = |(_, seen): &(&u16, &Seen)| seen.stage != Stage::Killed;
        for (slot, seen) in self.alive.iter().filter(lives) {
            let until_ms = seen.told_until_ms.map_or(u64::MAX, |until_ms| {
                // Sleep may have been forgiven.
                until_ms + self.slept_ms
            });
            assert!(self.now_ms <= until_ms, "slot {slot} is still there");
        }
    }

    pub(super) fn after(&mut self, supervisor: &Supervisor) {
        self.abandoned = supervisor
            .slots()
            .filter(|(_, state)| state.name() == "abandoned")
            .count();
        self.stuck = None;
        for (slot, state) in supervisor.slots() {
            if state.name() == "empty" {
                // Who comes there next has nothing to do with who was there.
                self.crashes_ms.remove(&slot);
            }
            assert_eq!(
                state.pid().is_some(),
                self.alive.contains_key(&slot),
                "slot {slot}: {state:?} against {:?}",
                self.alive.get(&slot)
            );
        }
        self.nobody_is_missing(supervisor);
        self.everybody_leaves_in_time();
        if let (Some(by_ms), None) = (self.end_by_ms, self.exit_code) {
            assert!(
                self.now_ms <= by_ms,
                "the end is late: {} > {by_ms}",
                self.now_ms
            );
        }
    }
}
