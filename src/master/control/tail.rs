//! The tail verb: a cursor in the log that shows one channel.
//!
//! It must not know how many tails there are, nor how their frames leave.

use serde::{Deserialize, Serialize};

use crate::channel::kind_of;
use crate::protocol::websocket::Kind;
use crate::sharedarea::{Announced, Entry, Participant, Reading, SharedArea};

use super::Answer;

/// Entries one tail looks at before others have their turn.
const ENTRIES_PER_TURN_MAX: u32 = 4_096;
/// A tail that has this much waiting gets no more until it has read; it may be lapped meanwhile.
pub(super) const WAITING_BYTES_MAX: usize = 256 * 1024;

/// One channel, seen from a place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    channel: String,
    /// The channel's place in the table; None while it travels by name.
    #[serde(skip)]
    index: Option<u32>,
    /// The table's edition when the index was looked up.
    #[serde(skip)]
    edition: u64,
    next_seq: u64,
    /// Entries overwritten before they were seen, not told yet.
    lapped: u64,
}

impl Tail {
    /// A tail that begins with the next message.
    pub(super) fn new(channel: String, area: &SharedArea, participant: &mut Participant) -> Self {
        let mut tail = Self {
            channel,
            index: None,
            edition: 0,
            next_seq: 0,
            lapped: 0,
        };
        tail.go_on(participant);
        tail.next_seq = area.head() + 1;
        tail
    }

    /// Finds its channel and shows interest, in the name of a participant that has not done so yet.
    pub(super) fn go_on(&mut self, participant: &mut Participant) {
        self.edition = participant.channel_edition();
        self.index = participant.channel(&self.channel);
        if let Some(index) = self.index {
            // The index is ours only while somebody shows interest; the turn will count how many.
            participant.set_interest(index, 1);
        }
    }

    pub(super) fn index(&self) -> Option<u32> {
        self.index
    }

    /// Looks the channel up again if it had no index and may have one now; true if it has.
    pub(super) fn look_up(&mut self, participant: &mut Participant) -> bool {
        let edition = participant.channel_edition();
        if self.index.is_some() || self.edition == edition {
            return false;
        }
        self.edition = edition;
        self.index = participant.channel(&self.channel);
        self.index.is_some()
    }

    /// Whether it has seen everything up to `head`.
    pub(super) fn has_seen(&self, head: u64) -> bool {
        self.next_seq > head
    }

    /// Appends what is new to `out`, until that is full.
    pub(super) fn show(
        &mut self,
        head: u64,
        area: &SharedArea,
        participant: &Participant,
        out: &mut Vec<u8>,
    ) {
        for _ in 0..ENTRIES_PER_TURN_MAX {
            if self.has_seen(head) || out.len() >= WAITING_BYTES_MAX {
                break;
            }
            match self.read(area, participant) {
                Some(None) => {}
                Some(Some(message)) => {
                    self.tell_lapped(out);
                    message.write(out);
                }
                None => self.lapped += 1,
            }
            self.next_seq += 1;
        }
        if self.has_seen(head) {
            self.tell_lapped(out);
        }
        participant.unpin();
    }

    fn tell_lapped(&mut self, out: &mut Vec<u8>) {
        let entries = std::mem::take(&mut self.lapped);
        if entries > 0 {
            Answer::Lapped { entries }.write(out);
        }
    }

    /// The next entry: None if it is lost, `Some(None)` if it is not ours.
    #[expect(clippy::option_option, reason = "lost, not ours, ours")]
    fn read(&self, area: &SharedArea, participant: &Participant) -> Option<Option<Answer>> {
        let entry = area.entry(self.next_seq).ok()?;
        if entry.channel.is_some()
            && (entry.channel != self.index || !area.is_of_channel_now(&entry))
        {
            return Some(None);
        }
        // From here on its bytes stay as they are.
        if !participant.pin(entry.record_position()) {
            return None;
        }
        if !self.is_named_by(&entry, area) {
            return Some(None);
        }
        if let Some(range) = &entry.announced {
            // One that has changed is nothing to show.
            return Some(announced(&entry, range, area));
        }
        let mut frame = Vec::new();
        area.copy_out(entry.range(), &mut frame).ok()?;
        let (kind, payload) = message_of(&frame)?;
        Some(Some(Answer::Message {
            kind,
            time_us: entry.time_us,
            payload: payload.to_vec(),
        }))
    }

    fn is_named_by(&self, entry: &Entry, area: &SharedArea) -> bool {
        let Some(range) = entry.name_range() else {
            return true;
        };
        let mut name = Vec::new();
        area.copy_out(range, &mut name).is_ok() && name == self.channel.as_bytes()
    }
}

/// The message of an announced range, if that is still what it was.
fn announced(entry: &Entry, range: &Announced, shared: &SharedArea) -> Option<Answer> {
    let area = shared.announced_area(range).ok()?;
    let reading = Reading::of_announced(&area, range)?;
    let mut payload = Vec::new();
    let bytes = Some(u64::from(range.bytes));
    reading.copy(range.position, bytes, &mut payload).ok()?;
    reading.is_still(range).then_some(Answer::Message {
        kind: kind_of(entry.flags),
        time_us: entry.time_us,
        payload,
    })
}

