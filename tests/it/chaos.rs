//! Publishers and workers are killed at random under load: no frame is ever corrupt, nobody who publishes is held up,
//! and afterwards everything is as before.
//!
//! `BELLWETHER_CHAOS_SECONDS` makes it longer, `BELLWETHER_CHAOS_SEED` repeats the choices of a run.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::numbered;
use crate::peer::{Event, Peer};
use crate::process::{kill_hard, open_files, private_bytes};
use crate::server::{Server, succeeded, wait_for};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

const WORKERS: usize = 4;
const LISTENERS: u32 = 12;
const CLIENTS_THAT_PUBLISH: u64 = 3;
const VERBS: u64 = 2;
const SECONDS: u64 = 6;
const MESSAGE_BYTES_MAX: u64 = 20_000;
/// The master gives a slot up after five crashes in ten seconds; this stays clear of it.
const KILLS_OF_A_SLOT_MAX: usize = 3;
const KILLS_WINDOW: Duration = Duration::from_secs(11);
const THE_END: &str = "the end";

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")),
    )
}

/// Whether the chaos is over, and what was done meanwhile.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    received: AtomicU64,
    reconnects: AtomicU64,
    published: AtomicU64,
    verbs: AtomicU64,
    verbs_killed: AtomicU64,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client that stays, whatever happens to its worker.
fn reconnected(server: &Server) -> Peer {
    wait_for("a worker to take a client", PATIENCE, || {
        Peer::connect(server.address(), "/chaos").ok()
    })
}

/// Numbers of one sender only rise, on one connection.
fn note(last: &mut HashMap<String, u64>, text: &str) {
    let (sender, number) = numbered::check(text);
    let before = last.insert(sender.to_owned(), number);
    assert!(
        before < Some(number),
        "{sender} {number} came after {before:?}"
    );
}

/// Listens until the end is told, and counts on every frame being right.
fn listen(server: &Server, tally: &Tally) {
    loop {
        let mut peer = reconnected(server);
        let mut last = HashMap::new();
        loop {
            match peer.read().expect("in time") {
                Event::Text(text) if text == THE_END => return,
                Event::Text(text) => note(&mut last, &text),
                Event::Close(_) | Event::Ended | Event::Cut => break,
                Event::Binary(_) => panic!("nobody has sent this"),
            }
            Tally::add(&tally.received);
        }
        Tally::add(&tally.reconnects);
    }
}

/// Publishes as a client, and reads what it is sent meanwhile.
fn publish_as_client(server: &Server, tally: &Tally, name: &str, mut random: Random) {
    let mut number = 0;
    while !tally.is_over() {
        let mut peer = reconnected(server);
        let mut last = HashMap::new();
        'connection: while !tally.is_over() {
            number += 1;
            let bytes = usize::try_from(random.below(MESSAGE_BYTES_MAX)).unwrap();
            if peer.send(&numbered::message(name, number, bytes)).is_err() {
                break;
            }
            Tally::add(&tally.published);
            // On with the next when this one has come back.
            while last.get(name) != Some(&number) {
                match peer.read().expect("in time") {
                    Event::Text(text) => note(&mut last, &text),
                    Event::Close(_) | Event::Ended | Event::Cut => break 'connection,
                    Event::Binary(_) => panic!("nobody has sent this"),
                }
            }
        }
    }
}

