//! Does what the supervisor decides: forks, orders, kills, loads, checks, becomes another program.
//!
//! It must not decide anything.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::clock::Clock;
use super::control::Awaited;
use super::listeners::{self, Generation};
use super::notes;
use super::probe::{self, Probe};
use super::serve::{Child, Leave, Master};
use super::share;
use super::start;
use super::supervisor::{Action, Change, Event, Notice, SlotState, Wanted};
use super::takeover::ACCEPTED;
use crate::config::Config;
use crate::status::counted;
use crate::sys::descriptors;
use crate::sys::process::{self, Exit, Fork, SignalsHeld, SingleThreaded};
use crate::worker::Order;

/// Exit code of a child that found something wrong.
const WRONG: u8 = 1;

impl Master<'_> {
    pub(super) fn perform(&mut self, action: Action) -> ControlFlow<Leave, Option<Event>> {
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
            Action::Replace {
                slot,
                by,
                code,
                mercy_ms,
                timeout_ms,
            } => self.replace(slot, by, code, (mercy_ms, timeout_ms)),
            Action::Share { slot } => {
                self.sharing.begin(slot);
                self.share();
            }
            Action::Accept { slot, on } => self.roster.order(slot, Order::Accept { on }),
            Action::Stop { slot } => self.roster.order(slot, Order::Stop),
            Action::Kill { slot, pid } => {
                if let Err(error) = process::kill(pid) {
                    log::error!("worker {slot} (pid {pid}) cannot be killed: {error}");
                }
            }
            Action::Probe { change } => return self.begin_probe(change),
            Action::EndProbe => self.end_probe(),
            Action::Exec => {
                log::info!("upgrade: becoming {}", self.program.path.display());
                let error = self.exec();
                self.reason = format!("{}: {error}", self.program.path.display());
                return ControlFlow::Continue(Some(Event::ExecFailed));
            }
            Action::LoadConfig { generation } => {
                return ControlFlow::Continue(Some(self.load_config(generation)));
            }
            Action::CloseListeners => self.generations.close(),
            Action::Tell(notice) => self.announce(notice),
            Action::Exit { code } => return ControlFlow::Break(Leave::Ended { code }),
        }
        ControlFlow::Continue(None)
    }

    fn fork(&mut self, slot: u16, generation: u32) -> ControlFlow<Leave, Event> {
        match self.try_fork() {
            Ok((Fork::Parent { child }, control, _)) => {
                log::debug!("worker {slot} is pid {child}");
                notes::spawned(slot, &self.area, &self.participant, Clock::wall_us());
                self.roster.add(slot, control);
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

    /// Slots of the workers that serve, and what each has.
    fn loads(&self) -> Vec<(u16, u32)> {
        self.slots_that(|state| matches!(state, SlotState::Serving { .. }))
            .into_iter()
            .filter_map(|slot| Some((slot, share::load(&self.area.participant(slot)?))))
            .collect()
    }

    fn replace(&self, slot: u16, by: Option<u16>, code: u16, (mercy_ms, timeout_ms): (u64, u64)) {
        let timeout_ms = u32::try_from(timeout_ms).unwrap_or(u32::MAX);
        let order = match by.or_else(|| share::least_loaded(&self.loads(), slot)) {
            Some(by) => Order::Replace {
                by,
                code,
                mercy_ms: u32::try_from(mercy_ms).unwrap_or(u32::MAX),
                timeout_ms,
            },
            None => Order::Drain { code, timeout_ms },
        };
        self.roster.order(slot, order);
    }

    /// Asks workers to give others their share, as long as somebody new lacks clients.
    pub(super) fn share(&mut self) {
        if self.sharing.is_over() {
            return;
        }
        let loads = self.loads();
        for (giver, clients, slot) in self.sharing.gifts(&loads) {
            let given = counted(clients, "client");
            log::info!("worker {giver} gives {given} to worker {slot}");
            self.roster
                .order(giver, Order::GiveAway { to: slot, clients });
        }
    }

    /// Lets a child find out whether the change can be made.
    fn begin_probe(&mut self, change: Change) -> ControlFlow<Leave, Option<Event>> {
        let begun = || -> io::Result<(Fork, OwnedFd, OwnedFd, SignalsHeld)> {
            let (output, input) = probe::pipe()?;
            let held = SignalsHeld::hold()?;
            let fork = process::fork(SingleThreaded::prove()?)?;
            Ok((fork, output, input, held))
        };
        let failed = |master: &mut Self, error: io::Error| {
            master.reason = format!("the check cannot be started: {error}");
            ControlFlow::Continue(Some(Event::ProbeFailed))
        };
        match begun() {
            Ok((Fork::Parent { child }, output, _, _)) => match Probe::new(child, output) {
                Ok(probe) => {
                    self.probe = Some(probe);
                    ControlFlow::Continue(None)
                }
                Err(error) => failed(self, error),
            },
            // The signals stay held: what ends a check is a kill.
            Ok((Fork::Child, _, input, held)) => {
                let code = self.check(change, input);
                drop(held);
                ControlFlow::Break(Leave::Checked { code })
            }
            Err(error) => failed(self, error),
        }
    }

    /// In the child.
    fn check(&mut self, change: Change, output: OwnedFd) -> u8 {
        let result = match change {
            Change::Reload | Change::Renewal => (self.load_config)().map(drop),
            Change::Upgrade => {
                let error = self.exec_check(&output);
                Err(format!("{}: {error}", self.program.path.display()))
            }
        };
        match result {
            Ok(()) => 0,
            Err(reason) => {
                // Without its reason the check has failed all the same.
                let _unheard: io::Result<()> = writeln!(File::from(output), "{reason}");
                WRONG
            }
        }
    }

    fn give_up_probe(&mut self, timeout_ms: u64) {
        if let Some(probe) = &mut self.probe {
            probe.give_up(timeout_ms);
        }
    }

    fn end_probe(&self) {
        if let Some(probe) = &self.probe
            && let Err(error) = process::kill(probe.child)
        {
            log::error!("the check (pid {}) cannot be ended: {error}", probe.child);
        }
    }

    /// The child has ended.
    pub(super) fn conclude_probe(&mut self, exit: Exit) -> ControlFlow<Leave> {
        let Some(probe) = self.probe.take() else {
            return ControlFlow::Continue(());
        };
        let token = match self.supervisor.change() {
            Some(Change::Upgrade) => Some(ACCEPTED),
            Some(Change::Reload | Change::Renewal) | None => None,
        };
        match probe.verdict(exit, token) {
            Ok(()) => self.tell(Event::ProbePassed),
            Err(reason) => {
                self.reason = reason;
                self.tell(Event::ProbeFailed)
            }
        }
    }

    fn load_config(&mut self, generation: u32) -> Event {
        let before = self.generations.latest();
        let loaded = (self.load_config)().and_then(|mut config| {
            let slots = self.roster.slots();
            start::limit_clients(&mut config, slots).map_err(|error| error.to_string())?;
            let listeners =
                listeners::bind(&config, &before.listeners).map_err(|error| error.to_string())?;
            Ok(Generation { config, listeners })
        });
        match loaded {
            Ok(loaded) => {
                let wanted = wanted(&loaded.config, before.config.processes);
                warn_of_restart(&before.config, &loaded.config);
                for bound in &loaded.listeners {
                    if !before
                        .listeners
                        .iter()
                        .any(|known| Rc::ptr_eq(known, bound))
                    {
                        start::announce(&bound.listener, &loaded.config);
                    }
                }
                self.touch.watch(&loaded.config.operations.touch_reload);
                self.generations.insert(generation, loaded);
                Event::ConfigLoaded { wanted }
            }
            Err(reason) => {
                self.reason = reason;
                Event::ConfigRefused
            }
        }
    }

    /// Tells people, verbs that wait, and the service manager.
    fn announce(&mut self, notice: Notice) {
        log::log!(notice.level(), "{notice}");
        let text = notice.to_string();
        match notice {
            Notice::AllReady { .. } => {
                self.notifier.ready(&text);
                if let Some(starter) = self.starter.take() {
                    super::place::tell_starter(starter);
                }
            }
            Notice::ReloadBegins { .. } => self.notifier.reloading(&text),
            Notice::ReloadDone {
                change: Change::Reload | Change::Upgrade,
                generation,
                ..
            } => self.answer(generation, &Ok(text)),
            Notice::ReloadRefused { change, generation } => {
                log::error!("{change}: {}", self.reason);
                let reason = format!("{change}, nothing has changed: {}", self.reason);
                self.answer(generation, &Err(reason));
            }
            Notice::ReloadFailed {
                change: Change::Reload | Change::Upgrade,
                generation,
                ..
            } => self.answer(generation, &Err(text)),
            Notice::Scaled {
                serving, wanted, ..
            } => {
                let result = if serving == wanted {
                    Ok(text.clone())
                } else {
                    Err(text.clone())
                };
                self.control
                    .finish(|awaited| awaited == Awaited::Scaled, &result);
                self.notifier.status(&text);
            }
            Notice::Draining { .. } | Notice::StoppingNow => {
                self.notifier.stopping(&text);
                self.control
                    .finish(is_a_change, &Err("the server is stopping".to_owned()));
            }
            Notice::ReloadIgnored { .. } | Notice::ScaleIgnored => {
                self.control.finish(is_a_change, &Err(text));
            }
            Notice::ProbeOverdue { timeout_ms, .. } => self.give_up_probe(timeout_ms),
            Notice::Accepting { .. } => self.notifier.status(&text),
            Notice::ReloadDone { .. }
            | Notice::ReloadFailed { .. }
            | Notice::Ready { .. }
            | Notice::Crashed { .. }
            | Notice::Storm { .. }
            | Notice::CannotBoot { .. }
            | Notice::NobodyLeft
            | Notice::Moved { .. }
            | Notice::Left { .. }
            | Notice::Overdue { .. }
            | Notice::Stuck { .. }
            | Notice::ReloadQueued { .. }
            | Notice::ReloadCrowded { .. }
            | Notice::Replaced { .. }
            | Notice::Scaling { .. } => {}
        }
    }

    /// A reload or upgrade has come to its end.
    fn answer(&mut self, generation: u32, result: &Result<String, String>) {
        let is_it =
            |awaited| matches!(awaited, Awaited::Generation(wanted) if wanted <= generation);
        self.control.finish(is_it, result);
        let (Ok(status) | Err(status)) = result;
        self.notifier.ready(status);
    }
}

/// Whether it is something that a stop prevents.
fn is_a_change(awaited: Awaited) -> bool {
    matches!(awaited, Awaited::Generation(_) | Awaited::Scaled)
}

/// What the supervisor decides by. The number of workers is left alone unless the configuration has
/// another one than before: somebody may have changed it meanwhile.
pub(super) fn wanted(config: &Config, processes_before: u16) -> Wanted {
    Wanted {
        processes: (config.processes != processes_before).then_some(config.processes),
        drain_timeout_ms: config.drain_timeout_ms,
        mercy_ms: config.operations.worker_reload_mercy_ms,
        settle_ms: config.operations.settle_ms,
    }
}

/// A reload replaces workers, not what the master made at its start. A new program makes some of it anew.
fn warn_of_restart(before: &Config, after: &Config) {
    let (was, is) = (&before.operations, &after.operations);
    let restart = [
        ("spool-size", before.spool_bytes != after.spool_bytes),
        ("log-entries", before.log_entries != after.log_entries),
        ("sharedarea", before.areas != after.areas),
        ("channels-max", before.channels_max != after.channels_max),
        ("instance", before.instance != after.instance),
        ("run-dir", before.run_dir != after.run_dir),
        ("master-fifo", was.master_fifo != is.master_fifo),
        ("pidfile", was.pidfile != is.pidfile),
        ("daemonize", was.daemonize != is.daemonize),
        ("uid", was.uid != is.uid),
        ("gid", was.gid != is.gid),
    ];
    let upgrade = [
        ("stats", before.stats != after.stats),
        ("stats-http", before.stats_style != after.stats_style),
        ("log-format", before.log_format != after.log_format),
        ("log-level", before.log_level != after.log_level),
        ("logto", was.logto != is.logto),
        ("chdir", was.chdir != is.chdir),
        ("umask", was.umask != is.umask),
    ];
    for (options, what) in [
        (&restart[..], "a restart"),
        (&upgrade[..], "an upgrade or a restart"),
    ] {
        for (option, _) in options.iter().filter(|(_, changed)| *changed) {
            log::warn!("--{option} has changed: that takes {what}");
        }
    }
}
