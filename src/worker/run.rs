//! The worker's loop around the engine: accepting, handing over, obeying.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{debug, error, info, warn};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

use crate::app::Apps;
use crate::engine::{Engine, Settings};
use crate::event_loop::Source;
use crate::net::{Listener, Purpose, Transport};
use crate::sharedarea::{ParticipantKind, ParticipantState, SharedArea};
use crate::sys::descriptors::{self, Received};
use crate::sys::limits;

use super::balance::better_slot;
use super::{Mailboxes, Order, Report, Seat};

/// The longest a turn waits: it bounds a lost wake-up and shows the board that we live.
const TURN_WAIT_MAX: Duration = Duration::from_millis(100);
/// Clients accepted from one listener in one turn; then those that are there have theirs.
const ACCEPTS_PER_TURN: usize = 64;
/// After the system has refused a descriptor, no client is accepted for this time.
const REFUSED_PAUSE_MS: u64 = 100;
/// Descriptors that a worker needs for itself.
const OWN_DESCRIPTORS: u64 = 128;

/// Exit code of a worker that ended as it was told to.
const DRAINED: u8 = 0;
/// Exit code of a worker that could not begin.
const CANNOT_BOOT: u8 = 3;
/// Exit code of a worker whose loop has failed.
const FAULT: u8 = 4;

