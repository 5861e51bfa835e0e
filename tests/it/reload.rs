//! HUP: workers are replaced one by one, and who connects meanwhile notices nothing.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use crate::MASTER;
use crate::peer::{Event, Peer, dial, http, upgrade_request};
use crate::process::{lives, wait_until_gone};
use crate::server::Server;
use crate::status::{Status, Worker};

#[test]
fn hup_replaces_every_worker_and_its_clients_do_not_notice() {
    let server = Server::start(MASTER, &["--processes", "3", "--drain-spread", "0"]);
    let before = Status::of(&server).worker_pids();
    let mut clients: Vec<Peer> = (0..9).map(|_| Peer::of(&server, "/news")).collect();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 2 serves", 1);
    wait_until_gone(&before);
    let after = Status::wait_for_workers(&server, 3);
    assert!(
        after
            .worker_pids()
            .iter()
            .all(|pid| !before.contains(pid) && lives(*pid))
    );
    assert_eq!(after.pid, server.pid().as_raw());
    // Each is at a worker that took it; not every slot of those that gave has a worker now.
    let sum = |count: fn(&Worker) -> u64| after.workers.iter().map(count).sum::<u64>();
    assert!(sum(|worker| worker.clients_taken) >= 9, "{after:?}");
    assert!(sum(|worker| worker.clients_given) > 0, "{after:?}");
    assert_eq!(sum(|worker| worker.clients_returned), 0);
    clients.push(Peer::of(&server, "/news"));
    assert_eq!(server.publish("news", "hello"), "reached 3 of 3 workers\n");
    for client in &mut clients {
        client.expect("hello");
    }
}

/// Connects, sends and reads its echo until told to stop; returns how often. Before the handshake is done nothing may
/// go wrong, and behind it only the close frame of a worker that is replaced may come.
fn knock(server: &Server, stop: &AtomicBool, knocks: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let mut client = Peer::of(server, "/");
        let sent = client.send("knock");
        match client.read().expect("in time") {
            Event::Text(text) => assert_eq!(text, "knock"),
            Event::Close(code) => assert_eq!(code, Some(1012)),
            other @ (Event::Binary(_) | Event::Ended | Event::Cut) => panic!("{other:?}, {sent:?}"),
        }
        knocks.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nobody_who_connects_during_reloads_is_turned_away() {
    let server = Server::start(MASTER, &["--processes", "3", "--app", "echo"]);
    let (stop, knocks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| knock(&server, &stop, &knocks));
        }
        for generation in 2..6 {
            let before = knocks.load(Ordering::Relaxed);
            server.signal(Signal::SIGHUP);
            server.wait_for_log(&format!("reload: generation {generation} serves"), 1);
            let after = knocks.load(Ordering::Relaxed);
            assert!(after > before, "somebody was served during the reload");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn a_hup_during_a_reload_begins_when_that_is_done() {
    let server = Server::start(MASTER, &["--processes", "2", "--drain-timeout", "1"]);
    // Holds the reload up by not answering its close frame.
    let _silent: Vec<Peer> = (0..4).map(|_| Peer::of(&server, "/news")).collect();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 2 begins", 1);
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: will begin when this is done", 1);
    server.wait_for_log("reload: generation 3 serves", 1);
    let status = Status::wait_for_workers(&server, 2);
    assert_eq!(status.phase, "running");
    assert!(!server.log().contains("generation 4"));
}

#[test]
fn a_storm_of_hups_ends_in_a_server_that_serves() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let before = Status::of(&server).worker_pids();
    for _ in 0..20 {
        server.signal(Signal::SIGHUP);
        Peer::of(&server, "/news");
    }
    let status = Status::wait(&server, "the last reload to end", |status| {
        status.phase == "running" && status.serving().count() == 2
    });
    assert!(status.worker_pids().iter().all(|pid| !before.contains(pid)));
    assert_eq!(server.publish("news", "hello"), "reached 2 of 2 workers\n");
}

#[test]
fn a_connection_that_has_not_said_anything_survives_a_reload() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let silent: Vec<_> = (0..10).map(|_| dial(server.address()).unwrap()).collect();
    Status::wait(&server, "all to be there", |status| status.clients() == 10);
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 2 serves", 1);
    let mut clients: Vec<Peer> = silent
        .into_iter()
        .map(|stream| Peer::on(stream, "/news").expect("the handshake is accepted"))
        .collect();
    server.publish("news", "hello");
    for client in &mut clients {
        client.expect("hello");
    }
}

#[test]
fn a_half_sent_request_is_answered_by_whoever_has_it_then() {
    let server = Server::start(MASTER, &[]);
    let request = upgrade_request("/news");
    let (begun, rest) = request.split_at(30);
    let mut late = dial(server.address()).unwrap();
    late.write_all(begun.as_bytes()).unwrap();
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut page = dial(server.address()).unwrap();
    page.write_all(&get.as_bytes()[..20]).unwrap();
    Status::wait(&server, "both to be there", |status| status.clients() == 2);
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 2 serves", 1);
    let mut late = Peer::finish(late, rest).expect("the handshake is accepted");
    let answer = http(page, &get[20..]);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    server.publish("news", "hello");
    late.expect("hello");
}
