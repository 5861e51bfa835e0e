//! Two workers in one thread, whose mailboxes can be stuffed.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::app::Apps;
use crate::config::{Config, Environment};
use crate::engine::{Engine, Settings};
use crate::net::Transport;
use crate::sharedarea::{Geometry, ParticipantKind, ParticipantState, SharedArea};
use crate::sys::descriptors::{self, Received};
use crate::worker::Mailboxes;
use crate::worker::mail::{LETTER_BYTES_MAX, Letter};

/// How long a condition may take before a test fails.
const PATIENCE_MS: u64 = 20_000;
const CLIENTS_MAX: usize = 1000;

struct Side {
    engine: Engine,
    area: SharedArea,
    mailboxes: Mailboxes,
    slot: u16,
    /// How much later it is for hand-overs.
    later_ms: u64,
    last_batch: u64,
    unsent: Unsent,
    departure: Option<Departure>,
    arrivals: Arrivals,
}

impl Side {
    fn new(area: &SharedArea, slot: u16, own: OwnedFd, peers: &[OwnedFd]) -> Self {
        let config = Config::new(&Environment::read());
        let participant = area.join(ParticipantKind::Worker, slot).unwrap();
        participant.set_state(ParticipantState::Ready);
        let apps = Apps::new(&config, None).unwrap();
        let settings = Settings::from(&config);
        let peers = peers.iter().map(|fd| fd.try_clone().unwrap()).collect();
        Self {
            engine: Engine::new(settings, apps, area.clone(), participant).unwrap(),
            area: area.clone(),
            mailboxes: Mailboxes { own, peers },
            slot,
            later_ms: 0,
            last_batch: 0,
            unsent: Unsent::default(),
            departure: None,
            arrivals: Arrivals::default(),
        }
    }

