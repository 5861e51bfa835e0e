//! The stats server: on connect it writes one JSON document and ends, as uWSGI's does, so that what
//! reads uWSGI's statistics reads ours.
//!
//! Nothing here blocks: a connection has its document, a deadline, and is one of a bounded number. It
//! must not know what stands in a document.

mod document;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use super::listeners::{Bound, take_or_bind};
use super::logging::REPEATABLE;
use crate::config::{Config, StatsStyle};
use crate::net::{BindError, Progress, Purpose, Transport};
use crate::protocol::http::{Response, Status, encode_response};

pub(super) use document::Facts;
use document::document;

/// Who may be connected at once; the next ones wait in the queue.
const CONNECTIONS_MAX: usize = 16;
/// A reader gets this long for all of it.
const DEADLINE_MS: u64 = 4_000;
/// Bytes of a request head that nobody reads.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const HEADERS: [(&str, &str); 2] = [
    ("Access-Control-Allow-Origin", "*"),
    ("Content-Type", "application/json"),
];

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Somebody connects, to the listener of this number.
    Listener(usize),
    /// A connection, by its number.
    Connection(u64),
}

#[derive(Debug, Default)]
pub(super) struct StatsServer {
    listeners: Vec<Rc<Bound>>,
    style: StatsStyle,
    connections: BTreeMap<u64, Connection>,
    next_number: u64,
}

#[derive(Debug)]
struct Connection {
    transport: Transport,
    reader: Reader,
}

/// How far a reader is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reader {
    phase: Phase,
    deadline_ms: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Phase {
    /// Its request is awaited: the last bytes of it, and how many there were.
    Asking { tail: [u8; 4], bytes: usize },
    /// The document is on its way.
    Sending { document: Vec<u8>, sent: usize },
    /// All is said; the end of the reader's side is awaited, or the document might be lost.
    Leaving,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Ends,
}

impl StatsServer {
    /// Listens where the configuration says.
    pub(super) fn bind(config: &Config) -> Result<Self, BindError> {
        let listen = |address| take_or_bind(address, Purpose::Clients, &mut Vec::new(), config);
        Ok(Self {
            listeners: config.stats.iter().map(listen).collect::<Result<_, _>>()?,
            style: config.stats_style,
            connections: BTreeMap::new(),
            next_number: 0,
        })
    }

    /// The same with the sockets and readers that the program before this one had. A server that runs
    /// does not end for want of a reader.
    pub(super) fn inherit(
        config: &Config,
        mut there: Vec<Rc<Bound>>,
        readers: Vec<(OwnedFd, Reader)>,
    ) -> Self {
        let mut listen = |address| {
            let bound = take_or_bind(address, Purpose::Clients, &mut there, config);
            bound.inspect_err(|error| log::error!("no statistics: {error}"))
        };
        let addresses = config.stats.iter();
        let listeners: Vec<_> = addresses.filter_map(|one| listen(one).ok()).collect();
        if config.operations.vacuum {
            there.iter().for_each(|bound| bound.remove_file());
        }
        let connections = (0..).zip(readers).map(|(number, (fd, reader))| {
            let transport = Transport::new(fd);
            (number, Connection { transport, reader })
        });
        let connections: BTreeMap<u64, Connection> = connections.collect();
        Self {
            listeners,
            style: config.stats_style,
            next_number: connections.len() as u64,
            connections,
        }
    }

    /// Who reads, for a new program.
    pub(super) fn readers(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Reader)> {
        let connections = self.connections.values();
        connections.map(|connection| (connection.transport.as_fd(), connection.reader.clone()))
    }

    pub(super) fn listeners(&self) -> &[Rc<Bound>] {
        &self.listeners
    }

