//! What each example does, from the outside.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use tungstenite::{Message, WebSocket};

use crate::server::{Server, succeeded};

const ECHO: &str = env!("CARGO_BIN_EXE_echo");
const CHAT: &str = env!("CARGO_BIN_EXE_chat");
const TIMEOUT: Duration = Duration::from_secs(60);

type Client = WebSocket<TcpStream>;

fn connect(server: &Server, path: &str) -> Client {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a timeout can be set");
    let (client, _) =
        tungstenite::client(server.websocket(path), stream).expect("the handshake is accepted");
    client
}

fn says(client: &mut Client, text: &str) {
    client
        .send(Message::text(text))
        .expect("the message leaves");
}

#[track_caller]
fn hears(client: &mut Client, text: &str) {
    assert_eq!(client.read().expect("a message"), Message::text(text));
}

/// Everybody in a room has heard that everybody is there.
fn a_room_full(server: &Server, path: &str, names: &[&str]) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for name in names {
        clients.push(connect(server, &format!("{path}?name={name}")));
        for client in &mut clients {
            hears(client, &format!("* {name} is here"));
        }
    }
    clients
}

/// Workers that have clients.
fn busy_workers(server: &Server) -> usize {
    let output = server.verb(&["status", "--json"]).output();
    let status: serde_json::Value =
        serde_json::from_str(&succeeded(&output.expect("the example starts"))).expect("JSON");
    let workers = status["workers"].as_array().expect("a list");
    workers
        .iter()
        .filter(|worker| worker["clients"].as_u64() > Some(0))
        .count()
}

#[test]
fn echo_sends_text_and_binary_back() {
    let server = Server::start(ECHO, &["--processes", "2"]);
    let mut clients: Vec<Client> = (0..4).map(|_| connect(&server, "/any/path")).collect();
    for client in &mut clients {
        for message in [
            Message::text("grüße"),
            Message::binary(vec![0, 255]),
            Message::text(""),
            Message::binary(vec![9; 200_000]),
        ] {
            client.send(message.clone()).expect("the message leaves");
            assert!(client.read().expect("an answer") == message);
        }
    }
}

#[test]
fn what_one_says_in_the_chat_is_heard_by_all_in_the_room_whatever_their_worker() {
    let server = Server::start(CHAT, &["--processes", "4"]);
    let names = [
        "ann", "ben", "cem", "dag", "eva", "fay", "gil", "hal", "ida", "jon", "kim", "lee",
    ];
    let mut room = a_room_full(&server, "/den", &names);
    assert_eq!(busy_workers(&server), 4);
    let mut elsewhere = a_room_full(&server, "/attic", &["max"]);
    for (speaker, name) in names.iter().enumerate() {
        says(&mut room[speaker], "hello");
        for client in &mut room {
            hears(client, &format!("{name}: hello"));
        }
    }
    says(&mut elsewhere[0], "alone here");
    hears(&mut elsewhere[0], "max: alone here");
}

#[test]
fn all_in_the_room_are_told_who_leaves_it_politely_or_not() {
    let server = Server::start(CHAT, &["--processes", "4"]);
    let mut room = a_room_full(&server, "/den", &["ann", "ben", "cem", "dag", "eva"]);
    let mut polite = room.remove(4);
    polite.close(None).expect("the close frame leaves");
    drop(room.remove(3));
    for client in &mut room {
        let said = [
            client.read().expect("one"),
            client.read().expect("the other"),
        ];
        let said: BTreeSet<String> = said
            .into_iter()
            .map(|message| message.to_string())
            .collect();
        let wanted = ["* dag has left", "* eva has left"].map(String::from);
        assert_eq!(said, BTreeSet::from(wanted));
    }
}

#[test]
fn binary_messages_are_refused_by_the_chat_with_1003_and_the_others_stay_and_are_told() {
    let server = Server::start(CHAT, &["--processes", "2"]);
    let mut room = a_room_full(&server, "/den", &["ann", "ben"]);
    room[0]
        .send(Message::binary(vec![1]))
        .expect("the message leaves");
    let Message::Close(Some(frame)) = room[0].read().expect("a close frame") else {
        panic!("a close frame with a code was expected");
    };
    assert_eq!(u16::from(frame.code), 1003);
    hears(&mut room[1], "* ann has left");
    says(&mut room[1], "still here");
    hears(&mut room[1], "ben: still here");
}

#[test]
fn the_room_is_told_also_of_those_whom_the_server_closes() {
    let server = Server::start(CHAT, &["--processes", "2"]);
    let mut room = a_room_full(&server, "/den", &["ann", "ben"]);
    // Behind the head of the message nothing is needed to see that it is too large.
    let header = [0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    std::io::Write::write_all(room[0].get_mut(), &header).expect("it leaves");
    let Message::Close(Some(frame)) = room[0].read().expect("a close frame") else {
        panic!("a close frame with a code was expected");
    };
    assert_eq!(u16::from(frame.code), 1009);
    hears(&mut room[1], "* ann has left");
}
