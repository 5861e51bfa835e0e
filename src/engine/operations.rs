//! What apps may do: the engine's side of [`Context`](crate::app::Context).

use crate::app::{Accept, AreaRange, Message, Operations, PublishError, Published, SendError};
use crate::channel::{ChannelName, Membership};
use crate::event_loop::Key;
use crate::protocol::http::Status;
use crate::protocol::websocket::{CloseCode, Connection, Kind, State, Upgrade, write_accept};
use crate::sharedarea::{AreaError, SharedArea};
use crate::status;

use super::client::{Client, Marks, Phase};
use super::core::Core;
use super::output::LARGE_BYTES;

impl Operations for Core {
    fn accept(&mut self, key: Key, accept: &Accept) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Phase::Deciding(deciding) = &mut client.phase else {
            return;
        };
        let upgrade = Upgrade {
            key: &deciding.key,
            subprotocols: deciding.subprotocols.iter().map(String::as_str).collect(),
            origin: None,
            host: None,
            offers: Vec::new(),
        };
        let out = self.output.sink(key, &mut client.outbox);
        write_accept(
            &upgrade,
            accept.subprotocol.as_deref(),
            deciding.deflate.as_ref(),
            out,
        );
        let connection = Connection::new(deciding.deflate.take());
        let unread = std::mem::take(&mut deciding.unread);
        client.phase = Phase::Open(connection);
        self.mark_deflating(key);
        self.opened.push((key, unread));
        self.conversation_begun(key);
    }

    fn reject(&mut self, key: Key, status: Status, reason: &str) {
        if let Some(Client {
            phase: Phase::Deciding(_),
            ..
        }) = self.clients.get(key)
        {
            self.refuse(key, status, reason, &[]);
        }
    }

    fn send(&mut self, key: Key, message: &Message<'_>) -> Result<(), SendError> {
        if self.is_full(key) {
            return Err(SendError::Full);
        }
        let large = message.payload.len() >= LARGE_BYTES;
        if !(large && self.send_large(key, message)) {
            self.with_connection(key, |connection, codec, out| {
                connection.send(message.kind, &message.payload, codec, out)
            })
            .and_then(Result::ok)
            .ok_or(SendError::NotOpen)?;
        }
        self.count_message_out(key);
        Ok(())
    }

    fn shared_area(&self) -> &SharedArea {
        &self.area
    }

    fn send_from_area(&mut self, key: Key, range: AreaRange, kind: Kind) -> Result<(), SendError> {
        self.send_range(key, range, kind)
    }

    fn broadcast_from_area(
        &mut self,
        range: AreaRange,
        channel: ChannelName<'_>,
        kind: Kind,
    ) -> Result<(), PublishError> {
        self.announce_or_wait(range, channel, kind)
    }

    fn watch_area(&mut self, area: u8, on: bool) -> Result<(), AreaError> {
        self.set_watched(area, on)
    }

    fn close(&mut self, key: Key, code: u16, reason: &str) {
        let code = Some(CloseCode(code)).filter(|code| code.is_sendable());
        let code = code.unwrap_or(CloseCode::INTERNAL_ERROR);
        let closing = self.with_connection(key, |connection, _, out| {
            let open = connection.state() == State::Open;
            connection.close(Some(code), reason, out);
            open
        });
        if closing == Some(true) {
            self.leave_all_channels(key);
            self.await_closing(key);
        }
    }

    fn subscribe(&mut self, key: Key, channel: ChannelName<'_>) {
        // What is in the log already is for those alone who listen already.
        self.deliver_before_joining();
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if !client.is_open() {
            return;
        }
        let id = if let Some(id) = self.subscriptions.find(channel.as_str()) {
            if client.memberships.contains(id) {
                return;
            }
            id
        } else {
            let index = self.participant.channel(channel.as_str());
            let id = self.subscriptions.add(channel.as_str(), index);
            if index.is_none() {
                self.participant.set_wild(true);
            }
            id
        };
        client.marks.insert(Marks::CHANGED);
        let (place, members) = self.subscriptions.join(id, key);
        client.memberships.add(Membership { channel: id, place });
        if let Some(behind) = &mut client.behind {
            behind.join(id, self.next);
        }
        if let Some(index) = self.subscriptions.table_index(id) {
            self.participant.set_interest(index, members);
        }
        self.count_subscriptions();
    }

    fn unsubscribe(&mut self, key: Key, channel: ChannelName<'_>) {
        let Some(id) = self.subscriptions.find(channel.as_str()) else {
            return;
        };
        let client = self.clients.get_mut(key);
        let removed = client.and_then(|client| {
            client.marks.insert(Marks::CHANGED);
            client.memberships.remove(id)
        });
        if let Some(membership) = removed {
            self.left(membership);
        }
    }

    fn publish(
        &mut self,
        channel: ChannelName<'_>,
        message: &Message<'_>,
    ) -> Result<(), PublishError> {
        self.publish_or_wait(channel, message)
    }

    fn publish_now(
        &mut self,
        channel: ChannelName<'_>,
        message: &Message<'_>,
    ) -> Result<Published, PublishError> {
        self.publish_or_fail(channel, message)
    }

    fn status(&mut self) -> status::Status {
        self.report_figures();
        let now_us = self.event_loop.wall_us();
        status::collect(&self.area, &self.settings.place, now_us)
    }

    fn pause(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.marks.insert(Marks::PAUSED | Marks::CHANGED);
        }
    }

    fn resume(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && client.marks.contains(Marks::PAUSED)
        {
            client.marks.remove(Marks::PAUSED);
            if client.marks.contains(Marks::UNREAD) {
                self.unread.push(key);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn wall_ms(&self) -> u64 {
        self.event_loop.wall_us() / 1000
    }

    fn wake_at(&mut self, at_ms: u64) {
        self.wake_ms = Some(self.wake_ms.map_or(at_ms, |asked| asked.min(at_ms)));
    }
}

impl Core {
    /// Counts a message to a single client.
    pub(super) fn count_message_out(&mut self, key: Key) {
        self.figures.messages_out += 1;
        if self.settings.log_requests
            && let Some(client) = self.clients.get_mut(key)
        {
            client.trace_messages_out(1);
        }
    }

    /// A client that is closing or gone gets nothing from the log any more.
    pub(super) fn leave_all_channels(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        for membership in std::mem::take(&mut client.memberships).as_slice() {
            self.left(*membership);
        }
    }

    /// Makes the rest of the world agree that a membership is over.
    fn left(&mut self, membership: Membership) {
        let left = self
            .subscriptions
            .leave(membership.channel, membership.place);
        if let Some((moved, place)) = left.moved
            && let Some(client) = self.clients.get_mut(moved)
        {
            client.memberships.moved(membership.channel, place);
        }
        match left.table_index {
            Some(index) => self.participant.set_interest(index, left.members),
            None => self
                .participant
                .set_wild(self.subscriptions.has_unindexed()),
        }
        self.count_subscriptions();
    }
}
