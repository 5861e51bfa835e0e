//! Workers that leave, run by hand: two in this process, with the master's ends of their control sockets.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mail::Letter;
use super::run::{Phase, Worker};
use super::{Mailboxes, Order, Report, Seat};
use crate::app::{Accept, App, Apps, WebSocket, per_client};
use crate::config::{Config, Environment};
use crate::engine::tests::rig::{Peer, masked, upgrade};
use crate::net::{Purpose, Transport};
use crate::protocol::websocket::{Closed, Kind, encode_frame};
use crate::sharedarea::{
    EntryFlags, Geometry, Participant, ParticipantKind, Publication, SharedArea,
};
use crate::sys::descriptors::{self, Received};

/// How long a condition may take before a test fails.
const PATIENCE_MS: u64 = 20_000;
const LONG_MS: u32 = 3_600_000;
/// Long enough for what a test does meanwhile to be seen, short enough to be waited for.
const SHORT_MS: u32 = 500;

/// A worker, and what the master has of it.
struct Seated {
    worker: Worker,
    control: OwnedFd,
    told_to_leave: Arc<AtomicBool>,
    gone: bool,
}

impl Seated {
    fn order(&self, order: Order) {
        descriptors::send(self.control.as_fd(), &order.encode(), &[]).unwrap();
    }

    fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        let mut packet = [0; 16];
        while let Ok(Received::Packet { bytes, .. }) =
            descriptors::receive(self.control.as_fd(), &mut packet)
        {
            reports.extend(Report::decode(&packet[..bytes]));
        }
        reports
    }

    fn turn(&mut self) {
        if !self.gone {
            self.gone = self.worker.turn().unwrap().is_break();
        }
    }

    fn connect(&mut self, purpose: Purpose) -> Peer {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let transport = Transport::new(theirs.into()).with_purpose(purpose);
        self.worker.engine.adopt(transport);
        Peer {
            stream: ours,
            received: Vec::new(),
            ended: false,
        }
    }

    fn client(&mut self) -> Peer {
        let mut peer = self.connect(Purpose::Clients);
        peer.send(upgrade("/news", "").as_bytes());
        self.until("the handshake is answered", |_| {
            peer.receive();
            peer.received.ends_with(b"\r\n\r\n")
        });
        peer.received.clear();
        peer
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start_ms = self.worker.engine.now_ms();
        while !done(self) {
            let waited_ms = self.worker.engine.now_ms() - start_ms;
            assert!(waited_ms < PATIENCE_MS, "this never happened: {what}");
            assert!(!self.gone, "it has left before this: {what}");
            self.turn();
        }
    }

    fn expect(&mut self, peer: &mut Peer, frames: &[(u8, &[u8])]) {
        let mut seen = Vec::new();
        self.until("the expected frames come", |_| {
            peer.receive();
            seen.extend(peer.frames());
            seen.len() >= frames.len()
        });
        let frames: Vec<(u8, Vec<u8>)> = frames
            .iter()
            .map(|(first, payload)| (*first, payload.to_vec()))
            .collect();
        assert_eq!(seen, frames);
    }

    /// Lets it take notice of everything that is there.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.turn();
        }
    }
}

