//! Reloads and upgrades under load: clients that listen, clients that talk, compressed with and without memory, over TCP and unix
//! sockets, and not one of them may notice that its worker is replaced again and again.
//!
//! By default a short run with few clients; `BELLWETHER_SOAK_SECONDS` and `BELLWETHER_SOAK_CLIENTS` make it a soak.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::peer::{DEFLATE, Event, Peer, dial, upgrade_request, upgrade_request_with};
use crate::process::raise_own_limit;
use crate::server::Server;
use crate::status::Status;
use crate::{MASTER, PATIENCE};

const PUBLISH_EVERY: Duration = Duration::from_millis(10);
const RELOAD_EVERY: Duration = Duration::from_secs(2);
const UPGRADE_EVERY: Duration = Duration::from_secs(5);
/// Each message by itself; `DEFLATE` is with the memory of those before it, in both directions.
const ALONE: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

trait Stream: Read + Write + AsFd + Debug {}
impl<S: Read + Write + AsFd + Debug> Stream for S {}

/// What a client does, and how far it is.
#[derive(Debug)]
enum Part {
    /// Gets numbered messages.
    Listens { next: u64 },
    /// Sends numbered messages and gets them back.
    Talks { number: u64, compressed: bool },
}

#[derive(Debug)]
struct Member {
    peer: Peer<Box<dyn Stream>>,
    part: Part,
    heard: Instant,
}

impl Member {
    fn new(server: &Server, unix: &std::path::Path, number: usize) -> Self {
        let stream: Box<dyn Stream> = if number.is_multiple_of(3) {
            let stream = UnixStream::connect(unix).expect("the server listens");
            stream
                .set_read_timeout(Some(PATIENCE))
                .expect("a timeout can be set");
            Box::new(stream)
        } else {
            Box::new(dial(server.address()).expect("the server listens"))
        };
        let talks = |compressed| Part::Talks {
            number: 0,
            compressed,
        };
        let (request, part) = match number % 5 {
            0 => (upgrade_request("/news"), Part::Listens { next: 0 }),
            1 => (
                upgrade_request_with("/news", ALONE),
                Part::Listens { next: 0 },
            ),
            2 => (upgrade_request("/echo"), talks(false)),
            3 => (upgrade_request_with("/echo", ALONE), talks(true)),
            _ => (upgrade_request_with("/echo", DEFLATE), talks(true)),
        };
        let peer = Peer::finish(stream, &request).expect("the handshake is accepted");
        Self {
            peer,
            part,
            heard: Instant::now(),
        }
    }

    fn fd(&mut self) -> BorrowedFd<'_> {
        (**self.peer.stream()).as_fd()
    }

    /// A message whose length wanders, so that workers are replaced in the middle of some. Its middle is like that of a few before
    /// it, which a compressor with a memory refers to.
    fn talk(number: u64) -> String {
        let words = usize::try_from(number * 7919 % 900).expect("small");
        let middle: Vec<String> = (0..40)
            .map(|n| (n * n * 37 + number % 5).to_string())
            .collect();
        format!(
            "{number} {} {}",
            middle.join(" "),
            "so it goes ".repeat(words)
        )
    }

    fn say(&mut self) {
        let Part::Talks { number, compressed } = &self.part else {
            return;
        };
        let text = Self::talk(*number);
        let sent = if *compressed {
            self.peer.send_deflated(&text)
        } else {
            self.peer.send(&text)
        };
        sent.expect("it leaves");
    }

    /// One event; the longest silence before it.
    fn hear(&mut self) -> Duration {
        let text = match self.peer.read() {
            Ok(Event::Text(text)) => text,
            Ok(other) => panic!("{:?} was to go on, but: {other:?}", self.part),
            Err(error) => panic!("{:?} was to go on, but: {error}", self.part),
        };
        let silence = self.heard.elapsed();
        self.heard = Instant::now();
        match &mut self.part {
            Part::Listens { next } => {
                assert!(text == Self::talk(*next), "lost, doubled or out of order");
                *next += 1;
            }
            Part::Talks { number, .. } => {
                assert!(text == Self::talk(*number), "another answer came");
                *number += 1;
                self.say();
            }
        }
        silence
    }
}

