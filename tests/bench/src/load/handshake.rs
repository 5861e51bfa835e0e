//! Mode `handshake`: connections are opened, answered and dropped without ceremony, a number of them at a time.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Moment, Report, STALL, Target};
use crate::sockets::{Poll, Ready, Sources, nonblocking, upgrade_answer, upgrade_request};
use crate::{Failure, histogram::Histogram, process};

struct Attempt {
    stream: TcpStream,
    begun: Instant,
    request_left: bool,
    head: Vec<u8>,
}

/// Opens `at_once` connections at a time for as long as it lasts.
///
/// # Errors
/// A handshake is refused, or nothing happens.
pub fn run(
    target: &Target,
    at_once: usize,
    warm: Duration,
    measured: Duration,
) -> Result<Report, Failure> {
    let path = target
        .path
        .as_deref()
        .ok_or("handshakes need a websocket server")?;
    let request = upgrade_request(target.address, path);
    let pids = process::tree(target.pid)?;
    let mut poll = Poll::new(256)?;
    let mut sources = Sources::new();
    let mut begin = |poll: &Poll, number| -> Result<Attempt, Failure> {
        let stream = sources.begin_connect(target.address)?;
        poll.add(&stream, number)?;
        Ok(Attempt {
            stream,
            begun: Instant::now(),
            request_left: true,
            head: Vec::new(),
        })
    };
    let mut attempts = (0..at_once)
        .map(|number| begin(&poll, number))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut done, mut latency) = (0_u64, Histogram::default());
    let mut start = None;
    let (begun, mut last_progress) = (Instant::now(), Instant::now());
    let mut ready: Vec<Ready> = Vec::new();
    loop {
        ready.clear();
        ready.extend(poll.wait(Some(50))?);
        for event in &ready {
            let attempt = &mut attempts[event.number];
            if attempt.advance(event, &request)? {
                last_progress = Instant::now();
                latency.record((last_progress - attempt.begun).as_nanos() as u64, 1);
                done += 1;
                *attempt = begin(&poll, event.number)?;
            }
        }
        if last_progress.elapsed() > STALL {
            return Err(format!("no answer for {STALL:?}").into());
        }
        match &start {
            None if begun.elapsed() >= warm => {
                latency.clear();
                start = Some((Moment::now(&pids)?, done));
            }
            Some((moment, before)) if begun.elapsed() >= warm + measured => {
                return Ok(moment.report(&Moment::now(&pids)?, done - before, &latency));
            }
            None | Some(_) => {}
        }
    }
}

impl Attempt {
    /// True when the handshake is answered.
    fn advance(&mut self, event: &Ready, request: &str) -> Result<bool, Failure> {
        use std::io::Write;
        if event.writable && self.request_left {
            self.request_left = false;
            if self.stream.write(request.as_bytes())? < request.len() {
                return Err("a new socket has no room for a request".into());
            }
        }
        if !event.readable || self.request_left {
            return Ok(false);
        }
        let mut part = [0; 1024];
        while let Some(read) = nonblocking(self.stream.read(&mut part))? {
            if read == 0 {
                return Err("the server closed during the handshake".into());
            }
            self.head.extend_from_slice(&part[..read]);
            if upgrade_answer(&self.head)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
