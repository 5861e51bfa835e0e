//! A client that stops reading costs bounded memory and delays nobody.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::MASTER;
use crate::numbered;
use crate::peer::{Event, Peer, TEXT, masked};
use crate::process::private_bytes;
use crate::server::Server;
use crate::status::Status;

const MIB: u64 = 1024 * 1024;
const MESSAGE_BYTES: usize = 16 * 1024;
/// Messages on the way at a time; they fit into the spool twice.
const WINDOW: u64 = 4;

/// A server with a small spool, clients that read (the first one publishes), and one that does not.
struct Scene {
    server: Server,
    readers: Vec<Peer>,
    slow: Peer,
    published: u64,
}

impl Scene {
    fn set(options: &[&str]) -> Self {
        let small = [
            "--processes",
            "2",
            "--clients-publish",
            "--spool-size",
            "1024",
        ];
        let server = Server::start(MASTER, &[&small, options].concat());
        let readers = (0..5).map(|_| Peer::of(&server, "/news")).collect();
        let slow = Peer::of(&server, "/news");
        Status::wait_for_subscriptions(&server, 6);
        Self {
            server,
            readers,
            slow,
            published: 0,
        }
    }

    /// Publishes some messages; all who read get them, in order.
    fn publish(&mut self) {
        let messages: Vec<String> = (0..WINDOW)
            .map(|more| numbered::message("p", self.published + more, MESSAGE_BYTES))
            .collect();
        for message in &messages {
            self.readers[0]
                .send(message)
                .expect("the publisher is not held up");
        }
        for reader in &mut self.readers {
            for message in &messages {
                // Not assert_eq: that would print both.
                let event = reader.read().expect("in time");
                assert!(
                    matches!(event, Event::Text(text) if text == *message),
                    "message {}",
                    self.published
                );
            }
        }
        self.published += WINDOW;
    }

    /// Reads what the slow client has got: whole messages in order from the first on; returns what came then.
    fn read_slow(&mut self) -> (u64, Event) {
        let mut number = 0;
        loop {
            match self.slow.read().expect("in time") {
                Event::Text(text) => assert_eq!(numbered::check(&text), ("p", number)),
                other @ (Event::Binary(_) | Event::Close(_) | Event::Ended | Event::Cut) => {
                    return (number, other);
                }
            }
            number += 1;
        }
    }
}

#[test]
fn the_others_have_everything_in_order_and_memory_stays_flat() {
    let mut scene = Scene::set(&["--websockets-ping-freq", "0"]);
    scene.publish();
    let workers = Status::of(&scene.server).worker_pids();
    let master = scene.server.pid().as_raw();
    let all = [workers, vec![master]].concat();
    let before: Vec<u64> = all.iter().map(|pid| private_bytes(*pid)).collect();
    while scene.published * (MESSAGE_BYTES as u64) < 100 * MIB {
        scene.publish();
    }
    for (pid, before) in all.iter().zip(before) {
        let grown = private_bytes(*pid).saturating_sub(before);
        assert!(grown < 16 * MIB, "process {pid} has grown by {grown} bytes");
    }
    // It has got whole messages, then perhaps its close frame, and was dropped when it did not answer that.
    let (messages, end) = scene.read_slow();
    assert!(messages > 0 && messages < scene.published);
    assert!(
        matches!(end, Event::Close(Some(1013)) | Event::Ended | Event::Cut),
        "{end:?}"
    );
    assert_eq!(Status::of(&scene.server).log.lapped, 1);
    scene.publish();
}

#[test]
fn one_that_is_overtaken_gets_whole_messages_and_then_1013() {
    let mut scene = Scene::set(&["--websockets-ping-freq", "0"]);
    while Status::of(&scene.server).log.lapped == 0 {
        // What a kernel holds for one socket is some megabytes.
        assert!(
            scene.published * (MESSAGE_BYTES as u64) < 200 * MIB,
            "it was never overtaken"
        );
        for _ in 0..20 {
            scene.publish();
        }
    }
    let (messages, end) = scene.read_slow();
    assert!(messages > 0 && messages < scene.published);
    assert_eq!(end, Event::Close(Some(1013)));
    scene.slow.send_close(1013).unwrap();
    assert_eq!(scene.slow.read().unwrap(), Event::Ended);
    scene.publish();
}

#[test]
fn one_that_never_reads_again_is_dropped_when_it_does_not_answer_a_ping() {
    let pings = [
        "--websockets-ping-freq",
        "1",
        "--websockets-pong-tolerance",
        "1",
    ];
    let mut scene = Scene::set(&pings);
    while Status::of(&scene.server).clients() == 6 {
        scene.publish();
    }
    scene.publish();
    assert_eq!(Status::of(&scene.server).clients(), 5);
    // Whole messages, and at most one that was cut when it was dropped.
    let (messages, end) = scene.read_slow();
    assert!(messages > 0 && messages < scene.published);
    assert!(
        matches!(end, Event::Close(Some(1013)) | Event::Ended | Event::Cut),
        "{end:?}"
    );
}

#[test]
fn an_echo_client_that_sends_and_never_reads_is_not_read_from_any_more() {
    let server = Server::start(MASTER, &["--app", "echo"]);
    let worker = Status::of(&server).worker_pids()[0];
    let mut client = Peer::of(&server, "/");
    let mut other = Peer::of(&server, "/");
    let before = private_bytes(worker);
    let frame = masked(TEXT, numbered::message("e", 0, MESSAGE_BYTES).as_bytes());
    client
        .stream()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut sent = 0;
    let stuck = loop {
        assert!(sent < 256 * 1024 * 1024, "it is read from without end");
        match client.stream().write(&frame[sent % frame.len()..]) {
            Ok(bytes) => sent += bytes,
            Err(error) => break error,
        }
    };
    assert_eq!(stuck.kind(), ErrorKind::WouldBlock);
    let grown = private_bytes(worker).saturating_sub(before);
    assert!(grown < 16 * MIB, "the worker has grown by {grown} bytes");
    other.send("served as ever").unwrap();
    other.expect("served as ever");
    // When it reads, everything it has sent comes back.
    for at in 0..sent / frame.len() {
        match client.read().expect("in time") {
            Event::Text(text) => assert_eq!(numbered::check(&text), ("e", 0)),
            other @ (Event::Binary(_) | Event::Close(_) | Event::Ended | Event::Cut) => {
                panic!(
                    "{other:?} came for message {at} of {} in {sent} bytes",
                    sent / frame.len()
                )
            }
        }
    }
    let rest = &frame[sent % frame.len()..];
    client.stream().write_all(rest).unwrap();
    client.send("the end").unwrap();
    if rest.len() < frame.len() {
        assert!(
            matches!(client.read().unwrap(), Event::Text(text) if numbered::check(&text) == ("e", 0))
        );
    }
    client.expect("the end");
}
