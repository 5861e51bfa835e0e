//! Messages, closing, keep-alive and flow control of one client.

use super::rig::{Rig, masked, upgrade};
use crate::app::{Accept, WebSocket, per_client};
use crate::protocol::websocket::Closed;

fn echo() -> Rig {
    Rig::new(|config| config.app = Some("echo".to_owned()))
}

#[test]
fn a_frame_in_the_same_segment_as_the_handshake_is_not_lost() {
    let mut rig = echo();
    let mut peer = rig.connect();
    let mut bytes = upgrade("/", "").into_bytes();
    bytes.extend(masked(0x81, b"early"));
    peer.send(&bytes);
    rig.until("the echo comes", |_| {
        peer.receive();
        peer.received.ends_with(b"\x81\x05early")
    });
    assert!(
        peer.text()
            .contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

#[test]
fn a_handshake_byte_by_byte_is_understood() {
    let mut rig = echo();
    let mut peer = rig.connect();
    for byte in upgrade("/", "").into_bytes() {
        peer.send(&[byte]);
        rig.turn();
    }
    rig.until("the handshake is answered", |_| {
        peer.receive();
        peer.received.ends_with(b"\r\n\r\n")
    });
    assert!(peer.text().starts_with("HTTP/1.1 101 "));
}

#[test]
fn many_messages_in_one_read_are_echoed_in_order() {
    let mut rig = echo();
    let mut peer = rig.websocket("/");
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for number in 0..100_u8 {
        bytes.extend(masked(0x82, &[number]));
        expected.extend([0x82, 1, number]);
    }
    peer.send(&bytes);
    rig.expect(&mut peer, &expected);
}

#[test]
fn a_message_larger_than_every_buffer_is_echoed() {
    let mut rig = echo();
    let mut peer = rig.websocket("/");
    let payload: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let frame = masked(0x82, &payload);
    let mut sent = 0;
    rig.until("the message comes back", |_| {
        sent += peer.send_some(&frame[sent..]);
        peer.receive();
        peer.received.len() == payload.len() + 10
    });
    assert_eq!(peer.frames(), [(0x82, payload)]);
}

#[test]
fn fragments_of_two_clients_do_not_mix() {
    let mut rig = echo();
    let mut left = rig.websocket("/");
    let mut right = rig.websocket("/");
    left.send(&masked(0x01, b"le"));
    right.send(&masked(0x01, b"ri"));
    rig.turn();
    left.send(&masked(0x80, b"ft"));
    right.send(&masked(0x80, b"ght"));
    rig.expect(&mut left, b"\x81\x04left");
    rig.expect(&mut right, b"\x81\x05right");
}

#[test]
fn a_close_is_answered_and_the_stream_ended() {
    let mut rig = echo();
    let mut peer = rig.websocket("/");
    peer.send(&masked(0x88, &[0x0f, 0xa1]));
    rig.expect_end(&mut peer);
    assert_eq!(peer.received, b"\x88\x02\x0f\xa1");
    drop(peer);
    rig.until("the client is forgotten", |rig| rig.engine.clients() == 0);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_and_dropped_alone() {
    let mut rig = echo();
    let mut bad = rig.websocket("/");
    let mut good = rig.websocket("/");
    bad.send(b"\x81\x05hello");
    rig.expect_end(&mut bad);
    assert_eq!(bad.received[..4], [0x88, bad.received[1], 0x03, 0xea]);
    good.send(&masked(0x81, b"still here"));
    rig.expect(&mut good, b"\x81\x0astill here");
}

#[test]
fn a_silent_client_is_pinged_and_stays_if_it_answers() {
    let mut rig = Rig::new(|config| {
        config.ping_freq_ms = 20;
        config.pong_tolerance_ms = 10_000;
    });
    let mut peer = rig.websocket("/news");
    for _ in 0..3 {
        rig.expect(&mut peer, b"\x89\x00");
        peer.send(&masked(0x8a, b""));
    }
    assert_eq!(rig.engine.clients(), 1);
}

#[test]
fn a_dead_client_is_closed_with_1011() {
    let mut rig = Rig::new(|config| {
        config.ping_freq_ms = 20;
        config.pong_tolerance_ms = 20;
    });
    let mut peer = rig.websocket("/news");
    rig.expect_end(&mut peer);
    assert_eq!(peer.received[..2], *b"\x89\x00");
    assert_eq!(peer.received[2], 0x88);
    assert_eq!(peer.received[4..6], 1011_u16.to_be_bytes());
    assert_eq!(rig.engine.clients(), 0);
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let mut rig = Rig::new(|config| {
        config.app = Some("echo".to_owned());
        config.outbox_bytes_max = 256 * 1024;
    });
    let mut peer = rig.websocket("/");
    let frame = masked(0x82, &[7; 16 * 1024]);
    let mut sent = Vec::new();
    // Sends until the engine takes no more: that must come, or its memory would grow for ever.
    let mut idle = 0;
    rig.until("the engine stops reading", |_| {
        let from = sent.len() % frame.len();
        let taken = peer.send_some(&frame[from..]);
        sent.extend_from_slice(&frame[from..from + taken]);
        idle = if taken == 0 { idle + 1 } else { 0 };
        assert!(sent.len() < 64 * 1024 * 1024, "no end of reading");
        idle > 50
    });
    let whole = sent.len() / frame.len();
    let mut echoed = 0;
    rig.until("everything comes back once it is read", |_| {
        peer.receive();
        for (first, payload) in peer.frames() {
            assert_eq!((first, payload), (0x82, vec![7; 16 * 1024]));
            echoed += 1;
        }
        echoed == whole
    });
}

#[test]
fn a_stop_says_goodbye_with_the_code_and_refuses_newcomers() {
    let mut rig = echo();
    let mut idle = rig.connect();
    let mut peer = rig.websocket("/");
    let mut late = rig.connect();
    late.send(b"GET / HT");
    rig.turn();
    rig.engine.drain(1001, 0);
    rig.expect(&mut peer, b"\x88\x02\x03\xe9");
    rig.expect_end(&mut idle);
    late.send(b"TP/1.1\r\nHost: x\r\n\r\n");
    rig.expect_end(&mut late);
    assert!(late.text().starts_with("HTTP/1.1 503 "), "{}", late.text());
    peer.send(&masked(0x88, &[0x03, 0xe9]));
    rig.expect_end(&mut peer);
    drop((idle, peer, late));
    rig.until("all are gone", |rig| rig.engine.clients() == 0);
    let mut newcomer = rig.connect();
    rig.expect_end(&mut newcomer);
}

#[test]
fn a_restart_gives_everybody_what_was_asked_for_and_then_says_goodbye() {
    let mut rig = echo();
    let (mut page, mut late) = (rig.connect(), rig.connect());
    page.send(b"GET / HT");
    late.send(&upgrade("/", "").as_bytes()[..10]);
    let mut kept_alive = rig.connect();
    kept_alive.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.until("the page is there", |_| {
        kept_alive.receive();
        kept_alive.text().starts_with("HTTP/1.1 426 ")
    });
    rig.engine.drain(1012, 0);
    rig.expect_end(&mut kept_alive);
    page.send(b"TP/1.1\r\nHost: x\r\n\r\n");
    rig.expect_end(&mut page);
    assert!(page.text().contains("Connection: close"), "{}", page.text());
    late.send(&upgrade("/", "").as_bytes()[10..]);
    rig.until("it is accepted and closed", |_| {
        late.receive();
        late.received.ends_with(b"\r\n\r\n\x88\x02\x03\xf4")
    });
    assert!(late.text().starts_with("HTTP/1.1 101 "), "{}", late.text());
}

#[test]
fn who_has_not_said_anything_can_be_given_away() {
    let (mut rig, mut other) = (echo(), echo());
    let mut begun = rig.connect();
    begun.send(b"GET / HT");
    let _open = rig.websocket("/");
    let mut silent = rig.connect();
    rig.turn();
    rig.engine.drain(1012, 0);
    let taken = rig.engine.take_silent();
    assert_eq!((taken.len(), rig.engine.clients()), (1, 2));
    for transport in taken {
        other.engine.adopt(transport);
    }
    silent.send(upgrade("/", "").as_bytes());
    other.until("the other one accepts", |_| {
        silent.receive();
        silent.received.ends_with(b"\r\n\r\n")
    });
    rig.turn();
    assert_eq!(other.engine.clients(), 1);
}

async fn shout(mut ws: WebSocket) -> Result<(), Closed> {
    if ws.path() == "/secret" {
        return Ok(());
    }
    ws.handshake(Accept {
        subprotocol: Some("loud".to_owned()),
    })
    .await?;
    ws.subscribe("shouts")?;
    loop {
        let mut message = ws.recv().await?;
        match message.as_text() {
            Some("bye") => return ws.close(4000, "as you wish"),
            Some("all") => ws.publish("shouts", &message)?,
            Some(_) | None => {
                message.payload.to_mut().make_ascii_uppercase();
                ws.send(&message)?;
            }
        }
    }
}

#[test]
fn an_async_fn_serves_a_client() {
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(per_client(shout))));
    let mut peer = rig.connect();
    peer.send(upgrade("/", "Sec-WebSocket-Protocol: quiet, loud\r\n").as_bytes());
    rig.until("the handshake is answered", |_| {
        peer.receive();
        peer.received.ends_with(b"\r\n\r\n")
    });
    assert!(
        peer.text().contains("Sec-WebSocket-Protocol: loud\r\n"),
        "{}",
        peer.text()
    );
    peer.received.clear();
    let mut other = rig.websocket("/");
    peer.send(&masked(0x81, b"hello"));
    rig.expect(&mut peer, b"\x81\x05HELLO");
    peer.send(&masked(0x81, b"all"));
    rig.expect(&mut peer, b"\x81\x03all");
    rig.expect(&mut other, b"\x81\x03all");
    peer.send(&masked(0x81, b"bye"));
    rig.expect(&mut peer, b"\x88\x0d\x0f\xa0as you wish");
}

#[test]
fn an_async_fn_that_does_not_accept_refuses() {
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(per_client(shout))));
    let mut peer = rig.connect();
    peer.send(upgrade("/secret", "").as_bytes());
    rig.expect_end(&mut peer);
    assert!(peer.text().starts_with("HTTP/1.1 403 "), "{}", peer.text());
}
