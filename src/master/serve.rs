//! The master's loop: waits, tells the supervisor what happened, does what it decides.
//!
//! One poll over signals, workers, the control socket and its verbs; nothing else blocks, and there are
//! no threads. Fork returns twice: in the new process the loop is left with [`Leave::Child`]. It must
//! not decide anything about workers.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock::Clock;
use super::control::{ControlServer, Hub, Source};
use super::health::Health;
use super::instance::Instance;
use super::letters::Letters;
use super::listeners::Generations;
use super::notify::Notifier;
use super::outside::{Desk, Outside};
use super::probe::Probe;
use super::roster::Roster;
use super::share::Sharing;
use super::signals::Signals;
use super::start::Start;
use super::stats::{self, StatsServer};
use super::supervisor::{Action, Event, SlotState, Supervisor};
use super::touch::Touch;
use super::upgrade::Program;
use super::{LoadConfig, logging, notes, place};
use crate::protocol::websocket::{Codec, Limits};
use crate::sharedarea::{Participant, SharedArea};
use crate::status::{self, Status};
use crate::sys::lines;
use crate::sys::process::{self, SignalsHeld};
use crate::worker::{Report, Seat};

/// The loop turns at least this often, so that nothing that was missed is missed for long.
const WAIT_MS_MAX: u64 = 5_000;

/// As long as log lines are lost, it is tried this often to tell of them.
const TELL_PAUSE_MS: u64 = 1_000;

/// How the loop ends.
pub(super) enum Leave {
    /// The master is done.
    Ended { code: u8 },
    /// This is the new process of a fork.
    Child(Child),
    /// This is the new process of a fork that was only to check something, and has.
    Checked { code: u8 },
}

/// What a new worker has besides what its master had.
pub(super) struct Child {
    pub(super) slot: u16,
    pub(super) generation: u32,
    pub(super) control: OwnedFd,
    /// Until the parent's handlers are gone.
    pub(super) held: SignalsHeld,
}

/// What was ready after a wait.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Signals,
    Worker(u16),
    Mailbox(u16),
    Letters,
    Probe,
    Control(Source, PollFlags),
    Fifo,
    Stats(stats::Source),
}

pub(super) struct Master<'c> {
    pub(super) load_config: &'c mut LoadConfig<'c>,
    pub(super) program: Program,
    pub(super) supervisor: Supervisor,
    pub(super) generations: Generations,
    /// What the start has left to be told first.
    first: Event,
    pub(super) clock: Clock,
    pub(super) now_ms: u64,
    /// When files and workers are looked at next.
    pub(super) look_ms: u64,
    signals: Signals,
    pub(super) area: SharedArea,
    pub(super) participant: Participant,
    /// Encodes what is published for others.
    codec: Codec,
    pub(super) instance: Instance,
    pub(super) control: ControlServer,
    pub(super) outside: Outside,
    pub(super) stats: StatsServer,
    pub(super) roster: Roster,
    pub(super) letters: Option<Letters>,
    pub(super) probe: Option<Probe>,
    /// Why the last reload or upgrade was refused.
    pub(super) reason: String,
    pub(super) touch: Touch,
    /// New workers that still lack clients of the others.
    pub(super) sharing: Sharing,
    pub(super) health: Health,
    pub(super) notifier: Notifier,
    /// Who waits for us to be ready in the background.
    pub(super) starter: Option<OwnedFd>,
}

