//! Stories of leftovers: workers that were replaced and still serve clients who cannot be moved.

use super::*;

const MERCY_MS: u64 = 60_000;
/// From the order to the moment at which a leftover is killed.
const ALL_MS: u64 = MERCY_MS + 5_000 + 2_000;

impl Bench {
    /// A server with mercy whose workers all serve.
    fn merciful(processes: u16, slots: u16) -> Self {
        let mut bench = Self::with_slots(processes, slots).run(processes);
        bench.supervisor.policy.mercy_ms = MERCY_MS;
        bench
    }

    /// A reload whose configuration has the same mercy begins.
    fn reload_with_mercy(&mut self) -> Vec<Action> {
        self.event(Event::Reload);
        self.event(Event::ProbePassed);
        self.event(Event::ConfigLoaded {
            wanted: Wanted {
                processes: None,
                drain_timeout_ms: 5_000,
                mercy_ms: MERCY_MS,
                settle_ms: 1_000,
            },
        })
    }

    /// The worker in `new` takes over from that in `old`, which becomes a leftover.
    fn pass_on(&mut self, old: u16, new: u16) -> Vec<Action> {
        let actions = self.event(Event::Ready { slot: new });
        assert!(actions.contains(&Action::Replace {
            slot: old,
            by: Some(new),
            code: 1012,
            mercy_ms: MERCY_MS,
            timeout_ms: 5_000
        }));
        self.event(Event::Moved { slot: old })
    }
}

fn done(actions: &[Action]) -> Option<(u32, Leftovers)> {
    let mut found = None;
    for action in actions {
        if let Action::Tell(Notice::ReloadDone {
            generation,
            leftovers,
            ..
        }) = action
        {
            found = Some((*generation, *leftovers));
        }
    }
    found
}

#[test]
fn a_reload_does_not_wait_for_leftovers() {
    let mut bench = Bench::merciful(2, 6);
    bench.reload_with_mercy();
    let moved = bench.pass_on(1, 3);
    assert!(moved.contains(&Action::Tell(Notice::Moved {
        slot: 1,
        pid: Pid::from_raw(101),
        left_ms: MERCY_MS + 5_000
    })));
    assert_eq!(forks(&moved), [], "it has to settle");
    assert_eq!(forks(&bench.later(1_000)), [(4, 2)]);
    bench.pass_on(2, 4);
    let leftovers = Leftovers {
        workers: 2,
        left_ms: MERCY_MS + 4_000,
    };
    assert_eq!(done(&bench.later(1_000)), Some((2, leftovers)));
    let expected = [
        "leftover", "leftover", "serving", "serving", "empty", "empty",
    ];
    assert_eq!(bench.names(), expected);
    assert_eq!(bench.supervisor.serving(), 2);
    assert!(
        !bench.supervisor.needs_generation(1),
        "its listeners can be closed"
    );
}

#[test]
fn a_leftover_that_does_not_leave_is_killed() {
    let mut bench = Bench::merciful(1, 4);
    bench.reload_with_mercy();
    bench.pass_on(1, 2);
    bench.later(1_000);
    let pid = bench.pid(1);
    let kill = Action::Kill { slot: 1, pid };
    assert!(!bench.later(ALL_MS - 1_001).contains(&kill));
    assert!(bench.later(1).contains(&kill));
    assert_eq!(forks(&bench.exit(1, Exit::Signal(9))), []);
    assert_eq!(bench.names(), ["empty", "serving", "empty", "empty"]);
}

#[test]
fn a_worker_that_hangs_instead_of_moving_anybody_gets_no_mercy() {
    let mut bench = Bench::merciful(1, 4);
    bench.reload_with_mercy();
    bench.event(Event::Ready { slot: 2 });
    let pid = bench.pid(1);
    assert!(bench.later(7_000).contains(&Action::Kill { slot: 1, pid }));
}

