//! Edges: what no event tells a second time, lists that must not grow, and clients in two states at once.

use std::io::Read;

use super::rig::Rig;

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
