//! The master's loop: waits, tells the supervisor what happened, does what it decides.
//!
//! One poll over signals, workers, the control socket and its verbs; nothing else blocks, and there are
//! no threads. Fork returns twice: in the new process the loop is left with [`Leave::Child`]. It must
//! not decide anything about workers.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock::Clock;
use super::control::{ControlServer, Hub, Source};
use super::instance::Instance;
use super::outside::{Desk, Outside};
use super::roster::Roster;
use super::signals::{Meaning, Signals};
use super::start::{self, Start};
use super::supervisor::{Action, Event, Policy, SlotState, Supervisor};
use super::{LoadConfig, logging, notes};
use crate::config::Config;
use crate::net::{Listener, Purpose};
use crate::sharedarea::{Participant, SharedArea};
use crate::status::{self, Place, Status};
use crate::sys::descriptors;
use crate::sys::process::{self, Fork, SignalsHeld, SingleThreaded};
use crate::worker::{Order, Report, Seat};

/// The loop turns at least this often, so that nothing that was missed is missed for long.
const WAIT_MS_MAX: u64 = 5_000;

/// How the loop ends.
pub(super) enum Leave {
    /// The master is done.
    Ended { code: u8 },
    /// This is the new process of a fork.
    Child(Child),
}

/// What a new worker has besides what its master had.
pub(super) struct Child {
    slot: u16,
    generation: u32,
    control: OwnedFd,
    /// Until the parent's handlers are gone.
    held: SignalsHeld,
}

/// What was ready after a wait.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Signals,
    Worker(u16),
    Mailbox(u16),
    Control(Source, PollFlags),
    Fifo,
}

pub(super) struct Master<'c> {
    load_config: &'c mut LoadConfig<'c>,
    supervisor: Supervisor,
    /// By generation; those that somebody may still be forked with.
    configs: BTreeMap<u32, Config>,
    place: Place,
    clock: Clock,
    now_ms: u64,
    signals: Signals,
    listeners: Vec<Listener>,
    area: SharedArea,
    participant: Participant,
    instance: Instance,
    control: ControlServer,
    outside: Outside,
    roster: Roster,
}

impl<'c> Master<'c> {
    pub(super) fn new(start: Start, load_config: &'c mut LoadConfig<'c>) -> Self {
        let policy = Policy::new(start.config.processes, start.config.drain_timeout_ms);
        let clients = |listener: &&Listener| listener.purpose() == Purpose::Clients;
        let name = |listener: &Listener| listener.local_address().to_string();
        Self {
            load_config,
            supervisor: Supervisor::new(policy),
            place: Place {
                instance: start.instance.name().to_owned(),
                listeners: start.listeners.iter().filter(clients).map(name).collect(),
            },
            configs: BTreeMap::from([(1, start.config)]),
            now_ms: start.clock.now_ms(),
            clock: start.clock,
            signals: start.signals,
            listeners: start.listeners,
            area: start.area,
            participant: start.participant,
            instance: start.instance,
            control: start.control,
            outside: start.outside,
            roster: start.roster,
        }
    }

    /// Runs until there is no worker left, or until this process is one.
    pub(super) fn serve(&mut self) -> io::Result<Leave> {
        if let ControlFlow::Break(leave) = self.begin() {
            return Ok(leave);
        }
        loop {
            let ready = self.wait()?;
            if let ControlFlow::Break(leave) = self.turn(&ready) {
                return Ok(leave);
            }
        }
    }

    fn begin(&mut self) -> ControlFlow<Leave> {
        self.tell(Event::Begin)?;
        // A program that became this one may have left children that ended before we listened.
        self.reap()
    }

    /// The end of a master.
    pub(super) fn clear(self) {
        self.instance.clear();
    }

