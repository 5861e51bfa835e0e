//! Options that set a limit: what is within it passes, what is beyond it is told.

use std::io::{Read, Write};
use std::time::Duration;

use crate::MASTER;
use crate::peer::{BINARY, Event, Peer, TEXT, dial, http, masked};
use crate::server::Server;
use crate::status::Status;

/// A request that the server is to end the connection after.
fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
}

#[track_caller]
fn is_answered(server: &Server, request: &str, status: u16) {
    let answer = http(dial(server.address()).unwrap(), request);
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{status} wanted: {answer}"
    );
}

#[test]
fn heads_targets_and_header_counts_have_their_limits() {
    let limits = ["--buffer-size", "1000", "--http-headers-max", "10"];
    let options = [&limits[..], &["--http-target-max", "100"]].concat();
    let server = Server::start(MASTER, &options);
    let header = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    let query = |bytes: usize| format!("/?{}", "q".repeat(bytes));
    is_answered(&server, &get("/", &header(800)), 200);
    is_answered(&server, &get("/", &header(1000)), 431);
    is_answered(&server, &get(&query(98), ""), 200);
    is_answered(&server, &get(&query(99), ""), 414);
    is_answered(&server, &get("/", &"X-One: 1\r\n".repeat(8)), 200);
    is_answered(&server, &get("/", &"X-One: 1\r\n".repeat(9)), 431);
    // A head that never ends is refused when it is too long, not when it is complete.
    let mut endless = dial(server.address()).unwrap();
    let refused = endless.write_all(b"GET / HTTP/1.1\r\n").and_then(|()| {
        (0..200).try_for_each(|_| endless.write_all(b"X-Header: and another one\r\n"))
    });
    let mut answer = String::new();
    match endless.read_to_string(&mut answer) {
        Ok(_) => assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}"),
        // What we went on sending has met a closed socket.
        Err(reset) => assert!(refused.is_err() || reset.raw_os_error().is_some()),
    }
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_with_408() {
    let server = Server::start(MASTER, &["--handshake-timeout", "1"]);
    let mut slow = dial(server.address()).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut answer = Vec::new();
    let mut head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        .iter()
        .chain(b"X: y\r\n".iter().cycle());
    while !answer.ends_with(b"\n") || !answer.starts_with(b"HTTP/1.1 408 ") {
        // Byte by byte; each one is a sign of life and buys no time.
        let byte = head.next().copied().unwrap();
        assert!(
            slow.write_all(&[byte]).is_ok() || !answer.is_empty(),
            "{answer:?}"
        );
        let mut more = [0; 1000];
        if let Ok(bytes) = slow.read(&mut more) {
            answer.extend(&more[..bytes]);
            assert!(bytes > 0, "{}", String::from_utf8_lossy(&answer));
        }
    }
    // One that says nothing is let go too.
    let mut silent = String::new();
    dial(server.address())
        .unwrap()
        .read_to_string(&mut silent)
        .unwrap();
    assert!(silent.starts_with("HTTP/1.1 408 "), "{silent}");
}

#[test]
fn an_idle_connection_is_kept_as_long_as_was_said() {
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (seconds, connection) in [("0", "Connection: close"), ("1", "")] {
        let server = Server::start(MASTER, &["--http-keepalive", seconds]);
        // Ends, though the client has not asked for it.
        let answer = http(dial(server.address()).unwrap(), request);
        assert!(answer.contains(connection), "{answer}");
    }
}

#[test]
fn messages_and_their_fragments_have_their_limits() {
    let size = ["--app", "echo", "--websockets-max-size", "1"];
    let server = Server::start(
        MASTER,
        &[&size[..], &["--websockets-max-fragments", "3"]].concat(),
    );
    let fragments = |count: usize| {
        let frame = |at: usize| {
            let last = if at + 1 == count { 0x80 } else { 0 };
            let mut frame = masked(if at == 0 { TEXT } else { 0 }, b"ab");
            frame[0] = frame[0] & 0x0f | last;
            frame
        };
        (0..count).flat_map(frame).collect::<Vec<u8>>()
    };
    let mut client = Peer::of(&server, "/");
    client.stream().write_all(&fragments(3)).unwrap();
    client.expect("ababab");
    client.stream().write_all(&fragments(4)).unwrap();
    assert_eq!(client.close_code(), Some(1008));

    let mut client = Peer::of(&server, "/");
    client.send_binary(&[7; 1024]).unwrap();
    assert_eq!(client.read().unwrap(), Event::Binary(vec![7; 1024]));
    // The header alone decides.
    client
        .stream()
        .write_all(&masked(BINARY, &[7; 1025])[..8])
        .unwrap();
    assert_eq!(client.close_code(), Some(1009));
}

#[test]
fn more_channels_than_the_table_holds_work_all_the_same() {
    let options = [
        "--processes",
        "2",
        "--channels-max",
        "64",
        "--clients-publish",
    ];
    let server = Server::start(MASTER, &options);
    let name = |number: usize| format!("channel/{number}");
    let mut clients: Vec<(Peer, Peer)> = (0..100)
        .map(|number| {
            let path = format!("/{}", name(number));
            (Peer::of(&server, &path), Peer::of(&server, &path))
        })
        .collect();
    Status::wait_for_subscriptions(&server, 200);
    for (number, (first, _)) in clients.iter_mut().enumerate() {
        first.send(&name(number)).unwrap();
    }
    for (number, (first, second)) in clients.iter_mut().enumerate() {
        first.expect(&name(number));
        second.expect(&name(number));
    }
    // From the master as well, and after others have left the table.
    let last = clients.split_off(95);
    drop(clients);
    Status::wait_for_subscriptions(&server, 10);
    for (number, (mut first, mut second)) in (95..).zip(last) {
        server.publish(&name(number), "from the master");
        first.expect("from the master");
        second.expect("from the master");
    }
}

#[test]
fn a_short_log_and_a_short_queue_are_enough() {
    let options = ["--processes", "2", "--log-entries", "64", "--listen", "1"];
    let server = Server::start(MASTER, &[&options[..], &["--clients-publish"]].concat());
    let mut clients: Vec<Peer> = (0..8).map(|_| Peer::of(&server, "/news")).collect();
    Status::wait_for_subscriptions(&server, 8);
    for number in 0..500 {
        let text = number.to_string();
        clients[number % 8].send(&text).unwrap();
        for client in &mut clients {
            client.expect(&text);
        }
    }
    assert_eq!(Status::of(&server).log.published, 500);
}
