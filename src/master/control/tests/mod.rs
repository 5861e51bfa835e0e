//! The control server with real sockets and a real area, without a master around it.

mod heritage;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::{PollFd, PollTimeout, poll};

use super::AreaRequest;
use super::frames::{Answer, Frames, Request};
use super::server::{ControlServer, Hub};

use crate::protocol::websocket::{Codec, DeflatePolicy, Kind, Limits};
use crate::sharedarea::{
    AreaSize, AreaSource, AreaSpec, Geometry, Participant, ParticipantKind, SharedArea,
};
use crate::status::Status;

const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// A verb.
struct Peer {
    stream: UnixStream,
    frames: Frames,
}

struct Bench {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    server: ControlServer,
    area: SharedArea,
    participant: Participant,
    codec: Codec,
    now_ms: u64,
}

fn status() -> Status {
    Status {
        instance: "bench".into(),
        ..Status::default()
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let spec = AreaSpec {
            source: AreaSource::Memory,
            size: AreaSize::Pages(1),
            name: Some("frames".into()),
            watch_ms: 0,
        };
        area.make_areas(&[spec]).unwrap();
        let participant = area.join(ParticipantKind::Master, 0).unwrap();
        Self {
            _folder: folder,
            path,
            server: ControlServer::new(listener, MESSAGE_BYTES_MAX),
            area,
            participant,
            codec: Codec::new(Limits::default(), DeflatePolicy::default()),
            now_ms: 0,
        }
    }

    fn connect(&self) -> Peer {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        let frames = Frames::new(1 << 20);
        Peer { stream, frames }
    }

    /// A turn of the master's loop that does not wait; true if something was ready.
    fn turn(&mut self, workers: &[u16]) -> bool {
        let (names, mut set): (Vec<_>, Vec<_>) = self
            .server
            .sources()
            .into_iter()
            .map(|(source, fd, flags)| (source, PollFd::new(fd, flags)))
            .unzip();
        poll(&mut set, PollTimeout::ZERO).unwrap();
        let ready: Vec<_> = names
            .into_iter()
            .zip(set.iter().map(|fd| fd.revents().unwrap()))
            .filter(|(_, flags)| !flags.is_empty())
            .collect();
        let mut hub = Hub {
            area: &self.area,
            participant: &mut self.participant,
            codec: &mut self.codec,
            workers,
            status: &status,
            now_ms: self.now_ms,
            wall_us: 7,
        };
        for (source, flags) in &ready {
            self.server.ready(*source, *flags, &mut hub);
        }
        self.server.turn(&mut hub);
        !ready.is_empty()
    }

    fn settle(&mut self) {
        while self.turn(&[]) {}
    }

    /// Sends a request and turns until everything is quiet.
    fn ask(&mut self, peer: &mut Peer, request: &Request) {
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        peer.stream.write_all(&bytes).unwrap();
        self.settle();
    }

    /// The request of somebody new is refused, in these words among others.
    fn refuses(&mut self, request: &Request, words: &str) {
        let mut peer = self.connect();
        self.ask(&mut peer, request);
        let answer = peer.answers().remove(0);
        let Answer::Refused { reason } = &answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains(words), "{reason}");
    }

    fn publish(&mut self, text: &str) -> Answer {
        let mut peer = self.connect();
        self.ask(&mut peer, &publication("news", text));
        peer.answers().remove(0)
    }
}

fn publication(channel: &str, text: &str) -> Request {
    Request::Publish {
        channel: channel.into(),
        kind: Kind::Text,
        payload: text.into(),
    }
}

impl Peer {
    /// What has come, without waiting.
    fn answers(&mut self) -> Vec<Answer> {
        let mut bytes = Vec::new();
        // It ends with "would block" or at the end of the stream.
        let _end = self.stream.read_to_end(&mut bytes);
        self.frames.push(&bytes);
        std::iter::from_fn(|| self.frames.answer().unwrap()).collect()
    }
}

#[test]
fn a_publication_is_answered_when_the_workers_have_passed_it() {
    let mut bench = Bench::new();
    let worker = bench.area.join(ParticipantKind::Worker, 1).unwrap();
    let mut peer = bench.connect();
    let mut bytes = Vec::new();
    publication("news", "hello").write(&mut bytes);
    // The next request comes together with it and is served afterwards.
    Request::Status.write(&mut bytes);
    peer.stream.write_all(&bytes).unwrap();
    while bench.turn(&[1]) {}
    assert_eq!(peer.answers(), []);
    assert!(bench.server.next_timeout_ms().is_some());
    worker.set_cursor(1);
    bench.turn(&[1]);
    let answers = peer.answers();
    let published = Answer::Published {
        reached: 1,
        workers: 1,
        seq: 1,
    };
    assert_eq!(answers.first(), Some(&published));
    assert!(matches!(answers.get(1), Some(Answer::Status { .. })));
    assert_eq!(bench.server.next_timeout_ms(), None);
}

