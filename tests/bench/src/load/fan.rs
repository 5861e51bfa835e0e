//! Mode `fan`: one publisher, many subscribers, a closed loop. Every subscriber must get every message once and in
//! order.

use std::io::Read;
use std::time::{Duration, Instant};

use super::flight::{Flight, Reader};
use super::{BUFFER_BYTES, MASK, Moment, Report, STALL, Target};
use crate::frames::Template;
use crate::link::{Link, Received};
use crate::sockets::{Poll, Ready, Sources};
use crate::{Failure, process};

/// Between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(5);

/// Who has to have a message before the next may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Anybody: the server is never without work.
    First,
    /// Everybody: the same work for one process and for several, as nobody may lag behind and gather.
    All,
}

/// How the publisher publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publisher {
    /// Frames on a connection of the same kind as the subscribers'.
    Frames,
    /// HTTP POST to this path, on a kept connection.
    Post(String),
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many connections listen.
    pub subscribers: usize,
    /// Messages on their way at most.
    pub window: u64,
    /// Bytes of each payload.
    pub payload_bytes: usize,
    /// The publisher sends only so many bytes, and the server makes the message of them.
    pub ask_bytes: Option<usize>,
    /// Who sets the pace.
    pub pace: Pace,
    /// How messages are published.
    pub publisher: Publisher,
    /// Before anything is counted.
    pub warm: Duration,
    /// How long messages are published and counted.
    pub measured: Duration,
}

struct Run<'p> {
    plan: &'p Plan,
    target: &'p Target,
    poll: Poll,
    clients: Vec<Reader>,
    publisher: Reader,
    responses: Vec<u8>,
    outgoing: Template,
    expected: Template,
    flight: Flight,
    first: u64,
    publishing: bool,
    memory: Memory,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// How much memory of their own the server's processes have taken since the first message.
#[derive(Debug, Default)]
struct Memory {
    pids: Vec<u32>,
    before: u64,
    most: u64,
    looked: Option<Instant>,
}

impl Memory {
    fn before(&mut self, pids: &[u32]) -> Result<(), Failure> {
        self.pids = pids.to_vec();
        self.before = process::private_bytes(pids)?;
        self.most = self.before;
        Ok(())
    }

    /// Looks again, though not too often.
    fn look(&mut self, now: Instant) -> Result<(), Failure> {
        if self.looked.is_none_or(|looked| now - looked > LOOK) {
            self.looked = Some(now);
            self.most = self.most.max(process::private_bytes(&self.pids)?);
        }
        Ok(())
    }

    fn growth(&self) -> u64 {
        self.most - self.before
    }
}

/// Runs the plan.
///
/// # Errors
/// A wrong, lost or doubled message, a closed connection, a stall.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let mut run = Run::connect(target, plan)?;
    let pids = process::tree(target.pid)?;
    run.memory.before(&pids)?;
    run.publish_for(plan.warm)?;
    run.flight.latency.clear();
    let (start, before) = (Moment::now(&pids)?, run.deliveries());
    let published = run.flight.departed();
    run.publish_for(plan.measured)?;
    let mut report = start.report(
        &Moment::now(&pids)?,
        run.deliveries() - before,
        &run.flight.latency,
    );
    let published = run.flight.departed() - published;
    report.add("published", published as f64);
    report.add("private_growth", run.memory.growth() as f64);
    Ok(report)
}

impl<'p> Run<'p> {
    fn connect(target: &'p Target, plan: &'p Plan) -> Result<Self, Failure> {
        let poll = Poll::new(1024)?;
        let mut sources = Sources::new();
        let mut clients = Vec::with_capacity(plan.subscribers);
        for number in 0..plan.subscribers {
            clients.push(Reader::new(greeted(target, &mut sources)?));
            poll.add(clients[number].link.stream(), number)?;
        }
        let publisher = match plan.publisher {
            Publisher::Frames => greeted(target, &mut sources)?,
            Publisher::Post(_) => Link::new(sources.connect(target.address)?)?,
        };
        poll.add(publisher.stream(), plan.subscribers)?;
        let outgoing = if target.path.is_some() {
            Template::client(plan.ask_bytes.unwrap_or(plan.payload_bytes), MASK)
        } else {
            Template::server(plan.payload_bytes)
        };
        Ok(Self {
            plan,
            target,
            poll,
            clients,
            publisher: Reader::new(publisher),
            responses: Vec::new(),
            outgoing,
            expected: Template::server(plan.payload_bytes),
            flight: Flight::default(),
            first: 0,
            publishing: true,
            memory: Memory::default(),
            buffer: vec![0; BUFFER_BYTES],
            scratch: Vec::new(),
        })
    }

