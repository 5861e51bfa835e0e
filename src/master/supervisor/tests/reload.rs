//! Stories of reloads and upgrades.

use super::*;

/// A reload that has left nothing behind.
fn reload_done(generation: u32) -> Action {
    Action::Tell(Notice::ReloadDone {
        change: RELOAD,
        generation,
        leftovers: Leftovers::default(),
    })
}

/// Runs a reload to its end; every replacement boots.
fn finish_reload(bench: &mut Bench, generation: u32) {
    for _ in 0..10 {
        let booting = bench.names().iter().position(|name| *name == "booting");
        let Some(new) = booting else { break };
        bench.event(Event::Ready {
            slot: u16::try_from(new).unwrap() + 1,
        });
        let old = bench.names().iter().position(|name| *name == "draining");
        if let Some(old) = old {
            bench.exit(u16::try_from(old).unwrap() + 1, Exit::Code(0));
        }
        bench.later(1_000);
    }
    assert_eq!(bench.supervisor.phase_name(), "running");
    let of_generation = |(_, state): &(u16, SlotState)| state.generation() == Some(generation);
    assert_eq!(
        bench.supervisor.slots().filter(of_generation).count(),
        usize::from(bench.supervisor.policy.processes)
    );
}

#[test]
fn a_reload_replaces_one_after_the_other() {
    let mut bench = Bench::running(2);
    let actions = bench.event(Event::Reload);
    assert!(actions.contains(&Action::Probe { change: RELOAD }));
    let actions = bench.event(Event::ProbePassed);
    assert_eq!(actions, [Action::LoadConfig { generation: 2 }]);
    assert_eq!(forks(&bench.event(LOADED)), [(3, 2)]);
    let actions = bench.event(Event::Ready { slot: 3 });
    assert!(actions.contains(&Action::Replace {
        slot: 1,
        by: Some(3),
        code: 1012,
        mercy_ms: 0,
        timeout_ms: 5_000
    }));
    assert_eq!(bench.names(), ["draining", "serving", "serving"]);
    assert_eq!(forks(&bench.exit(1, Exit::Code(0))), [], "it has to settle");
    assert_eq!(forks(&bench.later(999)), []);
    assert_eq!(forks(&bench.later(1)), [(1, 2)]);
    assert!(bench.supervisor.needs_generation(1));
    bench.event(Event::Ready { slot: 1 });
    bench.later(5_000);
    let actions = bench.exit(2, Exit::Code(0));
    assert!(
        actions.contains(&reload_done(2)),
        "the time counts from when it was ready"
    );
    assert_eq!(bench.names(), ["serving", "empty", "serving"]);
    assert!(!bench.supervisor.needs_generation(1));
}

#[test]
fn a_replacement_that_fails_leaves_the_old_ones_serving() {
    let mut bench = Bench::running(2);
    bench.reload();
    let exit = Exit::Code(CANNOT_BOOT);
    let actions = bench.exit(3, exit);
    assert!(actions.contains(&Action::Tell(Notice::ReloadFailed {
        change: RELOAD,
        generation: 2,
        slot: 3,
        exit: Some(exit)
    })));
    assert_eq!(bench.names(), ["serving", "serving", "empty"]);
    assert!(!bench.supervisor.needs_generation(2));
    assert_eq!(
        forks(&bench.exit(1, CRASH)),
        [(1, 1)],
        "respawned as it was"
    );
}

#[test]
fn a_replacement_that_does_not_settle_ends_the_reload_and_is_rolled_back() {
    let mut bench = Bench::running(2);
    bench.reload();
    bench.event(Event::Ready { slot: 3 });
    bench.exit(1, Exit::Code(0));
    bench.later(500);
    let actions = bench.exit(3, CRASH);
    assert!(actions.contains(&Action::Tell(Notice::ReloadFailed {
        change: RELOAD,
        generation: 2,
        slot: 3,
        exit: Some(CRASH)
    })));
    assert_eq!(forks(&actions), [(3, 1)]);
    assert_eq!(bench.names(), ["empty", "serving", "booting"]);
    assert_eq!(bench.supervisor.phase_name(), "running");
}

#[test]
fn a_replacement_that_dies_while_it_takes_over_is_rolled_back() {
    let mut bench = Bench::running(2);
    bench.reload();
    bench.event(Event::Ready { slot: 3 });
    assert_eq!(forks(&bench.exit(3, CRASH)), [(3, 1)]);
    assert_eq!(bench.names(), ["draining", "serving", "booting"]);
    bench.event(Event::Ready { slot: 3 });
    bench.exit(1, Exit::Code(0));
    bench.later(1_000);
    assert_eq!(bench.supervisor.phase_name(), "running");
    assert_eq!(bench.names(), ["empty", "serving", "serving"]);
}

#[test]
fn a_replacement_that_was_killed_does_not_count_as_settled() {
    for before_the_old_one_left in [true, false] {
        let mut bench = Bench::running(2);
        bench.reload();
        bench.event(Event::Ready { slot: 3 });
        if before_the_old_one_left {
            bench.event(Event::Stuck { slot: 3 });
        }
        assert_eq!(forks(&bench.exit(1, Exit::Code(0))), []);
        bench.event(Event::Stuck { slot: 3 });
        assert_eq!(forks(&bench.later(1_000)), []);
        let exit = Exit::Signal(9);
        let actions = bench.exit(3, exit);
        assert!(actions.contains(&Action::Tell(Notice::ReloadFailed {
            change: RELOAD,
            generation: 2,
            slot: 3,
            exit: Some(exit)
        })));
        assert_eq!(forks(&actions), [(3, 1)]);
        assert_eq!(bench.supervisor.phase_name(), "running");
    }
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let change = RELOAD;
    let generation = 2;
    let refused = Action::Tell(Notice::ReloadRefused { change, generation });
    let mut bench = Bench::running(2);
    bench.event(Event::Reload);
    assert_eq!(bench.event(Event::ProbeFailed), [refused]);
    assert_eq!(bench.names(), ["serving", "serving", "empty"]);
    bench.event(Event::Reload);
    bench.event(Event::ProbePassed);
    let generation = 3;
    let refused = Action::Tell(Notice::ReloadRefused { change, generation });
    assert_eq!(bench.event(Event::ConfigRefused), [refused]);
    assert_eq!(bench.event(Event::ProbePassed), [], "a late answer");
    assert_eq!(bench.names(), ["serving", "serving", "empty"]);
}

