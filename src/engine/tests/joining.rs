//! Where a subscription begins: at the head of the log, however far its client or its worker is.

use super::handover::{move_all, turn};
use super::rig::{Peer, Rig, upgrade};
use crate::app::{App, ClientId, Context, Message, Operations};
use crate::channel::ChannelName;
use crate::engine::Engine;
use crate::event_loop::Key;

fn join(engine: &mut Engine, key: Key, channel: &str) {
    engine
        .core
        .subscribe(key, ChannelName::parse(channel).unwrap());
}

fn leave(engine: &mut Engine, key: Key, channel: &str) {
    engine
        .core
        .unsubscribe(key, ChannelName::parse(channel).unwrap());
}

/// The texts that a peer gets until `last` comes.
fn texts(rig: &mut Rig, peer: &mut Peer, last: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    rig.until("the last text comes", |_| {
        peer.receive();
        let frames = peer.frames().into_iter();
        texts.extend(frames.map(|(_, payload)| String::from_utf8(payload).unwrap()));
        texts.last().is_some_and(|text| text == last)
    });
    texts
}

#[test]
fn what_its_worker_has_not_looked_at_yet_is_not_for_a_newcomer() {
    let mut rig = Rig::new(|_| {});
    let mut first = rig.websocket("/a");
    // All in one turn.
    assert!(rig.publish("a", b"one"));
    let mut second = rig.connect();
    second.send(upgrade("/a", "").as_bytes());
    assert!(rig.publish("b", b"old"));
    let key = rig.engine.keys()[0];
    join(&mut rig.engine, key, "b");
    assert!(rig.publish("b", b"new"));
    rig.turn();
    assert!(rig.publish("a", b"last"));
    assert_eq!(texts(&mut rig, &mut first, "last"), ["one", "new", "last"]);
    rig.until("the last text comes", |_| {
        second.receive();
        second.received.ends_with(b"last")
    });
    assert!(second.received.ends_with(b"\r\n\r\n\x81\x04last"));
}

#[test]
fn what_has_come_to_a_channel_meanwhile_does_not_overtake_the_handshake() {
    struct Greeter;
    impl App for Greeter {
        fn name(&self) -> &'static str {
            "greeter"
        }
        fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
            cx.subscribe(client, "a").unwrap();
            cx.publish("a", &Message::text("hello")).unwrap();
            cx.subscribe(client, "b").unwrap();
        }
        fn message(&mut self, _: &mut Context<'_>, _: ClientId, _: Message<'_>) {}
    }
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(Greeter)));
    let mut peer = rig.connect();
    peer.send(upgrade("/", "").as_bytes());
    rig.until("the greeting comes", |_| {
        peer.receive();
        peer.received.ends_with(b"\x81\x05hello")
    });
    assert!(peer.text().starts_with("HTTP/1.1 101 "), "{}", peer.text());
}

#[test]
fn who_is_behind_gets_nothing_from_before_its_subscription() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.websocket("/a");
    let key = rig.engine.keys()[0];
    // A frozen client falls behind.
    let shipment = rig.engine.freeze(key).unwrap();
    assert!(rig.publish("a", b"one"));
    assert!(rig.publish("b", b"old"));
    join(&mut rig.engine, key, "b");
    assert!(rig.publish("b", b"new"));
    leave(&mut rig.engine, key, "b");
    assert!(rig.publish("b", b"between"));
    join(&mut rig.engine, key, "b");
    assert!(rig.publish("b", b"newer"));
    assert!(rig.publish("a", b"last"));
    rig.turn();
    rig.engine.give_back(&shipment);
    let texts = texts(&mut rig, &mut peer, "last");
    assert_eq!(texts, ["one", "newer", "last"]);
}

#[test]
fn where_a_subscription_begins_moves_with_a_client_that_is_behind() {
    let mut rig = Rig::new(|config| config.spool_bytes = 1024 * 1024);
    let mut other = rig.another_engine(2);
    let mut peer = rig.websocket("/a");
    let key = rig.engine.keys()[0];
    let long = "x".repeat(9000);
    rig.until("the client is behind", |rig| {
        assert!(rig.publish("a", long.as_bytes()));
        rig.turn();
        let client = rig.engine.core.clients.get(key).unwrap();
        client.behind.is_some()
    });
    assert!(rig.publish("b", b"old"));
    join(&mut rig.engine, key, "b");
    assert!(rig.publish("b", b"new"));
    assert!(rig.publish("a", b"last"));
    rig.turn();
    turn(&mut other);
    assert_eq!(move_all(&mut rig.engine, &mut other), 1);
    let mut short = Vec::new();
    rig.until("the last text comes", |_| {
        turn(&mut other);
        peer.receive();
        let frames = peer.frames().into_iter().map(|(_, payload)| payload);
        short.extend(frames.filter(|payload| payload.len() < 9000));
        short.last().is_some_and(|text| text == b"last")
    });
    assert_eq!(short, [&b"new"[..], b"last"]);
}
