//! Slots, figures, reservations, parking and the bell.

use std::os::fd::AsFd;

use super::super::ParticipantState;
use super::*;

#[test]
fn a_slot_has_one_owner_at_a_time() {
    let area = area();
    let first = worker(&area, 5);
    let error = area.join(ParticipantKind::Worker, 5).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    assert_eq!((first.slot(), first.generation()), (5, 1));
    drop(first);
    assert_eq!(area.participant(5), None);
    assert_eq!(worker(&area, 5).generation(), 2);
    assert!(area.join(ParticipantKind::Worker, 64).is_err());
}

#[test]
fn figures_are_shown() {
    let area = area();
    let worker = worker(&area, 3);
    worker.set_state(ParticipantState::Ready);
    worker.set_clients(10);
    worker.set_subscriptions(20);
    worker.set_cursor(30);
    worker.beat(40);
    worker.count_delivered(50);
    worker.count_delivered(1);
    worker.count_lapped(2);
    assert!(worker.pin(60));
    let view = area.participants().next().unwrap();
    assert_eq!((view.slot, view.pid), (3, std::process::id()));
    assert_eq!(
        (view.kind, view.state),
        (ParticipantKind::Worker, ParticipantState::Ready)
    );
    assert_eq!((view.clients, view.subscriptions), (10, 20));
    assert_eq!((view.cursor, view.beat_us, view.pin), (30, 40, Some(60)));
    assert_eq!((view.delivered, view.lapped), (51, 2));
    drop(worker);
    assert_eq!(area.participants().count(), 0);
    assert_eq!((area.counters().delivered, area.counters().lapped), (51, 2));
    assert!(
        area.describe()
            .contains("spool 64 KiB, log 512 entries, 64 channels")
    );
}

#[test]
fn a_reservation_of_the_dead_can_be_forgotten() {
    let area = area();
    let (dead, slow, receiver) = (worker(&area, 1), worker(&area, 3), worker(&area, 2));
    receiver.set_state(ParticipantState::Ready);
    assert!(dead.reserve(2) && slow.reserve(2));
    dead.vanish();
    assert!(receiver.is_reserved());
    assert_eq!(receiver.forget_reservations(), 2);
    assert!(!receiver.is_reserved());
    // The slow one has only been slow.
    receiver.release_reservation(2);
    assert_eq!(area.participant(2).unwrap().reserved, 0);
}

#[test]
fn places_are_reserved_only_where_clients_are_taken() {
    let area = area();
    let (sender, receiver) = (worker(&area, 1), worker(&area, 2));
    assert!(!sender.reserve(2), "it is starting");
    receiver.set_state(ParticipantState::Ready);
    assert!(sender.reserve(2));
    assert!(sender.reserve(2));
    assert_eq!(area.participant(2).unwrap().reserved, 2);
    for left in [1, 0, 0] {
        receiver.release_reservation(2);
        assert_eq!(area.participant(2).unwrap().reserved, left);
    }
    receiver.set_state(ParticipantState::Draining);
    assert!(!sender.reserve(2));
    assert!(!sender.reserve(7), "nobody is there");
    assert!(!sender.reserve(64));
    sender.release_reservation(64);
}

#[test]
fn the_bell_rings_for_sleepers_that_are_concerned_and_once() {
    let area = area();
    let (mut writer, mut sleeper) = (worker(&area, 1), worker(&area, 2));
    let index = sleeper.channel("news").unwrap();
    sleeper.set_interest(index, 1);
    publish(&mut writer, "news", b"x").unwrap();
    assert_eq!(rings(&area), 0, "nobody sleeps");

    assert!(!sleeper.park(0), "there is something to read");
    assert!(sleeper.park(1));
    publish(&mut writer, "other", b"x").unwrap();
    assert_eq!(rings(&area), 0, "not concerned");
    publish(&mut writer, "news", b"x").unwrap();
    publish(&mut writer, "news", b"x").unwrap();
    assert_eq!(rings(&area), 1, "once for a sleep");

    assert!(sleeper.park(4));
    sleeper.unpark();
    publish(&mut writer, "news", b"x").unwrap();
    assert_eq!(rings(&area), 0, "awake");

    sleeper.set_wild(true);
    assert!(sleeper.park(5));
    publish(&mut writer, "other", b"x").unwrap();
    assert_eq!(rings(&area), 1, "wants everything");
    sleeper.set_wild(false);
    assert!(sleeper.park(6));
    publish(&mut writer, "other", b"x").unwrap();
    assert_eq!(rings(&area), 0);
}

#[test]
fn the_bell_rings_for_who_came_to_the_channel_while_a_message_was_written() {
    let area = area();
    let (mut writer, mut sleeper) = (worker(&area, 1), worker(&area, 2));
    let index = sleeper.channel("news").unwrap();
    let mut slept = false;
    let mut before_the_commit = |step| {
        if step == Step::EntryFilled {
            sleeper.set_interest(index, 1);
            slept = sleeper.park(0);
        }
    };
    writer
        .publish_traced(&publication("news", &[b"x"]), &mut before_the_commit)
        .unwrap();
    assert!(slept, "nothing is committed yet");
    assert_eq!(rings(&area), 1);
}

#[test]
fn a_sweep_rings_and_clears_but_not_for_the_living() {
    let area = area();
    let mut sleeper = worker(&area, 2);
    let index = sleeper.channel("news").unwrap();
    sleeper.set_interest(index, 1);
    sleeper.set_wild(true);
    assert!(sleeper.park(0));
    area.sweep(2);
    assert_eq!(rings(&area), 0);
    assert!(area.participant(2).is_some());
    sleeper.vanish();
    area.sweep(2);
    assert_eq!(rings(&area), 1);
    assert_eq!(area.participant(2), None);
    publish(&mut worker(&area, 1), "news", b"x").unwrap();
    assert_eq!(rings(&area), 0, "the dead are not rung for");
    area.ring();
    assert_eq!(rings(&area), 1);
    area.sweep(64);
}

#[test]
fn descriptors_do_not_leak_into_programs_that_are_started() {
    let area = area();
    let fds = area.fds();
    for fd in [fds.board, fds.log, fds.spool, fds.bell] {
        let flags = nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}

#[test]
fn memory_objects_cannot_change_their_size() {
    let area = area();
    let fds = area.fds();
    for fd in [fds.board, fds.log, fds.spool] {
        for length in [0, 1 << 30] {
            assert_eq!(
                nix::unistd::ftruncate(fd, length),
                Err(nix::errno::Errno::EPERM)
            );
        }
    }
}