    fn with_post<R>(
        &mut self,
        act: impl FnOnce(&mut Post<'_>, &mut Arrivals, &mut Option<Departure>) -> R,
    ) -> R {
        let mut post = Post {
            now_ms: self.engine.now_ms() + self.later_ms,
            engine: &mut self.engine,
            area: &self.area,
            mailboxes: &self.mailboxes,
            own_slot: self.slot,
            last_batch: &mut self.last_batch,
            unsent: &mut self.unsent,
        };
        act(&mut post, &mut self.arrivals, &mut self.departure)
    }

    /// A client that has not said anything yet.
    fn client(&mut self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        self.engine.adopt(Transport::new(theirs.into()));
        ours
    }

    fn depart(&mut self, to: u16) {
        self.with_post(|post, _, departure| {
            *departure = Some(Departure::new(post, to, usize::MAX));
        });
    }

    /// A turn of the worker, but for its letters.
    fn turn(&mut self) {
        let mut others = Vec::new();
        self.engine.turn(Duration::ZERO, &mut others).unwrap();
        self.with_post(|post, arrivals, departure| {
            post.deliver();
            arrivals.turn(post);
            if departure.as_mut().is_some_and(|one| one.turn(post, false)) {
                *departure = None;
            }
        });
    }

    /// Reads its letters; how many there were.
    fn open_mailbox(&mut self) -> usize {
        let mut letters = 0;
        let mut packet = [0; LETTER_BYTES_MAX];
        while let Received::Packet { bytes, descriptors } =
            descriptors::receive(self.mailboxes.own.as_fd(), &mut packet).unwrap()
        {
            let Some(letter) = Letter::decode(&packet[..bytes]) else {
                continue;
            };
            letters += 1;
            self.with_post(|post, arrivals, departure| match letter {
                Letter::New(_) => unreachable!("nobody sends one here"),
                Letter::Move { from, batch } => {
                    arrivals.offered(post, (from, batch), descriptors, CLIENTS_MAX);
                }
                Letter::Taken { by, batch, yes } => match departure {
                    Some(departure) => departure.taken(post, by, batch, yes),
                    None => post.abort(by, batch),
                },
                Letter::Release { from, batch, yes } => {
                    arrivals.released(post, (from, batch), &yes, descriptors.first());
                }
                Letter::Abort { from, batch } => arrivals.aborted(post.engine, from, batch),
            });
        }
        letters
    }

    /// Clients given, taken and returned.
    fn figures(&mut self) -> [u64; 3] {
        self.engine.report_figures();
        let figures = self.area.figures(self.slot);
        [
            figures.clients_given,
            figures.clients_taken,
            figures.clients_returned,
        ]
    }

    /// Fills the mailbox of another with what is no letter.
    fn stuff(&self, slot: u16) {
        let peer = self.mailboxes.peers[usize::from(slot) - 1].as_fd();
        while descriptors::send(peer, b"?", &[]).is_ok() {}
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = self.engine.now_ms();
        while !done(self) {
            let waited = self.engine.now_ms() - start;
            assert!(waited < PATIENCE_MS, "this never happened: {what}");
            self.turn();
        }
    }
}

fn sides() -> (Side, Side) {
    let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
    let (peers, mut own): (Vec<OwnedFd>, Vec<OwnedFd>) =
        (0..2).map(|_| descriptors::packet_pair().unwrap()).unzip();
    let second = own.remove(1);
    let first = own.remove(0);
    (
        Side::new(&area, 1, first, &peers),
        Side::new(&area, 2, second, &peers),
    )
}

/// Whether a request is answered to this client.
fn is_served(by: &mut Side, client: &mut UnixStream) {
    client
        .write_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    by.until("the answer", |_| client.read(&mut answer).is_ok());
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// The first has offered a client to the second, whose answer is in the first's mailbox while the
/// second's mailbox is full.
fn answered_and_stuffed() -> (Side, Side, UnixStream) {
    let (mut old, mut new) = sides();
    let client = old.client();
    old.depart(2);
    old.turn();
    assert_eq!(new.open_mailbox(), 1);
    old.stuff(2);
    assert_eq!(old.open_mailbox(), 1);
    (old, new, client)
}

#[test]
fn a_release_that_meets_a_full_mailbox_is_sent_when_there_is_room() {
    let (mut old, mut new, mut client) = answered_and_stuffed();
    old.turn();
    assert_eq!(old.engine.clients(), 1, "it is the old worker's still");
    assert_eq!(new.open_mailbox(), 0);
    old.until("the hand-over is done", |old| old.departure.is_none());
    assert_eq!(new.open_mailbox(), 1);
    assert_eq!((old.engine.clients(), new.engine.clients()), (0, 1));
    assert_eq!((old.figures(), new.figures()), ([1, 0, 0], [0, 1, 0]));
    is_served(&mut new, &mut client);
}

#[test]
fn a_release_that_never_left_leaves_the_clients_here_when_the_receiver_is_gone() {
    let (mut old, new, mut client) = answered_and_stuffed();
    let area = new.area.clone();
    let Side {
        engine, mailboxes, ..
    } = new;
    // Its successor finds what is in the mailbox, and knows nothing of the client.
    drop(engine);
    let mut successor = Side::new(&area, 2, mailboxes.own, &mailboxes.peers);
    old.until("they are given up", |old| old.departure.is_none());
    successor.open_mailbox();
    old.turn();
    successor.open_mailbox();
    assert!(old.unsent.is_empty());
    assert_eq!((old.engine.clients(), successor.engine.clients()), (1, 0));
    is_served(&mut old, &mut client);
}

#[test]
fn an_abort_that_meets_a_full_mailbox_is_sent_when_there_is_room() {
    let (mut old, mut new, mut client) = answered_and_stuffed();
    old.with_post(|post, _, departure| departure.as_mut().unwrap().abandon(post));
    old.departure = None;
    assert_eq!(new.engine.clients(), 1, "frozen");
    is_served(&mut old, &mut client);
    assert!(!old.unsent.is_empty());
    assert_eq!(new.open_mailbox(), 0);
    old.until("it is told", |old| old.unsent.is_empty());
    assert_eq!(new.open_mailbox(), 1);
    assert_eq!((old.engine.clients(), new.engine.clients()), (1, 0));
    assert_eq!((old.figures(), new.figures()), ([0, 0, 1], [0; 3]));
}

#[test]
fn nothing_overtakes_what_waits() {
    let (mut old, mut new, mut client) = answered_and_stuffed();
    old.with_post(|post, _, departure| departure.as_mut().unwrap().abandon(post));
    assert!(!old.unsent.is_empty(), "the abort waits");
    // There is room again, which shows when clients are offered anew.
    assert_eq!(new.open_mailbox(), 0);
    old.depart(2);
    let over = old.with_post(|post, _, departure| departure.as_mut().unwrap().turn(post, false));
    assert!(!over, "it is tried again");
    assert_eq!(new.open_mailbox(), 0, "the offer is not sent before");
    old.until("the client has moved", |old| {
        new.open_mailbox();
        old.open_mailbox();
        old.departure.is_none()
    });
    new.open_mailbox();
    assert_eq!((old.engine.clients(), new.engine.clients()), (0, 1));
    is_served(&mut new, &mut client);
}

#[test]
fn an_answer_that_meets_a_full_mailbox_is_sent_when_there_is_room() {
    let (mut old, mut new) = sides();
    let _client = old.client();
    old.depart(2);
    old.turn();
    new.stuff(1);
    assert_eq!(new.open_mailbox(), 1);
    assert_eq!(old.open_mailbox(), 0);
    new.until("it is answered", |new| new.unsent.is_empty());
    assert_eq!(old.open_mailbox(), 1);
    assert_eq!(new.open_mailbox(), 1);
    assert_eq!((old.engine.clients(), new.engine.clients()), (0, 1));
}

#[test]
fn nothing_is_kept_for_those_who_are_gone() {
    let (mut old, new, _client) = answered_and_stuffed();
    old.with_post(|post, _, departure| departure.as_mut().unwrap().abandon(post));
    assert!(!old.unsent.is_empty());
    drop(new);
    old.departure = None;
    old.turn();
    assert!(old.unsent.is_empty());
}

#[test]
fn clients_leave_when_a_full_mailbox_has_room_again() {
    let (mut old, mut new) = sides();
    let mut clients: Vec<UnixStream> = (0..200).map(|_| old.client()).collect();
    old.stuff(2);
    old.depart(2);
    old.turn();
    assert!(old.departure.is_some(), "it is tried again");
    is_served(&mut old, &mut clients[0]);
    old.until("all have moved", |old| {
        new.open_mailbox();
        new.turn();
        old.open_mailbox();
        old.departure.is_none()
    });
    new.open_mailbox();
    assert_eq!((old.engine.clients(), new.engine.clients()), (0, 200));
    assert_eq!((old.figures(), new.figures()), ([200, 0, 0], [0, 200, 0]));
    is_served(&mut new, &mut clients[199]);
}

#[test]
fn clients_stay_when_a_full_mailbox_has_no_room_for_long() {
    let (mut old, mut new) = sides();
    let mut client = old.client();
    old.stuff(2);
    old.depart(2);
    old.turn();
    old.later_ms = ANSWER_MS - 1_000;
    old.turn();
    assert!(old.departure.is_some(), "it is tried again");
    old.later_ms = 2 * ANSWER_MS;
    old.turn();
    assert!(old.departure.is_none());
    assert_eq!((new.open_mailbox(), old.engine.clients()), (0, 1));
    is_served(&mut old, &mut client);
}

#[test]
fn a_batch_that_was_not_released_in_time_stays() {
    let (mut old, mut new, mut client) = answered_and_stuffed();
    old.later_ms = ANSWER_MS;
    old.turn();
    assert!(old.departure.is_none());
    is_served(&mut old, &mut client);
    new.open_mailbox();
    old.turn();
    assert_eq!(new.open_mailbox(), 1);
    assert_eq!((old.engine.clients(), new.engine.clients()), (1, 0));
}

#[test]
fn what_a_dead_worker_has_offered_is_forgotten() {
    let (old, mut new, client) = answered_and_stuffed();
    new.later_ms = 2 * ANSWER_MS;
    new.turn();
    assert_eq!(new.engine.clients(), 1, "its owner lives");
    drop((old.engine, client));
    new.turn();
    assert_eq!(new.engine.clients(), 0);
}

#[test]
fn what_cannot_be_sent_at_all_ends_the_departure() {
    let (mut old, new) = sides();
    let mut client = old.client();
    old.mailboxes.peers.truncate(1);
    old.depart(2);
    old.turn();
    assert!(old.departure.is_none());
    assert_eq!(new.engine.clients(), 0);
    is_served(&mut old, &mut client);
}

#[test]
fn the_successor_of_a_dead_receiver_is_not_waited_for() {
    let (mut old, new) = sides();
    let mut client = old.client();
    old.depart(2);
    old.turn();
    let area = new.area.clone();
    let Side {
        engine, mailboxes, ..
    } = new;
    drop(engine);
    let mut successor = Side::new(&area, 2, mailboxes.own, &mailboxes.peers);
    let view = area.participant(2).unwrap();
    assert_eq!(view.state, ParticipantState::Ready);
    old.turn();
    assert!(old.departure.is_none(), "at once");
    successor.open_mailbox();
    assert_eq!((old.engine.clients(), successor.engine.clients()), (1, 0));
    is_served(&mut old, &mut client);
}

#[test]
fn who_answers_in_the_name_of_a_dead_receiver_gets_nobody() {
    let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
    let (peers, own): (Vec<OwnedFd>, Vec<OwnedFd>) =
        (0..2).map(|_| descriptors::packet_pair().unwrap()).unzip();
    let successors = own[1].try_clone().unwrap();
    let mut sides = (1..)
        .zip(own)
        .map(|(slot, own)| Side::new(&area, slot, own, &peers));
    let (mut old, new) = (sides.next().unwrap(), sides.next().unwrap());
    // Two batches.
    let mut clients: Vec<UnixStream> = (0..70).map(|_| old.client()).collect();
    old.depart(2);
    old.turn();
    // The receiver dies before it reads them, and its successor finds them.
    drop(new);
    let mut new = Side::new(&area, 2, successors, &peers);
    assert_eq!(new.open_mailbox(), 2);
    // A worker reads its letters before its departure looks at the receiver.
    assert_eq!(old.open_mailbox(), 2);
    old.until("all are ours again", |old| {
        new.open_mailbox();
        new.turn();
        old.departure.is_none() && new.engine.clients() == 0
    });
    for client in &mut clients {
        is_served(&mut old, client);
    }
}
