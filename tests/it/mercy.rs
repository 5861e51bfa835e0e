//! Clients that cannot move to a new worker: their old one serves them for a while (`--worker-reload-mercy`).

use std::io::Write as _;

use nix::sys::signal::Signal;

use crate::MASTER;
use crate::ops_reload::run;
use crate::peer::{BINARY, DEFLATE, Event, Peer, dial, masked, upgrade_request_with};
use crate::process::{kill_hard, wait_until_gone};
use crate::server::Server;
use crate::status::{Status, Worker};

/// RSV1, by which a frame says that it is compressed.
const COMPRESSED: u8 = 0x40;
const LONG: &str = "3600";
const LONG_S: u64 = 3600;

fn server(processes: &str, mercy: &str) -> Server {
    let options = [
        "--processes",
        processes,
        "--clients-publish",
        "--settle",
        "0",
        "--websockets-deflate",
        "takeover",
        "--worker-reload-mercy",
        mercy,
        "--drain-spread",
        "0",
        "--drain-timeout",
        LONG,
    ];
    Server::start(MASTER, &options)
}

/// So many that every worker of two has some of them.
const MANY: usize = 12;

/// A client that cannot be moved: it has agreed to context takeover, and then broken off within a
/// compressed block (RFC 7692 section 7.2.1), so that nobody can tell what its window is. What it sends
/// uncompressed is understood all the same. It has a channel of its own.
fn stuck(server: &Server, number: usize) -> Peer {
    let stream = dial(server.address()).expect("the server listens");
    let request = upgrade_request_with(&format!("/own-{number}"), DEFLATE);
    let mut peer = Peer::finish(stream, &request).expect("the handshake is accepted");
    // The header of a stored block of 65,535 bytes, and five of them; the server puts four behind them.
    let mut frame = masked(BINARY, b"\0\xff\xff\0\0hello");
    frame[0] |= COMPRESSED;
    peer.stream().write_all(&frame).expect("it leaves");
    let echo = Event::Binary(b"hello\0\0\xff\xff".to_vec());
    assert_eq!(peer.read().expect("in time"), echo);
    peer
}

/// It gets what it publishes itself.
fn publish(peer: &mut Peer, text: &str) {
    peer.send(text).expect("it leaves");
    peer.expect(text);
}

fn leftovers(status: &Status) -> Vec<&Worker> {
    let workers = status.workers.iter();
    workers
        .filter(|worker| worker.state == "leftover")
        .collect()
}

/// Serving workers, and leftovers.
fn counts(status: &Status) -> (usize, usize) {
    (status.serving().count(), leftovers(status).len())
}

#[test]
fn who_cannot_move_stays_over_reloads_and_upgrades_and_misses_nothing() {
    let mut server = server("2", LONG);
    let before = Status::of(&server).worker_pids();
    let mut stay: Vec<Peer> = (0..MANY).map(|number| stuck(&server, number)).collect();
    let mut moves: Vec<Peer> = (0..6).map(|_| Peer::of(&server, "/news")).collect();
    for (verb, generation) in [("reload", 2), ("upgrade", 3), ("reload", 4)] {
        let (code, said) = run(&server, &[verb]);
        assert_eq!(code, Some(0), "{said}");
        let done = format!("{verb}: generation {generation} serves; ");
        assert!(
            said.starts_with(&done) && said.contains("2 old workers still serve"),
            "{said}"
        );
        let status = Status::of(&server);
        let linger = leftovers(&status);
        assert!(
            linger
                .iter()
                .all(|worker| before.contains(&worker.pid.unwrap()))
        );
        let clients: u32 = linger.iter().map(|worker| worker.clients).sum();
        assert_eq!(usize::try_from(clients).unwrap(), MANY);
        assert_eq!(counts(&status), (2, 2));
        server.publish("news", &done);
        for client in &mut moves {
            client.expect(&done);
        }
        for (number, client) in stay.iter_mut().enumerate() {
            publish(client, &done);
            if number % 5 == 0 {
                server.publish(&format!("own-{number}"), "from outside");
                client.expect("from outside");
            }
        }
        moves.push(Peer::of(&server, "/news"));
    }
    drop(stay);
    Status::wait(&server, "the old ones to have left", |status| {
        counts(status) == (2, 0) && status.workers.len() == 2
    });
    wait_until_gone(&before);
    server.ask_to_end();
    for client in &mut moves {
        assert_eq!(client.close_code(), Some(1001));
    }
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn the_verb_says_for_how_long_at_most_they_are_served() {
    let server = server("1", LONG);
    let _client = stuck(&server, 1);
    let (code, said) = run(&server, &["reload"]);
    assert_eq!(code, Some(0), "{said}");
    let start = "reload: generation 2 serves; 1 old worker still serves clients that cannot move, \
                 for at most ";
    let time = said
        .trim_end()
        .strip_prefix(start)
        .and_then(|rest| rest.strip_suffix(" s"));
    let seconds: u64 = time.expect(&said).parse().expect("a number");
    // Their mercy and then the time to leave, less what has passed of them.
    assert!(seconds > LONG_S && seconds <= 2 * LONG_S, "{said}");
}

#[test]
fn when_mercy_ends_they_are_told_to_come_back() {
    let server = server("1", "0.5");
    let before = Status::of(&server).worker_pids();
    let mut client = stuck(&server, 1);
    assert_eq!(run(&server, &["reload"]).0, Some(0));
    assert_eq!(client.close_code(), Some(1012));
    wait_until_gone(&before);
    server.wait_for_log("worker 1 left (exit code 0)", 1);
}

#[test]
fn a_stop_does_not_wait_for_mercy() {
    let mut server = server("2", LONG);
    let mut clients = [stuck(&server, 1), Peer::of(&server, "/news")];
    run(&server, &["reload"]);
    assert!(counts(&Status::of(&server)).1 > 0);
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.close_code(), Some(1001));
    }
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_leftover_that_is_killed_takes_only_its_own_clients_along() {
    let server = server("1", LONG);
    let mut lost = stuck(&server, 1);
    run(&server, &["reload"]);
    let status = Status::of(&server);
    assert_eq!(counts(&status), (1, 1));
    let mut client = Peer::of(&server, "/news");
    kill_hard(leftovers(&status)[0].pid.expect("a process"));
    assert_eq!(lost.read().unwrap_or(Event::Cut), Event::Ended);
    server.wait_for_log("worker 1 left (killed by SIGKILL)", 1);
    let after = Status::wait_for_workers(&server, 1);
    assert_eq!(after.worker_pids().len(), 1, "nobody is forked for it");
    server.publish("news", "goes on");
    client.expect("goes on");
}

#[test]
fn one_worker_fewer_leaves_who_cannot_move_where_they_are() {
    let server = server("2", LONG);
    let mut clients: Vec<Peer> = (0..MANY).map(|number| stuck(&server, number)).collect();
    let (code, said) = run(&server, &["scale", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("scale: 1 worker serves; 1 old worker"),
        "{said}"
    );
    for client in &mut clients {
        publish(client, "still here");
    }
    let (code, said) = run(&server, &["scale", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(counts(&Status::of(&server)), (2, 1));
}

#[test]
fn without_mercy_the_verb_waits_until_they_have_left() {
    let server = server("1", "0");
    let before = Status::of(&server).worker_pids();
    let mut client = stuck(&server, 1);
    let verb = server
        .verb(&["reload"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the built program starts");
    assert_eq!(client.close_code(), Some(1012));
    let output = verb.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "reload: generation 2 serves\n");
    wait_until_gone(&before);
}
