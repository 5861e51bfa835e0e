//! Stories of more and fewer workers, of pauses, and of single workers that are renewed or stuck.

use super::*;

fn scale(processes: u16) -> Event {
    Event::Scale { processes }
}

fn scaled(serving: u16, wanted: u16) -> Action {
    Action::Tell(Notice::Scaled {
        serving,
        wanted,
        leftovers: Leftovers::default(),
    })
}

#[test]
fn one_more_boots_and_gets_its_share() {
    let mut bench = Bench::with_slots(2, 5).run(2);
    assert_eq!(forks(&bench.event(scale(3))), [(3, 1)]);
    let actions = bench.event(Event::Ready { slot: 3 });
    assert!(actions.contains(&Action::Share { slot: 3 }));
    assert!(actions.contains(&scaled(3, 3)));
}

#[test]
fn one_fewer_hands_its_clients_over() {
    let mut bench = Bench::with_slots(3, 5).run(3);
    let actions = bench.event(scale(2));
    assert!(actions.contains(&Action::Replace {
        slot: 3,
        by: None,
        code: 1012,
        mercy_ms: 0,
        timeout_ms: 5_000
    }));
    assert!(!actions.contains(&scaled(2, 2)));
    assert!(bench.exit(3, Exit::Code(0)).contains(&scaled(2, 2)));
    assert!(bench.event(scale(2)).contains(&scaled(2, 2)), "at once");
}

#[test]
fn there_are_bounds() {
    let mut bench = Bench::with_slots(1, 3).run(1);
    bench.event(scale(0));
    assert_eq!(bench.supervisor.processes(), 1);
    assert_eq!(forks(&bench.event(scale(60))), [(2, 1)]);
    assert_eq!(bench.supervisor.processes(), 2);
    assert_eq!(workers_max(1), 16);
    assert_eq!(workers_max(20), 40);
    assert_eq!(workers_max(62), 62);
}

#[test]
fn who_does_not_serve_goes_first() {
    let mut bench = Bench::with_slots(2, 5).run(2);
    bench.exit(1, CRASH);
    let actions = bench.event(scale(1));
    assert!(actions.contains(&Action::Stop { slot: 1 }));
    assert!(bench.exit(1, Exit::Code(0)).contains(&scaled(1, 1)));
    assert_eq!(
        bench.names(),
        ["empty", "serving", "empty", "empty", "empty"]
    );
}

#[test]
fn who_is_only_being_forked_goes_before_the_last_one_that_serves() {
    let mut bench = Bench::with_slots(2, 5).run(2);
    bench.event(Event::Renew { slot: 1 });
    bench.event(Event::Ready { slot: 3 });
    bench.exit(1, Exit::Code(0));
    bench.event(scale(1));
    // The crash comes when the renewal is done, and one worker is too many.
    bench.now_ms += 1_000;
    let actions = bench.exit(2, CRASH);
    assert_eq!(forks(&actions), [(2, 1)]);
    assert!(actions.contains(&Action::Stop { slot: 2 }));
    let expected = ["empty", "stopping", "serving", "empty", "empty"];
    assert_eq!(bench.names(), expected);
    assert!(bench.exit(2, Exit::Code(0)).contains(&scaled(1, 1)));
}

#[test]
fn a_new_worker_that_never_serves_is_told() {
    let mut bench = Bench::with_slots(1, 3).run(1);
    bench.event(scale(2));
    for _ in 0..4 {
        bench.exit(2, CRASH);
        bench.later(800);
    }
    assert!(bench.exit(2, CRASH).contains(&scaled(1, 2)));
}

#[test]
fn a_scale_during_a_reload_follows_it() {
    let mut bench = Bench::with_slots(1, 4).run(1);
    bench.reload();
    assert_eq!(forks(&bench.event(scale(2))), []);
    bench.event(Event::Ready { slot: 2 });
    bench.exit(1, Exit::Code(0));
    bench.later(1_000);
    assert_eq!(
        forks(&bench.later(0)),
        [(1, 2)],
        "with the new configuration"
    );
    assert!(
        bench
            .event(Event::Ready { slot: 1 })
            .contains(&scaled(2, 2))
    );
}

