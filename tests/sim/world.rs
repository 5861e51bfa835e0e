//! The world around the supervisor: processes with random characters, signals, and a clock that may jump.

use bellwether::master::supervisor::{
    Action, Event, Haste, Notice, Policy, Snapshot, Supervisor, Wanted,
};
use bellwether::sys::process::Exit;
use nix::unistd::Pid;

use super::rules::Rules;
use super::tally::Tally;

/// splitmix64: small, and the same on every machine.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What happens to a process next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ready,
    /// It has handed over whom it could, and leaves then; None: it never does.
    Moved {
        leaves_ms: Option<u64>,
    },
    Exit(Exit),
}

#[derive(Debug)]
struct Process {
    slot: u16,
    pid: Pid,
    /// Obeys orders to drain and to stop.
    obedient: bool,
    fate: Option<(u64, Fate)>,
}

/// How bad this world is, in percent.
#[derive(Debug)]
struct Weather {
    fork_fails: u64,
    boot_fails: u64,
    boot_hangs: u64,
    crashes: u64,
    disobeys: u64,
    config_refused: u64,
    probe_hangs: u64,
    exec_fails: u64,
    clock_jumps: u64,
}

pub(super) struct World {
    random: Random,
    weather: Weather,
    supervisor: Supervisor,
    rules: Rules,
    processes: Vec<Process>,
    /// When the child that checks says yes or no; None while it hangs.
    probe: Option<Option<(u64, bool)>>,
    policy: Policy,
    now_ms: u64,
    pids: i32,
    trace: bool,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random(seed);
        // One seed in three lives in fair weather, so that long undisturbed runs happen too.
        let fair = random.percent(33);
        let mut chance = |bound: u64| if fair { 0 } else { random.below(bound) };
        let weather = Weather {
            fork_fails: chance(10),
            boot_fails: chance(30),
            boot_hangs: chance(10),
            crashes: chance(60),
            disobeys: chance(30),
            config_refused: chance(30),
            probe_hangs: chance(10),
            exec_fails: chance(30),
            clock_jumps: chance(5),
        };
        let processes = u16::try_from(1 + random.below(5)).unwrap();
        let policy = Policy {
            slots: processes + 1 + u16::try_from(random.below(6)).unwrap(),
            mercy_ms: random.below(4) * random.below(20_000),
            ..Policy::new(processes, random.below(10_000))
        };
        Self {
            probe: None,
            policy: policy.clone(),
            rules: Rules::new(policy.clone()),
            supervisor: Supervisor::new(policy),
            random,
            weather,
            processes: Vec::new(),
            now_ms: 0,
            pids: 1,
            trace,
            tally: Tally::default(),
        }
    }

    /// A whole life: some restless steps, then calm until everybody serves, then a stop.
    pub(super) fn live(mut self, steps: u32) -> Tally {
        self.tell(Event::Begin);
        for _ in 0..steps {
            if self.rules.ended() {
                return self.tally;
            }
            self.step();
        }
        self.weather = Weather {
            fork_fails: 0,
            boot_fails: 0,
            boot_hangs: 0,
            crashes: 0,
            disobeys: 0,
            config_refused: 0,
            probe_hangs: 0,
            exec_fails: 0,
            clock_jumps: 0,
        };
        // Bad characters may live on for a minute; pauses last half of one.
        self.calm_until(|world| world.rules.is_settled(&world.supervisor), 1_000);
        self.tell(Event::Stop {
            haste: Haste::Graceful,
        });
        self.calm_until(|world| world.rules.ended(), 1_000);
        self.tally.clean_ends += u64::from(self.rules.exit_code() == Some(0));
        self.tally
    }

    fn calm_until(&mut self, done: impl Fn(&Self) -> bool, steps_max: u32) {
        for _ in 0..steps_max {
            if self.rules.ended() || done(self) {
                return;
            }
            self.next_thing();
        }
        panic!("this never ends: {:?}", self.supervisor);
    }

    fn step(&mut self) {
        if self.random.percent(self.weather.clock_jumps) {
            let ms = self.random.below(100_000);
            self.tally.jumps += 1;
            self.pass_time(self.now_ms + ms);
            // A machine that slept wakes up with everything overdue.
            self.rules.slept(ms);
        }
        match self.random.below(1000) {
            0..=24 => self.tell(Event::Reload),
            25..=29 => self.tell(Event::Upgrade),
            30..=33 => {
                let haste = if self.random.percent(50) {
                    Haste::Graceful
                } else {
                    Haste::Fast
                };
                self.tell(Event::Stop { haste });
            }
            34..=39 => self.kill_somebody(),
            45..=54 => {
                let processes = u16::try_from(self.random.below(8)).unwrap();
                self.tell(Event::Scale { processes });
            }
            55..=59 => {
                let on = self.random.percent(50);
                self.tell(Event::Accept { on });
            }
            60..=64 => {
                let slot = self.some_slot();
                self.rules.stuck(slot);
                self.tell(Event::Stuck { slot });
            }
            65..=74 => {
                let slot = self.some_slot();
                self.tell(Event::Renew { slot });
            }
            40..=44 => {
                let stranger = Pid::from_raw(1_000_000);
                self.tell(Event::Exited {
                    pid: stranger,
                    exit: Exit::Code(0),
                });
            }
            _ => self.next_thing(),
        }
    }

    fn some_slot(&mut self) -> u16 {
        1 + u16::try_from(self.random.below(u64::from(self.policy.slots))).unwrap()
    }

    fn kill_somebody(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        let index = self.random.below(self.processes.len() as u64);
        let index = usize::try_from(index).unwrap();
        self.processes[index].fate = Some((self.now_ms, Fate::Exit(Exit::Signal(9))));
    }

    /// The next thing due: a process's fate or the supervisor's timeout.
    fn next_thing(&mut self) {
        let fate = self
            .processes
            .iter()
            .filter_map(|process| process.fate.map(|(at_ms, fate)| (at_ms, process.pid, fate)))
            .min_by_key(|(at_ms, pid, _)| (*at_ms, pid.as_raw()));
        let timeout_ms = self.supervisor.next_timeout_ms();
        if let Some(Some((at_ms, passed))) = self.probe
            && fate.is_none_or(|(fate_ms, ..)| at_ms <= fate_ms)
            && timeout_ms.is_none_or(|due| at_ms <= due)
        {
            self.probe = None;
            self.pass_time(at_ms);
            self.tell(if passed {
                Event::ProbePassed
            } else {
                Event::ProbeFailed
            });
            return;
        }
        match (fate, timeout_ms) {
            (Some((at_ms, pid, fate)), timeout) if timeout.is_none_or(|due| at_ms <= due) => {
                self.pass_time(at_ms);
                self.befall(pid, fate);
            }
            (_, Some(due_ms)) => {
                self.pass_time(due_ms);
                self.tell(Event::Timeout);
            }
            (None | Some(_), None) => {
                let ms = self.random.below(20_000);
                self.pass_time(self.now_ms + ms);
            }
        }
    }

    fn pass_time(&mut self, to_ms: u64) {
        self.now_ms = self.now_ms.max(to_ms);
    }

    fn befall(&mut self, pid: Pid, fate: Fate) {
        let index = self
            .processes
            .iter()
            .position(|process| process.pid == pid)
            .unwrap();
        match fate {
            Fate::Ready => {
                let life = self.random_life();
                let process = &mut self.processes[index];
                process.fate = life.map(|(ms, exit)| (self.now_ms + ms, Fate::Exit(exit)));
                let slot = process.slot;
                self.rules.ready(slot);
                self.tell(Event::Ready { slot });
            }
            Fate::Moved { leaves_ms } => {
                let process = &mut self.processes[index];
                process.fate = leaves_ms.map(|at_ms| (at_ms, Fate::Exit(Exit::Code(0))));
                let slot = process.slot;
                self.rules.moved(slot);
                self.tally.leftovers += u64::from(self.rules.lingers(slot));
                self.tell(Event::Moved { slot });
            }
            Fate::Exit(exit) => {
                let process = self.processes.remove(index);
                let crashed = self.rules.lingers(process.slot) && exit != Exit::Code(0);
                self.tally.leftovers_crashed += u64::from(crashed);
                self.rules.exited(process.slot);
                self.tell(Event::Exited { pid, exit });
            }
        }
    }

    /// How long a process serves before it crashes; None: it does not.
    fn random_life(&mut self) -> Option<(u64, Exit)> {
        let crashes = self.random.percent(self.weather.crashes);
        crashes.then(|| (self.random.below(20_000), Exit::Signal(11)))
    }

    /// Tells the supervisor of an event and does what it wants, as the master's loop would: the
    /// answers to its actions are told at once, and what follows from them is done afterwards.
    fn tell(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.handle(event, &mut actions);
        let mut done = 0;
        while let Some(action) = actions.get(done).cloned() {
            done += 1;
            if self.trace {
                println!("{:>8}     {action:?}", self.now_ms);
            }
            self.count_leftovers(&action);
            self.rules.action(&action, self.now_ms);
            if let Some(answer) = self.perform(&action) {
                self.handle(answer, &mut actions);
            }
        }
        self.rules.after(&self.supervisor);
    }

    fn count_leftovers(&mut self, action: &Action) {
        let there = u64::from(self.rules.leftovers() > 0);
        if let Action::Kill { slot, .. } = action {
            self.tally.leftovers_killed += u64::from(self.rules.lingers(*slot));
        } else if *action == Action::Exec {
            self.tally.leftovers_upgraded += there;
        } else if let Action::Tell(Notice::ReloadBegins { .. }) = action {
            self.tally.reloads_over_leftovers += there;
        } else if let Action::Tell(Notice::Draining { .. }) = action {
            self.tally.leftovers_stopped += there;
        }
    }

    fn handle(&mut self, event: Event, actions: &mut Vec<Action>) {
        if self.trace {
            println!("{:>8} {event:?}", self.now_ms);
        }
        self.rules.before(&event, self.now_ms);
        self.supervisor.handle(event, self.now_ms, actions);
    }

    fn perform(&mut self, action: &Action) -> Option<Event> {
        match action {
            Action::Fork { slot, .. } => return Some(self.fork(*slot)),
            Action::Drain {
                slot, timeout_ms, ..
            } => self.order(*slot, *timeout_ms),
            Action::Replace {
                slot,
                mercy_ms,
                timeout_ms,
                ..
            } => self.replace(*slot, *mercy_ms, *timeout_ms),
            Action::Stop { slot } => self.order(*slot, 100),
            Action::Kill { pid, .. } => {
                let now_ms = self.now_ms;
                let process = self
                    .processes
                    .iter_mut()
                    .find(|process| process.pid == *pid);
                let process = process.expect("only living children are killed");
                process.fate = Some((now_ms, Fate::Exit(Exit::Signal(9))));
            }
            Action::Probe { .. } => self.begin_probe(),
            Action::EndProbe => {
                assert!(self.probe.is_some(), "a check that there is");
                self.probe = Some(Some((self.now_ms, false)));
            }
            Action::Exec => return self.exec(),
            Action::LoadConfig { .. } => {
                let refused = self.random.percent(self.weather.config_refused);
                return Some(if refused {
                    Event::ConfigRefused
                } else {
                    self.config()
                });
            }
            Action::Tell(notice) => self.tally.count(notice),
            Action::Share { .. }
            | Action::Accept { .. }
            | Action::CloseListeners
            | Action::Exit { .. } => {}
        }
        None
    }

    fn begin_probe(&mut self) {
        assert!(self.probe.is_none(), "one check at a time");
        let hangs = self.random.percent(self.weather.probe_hangs);
        let passed = !self.random.percent(self.weather.config_refused);
        let at_ms = self.now_ms + self.random.below(500);
        self.probe = Some((!hangs).then_some((at_ms, passed)));
    }

    /// The new program knows what the old one wrote down, and nothing else.
    fn exec(&mut self) -> Option<Event> {
        if self.random.percent(self.weather.exec_fails) {
            return Some(Event::ExecFailed);
        }
        let text = serde_json::to_string(&self.supervisor.snapshot()).unwrap();
        let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
        self.supervisor = Supervisor::resume(self.policy.clone(), snapshot);
        Some(self.config())
    }

    fn config(&mut self) -> Event {
        let processes = u16::try_from(self.random.below(8)).unwrap();
        let mercy_ms = self.policy.mercy_ms * self.random.below(3);
        Event::ConfigLoaded {
            wanted: Wanted {
                processes: self.random.percent(30).then_some(processes),
                drain_timeout_ms: self.policy.drain_timeout_ms,
                mercy_ms,
                settle_ms: self.policy.settle_ms,
            },
        }
    }

    fn fork(&mut self, slot: u16) -> Event {
        if self.random.percent(self.weather.fork_fails) {
            self.rules.fork_failed(slot);
            return Event::ForkFailed { slot };
        }
        self.pids += 1;
        let pid = Pid::from_raw(self.pids);
        let boot_ms = self.random.below(1_500);
        let fate = if self.random.percent(self.weather.boot_hangs) {
            None
        } else if self.random.percent(self.weather.boot_fails) {
            let code = if self.random.percent(20) { 3 } else { 4 };
            Some(Fate::Exit(Exit::Code(code)))
        } else {
            Some(Fate::Ready)
        };
        self.processes.push(Process {
            slot,
            pid,
            obedient: !self.random.percent(self.weather.disobeys),
            fate: fate.map(|fate| (self.now_ms + boot_ms, fate)),
        });
        self.rules.forked(slot);
        Event::Forked { slot, pid }
    }

    /// An order to give its place: some of the obedient keep clients, and not all of those leave.
    fn replace(&mut self, slot: u16, mercy_ms: u64, timeout_ms: u64) {
        self.order(slot, timeout_ms);
        if mercy_ms == 0 || self.random.percent(40) {
            return;
        }
        let moved_ms = self.now_ms + self.random.below(timeout_ms + 1);
        let by_ms = self.now_ms + self.random.below(mercy_ms + timeout_ms + 1);
        let stays = self.random.percent(self.weather.disobeys);
        let leaves_ms = (!stays).then_some(by_ms.max(moved_ms));
        let process = self
            .processes
            .iter_mut()
            .find(|process| process.slot == slot && process.obedient);
        if let Some(process) = process {
            process.fate = Some((moved_ms, Fate::Moved { leaves_ms }));
        }
    }

    /// An order to leave: the obedient leave within the time, the others as their fate will have it.
    fn order(&mut self, slot: u16, within_ms: u64) {
        let ms = self.random.below(within_ms + 1);
        let at_ms = self.now_ms + ms;
        let process = self
            .processes
            .iter_mut()
            .find(|process| process.slot == slot);
        let process = process.expect("only workers get orders");
        if process.obedient {
            process.fate = Some((at_ms, Fate::Exit(Exit::Code(0))));
        }
    }
}
