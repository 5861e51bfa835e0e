//! How an application answers: the calls that it may make, and the engine's side of them.

use super::{ClientId, Message, Published};
use crate::channel::{ChannelName, InvalidName};
use crate::protocol::http;
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
    fn status(&self) -> Status;
    /// See [`Context::pause`].
    fn pause(&mut self, client: ClientId);
    /// See [`Context::resume`].
    fn resume(&mut self, client: ClientId);
    /// See [`Context::now_ms`].
    fn now_ms(&self) -> u64;
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
    pub fn status(&self) -> Status {
        self.operations.status()
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
}
