//! Clients that move between the engines of two workers, and never notice.

use std::os::fd::AsFd;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::rig::{Peer, Rig, masked, upgrade};
use crate::app::{Message, Operations, WebSocket, per_client};
use crate::engine::{Arrival, Engine, Shipment};
use crate::event_loop::Key;
use crate::protocol::websocket::Closed;

/// Freezes every client of `from` that can be moved and gives it to `to`, frozen there.
fn ship(from: &mut Engine, to: &mut Engine) -> Vec<(Shipment, Arrival)> {
    let keys = from.keys();
    let shipments: Vec<Shipment> = keys
        .into_iter()
        .filter_map(|key| from.freeze(key))
        .collect();
    let mut shipped = Vec::new();
    for shipment in shipments {
        let fd = from
            .descriptor(&shipment)
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .unwrap();
        let arrival = to
            .receive_frozen(fd, &shipment.record)
            .expect("it is taken");
        shipped.push((shipment, arrival));
    }
    shipped
}

/// Moves every client that can be moved; how many those were.
pub(super) fn move_all(from: &mut Engine, to: &mut Engine) -> usize {
    let shipped = ship(from, to);
    let count = shipped.len();
    for (shipment, arrival) in shipped {
        let late = from.late(&shipment).expect("nothing has changed");
        from.release(&shipment);
        to.admit(&arrival, &late);
    }
    count
}

pub(super) fn turn(engine: &mut Engine) {
    let mut others = Vec::new();
    engine.turn(Duration::ZERO, &mut others).unwrap();
}

/// Both engines turn until `done`.
fn until(rig: &mut Rig, other: &mut Engine, what: &str, mut done: impl FnMut() -> bool) {
    rig.until(what, |_| {
        turn(other);
        done()
    });
}

fn numbers(peer: &mut Peer, into: &mut Vec<u32>) {
    peer.receive();
    for (first, payload) in peer.frames() {
        assert_eq!(first, 0x81, "only messages were published");
        into.push(
            String::from_utf8_lossy(&payload[..6])
                .parse()
                .expect("a number"),
        );
    }
}

#[test]
fn everything_published_comes_once_and_in_order_while_clients_move() {
    let mut rig = Rig::new(|config| config.spool_bytes = 16 * 1024 * 1024);
    let mut other = rig.another_engine(2);
    let mut peers: Vec<Peer> = (0..20).map(|_| rig.websocket("/news")).collect();
    let mut seen = vec![Vec::new(); peers.len()];
    let (mut here, mut published) = (true, 0);
    for round in 0..200_u32 {
        for _ in 0..round % 7 {
            // Long ones fill the sockets of those who do not read for a while.
            let text = format!(
                "{published:06}{}",
                "x".repeat(if round % 3 == 0 { 9000 } else { 3 })
            );
            assert!(rig.publish("news", text.as_bytes()));
            published += 1;
        }
        // One worker may be behind the other when a client comes.
        match round % 4 {
            0 => turn(&mut rig.engine),
            1 => turn(&mut other),
            _ => {}
        }
        if round % 5 == 0 {
            let (from, to) = if here {
                (&mut rig.engine, &mut other)
            } else {
                (&mut other, &mut rig.engine)
            };
            assert_eq!(move_all(from, to), peers.len());
            here = !here;
        }
        for (at, peer) in peers.iter_mut().enumerate() {
            // The later ones read ever less often.
            if (round as usize).is_multiple_of(at + 1) {
                numbers(peer, &mut seen[at]);
            }
        }
    }
    until(&mut rig, &mut other, "everybody has everything", || {
        for (peer, seen) in peers.iter_mut().zip(&mut seen) {
            numbers(peer, seen);
        }
        seen.iter().all(|seen| seen.len() >= published)
    });
    let expected: Vec<u32> = (0..u32::try_from(published).unwrap()).collect();
    for seen in seen {
        assert_eq!(seen, expected);
    }
}

#[test]
fn half_a_message_and_half_an_answer_move_too() {
    let mut rig = Rig::new(|config| config.app = Some("echo".to_owned()));
    let mut other = rig.another_engine(2);
    let mut peer = rig.websocket("/");
    let payload: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let frame = masked(0x82, &payload);
    let mut sent = 0;
    for round in 0.. {
        sent += peer.send_some(&frame[sent..frame.len().min(sent + 33_000)]);
        rig.turn();
        turn(&mut other);
        let here = round % 2 == 0;
        let (from, to) = if here {
            (&mut rig.engine, &mut other)
        } else {
            (&mut other, &mut rig.engine)
        };
        assert_eq!(move_all(from, to), 1);
        if sent == frame.len() {
            break;
        }
    }
    // Now the answer does not fit into the socket: it moves in pieces, too.
    for _ in 0..20 {
        move_all(&mut rig.engine, &mut other);
        turn(&mut other);
        peer.receive();
        move_all(&mut other, &mut rig.engine);
        rig.turn();
    }
    until(&mut rig, &mut other, "the answer comes", || {
        peer.receive();
        peer.received.len() == payload.len() + 10
    });
    assert_eq!(peer.frames(), [(0x82, payload)]);
}

