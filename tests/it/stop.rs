//! The end of a server: asked for politely, again, and in moments when it does not suit.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::peer::{Event, Peer, dial, http, upgrade_request};
use crate::process::{self, lives, wait_until_gone};
use crate::server::{self, INSTANCE, Server, succeeded, wait_for};
use crate::stats::stats_of;
use crate::status::Status;
use crate::{MASTER, PATIENCE};

fn ends_politely_on(signal: Signal) {
    let mut server = Server::start(MASTER, &["--processes", "2"]);
    let workers = Status::of(&server).worker_pids();
    let mut clients: Vec<Peer> = (0..8).map(|_| Peer::of(&server, "/news")).collect();
    server.signal(signal);
    for client in &mut clients {
        assert_eq!(client.close_code(), Some(1001));
        assert_eq!(client.read().unwrap(), Event::Ended);
    }
    assert_eq!(server.ended().code(), Some(0));
    wait_until_gone(&workers);
    TcpListener::bind(server.address()).expect("the port is free");
    let place = server.folder().join("bellwether").join(INSTANCE);
    assert!(!place.exists(), "the run directory is cleaned");
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    let log = server.log();
    let mut warnings = log.lines().filter(|line| line.contains("WARN"));
    assert!(
        warnings.all(|line| line.contains("running as root")),
        "{log}"
    );
}

#[test]
fn term_lets_clients_go_with_1001_and_leaves_nothing_behind() {
    ends_politely_on(Signal::SIGTERM);
}

#[test]
fn int_tells_clients_and_does_not_wait_for_them() {
    let mut server = Server::start(MASTER, &["--processes", "2", "--drain-timeout", "3600"]);
    let mut clients: Vec<Peer> = (0..8).map(|_| Peer::of(&server, "/news")).collect();
    server.signal(Signal::SIGINT);
    // Not one of them answers.
    assert_eq!(server.ended().code(), Some(0));
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), Event::Close(Some(1001)));
    }
}

#[test]
fn quit_does_the_same() {
    ends_politely_on(Signal::SIGQUIT);
}

#[test]
fn a_client_that_never_answers_holds_the_server_for_the_drain_timeout_only() {
    let mut server = Server::start(MASTER, &["--drain-timeout", "1"]);
    let mut client = Peer::of(&server, "/news");
    server.ask_to_end();
    assert_eq!(client.read().unwrap(), Event::Close(Some(1001)));
    // Not answered. Without the option's deadline the client would have five seconds.
    assert_eq!(server.ended().code(), Some(0));
    server.wait_for_log("leaving 1 client behind", 1);
    TcpListener::bind(server.address()).expect("the port is free");
}

