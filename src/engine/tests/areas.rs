//! Ranges of areas on their way to clients: whole, in order, from the right place, or not at all.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;

use super::rig::{Peer, Rig, masked};
use crate::app::{
    App, AreaSendError, ClientId, Context, Message, PublishError, SendError, WebSocket, per_client,
};
use crate::protocol::websocket::{Closed, Kind};
use crate::sharedarea::{
    Announced, Announcement, Area, AreaError, AreaSize, AreaSource, AreaSpec, EntryFlags,
};

const MIB: u64 = 1 << 20;

fn spec(source: AreaSource, bytes: u64) -> AreaSpec {
    AreaSpec {
        source,
        size: AreaSize::Bytes(bytes),
        name: None,
        watch_ms: 0,
    }
}

fn rig(areas: Vec<AreaSpec>) -> Rig {
    Rig::new(|config| config.areas = areas)
}

fn memory(bytes: u64) -> Vec<AreaSpec> {
    vec![spec(AreaSource::Memory, bytes)]
}

impl Rig {
    fn announce(&mut self, channel: &str, flags: EntryFlags, range: Announced) {
        let time_us = 0;
        let announcement = Announcement {
            channel,
            flags,
            range,
            time_us,
        };
        self.until("the log takes an announcement", |rig| {
            rig.publisher.announce(&announcement).is_ok()
        });
    }

    fn plain(&self) -> Area {
        self.area.area(0).unwrap()
    }

    fn rescued_bytes(&self) -> usize {
        self.engine.core.rescued.bytes()
    }

    /// Turns until the peer has so many frames.
    fn frames(&mut self, peer: &mut Peer, count: usize) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        self.until("the frames come", |_| {
            peer.receive();
            frames.extend(peer.frames());
            frames.len() >= count
        });
        assert_eq!(frames.len(), count);
        frames
    }
}

/// A payload that shows which version it is, and whether it is of one piece.
fn version(number: u8, bytes: u64) -> Vec<u8> {
    vec![number; usize::try_from(bytes).unwrap()]
}

#[test]
fn an_announced_range_comes_between_the_messages_around_it() {
    let mut rig = rig(memory(4096));
    let mut peers = [rig.websocket("/news"), rig.websocket("/news")];
    let mut other = rig.websocket("/other");
    let area = rig.plain();
    area.write(100, "übermorgen".as_bytes()).unwrap();
    let range = area.announcement(100, Some(5)).unwrap();
    assert!(rig.publish("news", b"one"));
    rig.announce("news", EntryFlags::TEXT, range);
    assert!(rig.publish("news", b"two"));
    let range = area.announcement(4096 - 3, None).unwrap();
    rig.announce("news", EntryFlags::BINARY, range);
    rig.announce(
        "other",
        EntryFlags::BINARY,
        area.announcement(4096, None).unwrap(),
    );
    for peer in &mut peers {
        rig.expect(
            peer,
            b"\x81\x03one\x81\x05\xc3\xbcber\x81\x03two\x82\x03\0\0\0",
        );
    }
    rig.expect(&mut other, b"\x82\0");
    assert_eq!(rig.area.counters().stale, 0);
    assert_eq!(rig.area.counters().delivered, 9);
    assert!(rig.plain().info().readers.is_empty(), "a lock is left");
}

#[test]
fn a_range_of_a_channel_without_a_place_in_the_table_comes_too() {
    let name = "n".repeat(150);
    let mut rig = rig(memory(4096));
    let mut peer = rig.websocket(&format!("/{name}"));
    rig.plain().write(0, b"abc").unwrap();
    let range = rig.plain().announcement(0, Some(3)).unwrap();
    rig.announce(&name, EntryFlags::TEXT, range);
    rig.expect(&mut peer, b"\x81\x03abc");
}

#[test]
fn a_range_that_was_updated_or_is_locked_is_left_out_and_counted() {
    let mut rig = rig(memory(4096));
    let mut peer = rig.websocket("/news");
    let area = rig.plain();
    area.write(0, b"old").unwrap();
    let range = area.announcement(0, Some(3)).unwrap();
    rig.announce("news", EntryFlags::TEXT, range);
    area.write(2000, b"elsewhere").unwrap();
    rig.turn();
    assert_eq!(rig.area.counters().stale, 1);

    let range = area.announcement(0, Some(3)).unwrap();
    rig.announce("news", EntryFlags::TEXT, range);
    area.wlock().unwrap();
    rig.turn();
    area.unlock().unwrap();
    assert_eq!(rig.area.counters().stale, 2);
    assert!(rig.publish("news", b"next"));
    rig.expect(&mut peer, b"\x81\x04next");
}