#[test]
fn a_client_that_is_given_back_has_missed_nothing() {
    let mut rig = Rig::new(|_| {});
    let mut other = rig.another_engine(2);
    let mut peer = rig.websocket("/news");
    let shipped = ship(&mut rig.engine, &mut other);
    assert_eq!(shipped.len(), 1);
    assert!(rig.publish("news", b"while frozen"));
    peer.send(&masked(0x89, b"?"));
    rig.turn();
    turn(&mut other);
    peer.receive();
    assert_eq!(peer.received, b"", "a frozen client is left alone");
    for (shipment, arrival) in shipped {
        other.turn_away(&arrival);
        rig.engine.give_back(&shipment);
    }
    let mut frames = Vec::new();
    until(&mut rig, &mut other, "both have come", || {
        peer.receive();
        frames.extend(peer.frames());
        frames.len() == 2
    });
    frames.sort();
    assert_eq!(
        frames,
        [(0x81, b"while frozen".to_vec()), (0x8a, b"?".to_vec())]
    );
    assert_eq!((rig.engine.clients(), other.clients()), (1, 0));
}

#[test]
fn a_kept_connection_moves_between_its_requests_and_in_the_middle_of_one() {
    let mut rig = Rig::new(|_| {});
    let mut other = rig.another_engine(2);
    let mut peer = rig.connect();
    peer.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    until(&mut rig, &mut other, "the first answer comes", || {
        peer.receive();
        peer.text().starts_with("HTTP/1.1 200")
    });
    peer.received.clear();
    let request = upgrade("/news", "");
    let (first, second) = request.split_at(40);
    assert_eq!(move_all(&mut rig.engine, &mut other), 1);
    peer.send(first.as_bytes());
    turn(&mut other);
    assert_eq!(move_all(&mut other, &mut rig.engine), 1);
    peer.send(second.as_bytes());
    until(&mut rig, &mut other, "the upgrade is answered", || {
        peer.receive();
        peer.text().starts_with("HTTP/1.1 101")
    });
}

#[test]
fn what_an_app_has_on_its_stack_stays() {
    async fn wait(mut ws: WebSocket) -> Result<(), Closed> {
        ws.handshake(crate::app::Accept::default()).await?;
        loop {
            ws.recv().await?;
        }
    }
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(per_client(wait))));
    let peer = rig.websocket("/");
    let key = rig.engine.keys()[0];
    assert!(rig.engine.freeze(key).is_none());
    drop(peer);
}

#[test]
fn nonsense_from_another_worker_is_turned_away() {
    let mut rig = Rig::new(|_| {});
    let peer = rig.connect();
    let fd = peer.stream.as_fd().try_clone_to_owned().unwrap();
    assert!(rig.engine.receive_frozen(fd, b"\x01nonsense").is_none());
    assert_eq!(rig.engine.clients(), 1);
}

#[test]
fn a_publishing_client_may_publish_after_the_move() {
    let mut rig = Rig::new(|config| config.clients_publish = true);
    let mut other = rig.another_engine(2);
    let mut peer = rig.websocket("/news");
    assert_eq!(move_all(&mut rig.engine, &mut other), 1);
    peer.send(&masked(0x81, b"hello"));
    until(&mut rig, &mut other, "it comes back", || {
        peer.receive();
        peer.received == b"\x81\x05hello"
    });
}

/// A client that compresses with context takeover in both directions.
struct Talker {
    peer: Peer,
    compress: Compress,
    decompress: Decompress,
}

impl Talker {
    fn new(rig: &mut Rig) -> Self {
        let mut peer = rig.connect();
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        peer.send(upgrade("/", offer).as_bytes());
        rig.until("the handshake is answered", |_| {
            peer.receive();
            peer.received.ends_with(b"\r\n\r\n")
        });
        let answer = peer.text();
        assert!(
            answer.contains("permessage-deflate") && !answer.contains("no_context_takeover"),
            "{answer}"
        );
        peer.received.clear();
        Self {
            peer,
            compress: Compress::new(Compression::new(9), false),
            decompress: Decompress::new(false),
        }
    }

    fn say(&mut self, text: &str) {
        let mut deflated = Vec::with_capacity(text.len() + 100);
        self.compress
            .compress_vec(text.as_bytes(), &mut deflated, FlushCompress::Sync)
            .unwrap();
        deflated.truncate(deflated.len() - 4);
        self.peer.send(&masked(0xc1, &deflated));
    }

