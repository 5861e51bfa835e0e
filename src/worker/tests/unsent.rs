//! A worker that leaves while a letter of its waits for room in a mailbox.

use super::*;

#[test]
fn a_worker_does_not_leave_before_others_know_that_clients_stay() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    pair.one.order(replace(LONG_MS, LONG_MS));
    pair.one.settle();
    pair.two.settle();
    assert_eq!(pair.two.worker.engine.clients(), 1, "frozen");
    let nothing = Letter::Abort { from: 9, batch: 9 }.encode();
    while descriptors::send(pair.mailbox.as_fd(), &nothing, &[]).is_ok() {}
    pair.one.order(stop(LONG_MS));
    pair.one.expect(&mut peer, &[GOING_AWAY]);
    drop(peer);
    pair.one
        .until("the client is gone", |one| one.worker.engine.clients() == 0);
    pair.one.settle();
    assert!(!pair.one.gone, "the other holds the connection open");
    let two = &mut pair.two;
    pair.one.until("it leaves", |one| {
        two.turn();
        one.gone
    });
    pair.two
        .until("it knows", |two| two.worker.engine.clients() == 0);
}
