//! Clients that read alternates beside clients that do not: who gets what, and that nobody gets it torn,
//! twice or out of order.

use flate2::{Decompress, FlushDecompress};

use super::handover::{move_all, turn};
use super::rig::{Peer, Rig, config_of, masked, upgrade};
use crate::app::{App, ClientId, Context, Message};
use crate::channel::{ChannelName, Variant};
use crate::engine::Engine;
use crate::net::Purpose;
use crate::sharedarea::ParticipantKind;

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const TEXT: u8 = 0x81;
/// With RSV1.
const DEFLATED: u8 = 0xc1;

/// A numbered text that shrinks to about half.
fn numbered(number: u32, bytes: usize) -> Vec<u8> {
    let mut text = format!("{number:06}").into_bytes();
    let mut state = u64::from(number) + 1;
    while text.len() < bytes {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        text.extend_from_slice(format!("{:04x} and ", state >> 48).as_bytes());
    }
    text.truncate(bytes);
    text
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut inflated = Vec::with_capacity(64 * 1024);
    Decompress::new(false)
        .decompress_vec(&input, &mut inflated, FlushDecompress::Sync)
        .expect("it can be inflated by itself");
    inflated
}

/// The messages that have come, with the first bytes of their frames.
fn messages(peer: &mut Peer) -> Vec<(u8, Vec<u8>)> {
    peer.receive();
    let frames = peer.frames().into_iter();
    let message = |(first, payload): (u8, Vec<u8>)| match first {
        DEFLATED => (first, inflate(&payload)),
        _ => (first, payload),
    };
    frames.map(message).collect()
}

/// The numbers of the messages that have come; how many of them were alternates.
fn take_numbers(peer: &mut Peer, numbers: &mut Vec<u32>) -> usize {
    let mut alternates = 0;
    for (first, text) in messages(peer) {
        assert!(first == TEXT || first == DEFLATED, "{first:#x}");
        let number = String::from_utf8_lossy(&text[..6]).parse().unwrap();
        assert_eq!(text, numbered(number, text.len()), "a torn message");
        alternates += usize::from(first == DEFLATED);
        numbers.push(number);
    }
    alternates
}

/// Turns until the peer has got so many messages.
fn expect_messages(rig: &mut Rig, peer: &mut Peer, count: usize) -> Vec<(u8, Vec<u8>)> {
    let mut got = Vec::new();
    rig.until("the messages come", |_| {
        got.extend(messages(peer));
        got.len() >= count
    });
    got
}

fn publish(rig: &mut Rig, channel: &str, payload: &[u8]) {
    rig.until("the log takes a message", |rig| {
        rig.publish(channel, payload)
    });
}

#[test]
fn who_deflates_gets_alternates_and_everybody_else_frames() {
    let mut rig = Rig::new(|_| {});
    let window = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12\r\n";
    let offers = [(DEFLATE, DEFLATED), (window, TEXT), ("", TEXT)];
    let mut peers = offers.map(|(offer, _)| rig.websocket_with("/news", offer));
    let texts = [8, 900, 20, 1000].map(|bytes| numbered(7, bytes));
    for text in &texts {
        publish(&mut rig, "news", text);
    }
    rig.engine.core.report_figures();
    let bytes_out_before = rig.area.figures(1).bytes_out;
    rig.until("all is counted", |rig| rig.area.counters().delivered == 12);
    let mut bytes = 0;
    for (peer, (offer, long)) in peers.iter_mut().zip(offers) {
        peer.receive();
        bytes += peer.received.len() as u64;
        let expected = [TEXT, long, TEXT, long].into_iter().zip(texts.clone());
        assert_eq!(messages(peer), expected.collect::<Vec<_>>(), "{offer}");
    }
    rig.engine.core.report_figures();
    assert_eq!(rig.area.figures(1).bytes_out - bytes_out_before, bytes);
}