    /// The next compressed messages that have come.
    fn hear(&mut self) -> Vec<String> {
        self.peer.receive();
        let inflate = |(first, mut payload): (u8, Vec<u8>)| {
            assert_eq!(first, 0xc1, "it is worth compressing");
            payload.extend([0, 0, 0xff, 0xff]);
            let mut inflated = Vec::with_capacity(100_000);
            self.decompress
                .decompress_vec(&payload, &mut inflated, FlushDecompress::Sync)
                .expect("it is understood");
            String::from_utf8(inflated).expect("it is what was said")
        };
        self.peer.frames().into_iter().map(inflate).collect()
    }
}

fn with_takeover(config: &mut crate::config::Config) {
    config.app = Some("echo".to_owned());
    config.deflate.server_no_context_takeover = false;
    config.deflate.client_no_context_takeover = false;
}

/// Long enough to be compressed, and different for each client and number.
fn line(client: usize, number: usize) -> String {
    let words: Vec<String> = (0..60)
        .map(|n| format!("{client}-{}", (n * n + number) % 97))
        .collect();
    words.join(" ")
}

#[test]
fn what_compressors_remember_moves_and_is_never_mixed_up() {
    let mut rig = Rig::new(with_takeover);
    let mut other = rig.another_engine(2);
    let mut talkers: Vec<Talker> = (0..5).map(|_| Talker::new(&mut rig)).collect();
    for number in 0..40 {
        for (client, talker) in talkers.iter_mut().enumerate() {
            talker.say(&line(client, number));
        }
        // Some have been read by one worker when they move, some are read by the next.
        match number % 3 {
            0 => rig.turn(),
            1 => turn(&mut other),
            _ => {}
        }
        let (from, to) = if number % 2 == 0 {
            (&mut rig.engine, &mut other)
        } else {
            (&mut other, &mut rig.engine)
        };
        if number % 5 == 0 {
            for (shipment, arrival) in ship(from, to).into_iter().rev() {
                to.turn_away(&arrival);
                from.give_back(&shipment);
            }
        }
        assert_eq!(move_all(from, to), talkers.len());
        for (client, talker) in talkers.iter_mut().enumerate() {
            let mut heard = Vec::new();
            until(&mut rig, &mut other, "the echo comes", || {
                heard.extend(talker.hear());
                !heard.is_empty()
            });
            assert_eq!(heard, [line(client, number)]);
        }
    }
}

#[test]
fn what_is_said_at_the_new_worker_comes_behind_what_was_said_at_the_old_one() {
    fn say(engine: &mut Engine, key: Key, text: &str) {
        let sent = engine.core.send(key, &Message::text(text.to_owned()));
        sent.expect("it is open");
    }
    let mut rig = Rig::new(with_takeover);
    let mut other = rig.another_engine(2);
    let mut talker = Talker::new(&mut rig);
    let texts: Vec<String> = (0..4).map(|number| line(0, number)).collect();
    let key = rig.engine.keys()[0];
    say(&mut rig.engine, key, &texts[0]);
    for (shipment, arrival) in ship(&mut rig.engine, &mut other) {
        let there = other.keys()[0];
        say(&mut other, there, &texts[2]);
        say(&mut rig.engine, key, &texts[1]);
        say(&mut other, there, &texts[3]);
        let late = rig.engine.late(&shipment).expect("it is still open");
        rig.engine.release(&shipment);
        other.admit(&arrival, &late);
    }
    let mut heard = Vec::new();
    until(&mut rig, &mut other, "all have come", || {
        heard.extend(talker.hear());
        heard.len() >= texts.len()
    });
    assert_eq!(heard, texts);
}

#[test]
fn who_breaks_off_within_a_compressed_block_stays_and_is_refused() {
    let mut rig = Rig::new(with_takeover);
    let mut peer = Talker::new(&mut rig).peer;
    // A stored block of fifty bytes, of which two come.
    peer.send(&masked(0xc2, &[0, 50, 0, 205, 255, b'a', b'b']));
    rig.expect(&mut peer, b"\x82\x06ab\0\0\xff\xff");
    let key = rig.engine.keys()[0];
    assert!(rig.engine.freeze(key).is_none());
    assert_eq!(rig.engine.clients(), 1);
    peer.send(&masked(0xc2, &[0, 1, 0, 0xfe, 0xff, b'c', 0]));
    rig.until("it is told so", |_| {
        peer.receive();
        !peer.received.is_empty()
    });
    assert_eq!(peer.frames()[0].0, 0x88, "a close frame");
}
