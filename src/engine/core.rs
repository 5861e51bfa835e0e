//! The engine's state but for the apps: what an app may touch while it is called.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use log::warn;

use crate::app::AppId;
use crate::channel::{Batch, Run, Subscriptions};
use crate::event_loop::{EventLoop, Key, KeyQueue, Ready, Slab, Source, Timers};
use crate::net::Transport;
use crate::protocol::websocket::{Agreed, CloseCode, Closed, Codec};
use crate::sharedarea::{Figures, Participant, SharedArea};

use super::Settings;
use super::areas::Watched;
use super::client::{Client, Marks, Phase};
use super::farewells::{self, Farewells};
use super::half::Rescued;
use super::output::Output;
use super::publish::Waiting;

/// How long a connection may take to end after all is said.
pub(super) const LINGER_MS: u64 = 2_000;
/// How long the peer may take to answer our close frame.
pub(super) const CLOSING_MS: u64 = 5_000;

/// The board is told what has happened so often: nothing is decided by it, and a busy turn is short.
const FIGURES_MS: u64 = 10;

/// A conversation that is over.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) key: Key,
    /// The app that has to be told.
    pub(super) app: Option<AppId>,
    pub(super) closed: Closed,
}

/// The end of a conversation without a closing handshake.
pub(super) fn abnormal() -> Closed {
    Closed {
        code: CloseCode::ABNORMAL,
        reason: String::new(),
        clean: false,
        fault: None,
    }
}