/// Runs one verb after another; some are killed, the others must come to their end.
fn publish_by_verb(server: &Server, tally: &Tally, name: &str, mut random: Random) {
    let mut number = 0;
    while !tally.is_over() {
        number += 1;
        let bytes = usize::try_from(random.below(MESSAGE_BYTES_MAX)).unwrap();
        let mut verb = server
            .verb(&["publish", "chaos", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built master starts");
        let mut input = verb.stdin.take().expect("a pipe");
        input
            .write_all(numbered::message(name, number, bytes).as_bytes())
            .unwrap();
        drop(input);
        if random.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
            verb.kill().expect("our own child");
            verb.wait().expect("our own child");
            Tally::add(&tally.verbs_killed);
        } else {
            comes_to_its_end(verb);
            Tally::add(&tally.verbs);
        }
    }
}

fn comes_to_its_end(mut verb: Child) {
    wait_for("a verb to end", PATIENCE, || {
        verb.try_wait().expect("our own child")
    });
    succeeded(&verb.wait_with_output().expect("our own child"));
}

/// Kills workers at random moments; returns how many.
fn kill_workers(server: &Server, until: Instant, mut random: Random) -> u64 {
    let mut kills: HashMap<u16, Vec<Instant>> = HashMap::new();
    let mut count = 0;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50 + random.below(500)));
        let status = Status::of(server);
        let Some(at) = usize::try_from(random.below(WORKERS as u64)).ok() else {
            continue;
        };
        let victim = status
            .workers
            .get(at)
            .and_then(|worker| Some((worker.slot, worker.pid?)));
        let Some((slot, pid)) = victim else {
            continue;
        };
        let of_slot = kills.entry(slot).or_default();
        of_slot.retain(|when| when.elapsed() < KILLS_WINDOW);
        if of_slot.len() < KILLS_OF_A_SLOT_MAX {
            of_slot.push(Instant::now());
            kill_hard(pid);
            count += 1;
        }
    }
    count
}

/// Everybody at once, until the time is up; then the last message. Returns how many workers were killed.
fn wreak(server: &Server, tally: &Tally, seed: u64, seconds: u64) -> u64 {
    let random = |more: u64| Random::new(seed.wrapping_add(more));
    std::thread::scope(|scope| {
        for _ in 0..LISTENERS {
            scope.spawn(|| listen(server, tally));
        }
        let clients = (0..CLIENTS_THAT_PUBLISH).map(|at| {
            scope.spawn(move || {
                publish_as_client(server, tally, &format!("client{at}"), random(1 + at));
            })
        });
        let mut publishers: Vec<_> = clients.collect();
        publishers.extend((0..VERBS).map(|at| {
            scope.spawn(move || {
                publish_by_verb(server, tally, &format!("verb{at}"), random(100 + at));
            })
        }));
        let until = Instant::now() + Duration::from_secs(seconds);
        let kills = kill_workers(server, until, random(0));
        tally.over.store(true, Ordering::Relaxed);
        for publisher in publishers {
            publisher
                .join()
                .expect("a publisher that found nothing wrong");
        }
        Status::wait_for_workers(server, WORKERS);
        Status::wait_for_subscriptions(server, LISTENERS);
        assert_eq!(server.publish("chaos", THE_END), "reached 4 of 4 workers\n");
        kills
    })
}

#[test]
fn nothing_is_corrupt_and_nobody_is_held_up_when_processes_are_killed_at_random() {
    let seed = number_from("BELLWETHER_CHAOS_SEED").unwrap_or_else(|| {
        let since = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock after 1970");
        u64::from(since.subsec_nanos())
    });
    let seconds = number_from("BELLWETHER_CHAOS_SECONDS").unwrap_or(SECONDS);
    println!("BELLWETHER_CHAOS_SEED={seed}");
    let options = [
        "--processes",
        "4",
        "--clients-publish",
        "--spool-size",
        "1024",
    ];
    let server = Server::start(MASTER, &options);
    let master = server.pid().as_raw();
    server.publish("chaos", &numbered::message("warm-up", 1, 1000));
    let (files, memory) = (open_files(master), private_bytes(master));

    let tally = Tally::default();
    let kills = wreak(&server, &tally, seed, seconds);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{kills} workers and {} verbs killed, {} verbs and {} client messages published, {} received, {} reconnects",
        count(&tally.verbs_killed),
        count(&tally.verbs),
        count(&tally.published),
        count(&tally.received),
        count(&tally.reconnects),
    );
    assert!(
        kills > 0 && count(&tally.verbs_killed) > 0,
        "there was no chaos"
    );
    assert!(count(&tally.received) > 0 && count(&tally.reconnects) > 0);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    wait_for(
        "the master to hold as many files as before",
        PATIENCE,
        || (open_files(master) <= files).then_some(()),
    );
    let grown = private_bytes(master).saturating_sub(memory);
    assert!(
        grown < 8 * 1024 * 1024,
        "the master has grown by {grown} bytes"
    );
}
