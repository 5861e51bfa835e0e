//! Workers that leave.

mod rig;

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::run::Phase;
use super::{Order, Report};
use crate::app::{Accept, App, Message, WebSocket, per_client};
use crate::engine::tests::rig::{Peer, masked, upgrade};
use crate::net::Purpose;
use crate::protocol::websocket::Closed;
use crate::sharedarea::ParticipantKind;
use crate::sys::descriptors::{self, Received};

use self::rig::*;

#[test]
fn who_cannot_move_is_served_in_full_until_mercy_ends() {
    let mut pair = pair(app_that_stays);
    let mut peers = [pair.one.client(), pair.one.client()];
    pair.show_mercy(LONG_MS, LONG_MS);
    pair.publish("to all");
    for peer in &mut peers {
        peer.send(&masked(TEXT, b"hello"));
        peer.send(&masked(0x89, b"?"));
        let mut seen = Vec::new();
        pair.one.until("all three come", |_| {
            peer.receive();
            seen.extend(peer.frames());
            seen.len() == 3
        });
        seen.sort();
        let expected = [(TEXT, &b"hello"[..]), (TEXT, b"to all"), (PONG, b"?")];
        let seen: Vec<_> = seen
            .iter()
            .map(|(first, text)| (*first, &text[..]))
            .collect();
        assert_eq!(seen, expected);
    }
    // Then they are told, one after the other.
    pair.one.end_mercy();
    pair.one.expect(&mut peers[0], &[RESTART]);
    assert_eq!(pair.one.worker.engine.clients(), 2);
    drop(peers);
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.one.reports(), [Report::Drained]);
}

#[test]
fn mercy_ends_when_nobody_needs_it_any_more() {
    let mut pair = pair(app_that_stays);
    let peer = pair.one.client();
    pair.show_mercy(LONG_MS, LONG_MS);
    pair.one.settle();
    assert!(!pair.one.gone);
    drop(peer);
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.one.reports(), [Report::Drained]);
}

#[test]
fn without_mercy_they_are_told_at_once_and_nobody_is_said_to_be_left() {
    let mut pair = pair(app_that_stays);
    let mut peer = pair.one.client();
    pair.one.order(replace(0, LONG_MS));
    pair.one.expect(&mut peer, &[RESTART]);
    assert_eq!(pair.one.reports(), []);
}

#[test]
fn with_mercy_who_can_move_moves_all_the_same() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    pair.one.order(replace(LONG_MS, LONG_MS));
    let two = &mut pair.two;
    pair.one.until("it leaves", |one| {
        two.turn();
        one.gone
    });
    assert_eq!(pair.one.reports(), [Report::Drained]);
    pair.publish("moved");
    pair.two.expect(&mut peer, &[(TEXT, b"moved")]);
}

#[test]
fn a_connection_with_half_a_request_is_served_until_mercy_ends() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.connect(Purpose::Api);
    peer.send(b"POST /publish/news HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    pair.one.settle();
    pair.show_mercy(LONG_MS, LONG_MS);
    for request in [&b"llo"[..], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        peer.send(request);
        pair.one.until("it is answered", |_| {
            peer.receive();
            peer.text().starts_with("HTTP/1.1 200")
        });
        peer.received.clear();
    }
    assert_eq!(pair.area.counters().published, 1);
    drop(peer);
    pair.one.until("it leaves", |one| one.gone);
}

#[test]
fn who_can_move_when_mercy_ends_moves_then() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.connect(Purpose::Api);
    peer.send(b"POST /publish/news HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    pair.one.settle();
    pair.show_mercy(LONG_MS, LONG_MS);
    peer.send(b"llo");
    pair.one.until("it is answered", |_| {
        peer.receive();
        peer.text().starts_with("HTTP/1.1 200")
    });
    pair.one.end_mercy();
    let two = &mut pair.two;
    pair.one.until("it leaves", |one| {
        two.turn();
        one.gone
    });
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    pair.two.until("both are answered", |_| {
        peer.receive();
        peer.text().matches("HTTP/1.1 200").count() == 2
    });
}

#[test]
fn who_has_said_nothing_yet_is_passed_on_when_mercy_begins() {
    let mut pair = pair(app_that_stays);
    let stays = pair.one.client();
    let mut silent = pair.one.connect(Purpose::Clients);
    stuff(&pair.mailbox);
    pair.one.order(replace(LONG_MS, LONG_MS));
    pair.one.settle();
    assert_eq!(pair.one.worker.engine.clients(), 2, "nothing can be sent");
    // Handing over is given up, and the other has room just then.
    pair.two.settle();
    let now_ms = pair.one.worker.engine.now_ms();
    let Phase::Moving { until_ms, .. } = &mut pair.one.worker.phase else {
        panic!("it is tried again");
    };
    *until_ms = now_ms;
    pair.one.turn();
    assert_eq!(pair.one.reports(), [Report::Moved]);
    assert_eq!(pair.one.worker.engine.clients(), 1);
    silent.send(upgrade("/news", "").as_bytes());
    pair.two.until("the handshake is answered", |_| {
        silent.receive();
        silent.text().starts_with("HTTP/1.1 101")
    });
    drop(stays);
    pair.one.until("it leaves", |one| one.gone);
}

