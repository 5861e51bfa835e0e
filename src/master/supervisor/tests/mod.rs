//! Single stories of the supervisor; `tests/sim` tells random ones.

mod mercy;
mod reload;
mod scale;

use super::*;

/// A supervisor with the processes it believes to have.
struct Bench {
    supervisor: Supervisor,
    now_ms: u64,
    pids: i32,
}

impl Bench {
    fn new(processes: u16) -> Self {
        Self::with_slots(processes, processes + 1)
    }

    /// A server that can grow.
    fn with_slots(processes: u16, slots: u16) -> Self {
        let policy = Policy {
            slots,
            ..Policy::new(processes, 5_000)
        };
        Self {
            supervisor: Supervisor::new(policy),
            now_ms: 1_000,
            pids: 100,
        }
    }

    /// A server whose workers all serve.
    fn running(processes: u16) -> Self {
        Self::new(processes).run(processes)
    }

    fn run(mut self, processes: u16) -> Self {
        self.event(Event::Begin);
        for slot in 1..=processes {
            self.event(Event::Ready { slot });
        }
        assert_eq!(self.supervisor.phase_name(), "running");
        self
    }

    /// A reload whose configuration is good begins.
    fn reload(&mut self) -> Vec<Action> {
        self.event(Event::Reload);
        self.event(Event::ProbePassed);
        self.event(LOADED)
    }

    /// Handles an event, answers forks, and returns the actions.
    fn event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.supervisor.handle(event, self.now_ms, &mut actions);
        let mut done = 0;
        while let Some(action) = actions.get(done).cloned() {
            done += 1;
            if let Action::Fork { slot, .. } = action {
                self.pids += 1;
                let pid = Pid::from_raw(self.pids);
                let forked = Event::Forked { slot, pid };
                self.supervisor.handle(forked, self.now_ms, &mut actions);
            }
        }
        actions
    }

    fn later(&mut self, ms: u64) -> Vec<Action> {
        self.now_ms += ms;
        self.event(Event::Timeout)
    }

    fn pid(&self, slot: u16) -> Pid {
        self.supervisor
            .state(slot)
            .pid()
            .expect("a process in the slot")
    }

    fn exit(&mut self, slot: u16, exit: Exit) -> Vec<Action> {
        let pid = self.pid(slot);
        self.event(Event::Exited { pid, exit })
    }

    fn names(&self) -> Vec<&'static str> {
        self.supervisor
            .slots()
            .map(|(_, state)| state.name())
            .collect()
    }
}

fn forks(actions: &[Action]) -> Vec<(u16, u32)> {
    let mut forks = Vec::new();
    for action in actions {
        if let Action::Fork { slot, generation } = action {
            forks.push((*slot, *generation));
        }
    }
    forks
}

fn exit_code(actions: &[Action]) -> Option<u8> {
    let mut code = None;
    for action in actions {
        if let Action::Exit { code: last } = action {
            code = Some(*last);
        }
    }
    code
}

const CRASH: Exit = Exit::Signal(11);
const STOP: Event = Event::Stop {
    haste: Haste::Graceful,
};
/// The same numbers as before.
const LOADED: Event = Event::ConfigLoaded {
    wanted: Wanted {
        processes: None,
        drain_timeout_ms: 5_000,
        mercy_ms: 0,
        settle_ms: 1_000,
    },
};
const RELOAD: Change = Change::Reload;

#[test]
fn all_workers_start_and_the_spare_stays_empty() {
    let mut bench = Bench::new(3);
    assert_eq!(forks(&bench.event(Event::Begin)), [(1, 1), (2, 1), (3, 1)]);
    bench.event(Event::Ready { slot: 1 });
    bench.event(Event::Ready { slot: 3 });
    let last = bench.event(Event::Ready { slot: 2 });
    assert!(last.contains(&Action::Tell(Notice::AllReady { workers: 3 })));
    assert_eq!(bench.names(), ["serving", "serving", "serving", "empty"]);
}

#[test]
fn the_first_crash_is_mended_at_once_and_later_ones_after_growing_pauses() {
    let mut bench = Bench::running(2);
    assert_eq!(forks(&bench.exit(1, CRASH)), [(1, 1)]);
    for pause_ms in [100, 200, 400] {
        assert_eq!(forks(&bench.exit(1, CRASH)), []);
        assert_eq!(forks(&bench.later(pause_ms - 1)), []);
        assert_eq!(forks(&bench.later(1)), [(1, 1)], "after {pause_ms} ms");
    }
    let fifth = bench.exit(1, CRASH);
    let storm = Notice::Storm {
        slot: 1,
        exit: Some(CRASH),
    };
    assert!(fifth.contains(&Action::Tell(storm)));
    assert_eq!(bench.names(), ["abandoned", "serving", "empty"]);
    assert_eq!(forks(&bench.later(3_600_000)), []);
}