/// Two workers in slots 1 and 2, and the shared area.
struct Pair {
    one: Seated,
    two: Seated,
    area: SharedArea,
    /// The sending end of the mailbox of the second.
    mailbox: OwnedFd,
    publisher: Participant,
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// 1012 and 1001 as a close frame has them.
const RESTART: (u8, &[u8]) = (CLOSE, &[0x03, 0xf4]);
const GOING_AWAY: (u8, &[u8]) = (CLOSE, &[0x03, 0xe9]);

/// Its clients cannot move.
async fn stay(mut ws: WebSocket) -> Result<(), Closed> {
    ws.handshake(Accept::default()).await?;
    ws.subscribe("news")?;
    loop {
        let message = ws.recv().await?;
        ws.send(&message)?;
    }
}

fn app_that_stays() -> Option<Box<dyn App>> {
    Some(Box::new(per_client(stay)))
}

fn pair(app: impl Fn() -> Option<Box<dyn App>>) -> Pair {
    let mut config = Config::new(&Environment::read());
    config.spool_bytes = 64 * 1024;
    config.clients_publish = true;
    config.drain_spread_ms = u64::from(LONG_MS);
    let geometry = Geometry {
        channels: config.channels_max,
        ..Geometry::with_spool(config.spool_bytes)
    };
    let area = SharedArea::create(geometry, 1, 0).unwrap();
    let publisher = area.join(ParticipantKind::Master, 0).unwrap();
    let boxes = [(); 2].map(|()| descriptors::packet_pair().unwrap());
    let seated = |slot: u16| {
        let (control, theirs) = descriptors::packet_pair().unwrap();
        let own = &boxes[usize::from(slot) - 1].0;
        let copy = |fd: &OwnedFd| fd.try_clone().unwrap();
        let seat = Seat {
            slot,
            generation: 1,
            config: config.clone(),
            listeners: Vec::new(),
            area: area.clone(),
            control: theirs,
            mailboxes: Mailboxes {
                own: copy(own),
                peers: boxes.iter().map(|(_, sender)| copy(sender)).collect(),
            },
            accepting: true,
        };
        let told_to_leave = Arc::new(AtomicBool::new(false));
        let apps = Apps::new(&config, app()).unwrap();
        let worker = Worker::start(seat, apps, Arc::clone(&told_to_leave)).unwrap();
        Seated {
            worker,
            control,
            told_to_leave,
            gone: false,
        }
    };
    let (one, two) = (seated(1), seated(2));
    assert_eq!(one.reports(), [Report::Ready]);
    let [_, (_, mailbox)] = boxes;
    Pair {
        one,
        two,
        area,
        mailbox,
        publisher,
    }
}

fn replace(mercy_ms: u32, timeout_ms: u32) -> Order {
    Order::Replace {
        by: 2,
        code: 1012,
        mercy_ms,
        timeout_ms,
    }
}

fn stop(timeout_ms: u32) -> Order {
    Order::Drain {
        code: 1001,
        timeout_ms,
    }
}

impl Pair {
    fn publish(&mut self, text: &str) {
        let mut frame = Vec::new();
        encode_frame(Kind::Text, text.as_bytes(), &mut frame);
        let publication = Publication {
            channel: "news",
            flags: EntryFlags::TEXT,
            parts: &[&frame],
            alternate: &[],
            origin: 0,
            time_us: 0,
        };
        self.publisher.publish(&publication).unwrap();
    }

    /// The first worker has moved whom it could, and shows mercy.
    fn show_mercy(&mut self, mercy_ms: u32, timeout_ms: u32) {
        self.one.order(replace(mercy_ms, timeout_ms));
        let mut reports = Vec::new();
        self.one.until("it reports that clients are left", |one| {
            reports.extend(one.reports());
            !reports.is_empty()
        });
        assert_eq!(reports, [Report::Moved]);
    }
}

#[test]
fn who_cannot_move_is_served_in_full_until_mercy_ends() {
    let mut pair = pair(app_that_stays);
    let mut peers = [pair.one.client(), pair.one.client()];
    pair.show_mercy(SHORT_MS, LONG_MS);
    pair.publish("to all");
    for peer in &mut peers {
        peer.send(&masked(TEXT, b"hello"));
        peer.send(&masked(0x89, b"?"));
        let mut seen = Vec::new();
        pair.one.until("all three come", |_| {
            peer.receive();
            seen.extend(peer.frames());
            seen.len() == 3
        });
        seen.sort();
        let expected = [(TEXT, &b"hello"[..]), (TEXT, b"to all"), (PONG, b"?")];
        let seen: Vec<_> = seen
            .iter()
            .map(|(first, text)| (*first, &text[..]))
            .collect();
        assert_eq!(seen, expected);
    }
    assert!(!pair.one.gone);
    // Then they are told, one after the other.
    pair.one.expect(&mut peers[0], &[RESTART]);
    assert_eq!(pair.one.worker.engine.clients(), 2);
    drop(peers);
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.one.reports(), [Report::Drained]);
}

