//! The HTTP API of a running server: publishing, status and metrics, by whichever worker is asked.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;

use crate::peer::{Peer, dial, http};
use crate::server::{Server, wait_for};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

const OPTIONS: [&str; 4] = ["--processes", "2", "--api", ":0"];

/// The first address of the API that the log names.
pub(crate) fn api_of(server: &Server) -> SocketAddr {
    let log = server.log();
    let line = log
        .lines()
        .find_map(|line| line.split_once("the API is at "));
    line.expect("the log names it").1.trim().parse().unwrap()
}

pub(crate) fn post(channel: &str, message: &str, more: &str) -> String {
    format!(
        "POST /publish/{channel} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{more}\r\n{message}",
        message.len()
    )
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a whole answer").1
}

#[test]
fn what_is_posted_reaches_the_clients_of_every_worker() {
    let server = Server::start(MASTER, &OPTIONS);
    let mut clients: Vec<Peer> = (0..6).map(|_| Peer::of(&server, "/news")).collect();
    Status::wait_for_subscriptions(&server, 6);
    let requests = [
        post("news", "one", ""),
        post("news", "two", ""),
        post("news", "three", "Connection: close\r\n"),
    ];
    let answers = http(dial(api_of(&server)).unwrap(), &requests.concat());
    for (number, part) in (1..).zip(answers.split("HTTP/1.1 200 OK").skip(1)) {
        let receipt: serde_json::Value = serde_json::from_str(body(part)).unwrap();
        assert_eq!(
            (&receipt["channel"], &receipt["offset"]),
            (&"news".into(), &number.into())
        );
    }
    for client in &mut clients {
        for text in ["one", "two", "three"] {
            client.expect(text);
        }
    }
    assert_eq!(Status::of(&server).log.published, 3);
}

#[test]
fn any_worker_answers_for_all_as_the_master_does() {
    let server = Server::start(MASTER, &OPTIONS);
    let _clients: Vec<Peer> = (0..5).map(|_| Peer::of(&server, "/news")).collect();
    Status::wait_for_subscriptions(&server, 5);
    server.publish("news", "hello");
    Status::wait(&server, "all to have it", |status| {
        status.log.delivered == 5
    });
    let by_master = server.verb(&["status", "--json"]).output().unwrap();
    let by_master: serde_json::Value = serde_json::from_slice(&by_master.stdout).unwrap();
    let api = api_of(&server);
    let answer = http(dial(api).unwrap(), &get("/status"));
    let by_worker: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    for same in [
        "instance",
        "pid",
        "phase",
        "generation",
        "listeners",
        "log",
        "channels",
    ] {
        assert_eq!(by_master[same], by_worker[same], "{same}");
    }
    assert_eq!(by_worker["phase"], "running");
    assert_eq!(by_worker["workers"].as_array().unwrap().len(), 2);
    // Each worker tells the others what has happened, but not in each turn.
    let metrics = wait_for("all handshakes to be counted", PATIENCE, || {
        let metrics = http(dial(api).unwrap(), &get("/metrics"));
        (handshakes_in(&metrics) == 5).then_some(metrics)
    });
    assert!(
        metrics.contains("\nbellwether_published_total 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\nbellwether_delivered_total 5\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\nbellwether_channel_subscribers{channel=\"news\"} 5\n"));
}

/// WebSockets opened, of all workers.
fn handshakes_in(metrics: &str) -> u64 {
    let handshakes = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("bellwether_worker_handshakes_total{")?;
        rest.split_once("} ")?.1.parse::<u64>().ok()
    });
    handshakes.sum()
}

#[test]
fn a_unix_socket_serves_it_and_a_token_guards_it() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, token) = (folder.path().join("api.sock"), folder.path().join("token"));
    std::fs::write(&token, "s3cret\n").unwrap();
    let options = [
        "--api",
        socket.to_str().unwrap(),
        "--api-token-file",
        token.to_str().unwrap(),
    ];
    let server = Server::start(MASTER, &options);
    let ask = |headers: &str| {
        let headers = format!("Connection: close\r\n{headers}");
        http(
            UnixStream::connect(&socket).unwrap(),
            &post("news", "x", &headers),
        )
    };
    let refused = ask("");
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(
        refused.contains("\r\nWWW-Authenticate: Bearer"),
        "{refused}"
    );
    let taken = ask("Authorization: Bearer s3cret\r\n");
    assert!(taken.starts_with("HTTP/1.1 200 "), "{taken}");
    assert!(!server.log().contains("s3cret"));
    let channels = http(dial(server.address()).unwrap(), &get("/status"));
    assert!(
        channels.starts_with("HTTP/1.1 404 "),
        "the API is not here: {channels}"
    );
}

#[test]
fn an_open_api_that_others_reach_is_warned_of() {
    let server = Server::start(MASTER, &["--api", "0.0.0.0:0"]);
    server.wait_for_log("--api-token-file would ask for a token", 1);
}

#[test]
fn a_connection_to_the_api_outlives_a_reload() {
    let server = Server::start(MASTER, &OPTIONS);
    let mut kept: Vec<_> = (0..4).map(|_| dial(api_of(&server)).unwrap()).collect();
    for stream in &mut kept {
        stream
            .write_all(post("news", "before", "").as_bytes())
            .unwrap();
        assert!(whole_answer(stream).starts_with("HTTP/1.1 200 "));
    }
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 2 serves", 1);
    Status::wait_for_workers(&server, 2);
    let mut client = Peer::of(&server, "/news");
    Status::wait_for_subscriptions(&server, 1);
    // A kept-alive connection may be closed between two requests, but never between one and its answer.
    let answer = http(
        dial(api_of(&server)).unwrap(),
        &post("news", "after", "Connection: close\r\n"),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    client.expect("after");
    let answer = http(dial(api_of(&server)).unwrap(), &get("/status"));
    let status: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(status["generation"], 2);
}

fn whole_answer(stream: &mut impl Read) -> String {
    let mut answer = String::new();
    wait_for("a whole answer", PATIENCE, || {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        answer.ends_with("}\n").then_some(())
    });
    answer
}
