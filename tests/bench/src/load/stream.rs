//! Mode `stream`: messages leave at a fixed rate, whoever is slow. Every subscriber that reads must get every message
//! once and in order; some may stop reading for a while, and what those get is counted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::trace::Trace;
use super::{BUFFER_BYTES, MASK, Moment, Report, STALL, Target};
use crate::frames::{Checker, Template};
use crate::histogram::Histogram;
use crate::link::{Link, Received};
use crate::sockets::{Poll, Ready, Sources};
use crate::survey::Survey;
use crate::{Failure, process};

/// Between two looks at the clock; so many messages as are due then leave together.
const TICK_MS: u16 = 1;
/// How long messages still leave after the stalled ones read again.
const AFTER: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many connections listen.
    pub subscribers: usize,
    /// How many of them stop reading for a while.
    pub stalled: usize,
    /// For how long they do.
    pub stall: Duration,
    /// Messages a second.
    pub rate: u64,
    /// Bytes of each payload.
    pub payload_bytes: usize,
    /// Before anything is counted.
    pub warm: Duration,
    /// How long everything is counted.
    pub measured: Duration,
    /// Count the server's sends for as long again.
    pub trace: bool,
}

/// A subscriber that reads all the time.
struct Reader {
    link: Link,
    checker: Checker,
}

/// A subscriber that stops.
struct Sleeper {
    link: Link,
    survey: Survey,
    ended: bool,
}

struct Run<'p> {
    plan: &'p Plan,
    poll: Poll,
    readers: Vec<Reader>,
    sleepers: Vec<Sleeper>,
    asleep: bool,
    publisher: Link,
    publisher_checker: Checker,
    outgoing: Template,
    expected: Template,
    /// When each message that some reader misses was due, and how many miss it; oldest first.
    open: VecDeque<(Instant, usize)>,
    published: u64,
    /// When the next message is due; none: no more are.
    due: Option<Instant>,
    clogged_since: Option<Instant>,
    clogged: Duration,
    latency: Histogram,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// Runs the plan.
///
/// # Errors
/// A wrong, lost or doubled message of those who read, a closed connection of one of them, a stall of the server.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let mut run = Run::connect(target, plan)?;
    let pids = process::tree(target.pid)?;
    run.due = Some(Instant::now());
    run.turn_for(plan.warm)?;
    run.latency.clear();
    let (start, before, published) = (Moment::now(&pids)?, run.deliveries(), run.published);
    run.turn_for(plan.measured)?;
    let mut report = start.report(
        &Moment::now(&pids)?,
        run.deliveries() - before,
        &run.latency,
    );
    let published = (run.published - published) as f64;
    report.add(
        "published_per_second",
        published / plan.measured.as_secs_f64(),
    );
    if plan.trace {
        run.trace(&pids, &mut report)?;
    }
    if plan.stalled > 0 {
        run.stall(&pids, &mut report)?;
    }
    run.finish()?;
    report.add("lost", 0.0);
    report.add("publisher_blocked_ms", run.clogged.as_secs_f64() * 1e3);
    if plan.stalled > 0 {
        run.add_survey(&mut report);
    }
    Ok(report)
}

impl<'p> Run<'p> {
    fn connect(target: &Target, plan: &'p Plan) -> Result<Self, Failure> {
        let poll = Poll::new(1024)?;
        let mut sources = Sources::new();
        let (mut readers, mut sleepers) = (Vec::new(), Vec::new());
        for number in 0..plan.subscribers {
            let link = target.link(&mut sources)?;
            poll.add(link.stream(), number)?;
            // Those that stop are the last ones; servers spread both kinds over their processes.
            if number < plan.subscribers.saturating_sub(plan.stalled) {
                let checker = Checker::default();
                readers.push(Reader { link, checker });
            } else {
                sleepers.push(Sleeper {
                    link,
                    survey: Survey::default(),
                    ended: false,
                });
            }
        }
        let publisher = target.link(&mut sources)?;
        poll.add(publisher.stream(), plan.subscribers)?;
        Ok(Self {
            plan,
            poll,
            readers,
            sleepers,
            asleep: false,
            publisher,
            publisher_checker: Checker::default(),
            outgoing: Template::client(plan.payload_bytes, MASK),
            expected: Template::server(plan.payload_bytes),
            open: VecDeque::new(),
            published: 0,
            due: None,
            clogged_since: None,
            clogged: Duration::ZERO,
            latency: Histogram::default(),
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
        })
    }

