//! Mode `echo`: every connection keeps a number of messages in flight and gets each of them back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::trace::Trace;
use super::{BUFFER_BYTES, MASK, Moment, Report, STALL, Target};
use crate::Failure;
use crate::frames::{Checker, Template};
use crate::histogram::Histogram;
use crate::link::{Link, Received};
use crate::process;
use crate::sockets::{Poll, Ready, Sources};

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many connections.
    pub connections: usize,
    /// Messages in flight on each.
    pub in_flight: u64,
    /// Bytes of each payload.
    pub payload_bytes: usize,
    /// Before anything is counted.
    pub warm: Duration,
    /// How long it is counted.
    pub measured: Duration,
    /// Count system calls after that for as long again.
    pub trace: bool,
}

struct Client {
    link: Link,
    checker: Checker,
    sent: u64,
    /// When how many messages left, oldest first.
    departures: VecDeque<(Instant, u64)>,
}

struct Run {
    poll: Poll,
    clients: Vec<Client>,
    outgoing: Template,
    expected: Template,
    refill: bool,
    received: u64,
    latency: Histogram,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    last_progress: Instant,
}

/// Runs the plan.
///
/// # Errors
/// A wrong byte, a lost message, a closed connection, a stall.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let mut run = Run::connect(target, plan)?;
    let pids = process::tree(target.pid)?;
    run.start(plan.in_flight)?;
    run.turn_for(plan.warm)?;
    run.latency.clear();
    let (start, before) = (Moment::now(&pids)?, run.received);
    run.turn_for(plan.measured)?;
    let mut report = start.report(&Moment::now(&pids)?, run.received - before, &run.latency);
    if plan.trace {
        let mut trace = Trace::attach(&pids)?;
        run.turn_until(|_| trace.is_attached())?;
        let before = run.received;
        run.turn_for(plan.measured)?;
        let messages = run.received - before;
        trace.stop()?;
        // A traced server stops at each call; it has to go on for the tracer to leave.
        run.turn_until(|_| trace.is_gone())?;
        report.add(
            "system_calls_per_message",
            trace.calls()? as f64 / messages.max(1) as f64,
        );
    }
    run.refill = false;
    run.turn_until(|run| {
        Ok(run
            .clients
            .iter()
            .all(|client| client.checker.received() == client.sent))
    })?;
    Ok(report)
}

impl Run {
    fn connect(target: &Target, plan: &Plan) -> Result<Self, Failure> {
        let poll = Poll::new(1024)?;
        let mut sources = Sources::new();
        let mut clients = Vec::with_capacity(plan.connections);
        for number in 0..plan.connections {
            let link = target.link(&mut sources)?;
            poll.add(link.stream(), number)?;
            clients.push(Client {
                link,
                checker: Checker::default(),
                sent: 0,
                departures: VecDeque::new(),
            });
        }
        Ok(Self {
            poll,
            clients,
            outgoing: Template::client(plan.payload_bytes, MASK),
            expected: target.answer(plan.payload_bytes),
            refill: true,
            received: 0,
            latency: Histogram::default(),
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
            last_progress: Instant::now(),
        })
    }

    fn start(&mut self, in_flight: u64) -> Result<(), Failure> {
        for number in 0..self.clients.len() {
            self.send(number, in_flight, Instant::now())?;
        }
        Ok(())
    }

    fn send(&mut self, number: usize, messages: u64, now: Instant) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        self.scratch.clear();
        for _ in 0..messages {
            self.outgoing.append(client.sent, &mut self.scratch);
            client.sent += 1;
        }
        client.departures.push_back((now, messages));
        client.link.send(&self.scratch)
    }

    fn turn_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = Instant::now() + duration;
        self.turn_until(|_| Ok(Instant::now() >= end))
    }

    fn turn_until(
        &mut self,
        mut done: impl FnMut(&Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut ready: Vec<Ready> = Vec::new();
        self.last_progress = Instant::now();
        while !done(self)? {
            ready.clear();
            ready.extend(self.poll.wait(Some(50))?);
            for event in &ready {
                self.serve(event)?;
            }
            if self.last_progress.elapsed() > STALL {
                return Err(format!("no answer for {STALL:?}").into());
            }
        }
        Ok(())
    }

    fn serve(&mut self, event: &Ready) -> Result<(), Failure> {
        let client = &mut self.clients[event.number];
        if event.writable && client.link.is_clogged() {
            client.link.flush()?;
        }
        if !event.readable {
            return Ok(());
        }
        loop {
            let client = &mut self.clients[event.number];
            let read = match client.link.receive(&mut self.buffer) {
                Received::Bytes(read) => read,
                Received::Nothing => return Ok(()),
                Received::End => return Err("the server closed a connection".into()),
            };
            let now = Instant::now();
            let messages = client.checker.check(&self.buffer[..read], &self.expected)?;
            self.received += messages;
            self.last_progress = now;
            client.arrived(messages, now, &mut self.latency)?;
            if self.refill && messages > 0 {
                self.send(event.number, messages, now)?;
            }
            if read < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

impl Client {
    fn arrived(
        &mut self,
        mut messages: u64,
        now: Instant,
        latency: &mut Histogram,
    ) -> Result<(), Failure> {
        while messages > 0 {
            let Some((departure, count)) = self.departures.front_mut() else {
                return Err("the server sent more than it was sent".into());
            };
            let these = messages.min(*count);
            latency.record((now - *departure).as_nanos() as u64, these);
            *count -= these;
            messages -= these;
            if *count == 0 {
                self.departures.pop_front();
            }
        }
        Ok(())
    }
}