#[test]
fn a_worker_that_does_not_turn_is_not_waited_for_longer_than_a_second() {
    let mut bench = Bench::new();
    let _stuck = bench.area.join(ParticipantKind::Worker, 1).unwrap();
    let mut peer = bench.connect();
    let mut bytes = Vec::new();
    publication("news", "hello").write(&mut bytes);
    peer.stream.write_all(&bytes).unwrap();
    while bench.turn(&[1]) {}
    while bench.now_ms < 1_000 {
        assert_eq!(peer.answers(), []);
        bench.now_ms = bench.server.next_timeout_ms().unwrap();
        bench.turn(&[1]);
    }
    let published = Answer::Published {
        reached: 0,
        workers: 1,
        seq: 1,
    };
    assert_eq!(peer.answers(), [published]);
}

#[test]
fn what_cannot_be_published_is_refused_in_words() {
    let mut bench = Bench::new();
    for (request, words) in [
        (publication("", "x"), "needs a name"),
        (publication("a\nb", "x"), "control characters"),
        (
            Request::Publish {
                channel: "news".into(),
                kind: Kind::Text,
                payload: vec![0xff],
            },
            "not UTF-8",
        ),
        (
            Request::Tail {
                channel: String::new(),
            },
            "needs a name",
        ),
    ] {
        bench.refuses(&request, words);
    }
    assert_eq!(bench.area.head(), 0);
}

#[test]
fn a_frame_too_long_is_refused_before_it_is_there() {
    let mut bench = Bench::new();
    let mut peer = bench.connect();
    peer.stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    bench.settle();
    assert!(matches!(peer.answers()[..], [Answer::Refused { .. }]));
    assert_eq!(
        peer.stream.read(&mut [0]).unwrap(),
        0,
        "and the connection ends"
    );
}

#[test]
fn several_tails_show_what_is_published_from_now_on() {
    let mut bench = Bench::new();
    bench.publish("before");
    let mut tails: Vec<Peer> = (0..3).map(|_| bench.connect()).collect();
    for tail in &mut tails {
        bench.ask(
            tail,
            &Request::Tail {
                channel: "news".into(),
            },
        );
        assert_eq!(tail.answers(), [Answer::Tailing]);
    }
    let index = bench.participant.channel("news").unwrap();
    assert_eq!(bench.area.channel(index).unwrap().subscribers[0], 3);
    bench.publish("hello");
    for tail in &mut tails {
        let message = Answer::Message {
            kind: Kind::Text,
            time_us: 7,
            payload: b"hello".to_vec(),
        };
        assert_eq!(tail.answers(), [message]);
    }
    drop(tails);
    bench.settle();
    assert_eq!(bench.area.channel(index).unwrap().subscribers[0], 0);
}

#[test]
fn a_tail_that_does_not_read_delays_nobody_and_is_told_what_it_missed() {
    let mut bench = Bench::new();
    let mut slow = bench.connect();
    bench.ask(
        &mut slow,
        &Request::Tail {
            channel: "news".into(),
        },
    );
    let mut quick = bench.connect();
    bench.ask(
        &mut quick,
        &Request::Tail {
            channel: "news".into(),
        },
    );
    quick.answers();
    let text = "x".repeat(4000);
    let count = 1000;
    let mut seen = 0;
    for _ in 0..count {
        assert!(matches!(bench.publish(&text), Answer::Published { .. }));
        seen += quick.answers().len();
    }
    assert_eq!(seen, count);
    let (mut messages, mut lapped) = (0, 0);
    loop {
        let new = slow.answers();
        if new.is_empty() {
            break;
        }
        for answer in new {
            match answer {
                Answer::Message { .. } => messages += 1,
                Answer::Lapped { entries } => lapped += entries,
                Answer::Tailing => {}
                Answer::Published { .. }
                | Answer::Status { .. }
                | Answer::Done { .. }
                | Answer::AreaBytes { .. }
                | Answer::AreaWritten
                | Answer::Refused { .. } => panic!("{answer:?}"),
            }
        }
        bench.settle();
    }
    assert!(lapped > 0);
    assert_eq!(messages + lapped, count as u64);
}