#[test]
fn a_leftover_that_dies_is_not_missed() {
    let mut bench = Bench::merciful(1, 4);
    bench.reload_with_mercy();
    bench.pass_on(1, 2);
    assert_eq!(forks(&bench.exit(1, CRASH)), []);
    assert_eq!(done(&bench.later(1_000)), Some((2, Leftovers::default())));
    bench.reload_with_mercy();
    bench.pass_on(2, 1);
    let pid = bench.pid(2);
    let stuck = bench.event(Event::Stuck { slot: 2 });
    assert!(stuck.contains(&Action::Kill { slot: 2, pid }));
    assert_eq!(forks(&bench.exit(2, Exit::Signal(9))), []);
}

#[test]
fn a_stop_ends_mercy_and_a_late_report_does_not_bring_it_back() {
    let mut bench = Bench::merciful(2, 6);
    bench.reload_with_mercy();
    bench.pass_on(1, 3);
    bench.later(1_000);
    bench.event(Event::Ready { slot: 4 });
    // One is a leftover, another is still moving its clients.
    let actions = bench.event(STOP);
    for slot in 1..=4 {
        assert!(actions.contains(&Action::Drain {
            slot,
            code: 1001,
            timeout_ms: 5_000
        }));
    }
    assert_eq!(bench.event(Event::Moved { slot: 2 }), []);
    assert!(bench.names()[..4].iter().all(|name| *name == "draining"));
    let pid = bench.pid(1);
    assert!(bench.later(7_000).contains(&Action::Kill { slot: 1, pid }));
}

#[test]
fn a_stop_gives_a_leftover_no_more_time_than_it_had() {
    let mut bench = Bench::merciful(1, 4);
    bench.reload_with_mercy();
    bench.pass_on(1, 2);
    bench.later(1_000);
    bench.later(ALL_MS - 1_100);
    bench.event(STOP);
    let pid = bench.pid(1);
    assert!(bench.later(100).contains(&Action::Kill { slot: 1, pid }));
}

/// A second reload that waits: leftovers of the first and of itself have all slots.
fn crowded() -> Bench {
    let mut bench = Bench::merciful(2, 5);
    for (old, new) in [(1, 3), (2, 4)] {
        if old == 1 {
            bench.reload_with_mercy();
        }
        bench.pass_on(old, new);
        bench.later(1_000);
    }
    assert_eq!(forks(&bench.reload_with_mercy()), [(5, 3)]);
    bench.pass_on(3, 5);
    let change = RELOAD;
    assert_eq!(
        bench.later(1_000),
        [Action::Tell(Notice::ReloadCrowded { change })],
        "all slots are taken"
    );
    bench
}

#[test]
fn a_second_reload_leaves_leftovers_alone_and_waits_for_a_slot_if_it_must() {
    let mut bench = crowded();
    assert_eq!(forks(&bench.exit(2, Exit::Code(0))), [(2, 3)]);
    bench.pass_on(4, 2);
    let (generation, leftovers) = done(&bench.later(1_000)).expect("it is done");
    assert_eq!((generation, leftovers.workers), (3, 3));
}

#[test]
fn a_replacement_that_fails_is_rolled_back_while_the_old_one_lingers() {
    let mut bench = Bench::merciful(2, 6);
    bench.reload_with_mercy();
    bench.pass_on(1, 3);
    let actions = bench.exit(3, CRASH);
    assert_eq!(forks(&actions), [(3, 1)], "as it was before");
    assert_eq!(bench.supervisor.phase_name(), "running");
    assert!(bench.supervisor.needs_generation(1));
    let expected = ["leftover", "serving", "booting", "empty", "empty", "empty"];
    assert_eq!(bench.names(), expected);
    bench.event(Event::Ready { slot: 3 });
    assert_eq!(bench.supervisor.serving(), 2);
}

#[test]
fn one_fewer_may_linger_and_one_more_does_not_wait_for_it() {
    let mut bench = Bench::merciful(2, 6);
    bench.event(Event::Scale { processes: 1 });
    let moved = bench.event(Event::Moved { slot: 2 });
    let scaled = Notice::Scaled {
        serving: 1,
        wanted: 1,
        leftovers: Leftovers {
            workers: 1,
            left_ms: MERCY_MS + 5_000,
        },
    };
    assert!(moved.contains(&Action::Tell(scaled)));
    let actions = bench.event(Event::Scale { processes: 2 });
    assert_eq!(forks(&actions), [(3, 1)]);
}

