//! Edges: what no event tells a second time, lists that must not grow, and clients in two states at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::rig::{Peer, Rig, masked, upgrade};
use crate::app::{Accept, App, ClientId, Context, Message, WebSocket, per_client};
use crate::channel::ChannelName;
use crate::engine::client::{Marks, NEVER};
use crate::net::Transport;
use crate::protocol::http::{Request, Status};
use crate::protocol::websocket::Closed;
use crate::sharedarea::ParticipantKind;

#[test]
fn lists_of_slow_clients_are_never_longer_than_there_are_clients() {
    let mut rig = Rig::new(|config| config.spool_bytes = 1024 * 1024);
    let mut peer = rig.websocket("/news");
    rig.narrow();
    let mut buffer = vec![0; 70_000];
    let mut halves_max = 0;
    for _ in 0..200 {
        for _ in 0..3 {
            let _published: bool = rig.publish("news", &[b'x'; 40_000]);
            rig.turn();
        }
        let _some: usize = peer.stream.read(&mut buffer).unwrap_or(0);
        rig.turn();
        halves_max = halves_max.max(rig.engine.core.halves.len());
    }
    assert_eq!(halves_max, 1, "half-sent frames of one client");
    let laggards = rig.engine.core.laggards.len();
    assert_eq!(laggards, 1, "laggards of one client");
}

#[test]
fn a_close_frame_that_comes_up_while_outboxes_are_flushed_leaves_with_them() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.websocket("/news");
    // Nobody looks for laggards: that this one is overtaken is found when something is said to it.
    rig.engine.core.laggards_due_ms = u64::MAX;
    for _ in 0..1000 {
        rig.until("the log takes it", |rig| rig.publish("news", &[b'x'; 1000]));
        rig.turn();
    }
    peer.receive();
    let key = rig.engine.keys()[0];
    let core = &mut rig.engine.core;
    core.with_connection(key, |connection, _, out| connection.ping(b"", out));
    core.flush_dirty();
    peer.receive();
    let last = peer.frames().pop().unwrap();
    assert_eq!((last.0, &last.1[..2]), (0x88, &1013_u16.to_be_bytes()[..]));
}

#[test]
fn who_is_closed_while_it_is_accepted_has_a_deadline() {
    async fn hello_and_goodbye(mut ws: WebSocket) -> Result<(), Closed> {
        ws.handshake(Accept::default()).await
    }
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(per_client(hello_and_goodbye))));
    let mut peer = rig.connect();
    peer.send(upgrade("/", "").as_bytes());
    rig.until("it is told to go", |_| {
        peer.receive();
        peer.received.ends_with(b"\x88\x02\x03\xe8")
    });
    // The peer does not answer the close frame: only the deadline ends it.
    let key = rig.engine.keys()[0];
    let client = rig.engine.core.clients.get(key).unwrap();
    assert_ne!(client.deadline_ms, NEVER);
    assert_ne!(client.alarm_ms, NEVER);
}

/// Reads nothing from its clients until it may.
struct Pausing {
    clients: Vec<ClientId>,
    go: Rc<Cell<bool>>,
}

impl App for Pausing {
    fn name(&self) -> &'static str {
        "pausing"
    }

    fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
        cx.pause(client);
        self.clients.push(client);
    }

    fn message(&mut self, _: &mut Context<'_>, _: ClientId, _: Message<'_>) {}

    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        if self.go.get() {
            for client in self.clients.drain(..) {
                cx.resume(client);
            }
        }
        false
    }
}

#[test]
fn a_peer_that_ended_while_it_was_not_read_from_is_noticed() {
    let go = Rc::new(Cell::new(false));
    let app = Pausing {
        clients: Vec::new(),
        go: Rc::clone(&go),
    };
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(app)));
    let mut peer = rig.websocket("/");
    peer.send(&masked(0x81, b"last words"));
    drop(peer);
    // The one event comes now, while nobody may read.
    for _ in 0..3 {
        rig.turn();
    }
    go.set(true);
    rig.until("it is gone", |rig| rig.engine.clients() == 0);
}