#[test]
fn mercy_ends_when_nobody_needs_it_any_more() {
    let mut pair = pair(app_that_stays);
    let peer = pair.one.client();
    pair.show_mercy(LONG_MS, LONG_MS);
    pair.one.settle();
    assert!(!pair.one.gone);
    drop(peer);
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.one.reports(), [Report::Drained]);
}

#[test]
fn without_mercy_they_are_told_at_once_and_nobody_is_said_to_be_left() {
    let mut pair = pair(app_that_stays);
    let mut peer = pair.one.client();
    pair.one.order(replace(0, LONG_MS));
    pair.one.expect(&mut peer, &[RESTART]);
    assert_eq!(pair.one.reports(), []);
}

#[test]
fn with_mercy_who_can_move_moves_all_the_same() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    pair.one.order(replace(LONG_MS, LONG_MS));
    let two = &mut pair.two;
    pair.one.until("it leaves", |one| {
        two.turn();
        one.gone
    });
    assert_eq!(pair.one.reports(), [Report::Drained]);
    pair.publish("moved");
    pair.two.expect(&mut peer, &[(TEXT, b"moved")]);
}

#[test]
fn a_connection_with_half_a_request_is_served_until_mercy_ends() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.connect(Purpose::Api);
    peer.send(b"POST /publish/news HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    pair.one.settle();
    pair.show_mercy(LONG_MS, LONG_MS);
    for request in [&b"llo"[..], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        peer.send(request);
        pair.one.until("it is answered", |_| {
            peer.receive();
            peer.text().starts_with("HTTP/1.1 200")
        });
        peer.received.clear();
    }
    assert_eq!(pair.area.counters().published, 1);
    drop(peer);
    pair.one.until("it leaves", |one| one.gone);
}

#[test]
fn who_can_move_when_mercy_ends_moves_then() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.connect(Purpose::Api);
    peer.send(b"POST /publish/news HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    pair.one.settle();
    pair.show_mercy(SHORT_MS, LONG_MS);
    peer.send(b"llo");
    let two = &mut pair.two;
    pair.one.until("it leaves", |one| {
        two.turn();
        one.gone
    });
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    pair.two.until("both are answered", |_| {
        peer.receive();
        peer.text().matches("HTTP/1.1 200").count() == 2
    });
}

#[test]
fn a_stop_ends_mercy_at_once() {
    let mut pair = pair(app_that_stays);
    let mut peers = [pair.one.client(), pair.one.client()];
    pair.show_mercy(LONG_MS, LONG_MS);
    pair.one.order(stop(SHORT_MS));
    for peer in &mut peers {
        pair.one.expect(peer, &[GOING_AWAY]);
    }
    // They do not answer.
    pair.one.until("its time is up", |one| one.gone);
    assert_eq!(pair.one.reports(), []);
}

#[test]
fn mercy_ends_for_a_single_worker_that_is_told_to_leave_and_for_an_orphan() {
    for orphan in [false, true] {
        let mut pair = pair(app_that_stays);
        let mut peer = pair.one.client();
        pair.show_mercy(LONG_MS, LONG_MS);
        if orphan {
            pair.one.control = descriptors::packet_pair().unwrap().0;
        } else {
            pair.one.told_to_leave.store(true, Ordering::Relaxed);
        }
        pair.one.expect(&mut peer, &[GOING_AWAY]);
    }
}

