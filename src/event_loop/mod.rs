//! The readiness loop of a worker: mio, client keys with generations, and deadlines.
//!
//! It tells what is ready and what time it is; it does no I/O on the sockets and knows no
//! WebSocket. Readiness is edge-triggered (read and write until blocked), but for listeners, which
//! are level-triggered and exclusive.

mod queue;
mod slab;
mod timers;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::sys::epoll;

pub use queue::KeyQueue;
pub use slab::{Key, Slab};
pub use timers::Timers;

/// Most events taken from the kernel at once.
const EVENTS_PER_TURN_MAX: usize = 1024;

/// What a readiness event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A listening socket, by its number in the configuration.
    Listener(u16),
    /// The shared bell: the log has moved.
    Bell,
    /// The socket to the master.
    Control,
    /// The packet socket on which other workers hand over accepted clients.
    Mailbox,
    /// One peer's connection.
    Client(Key),
}

/// One thing that is ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What is ready.
    pub source: Source,
    /// Reading will not block, or the peer has ended its side.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The peer has ended its side: read on until the end is seen.
    pub ended: bool,
}

/// A poll and its clock.
#[derive(Debug)]
pub struct EventLoop {
    poll: mio::Poll,
    events: mio::Events,
    start: Instant,
}

impl EventLoop {
    /// Makes the loop. Call it after `fork`: a poll made before is one kernel object for both.
    ///
    /// # Errors
    /// Those of `epoll_create1(2)`.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(EVENTS_PER_TURN_MAX),
            start: now(),
        })
    }

    /// Reports `fd` edge-triggered for reading and writing from now on, pending input at once.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn register(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut SourceFd(&fd.as_raw_fd()), token(source), interest)
    }

    /// Reports `fd` edge-triggered for reading only.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn register_readable(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        let raw = fd.as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&raw), token(source), Interest::READABLE)
    }

    /// Reports a listening socket level-triggered and exclusively (see [`epoll::add_exclusive`]).
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn register_listener(&self, fd: BorrowedFd<'_>, number: u16) -> io::Result<()> {
        epoll::add_exclusive(self.fd(), fd, token(Source::Listener(number)).0 as u64)
    }

    /// Stops reports about `fd`. Closing the last duplicate of a descriptor does the same.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::remove(self.fd(), fd)
    }

    /// Waits until something is ready or `timeout` has passed, and fills `ready` anew. Returns the
    /// time in milliseconds since the loop was made: the only clock of a turn.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, but an interrupted wait is just a turn with nothing ready.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<u64> {
        ready.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => ready.extend(self.events.iter().map(|event| Ready {
                source: source(event.token()),
                readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                writable: event.is_writable(),
                ended: event.is_read_closed() || event.is_error(),
            })),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(self.now_ms())
    }

    /// Milliseconds since the loop was made.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(now().duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since the loop was made, for measuring what takes long; not for hot paths.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(now().duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// The wall clock in microseconds since 1970, for time stamps that leave the process.
    #[expect(clippy::disallowed_methods, reason = "the loop owns the clocks")]
    pub fn wall_us(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
fn now() -> Instant {
    Instant::now()
}

/// Specials have generation 0, which no client key has; their kind is in bits 16 and up.
fn token(source: Source) -> Token {
    let bits = match source {
        Source::Listener(number) => u64::from(number),
        Source::Bell => 1 << 16,
        Source::Control => 2 << 16,
        Source::Mailbox => 3 << 16,
        Source::Client(key) => key.to_bits(),
    };
    Token(usize::try_from(bits).unwrap_or(usize::MAX))
}

fn source(token: Token) -> Source {
    let bits = token.0 as u64;
    if let Some(key) = Key::from_bits(bits) {
        return Source::Client(key);
    }
    match bits >> 16 {
        0 => Source::Listener(u16::try_from(bits).unwrap_or(u16::MAX)),
        1 => Source::Bell,
        2 => Source::Control,
        _ => Source::Mailbox,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn every_source_survives_its_token() {
        let mut slab = Slab::new();
        let first = slab.insert(());
        slab.remove(first);
        let key = slab.insert(());
        for expected in [
            Source::Listener(0),
            Source::Listener(u16::MAX),
            Source::Bell,
            Source::Control,
            Source::Mailbox,
            Source::Client(first),
            Source::Client(key),
        ] {
            assert_eq!(source(token(expected)), expected);
        }
    }

    #[test]
    fn readiness_comes_with_the_source_it_was_registered_for() {
        let mut event_loop = EventLoop::new().unwrap();
        let (mut left, right) = UnixStream::pair().unwrap();
        event_loop
            .register_readable(right.as_fd(), Source::Control)
            .unwrap();
        left.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        event_loop.wait(None, &mut ready).unwrap();
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].source, Source::Control);
        assert!(ready[0].readable && !ready[0].ended);
    }
}
