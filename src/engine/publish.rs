//! From an app's `publish` into the log, and the queue for when the log does not take it at once.
//! Messages are deflated here, once for all, if a worker may have clients that want that.

use crate::app::{Message, PublishError};
use crate::channel::{ChannelName, flags_of};
use crate::protocol::websocket::{Kind, frame_header};
use crate::sharedarea::{self, Announced, Announcement, EntryFlags, Publication, Published};

use super::core::Core;

/// Bytes of messages that may wait for room in the log.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often a lock that is busy for as long as one try takes is tried for somebody who waits for
/// the answer.
const TRIES_MAX: usize = 8;

/// A message that the log did not take.
#[derive(Debug)]
pub(super) struct Waiting {
    channel: Box<str>,
    flags: EntryFlags,
    content: Content,
}

/// What is published.
#[derive(Debug)]
enum Content {
    Message {
        frame: Vec<u8>,
        alternate: Vec<u8>,
    },
    /// A range of an area; if that is updated meanwhile, the announcement will be stale.
    Range(Announced),
}

impl Content {
    /// What it takes while it waits.
    fn bytes(&self) -> usize {
        match self {
            Self::Message { frame, alternate } => frame.len() + alternate.len(),
            Self::Range(_) => size_of::<Waiting>(),
        }
    }
}

impl Core {
    /// Publishes, or queues what the log does not take now; what waits keeps its order.
    pub(super) fn publish_or_wait(
        &mut self,
        channel: ChannelName<'_>,
        message: &Message<'_>,
    ) -> Result<(), PublishError> {
        let header = frame_header(message.kind, false, message.payload.len());
        let flags = flags_of(message.kind);
        let parts = [header.as_bytes(), &message.payload];
        // Told now, even if the log does not look at it before others are through.
        let name = channel.as_str();
        let bytes = (parts.iter().map(|part| part.len()).sum::<usize>() + name.len()) as u64;
        let max = self.area.geometry().record_bytes_max();
        if bytes > max {
            return Err(PublishError::TooLarge { bytes, max });
        }
        let alternate = self.alternate(name, message);
        if self.waiting.is_empty() && self.try_publish(name, flags, &parts, &alternate)?.is_some() {
            return Ok(());
        }
        let frame = parts.concat();
        self.wait_with(channel, flags, Content::Message { frame, alternate })
    }

    /// The message deflated, if somebody may want it and it gets smaller; else nothing.
    fn alternate(&mut self, channel: &str, message: &Message<'_>) -> Vec<u8> {
        let mut alternate = Vec::new();
        if self.participant.wants_alternate(channel) {
            let Message { kind, payload } = message;
            let _is_worth_it: bool = self
                .codec
                .encode_shared_frame(*kind, payload, &mut alternate);
        }
        alternate
    }

    /// The same for a range of an area.
    pub(super) fn announce_range(
        &mut self,
        channel: ChannelName<'_>,
        range: Announced,
        kind: Kind,
    ) -> Result<(), PublishError> {
        let flags = flags_of(kind);
        if self.waiting.is_empty() && self.try_announce(channel.as_str(), flags, range)? {
            return Ok(());
        }
        self.wait_with(channel, flags, Content::Range(range))
    }

    fn wait_with(
        &mut self,
        channel: ChannelName<'_>,
        flags: EntryFlags,
        content: Content,
    ) -> Result<(), PublishError> {
        if self.waiting_bytes + content.bytes() > WAITING_BYTES_MAX {
            return Err(PublishError::Full);
        }
        self.waiting_bytes += content.bytes();
        self.waiting.push_back(Waiting {
            channel: channel.as_str().into(),
            flags,
            content,
        });
        Ok(())
    }

    /// Publishes at once or not at all. What waits goes first.
    pub(super) fn publish_or_fail(
        &mut self,
        channel: ChannelName<'_>,
        message: &Message<'_>,
    ) -> Result<Published, PublishError> {
        let header = frame_header(message.kind, false, message.payload.len());
        let parts = [header.as_bytes(), &message.payload];
        let alternate = self.alternate(channel.as_str(), message);
        self.retry_publications();
        for _ in 0..TRIES_MAX {
            if !self.waiting.is_empty() {
                break;
            }
            let flags = flags_of(message.kind);
            let tried = self.try_publish(channel.as_str(), flags, &parts, &alternate)?;
            if let Some(published) = tried {
                return Ok(published);
            }
        }
        Err(PublishError::WouldBlock)
    }

    /// Where the message stands if the log took it.
    fn try_publish(
        &mut self,
        channel: &str,
        flags: EntryFlags,
        parts: &[&[u8]],
        alternate: &[u8],
    ) -> Result<Option<Published>, PublishError> {
        let time_us = self.event_loop.wall_us();
        let published = self.participant.publish(&Publication {
            channel,
            flags,
            parts,
            alternate: &[alternate],
            origin: 0,
            time_us,
        });
        self.was_taken(published)
    }

    fn try_announce(
        &mut self,
        channel: &str,
        flags: EntryFlags,
        range: Announced,
    ) -> Result<bool, PublishError> {
        let time_us = self.event_loop.wall_us();
        let published = self.participant.announce(&Announcement {
            channel,
            flags,
            range,
            time_us,
        });
        Ok(self.was_taken(published)?.is_some())
    }

    fn was_taken(
        &mut self,
        published: Result<Published, sharedarea::PublishError>,
    ) -> Result<Option<Published>, PublishError> {
        match published {
            Ok(published) => {
                self.again = true;
                Ok(Some(published))
            }
            Err(sharedarea::PublishError::WouldBlock) => Ok(None),
            Err(sharedarea::PublishError::TooLarge { bytes, max }) => {
                Err(PublishError::TooLarge { bytes, max })
            }
            Err(sharedarea::PublishError::InvalidChannel) => {
                Err(PublishError::Name(crate::channel::InvalidName::Empty))
            }
        }
    }

    /// Tries again what had to wait.
    pub(super) fn retry_publications(&mut self) {
        while let Some(first) = self.waiting.pop_front() {
            let taken = match &first.content {
                Content::Message { frame, alternate } => {
                    let Waiting { channel, flags, .. } = &first;
                    let published = self.try_publish(channel, *flags, &[frame], alternate);
                    published.map(|published| published.is_some())
                }
                Content::Range(range) => self.try_announce(&first.channel, first.flags, *range),
            };
            match taken {
                Ok(false) => {
                    self.waiting.push_front(first);
                    return;
                }
                // Too large cannot be here: it was told when the message was queued.
                Ok(true) | Err(_) => self.waiting_bytes -= first.content.bytes(),
            }
        }
    }
}