#[test]
fn the_verb_returns_when_the_process_has_ended_and_its_addresses_are_free() {
    let stop = |server: Server| {
        let output = server.verb(&["stop"]).output().unwrap();
        assert_eq!(succeeded(&output), "stopped\n");
        assert!(!lives(server.pid().as_raw()), "{}", server.log());
    };
    let first = Server::start(MASTER, &["--stats", "127.0.0.1:0"]);
    let address = first.address().to_string();
    let stats = stats_of(&first).to_string();
    stop(first);
    for _ in 0..5 {
        // It ends the test if it cannot bind.
        let options = ["--socket", &address, "--stats", &stats];
        stop(Server::start_by(&[MASTER], MASTER, &options));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(MASTER, &["--processes", "2", "--drain-timeout", "3600"]);
    let mut client = Peer::of(&server, "/news");
    server.signal(Signal::SIGTERM);
    assert_eq!(client.read().unwrap(), Event::Close(Some(1001)));
    server.signal_until(Signal::SIGTERM, "stopping at once");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_third_signal_kills_a_worker_that_hangs() {
    let mut server = Server::start(MASTER, &["--processes", "2", "--drain-timeout", "3600"]);
    let workers = Status::of(&server).worker_pids();
    process::signal(workers[0], Signal::SIGSTOP);
    server.signal_until(Signal::SIGTERM, "stopping: ");
    server.signal_until(Signal::SIGTERM, "stopping at once");
    // Without it the worker would have two seconds more; either way nobody is left.
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().code(), Some(0));
    wait_until_gone(&workers);
}

#[test]
fn connections_without_a_websocket_do_not_hold_the_server() {
    let mut server = Server::start(MASTER, &["--drain-timeout", "3600"]);
    let _silent: Vec<_> = (0..20).map(|_| dial(server.address()).unwrap()).collect();
    let mut kept_alive = dial(server.address()).unwrap();
    std::io::Write::write_all(
        &mut kept_alive,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .unwrap();
    Status::wait(&server, "all to be there", |status| status.clients() == 21);
    server.ask_to_end();
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn who_asks_while_the_server_stops_is_told_to_come_back() {
    let server = Server::start(MASTER, &["--drain-timeout", "3600"]);
    let request = upgrade_request("/news");
    let (begun, rest) = request.split_at(20);
    let mut late = dial(server.address()).unwrap();
    std::io::Write::write_all(&mut late, begun.as_bytes()).unwrap();
    let mut holds = Peer::of(&server, "/news");
    Status::wait(&server, "both to be there", |status| status.clients() == 2);
    server.ask_to_end();
    assert_eq!(holds.read().unwrap(), Event::Close(Some(1001)));
    let answer = http(late, rest);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After"), "{answer}");
}

#[test]
fn who_has_connected_when_the_last_worker_is_told_to_leave_is_let_in() {
    let mut server = Server::start(MASTER, &["--drain-timeout", "3600"]);
    let worker = Status::of(&server).worker_pids()[0];
    // The worker finds the order first, and then the newcomer.
    process::signal(worker, Signal::SIGSTOP);
    server.ask_to_end();
    server.wait_for_log("stopping: ", 1);
    let mut newcomer = dial(server.address()).unwrap();
    let request = upgrade_request("/news");
    std::io::Write::write_all(&mut newcomer, request.as_bytes()).unwrap();
    process::signal(worker, Signal::SIGCONT);
    let mut newcomer = Peer::finish(newcomer, "").expect("the handshake is accepted");
    assert_eq!(newcomer.close_code(), Some(1001));
    drop(newcomer);
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_signal_before_the_workers_are_ready_ends_it_too() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let folder = server::folder();
        let log = folder.path().join("log");
        let mut child = server::command(MASTER, folder.path())
            .args(["--processes", "16", "--socket", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("the built master starts");
        wait_for("the server to listen", PATIENCE, || {
            fs::read_to_string(&log)
                .unwrap()
                .contains("listening on")
                .then_some(())
        });
        process::signal(i32::try_from(child.id()).unwrap(), signal);
        let status = wait_for("the server to end", PATIENCE, || child.try_wait().unwrap());
        assert_eq!(
            status.code(),
            Some(0),
            "{}",
            fs::read_to_string(&log).unwrap()
        );
        assert!(
            fs::read_dir(folder.path().join("bellwether"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}

#[test]
fn signals_of_a_terminal_and_of_job_control_change_nothing_in_workers() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let workers = Status::of(&server).worker_pids();
    let mut client = Peer::of(&server, "/news");
    let to_workers = [
        Signal::SIGUSR2,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGTSTP,
        Signal::SIGWINCH,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGPIPE,
    ];
    for worker in &workers {
        for signal in to_workers {
            process::signal(*worker, signal);
        }
    }
    server.signal(Signal::SIGUSR1);
    server.wait_for_log("2 workers serving, 1 client,", 1);
    server.publish("news", "still here");
    client.expect("still here");
    assert_eq!(Status::of(&server).worker_pids(), workers);
}

/// The words that make the master process 1; None (and a line) where this cannot be done.
fn as_process_1() -> Option<Vec<&'static str>> {
    let mut words = vec!["unshare", "--pid", "--fork", "--kill-child"];
    if !geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    let tried = server::command(words[0], &std::env::temp_dir())
        .args(&words[1..])
        .arg("true")
        .output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(words);
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        !(in_ci && geteuid().is_root()),
        "root can make process namespaces, and CI skips nothing"
    );
    println!("skipped: process namespaces cannot be made here (unshare --pid)");
    None
}

#[test]
fn it_works_as_process_1_and_reaps_strangers() {
    let Some(mut words) = as_process_1() else {
        return;
    };
    // The shell becomes the master, which so inherits a child that it has not made.
    words.extend(["sh", "-c", "true & exec \"$0\" \"$@\"", MASTER]);
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--processes",
        "2",
        "--log-level",
        "debug",
    ];
    let mut server = Server::start_by(&words, MASTER, &options);
    let outside = server.pid();
    let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).unwrap();
    let master: i32 = children.trim().parse().expect("one child");
    let status = Status::of(&server);
    assert_eq!(status.pid, 1);
    server.wait_for_log("reaped a stranger", 1);
    let mut client = Peer::of(&server, "/news");
    assert_eq!(server.publish("news", "hello"), "reached 2 of 2 workers\n");
    client.expect("hello");
    process::signal(master, Signal::SIGTERM);
    assert_eq!(client.close_code(), Some(1001));
    assert_eq!(server.ended().code(), Some(0));
    assert!(!lives(master));
}
