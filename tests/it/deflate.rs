//! Broadcasts to clients that compress and clients that do not, whoever publishes.

use std::fs::OpenOptions;
use std::io::Write;

use crate::MASTER;
use crate::api::{api_of, post};
use crate::areas::place;
use crate::peer::{Peer, dial, http};
use crate::server::Server;
use crate::status::Status;

#[test]
fn whoever_publishes_it_goes_out_compressed_to_those_who_want_that() {
    let options = ["--processes", "2", "--clients-publish", "--api", ":0"];
    let server = Server::start(MASTER, &options);
    let mut deflating: Vec<Peer> = (0..4).map(|_| Peer::deflating(&server, "/news")).collect();
    let mut plain: Vec<Peer> = (0..4).map(|_| Peer::of(&server, "/news")).collect();
    Status::wait_for_subscriptions(&server, 8);
    let long = |by: &str| format!("published by {by}, and long enough to be worth it;").repeat(20);

    let mut messages = Vec::new();
    for (at, sender) in [("a client", 0), ("one that compresses", 1)] {
        let peers = [&mut plain, &mut deflating];
        let message = long(at);
        peers[sender][0].send(&message).expect("it leaves");
        messages.push(message);
        // It has its place in the order once it has come.
        plain[1].expect(messages.last().expect("one"));
    }
    messages.push(long("a verb"));
    server.publish("news", messages.last().expect("one"));
    messages.push("short".to_owned());
    server.publish("news", messages.last().expect("one"));
    messages.push(long("the API"));
    let request = post(
        "news",
        messages.last().expect("one"),
        "Connection: close\r\n",
    );
    let answer = http(dial(api_of(&server)).expect("the API listens"), &request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    messages.push(long("the FIFO"));
    let fifo = place(&server).join("fifo");
    let mut fifo = OpenOptions::new().write(true).open(fifo).expect("it");
    writeln!(fifo, "P news {}", messages.last().expect("one")).expect("a line");

    for message in &messages[2..] {
        plain[1].expect(message);
    }
    for peer in deflating.iter_mut().chain(&mut plain[2..]) {
        for message in &messages {
            peer.expect(message);
        }
    }
    for peer in &deflating {
        assert_eq!(peer.compressed(), messages.len() - 1);
    }
}