#[test]
fn the_master_sleeps_only_when_every_tail_has_seen_the_head() {
    let mut bench = Bench::new();
    let mut tail = bench.connect();
    bench.ask(
        &mut tail,
        &Request::Tail {
            channel: "news".into(),
        },
    );
    let may_sleep = |bench: &mut Bench| {
        let hub = Hub {
            area: &bench.area,
            participant: &mut bench.participant,
            codec: &mut bench.codec,
            workers: &[],
            status: &status,
            now_ms: 0,
            wall_us: 0,
        };
        bench.server.may_sleep(&hub)
    };
    assert!(may_sleep(&mut bench));
    // Somebody else publishes; the bell wakes us, because we are parked and interested.
    let mut other = bench.area.join(ParticipantKind::External, 5).unwrap();
    other
        .publish(&crate::sharedarea::Publication {
            channel: "news",
            flags: crate::sharedarea::EntryFlags::TEXT,
            parts: &[&[0x81, 1], b"x"],
            alternate: &[],
            origin: 0,
            time_us: 1,
        })
        .unwrap();
    assert!(!may_sleep(&mut bench));
    assert!(bench.turn(&[]), "the bell has rung");
    assert!(matches!(
        tail.answers()[..],
        [Answer::Tailing, Answer::Message { .. }]
    ));
    assert!(may_sleep(&mut bench));
}

#[test]
fn one_verb_too_many_is_refused() {
    let mut bench = Bench::new();
    let _verbs: Vec<Peer> = (0..64).map(|_| bench.connect()).collect();
    let mut last = bench.connect();
    bench.settle();
    assert!(matches!(last.answers()[..], [Answer::Refused { .. }]));
}

fn write_area(position: u64, bytes: &[u8]) -> Request {
    Request::Area(AreaRequest::Write {
        area: "frames".into(),
        position,
        bytes: bytes.to_vec(),
    })
}

fn read_area(area: &str, position: u64, bytes: Option<u64>) -> Request {
    Request::Area(AreaRequest::Read {
        area: area.into(),
        position,
        bytes,
    })
}

fn send_area(position: u64, bytes: u64) -> Request {
    Request::Area(AreaRequest::Send {
        area: "0".into(),
        position,
        bytes: Some(bytes),
        channel: "news".into(),
        kind: Kind::Text,
    })
}

#[test]
fn areas_are_read_written_and_sent() {
    let mut bench = Bench::new();
    let mut peer = bench.connect();
    let mut tail = bench.connect();
    let channel = "news".into();
    bench.ask(&mut tail, &Request::Tail { channel });
    bench.ask(&mut peer, &write_area(10, "h\u{e9}llo".as_bytes()));
    bench.ask(&mut peer, &read_area("0", 10, Some(3)));
    bench.ask(&mut peer, &read_area("frames", 4095, None));
    bench.ask(&mut peer, &send_area(10, 6));
    let bytes = |bytes: &[u8]| Answer::AreaBytes {
        left: 0,
        bytes: bytes.to_vec(),
    };
    let published = Answer::Published {
        reached: 0,
        workers: 0,
        seq: 1,
    };
    let expected = [
        Answer::AreaWritten,
        bytes(b"h\xc3\xa9"),
        bytes(b"\0"),
        published,
    ];
    assert_eq!(peer.answers(), expected);
    let message = Answer::Message {
        kind: Kind::Text,
        time_us: 7,
        payload: "h\u{e9}llo".into(),
    };
    assert_eq!(tail.answers(), [Answer::Tailing, message]);
}

#[test]
fn what_lies_outside_of_an_area_is_refused_in_words() {
    let mut bench = Bench::new();
    let mut writer = bench.connect();
    bench.ask(&mut writer, &write_area(0, "\u{e9}".as_bytes()));
    for (request, words) in [
        (
            write_area(4092, b"hello"),
            "do not lie inside the 4096 bytes",
        ),
        (read_area("0", 0, Some(4097)), "do not lie inside"),
        (read_area("0", 4097, None), "do not lie inside"),
        (send_area(1, 1), "not UTF-8"),
        (send_area(u64::MAX, 1), "do not lie inside"),
        (read_area("1", 0, None), "no such area"),
        (read_area("", 0, None), "no such area"),
    ] {
        bench.refuses(&request, words);
    }
    assert_eq!(bench.area.head(), 0);
}

#[test]
fn what_is_published_has_an_alternate_for_workers_whose_clients_read_it() {
    let mut bench = Bench::new();
    let mut worker = bench.area.join(ParticipantKind::Worker, 1).unwrap();
    let index = worker.channel("news").unwrap();
    worker.set_interest(index, 1);
    let mut tail = bench.connect();
    let channel = "news".to_owned();
    bench.ask(&mut tail, &Request::Tail { channel });
    let long = "long enough to be worth it ".repeat(20);
    bench.publish(&long);
    worker.set_deflating(true);
    bench.publish(&long);
    bench.publish("short");
    let alternates = [1, 2, 3].map(|seq| bench.area.entry(seq).unwrap().alternate_bytes > 0);
    assert_eq!(alternates, [false, true, false]);
    // Whoever looks on sees the message, whatever it goes out as.
    let message = |payload: &str| Answer::Message {
        kind: Kind::Text,
        time_us: 7,
        payload: payload.into(),
    };
    let shown = [message(&long), message(&long), message("short")];
    assert_eq!(tail.answers()[1..], shown);
}
