//! Few file descriptors: the soft limit is raised, a low hard limit is told, and a full worker keeps its clients.

use crate::peer::Peer;
use crate::process::open_files_limit;
use crate::server::{self, Server, said};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

/// Starts the server by a shell that lowers its limits.
fn start_with(limits: &str, options: &[&str]) -> Server {
    let script = format!("ulimit {limits} && exec \"$0\" \"$@\"");
    let all = [&["--socket", "127.0.0.1:0"], options].concat();
    Server::start_by(&["sh", "-c", &script, MASTER], MASTER, &all)
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let server = start_with("-Sn 64 && ulimit -Hn 2000", &["--processes", "2"]);
    for pid in [
        vec![server.pid().as_raw()],
        Status::of(&server).worker_pids(),
    ]
    .concat()
    {
        assert_eq!(open_files_limit(pid), "2000");
    }
    assert!(
        !server.log().contains("files may be open, which"),
        "{}",
        server.log()
    );
    Peer::of(&server, "/news");
}

#[test]
fn a_low_hard_limit_is_told_and_the_server_serves() {
    let server = start_with("-n 256", &[]);
    let log = server.log();
    let told = |line: &&str| line.contains("WARN") && line.contains("only 256 files may be open");
    assert!(log.lines().any(|line| told(&line)), "{log}");
    assert!(log.contains("ulimit -n"), "{log}");
    Peer::of(&server, "/news");
}

#[test]
fn too_low_a_hard_limit_ends_the_start_with_1_and_names_what_is_needed() {
    let script = "ulimit -n 100 && exec \"$0\" \"$@\"";
    let words = ["sh", "-c", script, MASTER, "--socket", "127.0.0.1:0"];
    let folder = server::folder();
    let mut command = server::command(words[0], folder.path());
    let output = command.args(&words[1..]).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("only 100 files may be open") && text.contains("ulimit -n"),
        "{text}"
    );
}

#[test]
fn more_clients_than_the_limit_allows_are_told_at_the_start() {
    let server = start_with("-n 4096", &["--max-clients", "10000"]);
    let log = server.log();
    assert!(
        log.contains("--max-clients 10000: only 4096 files may be open"),
        "{log}"
    );
    Peer::of(&server, "/news");
}

#[test]
fn a_full_worker_keeps_its_clients_and_takes_the_next_when_one_leaves() {
    let server = Server::start(MASTER, &["--max-clients", "4"]);
    let mut clients: Vec<Peer> = (0..4).map(|_| Peer::of(&server, "/news")).collect();
    let waiting = std::thread::spawn({
        let address = server.address();
        move || Peer::connect(address, "/news").expect("there is room in the end")
    });
    server.wait_for_log("serving 4 clients, no more are accepted", 1);
    server.publish("news", "still here");
    for client in &mut clients {
        client.expect("still here");
    }
    drop(clients.pop());
    let next = waiting.join().unwrap();
    clients.push(next);
    Status::wait(&server, "four clients", |status| status.clients() == 4);
    server.publish("news", "you too");
    for client in &mut clients {
        client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        client.expect("you too");
    }
}
