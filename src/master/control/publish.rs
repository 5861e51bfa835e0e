//! The publish verb: a message into the log, and the wait until the workers have seen it.
//!
//! It must not know how requests come in and answers go out.

use serde::{Deserialize, Serialize};

use crate::channel::ChannelName;
use crate::master::message::Message;
use crate::protocol::websocket::Kind;
use crate::sharedarea::{PublishError, Published, SharedArea};

use super::Answer;
use super::server::Hub;

/// The verb waits no longer than this for workers to pass its entry.
const WAIT_MS_MAX: u64 = 1_000;
/// First and longest pause between two looks at the workers' cursors.
const PAUSE_MS_MIN: u64 = 1;
const PAUSE_MS_MAX: u64 = 16;

/// A message that is published, and whose verb waits for the workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::master) struct Pending {
    seq: u64,
    /// Slot and owner of the slot.
    workers: Vec<(u16, u32)>,
    deadline_ms: u64,
    check_ms: u64,
    pause_ms: u64,
}

/// Publishes; the error is a sentence for the user.
pub(super) fn publish(
    channel: &str,
    kind: Kind,
    payload: &[u8],
    hub: &mut Hub<'_>,
) -> Result<Pending, String> {
    let channel = ChannelName::parse(channel).map_err(|error| error.to_string())?;
    if kind == Kind::Text && std::str::from_utf8(payload).is_err() {
        return Err("the message is not UTF-8; --binary sends it as it is".to_owned());
    }
    let workers = Pending::workers(hub);
    let message = Message {
        channel,
        kind,
        payload,
        time_us: hub.wall_us,
    };
    let published = message.publish(hub.participant, hub.codec);
    Pending::begin(workers, published, hub)
}

impl Pending {
    /// Workers that are there now, slot and owner; later ones never see what is published next.
    pub(super) fn workers(hub: &Hub<'_>) -> Vec<(u16, u32)> {
        let owner = |slot: &u16| Some((*slot, hub.area.participant(*slot)?.generation));
        hub.workers.iter().filter_map(owner).collect()
    }

    /// The wait for what was published just now; the error is a sentence for the user.
    pub(super) fn begin(
        workers: Vec<(u16, u32)>,
        published: Result<Published, PublishError>,
        hub: &Hub<'_>,
    ) -> Result<Self, String> {
        let published = published.map_err(|error| match error {
            PublishError::WouldBlock => format!("{error}; try again"),
            PublishError::TooLarge { .. } => format!("{error}; --spool-size sets it"),
            PublishError::InvalidChannel => error.to_string(),
        })?;
        // Workers without a listener on this channel sleep on; wake them to have their word as well.
        hub.area.ring();
        Ok(Self {
            seq: published.seq,
            workers,
            deadline_ms: hub.now_ms + WAIT_MS_MAX,
            check_ms: hub.now_ms + PAUSE_MS_MIN,
            pause_ms: PAUSE_MS_MIN,
        })
    }

    /// When to look again.
    pub(super) fn check_ms(&self) -> u64 {
        self.check_ms
    }

    /// The answer, if there is nothing left to wait for.
    pub(super) fn answer(&mut self, area: &SharedArea, now_ms: u64) -> Option<Answer> {
        let mut reached = 0;
        let mut missing = 0_u16;
        for (slot, generation) in &self.workers {
            match area.participant(*slot) {
                Some(worker) if worker.generation == *generation => {
                    if worker.cursor >= self.seq {
                        reached += 1;
                    } else {
                        missing += 1;
                    }
                }
                // It died, and its clients with it.
                Some(_) | None => {}
            }
        }
        if missing == 0 || now_ms >= self.deadline_ms {
            // There are at most 63 workers.
            let workers = u16::try_from(self.workers.len()).unwrap_or(u16::MAX);
            return Some(Answer::Published {
                reached,
                workers,
                seq: self.seq,
            });
        }
        if now_ms >= self.check_ms {
            self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
            self.check_ms = now_ms + self.pause_ms;
        }
        None
    }
}
