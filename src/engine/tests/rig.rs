//! An engine, a publisher, and peers whose bytes can be looked at.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::app::{App, Apps};
use crate::config::{Config, Environment, Invocation, parse, resolve};
use crate::engine::{Engine, Settings};
use crate::net::{Purpose, Transport};
use crate::protocol::websocket::{Codec, DeflatePolicy, Kind, Limits, encode_frame};
use crate::sharedarea::{
    EntryFlags, Geometry, Participant, ParticipantKind, Publication, SharedArea,
};

/// How long a condition may take before a test fails.
const PATIENCE_MS: u64 = 20_000;

pub(super) struct Rig {
    config: Config,
    pub(super) engine: Engine,
    pub(super) area: SharedArea,
    pub(super) publisher: Participant,
    codec: Codec,
}

pub(super) fn config() -> Config {
    config_of(&[])
}

pub(super) fn config_of(options: &[&str]) -> Config {
    let words = ["master", "--socket", "127.0.0.1:0"];
    let words = words.iter().chain(options).map(Into::into);
    let environment = Environment::read();
    let Ok(Invocation::Serve(settings)) = parse(words, &environment) else {
        panic!("these words are right");
    };
    resolve(&settings, &environment).expect("so are the values")
}

impl Rig {
    pub(super) fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_app(change, None)
    }

    pub(super) fn with_app(change: impl FnOnce(&mut Config), own: Option<Box<dyn App>>) -> Self {
        let mut config = config();
        config.spool_bytes = 64 * 1024;
        change(&mut config);
        let geometry = Geometry {
            channels: config.channels_max,
            ..Geometry::with_spool(config.spool_bytes)
        };
        let area = SharedArea::create(geometry, 1, 0).unwrap();
        area.make_areas(&config.areas).unwrap();
        let publisher = area.join(ParticipantKind::Master, 0).unwrap();
        let worker = area.join(ParticipantKind::Worker, 1).unwrap();
        let apps = Apps::new(&config, own).unwrap();
        let engine = Engine::new(Settings::from(&config), apps, area.clone(), worker).unwrap();
        Self {
            config,
            engine,
            area,
            publisher,
            codec: Codec::new(Limits::default(), DeflatePolicy::default()),
        }
    }

    /// The engine of another worker of the same server.
    pub(super) fn another_engine(&self, slot: u16) -> Engine {
        let participant = self.area.join(ParticipantKind::Worker, slot).unwrap();
        let apps = Apps::new(&self.config, None).unwrap();
        let settings = Settings::from(&self.config);
        Engine::new(settings, apps, self.area.clone(), participant).unwrap()
    }

    /// From now on the kernel takes what is for the clients in pieces of some 2 KiB, and not many of
    /// them: frames are half sent where a unix socket would take them whole or not at all.
    pub(super) fn narrow(&self) {
        for key in self.engine.keys() {
            let client = self.engine.core.clients.get(key).unwrap();
            setsockopt(&client.transport.as_fd(), sockopt::SndBuf, &1).unwrap();
        }
    }

    /// One turn that does not wait.
    pub(super) fn turn(&mut self) {
        self.wait(Duration::ZERO);
    }

    fn wait(&mut self, wait_max: Duration) {
        let mut others = Vec::new();
        self.engine.turn(wait_max, &mut others).unwrap();
    }

    /// Turns until `done`, which may look at what has happened.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = self.engine.now_ms();
        while !done(self) {
            let waited = self.engine.now_ms() - start;
            assert!(waited < PATIENCE_MS, "this never happened: {what}");
            self.wait(Duration::from_millis(1));
        }
    }

    pub(super) fn connect(&mut self) -> Peer {
        self.connect_to(Purpose::Clients)
    }

    pub(super) fn connect_to(&mut self, purpose: Purpose) -> Peer {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.engine
            .adopt(Transport::new(theirs.into()).with_purpose(purpose));
        Peer {
            stream: ours,
            received: Vec::new(),
            ended: false,
        }
    }

    /// A client whose opening handshake is done; what it has received is empty.
    pub(super) fn websocket(&mut self, path: &str) -> Peer {
        self.websocket_with(path, "")
    }

    /// The same with more header lines.
    pub(super) fn websocket_with(&mut self, path: &str, more: &str) -> Peer {
        let mut peer = self.connect();
        peer.send(upgrade(path, more).as_bytes());
        self.until("the handshake is answered", |_| {
            peer.receive();
            peer.received.ends_with(b"\r\n\r\n")
        });
        assert!(peer.text().starts_with("HTTP/1.1 101 "), "{}", peer.text());
        peer.received.clear();
        peer
    }

    /// Publishes from outside, with an alternate if one is wanted.
    pub(super) fn publish(&mut self, channel: &str, payload: &[u8]) -> bool {
        let (mut frame, mut alternate) = (Vec::new(), Vec::new());
        encode_frame(Kind::Text, payload, &mut frame);
        if self.publisher.wants_alternate(channel) {
            self.codec
                .encode_shared_frame(Kind::Text, payload, &mut alternate);
        }
        let publication = Publication {
            channel,
            flags: EntryFlags::TEXT,
            parts: &[&frame],
            alternate: &[&alternate],
            origin: 0,
            time_us: 0,
        };
        self.publisher.publish(&publication).is_ok()
    }

    /// Turns until the peer has received `bytes` and nothing else, then forgets them.
    pub(super) fn expect(&mut self, peer: &mut Peer, bytes: &[u8]) {
        self.until("the expected bytes come", |_| {
            peer.receive();
            peer.received.len() >= bytes.len()
        });
        assert_eq!(peer.received, bytes);
        peer.received.clear();
    }

    /// Turns until the peer sees the end of the stream.
    pub(super) fn expect_end(&mut self, peer: &mut Peer) {
        self.until("the stream ends", |_| {
            peer.receive();
            peer.ended
        });
    }
}

pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    pub(crate) received: Vec<u8>,
    pub(crate) ended: bool,
}

impl Peer {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as much as the kernel takes; how much that was.
    pub(crate) fn send_some(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn receive(&mut self) {
        let mut buffer = [0; 65536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    return;
                }
                Ok(bytes) => self.received.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.ended = true;
                    return;
                }
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Takes whole unmasked frames out of what was received: first byte and payload.
    pub(crate) fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((header, payload)) = frame_lengths(&self.received) {
            if self.received.len() < header + payload {
                break;
            }
            let rest = self.received.split_off(header + payload);
            frames.push((self.received[0], self.received.split_off(header)));
            self.received = rest;
        }
        frames
    }
}

fn frame_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        )),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            Some((10, usize::try_from(length).ok()?))
        }
        short => Some((2, usize::from(short))),
    }
}

pub(crate) fn upgrade(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A client's frame, masked.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..=65535 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