#[test]
fn a_worker_that_served_long_clears_its_record() {
    let mut bench = Bench::running(1);
    for _ in 0..20 {
        bench.later(10_000);
        assert_eq!(forks(&bench.exit(1, CRASH)), [(1, 1)]);
        bench.event(Event::Ready { slot: 1 });
    }
}

#[test]
fn a_worker_that_cannot_boot_ends_the_start_with_code_3() {
    let mut bench = Bench::new(2);
    bench.event(Event::Begin);
    bench.event(Event::Ready { slot: 2 });
    let actions = bench.exit(1, Exit::Code(CANNOT_BOOT));
    assert!(actions.contains(&Action::Stop { slot: 2 }));
    assert_eq!(exit_code(&bench.exit(2, Exit::Code(0))), Some(3));
}

#[test]
fn slow_crashes_at_start_end_it_too() {
    let mut bench = Bench::new(1);
    bench.event(Event::Begin);
    let mut code = None;
    for _ in 0..5 {
        assert_eq!(code, None);
        code = exit_code(&bench.exit(1, Exit::Code(4)));
        bench.later(60_000 - 1);
    }
    assert_eq!(code, Some(3));
}

#[test]
fn a_server_without_workers_ends() {
    let mut bench = Bench::running(1);
    let mut code = None;
    for _ in 0..5 {
        assert_eq!(code, None);
        code = exit_code(&bench.exit(1, CRASH));
        bench.later(800);
    }
    assert_eq!(code, Some(3));
}

#[test]
fn a_stop_drains_and_a_late_worker_is_killed() {
    let mut bench = Bench::running(2);
    let drain = |slot| Action::Drain {
        slot,
        code: 1001,
        timeout_ms: 5_000,
    };
    let actions = bench.event(STOP);
    assert!(actions.contains(&drain(1)) && actions.contains(&drain(2)));
    assert_eq!(exit_code(&bench.exit(1, Exit::Code(0))), None);
    let pid = bench.pid(2);
    let kill = Action::Kill { slot: 2, pid };
    assert!(!bench.later(6_999).contains(&kill));
    assert!(bench.later(1).contains(&kill));
    assert_eq!(exit_code(&bench.exit(2, Exit::Signal(9))), Some(0));
}

#[test]
fn a_second_stop_is_at_once_and_a_third_kills() {
    let mut bench = Bench::running(1);
    bench.event(STOP);
    assert_eq!(bench.event(STOP), [], "the same wish, told twice");
    bench.later(10);
    assert!(bench.event(STOP).contains(&Action::Stop { slot: 1 }));
    let pid = bench.pid(1);
    bench.later(10);
    assert!(bench.event(STOP).contains(&Action::Kill { slot: 1, pid }));
    assert_eq!(exit_code(&bench.exit(1, Exit::Signal(9))), Some(0));
    assert_eq!(bench.event(STOP), []);
}

#[test]
fn a_worker_that_never_reports_is_killed_and_tried_again() {
    let mut bench = Bench::running(1);
    bench.exit(1, CRASH);
    let pid = bench.pid(1);
    assert!(bench.later(60_000).contains(&Action::Kill { slot: 1, pid }));
    assert_eq!(forks(&bench.exit(1, Exit::Signal(9))), []);
    assert_eq!(forks(&bench.later(100)), [(1, 1)]);
}

#[test]
fn a_machine_that_slept_does_not_kill_its_workers() {
    let mut bench = Bench::running(1);
    bench.event(STOP);
    let pid = bench.pid(1);
    let kill = Action::Kill { slot: 1, pid };
    assert!(
        !bench.later(3_600_000).contains(&kill),
        "woken an hour late"
    );
    assert!(!bench.later(1_999).contains(&kill), "it gets the grace");
    assert!(bench.later(1).contains(&kill));
}

#[test]
fn strangers_and_late_reports_are_ignored() {
    let mut bench = Bench::running(1);
    let stranger = Event::Exited {
        pid: Pid::from_raw(7),
        exit: CRASH,
    };
    assert_eq!(bench.event(stranger), []);
    bench.event(STOP);
    assert_eq!(bench.event(Event::Ready { slot: 1 }), []);
    assert_eq!(bench.names(), ["draining", "empty"]);
}
