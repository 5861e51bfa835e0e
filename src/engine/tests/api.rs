//! The API over the engine: bodies, publishing, who may, and what is answered.

use serde_json::Value;

use super::rig::{Peer, Rig};
use crate::net::Purpose;
use crate::sharedarea::ParticipantKind;

/// Sends and takes the answer: its status line and headers, and its body.
fn ask(rig: &mut Rig, peer: &mut Peer, request: &str) -> (String, String) {
    peer.send(request.as_bytes());
    take_answer(rig, peer)
}

fn take_answer(rig: &mut Rig, peer: &mut Peer) -> (String, String) {
    let mut answer = None;
    rig.until("an answer comes", |_| {
        peer.receive();
        answer = whole_answer(&mut peer.received);
        answer.is_some()
    });
    answer.unwrap()
}

fn whole_answer(received: &mut Vec<u8>) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(received).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    let body = rest.get(..length)?;
    received.drain(..head.len() + 4 + length);
    Some((head.to_owned(), body.to_owned()))
}

fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn publish(target: &str, headers: &str, body: &str) -> String {
    request("POST", target, headers, body)
}

#[test]
fn a_message_reaches_who_listens_and_the_answer_says_where_it_stands() {
    let mut rig = Rig::new(|_| {});
    let mut news = rig.websocket("/a/%C3%BC");
    let mut peer = rig.connect_to(Purpose::Api);
    let (head, body) = ask(
        &mut rig,
        &mut peer,
        &publish("/publish/a%2F%C3%BC", "", "hello"),
    );
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Connection: keep-alive"), "{head}");
    let receipt: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(receipt["channel"], "a/\u{fc}");
    assert_eq!(
        (&receipt["offset"], &receipt["seq"]),
        (&1.into(), &1.into())
    );
    assert_eq!(receipt["epoch"].as_str().unwrap().len(), 16);
    rig.expect(&mut news, b"\x81\x05hello");
    let octets = "Content-Type: application/octet-stream; a=b\r\n";
    ask(
        &mut rig,
        &mut peer,
        &publish("/publish/a/%C3%BC", octets, "x"),
    );
    ask(
        &mut rig,
        &mut peer,
        &publish("/publish/a/%C3%BC?a&binary", "", "y"),
    );
    ask(&mut rig, &mut peer, &publish("/publish/a/%C3%BC", "", ""));
    rig.expect(&mut news, b"\x82\x01x\x82\x01y\x81\x00");
}

#[test]
fn a_channel_without_a_place_has_no_offset() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.connect_to(Purpose::Api);
    let target = format!("/publish/{}", "n".repeat(100));
    let (_, body) = ask(&mut rig, &mut peer, &publish(&target, "", "hello"));
    let receipt: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&receipt["offset"], &receipt["epoch"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(receipt["seq"], 1);
}

#[test]
fn requests_are_pipelined_and_bodies_cut_anywhere() {
    let mut rig = Rig::new(|_| {});
    let chunked = "POST /publish/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let requests =
        publish("/publish/c", "", "first") + chunked + &publish("/publish/c", "", "third");
    for cut in 1..requests.len() {
        let mut listener = rig.websocket("/c");
        let mut peer = rig.connect_to(Purpose::Api);
        let (before, behind) = requests.as_bytes().split_at(cut);
        peer.send(before);
        rig.turn();
        peer.send(behind);
        for _ in 0..3 {
            let (head, _) = take_answer(&mut rig, &mut peer);
            assert!(head.starts_with("HTTP/1.1 200"), "{cut}: {head}");
        }
        rig.expect(&mut listener, b"\x81\x05first\x81\x03abc\x81\x05third");
    }
}

#[test]
fn who_waits_for_leave_to_send_the_body_gets_it() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.connect_to(Purpose::Api);
    let whole = publish("/publish/c", "Expect: 100-continue\r\n", "body");
    let (head, body) = whole.split_at(whole.len() - 4);
    peer.send(head.as_bytes());
    rig.expect(&mut peer, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (head, _) = ask(&mut rig, &mut peer, body);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Not where it would be refused, nor by an app that takes no body.
    let refused = request("POST", "/nothing", "Expect: 100-continue\r\n", "body");
    let (head, _) = ask(&mut rig, &mut peer, &refused[..refused.len() - 4]);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    rig.expect_end(&mut peer);
}

#[test]
fn every_refusal_has_its_status() {
    let mut rig = Rig::new(|config| config.message_bytes_max = 64 * 1024);
    let large = "x".repeat(9000);
    for (request, status) in [
        (request("PUT", "/publish/c", "", "x"), "405"),
        (request("GET", "/publish/c", "", ""), "405"),
        (request("POST", "/status", "", ""), "405"),
        (request("GET", "/", "", ""), "404"),
        (publish("/publish/", "", "x"), "400"),
        (publish("/publish/%zz", "", "x"), "400"),
        (publish("/publish/a%0Ab", "", "x"), "400"),
        (publish("/publish/c", "Origin: http://x\r\n", "x"), "403"),
        (publish("/publish/c", "", &large), "413"),
        (
            "POST /publish/c HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n".into(),
            "413",
        ),
        (
            "POST /publish/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".into(),
            "400",
        ),
        (
            "POST /publish/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
                .into(),
            "501",
        ),
        (super::rig::upgrade("/c", ""), "404"),
    ] {
        let mut peer = rig.connect_to(Purpose::Api);
        let (head, _) = ask(&mut rig, &mut peer, &request);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(head.starts_with(&expected), "{request:.80} gave {head}");
    }
    let mut peer = rig.connect_to(Purpose::Api);
    let bytes = [
        b"POST /publish/c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n".as_slice(),
        b"\xff",
    ];
    peer.send(&bytes.concat());
    let (head, body) = take_answer(&mut rig, &mut peer);
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(
        body.starts_with("{\"error\":\"the message is not UTF-8"),
        "{body}"
    );
    assert_eq!(rig.area.head(), 0);
}