/// Reads nothing from its second client until the first says something, and then tells the second much.
struct Pouring(Vec<ClientId>);

impl App for Pouring {
    fn name(&self) -> &'static str {
        "pouring"
    }

    fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
        self.0.push(client);
        if self.0.len() == 2 {
            cx.pause(client);
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, _: Message<'_>) {
        if client == self.0[0] {
            cx.resume(self.0[1]);
            while cx.send(self.0[1], &Message::binary(vec![1; 100])).is_ok() {}
        }
    }
}

#[test]
fn who_was_not_read_from_for_a_full_outbox_is_read_from_once_it_is_flushed() {
    let app = Pouring(Vec::new());
    let mut rig = Rig::with_app(|config| config.outbox_bytes_max = 4096, Some(Box::new(app)));
    let mut first = rig.websocket("/");
    // TCP tells that it takes more only to those whom it has blocked.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    rig.engine.adopt(Transport::new(theirs.into()));
    let mut second = Peer {
        stream: UnixStream::from(OwnedFd::from(ours)),
        received: Vec::new(),
        ended: false,
    };
    second.send(upgrade("/", "").as_bytes());
    rig.until("the handshake is answered", |_| {
        second.receive();
        second.received.ends_with(b"\r\n\r\n")
    });
    second.received.clear();
    rig.turn();
    second.send(&masked(0x89, b"?"));
    for _ in 0..3 {
        rig.turn();
    }
    // In one turn: its outbox fills up, then it is due to be read from, then all is sent.
    first.send(&masked(0x81, b"go"));
    rig.until("the ping is answered", |_| {
        second.receive();
        second.frames().iter().any(|(first, _)| *first == 0x8a)
    });
}

#[test]
fn pipelined_requests_of_a_peer_that_does_not_read_cost_bounded_memory() {
    let mut rig = Rig::new(|config| config.outbox_bytes_max = 128 * 1024);
    let mut peer = rig.connect();
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000).as_bytes());
    for _ in 0..5 {
        rig.turn();
    }
    let key = rig.engine.keys()[0];
    let waiting = rig.engine.core.clients.get(key).unwrap().outbox.len();
    assert!(waiting < 256 * 1024, "{waiting} bytes wait");
    rig.expect_end(&mut peer);
    let last = peer.text();
    let last = &last[last.rfind("HTTP/1.1 200").unwrap()..];
    assert!(last.contains("Connection: close"), "{last:.200}");
}

#[test]
fn an_echo_to_a_peer_that_does_not_read_waits_and_is_never_refused() {
    let mut rig = Rig::new(|config| {
        config.app = Some("echo".to_owned());
        config.outbox_bytes_max = 100_000;
    });
    let mut peer = rig.websocket("/");
    let frame = masked(0x82, &[7; 100]);
    let (mut sent, mut idle) = (0, 0);
    rig.until("the engine stops reading", |_| {
        let burst = frame.repeat(100);
        let taken = peer.send_some(&burst[sent % frame.len()..]);
        sent += taken;
        idle = if taken == 0 { idle + 1 } else { 0 };
        idle > 50
    });
    let whole = sent / frame.len();
    let mut echoed = 0;
    rig.until("everything comes back once it is read", |_| {
        peer.receive();
        for (first, payload) in peer.frames() {
            assert_eq!((first, payload), (0x82, vec![7; 100]));
            echoed += 1;
        }
        echoed == whole
    });
}

#[test]
fn what_was_published_under_a_place_does_not_go_to_the_next_channel_there() {
    let mut rig = Rig::new(|config| config.channels_max = 1);
    let mut peer = rig.connect();
    // In one turn: an entry of a channel without listeners is there, and its place is given away.
    assert!(rig.publish("others", b"not for you"));
    peer.send(upgrade("/mine", "").as_bytes());
    rig.turn();
    assert!(rig.publish("mine", b"for you"));
    rig.until("it has come", |_| {
        peer.receive();
        peer.received.ends_with(b"for you")
    });
    assert!(!peer.text().contains("not for you"), "{}", peer.text());
}