#[test]
fn a_stop_hurries_the_farewells_of_a_reload() {
    let mut pair = pair(app_that_stays);
    let mut peers = [pair.one.client(), pair.one.client(), pair.one.client()];
    // They would be told over half an hour.
    pair.one.order(replace(0, LONG_MS));
    let mut told = Vec::new();
    let mut see = |peers: &mut [Peer], at_least: usize, one: &mut Seated| {
        one.until("they are told", |_| {
            for peer in &mut *peers {
                peer.receive();
                told.extend(peer.frames());
            }
            told.len() >= at_least
        });
        told.clone()
    };
    assert_eq!(see(&mut peers, 1, &mut pair.one), [(CLOSE, vec![3, 0xf4])]);
    pair.one.order(stop(SHORT_MS));
    let told = see(&mut peers, 3, &mut pair.one);
    let away = (CLOSE, vec![3, 0xe9]);
    assert_eq!(told[1..], [away.clone(), away], "each is told once");
    pair.one.until("the time of the stop is up", |one| one.gone);
}

#[test]
fn a_second_order_gives_nobody_more_time() {
    let mut pair = pair(app_that_stays);
    let _peer = pair.one.client();
    pair.one.order(replace(0, SHORT_MS));
    pair.one.settle();
    let before = pair.one.worker.phase;
    assert!(matches!(before, Phase::Draining { .. }));
    pair.one.order(stop(LONG_MS));
    pair.one.settle();
    assert_eq!(pair.one.worker.phase, before);
}

#[test]
fn moving_that_does_not_get_on_is_given_up() {
    let mut pair = pair(|| None);
    let mut peer = pair.one.client();
    // Nothing more goes into the mailbox of the other, who does not look.
    let nothing = Letter::Abort { from: 9, batch: 9 }.encode();
    while descriptors::send(pair.mailbox.as_fd(), &nothing, &[]).is_ok() {}
    pair.one.order(replace(0, SHORT_MS));
    pair.one.expect(&mut peer, &[RESTART]);
    pair.one.until("it leaves", |one| one.gone);
}

#[test]
fn who_is_leaving_takes_nobody_in() {
    let mut pair = pair(|| None);
    let mut peer = pair.two.client();
    pair.two.order(Order::GiveAway { to: 1, clients: 1 });
    pair.two.settle();
    // The offer is on its way.
    pair.one
        .worker
        .give_place(2, 1012, LONG_MS, LONG_MS)
        .unwrap();
    pair.one.settle();
    pair.two.settle();
    let clients = |seated: &Seated| seated.worker.engine.clients();
    assert_eq!((clients(&pair.one), clients(&pair.two)), (0, 1));
    pair.publish("still there");
    pair.two.expect(&mut peer, &[(TEXT, b"still there")]);
}

/// A client publishes until something has to wait for the log; how many messages those were.
fn fill_the_log(one: &mut Seated, peer: &mut Peer) -> u64 {
    let frame = masked(TEXT, &[b'x'; 7_000]);
    let mut sent = 0;
    one.until("the log takes no more", |one| {
        peer.receive();
        let full = one.worker.engine.unpublished() > 0;
        if !full {
            peer.send(&frame);
            sent += 1;
        }
        full
    });
    sent
}

#[test]
fn a_worker_does_not_leave_before_the_log_has_taken_what_it_has() {
    let mut pair = pair(|| None);
    let pinning = pair.area.join(ParticipantKind::External, 5).unwrap();
    assert!(pinning.pin(0));
    let mut peer = pair.one.client();
    let sent = fill_the_log(&mut pair.one, &mut peer);
    pair.one.settle();
    drop(peer);
    pair.one.order(stop(LONG_MS));
    pair.one
        .until("the client is gone", |one| one.worker.engine.clients() == 0);
    pair.one.settle();
    assert!(!pair.one.gone, "what it was given is not in the log yet");
    pinning.unpin();
    pair.one.until("it leaves", |one| one.gone);
    assert_eq!(pair.area.counters().published, sent);
}

#[test]
fn a_log_that_takes_nothing_holds_nobody_for_ever() {
    let mut pair = pair(|| None);
    let pinning = pair.area.join(ParticipantKind::External, 5).unwrap();
    assert!(pinning.pin(0));
    let mut peer = pair.one.client();
    fill_the_log(&mut pair.one, &mut peer);
    drop(peer);
    pair.one.order(stop(SHORT_MS));
    pair.one.until("it leaves", |one| one.gone);
    assert!(pair.one.worker.engine.unpublished() > 0);
}
