//! Clients are spread evenly over the workers, whoever the kernel wakes.

use crate::MASTER;
use crate::peer::Peer;
use crate::process::raise_own_limit;
use crate::server::Server;
use crate::status::Status;

#[test]
fn two_thousand_clients_that_come_and_go_are_spread_evenly() {
    const WORKERS: u32 = 8;
    raise_own_limit();
    let server = Server::start(MASTER, &["--processes", "8"]);
    let mut clients = Vec::new();
    for number in 0..2000 {
        let client = Peer::of(&server, "/news");
        // Every third leaves; which one is no respecter of workers.
        if number % 3 == 2 {
            let at = (number * 7919) % clients.len();
            drop(clients.swap_remove(at));
        }
        clients.push(client);
    }
    let there = u32::try_from(clients.len()).unwrap();
    let status = Status::wait(&server, "who left to be gone", |status| {
        status.subscriptions() == there && status.clients() == there
    });
    let most = status
        .workers
        .iter()
        .map(|worker| worker.clients)
        .max()
        .unwrap();
    // max / average <= 1.05
    assert!(most * WORKERS * 100 <= there * 105, "{:?}", status.workers);
    assert!(server.publish("news", "hello").contains("8 of 8"));
    for client in &mut clients {
        client.expect("hello");
    }
}