#[test]
fn whose_compressor_has_a_memory_gets_frames() {
    let takeover = config_of(&["--websockets-deflate", "takeover"]).deflate;
    let mut rig = Rig::new(|config| config.deflate = takeover);
    let mut remembering = rig.websocket_with("/news", DEFLATE);
    let text = numbered(1, 1000);
    publish(&mut rig, "news", &text);
    assert_eq!(rig.area.entry(1).unwrap().alternate_bytes, 0);
    rig.turn();
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    let mut forgetting = rig.websocket_with("/news", offer);
    publish(&mut rig, "news", &text);
    assert!(rig.area.entry(2).unwrap().alternate_bytes > 0);
    let frame = (TEXT, text.clone());
    let got = expect_messages(&mut rig, &mut remembering, 2);
    assert_eq!(got, [frame.clone(), frame]);
    let got = expect_messages(&mut rig, &mut forgetting, 1);
    assert_eq!(got, [(DEFLATED, text)]);
}

#[test]
fn an_alternate_is_made_as_long_as_somebody_wants_it() {
    let mut rig = Rig::new(|_| {});
    let _plain = rig.websocket("/news");
    assert!(!rig.publisher.wants_alternate("news"));
    let first = rig.websocket_with("/news", DEFLATE);
    let second = rig.websocket_with("/other", DEFLATE);
    assert!(rig.publisher.wants_alternate("news") && rig.publisher.wants_alternate("other"));
    assert!(!rig.publisher.wants_alternate("nobody"));
    drop(first);
    rig.until("one has gone", |rig| rig.engine.clients() == 2);
    assert!(rig.publisher.wants_alternate("other"));
    drop(second);
    rig.until("both have gone", |rig| rig.engine.clients() == 1);
    assert!(!rig.publisher.wants_alternate("news"));
}

