//! The rules, kept by a shadow model that knows only what was ordered and what happened.

use std::collections::{BTreeMap, VecDeque};

use bellwether::master::supervisor::{Action, Event, Notice, Policy, Supervisor};

/// A process as an onlooker sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    generation: u32,
    ready: bool,
    /// Told to leave, and when it may be killed for not doing so.
    told_until_ms: Option<u64>,
    forked_ms: u64,
}

pub(super) struct Rules {
    policy: Policy,
    alive: BTreeMap<u16, Seen>,
    forking: Option<(u16, u32)>,
    crashes_ms: BTreeMap<u16, VecDeque<u64>>,
    /// Replacements that are ready and have not taken anybody's place yet.
    replacements: u32,
    reloading: Option<u32>,
    now_ms: u64,
    slept_ms: u64,
    stops: u32,
    stop_ms: Option<u64>,
    listening: bool,
    /// When the server must be gone.
    end_by_ms: Option<u64>,
    abandoned: usize,
    exit_code: Option<u8>,
}

impl Rules {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            alive: BTreeMap::new(),
            forking: None,
            crashes_ms: BTreeMap::new(),
            replacements: 0,
            reloading: None,
            now_ms: 0,
            slept_ms: 0,
            stops: 0,
            stop_ms: None,
            listening: true,
            end_by_ms: None,
            abandoned: 0,
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
        let wanted = usize::from(self.policy.processes);
        supervisor.phase_name() == "running"
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
        if *event == Event::Stop {
            let before = self.stop_ms.replace(now_ms);
            if before.is_some_and(|before_ms| now_ms - before_ms < self.policy.stop_again_ms) {
                return;
            }
            self.stops += 1;
            let allowed_ms = match self.stops {
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
            forked_ms: self.now_ms,
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
        if self.reloading == Some(seen.generation) && seen.told_until_ms.is_none() {
            self.replacements += 1;
        }
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
            Action::Drain { slot, code, .. } => self.drain(*slot, *code),
            Action::Stop { slot } => {
                let grace_ms = self.policy.grace_ms;
                self.told(*slot, now_ms + grace_ms);
            }
            Action::Kill { slot, .. } => self.kill(*slot),
            Action::LoadConfig { generation } => {
                assert_eq!(self.stops, 0, "a reload after a stop");
                self.reloading = Some(*generation);
                self.replacements = 0;
            }
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

    fn fork(&mut self, slot: u16, generation: u32) {
        assert!(self.listening, "a worker without a listener");
        assert_eq!(self.stops, 0, "a fork after a stop");
        assert!(!self.alive.contains_key(&slot), "slot {slot} is taken");
        assert!(
            self.alive.len() <= usize::from(self.policy.processes),
            "more than workers + 1"
        );
        assert!((1..=self.policy.processes + 1).contains(&slot));
        let window_ms = self.policy.crash_window_ms;
        let now_ms = self.now_ms;
        let crashes = self.crashes_ms.entry(slot).or_default();
        crashes.retain(|at_ms| now_ms - at_ms < window_ms);
        if self.reloading == Some(generation) {
            // A new configuration is a new beginning.
            crashes.clear();
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

    fn drain(&mut self, slot: u16, code: u16) {
        let until_ms = self.now_ms + self.policy.drain_timeout_ms + self.policy.grace_ms;
        match code {
            1001 => assert!(self.stops > 0, "going away, and nobody asked for it"),
            1012 => {
                let generation = self.alive[&slot].generation;
                assert!(self.reloading.is_some_and(|new| generation < new));
                assert!(
                    self.replacements > 0,
                    "slot {slot} is emptied before its replacement serves"
                );
                self.replacements -= 1;
            }
            other => panic!("close code {other}"),
        }
        self.told(slot, until_ms);
    }

    fn told(&mut self, slot: u16, until_ms: u64) {
        let slept_ms = self.slept_ms;
        let seen = self.alive.get_mut(&slot).expect("orders go to the living");
        // Stored without the sleep so far, so that later sleep counts and earlier does not.
        seen.told_until_ms = Some(until_ms.saturating_sub(slept_ms));
    }

    fn kill(&mut self, slot: u16) {
        let seen = self.alive.get_mut(&slot).expect("the living are killed");
        match seen.told_until_ms {
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
        if seen.ready {
            return;
        }
        // Killed for not booting: its exit is a crash.
        self.crashes_ms
            .entry(slot)
            .or_default()
            .push_back(self.now_ms);
    }

    fn notice(&mut self, notice: &Notice) {
        if let Notice::ReloadFailed { generation, .. } = notice {
            let old = self
                .alive
                .values()
                .filter(|seen| seen.generation < *generation);
            let told = old.filter(|seen| seen.told_until_ms.is_some()).count();
            assert!(told <= 1, "more than one old worker was leaving");
            assert_eq!(self.reloading, Some(*generation));
        }
        if let Notice::CannotBoot { .. } = notice {
            // Ending is ordered by the supervisor itself.
            self.stops = self.stops.max(2);
            self.end_by_ms = Some(self.now_ms + self.policy.grace_ms);
        }
    }

    pub(super) fn after(&mut self, supervisor: &Supervisor) {
        self.abandoned = supervisor
            .slots()
            .filter(|(_, state)| state.name() == "abandoned")
            .count();
        for (slot, state) in supervisor.slots() {
            assert_eq!(
                state.pid().is_some(),
                self.alive.contains_key(&slot),
                "slot {slot}: {state:?} against {:?}",
                self.alive.get(&slot)
            );
        }
        if let (Some(by_ms), None) = (self.end_by_ms, self.exit_code) {
            assert!(
                self.now_ms <= by_ms,
                "the end is late: {} > {by_ms}",
                self.now_ms
            );
        }
    }
}