/// Accepts nobody until it may, then all at once.
struct Waiting {
    clients: Rc<RefCell<Vec<ClientId>>>,
    go: Rc<Cell<bool>>,
}

impl App for Waiting {
    fn name(&self) -> &'static str {
        "waiting"
    }

    fn upgrade(&mut self, _: &mut Context<'_>, client: ClientId, _: &Request<'_>) {
        self.clients.borrow_mut().push(client);
    }

    fn message(&mut self, _: &mut Context<'_>, _: ClientId, _: Message<'_>) {}

    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        if self.go.get() {
            for client in self.clients.borrow_mut().drain(..) {
                cx.accept(client, &Accept::default());
            }
        }
        false
    }
}

#[test]
fn many_that_are_accepted_at_once_do_not_pile_up_on_the_stack() {
    const CLIENTS: usize = 2000;
    crate::sys::limits::raise_open_files().unwrap();
    let app = Waiting {
        clients: Rc::default(),
        go: Rc::default(),
    };
    let (clients, go) = (Rc::clone(&app.clients), Rc::clone(&app.go));
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(app)));
    let mut bytes = upgrade("/", "").into_bytes();
    bytes.extend(masked(0x89, b"early"));
    let mut peers = VecDeque::new();
    for _ in 0..CLIENTS {
        let mut peer = rig.connect();
        peer.send(&bytes);
        peers.push_back(peer);
    }
    rig.until("all have asked", |_| clients.borrow().len() == CLIENTS);
    go.set(true);
    rig.until("all are answered", |_| {
        peers.retain_mut(|peer| {
            peer.receive();
            !peer.received.ends_with(b"\x8a\x05early")
        });
        peers.is_empty()
    });
}

#[test]
fn a_message_too_large_is_refused_also_while_others_wait() {
    let mut rig = Rig::new(|_| {});
    let pinning = rig.area.join(ParticipantKind::Worker, 3).unwrap();
    assert!(pinning.pin(0));
    let core = &mut rig.engine.core;
    let channel = ChannelName::parse("news").unwrap();
    while core.waiting.is_empty() {
        let message = Message::binary(vec![0; 8000]);
        core.publish_or_wait(channel, &message).unwrap();
    }
    let message = Message::binary(vec![0; 100_000]);
    assert!(core.publish_or_wait(channel, &message).is_err());
}

#[test]
fn who_takes_what_waited_is_not_dead_although_its_pong_is_late() {
    let mut rig = Rig::new(|config| config.app = Some("echo".to_owned()));
    let mut peer = rig.websocket("/");
    let frame = masked(0x82, &vec![7; 900_000]);
    let mut sent = 0;
    rig.until("the answer does not fit into the socket", |rig| {
        sent += peer.send_some(&frame[sent..]);
        let key = rig.engine.keys()[0];
        !rig.engine.core.clients.get(key).unwrap().outbox.is_empty()
    });
    let key = rig.engine.keys()[0];
    let client = rig.engine.core.clients.get_mut(key).unwrap();
    client.marks.insert(Marks::PINGED);
    rig.until("it counts as heard of", |rig| {
        peer.receive();
        let client = rig.engine.core.clients.get(key).unwrap();
        assert!(!client.outbox.is_empty() || !client.marks.contains(Marks::PINGED));
        !client.marks.contains(Marks::PINGED)
    });
}

#[test]
fn an_async_fn_that_refuses_and_goes_on_waiting_is_ended() {
    let token = Rc::new(());
    let held = Rc::downgrade(&token);
    let app = per_client(move |mut ws: WebSocket| {
        let token = Rc::clone(&token);
        async move {
            ws.reject(Status::FORBIDDEN, "no")?;
            let waited = ws.recv().await.map(|_| ());
            drop(token);
            waited
        }
    });
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(app)));
    let mut peer = rig.connect();
    peer.send(upgrade("/", "").as_bytes());
    rig.expect_end(&mut peer);
    assert_eq!(held.strong_count(), 1, "only the app's own is left");
}