#[test]
fn what_clients_and_the_api_publish_is_deflated_too() {
    let mut rig = Rig::new(|config| config.clients_publish = true);
    let mut deflating = rig.websocket_with("/news", DEFLATE);
    let mut plain = rig.websocket("/news");
    let text = numbered(1, 500);
    plain.send(&masked(TEXT, &text));
    assert_eq!(
        expect_messages(&mut rig, &mut deflating, 1),
        [(DEFLATED, text.clone())]
    );
    let mut api = rig.connect_to(Purpose::Api);
    let request = format!(
        "POST /publish/news HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    api.send(request.as_bytes());
    api.send(&text);
    assert_eq!(
        expect_messages(&mut rig, &mut deflating, 1),
        [(DEFLATED, text.clone())]
    );
    assert_eq!(
        expect_messages(&mut rig, &mut plain, 2),
        [(TEXT, text.clone()), (TEXT, text)]
    );
}

#[test]
fn what_had_to_wait_for_room_is_deflated_and_what_has_none_is_not() {
    let mut rig = Rig::new(|_| {});
    let mut deflating = rig.websocket_with("/news", DEFLATE);
    let pinning = rig.area.join(ParticipantKind::Worker, 3).unwrap();
    assert!(pinning.pin(0));
    let channel = ChannelName::parse("news").unwrap();
    let mut count = 0;
    while rig.engine.core.waiting.is_empty() {
        let message = Message::text(String::from_utf8(numbered(count, 4000)).unwrap());
        rig.engine.core.publish_or_wait(channel, &message).unwrap();
        count += 1;
        rig.turn();
    }
    pinning.unpin();
    rig.turn();
    // The record would be larger than an eighth of the spool.
    publish(&mut rig, "news", &numbered(count, 6000));
    let got = expect_messages(&mut rig, &mut deflating, count as usize + 1);
    let firsts: Vec<u8> = got.iter().map(|(first, _)| *first).collect();
    let large = got.iter().position(|(_, text)| text.len() == 6000).unwrap();
    for (at, first) in firsts.into_iter().enumerate() {
        assert_eq!(first, if at == large { TEXT } else { DEFLATED }, "{at}");
    }
    assert_eq!(rig.engine.core.waiting_bytes, 0);
}

/// A fast and a slow client of each kind.
fn four(rig: &mut Rig) -> [(Peer, Vec<u32>, usize); 4] {
    let four = ["", "", DEFLATE, DEFLATE];
    let four = four.map(|more| (rig.websocket_with("/news", more), Vec::new(), 0));
    rig.narrow();
    four
}

/// Whether an alternate is half sent to one of the engine's clients.
fn is_mid_alternate(engine: &Engine) -> bool {
    let clients = engine.keys().into_iter();
    let mut clients = clients.filter_map(|key| engine.core.clients.get(key));
    clients.any(|client| client.is_mid_frame() && client.variant() == Variant::Alternate)
}

#[test]
fn all_kinds_of_slow_clients_catch_up_with_everything_in_order() {
    const MESSAGES: u32 = 3000;
    let mut rig = Rig::new(|config| config.spool_bytes = 16 * 1024 * 1024);
    let mut clients = four(&mut rig);
    for number in 0..MESSAGES {
        // Some are too short to have an alternate.
        let bytes = if number % 3 == 0 { 50 } else { 1500 };
        publish(&mut rig, "news", &numbered(number, bytes));
        if number % 50 == 0 {
            rig.turn();
            for (peer, numbers, alternates) in clients.iter_mut().step_by(2) {
                *alternates += take_numbers(peer, numbers);
            }
        }
    }
    rig.until("everybody has everything", |_| {
        for (peer, numbers, alternates) in &mut clients {
            *alternates += take_numbers(peer, numbers);
        }
        let has_all =
            |(_, numbers, _): &(Peer, Vec<u32>, usize)| numbers.len() >= MESSAGES as usize;
        clients.iter().all(has_all)
    });
    let expected: Vec<u32> = (0..MESSAGES).collect();
    for ((_, numbers, alternates), wanted) in clients.iter().zip([0, 0, 2000, 2000]) {
        assert_eq!(*numbers, expected);
        assert_eq!(*alternates, wanted);
    }
    rig.turn();
    assert_eq!(rig.area.counters().delivered, 4 * u64::from(MESSAGES));
    assert_eq!(rig.area.counters().lapped, 0);
}

#[test]
fn who_is_overtaken_within_an_alternate_gets_the_rest_of_it() {
    const MESSAGES: u32 = 300;
    const SPOOL_BYTES: u64 = 256 * 1024;
    // As a frame and as an alternate more than the socket takes.
    const BYTES: usize = 12_000;
    let mut rig = Rig::new(|config| config.spool_bytes = SPOOL_BYTES);
    let mut clients = four(&mut rig);
    let mut rescued = 0;
    for number in 0..MESSAGES {
        publish(&mut rig, "news", &numbered(number, BYTES));
        rig.until("the fast clients have it", |_| {
            let mut have_it = true;
            for (peer, numbers, alternates) in clients.iter_mut().step_by(2) {
                *alternates += take_numbers(peer, numbers);
                have_it &= numbers.last() == Some(&number);
            }
            have_it
        });
        rescued = rescued.max(rig.engine.core.rescued.bytes());
    }
    assert!(
        rig.area.horizon() > SPOOL_BYTES,
        "the spool has gone around"
    );
    assert!(
        rescued > BYTES + BYTES / 2,
        "a frame and an alternate were half sent: {rescued}"
    );
    for at in [1, 3] {
        let (peer, numbers, alternates) = &mut clients[at];
        rig.until("the close comes", |_| {
            for (first, text) in messages(peer) {
                if first == 0x88 {
                    return true;
                }
                let number = u32::try_from(numbers.len()).unwrap();
                assert_eq!(text, numbered(number, BYTES));
                *alternates += usize::from(first == DEFLATED);
                numbers.push(number);
            }
            false
        });
        assert!(!numbers.is_empty() && numbers.len() < MESSAGES as usize);
        assert_eq!(*alternates, if at == 3 { numbers.len() } else { 0 });
    }
    for (at, alternates) in [(0, 0), (2, MESSAGES as usize)] {
        assert_eq!(clients[at].1, (0..MESSAGES).collect::<Vec<_>>());
        assert_eq!(clients[at].2, alternates);
    }
}

#[test]
fn half_an_alternate_moves_to_another_worker() {
    let mut rig = Rig::new(|config| config.spool_bytes = 16 * 1024 * 1024);
    let mut other = rig.another_engine(2);
    let mut clients: Vec<(Peer, Vec<u32>)> = (0..12)
        .map(|at| if at % 2 == 0 { DEFLATE } else { "" })
        .map(|more| (rig.websocket_with("/news", more), Vec::new()))
        .collect();
    rig.narrow();
    let (mut here, mut published, mut alternates, mut halves) = (true, 0, 0, 0);
    for round in 0..150_usize {
        for _ in 0..round % 7 {
            let bytes = if round % 3 == 0 { 20_000 } else { 6 };
            publish(&mut rig, "news", &numbered(published, bytes));
            published += 1;
        }
        turn(&mut other);
        if round % 5 == 0 {
            let (from, to) = if here {
                (&mut rig.engine, &mut other)
            } else {
                (&mut other, &mut rig.engine)
            };
            halves += usize::from(is_mid_alternate(from));
            assert_eq!(move_all(from, to), clients.len());
            here = !here;
        }
        for (at, (peer, numbers)) in clients.iter_mut().enumerate() {
            // The later ones read ever less often.
            if round % (at / 2 + 1) == 0 {
                alternates += take_numbers(peer, numbers);
            }
        }
    }
    rig.until("everybody has everything", |_| {
        turn(&mut other);
        for (peer, numbers) in &mut clients {
            alternates += take_numbers(peer, numbers);
        }
        clients
            .iter()
            .all(|(_, numbers)| numbers.len() >= published as usize)
    });
    for (_, numbers) in &clients {
        assert_eq!(*numbers, (0..published).collect::<Vec<_>>());
    }
    assert!(alternates > 6 * 100 && halves > 5, "{alternates} {halves}");
    // Both workers know who is where.
    clients.clear();
    rig.until("all have gone", |rig| {
        turn(&mut other);
        rig.engine.clients() + other.clients() == 0
    });
    for worker in [rig.engine.participant(), other.participant()] {
        worker.set_wild(true);
        assert!(!worker.wants_alternate("news"));
    }
}

/// Each client listens to two channels.
struct Two;

impl App for Two {
    fn name(&self) -> &'static str {
        "two"
    }

    fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
        cx.subscribe(client, "first").unwrap();
        cx.subscribe(client, "second").unwrap();
    }

    fn message(&mut self, _: &mut Context<'_>, _: ClientId, _: Message<'_>) {}
}