#[test]
fn a_stop_ends_mercy_at_once() {
    let mut pair = pair(app_that_stays);
    let mut peers = [pair.one.client(), pair.one.client()];
    pair.show_mercy(LONG_MS, LONG_MS);
    pair.one.order(stop(SHORT_MS));
    for peer in &mut peers {
        pair.one.expect(peer, &[GOING_AWAY]);
    }
    // They do not answer.
    pair.one.until("its time is up", |one| one.gone);
    assert_eq!(pair.one.reports(), []);
}

#[test]
fn mercy_ends_for_a_single_worker_that_is_told_to_leave_and_for_an_orphan() {
    for orphan in [false, true] {
        let mut pair = pair(app_that_stays);
        let mut peer = pair.one.client();
        pair.show_mercy(LONG_MS, LONG_MS);
        if orphan {
            pair.one.control = descriptors::packet_pair().unwrap().0;
        } else {
            pair.one.told_to_leave.store(true, Ordering::Relaxed);
        }
        pair.one.expect(&mut peer, &[GOING_AWAY]);
    }
}

#[test]
fn a_stop_hurries_the_farewells_of_a_reload() {
    let mut pair = pair(app_that_stays);
    let mut peers = [pair.one.client(), pair.one.client(), pair.one.client()];
    // They would be told over half an hour.
    pair.one.order(replace(0, LONG_MS));
    let mut told = Vec::new();
    let mut see = |peers: &mut [Peer], at_least: usize, one: &mut Seated| {
        one.until("they are told", |_| {
            for peer in &mut *peers {
                peer.receive();
                told.extend(peer.frames());
            }
            told.len() >= at_least
        });
        told.clone()
    };
    assert_eq!(see(&mut peers, 1, &mut pair.one), [(CLOSE, vec![3, 0xf4])]);
    pair.one.order(stop(SHORT_MS));
    let told = see(&mut peers, 3, &mut pair.one);
    let away = (CLOSE, vec![3, 0xe9]);
    assert_eq!(told[1..], [away.clone(), away], "each is told once");
    pair.one.until("the time of the stop is up", |one| one.gone);
}

/// The first worker was told to give its place and has a client; the other stands still.
fn giving_place(mercy_ms: u32, app: impl Fn() -> Option<Box<dyn App>>) -> (Pair, Peer) {
    let mut pair = pair(app);
    let peer = pair.one.client();
    pair.one.order(replace(mercy_ms, LONG_MS));
    pair.one.settle();
    (pair, peer)
}

#[test]
fn a_stop_gives_nobody_more_time() {
    let (moving, _peer) = giving_place(LONG_MS, || None);
    assert!(matches!(moving.one.worker.phase, Phase::Moving { .. }));
    let (mercy, _peer) = giving_place(LONG_MS, app_that_stays);
    assert!(matches!(mercy.one.worker.phase, Phase::Mercy(_)));
    let (draining, _peer) = giving_place(0, app_that_stays);
    assert!(matches!(draining.one.worker.phase, Phase::Draining { .. }));
    for mut pair in [moving, mercy, draining] {
        let before_ms = pair.one.leaves_ms();
        pair.one.order(stop(3 * LONG_MS));
        pair.one.settle();
        assert!(matches!(pair.one.worker.phase, Phase::Draining { .. }));
        assert_eq!(pair.one.leaves_ms(), before_ms);
    }
}

#[test]
fn moving_that_does_not_get_on_is_given_up() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    // The other does not look.
    stuff(&pair.mailbox);
    pair.one.order(replace(0, SHORT_MS));
    pair.one.expect(&mut peer, &[RESTART]);
    pair.one.until("it leaves", |one| one.gone);
}

#[test]
fn a_worker_does_not_leave_before_others_know_that_clients_stay() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    pair.one.order(replace(LONG_MS, LONG_MS));
    pair.one.settle();
    pair.two.settle();
    assert_eq!(pair.two.worker.engine.clients(), 1, "frozen");
    stuff(&pair.mailbox);
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

#[test]
fn who_is_leaving_takes_nobody_in() {
    let mut pair = pair(|| None);
    let mut peer = pair.two.client();
    pair.two.order(Order::GiveAway { to: 1, clients: 1 });
    pair.two.settle();
    // The offer is on its way.
    pair.one
        .worker
        .give_place(2, 1012, LONG_MS, LONG_MS)
        .unwrap();
    pair.one.settle();
    pair.two.settle();
    let clients = |seated: &Seated| seated.worker.engine.clients();
    assert_eq!((clients(&pair.one), clients(&pair.two)), (0, 1));
    pair.publish("still there");
    pair.two.expect(&mut peer, &[(TEXT, b"still there")]);
}