    /// In a new process: keeps what a worker needs and closes the rest.
    pub(super) fn into_seat(mut self, child: Child) -> io::Result<Seat> {
        let Child {
            slot,
            generation,
            control,
            held,
        } = child;
        logging::become_worker(slot);
        let mut config = self
            .configs
            .remove(&generation)
            .ok_or_else(|| io::Error::other("the configuration of this generation is gone"))?;
        config.instance = Some(self.place.instance);
        let seat = Seat {
            slot,
            generation,
            config,
            listeners: self.listeners,
            area: self.area,
            control,
            mailboxes: self.roster.into_mailboxes(slot)?,
        };
        // First the parent's handlers, then the signals that have come meanwhile: nobody hears them.
        drop(self.signals);
        drop(held);
        Ok(seat)
    }

    /// Waits until something is ready or due.
    fn wait(&mut self) -> io::Result<Vec<Ready>> {
        let due_ms = [
            self.supervisor.next_timeout_ms(),
            self.control.next_timeout_ms(),
            self.outside.next_timeout_ms(),
        ];
        let now_ms = self.clock.now_ms();
        let due_ms = due_ms.into_iter().flatten().min();
        let wait_ms = due_ms.map_or(WAIT_MS_MAX, |due_ms| due_ms.saturating_sub(now_ms));
        let may_sleep = self.with_hub(|control, hub| control.may_sleep(hub));
        let wait_ms = if may_sleep {
            wait_ms.min(WAIT_MS_MAX)
        } else {
            0
        };

        let (names, mut set): (Vec<Ready>, Vec<PollFd<'_>>) = self
            .sources()
            .into_iter()
            .map(|(ready, fd, flags)| (ready, PollFd::new(fd, flags)))
            .unzip();
        let timeout = PollTimeout::try_from(wait_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut set, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = names.into_iter().zip(set).filter_map(|(name, fd)| {
            let flags = fd.revents().filter(|flags| !flags.is_empty())?;
            Some(match name {
                Ready::Control(source, _) => Ready::Control(source, flags),
                Ready::Signals | Ready::Worker(_) | Ready::Mailbox(_) | Ready::Fifo => name,
            })
        });
        Ok(ready.collect())
    }

    fn sources(&self) -> Vec<(Ready, BorrowedFd<'_>, PollFlags)> {
        let input = PollFlags::POLLIN;
        let mut sources = vec![
            (Ready::Signals, self.signals.as_fd(), input),
            (Ready::Fifo, self.outside.as_fd(), input),
        ];
        sources.extend(
            self.roster
                .controls()
                .map(|(slot, control)| (Ready::Worker(slot), control, input)),
        );
        // A mailbox without a worker is looked after while somebody can take what is in it.
        let serving = |state: SlotState| matches!(state, SlotState::Serving { .. });
        if self.supervisor.slots().any(|(_, state)| serving(state)) {
            let alone = self
                .supervisor
                .slots()
                .filter(|(_, state)| state.pid().is_none());
            sources.extend(alone.filter_map(|(slot, _)| {
                Some((Ready::Mailbox(slot), self.roster.mailbox(slot)?, input))
            }));
        }
        sources.extend(
            self.control
                .sources()
                .into_iter()
                .map(|(source, fd, flags)| (Ready::Control(source, flags), fd, flags)),
        );
        sources
    }

    /// Everything that is ready or due, in an order in which a worker's reports come before its end.
    fn turn(&mut self, ready: &[Ready]) -> ControlFlow<Leave> {
        self.now_ms = self.clock.now_ms();
        for ready in ready {
            match *ready {
                Ready::Worker(slot) => self.hear(slot)?,
                Ready::Mailbox(slot) => {
                    let serving =
                        self.slots_that(|state| matches!(state, SlotState::Serving { .. }));
                    self.roster.forward(slot, &serving, &self.participant);
                }
                Ready::Control(source, flags) => {
                    self.with_hub(|control, hub| control.ready(source, flags, hub));
                }
                Ready::Fifo => self.with_desk(Outside::ready),
                Ready::Signals => {}
            }
        }
        self.with_desk(Outside::turn);
        self.with_hub(ControlServer::turn);
        for spec in self.signals.take() {
            let name = spec.signal.as_str();
            match spec.meaning {
                Meaning::Stop => {
                    log::info!("{name} received");
                    self.tell(Event::Stop)?;
                }
                Meaning::Reload => {
                    log::info!("{name} received");
                    self.tell(Event::Reload)?;
                }
                Meaning::Child => self.reap()?,
                Meaning::Figures => log::info!("{}", self.status().figures()),
                Meaning::Nothing => log::info!("{name} received: ignored"),
                Meaning::Quiet => {}
            }
        }
        let due_ms = self.supervisor.next_timeout_ms();
        if due_ms.is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.tell(Event::Timeout)?;
        }
        ControlFlow::Continue(())
    }

    fn hear(&mut self, slot: u16) -> ControlFlow<Leave> {
        while let Some(report) = self.roster.report(slot) {
            match report {
                Report::Ready => self.tell(Event::Ready { slot })?,
                Report::Drained => log::debug!("worker {slot} has no clients left"),
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes all children that have ended, strangers too: process 1 inherits orphans.
    fn reap(&mut self) -> ControlFlow<Leave> {
        loop {
            let (pid, exit) = match process::reap() {
                Ok(Some(ended)) => ended,
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => {
                    log::error!("cannot reap: {error}");
                    return ControlFlow::Continue(());
                }
            };
            let worker = self
                .supervisor
                .slots()
                .find(|(_, state)| state.pid() == Some(pid));
            match worker {
                Some((slot, _)) => {
                    // It may have reported and ended in one breath.
                    self.hear(slot)?;
                    self.roster.remove(slot);
                    self.area.sweep(slot);
                }
                None => log::debug!("reaped a stranger, pid {pid} ({exit})"),
            }
            self.tell(Event::Exited { pid, exit })?;
        }
    }

    /// Tells the supervisor and does what it wants, until it wants nothing more.
    fn tell(&mut self, event: Event) -> ControlFlow<Leave> {
        let mut actions = Vec::new();
        self.supervisor.handle(event, self.now_ms, &mut actions);
        let mut done = 0;
        while let Some(action) = actions.get(done).cloned() {
            done += 1;
            if let Some(answer) = self.perform(action)? {
                self.supervisor.handle(answer, self.now_ms, &mut actions);
            }
        }
        let supervisor = &self.supervisor;
        self.configs
            .retain(|generation, _| supervisor.needs_generation(*generation));
        let latest = self.configs.keys().next_back().copied().unwrap_or(0);
        notes::show(supervisor, latest, &self.area, &self.participant);
        ControlFlow::Continue(())
    }

    fn perform(&mut self, action: Action) -> ControlFlow<Leave, Option<Event>> {
        match action {
            Action::Fork { slot, generation } => {
                return self.fork(slot, generation).map_continue(Some);
            }
            Action::Drain {
                slot,
                code,
                timeout_ms,
            } => {
                let timeout_ms = u32::try_from(timeout_ms).unwrap_or(u32::MAX);
                self.roster.order(slot, Order::Drain { code, timeout_ms });
            }
            Action::Stop { slot } => self.roster.order(slot, Order::Stop),
            Action::Kill { slot, pid } => {
                if let Err(error) = process::kill(pid) {
                    log::error!("worker {slot} (pid {pid}) cannot be killed: {error}");
                }
            }
            Action::LoadConfig { generation } => {
                return ControlFlow::Continue(Some(self.load_config(generation)));
            }
            Action::CloseListeners => self.listeners.clear(),
            Action::Tell(notice) => log::log!(notice.level(), "{notice}"),
            Action::Exit { code } => return ControlFlow::Break(Leave::Ended { code }),
        }
        ControlFlow::Continue(None)
    }

    fn fork(&mut self, slot: u16, generation: u32) -> ControlFlow<Leave, Event> {
        match self.try_fork() {
            Ok((Fork::Parent { child }, control, _)) => {
                log::debug!("worker {slot} is pid {child}");
                self.roster.add(slot, control);
                notes::spawned(slot, &self.area, &self.participant, Clock::wall_us());
                ControlFlow::Continue(Event::Forked { slot, pid: child })
            }
            Ok((Fork::Child, control, held)) => ControlFlow::Break(Leave::Child(Child {
                slot,
                generation,
                control,
                held,
            })),
            Err(error) => {
                log::error!("worker {slot} cannot be forked: {error}");
                ControlFlow::Continue(Event::ForkFailed { slot })
            }
        }
    }

    /// Forks; each process gets its end of a new control socket.
    fn try_fork(&self) -> io::Result<(Fork, OwnedFd, SignalsHeld)> {
        let (ours, theirs) = descriptors::packet_pair()?;
        let held = SignalsHeld::hold()?;
        let fork = process::fork(SingleThreaded::prove()?)?;
        let control = match fork {
            Fork::Parent { .. } => ours,
            Fork::Child => theirs,
        };
        Ok((fork, control, held))
    }

    fn load_config(&mut self, generation: u32) -> Event {
        let loaded = (self.load_config)().and_then(|mut config| {
            start::limit_clients(&mut config).map_err(|error| error.to_string())?;
            Ok(config)
        });
        match loaded {
            Ok(config) => {
                if let Some(before) = self.configs.values().next_back() {
                    warn_of_restart(before, &config);
                }
                self.configs.insert(generation, config);
                Event::ConfigLoaded
            }
            Err(error) => {
                log::error!("{error}");
                Event::ConfigRefused
            }
        }
    }

    fn slots_that(&self, is: impl Fn(SlotState) -> bool) -> Vec<u16> {
        let slots = self.supervisor.slots().filter(|(_, state)| is(*state));
        slots.map(|(slot, _)| slot).collect()
    }

    fn status(&self) -> Status {
        status::collect(&self.area, &self.place, Clock::wall_us())
    }

    /// Calls with the writers from outside and where they publish.
    fn with_desk(&mut self, call: impl FnOnce(&mut Outside, &mut Desk<'_>)) {
        let mut desk = Desk {
            area: &self.area,
            participant: &mut self.participant,
            now_ms: self.now_ms,
            wall_us: Clock::wall_us(),
        };
        call(&mut self.outside, &mut desk);
    }

    /// Calls with the control server and what its verbs are about.
    fn with_hub<T>(&mut self, call: impl FnOnce(&mut ControlServer, &mut Hub<'_>) -> T) -> T {
        let with_clients = |state| {
            matches!(
                state,
                SlotState::Serving { .. } | SlotState::Draining { .. }
            )
        };
        let workers = self.slots_that(with_clients);
        let wall_us = Clock::wall_us();
        let mut hub = Hub {
            area: &self.area,
            participant: &mut self.participant,
            workers: &workers,
            status: &|| status::collect(&self.area, &self.place, wall_us),
            now_ms: self.now_ms,
            wall_us,
        };
        call(&mut self.control, &mut hub)
    }
}

/// A reload replaces workers, not what the master made at its start.
fn warn_of_restart(before: &Config, after: &Config) {
    let changes = [
        ("socket", before.sockets != after.sockets),
        ("api", before.api != after.api),
        ("processes", before.processes != after.processes),
        (
            "drain-timeout",
            before.drain_timeout_ms != after.drain_timeout_ms,
        ),
        ("spool-size", before.spool_bytes != after.spool_bytes),
        ("log-entries", before.log_entries != after.log_entries),
        ("sharedarea", before.areas != after.areas),
        ("channels-max", before.channels_max != after.channels_max),
        ("instance", before.instance != after.instance),
        ("run-dir", before.run_dir != after.run_dir),
    ];
    for (option, _) in changes.iter().filter(|(_, changed)| *changed) {
        log::warn!("--{option} has changed: that takes a restart");
    }
}
