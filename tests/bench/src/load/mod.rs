//! The modes of the load generator. One thread, one poll; every byte that comes back is compared.
//!
//! It must not know which server it talks to, beyond whether that speaks websocket.

pub mod crowd;
pub mod echo;
pub mod fan;
mod flight;
pub mod handshake;
pub mod idle;
mod sends;
pub mod stream;
mod trace;

use std::fmt;
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use crate::frames::Template;
use crate::link::Link;
use crate::process;
use crate::sockets::{Sources, upgrade};
use crate::{Failure, histogram::Histogram};

/// The masking key of every frame that the generator sends: it costs a server the same as any other.
pub const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x8e];

/// Receive buffer; one recv takes all that a connection has in nearly every case.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// A run in which nothing at all happens for so long has failed.
pub const STALL: Duration = Duration::from_secs(20);

/// The server under load.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// The path of the websocket; none: bare TCP.
    pub path: Option<String>,
    /// The root of its process tree.
    pub pid: u32,
}

impl Target {
    /// A blocking connection, with the opening handshake done.
    ///
    /// # Errors
    /// The server refuses, or says something before it was asked.
    pub fn connect(&self, sources: &mut Sources) -> Result<TcpStream, Failure> {
        let mut stream = sources.connect(self.address)?;
        if let Some(path) = &self.path {
            let extra = upgrade(&mut stream, self.address, path)?;
            if !extra.is_empty() {
                return Err("the server sent frames that nobody has asked for".into());
            }
        }
        Ok(stream)
    }

    /// As [`Target::connect`], for the event loop.
    ///
    /// # Errors
    /// The same.
    pub fn link(&self, sources: &mut Sources) -> Result<Link, Failure> {
        Link::new(self.connect(sources)?)
    }

    /// The same for the command line of the generator.
    pub fn arguments(&self) -> Vec<String> {
        let path = self.path.iter().map(|path| ("--path", path.clone()));
        [
            ("--address", self.address.to_string()),
            ("--pid", self.pid.to_string()),
        ]
        .into_iter()
        .chain(path)
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    /// What must come back for what is sent with [`MASK`]: a bare peer returns it as it is.
    pub fn answer(&self, payload_bytes: usize) -> Template {
        if self.path.is_some() {
            Template::server(payload_bytes)
        } else {
            Template::client(payload_bytes, MASK)
        }
    }
}

/// Times and amounts of CPU at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Instant,
    server_ns: u64,
    own_ns: u64,
}

impl Moment {
    /// Reads the clocks of the server's tree and of this process.
    ///
    /// # Errors
    /// The server is gone.
    pub fn now(pids: &[u32]) -> Result<Self, Failure> {
        let server_ns = process::cpu_ns(pids)?;
        Ok(Self {
            at: Instant::now(),
            server_ns,
            own_ns: process::cpu_ns(&[std::process::id()])?,
        })
    }

    /// The usual figures of what happened from this moment to `end`, in which `messages` came.
    pub fn report(&self, end: &Self, messages: u64, latency: &Histogram) -> Report {
        let seconds = (end.at - self.at).as_secs_f64();
        let mut report = Report::default();
        report.add("messages", messages as f64);
        report.add("seconds", seconds);
        report.add(
            "cpu_ns_per_message",
            (end.server_ns - self.server_ns) as f64 / messages.max(1) as f64,
        );
        report.add("messages_per_second", messages as f64 / seconds);
        report.add("p50_us", latency.quantile(0.50) as f64 / 1000.0);
        report.add("p99_us", latency.quantile(0.99) as f64 / 1000.0);
        report.add(
            "server_busy",
            (end.server_ns - self.server_ns) as f64 / 1e9 / seconds,
        );
        report.add(
            "generator_busy",
            (end.own_ns - self.own_ns) as f64 / 1e9 / seconds,
        );
        report
    }
}

/// Figures with names, printed as one line of `name=value`.
#[derive(Debug, Clone, Default)]
pub struct Report {
    figures: Vec<(String, f64)>,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: f64) {
        self.figures.push((name.to_owned(), value));
    }

    /// The figure of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }

    /// Reads back what [`fmt::Display`] has written; `None` for anything else.
    pub fn parse(line: &str) -> Option<Self> {
        let figure = |word: &str| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let figures: Vec<_> = line.split_whitespace().map(figure).collect::<Option<_>>()?;
        (!figures.is_empty()).then_some(Self { figures })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.figures.iter().enumerate() {
            write!(f, "{}{name}={value:.4}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_report_is_read_back() {
        let mut report = Report::default();
        report.add("messages", 12.0);
        report.add("p50_us", 7.25);
        let read = Report::parse(&report.to_string()).unwrap();
        assert_eq!(
            (read.get("messages"), read.get("p50_us"), read.get("none")),
            (Some(12.0), Some(7.25), None)
        );
        assert!(Report::parse("something else").is_none());
    }
}
