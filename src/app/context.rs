//! How an application answers: the calls that it may make, and the engine's side of them.

use super::{ClientId, Message, Published};
use crate::channel::{ChannelName, InvalidName};
use crate::protocol::http;
use crate::protocol::websocket::Kind;
use crate::sharedarea::{AreaError, SharedArea};
use crate::status::Status;

/// How an upgrade is accepted.
#[derive(Debug, Clone, Default)]
pub struct Accept {
    /// The subprotocol to name in the answer. It must be one of those that the client offers,
    /// otherwise none is named (RFC 6455 section 4.2.2).
    pub subprotocol: Option<String>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The client is not there any more, is closing, or not open yet.
    #[error("the client is not open")]
    NotOpen,
    /// More than `--outbox-max` is waiting for this client already.
    #[error("the client's outbox is full")]
    Full,
    /// The area or the range does not work.
    #[error(transparent)]
    Area(#[from] AreaError),
}

/// A range of an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AreaRange {
    /// The area's number.
    pub area: u8,
    /// The first byte.
    pub position: u64,
    /// Number of bytes; `None` is the rest of the area, or of what [`crate::sharedarea::Area::used`] says.
    pub bytes: Option<u64>,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The frame is larger than the spool lets through.
    #[error("the message has {bytes} bytes; the spool takes at most {max} (--spool-size)")]
    TooLarge {
        /// Bytes of the frame.
        bytes: u64,
        /// Most bytes of a frame.
        max: u64,
    },
    /// The log is busy: another writer has its lock, or a client's frame stands in the way.
    #[error("the log is busy")]
    WouldBlock,
    /// Too many messages wait already for room in the log.
    #[error("too many messages wait for room in the log")]
    Full,
    /// The area or the range does not work.
    #[error(transparent)]
    Area(#[from] AreaError),
}

/// What the engine does for an application; reached through [`Context`].
pub trait Operations {
    /// See [`Context::accept`].
    fn accept(&mut self, client: ClientId, accept: &Accept);
    /// See [`Context::reject`].
    fn reject(&mut self, client: ClientId, status: http::Status, reason: &str);
    /// See [`Context::send`].
    fn send(&mut self, client: ClientId, message: &Message<'_>) -> Result<(), SendError>;
    /// See [`Context::close`].
    fn close(&mut self, client: ClientId, code: u16, reason: &str);
    /// See [`Context::subscribe`].
    fn subscribe(&mut self, client: ClientId, channel: ChannelName<'_>);
    /// See [`Context::unsubscribe`].
    fn unsubscribe(&mut self, client: ClientId, channel: ChannelName<'_>);
    /// See [`Context::publish`].
    fn publish(
        &mut self,
        channel: ChannelName<'_>,
        message: &Message<'_>,
    ) -> Result<(), PublishError>;
    /// See [`Context::publish_now`].
    fn publish_now(
        &mut self,
        channel: ChannelName<'_>,
        message: &Message<'_>,
    ) -> Result<Published, PublishError>;
    /// See [`Context::status`].
    fn status(&mut self) -> Status;
    /// The shared area.
    fn shared_area(&self) -> &SharedArea;
    /// See [`Context::send_from_area`].
    fn send_from_area(
        &mut self,
        client: ClientId,
        range: AreaRange,
        kind: Kind,
    ) -> Result<(), SendError>;
    /// See [`Context::broadcast_from_area`].
    fn broadcast_from_area(
        &mut self,
        range: AreaRange,
        channel: ChannelName<'_>,
        kind: Kind,
    ) -> Result<(), PublishError>;
    /// See [`Context::watch_area`].
    fn watch_area(&mut self, area: u8, on: bool) -> Result<(), AreaError>;
    /// See [`Context::pause`].
    fn pause(&mut self, client: ClientId);
    /// See [`Context::resume`].
    fn resume(&mut self, client: ClientId);
    /// See [`Context::now_ms`].
    fn now_ms(&self) -> u64;
    /// See [`Context::wall_ms`].
    fn wall_ms(&self) -> u64;
    /// See [`Context::wake_at`].
    fn wake_at(&mut self, at_ms: u64);
}

/// An application's hands. Calls about a client that is gone do nothing.
pub struct Context<'a> {
    operations: &'a mut dyn Operations,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    /// A context over an engine.
    pub fn new(operations: &'a mut dyn Operations) -> Self {
        Self { operations }
    }

    /// Completes the opening handshake of a client that has asked for it.
    pub fn accept(&mut self, client: ClientId, accept: &Accept) {
        self.operations.accept(client, accept);
    }

    /// Refuses the opening handshake with an HTTP status and a line of text.
    pub fn reject(&mut self, client: ClientId, status: http::Status, reason: &str) {
        self.operations.reject(client, status, reason);
    }

    /// Sends one message to one client, as text or binary by its kind.
    ///
    /// # Errors
    /// [`SendError`]: the client is not open, or its outbox is full.
    pub fn send(&mut self, client: ClientId, message: &Message<'_>) -> Result<(), SendError> {
        self.operations.send(client, message)
    }

    /// Starts the closing handshake; `reason` is cut to 123 bytes. A code that may not be sent
    /// (RFC 6455 section 7.4) becomes 1011.
    pub fn close(&mut self, client: ClientId, code: u16, reason: &str) {
        self.operations.close(client, code, reason);
    }

    /// From now on the client gets what is published in `channel`.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn subscribe(&mut self, client: ClientId, channel: &str) -> Result<(), InvalidName> {
        let channel = ChannelName::parse(channel)?;
        self.operations.subscribe(client, channel);
        Ok(())
    }

    /// From now on it does not.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn unsubscribe(&mut self, client: ClientId, channel: &str) -> Result<(), InvalidName> {
        let channel = ChannelName::parse(channel)?;
        self.operations.unsubscribe(client, channel);
        Ok(())
    }