    /// All messages that anybody has got; a server sends the publisher its own as well.
    fn deliveries(&self) -> u64 {
        let readers: u64 = self.readers.iter().map(|one| one.checker.received()).sum();
        let sleepers: u64 = self.sleepers.iter().map(|one| one.survey.received()).sum();
        readers + sleepers + self.publisher_checker.received()
    }

    fn trace(&mut self, pids: &[u32], report: &mut Report) -> Result<(), Failure> {
        let mut trace = Trace::attach_to_sends(pids)?;
        self.turn_until(|_| trace.is_attached())?;
        let before = self.deliveries();
        self.turn_for(self.plan.measured)?;
        let deliveries = self.deliveries() - before;
        trace.stop()?;
        self.turn_until(|_| trace.is_gone())?;
        let sends = trace.calls()? as f64;
        report.add("sends_per_delivery", sends / deliveries.max(1) as f64);
        Ok(())
    }

    /// Some stop reading; what that does to memory, to the others and to the publisher.
    fn stall(&mut self, pids: &[u32], report: &mut Report) -> Result<(), Failure> {
        let without = self.latency.quantile(0.99);
        let before = process::pss_bytes(pids)?;
        self.latency.clear();
        self.clogged = Duration::ZERO;
        self.asleep = true;
        let end = Instant::now() + self.plan.stall;
        let mut most = before;
        while Instant::now() < end {
            self.turn_for(self.plan.stall / 20)?;
            most = most.max(process::pss_bytes(pids)?);
        }
        let with = self.latency.quantile(0.99);
        self.asleep = false;
        for number in self.readers.len()..self.plan.subscribers {
            self.serve_sleeper(number)?;
        }
        self.turn_for(AFTER)?;
        let after = process::pss_bytes(pids)?;
        for (name, value) in [
            ("pss_before", before as f64),
            ("pss_stalled", most as f64),
            ("pss_after", after as f64),
            ("pss_growth", most.saturating_sub(before) as f64),
            ("p99_with_us", with as f64 / 1e3),
            ("p99_change", with as f64 / without.max(1) as f64),
        ] {
            report.add(name, value);
        }
        Ok(())
    }

    /// What the stalled ones have got, for each of them on average.
    fn add_survey(&self, report: &mut Report) {
        let count = self.sleepers.len() as f64;
        let mean = |of: fn(&Survey) -> u64| {
            let sum: u64 = self.sleepers.iter().map(|one| of(&one.survey)).sum();
            sum as f64 / count
        };
        let (received, missed) = (mean(Survey::received), mean(Survey::missed));
        let closed = |survey: &Survey| u64::from(survey.close() == Some(1013));
        report.add("stalled_received", received);
        report.add("stalled_missed", missed);
        report.add("stalled_gaps", mean(Survey::gaps));
        report.add("stalled_closed", mean(closed));
        let ended = self.sleepers.iter().filter(|one| one.ended).count();
        report.add("stalled_ended", ended as f64 / count);
    }

    /// Publishes no more, and waits until everybody who still is there has the last message.
    fn finish(&mut self) -> Result<(), Failure> {
        self.due = None;
        self.turn_until(|run| {
            let current = |one: &Sleeper| one.ended || one.survey.next() == run.published;
            Ok(run.open.is_empty() && run.sleepers.iter().all(current))
        })
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
        let mut last_progress = Instant::now();
        while !done(self)? {
            self.publish()?;
            ready.clear();
            ready.extend(self.poll.wait(Some(TICK_MS))?);
            if !ready.is_empty() {
                last_progress = Instant::now();
            }
            for event in &ready {
                self.serve(event)?;
            }
            if last_progress.elapsed() > STALL {
                return Err(
                    format!("{} messages are under way for {STALL:?}", self.open.len()).into(),
                );
            }
        }
        Ok(())
    }

