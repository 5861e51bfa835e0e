//! The worker's loop around the engine: accepting, handing over, obeying.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{debug, error, warn};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

use crate::app::Apps;
use crate::config::Operations;
use crate::engine::{Engine, Settings};
use crate::event_loop::Source;
use crate::net::{Listener, Purpose, Transport};
use crate::sharedarea::{ParticipantKind, ParticipantState, SharedArea};
use crate::sys::descriptors::{self, Received};
use crate::sys::{limits, lines, streams};

use super::balance::Unclaimed;
use super::door::Told;
use super::handover::{Arrivals, Departure, Post, Unsent};
use super::leave::{GOING_AWAY, Terms};
use super::mail::{LETTER_BYTES_MAX, Letter};
use super::{Mailboxes, Order, Report, Seat};

/// The longest a turn waits: it bounds a lost wake-up and shows the board that we live.
const TURN_WAIT_MAX: Duration = Duration::from_millis(100);
/// While clients are being moved, a turn waits for less.
const MOVING_WAIT_MAX: Duration = Duration::from_millis(5);
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
    let started = watch_signals().and_then(|told| Worker::start(seat, apps, told));
    let mut worker = match started {
        Ok(worker) => worker,
        Err(error) => {
            error!("the worker cannot start: {error}");
            return CANNOT_BOOT;
        }
    };
    let code = match worker.serve() {
        Ok(()) => DRAINED,
        Err(error) => {
            error!("the worker's loop failed: {error}");
            FAULT
        }
    };
    let lines = lines::lost();
    if lines > 0 {
        worker.tell(Report::LinesLost { lines });
    }
    code
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Clients are handed over to the worker that takes this one's place, until then at the latest.
    Moving {
        terms: Terms,
        until_ms: u64,
    },
    /// Those who could not be moved are served on for a while.
    Mercy(Terms),
    /// They are told to go.
    Draining {
        until_ms: u64,
    },
    Stopped,
}

pub(super) struct Worker {
    pub(super) engine: Engine,
    pub(super) listeners: Vec<Listener>,
    pub(super) area: SharedArea,
    control: OwnedFd,
    pub(super) mailboxes: Mailboxes,
    pub(super) slot: u16,
    pub(super) phase: Phase,
    /// Whether the listeners are watched.
    pub(super) accepting: bool,
    /// Whether the master wants clients to be accepted.
    pub(super) open: bool,
    /// Not before this time, after the system has refused a descriptor.
    pub(super) accept_from_ms: u64,
    pub(super) clients_max: usize,
    /// That there are so many.
    pub(super) full_told: Told,
    pub(super) unclaimed: Unclaimed,
    pub(super) drain_timeout_ms: u32,
    pub(super) operations: Operations,
    pub(super) drain_spread_ms: u64,
    pub(super) departure: Option<Departure>,
    arrivals: Arrivals,
    pub(super) unsent: Unsent,
    last_batch: u64,
    told_to_leave: Arc<AtomicBool>,
    /// What was ready in the last turn: only the memory is kept.
    others: Vec<Source>,
}

