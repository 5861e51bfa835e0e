//! The verbs about areas: read, write, send. Bounded, so that no verb keeps the master from its work.
//!
//! It must not know how requests come in and answers go out.

use super::Answer;
use super::area_request::AreaRequest;
use super::connection::{Activity, Connection};
use super::publish::Pending;
use super::server::Hub;
use crate::channel::ChannelName;
use crate::protocol::websocket::Kind;
use crate::sharedarea::{Announcement, AreaError, EntryFlags};

/// Most bytes in one answer; the verb asks again for more.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Longest text that is checked to be UTF-8; a longer one is refused.
const TEXT_BYTES_MAX: u32 = 16 << 20;

/// Does it, or says why not.
pub(super) fn serve(connection: &mut Connection, request: AreaRequest, hub: &mut Hub<'_>) {
    let done = match request {
        AreaRequest::Read {
            area,
            position,
            bytes,
        } => read(&area, position, bytes, hub).map(|answer| connection.answer(&answer)),
        AreaRequest::Write {
            area,
            position,
            bytes,
        } => write(&area, position, &bytes, hub).map(|answer| connection.answer(&answer)),
        AreaRequest::Send {
            area,
            position,
            bytes,
            channel,
            kind,
        } => announce(&area, (position, bytes), &channel, kind, hub)
            .map(|pending| connection.activity = Activity::Publishing(pending)),
    };
    if let Err(reason) = done {
        connection.refuse(reason);
    }
}

fn in_words(error: AreaError) -> String {
    error.to_string()
}

fn read(area: &str, position: u64, bytes: Option<u64>, hub: &Hub<'_>) -> Result<Answer, String> {
    let area = hub.area.find_area(area).map_err(in_words)?;
    let wanted = area.measure(position, bytes).map_err(in_words)?;
    let now = wanted.min(ANSWER_BYTES_MAX);
    let mut bytes = Vec::new();
    area.read(position, Some(now), &mut bytes)
        .map_err(in_words)?;
    Ok(Answer::AreaBytes {
        left: wanted - now,
        bytes,
    })
}

fn write(area: &str, position: u64, bytes: &[u8], hub: &Hub<'_>) -> Result<Answer, String> {
    let area = hub.area.find_area(area).map_err(in_words)?;
    area.write(position, bytes).map_err(in_words)?;
    Ok(Answer::AreaWritten)
}

fn announce(
    area: &str,
    (position, bytes): (u64, Option<u64>),
    channel: &str,
    kind: Kind,
    hub: &mut Hub<'_>,
) -> Result<Pending, String> {
    let channel = ChannelName::parse(channel).map_err(|error| error.to_string())?;
    let area = hub.area.find_area(area).map_err(in_words)?;
    let range = area.announcement(position, bytes).map_err(in_words)?;
    let flags = match kind {
        Kind::Binary => EntryFlags::BINARY,
        Kind::Text => {
            let mut text = Vec::new();
            if range.bytes <= TEXT_BYTES_MAX {
                let bytes = Some(u64::from(range.bytes));
                area.read(position, bytes, &mut text).map_err(in_words)?;
            }
            if text.len() != range.bytes as usize || str::from_utf8(&text).is_err() {
                return Err("the range is not UTF-8; --binary sends it as it is".to_owned());
            }
            EntryFlags::TEXT
        }
    };
    let workers = Pending::workers(hub);
    let published = hub.participant.announce(&Announcement {
        channel: channel.as_str(),
        flags,
        range,
        time_us: hub.wall_us,
    });
    Pending::begin(workers, published, hub)
}