    /// Sends one message to every client of every worker that listens to `channel`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish(&mut self, channel: &str, message: &Message<'_>) -> Result<(), PublishError> {
        self.operations
            .publish(ChannelName::parse(channel)?, message)
    }

    /// As [`Self::publish`], but at once or not at all, and tells where the message stands in the log
    /// and in its channel. What this worker could not publish before goes first.
    ///
    /// # Errors
    /// [`PublishError`]; [`PublishError::WouldBlock`] instead of waiting.
    pub fn publish_now(
        &mut self,
        channel: &str,
        message: &Message<'_>,
    ) -> Result<Published, PublishError> {
        self.operations
            .publish_now(ChannelName::parse(channel)?, message)
    }

    /// What the server shows of itself, all workers included. Walks the channel table.
    pub fn status(&mut self) -> Status {
        self.operations.status()
    }

    /// The shared area, for [`SharedArea::area`].
    pub fn shared_area(&self) -> &SharedArea {
        self.operations.shared_area()
    }

    /// Sends a range of an area to one client as one message; `bytes` `None` is the rest of the area, or
    /// of what [`crate::sharedarea::Area::used`] says. Large ranges go out straight from where they lie, and only what
    /// the socket does not take is copied. A text message must be UTF-8, which is not checked.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn send_from_area(
        &mut self,
        client: ClientId,
        area: u8,
        position: u64,
        bytes: Option<u64>,
        kind: Kind,
    ) -> Result<(), SendError> {
        let range = AreaRange {
            area,
            position,
            bytes,
        };
        self.operations.send_from_area(client, range, kind)
    }

    /// Sends a range of an area as one message to every client of every worker that listens to
    /// `channel`: one entry of the log, and no copy. Clients whose turn has not come when the area is
    /// updated the next time do not get it; it is counted as stale.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn broadcast_from_area(
        &mut self,
        area: u8,
        position: u64,
        bytes: Option<u64>,
        channel: &str,
        kind: Kind,
    ) -> Result<(), PublishError> {
        let range = AreaRange {
            area,
            position,
            bytes,
        };
        let channel = ChannelName::parse(channel)?;
        self.operations.broadcast_from_area(range, channel, kind)
    }

    /// From now on [`super::App::area_updated`] is told when the area was updated, the first time in the
    /// next turn; or with `false` not any more.
    ///
    /// # Errors
    /// [`AreaError::NoArea`].
    pub fn watch_area(&mut self, area: u8, on: bool) -> Result<(), AreaError> {
        self.operations.watch_area(area, on)
    }

    /// Reads no more from the client until [`Self::resume`]; what it sends waits in the kernel.
    pub fn pause(&mut self, client: ClientId) {
        self.operations.pause(client);
    }

    /// Reads from it again.
    pub fn resume(&mut self, client: ClientId) {
        self.operations.resume(client);
    }

    /// The time of this turn, in milliseconds since the worker started.
    pub fn now_ms(&self) -> u64 {
        self.operations.now_ms()
    }

    /// The wall clock, in milliseconds of Unix time: for stamps that other processes read.
    pub fn wall_ms(&self) -> u64 {
        self.operations.wall_ms()
    }

    /// The loop turns at this time at the latest, as [`Self::now_ms`] counts, and [`super::App::turn`]
    /// is called then. It does so once; of several times that were asked for, the earliest counts.
    pub fn wake_at(&mut self, at_ms: u64) {
        self.operations.wake_at(at_ms);
    }
}