    /// All messages that anybody has got; a server may send the publisher its own as well.
    fn deliveries(&self) -> u64 {
        let subscribers: u64 = self.clients.iter().map(Reader::received).sum();
        subscribers + self.publisher.received()
    }

    /// Publishes for so long, then waits until everybody has everything.
    fn publish_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let end = Instant::now() + duration;
        self.publishing = true;
        self.refill()?;
        let mut ready: Vec<Ready> = Vec::new();
        let mut last_progress = Instant::now();
        while self.publishing || self.flight.missing() > 0 {
            ready.clear();
            ready.extend(self.poll.wait(Some(50))?);
            let now = Instant::now();
            if !ready.is_empty() {
                last_progress = now;
            }
            for event in &ready {
                if event.number == self.clients.len() {
                    self.serve_publisher(event)?;
                } else {
                    self.serve_subscriber(event)?;
                }
            }
            self.publishing = now < end;
            if self.plan.ask_bytes.is_some() {
                self.memory.look(now)?;
            }
            if now - last_progress > STALL {
                return Err(format!(
                    "{} messages did not reach everybody within {STALL:?}",
                    self.flight.missing()
                )
                .into());
            }
        }
        Ok(())
    }

    fn refill(&mut self) -> Result<(), Failure> {
        let done = match self.plan.pace {
            Pace::First => self.first,
            Pace::All => self.flight.departed() - self.flight.missing(),
        };
        if !self.publishing || self.flight.departed() >= done + self.plan.window {
            return Ok(());
        }
        let now = Instant::now();
        self.scratch.clear();
        while self.flight.departed() < done + self.plan.window {
            let number = self.flight.depart(now, self.clients.len());
            if let Publisher::Post(path) = &self.plan.publisher {
                let (host, bytes) = (self.target.address, self.plan.payload_bytes);
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n"
                );
                self.scratch.extend_from_slice(head.as_bytes());
                self.expected.append_payload(number, &mut self.scratch);
            } else {
                self.outgoing.append(number, &mut self.scratch);
            }
        }
        self.publisher.link.send(&self.scratch)
    }

    fn serve_subscriber(&mut self, event: &Ready) -> Result<(), Failure> {
        if !event.readable {
            return Ok(());
        }
        let client = &mut self.clients[event.number];
        let numbers = client.read(&mut self.buffer, &self.expected)?;
        self.first = self.first.max(numbers.end);
        self.flight.arrive(numbers)?;
        self.refill()
    }

    fn serve_publisher(&mut self, event: &Ready) -> Result<(), Failure> {
        if event.writable && self.publisher.link.is_clogged() {
            self.publisher.link.flush()?;
        }
        if !event.readable {
            return Ok(());
        }
        match self.plan.publisher {
            Publisher::Frames => {
                self.publisher.read(&mut self.buffer, &self.expected)?;
                Ok(())
            }
            Publisher::Post(_) => self.read_responses(),
        }
    }

    fn read_responses(&mut self) -> Result<(), Failure> {
        loop {
            match self.publisher.link.receive(&mut self.buffer) {
                Received::Bytes(read) => self.responses.extend_from_slice(&self.buffer[..read]),
                Received::Nothing => return Ok(()),
                Received::End => return Err("the server closed the publisher's connection".into()),
            }
            while let Some(used) = response_bytes(&self.responses)? {
                self.responses.drain(..used);
            }
        }
    }
}

/// Connects; a bare peer greets with one byte when the connection counts.
fn greeted(target: &Target, sources: &mut Sources) -> Result<Link, Failure> {
    let mut stream = target.connect(sources)?;
    if target.path.is_none() {
        stream.read_exact(&mut [0])?;
    }
    Link::new(stream)
}

/// Bytes of the response at the start of `input`, if all of it is there.
fn response_bytes(input: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 2") {
        return Err(format!(
            "publishing was refused: {}",
            head.lines().next().unwrap_or("")
        )
        .into());
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let total = end
        + 4
        + length
            .ok_or("a response without a length")?
            .trim()
            .parse::<usize>()?;
    Ok((input.len() >= total).then_some(total))
}

#[cfg(test)]
mod tests {
    use super::response_bytes;

    #[test]
    fn responses_are_counted_whole_and_refusals_are_errors() {
        let response = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 201";
        assert_eq!(response_bytes(response).unwrap(), Some(response.len() - 12));
        assert_eq!(response_bytes(&response[..43]).unwrap(), None);
        assert!(response_bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