/// Waits for any of them and lets those hear for whom something has come.
fn hear_all(members: &mut [Member], wait: Duration) -> Duration {
    let ready: Vec<bool> = {
        let mut fds: Vec<PollFd<'_>> = members
            .iter_mut()
            .map(|member| PollFd::new(member.fd(), PollFlags::POLLIN))
            .collect();
        let wait = PollTimeout::try_from(wait).expect("short");
        let _count = poll(&mut fds, wait).expect("poll works");
        fds.iter().map(|fd| fd.any().unwrap_or(false)).collect()
    };
    let mut worst = Duration::ZERO;
    for (member, _) in members.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
        worst = worst.max(member.hear());
        // What has come with it is read without waiting.
        while member.peer.has_more() {
            worst = worst.max(member.hear());
        }
    }
    worst
}

/// A signal that is sent again and again.
struct Requests {
    signal: Signal,
    next: Instant,
    every: Duration,
    sent: u32,
}

impl Requests {
    fn new(signal: Signal, next: Instant, every: Duration) -> Self {
        Self {
            signal,
            next,
            every,
            sent: 0,
        }
    }

    fn send_if_due(&mut self, server: &Server) {
        if Instant::now() >= self.next {
            server.signal(self.signal);
            self.next += self.every;
            self.sent += 1;
        }
    }
}

#[test]
fn nobody_notices_reloads_and_upgrades() {
    raise_own_limit();
    let folder = crate::server::folder();
    let unix = folder.path().join("front.sock");
    let unix_text = unix.to_str().expect("a plain path");
    let server = Server::start(
        MASTER,
        &[
            "--processes",
            "2",
            "--mount",
            "/echo=app:echo",
            "--websockets-deflate",
            "takeover",
            "--settle",
            "0.1",
            "--socket",
            unix_text,
        ],
    );
    let before = Status::of(&server).worker_pids();
    let clients = usize::try_from(setting("BELLWETHER_SOAK_CLIENTS", 120)).expect("it fits");
    let mut members: Vec<Member> = (0..clients)
        .map(|n| Member::new(&server, &unix, n))
        .collect();
    for member in &mut members {
        member.say();
    }
    let begin = Instant::now();
    let end = begin + Duration::from_secs(setting("BELLWETHER_SOAK_SECONDS", 6));
    let mut reloads = Requests::new(Signal::SIGHUP, begin, RELOAD_EVERY);
    let mut upgrades = Requests::new(Signal::SIGUSR2, begin + UPGRADE_EVERY, UPGRADE_EVERY);
    let (mut publish_at, mut published, mut worst) = (begin, 0, Duration::ZERO);
    while Instant::now() < end {
        if Instant::now() >= publish_at {
            server.publish("news", &Member::talk(published));
            published += 1;
            publish_at = Instant::now() + PUBLISH_EVERY;
        }
        reloads.send_if_due(&server);
        upgrades.send_if_due(&server);
        worst = worst.max(hear_all(&mut members, PUBLISH_EVERY));
    }
    // It is the last one, so it returns when all are done.
    let mut last = server.verb(&["reload"]).spawn().expect("the verb starts");
    while last.try_wait().expect("it is ours").is_none() {
        worst = worst.max(hear_all(&mut members, PUBLISH_EVERY));
    }
    assert!(last.wait().expect("it has ended").success());
    let deadline = Instant::now() + PATIENCE;
    let behind =
        |member: &Member| matches!(member.part, Part::Listens { next } if next < published);
    while members.iter().any(behind) {
        assert!(Instant::now() < deadline, "some have not heard everything");
        hear_all(&mut members, PUBLISH_EVERY);
    }
    for member in &members {
        if matches!(member.part, Part::Listens { .. }) {
            assert_eq!(member.peer.compressed() > 0, member.peer.deflates());
        }
    }
    let after = Status::wait_for_workers(&server, 2);
    assert!(after.worker_pids().iter().all(|pid| !before.contains(pid)));
    assert_eq!(usize::try_from(after.clients()).expect("it fits"), clients);
    eprintln!(
        "{clients} clients, {} reloads, {} upgrades, {published} messages: nobody noticed; the longest silence of a client \
         was {worst:?}",
        reloads.sent, upgrades.sent
    );
}
