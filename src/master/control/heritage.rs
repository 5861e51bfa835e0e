//! Verbs that are connected while the program is replaced: everything about a connection but its
//! descriptor, as data, so that no verb notices.
//!
//! It must not know how the text is handed over.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use super::connection::{Activity, Connection};
use super::server::ControlServer;
use crate::sharedarea::Participant;

/// A connection between two calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::master) struct VerbState {
    /// What has come of requests that were not taken yet.
    #[serde(with = "bytes")]
    pub(super) unread: Vec<u8>,
    /// What was not sent yet of answers.
    #[serde(with = "bytes")]
    pub(super) unsent: Vec<u8>,
    pub(super) activity: Activity,
}

impl ControlServer {
    /// The listening socket, for a new program.
    pub(in crate::master) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// All verbs, for a new program.
    pub(in crate::master) fn verbs(&self) -> impl Iterator<Item = (BorrowedFd<'_>, VerbState)> {
        let connections = self.connections.values();
        connections.map(|connection| (connection.as_fd(), connection.state()))
    }

    /// Takes over a verb from the program before this one. `participant` has joined just now: until a tail
    /// shows its interest again, nothing keeps the place of its channel.
    pub(in crate::master) fn adopt(
        &mut self,
        stream: UnixStream,
        mut state: VerbState,
        participant: &mut Participant,
    ) {
        if let Activity::Tailing(tail) = &mut state.activity {
            tail.go_on(participant);
        }
        let connection = Connection::inherit(stream, self.frame_bytes_max, state);
        self.connections.insert(self.next_number, connection);
        self.next_number += 1;
    }
}

/// Bytes as a text of base64.
mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD
            .decode(String::deserialize(from)?)
            .map_err(D::Error::custom)
    }
}
