//! tungstenite: the one foreign client that is always there.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Message, WebSocket};

use crate::MASTER;
use crate::server::{Server, succeeded};

const TIMEOUT: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;

fn connect_with(
    server: &Server,
    path: &str,
    headers: &[(&'static str, &str)],
) -> (WebSocket<TcpStream>, Response) {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a timeout can be set");
    let mut request = server
        .websocket(path)
        .into_client_request()
        .expect("a good address");
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, value.parse().expect("a good header"));
    }
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    tungstenite::client::client_with_config(request, stream, Some(config))
        .expect("the handshake is accepted")
}

fn connect(server: &Server, path: &str) -> WebSocket<TcpStream> {
    connect_with(server, path, &[]).0
}

fn echoes(client: &mut WebSocket<TcpStream>, message: Message) {
    client.send(message.clone()).expect("the message leaves");
    let answer = client.read().expect("an answer");
    assert!(
        answer == message,
        "{} bytes came back as {} others",
        message.len(),
        answer.len()
    );
}

fn close_frame(client: &mut WebSocket<TcpStream>) -> Option<CloseFrame> {
    loop {
        if let Message::Close(frame) = client.read().expect("a close frame before the end") {
            return frame;
        }
    }
}

fn echo_server(options: &[&str]) -> Server {
    Server::start(
        MASTER,
        &[&["--processes", "2", "--app", "echo"], options].concat(),
    )
}

#[test]
fn text_binary_and_empty_messages_come_back_as_they_are() {
    let server = echo_server(&[]);
    let mut client = connect(&server, "/");
    for bytes in [0, 1, 125, 126, 65_535, 65_536, MIB] {
        echoes(&mut client, Message::text("x".repeat(bytes)));
        echoes(&mut client, Message::binary(vec![0xfe; bytes]));
    }
    echoes(&mut client, Message::text("grüße, 🔔"));
}

#[test]
fn sixteen_mebibytes_come_back_with_the_limit_raised() {
    let server = echo_server(&["--websockets-max-size", "20480"]);
    let mut client = connect(&server, "/");
    echoes(&mut client, Message::text("t".repeat(16 * MIB)));
    echoes(
        &mut client,
        Message::binary(
            (0..16 * MIB)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect::<Vec<u8>>(),
        ),
    );
}

#[test]
fn a_message_above_the_limit_is_refused_with_1009() {
    let server = echo_server(&[]);
    let mut client = connect(&server, "/");
    // The header alone decides; the rest may not find an open socket any more.
    let _may_be_cut_off = client.send(Message::binary(vec![0; MIB + 1]));
    assert_eq!(
        close_frame(&mut client).expect("a code").code,
        CloseCode::Size
    );
}

#[test]
fn fragments_come_back_as_one_message_and_a_ping_between_them_is_answered() {
    let server = echo_server(&[]);
    let (mut first, mut second) = (connect(&server, "/"), connect(&server, "/"));
    let part = |text: &'static str, data, last| {
        Message::Frame(Frame::message(text, OpCode::Data(data), last))
    };
    first.send(part("one ", Data::Text, false)).unwrap();
    second.send(part("uno ", Data::Text, false)).unwrap();
    first.send(Message::Ping("between".into())).unwrap();
    first.send(part("two ", Data::Continue, false)).unwrap();
    second.send(part("due", Data::Continue, true)).unwrap();
    first.send(part("", Data::Continue, true)).unwrap();
    assert_eq!(first.read().unwrap(), Message::Pong("between".into()));
    assert_eq!(first.read().unwrap(), Message::text("one two "));
    assert_eq!(second.read().unwrap(), Message::text("uno due"));
}

#[test]
fn a_pong_has_the_payload_of_its_ping() {
    let server = echo_server(&[]);
    let mut client = connect(&server, "/");
    for payload in [vec![], vec![7; 1], vec![9; 125]] {
        client.send(Message::Ping(payload.clone().into())).unwrap();
        assert_eq!(client.read().unwrap(), Message::Pong(payload.into()));
    }
}

#[test]
fn a_client_that_closes_gets_its_code_back() {
    let server = echo_server(&[]);
    for (code, reason) in [(1000, ""), (1000, "done"), (4001, "my own")] {
        let mut client = connect(&server, "/");
        client
            .close(Some(CloseFrame {
                code: code.into(),
                reason: reason.into(),
            }))
            .unwrap();
        assert_eq!(
            u16::from(close_frame(&mut client).expect("a code").code),
            code
        );
    }
    let mut client = connect(&server, "/");
    client.close(None).unwrap();
    assert_eq!(close_frame(&mut client), None);
}

#[test]
fn a_server_that_stops_says_1001_to_its_clients_and_ends_with_0() {
    let mut server = echo_server(&[]);
    let mut clients = [
        connect(&server, "/"),
        connect(&server, "/"),
        connect(&server, "/"),
    ];
    for client in &mut clients {
        echoes(client, Message::text("here"));
    }
    server.ask_to_end();
    for client in &mut clients {
        assert_eq!(close_frame(client).expect("a code").code, CloseCode::Away);
    }
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn no_subprotocol_and_no_extension_is_named_that_was_not_offered() {
    let server = echo_server(&[]);
    let (_client, response) = connect_with(&server, "/", &[]);
    assert_eq!(response.headers().get("sec-websocket-protocol"), None);
    assert_eq!(response.headers().get("sec-websocket-extensions"), None);
}

#[test]
fn what_is_published_from_the_command_line_reaches_the_clients_of_every_worker() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let mut clients: Vec<_> = (0..16).map(|_| connect(&server, "/news")).collect();
    let mut other = connect(&server, "/other");
    server.publish("news", "hello");
    let mut binary = server
        .verb(&["publish", "news", "-", "--binary"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    binary
        .stdin
        .take()
        .unwrap()
        .write_all(&[0, 255, 1])
        .unwrap();
    succeeded(&binary.wait_with_output().unwrap());
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), Message::text("hello"));
        assert_eq!(client.read().unwrap(), Message::binary(vec![0, 255, 1]));
    }
    server.publish("other", "for others");
    assert_eq!(other.read().unwrap(), Message::text("for others"));
}

#[test]
fn a_channel_may_have_slashes_spaces_and_any_script_in_its_name() {
    let server = Server::start(MASTER, &[]);
    let mut client = connect(&server, "/sport/z%C3%BCrich%201");
    server.publish("sport/zürich 1", "goal");
    assert_eq!(client.read().unwrap(), Message::text("goal"));
}

#[test]
fn a_client_that_publishes_where_it_may_not_is_closed_with_1008_and_a_reason() {
    let server = Server::start(MASTER, &[]);
    let mut client = connect(&server, "/news");
    client.send(Message::text("me too")).unwrap();
    let frame = close_frame(&mut client).expect("a code");
    assert_eq!(frame.code, CloseCode::Policy);
    assert!(!frame.reason.is_empty());
}

#[test]
fn clients_publish_to_each_other_in_order_where_they_may() {
    let server = Server::start(MASTER, &["--processes", "2", "--clients-publish"]);
    let mut clients: Vec<_> = (0..8).map(|_| connect(&server, "/chat")).collect();
    for number in 0..100 {
        clients[0]
            .send(Message::text(format!("message {number}")))
            .unwrap();
    }
    clients[0].send(Message::binary(vec![1, 2, 3])).unwrap();
    for client in &mut clients {
        for number in 0..100 {
            assert_eq!(
                client.read().unwrap(),
                Message::text(format!("message {number}"))
            );
        }
        assert_eq!(client.read().unwrap(), Message::binary(vec![1, 2, 3]));
    }
}
