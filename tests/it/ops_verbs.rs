//! Upgrades while verbs and monitors are connected: nobody of them notices, nothing is lost and nothing comes twice.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether::master::control::{Answer, Frames, Request};
use bellwether::protocol::websocket::Kind;

use crate::ops_reload::run;
use crate::peer::{Peer, dial, http};
use crate::server::{INSTANCE, Server};
use crate::verbs::Tail;
use crate::{MASTER, PATIENCE};

const OPTIONS: [&str; 4] = ["--processes", "2", "--settle", "0"];
/// Longer than what the master takes at once is a multiple of, so that upgrades come in the middle of requests.
const LINE_BYTES: usize = 3001;

/// Upgrades so many times, each to its end.
fn upgrade(server: &Server, times: u32) {
    for _ in 0..times {
        let (code, said) = run(server, &["upgrade"]);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_tail_shows_everything_once_over_several_upgrades() {
    let server = Server::start(MASTER, &OPTIONS);
    let long_name = "n".repeat(150);
    let channels = ["news", &long_name];
    let tails = channels.map(|channel| {
        let tail = Tail::start(&server, &[channel]);
        tail.wait(&server, channel);
        server.publish(channel, "0");
        while tail.line() != "0" {}
        tail
    });
    let stop = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut published = 0;
            while !stop.load(Ordering::Relaxed) {
                published += 1;
                for channel in channels {
                    server.publish(channel, &published.to_string());
                }
            }
            published
        });
        upgrade(&server, 4);
        stop.store(true, Ordering::Relaxed);
        publisher.join().expect("every publication is answered")
    });
    for (tail, channel) in tails.iter().zip(channels) {
        for number in 1..=published {
            assert_eq!(tail.line(), number.to_string(), "{channel}");
        }
    }
}

/// A connection to the control socket, with which requests are sent without waiting for answers.
fn control(server: &Server) -> UnixStream {
    let folder = server.folder().join("bellwether").join(INSTANCE);
    let stream = UnixStream::connect(folder.join("control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn line(number: usize) -> String {
    format!("{number} {:x<LINE_BYTES$}", "")
}

/// Sends lines until told to stop; how many.
fn publish_lines(mut to: UnixStream, stop: &AtomicBool) -> usize {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        let request = Request::Publish {
            channel: "news".to_owned(),
            kind: Kind::Text,
            payload: line(sent).into_bytes(),
        };
        request.write(&mut bytes);
        to.write_all(&bytes).expect("the connection goes on");
        sent += 1;
    }
    to.shutdown(std::net::Shutdown::Write).unwrap();
    sent
}

/// The numbers of the entries that were published, until the end.
fn answers(mut from: UnixStream) -> Vec<u64> {
    let mut frames = Frames::new(1 << 20);
    let mut published = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match from.read(&mut chunk).expect("an answer in time") {
            0 => return published,
            count => frames.push(&chunk[..count]),
        }
        while let Some(answer) = frames.answer().unwrap() {
            let Answer::Published { seq, .. } = answer else {
                panic!("{answer:?}");
            };
            published.push(seq);
        }
    }
}

#[test]
fn a_publisher_of_lines_goes_on_through_upgrades() {
    let server = Server::start(MASTER, &OPTIONS);
    let client = Peer::of(&server, "/news");
    let stream = control(&server);
    let answered = stream.try_clone().unwrap();
    let (stop, heard) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_lines(stream, &stop));
        let answers = scope.spawn(|| answers(answered));
        let client = scope.spawn(|| {
            let mut client = client;
            let mut next = 0;
            // What is still to come when all are answered is read below.
            while !heard.load(Ordering::Relaxed) {
                client.expect(&line(next));
                next += 1;
            }
            (client, next)
        });
        upgrade(&server, 3);
        stop.store(true, Ordering::Relaxed);
        let sent = publisher.join().expect("it can send on");
        let seqs = answers.join().expect("all is answered");
        assert_eq!(seqs.len(), sent, "each line has its answer");
        assert!(seqs.is_sorted_by(|a, b| a < b), "in their order, once");
        heard.store(true, Ordering::Relaxed);
        server.publish("news", &line(sent));
        let (mut client, next) = client.join().expect("every line comes once");
        for number in next..=sent {
            client.expect(&line(number));
        }
    });
}

#[test]
fn a_monitor_is_never_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.sock");
    let stats = [
        "--stats",
        ":0",
        "--stats-http",
        "--stats",
        path.to_str().unwrap(),
    ];
    let server = Server::start(MASTER, &[&OPTIONS[..], &stats].concat());
    let log = server.log();
    let mut addresses = log
        .lines()
        .filter_map(|line| line.split_once("statistics are at "));
    let address: SocketAddr = addresses
        .find_map(|(_, address)| address.trim().parse().ok())
        .expect("the log names it");
    let request = "GET / HTTP/1.0\r\n\r\n";
    let whole = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        serde_json::from_str::<serde_json::Value>(body).expect("a whole document");
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let monitor = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                whole(&http(dial(address).expect("never refused"), request));
                let stream = UnixStream::connect(&path).expect("never refused");
                whole(&http(stream, request));
            }
        });
        // One that connects before an upgrade and asks after it.
        for _ in 0..3 {
            let early = dial(address).unwrap();
            let mut half = UnixStream::connect(&path).unwrap();
            half.write_all(&request.as_bytes()[..7]).unwrap();
            upgrade(&server, 1);
            whole(&http(early, request));
            whole(&http(half, &request[7..]));
        }
        stop.store(true, Ordering::Relaxed);
        monitor.join().expect("it was served all the time");
    });
    assert!(!server.log().contains("no statistics"), "{}", server.log());
}
