//! Two workers in this process that are run by hand, with the master's ends of their control sockets.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::mail::Letter;
use super::super::run::{Phase, Worker};
use super::super::{Mailboxes, Order, Report, Seat};
use crate::app::{Accept, App, Apps, WebSocket, per_client};
use crate::config::{Config, Environment};
use crate::engine::tests::rig::{Peer, upgrade};
use crate::net::{Purpose, Transport};
use crate::protocol::websocket::{Closed, Kind, encode_frame};
use crate::sharedarea::{
    EntryFlags, Geometry, Participant, ParticipantKind, Publication, SharedArea,
};
use crate::sys::descriptors::{self, Received};

/// How long a condition may take before a test fails.
pub(super) const PATIENCE_MS: u64 = 20_000;
pub(super) const LONG_MS: u32 = 3_600_000;
/// Short enough to be waited for; nothing has to fit into it.
pub(super) const SHORT_MS: u32 = 500;

/// A worker, and what the master has of it.
pub(super) struct Seated {
    pub(super) worker: Worker,
    pub(super) control: OwnedFd,
    pub(super) told_to_leave: Arc<AtomicBool>,
    pub(super) gone: bool,
}

impl Seated {
    pub(super) fn order(&self, order: Order) {
        descriptors::send(self.control.as_fd(), &order.encode(), &[]).unwrap();
    }

    pub(super) fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        let mut packet = [0; 16];
        while let Ok(Received::Packet { bytes, .. }) =
            descriptors::receive(self.control.as_fd(), &mut packet)
        {
            reports.extend(Report::decode(&packet[..bytes]));
        }
        reports
    }

    pub(super) fn turn(&mut self) {
        if !self.gone {
            self.gone = self.worker.turn().unwrap().is_break();
        }
    }

    pub(super) fn connect(&mut self, purpose: Purpose) -> Peer {
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

    pub(super) fn client(&mut self) -> Peer {
        let mut peer = self.connect(Purpose::Clients);
        peer.send(upgrade("/news", "").as_bytes());
        self.until("the handshake is answered", |_| {
            peer.receive();
            peer.received.ends_with(b"\r\n\r\n")
        });
        peer.received.clear();
        peer
    }

    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start_ms = self.worker.engine.now_ms();
        while !done(self) {
            let waited_ms = self.worker.engine.now_ms() - start_ms;
            assert!(waited_ms < PATIENCE_MS, "this never happened: {what}");
            assert!(!self.gone, "it has left before this: {what}");
            self.turn();
        }
    }

    pub(super) fn expect(&mut self, peer: &mut Peer, frames: &[(u8, &[u8])]) {
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

    /// From now on it shows no more mercy, however long that was to last.
    pub(super) fn end_mercy(&mut self) {
        let now_ms = self.worker.engine.now_ms();
        let Phase::Mercy(terms) = &mut self.worker.phase else {
            panic!("it shows mercy");
        };
        terms.mercy_until_ms = Some(now_ms);
    }

    /// When it leaves, in any case.
    pub(super) fn leaves_ms(&self) -> u64 {
        match self.worker.phase {
            Phase::Moving { terms, .. } | Phase::Mercy(terms) => terms.until_ms,
            Phase::Draining { until_ms } => until_ms,
            Phase::Serving | Phase::Stopped => panic!("it is about to leave"),
        }
    }

    /// Lets it take notice of everything that is there.
    pub(super) fn settle(&mut self) {
        for _ in 0..3 {
            self.turn();
        }
    }
}

/// Two workers in slots 1 and 2, and the shared area.
pub(super) struct Pair {
    pub(super) one: Seated,
    pub(super) two: Seated,
    pub(super) area: SharedArea,
    /// The sending end of the mailbox of the second.
    pub(super) mailbox: OwnedFd,
    pub(super) publisher: Participant,
}

pub(super) const TEXT: u8 = 0x81;
pub(super) const CLOSE: u8 = 0x88;
pub(super) const PONG: u8 = 0x8a;

/// 1012 and 1001 as a close frame has them.
pub(super) const RESTART: (u8, &[u8]) = (CLOSE, &[0x03, 0xf4]);
pub(super) const GOING_AWAY: (u8, &[u8]) = (CLOSE, &[0x03, 0xe9]);

/// Its clients cannot move.
pub(super) async fn stay(mut ws: WebSocket) -> Result<(), Closed> {
    ws.handshake(Accept::default()).await?;
    ws.subscribe("news")?;
    loop {
        let message = ws.recv().await?;
        ws.send(&message)?;
    }
}

pub(super) fn app_that_stays() -> Option<Box<dyn App>> {
    Some(Box::new(per_client(stay)))
}

pub(super) fn pair(app: impl Fn() -> Option<Box<dyn App>>) -> Pair {
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

/// Nothing more goes into this mailbox until its owner has looked.
pub(super) fn stuff(mailbox: &OwnedFd) {
    let nothing = Letter::Abort { from: 9, batch: 9 }.encode();
    while descriptors::send(mailbox.as_fd(), &nothing, &[]).is_ok() {}
}

pub(super) fn replace(mercy_ms: u32, timeout_ms: u32) -> Order {
    Order::Replace {
        by: 2,
        code: 1012,
        mercy_ms,
        timeout_ms,
    }
}

pub(super) fn stop(timeout_ms: u32) -> Order {
    Order::Drain {
        code: 1001,
        timeout_ms,
    }
}

impl Pair {
    pub(super) fn publish(&mut self, text: &str) {
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
    pub(super) fn show_mercy(&mut self, mercy_ms: u32, timeout_ms: u32) {
        self.one.order(replace(mercy_ms, timeout_ms));
        let mut reports = Vec::new();
        self.one.until("it reports that clients are left", |one| {
            reports.extend(one.reports());
            !reports.is_empty()
        });
        assert_eq!(reports, [Report::Moved]);
    }
}
