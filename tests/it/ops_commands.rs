//! More and fewer workers, pauses, the named pipe, and verbs that stop: what operators do to a running server.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::MASTER;
use crate::ops_reload::run;
use crate::peer::{Peer, dial, masked, upgrade_request};
use crate::process::{lives, signal};
use crate::server::{Server, folder};
use crate::status::Status;

fn balanced(status: &Status) -> bool {
    let clients: Vec<u32> = status.workers.iter().map(|worker| worker.clients).collect();
    let most = clients.iter().max().copied().unwrap_or(0);
    let least = clients.iter().min().copied().unwrap_or(0);
    most - least <= 4
}

#[test]
fn scaling_moves_clients_and_loses_none() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let mut clients: Vec<Peer> = (0..40).map(|_| Peer::of(&server, "/news")).collect();
    server.signal(Signal::SIGTTIN);
    server.wait_for_log("scale: 3 workers serve", 1);
    Status::wait(&server, "clients to be shared", |status| {
        status.workers.len() == 3 && status.clients() == 40 && balanced(status)
    });
    let (code, text) = run(&server, &["scale", "5"]);
    assert_eq!((code, text.as_str()), (Some(0), "scale: 5 workers serve\n"));
    Status::wait(&server, "clients to be shared", |status| {
        status.workers.len() == 5 && status.clients() == 40 && balanced(status)
    });
    let (code, text) = run(&server, &["scale", "1"]);
    assert_eq!((code, text.as_str()), (Some(0), "scale: 1 worker serves\n"));
    server.signal(Signal::SIGTTOU);
    server.wait_for_log("scale: from 1 to 1 worker", 1);
    assert_eq!(server.publish("news", "all"), "reached 1 of 1 workers\n");
    for client in &mut clients {
        client.expect("all");
    }
    let (code, text) = run(&server, &["scale", "62"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "scale: 16 workers serve\n"),
        "as many as can be"
    );
}

#[test]
fn a_pause_lets_new_clients_wait_and_serves_the_others() {
    let server = Server::start(MASTER, &["--processes", "2", "--settle", "0"]);
    let mut old = Peer::of(&server, "/news");
    server.signal(Signal::SIGTSTP);
    server.wait_for_log("paused: ", 1);
    assert_eq!(Status::of(&server).phase, "paused");
    let waiting = dial(server.address()).expect("the kernel accepts");
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut stream = waiting;
    std::io::Write::write_all(&mut stream, upgrade_request("/news").as_bytes()).unwrap();
    let early = std::io::Read::read(&mut stream, &mut [0; 1]);
    assert!(early.is_err(), "nobody answers: {early:?}");
    // New workers are paused too.
    assert_eq!(run(&server, &["reload"]).0, Some(0));
    server.publish("news", "meanwhile");
    old.expect("meanwhile");
    assert_eq!(Status::of(&server).clients(), 1);
    server.signal(Signal::SIGTSTP);
    server.wait_for_log("resumed: ", 1);
    stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    let mut new = Peer::finish(stream, "").expect("the handshake is accepted");
    server.publish("news", "again");
    new.expect("again");
}

#[test]
fn the_pipe_takes_letters_and_tells_what_means_nothing() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    let name = pipe.to_str().expect("a path in UTF-8").to_owned();
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--settle",
        "0",
        "--master-fifo",
        &name,
        "--vacuum",
    ];
    let mut server = Server::start_in(folder, &[MASTER], MASTER, &options);
    assert_eq!(fs::metadata(&pipe).unwrap().mode() & 0o777, 0o600);
    let mut generation = 1;
    for letter in ["r", "R", "c", "w", "W", "u"] {
        fs::write(&pipe, letter).unwrap();
        generation += 1;
        server.wait_for_log(&format!("generation {generation} serves"), 1);
    }
    fs::write(&pipe, "+\n").unwrap();
    server.wait_for_log("scale: 2 workers serve", 1);
    fs::write(&pipe, "-").unwrap();
    server.wait_for_log("scale: 1 worker serves", 1);
    fs::write(&pipe, "pp").unwrap();
    server.wait_for_log("paused: ", 1);
    server.wait_for_log("resumed: ", 1);
    fs::write(&pipe, "s%l").unwrap();
    server.wait_for_log("1 worker serving", 1);
    server.wait_for_log("letter '%' received: it means nothing", 1);
    server.wait_for_log("letter l received", 1);
    fs::write(&pipe, "q").unwrap();
    assert_eq!(server.ended().code(), Some(0));
    assert!(!pipe.exists(), "vacuum");
}

#[test]
fn the_verb_to_stop_returns_when_the_server_has_ended() {
    for words in [&["stop"][..], &["stop", "--fast"]] {
        let mut server = Server::start(MASTER, &["--drain-timeout", "1"]);
        let _client = Peer::of(&server, "/news");
        let pids = Status::of(&server).worker_pids();
        assert_eq!(run(&server, words), (Some(0), "stopped\n".to_owned()));
        assert!(pids.iter().all(|pid| !lives(*pid)));
        assert_eq!(server.ended().code(), Some(0));
        TcpListener::bind(server.address()).expect("the port is free");
    }
}

#[test]
fn a_verb_that_waits_is_told_when_the_server_stops() {
    let server = Server::start(MASTER, &["--settle", "3600"]);
    let waiting = server
        .verb(&["reload"])
        .stderr(std::process::Stdio::piped())
        .spawn();
    server.wait_for_log("reload: worker 2 replaces worker 1", 1);
    server.ask_to_end();
    let output = waiting
        .expect("the built program starts")
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the server is stopping"), "{text}");
}

#[test]
fn a_worker_whose_loop_stands_still_is_replaced() {
    let server = Server::start(MASTER, &["--processes", "2", "--harakiri", "2"]);
    let before = Status::of(&server).worker_pids();
    signal(before[0], Signal::SIGSTOP);
    server.wait_for_log("shows no sign of life", 1);
    let after = Status::wait(&server, "another worker", |status| {
        status.serving().count() == 2 && status.worker_pids()[0] != before[0]
    });
    assert_eq!(after.worker_pids()[1], before[1], "the other one is well");
    assert!(!lives(before[0]));
}

#[test]
fn a_worker_that_is_old_hands_its_clients_over() {
    renews(&["--max-worker-lifetime", "1"], |_| {});
}

#[test]
fn a_worker_that_is_large_hands_its_clients_over() {
    let unfinished = masked(2, &[0; 1_000_000]);
    let mut large = Vec::new();
    renews(&["--reload-on-rss", "2"], |server| {
        for _ in 0..3 {
            let mut client = Peer::of(server, "/more");
            let all_but_one = &unfinished[..unfinished.len() - 1];
            std::io::Write::write_all(client.stream(), all_but_one).unwrap();
            large.push(client);
        }
    });
}

fn renews(options: &[&str], grow: impl FnOnce(&Server)) {
    let server = Server::start(MASTER, &[&["--settle", "0"], options].concat());
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server).worker_pids();
    grow(&server);
    server.wait_for_log("renewal: worker 2 replaces worker 1", 1);
    Status::wait(&server, "the old one to leave", |status| {
        !status.worker_pids().contains(&before[0])
    });
    server.publish("news", "moved");
    client.expect("moved");
}