#[test]
fn a_check_that_hangs_is_ended() {
    let mut bench = Bench::running(1);
    bench.event(Event::Upgrade);
    assert!(!bench.later(29_999).contains(&Action::EndProbe));
    assert!(bench.later(1).contains(&Action::EndProbe));
    bench.event(Event::ProbeFailed);
    assert_eq!(bench.supervisor.phase_name(), "running");
    bench.event(Event::Upgrade);
    assert!(bench.event(STOP).contains(&Action::EndProbe));
}

#[test]
fn reloads_during_a_reload_are_one_more_reload() {
    let mut bench = Bench::running(1);
    bench.event(Event::Reload);
    for _ in 0..3 {
        assert_eq!(bench.supervisor.next_generation(), 3);
        assert_eq!(
            bench.event(Event::Reload),
            [Action::Tell(Notice::ReloadQueued { change: RELOAD })]
        );
    }
    bench.event(Event::ProbePassed);
    bench.event(LOADED);
    bench.event(Event::Ready { slot: 2 });
    bench.exit(1, Exit::Code(0));
    assert!(
        bench
            .later(1_000)
            .contains(&Action::Probe { change: RELOAD })
    );
    bench.event(Event::ProbePassed);
    bench.event(LOADED);
    finish_reload(&mut bench, 3);
}

#[test]
fn an_upgrade_goes_on_in_the_new_program() {
    let mut bench = Bench::running(2);
    bench.exit(2, CRASH);
    let change = Change::Upgrade;
    assert!(
        bench
            .event(Event::Upgrade)
            .contains(&Action::Probe { change })
    );
    bench.event(Event::Reload);
    assert_eq!(bench.event(Event::ProbePassed), [Action::Exec]);
    let text = serde_json::to_string(&bench.supervisor.snapshot()).unwrap();
    let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot.generation(), 2);
    bench.supervisor = Supervisor::resume(Policy::new(7, 1), snapshot);
    assert_eq!(bench.supervisor.processes(), 2, "somebody may have scaled");
    assert_eq!(bench.names(), ["serving", "booting", "empty"]);
    assert_eq!(forks(&bench.event(LOADED)), [(3, 2)]);
    bench.event(Event::Ready { slot: 2 });
    finish_reload_of_upgrade(&mut bench);
    assert_eq!(bench.supervisor.change(), Some(RELOAD), "it was queued");
}

fn finish_reload_of_upgrade(bench: &mut Bench) {
    for (new, old) in [(3, 1), (1, 2)] {
        bench.event(Event::Ready { slot: new });
        bench.exit(old, Exit::Code(0));
        bench.later(1_000);
    }
}

#[test]
fn an_exec_that_fails_changes_nothing() {
    let mut bench = Bench::running(1);
    bench.event(Event::Upgrade);
    bench.event(Event::ProbePassed);
    let change = Change::Upgrade;
    let generation = 2;
    let refused = Action::Tell(Notice::ReloadRefused { change, generation });
    assert_eq!(bench.event(Event::ExecFailed), [refused]);
    assert_eq!(bench.supervisor.phase_name(), "running");
}

#[test]
fn a_reload_brings_an_abandoned_slot_back() {
    let mut bench = Bench::running(2);
    for _ in 0..5 {
        bench.exit(1, CRASH);
        bench.later(800);
    }
    assert_eq!(bench.names(), ["abandoned", "serving", "empty"]);
    assert_eq!(forks(&bench.reload()), [(1, 2)]);
    bench.event(Event::Ready { slot: 1 });
    assert_eq!(forks(&bench.later(1_000)), [(3, 2)]);
}

#[test]
fn an_old_worker_that_dies_during_its_replacement_is_not_missed() {
    let mut bench = Bench::running(1);
    bench.reload();
    assert_eq!(
        forks(&bench.exit(1, CRASH)),
        [(1, 1)],
        "the replacement may fail yet"
    );
    bench.event(Event::Ready { slot: 2 });
    assert_eq!(bench.names(), ["draining", "serving"]);
}

#[test]
fn an_old_worker_that_hangs_while_its_replacement_boots_is_not_respawned() {
    let mut bench = Bench::running(1);
    bench.exit(1, CRASH);
    bench.later(1_000);
    bench.reload();
    bench.later(59_000);
    assert_eq!(bench.names(), ["killed", "booting"]);
    bench.event(Event::Ready { slot: 2 });
    bench.exit(1, Exit::Signal(9));
    assert!(bench.later(1_000).contains(&reload_done(2)));
    assert_eq!(bench.names(), ["empty", "serving"]);
}

#[test]
fn a_stop_during_a_reload_stops_everybody() {
    let mut bench = Bench::running(1);
    bench.reload();
    bench.event(STOP);
    assert_eq!(bench.names(), ["draining", "draining"]);
    assert_eq!(exit_code(&bench.exit(2, Exit::Code(0))), None);
    assert_eq!(exit_code(&bench.exit(1, Exit::Code(0))), Some(0));
}
