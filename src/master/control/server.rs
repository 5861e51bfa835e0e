//! The master's side of the control socket: connections, turns, and the bell while somebody tails.
//!
//! Nothing here blocks: a slow verb has a bounded buffer and waits. It must not know how workers are
//! made or ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;

use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::area;
use super::connection::{Activity, Connection, Fate};
use super::publish::publish;
use super::tail::{Tail, WAITING_BYTES_MAX};
use super::{Answer, Awaited, FrameError, OVERHEAD_BYTES_MAX, Request};
use crate::channel::ChannelName;
use crate::master::logging::REPEATABLE;
use crate::protocol::websocket::Codec;
use crate::sharedarea::{Participant, SharedArea};
use crate::status::Status;

/// Verbs that may be connected at once; one more is refused.
const CONNECTIONS_MAX: usize = 64;

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::master) enum Source {
    /// Somebody connects.
    Listener,
    /// A connection, by its number.
    Connection(u64),
    /// Something was published.
    Bell,
}

/// What verbs are about.
pub(in crate::master) struct Hub<'m> {
    pub(in crate::master) area: &'m SharedArea,
    pub(in crate::master) participant: &'m mut Participant,
    /// Encodes what is published.
    pub(in crate::master) codec: &'m mut Codec,
    /// Slots of the workers that have clients.
    pub(in crate::master) workers: &'m [u16],
    pub(in crate::master) status: &'m dyn Fn() -> Status,
    pub(in crate::master) now_ms: u64,
    pub(in crate::master) wall_us: u64,
}

#[derive(Debug)]
pub(in crate::master) struct ControlServer {
    pub(super) listener: UnixListener,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) next_number: u64,
    pub(super) frame_bytes_max: usize,
    bell: Option<Bell>,
    interest: Interest,
}

/// For what this process wants to be woken, as it has told the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Interest {
    /// Tails by the channel's index.
    channels: BTreeMap<u32, u32>,
    /// A tail's channel has no index.
    wild: bool,
}

impl ControlServer {
    /// Serves who connects to `listener`, which does not block.
    pub(in crate::master) fn new(listener: UnixListener, message_bytes_max: usize) -> Self {
        Self {
            listener,
            connections: BTreeMap::new(),
            next_number: 0,
            frame_bytes_max: message_bytes_max.saturating_add(OVERHEAD_BYTES_MAX),
            bell: None,
            interest: Interest::default(),
        }
    }

    /// What to poll, and for what.
    pub(in crate::master) fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut sources = vec![(Source::Listener, self.listener.as_fd(), PollFlags::POLLIN)];
        sources.extend(self.connections.iter().map(|(number, connection)| {
            (
                Source::Connection(*number),
                connection.as_fd(),
                connection.interest(),
            )
        }));
        if let Some(bell) = &self.bell {
            sources.push((Source::Bell, bell.as_fd(), PollFlags::POLLIN));
        }
        sources
    }

    /// Goes to sleep as a participant, if somebody tails. False: there is something to do at once.
    pub(in crate::master) fn may_sleep(&self, hub: &Hub<'_>) -> bool {
        let mut seen = u64::MAX;
        for connection in self.connections.values() {
            if let Activity::Tailing(tail) = &connection.activity {
                let head = hub.area.head();
                if !tail.has_seen(head) && !connection.has_output() {
                    return false;
                }
                seen = seen.min(head);
            }
        }
        seen == u64::MAX || hub.participant.park(seen)
    }

    /// When a pending publication wants to be looked at.
    pub(in crate::master) fn next_timeout_ms(&self) -> Option<u64> {
        let due = |connection: &Connection| match &connection.activity {
            Activity::Publishing(pending) => Some(pending.check_ms()),
            Activity::Listening
            | Activity::Tailing(_)
            | Activity::Waiting(_)
            | Activity::Leaving => None,
        };
        self.connections.values().filter_map(due).min()
    }

    /// Something is ready.
    pub(in crate::master) fn ready(&mut self, source: Source, flags: PollFlags, hub: &mut Hub<'_>) {
        match source {
            Source::Listener => self.accept(),
            Source::Bell => {
                if let Some(bell) = &self.bell {
                    bell.heard();
                }
            }
            Source::Connection(number) => {
                let fate = match self.connections.get_mut(&number) {
                    None => return,
                    Some(connection) => connection_ready(connection, flags, hub),
                };
                self.settle(number, fate);
            }
        }
    }

    /// Once a turn, after what was ready: publications that have arrived, tails that have something to
    /// show.
    pub(in crate::master) fn turn(&mut self, hub: &mut Hub<'_>) {
        hub.participant.unpark();
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            let fate = connection_turn(connection, hub);
            self.settle(number, fate);
        }
        self.show_interest(hub.participant);
        self.listen_to_bell(hub.area);
    }

    fn accept(&mut self) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of descriptors: the verb waits in the queue until one is free.
                    log::warn!(target: REPEATABLE, "control socket: cannot accept: {error}");
                    return;
                }
            };
            let Ok(mut connection) = Connection::new(stream, self.frame_bytes_max) else {
                continue;
            };
            if self.connections.len() >= CONNECTIONS_MAX {
                connection.refuse(format!("{CONNECTIONS_MAX} verbs are connected already"));
                // Whatever does not fit into an empty socket is not worth waiting for.
                let _told: Fate = connection.flush();
                continue;
            }
            self.connections.insert(self.next_number, connection);
            self.next_number += 1;
        }
    }

    pub(super) fn settle(&mut self, number: u64, fate: Fate) {
        match fate {
            Fate::Stays => {}
            Fate::Ends => {
                self.connections.remove(&number);
            }
        }
    }

    /// Tells writers for which channels we want to be woken.
    fn show_interest(&mut self, participant: &mut Participant) {
        let mut now = Interest::default();
        for connection in self.connections.values() {
            match &connection.activity {
                Activity::Tailing(tail) => match tail.index() {
                    Some(index) => *now.channels.entry(index).or_default() += 1,
                    None => now.wild = true,
                },
                Activity::Listening
                | Activity::Publishing(_)
                | Activity::Waiting(_)
                | Activity::Leaving => {}
            }
        }
        if now == self.interest {
            return;
        }
        for index in self.interest.channels.keys() {
            if !now.channels.contains_key(index) {
                participant.set_interest(*index, 0);
            }
        }
        for (index, tails) in &now.channels {
            participant.set_interest(*index, *tails);
        }
        participant.set_wild(now.wild);
        self.interest = now;
    }

    fn listen_to_bell(&mut self, area: &SharedArea) {
        let tailing = |connection: &Connection| matches!(connection.activity, Activity::Tailing(_));
        if !self.connections.values().any(tailing) {
            self.bell = None;
        } else if self.bell.is_none() {
            match Bell::new(area.bell()) {
                Ok(bell) => self.bell = Some(bell),
                Err(error) => {
                    log::warn!(target: REPEATABLE, "control socket: cannot hear the bell: {error}");
                }
            }
        }
    }
}