#[test]
fn a_configuration_may_want_another_number() {
    let mut bench = Bench::with_slots(2, 5).run(2);
    bench.event(Event::Reload);
    bench.event(Event::ProbePassed);
    bench.event(Event::ConfigLoaded {
        wanted: Wanted {
            processes: Some(1),
            drain_timeout_ms: 7,
            mercy_ms: 0,
            settle_ms: 0,
        },
    });
    bench.event(Event::Ready { slot: 3 });
    bench.exit(1, Exit::Code(0));
    bench.event(Event::Ready { slot: 1 });
    let actions = bench.exit(2, Exit::Code(0));
    assert!(actions.contains(&Action::Replace {
        slot: 3,
        by: None,
        code: 1012,
        mercy_ms: 0,
        timeout_ms: 7
    }));
}

#[test]
fn a_reload_waits_for_a_slot_when_all_are_taken() {
    let mut bench = Bench::with_slots(2, 3).run(2);
    bench.event(scale(1));
    bench.event(scale(2));
    bench.later(0);
    assert_eq!(bench.names(), ["serving", "draining", "booting"]);
    assert_eq!(forks(&bench.reload()), []);
    assert_eq!(forks(&bench.exit(2, Exit::Code(0))), [(2, 2)]);
}

#[test]
fn a_pause_reaches_everybody_and_later_workers_too() {
    let mut bench = Bench::running(2);
    let actions = bench.event(Event::Accept { on: false });
    for slot in [1, 2] {
        assert!(actions.contains(&Action::Accept { slot, on: false }));
    }
    assert_eq!(bench.event(Event::Accept { on: false }), []);
    assert!(!bench.supervisor.accepts());
    assert_eq!(bench.supervisor.phase_name(), "paused");
    assert!(
        bench
            .event(Event::Accept { on: true })
            .contains(&Action::Accept { slot: 1, on: true })
    );
}

#[test]
fn a_stuck_worker_is_killed_and_replaced() {
    let mut bench = Bench::running(2);
    let pid = bench.pid(1);
    let kill = Action::Kill { slot: 1, pid };
    assert!(bench.event(Event::Stuck { slot: 1 }).contains(&kill));
    assert_eq!(bench.event(Event::Stuck { slot: 1 }), []);
    assert_eq!(forks(&bench.exit(1, Exit::Signal(9))), [(1, 1)]);
    assert_eq!(bench.event(Event::Stuck { slot: 1 }), [], "it boots");
}

#[test]
fn a_renewal_replaces_one_worker() {
    let mut bench = Bench::running(2);
    let actions = bench.event(Event::Renew { slot: 2 });
    assert_eq!(forks(&actions), [(3, 1)]);
    let actions = bench.event(Event::Ready { slot: 3 });
    assert!(actions.contains(&Action::Replace {
        slot: 2,
        by: Some(3),
        code: 1012,
        mercy_ms: 0,
        timeout_ms: 5_000
    }));
    bench.exit(1, CRASH);
    assert_eq!(
        bench.supervisor.change(),
        Some(Change::Renewal),
        "not its fault"
    );
    bench.exit(2, Exit::Code(0));
    bench.later(1_000);
    assert_eq!(bench.supervisor.phase_name(), "running");
    assert_eq!(bench.names(), ["booting", "empty", "serving"]);
}

#[test]
fn a_renewal_that_fails_keeps_the_old_worker() {
    let mut bench = Bench::running(1);
    bench.event(Event::Renew { slot: 1 });
    bench.exit(2, CRASH);
    assert_eq!(bench.names(), ["serving", "empty"]);
    assert_eq!(bench.supervisor.phase_name(), "running");
}

#[test]
fn a_fast_stop_gives_a_second() {
    let mut bench = Bench::running(1);
    let haste = Haste::Fast;
    let actions = bench.event(Event::Stop { haste });
    assert!(actions.contains(&Action::Drain {
        slot: 1,
        code: 1001,
        timeout_ms: 1_000
    }));
    bench.later(10);
    assert!(
        bench
            .event(Event::Stop { haste })
            .contains(&Action::Stop { slot: 1 })
    );
}
