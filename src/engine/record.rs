//! A client as bytes, for the way to another worker.
//!
//! A version byte, then fields of tag, length and value, all little endian. A reader passes over
//! optional fields that it does not know, and says no to a client with a mandatory one that it does
//! not know: then the client stays where it is. It knows nothing of sockets and loops.

use crate::protocol::websocket::Agreed;

const VERSION: u8 = 1;
/// Tags with this bit are mandatory.
const MANDATORY: u8 = 0x80;

const HEAD: u8 = MANDATORY | 1;
const OPEN: u8 = MANDATORY | 2;
const UNSENT: u8 = MANDATORY | 3;
const CURSOR: u8 = MANDATORY | 4;
const CHANNEL: u8 = MANDATORY | 5;
const APP: u8 = MANDATORY | 6;
const APP_STATE: u8 = MANDATORY | 7;
const DEFLATE: u8 = MANDATORY | 8;
const API: u8 = MANDATORY | 13;
const WINDOW: u8 = MANDATORY | 15;
const IDLE_MS: u8 = 9;
const DEADLINE_MS: u8 = 10;
const PINGED: u8 = 11;
const SERVED: u8 = 12;
const TRACE: u8 = 14;
const JOINED: u8 = 16;

/// Everything about a client that is not its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) phase: RecordedPhase,
    /// What was to be sent next: the rest of a half-sent frame, then the outbox.
    pub(super) unsent: Vec<u8>,
    /// The first entry of the log that it has not got.
    pub(super) cursor: u64,
    pub(super) channels: Vec<String>,
    /// Channels of which what is before an entry is not for it although its cursor is.
    pub(super) joined: Vec<(String, u64)>,
    /// Since it was last heard of.
    pub(super) idle_ms: u64,
    /// Until its deadline, if it has one.
    pub(super) deadline_ms: Option<u64>,
    pub(super) pinged: bool,
    pub(super) served: bool,
    /// It has connected to the API.
    pub(super) api: bool,
    /// What the request log will say of it.
    pub(super) trace: Option<Vec<u8>>,
}

/// Where it is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordedPhase {
    /// A request head is awaited; what has come of it.
    Head(Vec<u8>),
    /// A WebSocket.
    Open {
        /// What a fresh connection has to receive to be in the same state.
        replay: Vec<u8>,
        deflate: Option<Agreed>,
        /// What its compressor may still refer to.
        window: Vec<u8>,
        app: String,
        app_state: Option<Vec<u8>>,
    },
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match &self.phase {
            RecordedPhase::Head(head) => field(HEAD, head, &mut out),
            RecordedPhase::Open {
                replay,
                deflate,
                window,
                app,
                app_state,
            } => {
                field(OPEN, replay, &mut out);
                field(APP, app.as_bytes(), &mut out);
                if let Some(agreed) = deflate {
                    field(DEFLATE, &encode_agreed(agreed), &mut out);
                }
                if !window.is_empty() {
                    field(WINDOW, window, &mut out);
                }
                if let Some(state) = app_state {
                    field(APP_STATE, state, &mut out);
                }
            }
        }
        if !self.unsent.is_empty() {
            field(UNSENT, &self.unsent, &mut out);
        }
        field(CURSOR, &self.cursor.to_le_bytes(), &mut out);
        for channel in &self.channels {
            field(CHANNEL, channel.as_bytes(), &mut out);
        }
        for (channel, first) in &self.joined {
            let value = [&first.to_le_bytes(), channel.as_bytes()].concat();
            field(JOINED, &value, &mut out);
        }
        field(IDLE_MS, &self.idle_ms.to_le_bytes(), &mut out);
        if let Some(deadline_ms) = self.deadline_ms {
            field(DEADLINE_MS, &deadline_ms.to_le_bytes(), &mut out);
        }
        if let Some(trace) = &self.trace {
            field(TRACE, trace, &mut out);
        }
        let flags = [
            (PINGED, self.pinged),
            (SERVED, self.served),
            (API, self.api),
        ];
        for (tag, is_so) in flags {
            if is_so {
                field(tag, &[], &mut out);
            }
        }
        out
    }

    /// `None` when it is not a record, or says something important that is not understood here.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        if version != VERSION {
            return None;
        }
        let mut phase = None;
        let (mut app, mut app_state, mut deflate) = (None, None, None);
        let mut window = Vec::new();
        let mut record = Self {
            phase: RecordedPhase::Head(Vec::new()),
            unsent: Vec::new(),
            cursor: 0,
            channels: Vec::new(),
            joined: Vec::new(),
            idle_ms: 0,
            deadline_ms: None,
            pinged: false,
            served: false,
            api: false,
            trace: None,
        };
        while !rest.is_empty() {
            let (tag, value, behind) = next_field(rest)?;
            rest = behind;
            match tag {
                HEAD | OPEN => phase = Some((tag, value.to_vec())),
                UNSENT => record.unsent = value.to_vec(),
                CURSOR => record.cursor = number(value)?,
                CHANNEL => record.channels.push(text(value)?),
                APP => app = Some(text(value)?),
                APP_STATE => app_state = Some(value.to_vec()),
                DEFLATE => deflate = Some(decode_agreed(value)?),
                WINDOW => window = value.to_vec(),
                IDLE_MS => record.idle_ms = number(value)?,
                DEADLINE_MS => record.deadline_ms = Some(number(value)?),
                PINGED => record.pinged = true,
                SERVED => record.served = true,
                API => record.api = true,
                TRACE => record.trace = Some(value.to_vec()),
                JOINED => {
                    let (first, channel) = value.split_first_chunk::<8>()?;
                    let first = u64::from_le_bytes(*first);
                    record.joined.push((text(channel)?, first));
                }
                unknown if unknown & MANDATORY != 0 => return None,
                _ => {}
            }
        }
        record.phase = match phase? {
            (HEAD, head) => RecordedPhase::Head(head),
            (_, replay) => RecordedPhase::Open {
                replay,
                deflate,
                window,
                app: app?,
                app_state,
            },
        };
        Some(record)
    }
}

