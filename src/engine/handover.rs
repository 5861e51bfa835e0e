//! Clients on their way from one worker to another.
//!
//! ```text
//! old:  owned ──freeze──▶ frozen ──release──▶ (gone: the other owns it)
//!         ▲                 │
//!         └────give_back────┘   whatever goes wrong before `release`
//! new:  ──receive_frozen──▶ frozen ──admit──▶ owned
//!                             └──turn_away──▶ (gone: the other still owns it)
//! ```
//!
//! A frozen client is neither read from nor written to, on either side, and its place in the log
//! stands still; so what was described stays true. What others send it meanwhile waits in its
//! outbox at the old worker and travels with the release; what is said to it at the new one comes
//! behind that. Who carries descriptions and descriptors from one to the other is not known here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use log::debug;

use crate::app::{AppId, Context, Frozen};
use crate::channel::ChannelName;
use crate::event_loop::{Key, Source};
use crate::net::{Purpose, Transport};
use crate::protocol::websocket::{Connection, State};

use super::Engine;
use super::client::{Client, Marks, NEVER, Phase};
use super::core::Core;
use super::half::{Behind, NOTHING};
use super::record::{Record, RecordedPhase};
use super::trace::Trace;

/// A frozen client and its description.
#[derive(Debug)]
pub struct Shipment {
    /// Whose it is here.
    pub key: Key,
    /// What the other worker has to be given besides the descriptor.
    pub record: Vec<u8>,
    /// How much of its outbox is in the record.
    outbox_bytes: usize,
}

/// A client that another worker has frozen, as it has arrived here.
#[derive(Debug)]
pub struct Arrival {
    key: Key,
    /// How much of its outbox came with the record.
    outbox_bytes: usize,
}

impl Engine {
    /// The clients that may be movable, in no order.
    pub fn keys(&self) -> Vec<Key> {
        self.core.clients.keys()
    }

    /// Freezes a client and describes it; `None` when it cannot be moved, at least not now.
    pub fn freeze(&mut self, key: Key) -> Option<Shipment> {
        let app_state = match self.core.movable_app(key)? {
            Some(app) => match self.apps.get_mut(app).freeze(key) {
                Frozen::Stateless => None,
                Frozen::State(state) => Some(state),
                Frozen::Stays => return None,
            },
            None => None,
        };
        let record = self.record(key, app_state)?;
        let client = self.core.clients.get_mut(key)?;
        let outbox_bytes = client.outbox.len();
        if let Err(error) = self.core.event_loop.deregister(client.transport.as_fd()) {
            debug!("a client cannot be frozen: {error}");
            return None;
        }
        client.marks.insert(Marks::FROZEN);
        client.marks.remove(Marks::CHANGED);
        self.core.stop_cursor(key, record.cursor);
        Some(Shipment {
            key,
            record: record.encode(),
            outbox_bytes,
        })
    }