/// Serves from this seat until told to leave. Returns the process's exit code: 0 drained, 3 cannot
/// boot, 4 fault.
pub fn run(seat: Seat, apps: Apps) -> u8 {
    let mut worker = match Worker::start(seat, apps) {
        Ok(worker) => worker,
        Err(error) => {
            error!("the worker cannot start: {error}");
            return CANNOT_BOOT;
        }
    };
    match worker.serve() {
        Ok(()) => DRAINED,
        Err(error) => {
            error!("the worker's loop failed: {error}");
            FAULT
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining { until_ms: u64 },
    Stopped,
}

struct Worker {
    engine: Engine,
    listeners: Vec<Listener>,
    area: SharedArea,
    control: OwnedFd,
    mailboxes: Mailboxes,
    slot: u16,
    phase: Phase,
    /// Whether the listeners are watched.
    accepting: bool,
    /// Not before this time, after the system has refused a descriptor.
    accept_from_ms: u64,
    clients_max: usize,
    drain_timeout_ms: u32,
    told_to_leave: Arc<AtomicBool>,
}

impl Worker {
    fn start(seat: Seat, apps: Apps) -> io::Result<Self> {
        let participant = seat.area.join(ParticipantKind::Worker, seat.slot)?;
        let mut settings = Settings::from(&seat.config);
        let clients = |listener: &&Listener| listener.purpose() == Purpose::Clients;
        let names = seat.listeners.iter().filter(clients);
        settings.place.listeners = names
            .map(|listener| listener.local_address().to_string())
            .collect();
        let engine = Engine::new(settings, apps, seat.area.clone(), participant)?;
        let event_loop = engine.event_loop();
        event_loop.register_readable(seat.control.as_fd(), Source::Control)?;
        event_loop.register_readable(seat.mailboxes.own.as_fd(), Source::Mailbox)?;
        let mut worker = Self {
            engine,
            listeners: seat.listeners,
            area: seat.area,
            control: seat.control,
            mailboxes: seat.mailboxes,
            slot: seat.slot,
            phase: Phase::Serving,
            accepting: false,
            accept_from_ms: 0,
            clients_max: clients_max(seat.config.clients_max)?,
            drain_timeout_ms: u32::try_from(seat.config.drain_timeout_ms).unwrap_or(u32::MAX),
            told_to_leave: watch_signals()?,
        };
        worker.watch_listeners()?;
        worker
            .engine
            .participant()
            .set_state(ParticipantState::Ready);
        worker.tell(Report::Ready);
        debug!("serving, generation {}", seat.generation);
        Ok(worker)
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut others = Vec::new();
        loop {
            self.engine.turn(TURN_WAIT_MAX, &mut others)?;
            for source in others.drain(..) {
                match source {
                    Source::Listener(number) => self.accept(number)?,
                    Source::Control => self.obey()?,
                    Source::Mailbox => self.open_mailbox()?,
                    Source::Bell | Source::Client(_) => {}
                }
            }
            if self.told_to_leave.swap(false, Ordering::Relaxed) {
                self.drain(1001, self.drain_timeout_ms)?;
            }
            match self.phase {
                Phase::Serving => {
                    if !self.accepting && self.may_accept() {
                        self.watch_listeners()?;
                    }
                }
                Phase::Draining { until_ms } => {
                    if self.is_empty() {
                        self.tell(Report::Drained);
                        return Ok(());
                    }
                    if self.engine.now_ms() >= until_ms {
                        let left = self.engine.clients();
                        warn!("leaving {left} clients behind: they did not go in time");
                        return Ok(());
                    }
                }
                Phase::Stopped => return Ok(()),
            }
        }
    }

    fn may_accept(&self) -> bool {
        self.engine.clients() < self.clients_max && self.engine.now_ms() >= self.accept_from_ms
    }

    fn watch_listeners(&mut self) -> io::Result<()> {
        for (number, listener) in (0..).zip(&self.listeners) {
            self.engine
                .event_loop()
                .register_listener(listener.as_fd(), number)?;
        }
        self.accepting = true;
        Ok(())
    }

    fn leave_listeners(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.accepting) {
            for listener in &self.listeners {
                self.engine.event_loop().deregister(listener.as_fd())?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, number: u16) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.accepting {
                return Ok(());
            }
            if !self.may_accept() {
                warn!(
                    "{} clients are served, no more are accepted",
                    self.engine.clients()
                );
                return self.leave_listeners();
            }
            let Some(listener) = self.listeners.get(usize::from(number)) else {
                return Ok(());
            };
            match listener.accept() {
                Ok(Some(transport)) => match listener.purpose() {
                    Purpose::Clients => self.seat(transport),
                    // They come and go; and whoever has accepted one answers for all.
                    Purpose::Api => self.engine.adopt(transport, Purpose::Api),
                },
                Ok(None) => return Ok(()),
                Err(error) => {
                    warn!("cannot accept on {}: {error}", listener.local_address());
                    self.accept_from_ms = self.engine.now_ms() + REFUSED_PAUSE_MS;
                    return self.leave_listeners();
                }
            }
        }
        Ok(())
    }

    /// Keeps a new client, or hands it to a worker that has clearly fewer.
    fn seat(&mut self, transport: Transport) {
        let mine = match self.phase {
            Phase::Serving => u32::try_from(self.engine.clients()).unwrap_or(u32::MAX),
            Phase::Draining { .. } | Phase::Stopped => u32::MAX,
        };
        let better = better_slot(self.area.participants(), self.slot, mine);
        if !better.is_some_and(|slot| self.hand_over(&transport, slot)) {
            self.engine.adopt(transport, Purpose::Clients);
        }
    }

    /// Whether the client is in the other's mailbox now.
    fn hand_over(&mut self, transport: &Transport, slot: u16) -> bool {
        let Some(peer) = self.mailboxes.peers.get(usize::from(slot) - 1) else {
            return false;
        };
        if !self.engine.participant().reserve(slot) {
            return false;
        }
        // The letter says what it is: a client of whom nothing is known yet.
        match descriptors::send(peer.as_fd(), b"n", &[transport.as_fd()]) {
            Ok(()) => true,
            Err(error) => {
                debug!("cannot hand a client to slot {slot}, keeping it: {error}");
                self.engine.participant().release_reservation(slot);
                false
            }
        }
    }

    fn open_mailbox(&mut self) -> io::Result<()> {
        let mut letter = [0; 16];
        while let Received::Packet { descriptors, .. } =
            descriptors::receive(self.mailboxes.own.as_fd(), &mut letter)?
        {
            for fd in descriptors {
                self.engine.participant().release_reservation(self.slot);
                match self.phase {
                    Phase::Serving => {
                        self.engine.adopt(Transport::new(fd), Purpose::Clients);
                    }
                    Phase::Draining { .. } | Phase::Stopped => self.seat(Transport::new(fd)),
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self) -> io::Result<()> {
        let mut packet = [0; 64];
        loop {
            match descriptors::receive(self.control.as_fd(), &mut packet)? {
                Received::Packet { bytes, .. } => match Order::decode(&packet[..bytes]) {
                    Some(Order::Drain { code, timeout_ms }) => self.drain(code, timeout_ms)?,
                    Some(Order::Replace {
                        code, timeout_ms, ..
                    }) => self.drain(code, timeout_ms)?,
                    Some(Order::GiveAway { .. }) => {}
                    Some(Order::Stop) => {
                        self.phase = Phase::Stopped;
                        return Ok(());
                    }
                    None => warn!("an order was not understood"),
                },
                Received::Blocked => return Ok(()),
                Received::Ended => {
                    if self.phase == Phase::Serving {
                        warn!("the master is gone: leaving");
                        self.drain(1001, self.drain_timeout_ms)?;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn drain(&mut self, code: u16, timeout_ms: u32) -> io::Result<()> {
        if self.phase != Phase::Serving {
            return Ok(());
        }
        info!(
            "draining {} clients with close code {code}",
            self.engine.clients()
        );
        self.phase = Phase::Draining {
            until_ms: self.engine.now_ms() + u64::from(timeout_ms),
        };
        self.engine
            .participant()
            .set_state(ParticipantState::Draining);
        self.leave_listeners()?;
        // Whoever waits in the queue is served by another worker that shares the socket.
        self.listeners.clear();
        self.engine.drain(code);
        Ok(())
    }

    /// Nobody is left, and nobody is on the way to us.
    fn is_empty(&mut self) -> bool {
        self.engine.clients() == 0 && !self.engine.participant().is_reserved()
    }

    fn tell(&self, report: Report) {
        if let Err(error) = descriptors::send(self.control.as_fd(), &report.encode(), &[]) {
            debug!("the master does not hear {report:?}: {error}");
        }
    }
}

/// Only TERM means something to a worker: leave politely. The others come from a terminal to the
/// whole group, and are the master's business.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let term = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&term))?;
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH] {
        signal_hook::flag::register(signal, Arc::clone(&ignored))?;
    }
    Ok(term)
}

/// What was asked for, or what there are descriptors for.
fn clients_max(asked: usize) -> io::Result<usize> {
    let open_files = limits::raise_open_files()?;
    let possible =
        usize::try_from(open_files.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX);
    Ok(if asked == 0 {
        possible
    } else {
        asked.min(possible)
    })
}
