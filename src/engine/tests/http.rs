//! Plain requests, refusals and the time a head may take.

use super::rig::{Peer, Rig, upgrade};

fn answer(rig: &mut Rig, request: &str) -> Peer {
    let mut peer = rig.connect();
    peer.send(request.as_bytes());
    rig.until("an answer comes", |_| {
        peer.receive();
        peer.text().contains("\r\n\r\n")
    });
    peer
}

#[test]
fn every_refusal_has_its_status() {
    let mut rig = Rig::new(|config| config.target_bytes_max = 1000);
    let long = "x".repeat(2000);
    let many = "A: b\r\n".repeat(500);
    let upgrade_8 = upgrade("/news", "").replace("Version: 13", "Version: 8");
    let bad_key = upgrade("/news", "").replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    let foreign = upgrade("/news", "Origin: http://elsewhere.example\r\n");
    let body = upgrade("/news", "Content-Length: 5\r\n");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "200 OK"),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "405",
        ),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), "505"),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "414"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        (upgrade("/", ""), "404"),
        (upgrade_8, "426"),
        (bad_key, "400"),
        (foreign, "403"),
        (body, "413"),
    ] {
        let peer = answer(&mut rig, &request);
        let expected = format!("HTTP/1.1 {status}");
        assert!(
            peer.text().starts_with(&expected),
            "{request:?} gave {:?}",
            peer.text()
        );
    }
}

#[test]
fn refusals_say_what_would_be_right() {
    let mut rig = Rig::new(|_| {});
    let old = upgrade("/news", "").replace("Version: 13", "Version: 8");
    assert!(
        answer(&mut rig, &old)
            .text()
            .contains("Sec-WebSocket-Version: 13\r\n")
    );
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert!(
        answer(&mut rig, post)
            .text()
            .contains("Allow: GET, HEAD\r\n")
    );
}

#[test]
fn pipelined_requests_are_answered_in_order_and_the_connection_is_kept() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.connect();
    peer.send(
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    rig.until("three answers come", |_| {
        peer.receive();
        peer.text().matches("HTTP/1.1 ").count() == 3
    });
    let statuses: Vec<String> = peer
        .text()
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer[..3].to_owned())
        .collect();
    assert_eq!(statuses, ["404", "200", "404"]);
    assert!(
        !peer.text().contains("<html"),
        "an answer to HEAD has no body"
    );
    assert!(!peer.ended);
    peer.received.clear();
    peer.send(upgrade("/news", "").as_bytes());
    rig.until("the upgrade is answered", |_| {
        peer.receive();
        peer.text().starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn a_head_that_does_not_come_in_time_is_a_408() {
    let mut rig = Rig::new(|config| config.handshake_timeout_ms = 40);
    let mut peer = rig.connect();
    peer.send(b"GET / HTTP/1.1\r\n");
    let mut letters = b"Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        .iter()
        .cycle();
    // Bytewise progress must not help.
    rig.until("the answer comes", |_| {
        peer.receive();
        if peer.received.is_empty() {
            let _sent = peer.send_some(&[*letters.next().unwrap()]);
        }
        peer.ended
    });
    assert!(peer.text().starts_with("HTTP/1.1 408 "), "{}", peer.text());
}

#[test]
fn an_idle_kept_connection_ends_without_a_word() {
    let mut rig = Rig::new(|config| config.http_keepalive_ms = 20);
    let mut peer = answer(&mut rig, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    peer.received.clear();
    rig.expect_end(&mut peer);
    assert_eq!(peer.text(), "");
}

#[test]
fn a_mount_chooses_the_app() {
    let mut rig = Rig::new(|config| {
        config.mounts = vec![crate::config::Mount {
            path: "/echo".to_owned(),
            app: "echo".to_owned(),
        }];
    });
    let text = answer(&mut rig, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n").text();
    assert!(text.starts_with("HTTP/1.1 426"), "{text}");
    assert_eq!(text.matches("\r\nConnection: ").count(), 1, "{text}");
    assert!(
        answer(&mut rig, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .text()
            .starts_with("HTTP/1.1 200")
    );
    let mut peer = rig.websocket("/echo/deeper");
    peer.send(&super::rig::masked(0x81, b"x"));
    rig.expect(&mut peer, b"\x81\x01x");
    let error = crate::app::Apps::new(
        &{
            let mut config = super::rig::config();
            config.app = Some("eco".to_owned());
            config
        },
        None,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "--app eco: there is no app `eco`; there are: channels, echo"
    );
}
