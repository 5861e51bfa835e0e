//! Whole workers in one thread, with mailboxes, and without a master or listeners.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::app::Apps;
use crate::config::{Config, Environment};
use crate::net::Purpose;
use crate::sharedarea::{Geometry, ParticipantKind, SharedArea};
use crate::worker::{Mailboxes, Seat};

/// How long a condition may take before a test fails.
const PATIENCE_MS: u64 = 20_000;

/// Workers in slots 1, 2 and so on, and somebody in the last slot who passes clients on to them.
struct Bench {
    area: SharedArea,
    workers: Vec<Worker>,
    /// The sending ends of their mailboxes.
    mailboxes: Vec<OwnedFd>,
    /// The master's ends of their control sockets.
    _controls: Vec<OwnedFd>,
}

const SENDER: u16 = 9;

impl Bench {
    fn new(workers: u16, clients_max: usize) -> Self {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let (mailboxes, own): (Vec<OwnedFd>, Vec<OwnedFd>) = (0..workers)
            .map(|_| descriptors::packet_pair().unwrap())
            .unzip();
        let mut config = Config::new(&Environment::read());
        config.clients_max = clients_max;
        let mut controls = Vec::new();
        let seat_of = |(slot, own): (u16, OwnedFd)| {
            let (control, masters) = descriptors::packet_pair().unwrap();
            controls.push(masters);
            let peers = mailboxes.iter().map(|fd| fd.try_clone().unwrap());
            let seat = Seat {
                slot,
                generation: 1,
                config: config.clone(),
                listeners: Vec::new(),
                area: area.clone(),
                control,
                mailboxes: Mailboxes {
                    own,
                    peers: peers.collect(),
                },
                accepting: true,
            };
            let apps = Apps::new(&config, None).unwrap();
            Worker::start(seat, apps, Arc::new(AtomicBool::new(false))).unwrap()
        };
        let workers = (1..).zip(own).map(seat_of).collect();
        Self {
            area,
            workers,
            mailboxes,
            _controls: controls,
        }
    }

    /// A client that somebody passes on to the worker in `slot`.
    fn pass_on(&self, slot: u16) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let letter = Letter::New(Purpose::Clients).encode();
        let mailbox = self.mailboxes[usize::from(slot) - 1].as_fd();
        descriptors::send(mailbox, &letter, &[theirs.as_fd()]).unwrap();
        ours
    }

    fn clients(&self) -> Vec<usize> {
        let workers = self.workers.iter();
        workers.map(|worker| worker.engine.clients()).collect()
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = self.workers[0].engine.now_ms();
        while !done(self) {
            let waited = self.workers[0].engine.now_ms() - start;
            assert!(waited < PATIENCE_MS, "this never happened: {what}");
            for worker in &mut self.workers {
                assert!(worker.turn().unwrap().is_continue(), "it serves on");
            }
        }
    }
}

/// What has come to a client, up to the end of the stream, if that is there.
fn heard(client: &mut UnixStream) -> Option<String> {
    let mut text = String::new();
    client.read_to_string(&mut text).ok().map(|_| text)
}

#[test]
fn a_full_worker_passes_on_what_is_passed_on_to_it() {
    let mut bench = Bench::new(2, 3);
    let _clients: Vec<UnixStream> = (0..5).map(|_| bench.pass_on(1)).collect();
    bench.until("all have a place", |bench| bench.clients() == [3, 2]);
}

#[test]
fn a_client_for_whom_no_worker_has_room_is_refused_politely() {
    let mut bench = Bench::new(2, 2);
    let mut clients: Vec<UnixStream> = (0..4).map(|_| bench.pass_on(1)).collect();
    bench.until("all are full", |bench| bench.clients() == [2, 2]);
    let mut late = bench.pass_on(2);
    let mut answer = None;
    bench.until("there is an answer", |_| {
        answer = heard(&mut late);
        answer.is_some()
    });
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
    drop(late);
    bench.until("it has gone", |bench| bench.clients() == [2, 2]);
    assert!(clients.iter_mut().all(|client| heard(client).is_none()));
}

#[test]
fn a_place_that_the_dead_have_reserved_is_free_again() {
    let mut bench = Bench::new(1, 0);
    let sender = bench.area.join(ParticipantKind::Worker, SENDER).unwrap();
    assert!(sender.reserve(1));
    sender.vanish();
    let reserved = |bench: &mut Bench| bench.area.participant(1).unwrap().reserved;
    assert_eq!(reserved(&mut bench), 1);
    bench.until("it is free", |bench| reserved(bench) == 0);
}

#[test]
fn what_comes_often_is_told_once_a_minute() {
    let mut told = Told::default();
    let due: Vec<u64> = (0..200).filter(|s| told.is_due(1000 * s)).collect();
    assert_eq!(due, [0, 60, 120, 180]);
}
