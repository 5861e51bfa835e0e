//! Processes that die without a word, or hang: only their own clients notice.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::peer::{Event, Peer};
use crate::process::{self, kill_hard, wait_until_gone};
use crate::server::{Server, wait_for};
use crate::status::{Status, Worker};
use crate::{MASTER, PATIENCE};

/// So many crashes within ten seconds and a slot is given up.
const STORM: usize = 5;
/// For what was told to be there already.
const SHORTLY: Duration = Duration::from_millis(500);

/// The worker of a slot, once there is one that serves and is not the one before.
fn next_worker(server: &Server, slot: u16, before: Option<i32>) -> Worker {
    let serves = |worker: &&Worker| worker.slot == slot && worker.pid != before;
    wait_for(&format!("a worker in slot {slot}"), PATIENCE, || {
        Status::of(server).serving().find(serves).cloned()
    })
}

#[test]
fn a_killed_worker_is_respawned_and_only_its_clients_are_lost() {
    let server = Server::start(MASTER, &["--processes", "4"]);
    let mut clients: Vec<Peer> = (0..20).map(|_| Peer::of(&server, "/news")).collect();
    let before = Status::wait_for_subscriptions(&server, 20);
    let victim = &before.workers[1];
    kill_hard(victim.pid.unwrap());
    next_worker(&server, victim.slot, victim.pid);
    assert_eq!(
        server.publish("news", "goes on"),
        "reached 4 of 4 workers\n"
    );
    let lost = clients
        .iter_mut()
        .map(|client| client.read().unwrap())
        .filter(|event| match event {
            Event::Text(text) => {
                assert_eq!(text, "goes on");
                false
            }
            Event::Ended => true,
            Event::Binary(_) | Event::Close(_) | Event::Cut => panic!("{event:?}"),
        });
    assert_eq!(u32::try_from(lost.count()).unwrap(), victim.clients);
    // The others are who they were.
    let pids = |status: &Status| -> Vec<_> {
        status
            .workers
            .iter()
            .filter(|worker| worker.slot != victim.slot)
            .map(|worker| worker.pid)
            .collect()
    };
    assert_eq!(pids(&Status::of(&server)), pids(&before));
    server.wait_for_log("respawning", 1);
}

#[test]
fn who_connects_when_all_workers_are_dead_is_served_by_their_successors() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    for _ in 0..2 {
        let pids = Status::wait_for_workers(&server, 2).worker_pids();
        for pid in &pids {
            kill_hard(*pid);
        }
        wait_until_gone(&pids);
        let mut clients: Vec<Peer> = (0..20).map(|_| Peer::of(&server, "/news")).collect();
        Status::wait_for_subscriptions(&server, 20);
        server.publish("news", "hello");
        for client in &mut clients {
            client.expect("hello");
        }
    }
}

#[test]
fn a_term_to_one_worker_lets_its_clients_go_and_another_takes_its_place() {
    let server = Server::start(MASTER, &["--processes", "1"]);
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server).worker_pids();
    process::signal(before[0], Signal::SIGTERM);
    assert_eq!(client.close_code(), Some(1001));
    next_worker(&server, 1, Some(before[0]));
    Peer::of(&server, "/news");
}

#[test]
fn no_worker_outlives_a_killed_master() {
    let mut server = Server::start(MASTER, &["--processes", "3"]);
    let workers = Status::of(&server).worker_pids();
    let mut clients: Vec<Peer> = (0..9).map(|_| Peer::of(&server, "/news")).collect();
    kill_hard(server.pid().as_raw());
    for client in &mut clients {
        assert_eq!(client.close_code(), Some(1001));
    }
    assert_eq!(server.ended().code(), None);
    wait_until_gone(&workers);
    TcpListener::bind(server.address()).expect("the port is free");
    // Its place is taken over by the next.
    let output = server.verb(&["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn a_slot_whose_workers_die_again_and_again_is_given_up_until_a_reload() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let mut before = None;
    for _ in 0..STORM {
        let worker = next_worker(&server, 1, before);
        before = worker.pid;
        kill_hard(before.unwrap());
    }
    server.wait_for_log("worker 1 died too often", 1);
    let status = Status::of(&server);
    assert_eq!(status.workers[0].state, "abandoned");
    let mut client = Peer::of(&server, "/news");
    assert_eq!(server.publish("news", "served"), "reached 1 of 1 workers\n");
    client.expect("served");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 2 serves", 1);
    assert_eq!(Status::wait_for_workers(&server, 2).serving().count(), 2);
}

#[test]
fn a_server_whose_last_worker_is_given_up_ends_with_3() {
    let mut server = Server::start(MASTER, &[]);
    let mut before = None;
    for _ in 0..STORM {
        before = next_worker(&server, 1, before).pid;
        kill_hard(before.unwrap());
    }
    assert_eq!(server.ended().code(), Some(3));
    server.wait_for_log("no worker is left, giving up", 1);
    TcpListener::bind(server.address()).expect("the port is free");
}

#[test]
fn a_worker_that_hangs_delays_nobody() {
    let server = Server::start(
        MASTER,
        &[
            "--processes",
            "2",
            "--clients-publish",
            "--spool-size",
            "64",
        ],
    );
    let mut clients: Vec<Peer> = (0..8).map(|_| Peer::of(&server, "/news")).collect();
    let status = Status::wait_for_subscriptions(&server, 8);
    let hangs = status.worker_pids()[0];
    process::signal(hangs, Signal::SIGSTOP);
    assert_eq!(server.publish("news", "hello"), "reached 1 of 2 workers\n");
    // Whoever gets it is served by the other worker.
    let (mut served, mut waiting) = (Vec::new(), Vec::new());
    for mut client in clients.drain(..) {
        client.stream().set_read_timeout(Some(SHORTLY)).unwrap();
        let heard = client.read();
        client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        match heard {
            Ok(event) => {
                assert_eq!(event, Event::Text("hello".into()));
                served.push(client);
            }
            Err(_too_long) => waiting.push(client),
        }
    }
    let of = |worker: usize| usize::try_from(status.workers[worker].clients).unwrap();
    assert_eq!((waiting.len(), served.len()), (of(0), of(1)));
    // Many times the spool: the one that hangs cannot hold it.
    let message = "x".repeat(8000);
    for _ in 0..40 {
        served[0].send(&message).unwrap();
        for client in &mut served {
            client.expect(&message);
        }
    }
    process::signal(hangs, Signal::SIGCONT);
    for client in &mut waiting {
        assert_eq!(
            client.close_code(),
            Some(1013),
            "it has missed something and is told"
        );
    }
    assert_eq!(server.publish("news", "again"), "reached 2 of 2 workers\n");
    for client in &mut served {
        client.expect("again");
    }
    assert_eq!(Status::of(&server).worker_pids(), status.worker_pids());
}