#[test]
fn more_workers_wait_for_the_slots_of_leftovers() {
    let mut bench = Bench::merciful(1, 3);
    bench.reload_with_mercy();
    bench.pass_on(1, 2);
    bench.later(1_000);
    bench.reload_with_mercy();
    bench.pass_on(2, 3);
    bench.later(1_000);
    assert_eq!(bench.names(), ["leftover", "leftover", "serving"]);
    let actions = bench.event(Event::Scale { processes: 2 });
    let told = |actions: &[Action]| {
        let scaled = |action: &Action| matches!(action, Action::Tell(Notice::Scaled { .. }));
        actions.iter().any(scaled)
    };
    assert!(!told(&actions), "one is still to come");
    assert_eq!(forks(&bench.exit(1, Exit::Code(0))), [(1, 3)]);
    assert!(told(&bench.event(Event::Ready { slot: 1 })));
}

#[test]
fn a_renewed_worker_may_linger() {
    let mut bench = Bench::merciful(1, 4);
    bench.event(Event::Renew { slot: 1 });
    bench.pass_on(1, 2);
    bench.later(1_000);
    assert_eq!(bench.supervisor.phase_name(), "running");
    assert_eq!(bench.names(), ["leftover", "serving", "empty", "empty"]);
}

#[test]
fn a_renewal_does_not_wait_for_the_slot_of_a_leftover() {
    let mut bench = Bench::merciful(1, 2);
    bench.reload_with_mercy();
    bench.pass_on(1, 2);
    bench.later(1_000);
    assert_eq!(bench.event(Event::Renew { slot: 2 }), []);
    assert_eq!(bench.supervisor.phase_name(), "running");
    bench.exit(1, Exit::Code(0));
    assert_eq!(forks(&bench.event(Event::Renew { slot: 2 })), [(1, 2)]);
}

#[test]
fn an_upgrade_takes_leftovers_over() {
    let mut bench = Bench::merciful(1, 4);
    bench.reload_with_mercy();
    bench.pass_on(1, 2);
    bench.later(1_000);
    bench.event(Event::Upgrade);
    assert_eq!(bench.event(Event::ProbePassed), [Action::Exec]);
    let text = serde_json::to_string(&bench.supervisor.snapshot()).unwrap();
    let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot.generations().collect::<Vec<_>>(), [2, 2]);
    bench.supervisor = Supervisor::resume(Policy::new(1, 1), snapshot);
    assert_eq!(bench.names(), ["leftover", "serving", "empty", "empty"]);
    let pid = bench.pid(1);
    let kill = Action::Kill { slot: 1, pid };
    assert!(!bench.later(ALL_MS - 1_001).contains(&kill));
    assert!(bench.later(1).contains(&kill));
}

#[test]
fn without_mercy_nobody_lingers() {
    let mut bench = Bench::running(1);
    bench.reload();
    bench.event(Event::Ready { slot: 2 });
    assert_eq!(bench.event(Event::Moved { slot: 1 }), []);
    assert_eq!(bench.names(), ["draining", "serving"]);
}

#[test]
fn what_is_left_behind_is_said() {
    let text = |workers, left_ms| Leftovers { workers, left_ms }.to_string();
    assert_eq!(text(0, 0), "");
    assert_eq!(
        text(1, 900),
        "; 1 old worker still serves clients that cannot move, for at most 1 s"
    );
    assert_eq!(
        text(3, 68_000),
        "; 3 old workers still serve clients that cannot move, for at most 68 s"
    );
}

#[test]
fn a_crowded_change_that_has_failed_ends() {
    let mut bench = crowded();
    bench.exit(5, CRASH);
    assert_eq!(bench.supervisor.phase_name(), "running");
}