#[test]
fn the_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\nand more\n").unwrap();
    let option = format!("--api-token-file={}", file.display());
    let mut rig = Rig::new(|config| {
        config.api_token = super::rig::config_of(&[&option]).api_token;
        assert!(config.api_token.is_some());
    });
    let mut peer = rig.connect_to(Purpose::Api);
    let right = "Authorization: bearer s3cret\r\n";
    for (headers, status) in [
        ("", "401"),
        ("Authorization: Bearer s3cre\r\n", "401"),
        ("Authorization: Basic s3cret\r\n", "401"),
        ("Authorization: s3cret\r\n", "401"),
        (right, "200"),
        (
            "Origin: http://x\r\nAuthorization: Bearer s3cret\r\n",
            "200",
        ),
    ] {
        for target in ["/status", "/metrics"] {
            let (head, _) = ask(&mut rig, &mut peer, &request("GET", target, headers, ""));
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")),
                "{headers}: {head}"
            );
            assert_eq!(
                head.contains("WWW-Authenticate: Bearer realm=\"bellwether\""),
                status == "401"
            );
        }
    }
    let (head, _) = ask(&mut rig, &mut peer, &request("GET", "/healthz", "", ""));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = ask(&mut rig, &mut peer, &request("GET", "/nothing", "", ""));
    assert!(
        head.starts_with("HTTP/1.1 401"),
        "nobody may look around: {head}"
    );
    // Before the body is read.
    let (head, _) = ask(&mut rig, &mut peer, &publish("/publish/c", "", "x"));
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert_eq!(rig.area.head(), 0);
}

#[test]
fn a_busy_log_is_told_to_come_back() {
    let mut rig = Rig::new(|_| {});
    let reader = rig.area.join(ParticipantKind::External, 2).unwrap();
    assert!(rig.publish("c", b"kept"));
    assert!(reader.pin(rig.area.entry(1).unwrap().position));
    let mut peer = rig.connect_to(Purpose::Api);
    let message = publish("/publish/c", "", &"x".repeat(8000));
    let mut heads = Vec::new();
    for _ in 0..9 {
        heads.push(ask(&mut rig, &mut peer, &message).0);
    }
    let last = heads.last().unwrap();
    assert!(heads[0].starts_with("HTTP/1.1 200"), "{}", heads[0]);
    assert!(last.starts_with("HTTP/1.1 429 "), "{last}");
    assert!(
        last.contains("Retry-After: 1") && last.contains("keep-alive"),
        "{last}"
    );
    reader.unpin();
    let (head, _) = ask(&mut rig, &mut peer, &message);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn a_body_has_its_time_and_a_lost_one_publishes_nothing() {
    let mut rig = Rig::new(|config| config.handshake_timeout_ms = 1);
    let mut peer = rig.connect_to(Purpose::Api);
    let whole = publish("/publish/c", "", "body");
    let (head, _) = ask(&mut rig, &mut peer, &whole[..whole.len() - 1]);
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    rig.expect_end(&mut peer);
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.connect_to(Purpose::Api);
    peer.send(&whole.as_bytes()[..whole.len() - 1]);
    rig.turn();
    drop(peer);
    rig.until("it is forgotten", |rig| rig.engine.clients() == 0);
    assert_eq!(rig.area.head(), 0);
}

#[test]
fn clients_of_apps_and_of_the_api_do_not_meet() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.connect();
    let (head, _) = ask(&mut rig, &mut peer, &request("GET", "/metrics", "", ""));
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) = ask(&mut rig, &mut peer, &publish("/publish/c", "", "x"));
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
}

#[test]
fn status_and_metrics_are_shown() {
    let mut rig = Rig::new(|config| config.instance = Some("here".into()));
    let mut peer = rig.connect_to(Purpose::Api);
    let (head, body) = ask(&mut rig, &mut peer, &request("GET", "/status", "", ""));
    assert!(head.contains("Content-Type: application/json"), "{head}");
    let status: crate::status::Status = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status.instance.as_str(), status.workers[0].clients),
        ("here", 1)
    );
    let (head, body) = ask(&mut rig, &mut peer, &request("GET", "/metrics", "", ""));
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        body.contains("\nbellwether_worker_clients{worker=\"1\"} 1\n"),
        "{body}"
    );
    peer.send(request("HEAD", "/metrics", "", "").as_bytes());
    rig.until("a head comes", |_| {
        peer.receive();
        peer.received.ends_with(b"\r\n\r\n")
    });
}
