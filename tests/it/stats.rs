//! The stats server of a running master.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use crate::peer::{Peer, dial, http};
use crate::process::kill_hard;
use crate::server::{Server, wait_for};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

pub(crate) fn stats_of(server: &Server) -> SocketAddr {
    let log = server.log();
    let line = log
        .lines()
        .find_map(|line| line.split_once("statistics are at "));
    line.expect("the log names it").1.trim().parse().unwrap()
}

fn document(mut stream: impl Read) -> serde_json::Value {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn workers_clients_and_channels_are_in_the_document() {
    let server = Server::start(MASTER, &["--processes", "2", "--stats", ":0"]);
    let clients: Vec<Peer> = (0..4).map(|_| Peer::of(&server, "/news")).collect();
    Status::wait_for_subscriptions(&server, 4);
    server.publish("news", "hello");
    let status = Status::wait(&server, "all to have it", |status| {
        status.log.delivered == 4
    });
    let read = wait_for("all handshakes to be counted", PATIENCE, || {
        let read = document(dial(stats_of(&server)).unwrap());
        (read["websockets"]["open"] == 4).then_some(read)
    });
    assert_eq!(read["pid"], status.pid);
    assert_eq!(read["clients"], 4);
    assert_eq!(
        (&read["log"]["published"], &read["channels"][0]["name"]),
        (&1.into(), &"news".into())
    );
    let workers = read["workers"].as_array().unwrap();
    for (worker, pid) in workers.iter().zip(status.worker_pids()) {
        assert_eq!(worker["pid"], pid);
        assert!(worker["rss"].as_u64().unwrap() > 1 << 20, "{worker}");
        assert!(
            worker["last_spawn"].as_u64().unwrap() > 1_700_000_000,
            "{worker}"
        );
        assert!(worker["tx"].as_u64().unwrap() > 0, "{worker}");
        assert_eq!(
            (&worker["respawn_count"], &worker["accepting"]),
            (&1.into(), &1.into())
        );
    }
    let max_queue = &read["sockets"][0]["max_queue"];
    assert!(max_queue.as_u64().unwrap() > 0, "{max_queue}");
    drop(clients);
}

#[test]
fn a_respawn_is_counted() {
    let server = Server::start(MASTER, &["--stats", ":0"]);
    kill_hard(Status::of(&server).worker_pids()[0]);
    server.wait_for_log("is ready", 2);
    let read = document(dial(stats_of(&server)).unwrap());
    assert_eq!(read["workers"][0]["respawn_count"], 2);
}

#[test]
fn a_unix_socket_and_http_serve_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.sock");
    let options = [
        "--stats-server",
        path.to_str().unwrap(),
        "--stats",
        "127.0.0.1:0",
    ];
    let server = Server::start(
        MASTER,
        &[&options[..], &["--stats-http", "--stats-min"]].concat(),
    );
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut answers = vec![http(UnixStream::connect(&path).unwrap(), request)];
    let log = server.log();
    let address = log
        .lines()
        .filter_map(|line| line.split_once("statistics are at "));
    let address: Option<SocketAddr> = address
        .filter_map(|(_, text)| text.trim().parse().ok())
        .next();
    answers.push(http(dial(address.unwrap()).unwrap(), request));
    for answer in answers {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(body.starts_with("{\"version\":\""), "{body}");
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}

#[test]
fn readers_that_hang_do_not_hold_the_master_up() {
    let server = Server::start(MASTER, &["--stats", ":0", "--stats-http"]);
    let address = stats_of(&server);
    let _silent: Vec<TcpStream> = (0..40).map(|_| dial(address).unwrap()).collect();
    assert_eq!(server.publish("news", "hello"), "reached 1 of 1 workers\n");
    let late = dial(address).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = http(late, "GET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