/// Appends a field.
pub(super) fn field(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(value);
}

/// The first field, and what is behind it.
fn next_field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

fn number(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(value.try_into().ok()?))
}

fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok()
}

/// Bits of the two takeovers, then the two windows; 0 is "not named".
fn encode_agreed(agreed: &Agreed) -> [u8; 3] {
    let takeovers = u8::from(agreed.server_no_context_takeover)
        | u8::from(agreed.client_no_context_takeover) << 1;
    let window = |bits: Option<u8>| bits.unwrap_or(0);
    [
        takeovers,
        window(agreed.server_max_window_bits),
        window(agreed.client_max_window_bits),
    ]
}

fn decode_agreed(value: &[u8]) -> Option<Agreed> {
    let &[takeovers, server, client] = value else {
        return None;
    };
    let window = |bits: u8| (bits != 0).then_some(bits);
    let is_window = |bits: u8| bits == 0 || (8..=15).contains(&bits);
    (takeovers <= 3 && is_window(server) && is_window(client)).then_some(Agreed {
        server_no_context_takeover: takeovers & 1 != 0,
        client_no_context_takeover: takeovers & 2 != 0,
        server_max_window_bits: window(server),
        client_max_window_bits: window(client),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            phase: RecordedPhase::Open {
                replay: vec![1, 2, 3],
                deflate: Some(Agreed {
                    server_no_context_takeover: true,
                    client_no_context_takeover: false,
                    server_max_window_bits: Some(12),
                    client_max_window_bits: None,
                }),
                window: vec![4; 100],
                app: "channels".to_owned(),
                app_state: Some(vec![9]),
            },
            unsent: vec![0; 300],
            cursor: 77,
            channels: vec!["a".to_owned(), "ü".to_owned()],
            joined: vec![("ü".to_owned(), 78)],
            idle_ms: 5,
            deadline_ms: Some(6),
            pinged: true,
            served: true,
            api: true,
            trace: Some(vec![8]),
        }
    }

    #[test]
    fn a_record_survives() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
        let head = Record {
            phase: RecordedPhase::Head(b"GET /".to_vec()),
            unsent: Vec::new(),
            deadline_ms: None,
            pinged: false,
            ..record()
        };
        assert_eq!(Record::decode(&head.encode()), Some(head));
    }

    #[test]
    fn unknown_fields_are_passed_over_unless_they_matter() {
        let mut bytes = record().encode();
        field(0x20, b"new and optional", &mut bytes);
        assert_eq!(Record::decode(&bytes), Some(record()));
        field(MANDATORY | 0x20, b"new and important", &mut bytes);
        assert_eq!(Record::decode(&bytes), None);
        let mut other_version = record().encode();
        other_version[0] = 2;
        assert_eq!(Record::decode(&other_version), None);
    }

    proptest! {
        #[test]
        fn what_is_cut_or_garbled_harms_nothing(cut in 0_usize..400, at in 0_usize..400, to in any::<u8>()) {
            let mut bytes = record().encode();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            // Whatever comes out, nothing panics and no memory is taken for lengths that lie.
            let _whatever: Option<Record> = Record::decode(&bytes);
        }
    }
}