/// Clients, channels, the log and the loop.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) event_loop: EventLoop,
    pub(super) clients: Slab<Client>,
    pub(super) timers: Timers,
    pub(super) codec: Codec,
    pub(super) output: Output,
    pub(super) area: SharedArea,
    pub(super) participant: Participant,
    pub(super) subscriptions: Subscriptions,
    /// Clients that read alternates.
    deflating: u32,
    pub(super) batch: Batch,
    /// The edition of the shared channel table for which names without a place were looked up.
    pub(super) channel_edition: u64,
    pub(super) merged: Run,
    /// The first entry of the log that this worker has not looked at.
    pub(super) next: u64,
    /// Clients whose half-sent frame may be pinned.
    pub(super) halves: KeyQueue,
    /// The oldest pinned byte of them.
    pub(super) oldest_half: u64,
    pub(super) rescued: Rescued,
    /// Clients that may be behind, and when to look at them next.
    pub(super) laggards: KeyQueue,
    pub(super) laggards_due_ms: u64,
    /// Clients that are behind and have had their share of this turn.
    pub(super) catching_up: KeyQueue,
    /// The board says that somebody is behind.
    pub(super) laggards_shown: bool,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: usize,
    /// Clients that may have input of which no event will tell.
    pub(super) unread: KeyQueue,
    /// Clients whose upgrade was just accepted, and what they had sent behind their head before.
    pub(super) opened: Vec<(Key, Vec<u8>)>,
    /// Conversations that are over, and why.
    pub(super) gone: Vec<Gone>,
    /// Everybody is to leave, with this close code.
    pub(super) draining: Option<CloseCode>,
    pub(super) farewells: Farewells,
    /// When an app wants to be called at the latest.
    pub(super) wake_ms: Option<u64>,
    /// The next turn must not wait.
    pub(super) again: bool,
    pub(super) delivered: u64,
    pub(super) lapped: u64,
    /// What has happened since the board was told last, and when it is told next.
    pub(super) figures: Figures,
    figures_due_ms: u64,
    /// Announced ranges that a client did not get because they had changed.
    pub(super) stale: u64,
    /// Areas that apps want to be told about.
    pub(super) watched: Vec<Watched>,
    pub(super) now_ms: u64,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        area: SharedArea,
        participant: Participant,
    ) -> io::Result<Self> {
        let event_loop = EventLoop::new()?;
        event_loop.register_readable(area.bell(), Source::Bell)?;
        let now_ms = event_loop.now_ms();
        Ok(Self {
            codec: Codec::new(settings.message, settings.deflate),
            subscriptions: Subscriptions::new(settings.channel_rules.clone()),
            settings,
            event_loop,
            clients: Slab::new(),
            timers: Timers::new(),
            output: Output::default(),
            next: area.head() + 1,
            area,
            participant,
            deflating: 0,
            batch: Batch::new(),
            channel_edition: 0,
            merged: Run::default(),
            halves: KeyQueue::new(),
            oldest_half: u64::MAX,
            rescued: Rescued::default(),
            laggards: KeyQueue::new(),
            laggards_due_ms: 0,
            catching_up: KeyQueue::new(),
            laggards_shown: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            unread: KeyQueue::new(),
            opened: Vec::new(),
            gone: Vec::new(),
            draining: None,
            farewells: Farewells::default(),
            wake_ms: None,
            again: false,
            delivered: 0,
            lapped: 0,
            figures: Figures::default(),
            figures_due_ms: 0,
            stale: 0,
            watched: Vec::new(),
            now_ms,
        })
    }

    /// Waits for something to do, but not when there is something already.
    pub(super) fn wait(&mut self, wait_max: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut timeout = wait_max;
        for at_ms in self.timers.next().into_iter().chain(self.wake_ms) {
            timeout = timeout.min(Duration::from_millis(at_ms.saturating_sub(self.now_ms)));
        }
        if !self.farewells.is_empty() {
            timeout = timeout.min(Duration::from_millis(farewells::STEP_MS));
        }
        if !self.waiting.is_empty() {
            timeout = timeout.min(Duration::from_millis(1));
        }
        let unfinished = !self.unread.is_empty() || !self.catching_up.is_empty();
        if std::mem::take(&mut self.again) || unfinished {
            timeout = Duration::ZERO;
        }
        if timeout.is_zero() || !self.park() {
            self.now_ms = self.event_loop.wait(Some(Duration::ZERO), ready)?;
            return Ok(());
        }
        let waited = self.event_loop.wait(Some(timeout), ready);
        self.participant.unpark();
        self.now_ms = waited?;
        Ok(())
    }

    /// Whether it may sleep: there is nothing new in the log and in the areas that somebody watches.
    fn park(&self) -> bool {
        if !self.participant.park(self.next - 1) {
            return false;
        }
        let knows_all = self.knows_updates();
        if !knows_all {
            self.participant.unpark();
        }
        knows_all
    }

    /// Forgets a wish to be called whose time has come.
    pub(super) fn meet_wake(&mut self) {
        self.wake_ms = self.wake_ms.filter(|at_ms| *at_ms > self.now_ms);
    }

    pub(super) fn adopt(&mut self, transport: Transport) -> Option<Key> {
        let deadline_ms = self.now_ms + self.settings.handshake_timeout_ms;
        let key = self
            .clients
            .insert(Client::new(transport, self.now_ms, deadline_ms));
        let client = self.clients.get(key)?;
        let fd = std::os::fd::AsFd::as_fd(&client.transport);
        if let Err(error) = self.event_loop.register(fd, Source::Client(key)) {
            warn!("a client could not be watched and was dropped: {error}");
            self.clients.remove(key);
            return None;
        }
        self.arm(key);
        self.count_clients();
        Some(key)
    }

    /// The app of a client whose WebSocket is open.
    pub(super) fn open_app(&self, key: Key) -> Option<AppId> {
        let client = self.clients.get(key).filter(|client| client.is_open())?;
        client.app
    }

    /// Takes out the clients from whom nothing has come and to whom nothing was said.
    pub(super) fn take_silent(&mut self) -> Vec<Transport> {
        let mut taken = Vec::new();
        for key in self.clients.keys() {
            let Some(client) = self.clients.get(key) else {
                continue;
            };
            let said = client.marks.intersects(Marks::SERVED | Marks::GONE);
            if said || !matches!(&client.phase, Phase::Head(head) if head.is_empty()) {
                continue;
            }
            // Somebody else will have a duplicate, so closing ours would not end the reports.
            let fd = std::os::fd::AsFd::as_fd(&client.transport);
            if let Err(error) = self.event_loop.deregister(fd) {
                warn!("a client stays, it is watched without end: {error}");
                continue;
            }
            taken.extend(self.clients.remove(key).map(|client| client.transport));
        }
        self.count_clients();
        taken
    }

    /// Ends a connection on which nothing is asked at the moment. When the server only restarts,
    /// one that has not asked anything yet may still do so.
    pub(super) fn drop_idle(&mut self, key: Key) {
        let restarts = self.draining == Some(CloseCode::SERVICE_RESTART);
        if let Some(Client {
            phase: Phase::Head(head),
            outbox,
            marks,
            ..
        }) = self.clients.get(key)
            && head.is_empty()
            && outbox.is_empty()
            && (marks.contains(Marks::SERVED) || !restarts)
        {
            self.forget(key);
        }
    }

    /// Notes that a client is over; `settle` tells its app and forgets it.
    pub(super) fn lost(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if client.marks.contains(Marks::GONE) {
            return;
        }
        client.marks.insert(Marks::GONE);
        let (app, closed) = match &mut client.phase {
            Phase::Open(connection) => (client.app, connection.end_of_stream()),
            Phase::Deciding(_) => (client.app, None),
            Phase::Head(_) | Phase::Body(_) | Phase::Lingering { .. } => (None, None),
        };
        let was_open = matches!(client.phase, Phase::Open(_));
        let closed = closed.unwrap_or_else(abnormal);
        if was_open {
            self.conversation_ended(key, &closed);
        }
        self.gone.push(Gone { key, app, closed });
    }

    /// Forgets a client that is lost. One that still has something to be sent stays.
    pub(super) fn bury(&mut self, key: Key) {
        if self
            .clients
            .get(key)
            .is_some_and(|client| client.marks.contains(Marks::GONE))
        {
            self.forget(key);
        }
    }

    /// Takes a client out without telling anybody.
    pub(super) fn forget(&mut self, key: Key) {
        self.leave_all_channels(key);
        if let Some(client) = self.clients.remove(key) {
            self.count_clients();
            if client.marks.contains(Marks::DEFLATING) {
                self.deflating -= 1;
                if self.deflating == 0 {
                    self.participant.set_deflating(false);
                }
            }
        }
    }

    /// A conversation has begun: from now on publishers write alternates, if this client reads them.
    pub(super) fn mark_deflating(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && let Phase::Open(connection) = &client.phase
            && connection.deflate().is_some_and(Agreed::shares_broadcast)
        {
            client.marks.insert(Marks::DEFLATING);
            self.deflating += 1;
            if self.deflating == 1 {
                self.participant.set_deflating(true);
            }
        }
    }

    pub(super) fn count_subscriptions(&self) {
        let count = u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX);
        self.participant.set_subscriptions(count);
    }

    pub(super) fn count_clients(&self) {
        let count = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        self.participant.set_clients(count);
    }

    /// Tells the board where this worker is.
    pub(super) fn report(&mut self) {
        self.participant.set_cursor(self.next - 1);
        self.participant.beat(self.now_ms.saturating_mul(1000));
        self.participant
            .count_delivered(std::mem::take(&mut self.delivered));
        self.participant
            .count_lapped(std::mem::take(&mut self.lapped));
        self.participant
            .count_stale(std::mem::take(&mut self.stale));
        // The last client's figures must not be forgotten when the worker leaves.
        if self.now_ms >= self.figures_due_ms || self.clients.is_empty() {
            self.figures_due_ms = self.now_ms + FIGURES_MS;
            self.report_figures();
        }
    }

    /// Tells the board what has happened.
    pub(super) fn report_figures(&mut self) {
        self.participant.count_figures(&mut self.figures);
    }
}