fn connection_ready(connection: &mut Connection, flags: PollFlags, hub: &mut Hub<'_>) -> Fate {
    if flags.contains(PollFlags::POLLIN) && connection.receive() == Fate::Ends {
        return Fate::Ends;
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    if flags.intersects(gone) && !flags.contains(PollFlags::POLLIN) {
        return Fate::Ends;
    }
    serve(connection, hub);
    connection.flush()
}

/// Takes requests until one keeps the connection busy.
fn serve(connection: &mut Connection, hub: &mut Hub<'_>) {
    loop {
        match connection.request() {
            Ok(None) => return,
            Ok(Some(request)) => begin(connection, request, hub),
            Err(error @ FrameError::TooLong { .. }) => {
                return connection.refuse(format!("{error}; --websockets-max-size sets it"));
            }
            Err(error @ FrameError::Malformed { .. }) => {
                return connection.refuse(error.to_string());
            }
        }
    }
}

fn begin(connection: &mut Connection, request: Request, hub: &mut Hub<'_>) {
    match request {
        Request::Publish {
            channel,
            kind,
            payload,
        } => match publish(&channel, kind, &payload, hub) {
            Ok(pending) => connection.activity = Activity::Publishing(pending),
            Err(reason) => connection.refuse(reason),
        },
        Request::Tail { channel } => {
            if let Err(error) = ChannelName::parse(&channel) {
                return connection.refuse(error.to_string());
            }
            connection.answer(&Answer::Tailing);
            let tail = Tail::new(channel, hub.area, hub.participant);
            connection.activity = Activity::Tailing(tail);
        }
        Request::Area(request) => area::serve(connection, request, hub),
        Request::Status => match serde_json::to_vec(&(hub.status)()) {
            Ok(json) => connection.answer(&Answer::Status { json }),
            Err(error) => connection.refuse(error.to_string()),
        },
        Request::Errand(errand) => {
            connection.activity = Activity::Waiting(Awaited::Attention(errand));
        }
    }
}

fn connection_turn(connection: &mut Connection, hub: &mut Hub<'_>) -> Fate {
    if let Activity::Publishing(pending) = &mut connection.activity
        && let Some(answer) = pending.answer(hub.area, hub.now_ms)
    {
        connection.answer(&answer);
        connection.activity = Activity::Listening;
        // The next request may have come together with this one.
        serve(connection, hub);
    }
    if let Some((tail, out)) = connection.tail_parts()
        && out.len() < WAITING_BYTES_MAX
    {
        tail.look_up(hub.participant);
        tail.show(hub.area.head(), hub.area, hub.participant, out);
    }
    connection.flush()
}

/// The bell in an epoll of its own: it is never read, so only an edge can tell that it rang again.
#[derive(Debug)]
struct Bell(Epoll);

impl Bell {
    fn new(bell: BorrowedFd<'_>) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(bell, EpollEvent::new(flags, 0))?;
        Ok(Self(epoll))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }

    /// Takes the edge.
    fn heard(&self) {
        let mut events = [EpollEvent::empty()];
        // Heard or not: the tails look at the log in any case.
        let _count: nix::Result<usize> = self.0.wait(&mut events, EpollTimeout::ZERO);
    }
}
