//! Edges: what no event tells a second time, lists that must not grow, and clients in two states at once.

use std::io::Read;

use super::rig::{Rig, upgrade};
use crate::app::{Accept, WebSocket, per_client};
use crate::engine::client::NEVER;
use crate::protocol::websocket::Closed;

#[test]
fn lists_of_slow_clients_are_never_longer_than_there_are_clients() {
    let mut rig = Rig::new(|config| config.spool_bytes = 1024 * 1024);
    let mut peer = rig.websocket("/news");
    let mut buffer = vec![0; 70_000];
    let mut halves_max = 0;
    for _ in 0..200 {
        for _ in 0..3 {
            let _published: bool = rig.publish("news", &[b'x'; 40_000]);
            rig.turn();
        }
        let _some: usize = peer.stream.read(&mut buffer).unwrap_or(0);
        rig.turn();
        halves_max = halves_max.max(rig.engine.core.halves.len());
    }
    assert!(
        halves_max <= 1,
        "{halves_max} half-sent frames of one client"
    );
    let laggards = rig.engine.core.laggards.len();
    assert!(laggards <= 2, "{laggards} laggards of one client");
}

#[test]
fn who_is_closed_while_it_is_accepted_has_a_deadline() {
    async fn hello_and_goodbye(mut ws: WebSocket) -> Result<(), Closed> {
        ws.handshake(Accept::default()).await
    }
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(per_client(hello_and_goodbye))));
    let mut peer = rig.connect();
    peer.send(upgrade("/", "").as_bytes());
    rig.until("it is told to go", |_| {
        peer.receive();
        peer.received.ends_with(b"\x88\x02\x03\xe8")
    });
    // The peer does not answer the close frame: only the deadline ends it.
    let key = rig.engine.keys()[0];
    let client = rig.engine.core.clients.get(key).unwrap();
    assert_ne!(client.deadline_ms, NEVER);
    assert_ne!(client.alarm_ms, NEVER);
}