    /// The descriptor of a frozen client.
    pub fn descriptor(&self, shipment: &Shipment) -> Option<BorrowedFd<'_>> {
        Some(self.core.clients.get(shipment.key)?.transport.as_fd())
    }

    /// It was offered to another worker, which does not take it or cannot be told to: it goes on here.
    pub fn give_back(&mut self, shipment: &Shipment) {
        self.core.figures.clients_returned += 1;
        self.keep(shipment);
    }

    /// It was not offered to another worker after all: it goes on here.
    pub fn keep(&mut self, shipment: &Shipment) {
        self.core.unfreeze(shipment.key);
        self.settle();
    }

    /// What has gathered for a frozen client since it was described; `None` when its state has changed
    /// since, so that it has to stay here after all.
    pub fn late(&self, shipment: &Shipment) -> Option<Vec<u8>> {
        let client = self.core.clients.get(shipment.key)?;
        let same = match &client.phase {
            Phase::Open(connection) => connection.state() == State::Open,
            Phase::Head(_) => true,
            Phase::Body(_) | Phase::Deciding(_) | Phase::Lingering { .. } => false,
        };
        if !same || client.marks.intersects(Marks::CHANGED | Marks::GONE) {
            return None;
        }
        let late = client.outbox.unsent().get(shipment.outbox_bytes..);
        Some(late.unwrap_or_default().to_vec())
    }

    /// The other worker has it, and knows that.
    pub fn release(&mut self, shipment: &Shipment) {
        self.core.figures.clients_given += 1;
        self.leave_to_another(shipment.key);
    }

    /// Takes a client that another worker has frozen; it stays frozen here until `admit`. `None`
    /// when it cannot be taken: an unknown app, say, or a version that is not understood.
    pub fn receive_frozen(&mut self, fd: OwnedFd, record: &[u8]) -> Option<Arrival> {
        if self.core.draining.is_some() {
            return None;
        }
        let record = Record::decode(record)?;
        let (phase, app, app_state) = self.revive(record.phase)?;
        let now_ms = self.core.now_ms;
        let deadline_ms = record.deadline_ms.map_or(NEVER, |left_ms| now_ms + left_ms);
        let purpose = if record.api {
            Purpose::Api
        } else {
            Purpose::Clients
        };
        let transport = Transport::new(fd).with_purpose(purpose);
        let mut client = Client::new(transport, now_ms, deadline_ms);
        client.seen_ms = now_ms.saturating_sub(record.idle_ms);
        client.phase = phase;
        client.app = app;
        client.trace = record.trace.as_deref().and_then(Trace::decode);
        client.outbox.push(&record.unsent);
        client.marks.insert(Marks::FROZEN);
        client.marks.set(Marks::PINGED, record.pinged);
        client.marks.set(Marks::SERVED, record.served);
        let key = self.core.clients.insert(client);
        self.core.mark_deflating(key);
        for channel in &record.channels {
            if let Ok(channel) = ChannelName::parse(channel) {
                crate::app::Operations::subscribe(&mut self.core, key, channel);
            }
        }
        self.core.stop_cursor(key, record.cursor);
        for (channel, first) in &record.joined {
            self.core.began_at(key, channel, *first);
        }
        if let (Some(app), Some(state)) = (app, app_state) {
            self.apps
                .get_mut(app)
                .thaw(&mut Context::new(&mut self.core), key, &state);
        }
        Some(Arrival {
            key,
            outbox_bytes: record.unsent.len(),
        })
    }

    /// The other worker has released it: it is ours, with what has gathered for it there.
    pub fn admit(&mut self, arrival: &Arrival, late: &[u8]) {
        let key = arrival.key;
        self.core.figures.clients_taken += 1;
        if let Some(client) = self.core.clients.get_mut(key) {
            // Not behind what was said to it here: what a compressor has written there refers to
            // what was sent before it.
            client.outbox.insert(arrival.outbox_bytes, late);
        }
        self.core.unfreeze(key);
        self.settle();
    }

    /// The other worker keeps it.
    pub fn turn_away(&mut self, arrival: &Arrival) {
        self.leave_to_another(arrival.key);
    }

    fn leave_to_another(&mut self, key: Key) {
        let app = self.core.clients.get(key).and_then(|client| client.app);
        self.core.forget(key);
        if let Some(app) = app {
            self.apps.get_mut(app).moved(key);
        }
    }

    fn record(&mut self, key: Key, app_state: Option<Vec<u8>>) -> Option<Record> {
        let client = self.core.clients.get_mut(key)?;
        let phase = match &mut client.phase {
            Phase::Head(head) => RecordedPhase::Head(head.clone()),
            Phase::Open(connection) => RecordedPhase::Open {
                replay: connection.replay()?,
                deflate: connection.deflate().copied(),
                window: connection.window(&mut self.core.codec)?,
                app: self.apps.name(client.app?).to_owned(),
                app_state,
            },
            Phase::Body(_) | Phase::Deciding(_) | Phase::Lingering { .. } => return None,
        };
        let mut unsent = Vec::new();
        let mut cursor = self.core.next;
        if let Some(behind) = &client.behind {
            if let Some(half) = &behind.half {
                match &half.rescued {
                    Some(copy) => unsent.extend_from_slice(&copy[half.sent as usize..]),
                    None => self.core.area.copy_out(half.rest(), &mut unsent).ok()?,
                }
            }
            cursor = cursor.min(behind.next);
        }
        unsent.extend_from_slice(client.outbox.unsent());
        let name = |channel| self.core.subscriptions.name(channel);
        let names = client.memberships.as_slice().iter();
        let joined = client.behind.iter().flat_map(|behind| &behind.joined);
        let now_ms = self.core.now_ms;
        let deadline_ms = client.deadline_ms;
        Some(Record {
            phase,
            unsent,
            cursor,
            channels: names.filter_map(|one| name(one.channel)).collect(),
            joined: joined
                .filter_map(|(channel, first)| Some((name(*channel)?, *first)))
                .collect(),
            idle_ms: now_ms.saturating_sub(client.seen_ms),
            deadline_ms: (deadline_ms != NEVER).then(|| deadline_ms.saturating_sub(now_ms)),
            pinged: client.marks.contains(Marks::PINGED),
            served: client.marks.contains(Marks::SERVED),
            api: client.transport.purpose() == Purpose::Api,
            trace: client.trace.as_ref().and_then(|trace| trace.encode()),
        })
    }

    /// A connection in the recorded state, with its app and the app's own state.
    fn revive(&mut self, phase: RecordedPhase) -> Option<(Phase, Option<AppId>, Option<Vec<u8>>)> {
        match phase {
            RecordedPhase::Head(head) => Some((Phase::Head(head), None, None)),
            RecordedPhase::Open {
                mut replay,
                deflate,
                window,
                app,
                app_state,
            } => {
                let app = self.apps.find(&app)?;
                let codec = &mut self.core.codec;
                let mut connection = Connection::with_window(deflate, &window, codec)?;
                let mut answers = Vec::new();
                let step = connection.receive(&mut replay, codec, &mut answers);
                let silent = step.event.is_none() && answers.is_empty();
                silent.then_some((Phase::Open(connection), Some(app), app_state))
            }
        }
    }
}