/// Kind and payload of a whole, unmasked, uncompressed frame (RFC 6455 section 5.2); None for anything
/// else, which an outside writer may have published.
fn message_of(frame: &[u8]) -> Option<(Kind, &[u8])> {
    let (&first, rest) = frame.split_first()?;
    let kind = match first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        _ => return None,
    };
    let (&second, rest) = rest.split_first()?;
    let (length, payload) = match second {
        0..=125 => (u64::from(second), rest),
        126 => {
            let (length, payload) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*length)), payload)
        }
        127 => {
            let (length, payload) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length), payload)
        }
        // Masked.
        128.. => return None,
    };
    (payload.len() as u64 == length).then_some((kind, payload))
}

#[cfg(test)]
mod tests {
    use crate::protocol::websocket::encode_frame;
    use crate::sharedarea::{EntryFlags, Geometry, ParticipantKind, Publication};

    use super::*;
    use crate::master::control::Frames;

    fn area() -> (SharedArea, Participant) {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let participant = area.join(ParticipantKind::Master, 0).unwrap();
        (area, participant)
    }

    fn publish(participant: &mut Participant, channel: &str, text: &str) {
        let mut frame = Vec::new();
        encode_frame(Kind::Text, text.as_bytes(), &mut frame);
        participant
            .publish(&Publication {
                channel,
                flags: EntryFlags::TEXT,
                parts: &[&frame],
                alternate: &[],
                origin: 0,
                time_us: 5,
            })
            .unwrap();
    }

    fn shown(tail: &mut Tail, area: &SharedArea, participant: &Participant) -> Vec<Answer> {
        let mut out = Vec::new();
        tail.show(area.head(), area, participant, &mut out);
        let mut frames = Frames::new(1 << 20);
        frames.push(&out);
        std::iter::from_fn(|| frames.answer().unwrap()).collect()
    }

    fn message(text: &str) -> Answer {
        Answer::Message {
            kind: Kind::Text,
            time_us: 5,
            payload: text.into(),
        }
    }

    #[test]
    fn only_its_channel_from_now_on_is_shown() {
        let (area, mut participant) = area();
        let long_name = "n".repeat(150);
        publish(&mut participant, "news", "before");
        let mut news = Tail::new("news".into(), &area, &mut participant);
        let mut long = Tail::new(long_name.clone(), &area, &mut participant);
        assert!(long.index().is_none(), "it travels by name");
        for (channel, text) in [
            ("news", "1"),
            ("other", "2"),
            (&*long_name, "3"),
            ("news", "4"),
        ] {
            publish(&mut participant, channel, text);
        }
        assert_eq!(
            shown(&mut news, &area, &participant),
            [message("1"), message("4")]
        );
        assert_eq!(shown(&mut long, &area, &participant), [message("3")]);
        assert_eq!(shown(&mut news, &area, &participant), []);
    }

    #[test]
    fn what_was_overwritten_is_told() {
        let (area, mut participant) = area();
        let mut tail = Tail::new("news".into(), &area, &mut participant);
        for _ in 0..100 {
            publish(&mut participant, "news", &"x".repeat(1000));
        }
        let answers = shown(&mut tail, &area, &participant);
        let Some(Answer::Lapped { entries }) = answers.first() else {
            panic!("{answers:?}");
        };
        let messages = answers.len() as u64 - 1;
        assert!(*entries > 0 && messages > 0);
        assert_eq!(entries + messages, 100);
    }

    #[test]
    fn what_was_of_another_channel_at_the_same_place_is_not_shown() {
        let geometry = Geometry {
            channels: 1,
            ..Geometry::with_spool(64 * 1024)
        };
        let area = SharedArea::create(geometry, 1, 0).unwrap();
        let mut participant = area.join(ParticipantKind::Master, 0).unwrap();
        let mut other = area.join(ParticipantKind::Worker, 1).unwrap();
        let place = other.channel("other").unwrap();
        other.set_interest(place, 1);
        let mut tail = Tail::new("news".into(), &area, &mut participant);
        assert!(tail.index().is_none());
        publish(&mut other, "other", "secret");
        other.set_interest(place, 0);
        // `visiting` ends with the next look-up.
        let _none = other.channel(&"n".repeat(150));
        publish(&mut other, "news", "mine");
        tail.look_up(&mut participant);
        assert_eq!(shown(&mut tail, &area, &participant), [message("mine")]);
    }

    #[test]
    fn frames_of_every_length_are_taken_apart() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut frame = Vec::new();
            encode_frame(Kind::Binary, &payload, &mut frame);
            assert_eq!(message_of(&frame), Some((Kind::Binary, &payload[..])));
            assert_eq!(message_of(&frame[..frame.len() - 1]), None);
        }
        for nonsense in [
            &[][..],
            &[0x81],
            &[0x01, 0],
            &[0x81, 0x80, 0, 0, 0, 0],
            &[0xc1, 0],
        ] {
            assert_eq!(message_of(nonsense), None);
        }
    }
}
