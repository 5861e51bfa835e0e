//! One verb's connection: bounded buffers both ways, and what it is busy with.
//!
//! It must not know other connections.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use super::heritage::VerbState;
use super::publish::Pending;
use super::tail::Tail;
use super::{Answer, Awaited, FrameError, Frames, Request};

/// Bytes taken from one connection in a turn.
const READ_BYTES: usize = 64 * 1024;

/// What a connection is busy with. A new request is read only when it listens, so one that sends faster
/// than it is served waits in its own socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Activity {
    /// Waiting for a request.
    Listening,
    /// A message is published, and the workers are watched.
    Publishing(Pending),
    /// Showing a channel until the peer goes.
    Tailing(Tail),
    /// Waiting until something is finished.
    Waiting(Awaited),
    /// Sending what is left.
    Leaving,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It does.
    Stays,
    /// It is over.
    Ends,
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    frames: Frames,
    output: Vec<u8>,
    /// Bytes at the front of `output` that are sent.
    sent: usize,
    pub(super) activity: Activity,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, frame_bytes_max: usize) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            frames: Frames::new(frame_bytes_max),
            output: Vec::new(),
            sent: 0,
            activity: Activity::Listening,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Goes on with a verb that was connected to the program before this one.
    pub(super) fn inherit(stream: UnixStream, frame_bytes_max: usize, state: VerbState) -> Self {
        let mut frames = Frames::new(frame_bytes_max);
        frames.push(&state.unread);
        Self {
            stream,
            frames,
            output: state.unsent,
            sent: 0,
            activity: state.activity,
        }
    }

    /// Everything but the descriptor.
    pub(super) fn state(&self) -> VerbState {
        VerbState {
            unread: self.frames.unread().to_vec(),
            unsent: self.output[self.sent..].to_vec(),
            activity: self.activity.clone(),
        }
    }

    /// What it waits for; that the peer is gone is always told.
    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = match self.activity {
            Activity::Listening | Activity::Tailing(_) => PollFlags::POLLIN,
            Activity::Publishing(_) | Activity::Waiting(_) | Activity::Leaving => {
                PollFlags::empty()
            }
        };
        if self.has_output() {
            flags |= PollFlags::POLLOUT;
        }
        flags
    }

    pub(super) fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Where a tail appends, and how much waits there.
    pub(super) fn tail_parts(&mut self) -> Option<(&mut Tail, &mut Vec<u8>)> {
        // What is sent makes room; the rest is small.
        self.output.drain(..self.sent);
        self.sent = 0;
        match &mut self.activity {
            Activity::Tailing(tail) => Some((tail, &mut self.output)),
            Activity::Listening
            | Activity::Publishing(_)
            | Activity::Waiting(_)
            | Activity::Leaving => None,
        }
    }

    pub(super) fn answer(&mut self, answer: &Answer) {
        answer.write(&mut self.output);
    }

    pub(super) fn refuse(&mut self, reason: String) {
        self.answer(&Answer::Refused { reason });
        self.activity = Activity::Leaving;
    }

    /// Reads what has come.
    pub(super) fn receive(&mut self) -> Fate {
        let mut chunk = [0; READ_BYTES];
        match self.stream.read(&mut chunk) {
            // It may still want its answers.
            Ok(0) => match self.activity {
                Activity::Listening if self.has_output() => {
                    self.activity = Activity::Leaving;
                    Fate::Stays
                }
                Activity::Listening
                | Activity::Publishing(_)
                | Activity::Tailing(_)
                | Activity::Waiting(_)
                | Activity::Leaving => Fate::Ends,
            },
            Ok(bytes) => {
                match self.activity {
                    Activity::Listening => self.frames.push(&chunk[..bytes]),
                    // A tail has nothing more to say.
                    Activity::Tailing(_)
                    | Activity::Publishing(_)
                    | Activity::Waiting(_)
                    | Activity::Leaving => {}
                }
                Fate::Stays
            }
            Err(error) if is_for_later(&error) => Fate::Stays,
            Err(_) => Fate::Ends,
        }
    }

    /// The next request, when it listens for one.
    pub(super) fn request(&mut self) -> Result<Option<Request>, FrameError> {
        match self.activity {
            Activity::Listening => self.frames.request(),
            Activity::Publishing(_)
            | Activity::Tailing(_)
            | Activity::Waiting(_)
            | Activity::Leaving => Ok(None),
        }
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> Fate {
        while self.has_output() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if is_for_later(&error) => return Fate::Stays,
                Err(_) => return Fate::Ends,
            }
        }
        self.output = Vec::new();
        self.sent = 0;
        match self.activity {
            Activity::Leaving => Fate::Ends,
            Activity::Listening
            | Activity::Publishing(_)
            | Activity::Tailing(_)
            | Activity::Waiting(_) => Fate::Stays,
        }
    }
}

/// Blocked or interrupted: poll will say when to go on.
fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