impl Worker {
    /// `told_to_leave` is set when somebody wants this worker alone to leave.
    pub(super) fn start(
        seat: Seat,
        apps: Apps,
        told_to_leave: Arc<AtomicBool>,
    ) -> io::Result<Self> {
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
            open: seat.accepting,
            accept_from_ms: 0,
            full_told: Told::default(),
            unclaimed: Unclaimed::default(),
            clients_max: clients_max(seat.config.clients_max)?,
            drain_timeout_ms: u32::try_from(seat.config.drain_timeout_ms).unwrap_or(u32::MAX),
            operations: seat.config.operations.clone(),
            drain_spread_ms: seat.config.drain_spread_ms,
            departure: None,
            arrivals: Arrivals::default(),
            unsent: Unsent::default(),
            last_batch: 0,
            told_to_leave,
            others: Vec::new(),
        };
        if worker.may_accept() {
            worker.watch_listeners()?;
        }
        worker
            .engine
            .participant()
            .set_state(ParticipantState::Ready);
        worker.tell(Report::Ready);
        debug!("serving, generation {}", seat.generation);
        Ok(worker)
    }

    fn serve(&mut self) -> io::Result<()> {
        while self.turn()?.is_continue() {}
        // The last clients may have been handed over after the engine's turn.
        self.engine.report_figures();
        Ok(())
    }

    /// One turn of the loop; Break is the end.
    pub(super) fn turn(&mut self) -> io::Result<ControlFlow<()>> {
        let wait_max = if self.departure.is_some() || !self.unsent.is_empty() {
            MOVING_WAIT_MAX
        } else {
            TURN_WAIT_MAX
        };
        let mut others = std::mem::take(&mut self.others);
        self.engine.turn(wait_max, &mut others)?;
        // What was left out of repeated warnings is told in time.
        log::logger().flush();
        for source in others.drain(..) {
            match source {
                Source::Listener(number) => self.accept(number)?,
                Source::Control => self.obey()?,
                Source::Mailbox => self.open_mailbox()?,
                Source::Bell | Source::Client(_) => {}
            }
        }
        self.others = others;
        if self.told_to_leave.swap(false, Ordering::Relaxed) {
            self.drain(GOING_AWAY, self.drain_timeout_ms)?;
        }
        self.move_clients();
        self.mend_reservations();
        if self.phase == Phase::Serving && !self.accepting && self.may_accept() {
            self.watch_listeners()?;
        }
        Ok(if self.has_left() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Goes on with what is on its way between this worker and others.
    fn move_clients(&mut self) {
        self.with_post(|post, arrivals, _| {
            post.deliver();
            arrivals.turn(post);
        });
        self.hurry_moving();
        let is_moving = matches!(self.phase, Phase::Moving { .. });
        let over = self.with_post(|post, arrivals, departure| {
            let awaited = is_moving && !arrivals.is_empty();
            departure
                .as_mut()
                .is_none_or(|departure| departure.turn(post, awaited))
        });
        if over {
            self.departure = None;
            self.all_moved();
        }
    }

    pub(super) fn with_post<R>(
        &mut self,
        act: impl FnOnce(&mut Post<'_>, &mut Arrivals, &mut Option<Departure>) -> R,
    ) -> R {
        let mut post = Post {
            now_ms: self.engine.now_ms(),
            engine: &mut self.engine,
            area: &self.area,
            mailboxes: &self.mailboxes,
            own_slot: self.slot,
            last_batch: &mut self.last_batch,
            unsent: &mut self.unsent,
        };
        act(&mut post, &mut self.arrivals, &mut self.departure)
    }

    fn open_mailbox(&mut self) -> io::Result<()> {
        let mut packet = [0; LETTER_BYTES_MAX];
        while let Received::Packet { bytes, descriptors } =
            descriptors::receive(self.mailboxes.own.as_fd(), &mut packet)?
        {
            match Letter::decode(&packet[..bytes]) {
                Some(letter) => self.read(letter, descriptors),
                None => warn!("a letter was not understood"),
            }
        }
        Ok(())
    }

    fn read(&mut self, letter: Letter, fds: Vec<OwnedFd>) {
        // Who is leaving takes nobody in: they would have to go again.
        let clients_max = match self.phase {
            Phase::Serving => self.clients_max,
            Phase::Moving { .. } | Phase::Mercy(_) | Phase::Draining { .. } | Phase::Stopped => 0,
        };
        match letter {
            Letter::New(purpose) => {
                self.unclaimed.claimed();
                for fd in fds {
                    self.engine.participant().release_reservation(self.slot);
                    self.take_in(Transport::new(fd).with_purpose(purpose));
                }
            }
            Letter::Move { from, batch } => self.with_post(|post, arrivals, _| {
                arrivals.offered(post, (from, batch), fds, clients_max);
            }),
            Letter::Taken { by, batch, yes } => {
                self.with_post(|post, _, departure| match departure {
                    Some(departure) => departure.taken(post, by, batch, yes),
                    // The batch is an old one, and its clients are ours again.
                    None => post.abort(by, batch),
                });
            }
            Letter::Release { from, batch, yes } => self.with_post(|post, arrivals, _| {
                arrivals.released(post, (from, batch), &yes, fds.first());
            }),
            Letter::Abort { from, batch } => self.arrivals.aborted(&mut self.engine, from, batch),
        }
    }

    fn obey(&mut self) -> io::Result<()> {
        let mut packet = [0; 64];
        loop {
            match descriptors::receive(self.control.as_fd(), &mut packet)? {
                Received::Packet { bytes, .. } => match Order::decode(&packet[..bytes]) {
                    Some(Order::Drain { code, timeout_ms }) => self.drain(code, timeout_ms)?,
                    Some(Order::Replace {
                        by,
                        code,
                        mercy_ms,
                        timeout_ms,
                    }) => self.give_place(by, code, mercy_ms, timeout_ms)?,
                    Some(Order::GiveAway { to, clients }) => self.give_away(to, clients),
                    Some(Order::Accept { on }) => {
                        self.open = on;
                        if !on {
                            self.leave_listeners()?;
                        }
                    }
                    Some(Order::ReopenLog) => self.reopen_log(),
                    Some(Order::Stop) => {
                        self.phase = Phase::Stopped;
                        return Ok(());
                    }
                    None => warn!("an order was not understood"),
                },
                Received::Blocked => return Ok(()),
                Received::Ended => {
                    self.leave_as_orphan()?;
                    return Ok(());
                }
            }
        }
    }

    fn reopen_log(&self) {
        if let Some(file) = self.operations.log_file()
            && let Err(error) = streams::log_into(file)
        {
            warn!("{} cannot be opened again: {error}", file.display());
        }
    }

    fn give_away(&mut self, to: u16, clients: u32) {
        if self.phase == Phase::Serving && self.departure.is_none() {
            let clients = usize::try_from(clients).unwrap_or(usize::MAX);
            self.begin_departure(to, clients);
        }
    }

    pub(super) fn begin_departure(&mut self, to: u16, clients_max: usize) {
        self.with_post(|post, _, departure| {
            *departure = Some(Departure::new(post, to, clients_max));
        });
    }

    pub(super) fn tell(&self, report: Report) {
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
