//! Writers from outside that know nothing but files: the command FIFO and the heads of watched areas.
//!
//! What they want is published here; what they get wrong is told in the log and harms nobody. It must
//! not know verbs or workers.

use std::os::fd::BorrowedFd;

use super::fifo::{Command, Fifo};
use super::logging::REPEATABLE;
use super::message::Message;
use crate::channel::{ChannelName, flags_of, kind_of};
use crate::protocol::websocket::{Codec, Kind};
use crate::sharedarea::{
    Announcement, Area, AreaError, EntryFlags, HEAD_BYTES, Head, HeadError, Participant,
    PublishError, SharedArea,
};

/// Bytes of the longest header of a frame.
const HEADER_BYTES_MAX: u64 = 10;

/// Where what outsiders want is published.
pub(super) struct Desk<'m> {
    pub(super) area: &'m SharedArea,
    pub(super) participant: &'m mut Participant,
    pub(super) codec: &'m mut Codec,
    pub(super) now_ms: u64,
    pub(super) wall_us: u64,
}

/// The FIFO and the watched areas.
#[derive(Debug)]
pub(super) struct Outside {
    fifo: Fifo,
    watches: Vec<Watch>,
}

/// A watched area.
#[derive(Debug)]
struct Watch {
    area: Area,
    period_ms: u64,
    due_ms: u64,
    /// The number of the last message that was dealt with.
    seq: u64,
}

/// Why something is not published.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Area(#[from] AreaError),
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Channel(#[from] crate::channel::InvalidName),
    #[error("the text is not UTF-8")]
    NotText,
    #[error(transparent)]
    Log(#[from] PublishError),
    #[error("the area is not watched (watch=MS)")]
    NotWatched,
}

impl Refusal {
    /// Whether it may work a moment later.
    fn is_for_now(&self) -> bool {
        matches!(
            self,
            Self::Area(AreaError::Busy) | Self::Log(PublishError::WouldBlock)
        )
    }
}

impl Outside {
    /// Watches what wants to be watched. What is announced already is old news.
    pub(super) fn new(fifo: Fifo, area: &SharedArea) -> Self {
        let watches = area.areas().filter_map(|area| {
            let period_ms = u64::from(area.info().watch_ms);
            let seq = head_of(&area).map_or(0, |head| head.seq());
            (period_ms > 0).then_some(Watch {
                area,
                period_ms,
                due_ms: 0,
                seq,
            })
        });
        Self {
            watches: watches.collect(),
            fifo,
        }
    }

    /// What to poll for reading.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }

    /// When the next look at a watched area is due.
    pub(super) fn next_timeout_ms(&self) -> Option<u64> {
        self.watches.iter().map(|watch| watch.due_ms).min()
    }

    /// Something has come through the FIFO.
    pub(super) fn ready(&mut self, desk: &mut Desk<'_>) {
        for command in self.fifo.read() {
            if let Err(refusal) = self.obey(&command, desk) {
                log::warn!(target: REPEATABLE, "fifo: {command:?}: {refusal}");
            }
        }
    }

    /// Looks at the watched areas that are due.
    pub(super) fn turn(&mut self, desk: &mut Desk<'_>) {
        for watch in &mut self.watches {
            if watch.due_ms <= desk.now_ms {
                watch.due_ms = desk.now_ms + watch.period_ms;
                watch.look(desk);
            }
        }
    }

    fn obey(&mut self, command: &Command, desk: &mut Desk<'_>) -> Result<(), Refusal> {
        match command {
            Command::Publish { channel, text } => {
                desk.publish(channel, EntryFlags::TEXT, text.as_bytes())
            }
            Command::Announce {
                area,
                position,
                bytes,
                channel,
                kind,
            } => {
                let area = desk.area.find_area(area)?;
                let channel = channel.clone().unwrap_or_else(|| channel_of(&area));
                area.check(*position, *bytes)?;
                desk.announce(&area, (*position, *bytes), &channel, *kind)
            }
            Command::Update { area } => {
                desk.area.find_area(area)?.update();
                Ok(())
            }
            Command::Look { area } => {
                let id = desk.area.find_area(area)?.id();
                let watch = self.watches.iter_mut().find(|watch| watch.area.id() == id);
                watch.ok_or(Refusal::NotWatched)?.look(desk);
                Ok(())
            }
        }
    }
}

impl Watch {
    /// Publishes what the head announces, if that is new and whole.
    fn look(&mut self, desk: &mut Desk<'_>) {
        let Some(head) = head_of(&self.area) else {
            return;
        };
        if head.seq() == self.seq || head.is_being_written() {
            return;
        }
        match self.publish(&head, desk) {
            Ok(true) => self.seq = head.seq(),
            Ok(false) => {}
            Err(refusal) if refusal.is_for_now() => {}
            Err(refusal) => {
                // Once for each message.
                self.seq = head.seq();
                log::warn!(target: REPEATABLE, "sharedarea {}, head: {refusal}", self.area.id());
            }
        }
    }

    /// `false`: its writer was faster; the next look will find it whole.
    fn publish(&self, head: &Head, desk: &mut Desk<'_>) -> Result<bool, Refusal> {
        let bytes = u64::from(head.message_bytes(self.area.bytes())?);
        let flags = head.kind()?;
        let own = channel_of(&self.area);
        let channel = head.channel()?.unwrap_or(&own);
        if bytes + HEADER_BYTES_MAX + channel.len() as u64 > desk.area.record_bytes_max() {
            self.area.update();
            let kind = kind_of(flags);
            desk.announce(&self.area, (HEAD_BYTES, bytes), channel, kind)?;
            return Ok(true);
        }
        // Copied, because its writer holds no lock and may go on writing.
        let mut message = Vec::new();
        self.area.read(HEAD_BYTES, Some(bytes), &mut message)?;
        if head_of(&self.area).as_ref() != Some(head) {
            return Ok(false);
        }
        desk.publish(channel, flags, &message)?;
        self.area.update();
        Ok(true)
    }
}

impl Desk<'_> {
    fn publish(&mut self, channel: &str, flags: EntryFlags, message: &[u8]) -> Result<(), Refusal> {
        let channel = ChannelName::parse(channel)?;
        let kind = kind_of(flags);
        if kind == Kind::Text && str::from_utf8(message).is_err() {
            return Err(Refusal::NotText);
        }
        let message = Message {
            channel,
            kind,
            payload: message,
            time_us: self.wall_us,
        };
        message.publish(self.participant, self.codec)?;
        Ok(())
    }

    fn announce(
        &mut self,
        area: &Area,
        (position, bytes): (u64, u64),
        channel: &str,
        kind: Kind,
    ) -> Result<(), Refusal> {
        let channel = ChannelName::parse(channel)?;
        let range = area.announcement(position, Some(bytes))?;
        self.participant.announce(&Announcement {
            channel: channel.as_str(),
            flags: flags_of(kind),
            range,
            time_us: self.wall_us,
        })?;
        Ok(())
    }
}

/// The channel of an area whose writer names none: its name, or else its number.
fn channel_of(area: &Area) -> String {
    area.name().unwrap_or_else(|| area.id().to_string())
}

fn head_of(area: &Area) -> Option<Head> {
    let mut bytes = Vec::new();
    area.read(0, Some(HEAD_BYTES), &mut bytes).ok()?;
    Head::new(&bytes)
}