#[test]
fn an_announcement_that_makes_no_sense_harms_nobody() {
    let mut rig = rig(memory(4096));
    let mut peer = rig.websocket("/news");
    let good = rig.plain().announcement(0, Some(1)).unwrap();
    for bad in [
        Announced { area: 7, ..good },
        Announced {
            position: 4096,
            ..good
        },
        Announced {
            position: u64::MAX,
            bytes: u32::MAX,
            ..good
        },
        Announced {
            bytes: u32::MAX,
            ..good
        },
    ] {
        rig.announce("news", EntryFlags::TEXT, bad);
    }
    assert!(rig.publish("news", b"next"));
    rig.expect(&mut peer, b"\x81\x04next");
}

#[test]
fn large_ranges_reach_slow_clients_whole_with_one_copy_for_all() {
    let mut rig = rig(memory(MIB));
    let mut peers: Vec<Peer> = (0..20).map(|_| rig.websocket("/news")).collect();
    let area = rig.plain();
    area.write(0, &version(1, MIB)).unwrap();
    let range = area.announcement(0, None).unwrap();
    rig.announce("news", EntryFlags::BINARY, range);
    rig.turn();
    let frame_bytes = usize::try_from(MIB).unwrap() + 10;
    assert_eq!(rig.rescued_bytes(), frame_bytes, "one copy");
    // They all are in the middle of it. Its place is written again, and again.
    area.write(0, &version(2, MIB)).unwrap();
    let range = area.announcement(0, None).unwrap();
    rig.announce("news", EntryFlags::BINARY, range);
    area.write(0, &version(3, MIB)).unwrap();
    let range = area.announcement(0, None).unwrap();
    rig.announce("news", EntryFlags::BINARY, range);
    for (at, peer) in peers.iter_mut().enumerate() {
        let frames = rig.frames(peer, 2);
        let versions: Vec<_> = frames.iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!(versions, [1, 3], "peer {at}");
        for (first, payload) in frames {
            assert_eq!(first, 0x82);
            assert!(payload == version(payload[0], MIB), "a torn frame");
        }
        assert!(rig.rescued_bytes() <= 2 * frame_bytes);
    }
    assert_eq!(rig.rescued_bytes(), 0);
    assert_eq!(rig.area.counters().stale, 20);
    assert_eq!(rig.area.counters().delivered, 40);
}

#[test]
fn who_cannot_take_anything_gets_the_range_later_if_it_still_is_the_same() {
    let mut rig = rig(memory(MIB));
    let mut peer = rig.websocket("/news");
    let area = rig.plain();
    let filler = vec![b'x'; 4000];
    let mut filled: usize = 0;
    // Until the socket is full.
    rig.until("the client is behind", |rig| {
        filled += usize::from(rig.publish("news", &filler));
        filled > 8 && rig.area.counters().delivered < filled as u64
    });
    area.write(0, b"abc").unwrap();
    let range = area.announcement(0, Some(3)).unwrap();
    rig.announce("news", EntryFlags::TEXT, range);
    assert!(rig.publish("news", b"last"));
    rig.turn();
    let frames = rig.frames(&mut peer, filled + 2);
    assert_eq!(frames[filled].1, b"abc");
    assert_eq!(frames[filled + 1].1, b"last");
    assert!(rig.publish("news", b"live again"));
    assert_eq!(rig.frames(&mut peer, 1)[0].1, b"live again");
    assert_eq!(rig.area.counters().stale, 0);
}

#[test]
fn a_range_of_a_file_comes_and_a_file_that_has_shrunk_harms_nobody() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"0123456789").unwrap();
    let path = file.path().to_owned();
    let mut rig = rig(vec![spec(AreaSource::File { path, offset: 2 }, 6)]);
    let mut peer = rig.websocket("/news");
    let range = rig.plain().announcement(1, None).unwrap();
    rig.announce("news", EntryFlags::TEXT, range);
    rig.expect(&mut peer, b"\x81\x0534567");
    file.as_file().set_len(4).unwrap();
    rig.announce("news", EntryFlags::TEXT, range);
    assert!(rig.publish("news", b"next"));
    rig.expect(&mut peer, b"\x81\x04next");
    assert_eq!(rig.area.counters().stale, 1);
}

type Answers = Rc<RefCell<Vec<Result<(), SendError>>>>;

/// Sends the range that a message names: area, position and length in words.
struct Ranges {
    answers: Answers,
}

impl App for Ranges {
    fn name(&self) -> &'static str {
        "ranges"
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, message: Message<'_>) {
        let text = message.as_text().unwrap();
        let numbers: Vec<u64> = text
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let (area, position) = (u8::try_from(numbers[0]).unwrap(), numbers[1]);
        let bytes = numbers.get(2).copied();
        let answer = cx.send_from_area(client, area, position, bytes, Kind::Binary);
        self.answers.borrow_mut().push(answer);
        if text.ends_with("all") {
            let _full = cx.send(client, &Message::text("and more"));
        }
    }
}

fn ranges(bytes: u64) -> (Rig, Answers) {
    let answers = Answers::default();
    let app = Ranges {
        answers: Rc::clone(&answers),
    };
    let change = |config: &mut crate::config::Config| config.areas = memory(bytes);
    (Rig::with_app(change, Some(Box::new(app))), answers)
}