    /// What to poll, and for what.
    pub(super) fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut sources = Vec::new();
        if self.connections.len() < CONNECTIONS_MAX {
            let listeners = self.listeners.iter().enumerate();
            sources.extend(listeners.map(|(number, bound)| {
                (
                    Source::Listener(number),
                    bound.listener.as_fd(),
                    PollFlags::POLLIN,
                )
            }));
        }
        sources.extend(self.connections.iter().map(|(number, connection)| {
            let flags = match connection.reader.phase {
                Phase::Asking { .. } | Phase::Leaving => PollFlags::POLLIN,
                Phase::Sending { .. } => PollFlags::POLLOUT,
            };
            let fd = connection.transport.as_fd();
            (Source::Connection(*number), fd, flags)
        }));
        sources
    }

    /// When a reader has had its time.
    pub(super) fn next_timeout_ms(&self) -> Option<u64> {
        let deadlines = self.connections.values();
        deadlines
            .map(|connection| connection.reader.deadline_ms)
            .min()
    }

    /// Something is ready; `facts` are collected when they are needed.
    pub(super) fn ready(&mut self, source: Source, now_ms: u64, facts: &dyn Fn() -> Facts) {
        match source {
            Source::Listener(number) => self.accept(number, now_ms, facts),
            Source::Connection(number) => self.go_on(number, facts),
        }
    }

    /// Drops who has had its time.
    pub(super) fn turn(&mut self, now_ms: u64) {
        self.connections
            .retain(|_, connection| connection.reader.deadline_ms > now_ms);
    }

    fn accept(&mut self, listener: usize, now_ms: u64, facts: &dyn Fn() -> Facts) {
        let Some(bound) = self.listeners.get(listener) else {
            return;
        };
        let transport = match bound.listener.accept() {
            Ok(Some(transport)) => transport,
            Ok(None) => return,
            Err(error) => {
                // Out of descriptors: the reader waits in the queue until one is free.
                log::warn!(target: REPEATABLE, "stats: cannot accept: {error}");
                return;
            }
        };
        let phase = if self.style.http {
            Phase::Asking {
                tail: [0; 4],
                bytes: 0,
            }
        } else {
            Phase::sending(self.style, facts)
        };
        let number = self.next_number;
        self.next_number += 1;
        let reader = Reader {
            phase,
            deadline_ms: now_ms + DEADLINE_MS,
        };
        let connection = Connection { transport, reader };
        self.connections.insert(number, connection);
        self.go_on(number, facts);
    }

    fn go_on(&mut self, number: u64, facts: &dyn Fn() -> Facts) {
        if let Some(connection) = self.connections.get_mut(&number)
            && connection.go_on(self.style, facts) == Fate::Ends
        {
            self.connections.remove(&number);
        }
    }
}

impl Phase {
    fn sending(style: StatsStyle, facts: &dyn Fn() -> Facts) -> Self {
        Self::Sending {
            document: encode(&document(&facts()), style),
            sent: 0,
        }
    }
}

impl Connection {
    fn go_on(&mut self, style: StatsStyle, facts: &dyn Fn() -> Facts) -> Fate {
        loop {
            match &mut self.reader.phase {
                Phase::Asking { tail, bytes } => {
                    let mut chunk = [0; 1024];
                    let got = match self.transport.receive(&mut chunk) {
                        Ok(Progress::Moved(got)) => got,
                        Ok(Progress::Blocked) => return Fate::Stays,
                        Ok(Progress::Ended) | Err(_) => return Fate::Ends,
                    };
                    *bytes += got;
                    if ends_a_head(tail, &chunk[..got]) || *bytes > HEAD_BYTES_MAX {
                        self.reader.phase = Phase::sending(style, facts);
                    }
                }
                Phase::Sending { document, sent } => {
                    if *sent == document.len() {
                        self.transport.shutdown_write();
                        self.reader.phase = Phase::Leaving;
                        continue;
                    }
                    match self.transport.send(&document[*sent..]) {
                        Ok(Progress::Moved(bytes)) => *sent += bytes,
                        Ok(Progress::Blocked) => return Fate::Stays,
                        Ok(Progress::Ended) | Err(_) => return Fate::Ends,
                    }
                }
                Phase::Leaving => match self.transport.receive(&mut [0; 1024]) {
                    Ok(Progress::Moved(_)) => {}
                    Ok(Progress::Blocked) => return Fate::Stays,
                    Ok(Progress::Ended) | Err(_) => return Fate::Ends,
                },
            }
        }
    }
}

/// Whether the empty line that ends a head is in `bytes`; `tail` keeps what came last.
fn ends_a_head(tail: &mut [u8; 4], bytes: &[u8]) -> bool {
    for byte in bytes {
        tail.rotate_left(1);
        if let Some(last) = tail.last_mut() {
            *last = *byte;
        }
        if tail == b"\r\n\r\n" || tail.ends_with(b"\n\n") {
            return true;
        }
    }
    false
}

/// The bytes of a document in the wanted style; uWSGI indents with tabs.
fn encode(document: &document::Document, style: StatsStyle) -> Vec<u8> {
    let mut body = Vec::new();
    let written = if style.minified {
        serde_json::to_writer(&mut body, document)
    } else {
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut body, formatter);
        document.serialize(&mut serializer)
    };
    if let Err(error) = written {
        log::error!("stats: {error}");
    }
    // Writing to a vector cannot fail.
    let _infallible = body.write_all(b"\n");
    if !style.http {
        return body;
    }
    let mut out = Vec::new();
    encode_response(
        &Response {
            status: Status::OK,
            headers: &HEADERS,
            body: &body,
            keep_alive: false,
            head_only: false,
        },
        &mut out,
    );
    out
}