#[test]
fn several_channels_come_in_one_order_as_alternates_and_as_frames() {
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(Two)));
    let mut peers = ["", DEFLATE].map(|more| rig.websocket_with("/", more));
    for number in 0..30_u32 {
        let channel = ["first", "second", "neither"][number as usize % 3];
        publish(
            &mut rig,
            channel,
            &numbered(number, 10 + 900 * (number as usize % 2)),
        );
    }
    for (peer, long) in peers.iter_mut().zip([TEXT, DEFLATED]) {
        let got = expect_messages(&mut rig, peer, 20);
        let numbers = (0..30_u32).filter(|number| number % 3 < 2);
        let expected = numbers.map(|number| {
            let is_long = number % 2 == 1;
            let text = numbered(number, if is_long { 910 } else { 10 });
            (if is_long { long } else { TEXT }, text)
        });
        assert_eq!(got, expected.collect::<Vec<_>>());
    }
}

#[test]
fn without_compression_nobody_reads_alternates() {
    let off = config_of(&["--websockets-deflate", "off"]).deflate;
    let mut rig = Rig::new(|config| config.deflate = off);
    let mut peer = rig.connect();
    peer.send(upgrade("/news", DEFLATE).as_bytes());
    rig.until("the handshake is answered", |_| {
        peer.receive();
        peer.received.ends_with(b"\r\n\r\n")
    });
    assert!(!peer.text().contains("permessage-deflate"));
    assert!(!rig.publisher.wants_alternate("news"));
}
