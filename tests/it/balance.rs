//! Clients are spread evenly over the workers, whoever the kernel wakes, and nobody is lost on the way in.

use nix::sys::signal::Signal;

use crate::MASTER;
use crate::peer::{Peer, dial};
use crate::process::{self, kill_hard, raise_own_limit, wait_until_gone};
use crate::server::Server;
use crate::status::Status;

const WORKERS: u32 = 8;
const CONNECTS: usize = 10_000;
/// With so many there, each newcomer takes the place of another.
const CLIENTS_MAX: usize = 2_000;

fn server() -> Server {
    Server::start(MASTER, &["--processes", &WORKERS.to_string()])
}

#[test]
fn ten_thousand_clients_that_come_and_go_are_spread_evenly() {
    raise_own_limit();
    let server = server();
    let mut clients: Vec<Peer> = Vec::new();
    for number in 0..CONNECTS {
        let client = Peer::of(&server, "/news");
        // Every third leaves; which one is no respecter of workers.
        if number % 3 == 2 || clients.len() >= CLIENTS_MAX {
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

#[test]
fn nobody_in_the_queue_is_lost_when_a_worker_is_killed() {
    let server = server();
    let workers = Status::of(&server).worker_pids();
    for pid in &workers {
        process::signal(*pid, Signal::SIGSTOP);
    }
    // The kernel has woken somebody for each of them, perhaps the one that will not come to it.
    let streams: Vec<_> = (0..200).map(|_| dial(server.address()).unwrap()).collect();
    kill_hard(workers[3]);
    wait_until_gone(&workers[3..4]);
    for pid in workers.iter().filter(|pid| **pid != workers[3]) {
        process::signal(*pid, Signal::SIGCONT);
    }
    let mut clients: Vec<Peer> = streams
        .into_iter()
        .map(|stream| Peer::on(stream, "/news").expect("the handshake is accepted"))
        .collect();
    Status::wait_for_workers(&server, workers.len());
    server.publish("news", "hello");
    for client in &mut clients {
        client.expect("hello");
    }
}
