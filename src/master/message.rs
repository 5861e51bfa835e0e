//! Messages that the master publishes for others: encoded once for all clients, and deflated once for those
//! that read alternates, if there may be any.
//!
//! It must not know where messages come from.

use crate::channel::{ChannelName, flags_of};
use crate::protocol::websocket::{Codec, Kind, encode_frame};
use crate::sharedarea::{Participant, Publication, PublishError, Published};

/// A message from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'m> {
    pub(super) channel: ChannelName<'m>,
    /// Text must be UTF-8: that is the caller's to know.
    pub(super) kind: Kind,
    pub(super) payload: &'m [u8],
    pub(super) time_us: u64,
}

impl Message<'_> {
    pub(super) fn publish(
        &self,
        participant: &mut Participant,
        codec: &mut Codec,
    ) -> Result<Published, PublishError> {
        let channel = self.channel.as_str();
        let (mut frame, mut alternate) = (Vec::new(), Vec::new());
        encode_frame(self.kind, self.payload, &mut frame);
        if participant.wants_alternate(channel) {
            let _is_worth_it: bool =
                codec.encode_shared_frame(self.kind, self.payload, &mut alternate);
        }
        participant.publish(&Publication {
            channel,
            flags: flags_of(self.kind),
            parts: &[&frame],
            alternate: &[&alternate],
            origin: 0,
            time_us: self.time_us,
        })
    }
}
