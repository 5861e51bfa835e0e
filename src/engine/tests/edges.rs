//! Edges: what no event tells a second time, lists that must not grow, and clients in two states at once.

use std::cell::Cell;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::rig::{Peer, Rig, masked, upgrade};
use crate::app::{Accept, App, ClientId, Context, Message, WebSocket, per_client};
use crate::engine::client::NEVER;
use crate::net::Transport;
use crate::protocol::websocket::Closed;

#[test]
fn lists_of_slow_clients_are_never_longer_than_there_are_clients() {
    let mut rig = Rig::new(|config| config.spool_bytes = 1024 * 1024);
    let mut peer = rig.websocket("/news");
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
    assert!(
        halves_max <= 1,
        "{halves_max} half-sent frames of one client"
    );
    let laggards = rig.engine.core.laggards.len();
    assert!(laggards <= 2, "{laggards} laggards of one client");
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
