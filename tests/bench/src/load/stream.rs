//! Mode `stream`: messages leave at a fixed rate, whoever is slow. Every subscriber that reads must get every message
//! once and in order; some may stop reading for a while, and what those get is counted.

use std::time::{Duration, Instant};

use super::flight::{Flight, Reader};
use super::sends::sends;
use super::{BUFFER_BYTES, MASK, Moment, Report, STALL, Target};
use crate::frames::Template;
use crate::link::{Link, Received};
use crate::sockets::{Poll, Ready, Sources};
use crate::survey::Survey;
use crate::{Failure, process};

/// Between two looks at the clock; so many messages as are due then leave together.
const TICK_MS: u16 = 1;
/// Latencies are compared by the median of such windows: other work on the machine spoils some of them. Each is long
/// enough for its 99th percentile to be more than its worst message.
const LATENCY_WINDOW: Duration = Duration::from_secs(1);
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
    /// Ask the server that has this run directory how often it has sent.
    pub run_dir: Option<String>,
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
    publisher: Reader,
    outgoing: Template,
    expected: Template,
    /// Messages depart when they are due; those that sleep do not count.
    flight: Flight,
    /// When the next message is due; none: no more are.
    due: Option<Instant>,
    clogged_since: Option<Instant>,
    clogged: Duration,
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
    let count_sends = || plan.run_dir.as_deref().map(sends).transpose();
    let (sends_before, all_before) = (count_sends()?, run.deliveries());
    run.due = Some(Instant::now());
    run.turn_for(plan.warm)?;
    run.flight.latency.clear();
    let (start, before, published) = (Moment::now(&pids)?, run.deliveries(), run.flight.departed());
    run.turn_for(plan.measured)?;
    let mut report = start.report(
        &Moment::now(&pids)?,
        run.deliveries() - before,
        &run.flight.latency,
    );
    let published = (run.flight.departed() - published) as f64;
    report.add(
        "published_per_second",
        published / plan.measured.as_secs_f64(),
    );
    if let Some((before, now)) = sends_before.zip(count_sends()?) {
        let deliveries = run.deliveries() - all_before;
        report.add(
            "sends_per_delivery",
            (now - before) as f64 / deliveries.max(1) as f64,
        );
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
                readers.push(Reader::new(link));
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
            publisher: Reader::new(publisher),
            outgoing: Template::client(plan.payload_bytes, MASK),
            expected: Template::server(plan.payload_bytes),
            flight: Flight::default(),
            due: None,
            clogged_since: None,
            clogged: Duration::ZERO,
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
        })
    }

    /// All messages that anybody has got; a server sends the publisher its own as well.
    fn deliveries(&self) -> u64 {
        let readers: u64 = self.readers.iter().map(Reader::received).sum();
        let sleepers: u64 = self.sleepers.iter().map(|one| one.survey.received()).sum();
        readers + sleepers + self.publisher.received()
    }

    /// Some stop reading; what that does to memory, to the others and to the publisher. Before it is looked at in the
    /// same way and for as long as during it.
    fn stall(&mut self, pids: &[u32], report: &mut Report) -> Result<(), Failure> {
        let mut most = 0;
        let without = self.p99_for(self.plan.stall, pids, &mut most)?;
        let before = process::pss_bytes(pids)?;
        most = before;
        self.clogged = Duration::ZERO;
        self.asleep = true;
        let with = self.p99_for(self.plan.stall, pids, &mut most)?;
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
            ("p99_before_us", without as f64 / 1e3),
            ("p99_with_us", with as f64 / 1e3),
            ("p99_change", with as f64 / without.max(1) as f64),
        ] {
            report.add(name, value);
        }
        Ok(())
    }

    /// Goes on for so long; the median of the windows' 99th percentiles in nanoseconds. `most` follows the memory.
    fn p99_for(
        &mut self,
        duration: Duration,
        pids: &[u32],
        most: &mut u64,
    ) -> Result<u64, Failure> {
        let end = Instant::now() + duration;
        let mut windows = Vec::new();
        while Instant::now() < end {
            self.flight.latency.clear();
            self.turn_for(LATENCY_WINDOW)?;
            windows.push(self.flight.latency.quantile(0.99));
            *most = (*most).max(process::pss_bytes(pids)?);
        }
        windows.sort_unstable();
        Ok(windows.get(windows.len() / 2).copied().unwrap_or(0))
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
            let current = |one: &Sleeper| one.ended || one.survey.next() == run.flight.departed();
            Ok(run.flight.missing() == 0 && run.sleepers.iter().all(current))
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
                let missing = self.flight.missing();
                return Err(format!("{missing} messages are under way for {STALL:?}").into());
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
            let number = self.flight.depart(due, self.readers.len());
            self.outgoing.append(number, &mut self.scratch);
            self.due = Some(due + interval);
        }
        if !self.scratch.is_empty() {
            self.publisher.link.send(&self.scratch)?;
            self.watch_publisher(now);
        }
        Ok(())
    }

    fn watch_publisher(&mut self, now: Instant) {
        if self.publisher.link.is_clogged() {
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
        let numbers = self.readers[number].read(&mut self.buffer, &self.expected)?;
        self.flight.arrive(numbers)
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
        if event.writable && self.publisher.link.is_clogged() {
            self.publisher.link.flush()?;
            self.watch_publisher(Instant::now());
        }
        self.publisher.read(&mut self.buffer, &self.expected)?;
        Ok(())
    }
}