impl<'c> Master<'c> {
    pub(super) fn new(start: Start, load_config: &'c mut LoadConfig<'c>) -> Self {
        let mut touch = Touch::default();
        touch.watch(&start.generations.latest().config.operations.touch_reload);
        let deflate = start.generations.latest().config.deflate;
        Self {
            codec: Codec::new(Limits::default(), deflate),
            load_config,
            program: start.program,
            supervisor: start.supervisor,
            generations: start.generations,
            first: start.first,
            now_ms: start.clock.now_ms(),
            look_ms: start.clock.now_ms(),
            clock: start.clock,
            signals: start.signals,
            area: start.area,
            participant: start.participant,
            instance: start.instance,
            control: start.control,
            outside: start.outside,
            stats: start.stats,
            roster: start.roster,
            letters: start.letters,
            probe: None,
            reason: String::new(),
            touch,
            sharing: Sharing::default(),
            health: Health::default(),
            notifier: start.notifier,
            starter: start.starter,
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
        self.tell(self.first)?;
        // A program that became this one may have left children that ended before we listened.
        self.reap()
    }

    /// The end of a master.
    pub(super) fn clear(self) {
        let operations = &self.generations.latest().config.operations;
        if operations.vacuum {
            self.stats
                .listeners()
                .iter()
                .for_each(|bound| bound.remove_file());
            if let Some(path) = &operations.pidfile {
                place::remove_pidfile(path);
            }
            if let Some(letters) = &self.letters
                && let Err(error) = letters.remove()
            {
                log::warn!("vacuum: {}: {error}", letters.path().display());
            }
        }
        let mut control = self.control;
        self.instance.clear();
        control.finish(|_| true, &Ok("stopped".to_owned()));
    }

    /// In a new process: keeps what a worker needs and closes the rest.
    pub(super) fn into_seat(self, child: Child) -> io::Result<Seat> {
        let Child {
            slot,
            generation,
            control,
            held,
        } = child;
        logging::become_worker(slot);
        let accepting = self.supervisor.accepts();
        let (mut config, listeners) = self.generations.into_worker(generation)?;
        config.instance = Some(self.instance.name().to_owned());
        place::pin_to_processors(slot, config.operations.cpu_affinity);
        let seat = Seat {
            slot,
            generation,
            config,
            listeners,
            area: self.area,
            control,
            mailboxes: self.roster.into_mailboxes(slot)?,
            accepting,
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
            self.next_look_ms(),
            self.outside.next_timeout_ms(),
            self.stats.next_timeout_ms(),
            logging::has_more_to_tell().then_some(self.now_ms + TELL_PAUSE_MS),
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
                Ready::Signals
                | Ready::Worker(_)
                | Ready::Mailbox(_)
                | Ready::Fifo
                | Ready::Letters
                | Ready::Probe
                | Ready::Stats(_) => name,
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
            self.letters
                .as_ref()
                .map(|it| (Ready::Letters, it.as_fd(), input)),
        );
        let probe = self.probe.as_ref().filter(|probe| probe.speaks());
        sources.extend(probe.map(|probe| (Ready::Probe, probe.output().as_fd(), input)));
        sources.extend(
            self.control
                .sources()
                .into_iter()
                .map(|(source, fd, flags)| (Ready::Control(source, flags), fd, flags)),
        );
        let stats = self.stats.sources().into_iter();
        sources.extend(stats.map(|(source, fd, flags)| (Ready::Stats(source), fd, flags)));
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
                Ready::Letters => self.obey_letters()?,
                Ready::Probe => {
                    if let Some(probe) = &mut self.probe {
                        probe.hear();
                    }
                }
                Ready::Fifo => self.with_desk(Outside::ready),
                Ready::Stats(source) => self.show_statistics(source),
                Ready::Signals => {}
            }
        }
        self.with_desk(Outside::turn);
        self.with_hub(ControlServer::turn);
        self.stats.turn(self.now_ms);
        while let Some((number, errand)) = self.control.take_errand() {
            self.run_errand(number, errand)?;
        }
        for spec in self.signals.take() {
            self.obey(spec.signal.as_str(), spec.meaning)?;
        }
        if self.look_ms <= self.now_ms {
            self.look()?;
        }
        let due_ms = self.supervisor.next_timeout_ms();
        if due_ms.is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.tell(Event::Timeout)?;
        }
        log::logger().flush();
        ControlFlow::Continue(())
    }

    fn hear(&mut self, slot: u16) -> ControlFlow<Leave> {
        while let Some(report) = self.roster.report(slot) {
            match report {
                Report::Ready => self.tell(Event::Ready { slot })?,
                Report::Moved => self.tell(Event::Moved { slot })?,
                Report::Drained => log::debug!("worker {slot} has no clients left"),
                Report::LinesLost { lines } => lines::lose(lines),
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes all children that have ended, strangers too: process 1 inherits orphans.
    pub(super) fn reap(&mut self) -> ControlFlow<Leave> {
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
                None if self.probe.as_ref().is_some_and(|probe| probe.child == pid) => {
                    self.conclude_probe(exit)?;
                }
                None => log::debug!("reaped a stranger, pid {pid} ({exit})"),
            }
            self.tell(Event::Exited { pid, exit })?;
        }
    }

    /// Tells the supervisor and does what it wants, until it wants nothing more.
    pub(super) fn tell(&mut self, event: Event) -> ControlFlow<Leave> {
        let mut actions = Vec::new();
        self.ask_supervisor(event, &mut actions);
        let mut done = 0;
        while let Some(action) = actions.get(done).cloned() {
            done += 1;
            if let Some(answer) = self.perform(action)? {
                self.ask_supervisor(answer, &mut actions);
            }
        }
        let latest = self.generations.number();
        notes::show(&self.supervisor, latest, &self.area, &self.participant);
        ControlFlow::Continue(())
    }

    /// What nobody needs any more is gone before anybody is told that it is.
    fn ask_supervisor(&mut self, event: Event, actions: &mut Vec<Action>) {
        self.supervisor.handle(event, self.now_ms, actions);
        let supervisor = &self.supervisor;
        self.generations
            .retain(|generation| supervisor.needs_generation(generation));
    }

    pub(super) fn slots_that(&self, is: impl Fn(SlotState) -> bool) -> Vec<u16> {
        let slots = self.supervisor.slots().filter(|(_, state)| is(*state));
        slots.map(|(slot, _)| slot).collect()
    }

    pub(super) fn status(&self) -> Status {
        status::collect(&self.area, &self.place(), Clock::wall_us())
    }

    fn place(&self) -> status::Place {
        status::Place {
            instance: self.instance.name().to_owned(),
            listeners: self.generations.names(),
        }
    }

    /// Messages are deflated as the latest configuration says.
    fn renew_codec(&mut self) {
        let deflate = self.generations.latest().config.deflate;
        if *self.codec.deflate_policy() != deflate {
            self.codec = Codec::new(Limits::default(), deflate);
        }
    }

    /// Calls with the writers from outside and where they publish.
    fn with_desk(&mut self, call: impl FnOnce(&mut Outside, &mut Desk<'_>)) {
        self.renew_codec();
        let mut desk = Desk {
            area: &self.area,
            participant: &mut self.participant,
            codec: &mut self.codec,
            now_ms: self.now_ms,
            wall_us: Clock::wall_us(),
        };
        call(&mut self.outside, &mut desk);
    }

    /// A reader of statistics is ready.
    fn show_statistics(&mut self, source: stats::Source) {
        let place = self.place();
        let Self {
            stats,
            supervisor,
            area,
            generations,
            ..
        } = self;
        let facts = || {
            let workers = supervisor.slots();
            let workers = workers.filter_map(|(slot, state)| Some((slot, state.pid()?)));
            let listeners = generations.latest().listeners.iter();
            let listeners = listeners.map(|bound| &bound.listener);
            stats::Facts::collect(area, &place, workers, listeners, Clock::wall_us())
        };
        stats.ready(source, self.now_ms, &facts);
    }

    /// Calls with the control server and what its verbs are about.
    fn with_hub<T>(&mut self, call: impl FnOnce(&mut ControlServer, &mut Hub<'_>) -> T) -> T {
        let with_clients = |state| {
            matches!(
                state,
                SlotState::Serving { .. } | SlotState::Draining { .. } | SlotState::Leftover { .. }
            )
        };
        let workers = self.slots_that(with_clients);
        let wall_us = Clock::wall_us();
        let place = self.place();
        self.renew_codec();
        let mut hub = Hub {
            area: &self.area,
            participant: &mut self.participant,
            codec: &mut self.codec,
            workers: &workers,
            status: &|| status::collect(&self.area, &place, wall_us),
            now_ms: self.now_ms,
            wall_us,
        };
        call(&mut self.control, &mut hub)
    }
}
