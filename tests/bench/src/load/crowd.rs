//! Mode `crowd`: many publish at once, each on a connection of its own, into one channel. Everybody must get
//! everything, each publisher's messages in their order, and all connections all messages in the same order.

use std::time::{Duration, Instant};

use super::{BUFFER_BYTES, MASK, Moment, Report, STALL, Target};
use crate::frames::Template;
use crate::histogram::Histogram;
use crate::link::{Link, Received};
use crate::numbers::Numbers;
use crate::sockets::{Poll, Ready, Sources};
use crate::{Failure, process};

/// A message's number has its publisher above this bit.
const PUBLISHER_SHIFT: u32 = 32;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many publish; they listen as well.
    pub publishers: usize,
    /// How many listen only.
    pub listeners: usize,
    /// Messages of one publisher on their way to itself.
    pub window: u64,
    /// Bytes of each payload.
    pub payload_bytes: usize,
    /// Before anything is counted.
    pub warm: Duration,
    /// How long messages are published and counted.
    pub measured: Duration,
}

struct Client {
    link: Link,
    numbers: Numbers,
    /// How many messages it has got.
    received: u64,
    /// How many it has sent, and how many of its own it has got; when the oldest of the others left.
    sent: u64,
    own: u64,
    departures: std::collections::VecDeque<Instant>,
}

struct Run<'p> {
    plan: &'p Plan,
    poll: Poll,
    clients: Vec<Client>,
    outgoing: Template,
    expected: Template,
    /// The order as whoever was first has seen it.
    order: Vec<u64>,
    publishing: bool,
    latency: Histogram,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// Runs the plan.
///
/// # Errors
/// A wrong, lost or doubled message, another order, a closed connection, a stall.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let mut run = Run::connect(target, plan)?;
    let pids = process::tree(target.pid)?;
    run.publish_for(plan.warm)?;
    run.latency.clear();
    let (start, before) = (Moment::now(&pids)?, run.published());
    run.publish_for(plan.measured)?;
    let end = Moment::now(&pids)?;
    let mut report = start.report(&end, run.published() - before, &run.latency);
    report.add("lost", 0.0);
    report.add("connections", run.clients.len() as f64);
    Ok(report)
}

impl<'p> Run<'p> {
    fn connect(target: &Target, plan: &'p Plan) -> Result<Self, Failure> {
        let poll = Poll::new(1024)?;
        let mut sources = Sources::new();
        let mut clients = Vec::new();
        for number in 0..plan.publishers + plan.listeners {
            let link = target.link(&mut sources)?;
            poll.add(link.stream(), number)?;
            clients.push(Client {
                link,
                numbers: Numbers::default(),
                received: 0,
                sent: 0,
                own: 0,
                departures: std::collections::VecDeque::new(),
            });
        }
        Ok(Self {
            plan,
            poll,
            clients,
            outgoing: Template::client(plan.payload_bytes, MASK),
            expected: Template::server(plan.payload_bytes),
            order: Vec::new(),
            publishing: true,
            latency: Histogram::default(),
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
        })
    }

    fn published(&self) -> u64 {
        self.clients.iter().map(|client| client.sent).sum()
    }

    /// Publishes for so long, then waits until everybody has everything.
    fn publish_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = Instant::now() + duration;
        self.publishing = true;
        for number in 0..self.plan.publishers {
            self.refill(number)?;
        }
        let mut ready: Vec<Ready> = Vec::new();
        let mut last_progress = Instant::now();
        while self.publishing || !self.is_complete() {
            ready.clear();
            ready.extend(self.poll.wait(Some(50))?);
            if !ready.is_empty() {
                last_progress = Instant::now();
            }
            for event in &ready {
                self.serve(event)?;
            }
            self.publishing = Instant::now() < end;
            if last_progress.elapsed() > STALL {
                let (seen, sent) = (self.order.len(), self.published());
                return Err(
                    format!("{seen} of {sent} messages came, no more for {STALL:?}").into(),
                );
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let published = self.published();
        self.clients
            .iter()
            .all(|client| client.received == published)
    }

    fn refill(&mut self, number: usize) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        if !self.publishing || number >= self.plan.publishers {
            return Ok(());
        }
        let now = Instant::now();
        self.scratch.clear();
        while client.sent < client.own + self.plan.window {
            let stamp = (number as u64) << PUBLISHER_SHIFT | client.sent;
            self.outgoing.append(stamp, &mut self.scratch);
            client.departures.push_back(now);
            client.sent += 1;
        }
        client.link.send(&self.scratch)
    }

    fn serve(&mut self, event: &Ready) -> Result<(), Failure> {
        let number = event.number;
        let link = &mut self.clients[number].link;
        if event.writable && link.is_clogged() {
            link.flush()?;
        }
        if !event.readable {
            return Ok(());
        }
        loop {
            let read = match self.clients[number].link.receive(&mut self.buffer) {
                Received::Bytes(read) => read,
                Received::Nothing => break,
                Received::End => return Err("the server closed a connection".into()),
            };
            let client = &mut self.clients[number];
            let stamps = client.numbers.take(&self.buffer[..read], &self.expected)?;
            for stamp in stamps {
                self.message(number, stamp)?;
            }
            if read < self.buffer.len() {
                break;
            }
        }
        self.refill(number)
    }

    fn message(&mut self, number: usize, stamp: u64) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        let place = usize::try_from(client.received)?;
        match self.order.get(place) {
            None => self.order.push(stamp),
            Some(seen) if *seen == stamp => {}
            Some(_) => {
                return Err(format!("two clients see another order at message {place}").into());
            }
        }
        client.received += 1;
        if stamp >> PUBLISHER_SHIFT != number as u64 || number >= self.plan.publishers {
            return Ok(());
        }
        // One's own messages come in the order in which one has sent them, and everybody has the same order.
        if stamp & ((1 << PUBLISHER_SHIFT) - 1) != client.own {
            return Err("a publisher's messages are lost, doubled or out of order".into());
        }
        client.own += 1;
        let departure = client.departures.pop_front().ok_or("it was not sent yet")?;
        self.latency
            .record(departure.elapsed().as_nanos() as u64, 1);
        Ok(())
    }
}