impl Core {
    /// Whether the client is in a state that can be described, and the app that has a say.
    fn movable_app(&self, key: Key) -> Option<Option<AppId>> {
        let client = self.clients.get(key)?;
        let kept = Marks::GONE | Marks::FROZEN | Marks::PAUSED | Marks::ENDED;
        if client.marks.intersects(kept) {
            return None;
        }
        match &client.phase {
            Phase::Head(_) => Some(None),
            Phase::Open(connection) => (connection.state() == State::Open).then_some(client.app),
            Phase::Body(_) | Phase::Deciding(_) | Phase::Lingering { .. } => None,
        }
    }

    /// The client's place in the log stands still at `next`; nothing is sent to it.
    fn stop_cursor(&mut self, key: Key, next: u64) {
        if let Some(client) = self.clients.get_mut(key) {
            match &mut client.behind {
                Some(behind) => behind.next = next,
                None => client.behind = Some(Box::new(Behind::at(next, None))),
            }
        }
    }

    /// A client that is behind has come to a channel at the entry `first`.
    fn began_at(&mut self, key: Key, channel: &str, first: u64) {
        if let Some(channel) = self.subscriptions.find(channel)
            && let Some(client) = self.clients.get_mut(key)
            && let Some(behind) = &mut client.behind
        {
            behind.join(channel, first);
        }
    }

    /// The client goes on: it is watched again, and gets what has gathered.
    fn unfreeze(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.marks.remove(Marks::FROZEN | Marks::CHANGED);
        client.alarm_ms = NEVER;
        let listens = !client.memberships.as_slice().is_empty();
        if let Some(behind) = &mut client.behind
            && !listens
        {
            behind.next = NOTHING;
        }
        let fd = client.transport.as_fd();
        if let Err(error) = self.event_loop.register(fd, Source::Client(key)) {
            debug!("a client could not be watched again, it is dropped: {error}");
            return self.lost(key);
        }
        self.arm(key);
        self.count_clients();
        self.push_out(key);
        if self
            .clients
            .get(key)
            .is_some_and(|client| client.behind.is_some())
        {
            self.laggards.push(key);
        }
    }
}