    /// Sends all messages that are due by now.
    fn publish(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let interval = Duration::from_secs(1) / u32::try_from(self.plan.rate.max(1))?;
        self.scratch.clear();
        while let Some(due) = self.due.filter(|due| *due <= now) {
            self.outgoing.append(self.published, &mut self.scratch);
            self.open.push_back((due, self.readers.len()));
            self.published += 1;
            self.due = Some(due + interval);
        }
        if !self.scratch.is_empty() {
            self.publisher.send(&self.scratch)?;
            self.watch_publisher(now);
        }
        Ok(())
    }

    fn watch_publisher(&mut self, now: Instant) {
        if self.publisher.is_clogged() {
            self.clogged_since.get_or_insert(now);
        } else if let Some(since) = self.clogged_since.take() {
            self.clogged += now - since;
        }
    }

    fn serve(&mut self, event: &Ready) -> Result<(), Failure> {
        match event.number {
            number if number == self.plan.subscribers => self.serve_publisher(event),
            number if !event.readable || (number >= self.readers.len() && self.asleep) => Ok(()),
            number if number < self.readers.len() => self.serve_reader(number),
            number => self.serve_sleeper(number),
        }
    }

    fn serve_reader(&mut self, number: usize) -> Result<(), Failure> {
        loop {
            let Reader { link, checker } = &mut self.readers[number];
            let read = match link.receive(&mut self.buffer) {
                Received::Bytes(read) => read,
                Received::Nothing => return Ok(()),
                Received::End => return Err("the server closed a client that reads".into()),
            };
            let before = checker.received();
            checker.check(&self.buffer[..read], &self.expected)?;
            let after = checker.received();
            self.delivered(before, after)?;
            if read < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// A reader has got the messages from `before` up to but not including `after`.
    fn delivered(&mut self, before: u64, after: u64) -> Result<(), Failure> {
        if after > self.published {
            return Err("the server delivered what was never published".into());
        }
        let now = Instant::now();
        let oldest = self.published - self.open.len() as u64;
        for number in before..after {
            let (due, missing) = &mut self.open[usize::try_from(number - oldest)?];
            *missing -= 1;
            self.latency.record((now - *due).as_nanos() as u64, 1);
        }
        while self.open.front().is_some_and(|(_, missing)| *missing == 0) {
            self.open.pop_front();
        }
        Ok(())
    }

    fn serve_sleeper(&mut self, number: usize) -> Result<(), Failure> {
        let sleeper = &mut self.sleepers[number - self.readers.len()];
        while !sleeper.ended {
            match sleeper.link.receive(&mut self.buffer) {
                Received::Bytes(read) => {
                    sleeper.survey.take(&self.buffer[..read], &self.expected)?;
                }
                Received::Nothing => return Ok(()),
                Received::End => sleeper.ended = true,
            }
            // It does not answer the close frame, so the end of the stream may take a while.
            sleeper.ended |= sleeper.survey.close().is_some();
        }
        Ok(())
    }

    fn serve_publisher(&mut self, event: &Ready) -> Result<(), Failure> {
        if event.writable && self.publisher.is_clogged() {
            self.publisher.flush()?;
            self.watch_publisher(Instant::now());
        }
        loop {
            match self.publisher.receive(&mut self.buffer) {
                Received::Bytes(read) => {
                    self.publisher_checker
                        .check(&self.buffer[..read], &self.expected)?;
                }
                Received::Nothing => return Ok(()),
                Received::End => return Err("the server closed the publisher's connection".into()),
            }
        }
    }
}