/// A client publishes until something has to wait for the log; how many messages those were.
fn fill_the_log(one: &mut Seated, peer: &mut Peer) -> u64 {
    let frame = masked(TEXT, &[b'x'; 7_000]);
    let mut sent = 0;
    one.until("the log takes no more", |one| {
        peer.receive();
        let full = one.worker.engine.unpublished() > 0;
        if !full {
            peer.send(&frame);
            sent += 1;
        }
        full
    });
    sent
}

#[test]
fn a_worker_does_not_leave_before_the_log_has_taken_what_it_has() {
    let mut pair = pair(|| None);
    let pinning = pair.area.join(ParticipantKind::External, 5).unwrap();
    assert!(pinning.pin(0));
    let mut peer = pair.one.client();
    let sent = fill_the_log(&mut pair.one, &mut peer);
    pair.one.settle();
    drop(peer);
    pair.one.order(stop(LONG_MS));
    pair.one
        .until("the client is gone", |one| one.worker.engine.clients() == 0);
    pair.one.settle();
    assert!(!pair.one.gone, "what it was given is not in the log yet");
    pinning.unpin();
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.area.counters().published, sent);
}

#[test]
fn a_log_that_takes_nothing_holds_nobody_for_ever() {
    let mut pair = pair(|| None);
    let pinning = pair.area.join(ParticipantKind::External, 5).unwrap();
    assert!(pinning.pin(0));
    let mut peer = pair.one.client();
    fill_the_log(&mut pair.one, &mut peer);
    drop(peer);
    pair.one.order(stop(SHORT_MS));
    pair.one.until("it leaves", |one| one.gone);
    assert!(pair.one.worker.engine.unpublished() > 0);
}

/// Tells the others when its client is gone.
async fn say_goodbye(mut ws: WebSocket) -> Result<(), Closed> {
    ws.handshake(Accept::default()).await?;
    ws.subscribe("news")?;
    while ws.recv().await.is_ok() {}
    let _told = ws.publish("news", &Message::text("gone"));
    Ok(())
}

#[test]
fn apps_learn_of_those_who_are_cut_off() {
    let mut pair = pair(|| Some(Box::new(per_client(say_goodbye))));
    let mut stays = pair.two.client();
    let silent = pair.one.client();
    pair.one.order(stop(SHORT_MS));
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.one.worker.engine.clients(), 0);
    pair.two.expect(&mut stays, &[(TEXT, b"gone")]);
    drop(silent);
}

#[test]
fn who_is_on_the_way_to_a_worker_that_is_replaced_stays_where_it_can() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    pair.one.order(Order::GiveAway { to: 2, clients: 1 });
    pair.one.settle();
    pair.two.turn();
    assert_eq!(pair.two.worker.engine.clients(), 1, "it is taken");
    // Before that is read.
    pair.two.order(Order::Replace {
        by: 1,
        code: 1012,
        mercy_ms: 0,
        timeout_ms: LONG_MS,
    });
    for _ in 0..20 {
        pair.two.turn();
        pair.one.turn();
    }
    peer.receive();
    assert_eq!(peer.frames(), [], "a client that can move is closed");
}

#[test]
fn who_has_come_to_a_worker_that_is_replaced_moves_on() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    pair.one.order(Order::GiveAway { to: 2, clients: 1 });
    pair.one.settle();
    pair.two.turn();
    pair.one.settle();
    assert_eq!(pair.one.worker.engine.clients(), 0, "it is given");
    // The letter that says so comes late.
    let own = pair.two.worker.mailboxes.own.as_fd();
    let mut packet = [0; 64];
    let Ok(Received::Packet { bytes, .. }) = descriptors::receive(own, &mut packet) else {
        panic!("a letter is there");
    };
    pair.two.worker.give_place(1, 1012, 0, LONG_MS).unwrap();
    pair.two.settle();
    descriptors::send(pair.mailbox.as_fd(), &packet[..bytes], &[]).unwrap();
    for _ in 0..20 {
        pair.two.turn();
        pair.one.turn();
    }
    assert_eq!(pair.one.worker.engine.clients(), 1);
    peer.receive();
    assert_eq!(peer.frames(), [], "a client that can move is closed");
}

#[test]
fn who_finishes_a_request_while_others_are_moved_moves_too() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.connect(Purpose::Api);
    let post = |body: &str| {
        format!("POST /publish/news HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{body}")
    };
    peer.send(post("h").as_bytes());
    let _other = pair.one.client();
    pair.one.settle();
    pair.one.order(replace(0, LONG_MS));
    pair.one.settle();
    peer.send(b"i");
    let answered = |peer: &mut Peer| {
        peer.receive();
        assert!(!peer.ended, "closed without a word");
        let text = peer.text();
        let is_whole = text.starts_with("HTTP/1.1 200 ") && text.ends_with("}\n");
        assert!(!text.contains("Connection: close"), "{text}");
        is_whole
    };
    pair.one.until("the answer", |_| answered(&mut peer));
    peer.received.clear();
    for _ in 0..20 {
        pair.two.turn();
        pair.one.turn();
    }
    assert_eq!(pair.two.worker.engine.clients(), 2);
    peer.send(post("hi").as_bytes());
    pair.two.until("the next answer", |_| answered(&mut peer));
}