#[test]
fn one_client_gets_the_range_from_the_right_place_or_an_error_and_nothing_else() {
    let (mut rig, answers) = ranges(4096);
    let mut peer = rig.websocket("/");
    rig.plain().write(0, b"ABCDEFGH").unwrap();
    peer.send(&masked(0x81, b"0 4 4"));
    rig.expect(&mut peer, b"\x82\x04EFGH");
    peer.send(&masked(0x81, b"0 4094"));
    rig.expect(&mut peer, b"\x82\x02\0\0");
    rig.plain().set_used(6).unwrap();
    peer.send(&masked(0x81, b"0 4"));
    rig.expect(&mut peer, b"\x82\x02EF");
    assert_eq!(answers.take(), [Ok(()); 3]);
    for wrong in [
        "1 0 1",
        "0 4096 1",
        "0 0 4097",
        "0 18446744073709551615 1",
        "0 7",
    ] {
        peer.send(&masked(0x81, wrong.as_bytes()));
        rig.until("the call fails", |_| !answers.borrow().is_empty());
        let answer = answers.take();
        assert!(matches!(answer[..], [Err(SendError::Area(_))]), "{wrong}");
    }
    peer.send(&masked(0x81, b"0 0 1"));
    rig.expect(&mut peer, b"\x82\x01A");
}

#[test]
fn a_large_range_to_one_client_is_finished_from_a_copy() {
    let (mut rig, answers) = ranges(MIB);
    let mut peer = rig.websocket("/");
    rig.plain().write(0, &version(1, MIB)).unwrap();
    peer.send(&masked(0x81, b"0 10 all"));
    rig.until("it is sent", |_| !answers.borrow().is_empty());
    rig.plain().write(0, &version(2, MIB)).unwrap();
    let frames = rig.frames(&mut peer, 2);
    assert!(frames[0] == (0x82, version(1, MIB - 10)), "a torn frame");
    assert_eq!(frames[1], (0x81, b"and more".to_vec()));
    assert_eq!(answers.take(), [Ok(())]);
}

#[test]
fn an_app_broadcasts_and_is_told_of_updates() {
    /// Announces what was updated.
    struct Announcer;
    impl App for Announcer {
        fn name(&self) -> &'static str {
            "announcer"
        }
        fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
            cx.subscribe(client, "frames").unwrap();
            cx.watch_area(0, true).unwrap();
            assert_eq!(cx.watch_area(1, true), Err(AreaError::NoArea));
            let outside = cx.broadcast_from_area(0, 4097, None, "frames", Kind::Text);
            assert!(matches!(outside, Err(PublishError::Area(_))));
        }
        fn message(&mut self, _: &mut Context<'_>, _: ClientId, _: Message<'_>) {}
        fn area_updated(&mut self, cx: &mut Context<'_>, area: u8, updates: u64) {
            if updates > 0 {
                let bytes = Some(updates);
                cx.broadcast_from_area(area, 1, bytes, "frames", Kind::Text)
                    .unwrap();
            }
        }
    }
    let change = |config: &mut crate::config::Config| config.areas = memory(4096);
    let mut rig = Rig::with_app(change, Some(Box::new(Announcer)));
    let mut peer = rig.websocket("/");
    rig.plain().write(0, b"abcdef").unwrap();
    rig.expect(&mut peer, b"\x81\x01b");
    rig.plain().update();
    rig.expect(&mut peer, b"\x81\x02bc");
}

#[test]
fn a_future_waits_for_an_area_and_sends_from_it() {
    async fn serve(mut ws: WebSocket) -> Result<(), Closed> {
        ws.handshake(crate::app::Accept::default()).await?;
        let mut seen = ws.area(0).unwrap().updates();
        assert_eq!(
            ws.send_from_area(0, 1..4098),
            Err(AreaSendError::Area(AreaError::OutOfBounds {
                position: 1,
                bytes: 4097,
                limit: 4096
            }))
        );
        assert!(ws.send_from_area(1, ..).is_err());
        loop {
            match ws.wait_area(0, seen).await {
                Ok(updates) => seen = updates,
                Err(AreaSendError::Closed(closed)) => return Err(closed),
                Err(AreaSendError::Area(error)) => panic!("{error}"),
            }
            ws.send_from_area(0, 0..2).unwrap();
            ws.send_binary_from_area(0, 4094..).unwrap();
        }
    }
    let change = |config: &mut crate::config::Config| config.areas = memory(4096);
    let mut rig = Rig::with_app(change, Some(Box::new(per_client(serve))));
    let mut peer = rig.websocket("/");
    for text in [b"ab", b"cd"] {
        rig.turn();
        rig.plain().write(0, text).unwrap();
        let expected = [b"\x81\x02", &text[..], b"\x82\x02\0\0"].concat();
        rig.expect(&mut peer, &expected);
    }
    drop(peer);
    rig.until("the client is gone", |rig| rig.engine.clients() == 0);
    rig.plain().update();
    rig.turn();
}
