//! What the master is told from outside: signals, letters, errands of verbs, touched files; and its own
//! regular look at the workers.
//!
//! It must not know how any of it is done.

use std::fs;
use std::ops::ControlFlow;

use super::control::{Awaited, Errand};
use super::health::{Finding, Limits, Sight};
use super::logging::REPEATABLE;
use super::place;
use super::serve::{Leave, Master};
use super::signals::Meaning;
use super::supervisor::{Event, Haste, SlotState};
use crate::sys::streams;
use crate::worker::Order;

/// Pause between two looks at files and workers.
const LOOK_PAUSE_MS: u64 = 1_000;
/// The service manager hears of us so many times within its patience.
const ALIVE_PER_WATCHDOG: u64 = 3;

impl Master<'_> {
    pub(super) fn obey(&mut self, name: &str, meaning: Meaning) -> ControlFlow<Leave> {
        match meaning {
            Meaning::Child => return self.reap(),
            Meaning::StopAccepting if streams::has_terminal() => {
                return ControlFlow::Continue(());
            }
            Meaning::Stop
            | Meaning::StopFast
            | Meaning::Reload
            | Meaning::Upgrade
            | Meaning::More
            | Meaning::Fewer
            | Meaning::StopAccepting
            | Meaning::Pause
            | Meaning::Figures
            | Meaning::ReopenLog
            | Meaning::FiguresAndReopenLog => log::info!("{name} received"),
        }
        let processes = self.supervisor.processes();
        let event = match meaning {
            Meaning::Stop => Event::Stop {
                haste: Haste::Graceful,
            },
            Meaning::StopFast => Event::Stop { haste: Haste::Fast },
            Meaning::Reload => Event::Reload,
            Meaning::Upgrade => Event::Upgrade,
            Meaning::More => Event::Scale {
                processes: processes.saturating_add(1),
            },
            Meaning::Fewer => Event::Scale {
                processes: processes.saturating_sub(1),
            },
            Meaning::StopAccepting => Event::Accept { on: false },
            Meaning::Pause => Event::Accept {
                on: !self.supervisor.accepts(),
            },
            Meaning::Figures => return self.tell_figures(),
            Meaning::ReopenLog => return self.reopen_log(),
            Meaning::FiguresAndReopenLog => {
                self.reopen_log()?;
                return self.tell_figures();
            }
            Meaning::Child => return ControlFlow::Continue(()),
        };
        self.tell(event)
    }

    pub(super) fn obey_letters(&mut self) -> ControlFlow<Leave> {
        let Some(letters) = &mut self.letters else {
            return ControlFlow::Continue(());
        };
        for letter in letters.take() {
            match letter {
                Ok(spec) => {
                    let name = format!("letter {}", char::from(spec.letter));
                    self.obey(&name, spec.meaning)?;
                }
                Err(letter) => {
                    log::warn!(target: REPEATABLE, "letter {letter:?} received: it means nothing");
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn tell_figures(&self) -> ControlFlow<Leave> {
        log::info!("{}", self.status().figures());
        ControlFlow::Continue(())
    }

    fn reopen_log(&self) -> ControlFlow<Leave> {
        place::reopen_log(&self.generations.latest().config.operations);
        for slot in self.slots_that(|state| state.pid().is_some()) {
            self.roster.order(slot, Order::ReopenLog);
        }
        ControlFlow::Continue(())
    }

    /// Takes the errand of a verb, which waits from now on. What it waits for is settled before
    /// anything is told, since the answer may come at once.
    pub(super) fn run_errand(&mut self, number: u64, errand: Errand) -> ControlFlow<Leave> {
        log::info!("verb received: {errand}");
        let change = Awaited::Generation(self.supervisor.next_generation());
        let (awaited, event) = match errand {
            Errand::Reload => (change, Event::Reload),
            Errand::Upgrade => (change, Event::Upgrade),
            Errand::Stop { fast } => {
                let haste = if fast { Haste::Fast } else { Haste::Graceful };
                (Awaited::End, Event::Stop { haste })
            }
            Errand::Scale { processes } => (Awaited::Scaled, Event::Scale { processes }),
        };
        self.control.wait_for(number, awaited);
        self.tell(event)
    }

    /// When [`Self::look`] is wanted; None while there is nothing to look at.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        let wanted = !self.touch.is_empty()
            || !self.sharing.is_over()
            || self.limits() != Limits::default()
            || self.notifier.watchdog_ms().is_some();
        wanted.then_some(self.look_ms)
    }

    fn limits(&self) -> Limits {
        let operations = &self.generations.latest().config.operations;
        Limits {
            silent_ms_max: operations.harakiri_ms,
            lifetime_ms_max: operations.worker_lifetime_ms,
            resident_bytes_max: operations.reload_on_rss_bytes,
        }
    }

    /// The regular look at files and workers.
    pub(super) fn look(&mut self) -> ControlFlow<Leave> {
        let watchdog_ms = self.notifier.watchdog_ms();
        let pause_ms = watchdog_ms.map_or(LOOK_PAUSE_MS, |watchdog_ms| {
            (watchdog_ms / ALIVE_PER_WATCHDOG).clamp(1, LOOK_PAUSE_MS)
        });
        self.look_ms = self.now_ms.saturating_add(pause_ms);
        if let Some(path) = self.touch.touched() {
            log::info!("{} was touched", path.display());
            self.tell(Event::Reload)?;
        }
        self.share();
        let limits = self.limits();
        let sights = self.sights(limits);
        for finding in self.health.look(self.now_ms, limits, &sights) {
            let event = match finding {
                Finding::Stuck { slot } => Event::Stuck { slot },
                Finding::Old { slot } => {
                    log::info!("worker {slot} has served long enough (--max-worker-lifetime)");
                    Event::Renew { slot }
                }
                Finding::Large {
                    slot,
                    resident_bytes,
                } => {
                    let mib = resident_bytes / (1024 * 1024);
                    log::info!("worker {slot} has {mib} MiB of memory (--reload-on-rss)");
                    Event::Renew { slot }
                }
            };
            self.tell(event)?;
        }
        if let Some(watchdog_ms) = watchdog_ms
            && self.health.all_beat_within(watchdog_ms, self.now_ms)
        {
            self.notifier.alive();
        }
        ControlFlow::Continue(())
    }

    /// Every worker that should beat.
    fn sights(&self, limits: Limits) -> Vec<Sight> {
        let mut sights = Vec::new();
        for (slot, state) in self.supervisor.slots() {
            let (pid, serves_since_ms) = match state {
                SlotState::Serving { pid, since_ms, .. } => (pid.as_raw(), Some(since_ms)),
                SlotState::Draining { pid, .. } | SlotState::Leftover { pid, .. } => {
                    (pid.as_raw(), None)
                }
                SlotState::Empty
                | SlotState::Abandoned { .. }
                | SlotState::Paused { .. }
                | SlotState::Forking { .. }
                | SlotState::Booting { .. }
                | SlotState::Stopping { .. }
                | SlotState::Killed { .. } => continue,
            };
            let resident_bytes = match limits.resident_bytes_max {
                0 => 0,
                _ => resident_bytes(pid),
            };
            sights.push(Sight {
                slot,
                pid,
                beat: self.area.participant(slot).map_or(0, |view| view.beat_us),
                serves_since_ms,
                resident_bytes,
            });
        }
        sights
    }
}

/// Memory that a process has for itself; 0 when it cannot be told.
fn resident_bytes(pid: i32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return 0;
    };
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_of_its_own() {
        let own = resident_bytes(nix::unistd::getpid().as_raw());
        assert!(own > 64 * 1024, "{own}");
        assert_eq!(resident_bytes(-1), 0);
    }
}
