//! What the supervisor tells people, as values; the words are here and nowhere else.
//!
//! It must not decide anything.

use std::fmt;

use log::Level;
use nix::unistd::Pid;

use super::Change;
use crate::status::counted;
use crate::sys::process::Exit;

/// Workers that were replaced and still serve clients who cannot be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// How many.
    pub workers: u16,
    /// The last of them leaves in this time.
    pub left_ms: u64,
}

/// Nothing when there are none; else what is said behind another sentence.
impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, left_ms } = *self;
        let (noun, verb) = match workers {
            0 => return Ok(()),
            1 => ("worker", "serves"),
            _ => ("workers", "serve"),
        };
        let seconds = left_ms.div_ceil(1000);
        write!(
            f,
            "; {workers} old {noun} still {verb} clients that cannot move, for at most {seconds} s"
        )
    }
}

/// Something worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// All workers serve for the first time.
    AllReady {
        /// How many.
        workers: u16,
    },
    /// One worker serves.
    Ready {
        /// Where.
        slot: u16,
        /// Who.
        pid: Pid,
    },
    /// A worker ended unasked.
    Crashed {
        /// Where.
        slot: u16,
        /// How; None when it could not even be forked.
        exit: Option<Exit>,
        /// It is forked again after this.
        pause_ms: u64,
    },
    /// A slot crashed too often and is not tried any more.
    Storm {
        /// Which.
        slot: u16,
        /// How it ended last.
        exit: Option<Exit>,
    },
    /// Workers cannot boot, so the server ends.
    CannotBoot {
        /// Which one showed it.
        slot: u16,
        /// How it ended.
        exit: Option<Exit>,
    },
    /// Every slot is abandoned, so the server ends.
    NobodyLeft,
    /// A worker has handed over whom it could, and serves the others for a while.
    Moved {
        /// Where.
        slot: u16,
        /// Who.
        pid: Pid,
        /// It leaves in this time.
        left_ms: u64,
    },
    /// A worker left as it was told.
    Left {
        /// Where.
        slot: u16,
        /// How.
        exit: Exit,
    },
    /// A worker missed its deadline and is killed.
    Overdue {
        /// Where.
        slot: u16,
        /// Who.
        pid: Pid,
        /// What it was doing.
        doing: &'static str,
    },
    /// A worker shows no sign of life and is killed.
    Stuck {
        /// Where.
        slot: u16,
        /// Who.
        pid: Pid,
    },
    /// A reload or upgrade begins.
    ReloadBegins {
        /// Which.
        change: Change,
        /// The number of the new configuration.
        generation: u32,
    },
    /// A reload is asked for while one is going on or the server starts.
    ReloadQueued {
        /// Or an upgrade.
        change: Change,
    },
    /// A reload is asked for while the server stops.
    ReloadIgnored {
        /// Or an upgrade.
        change: Change,
    },
    /// The child that probes takes too long.
    ProbeOverdue {
        /// What for.
        change: Change,
        /// How long it had.
        timeout_ms: u64,
    },
    /// Nobody can be replaced before somebody who is leaving has left.
    ReloadCrowded {
        /// What for.
        change: Change,
    },
    /// A worker is replaced.
    Replaced {
        /// What for.
        change: Change,
        /// The slot that is left.
        old: u16,
        /// The slot that serves instead.
        new: u16,
    },
    /// All workers are of the new generation.
    ReloadDone {
        /// What for; of a renewal only one worker is.
        change: Change,
        /// Its number.
        generation: u32,
        /// Workers of older ones that linger.
        leftovers: Leftovers,
    },
    /// The new configuration or program is wrong; nothing changed.
    ReloadRefused {
        /// Which.
        change: Change,
        /// The number it would have had.
        generation: u32,
    },
    /// A worker of the new generation failed; the others of the old one stay.
    ReloadFailed {
        /// What it was.
        change: Change,
        /// The number of the generation that failed.
        generation: u32,
        /// Where it failed.
        slot: u16,
        /// How.
        exit: Option<Exit>,
    },
    /// Another number of workers is wanted.
    Scaling {
        /// Wanted so far.
        from: u16,
        /// Wanted now.
        to: u16,
    },
    /// As many workers serve as will.
    Scaled {
        /// That many.
        serving: u16,
        /// That many should.
        wanted: u16,
        /// Workers that linger besides.
        leftovers: Leftovers,
    },
    /// The number of workers does not change while the server stops.
    ScaleIgnored,
    /// Clients are accepted again, or no longer.
    Accepting {
        /// Which.
        on: bool,
    },
    /// The server stops when its clients have left.
    Draining {
        /// What they get.
        timeout_ms: u64,
    },
    /// The server stops now.
    StoppingNow,
}

impl Notice {
    /// How loud it is.
    pub fn level(&self) -> Level {
        match self {
            Self::AllReady { .. }
            | Self::Ready { .. }
            | Self::Moved { .. }
            | Self::Left { .. }
            | Self::ReloadBegins { .. }
            | Self::ReloadQueued { .. }
            | Self::Scaling { .. }
            | Self::Accepting { .. }
            | Self::Replaced { .. }
            | Self::ReloadDone { .. }
            | Self::Draining { .. }
            | Self::StoppingNow => Level::Info,
            Self::Crashed { .. }
            | Self::Overdue { .. }
            | Self::ProbeOverdue { .. }
            | Self::ReloadCrowded { .. }
            | Self::ReloadIgnored { .. }
            | Self::ScaleIgnored => Level::Warn,
            Self::Scaled {
                serving, wanted, ..
            } if serving == wanted => Level::Info,
            Self::Storm { .. }
            | Self::CannotBoot { .. }
            | Self::NobodyLeft
            | Self::Stuck { .. }
            | Self::Scaled { .. }
            | Self::ReloadRefused { .. }
            | Self::ReloadFailed { .. } => Level::Error,
        }
    }
}

/// How a worker ended, or that there was none.
struct Cause(Option<Exit>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(exit) => exit.fmt(f),
            None => f.write_str("cannot be forked"),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AllReady { workers } => write!(f, "ready: {}", counted(workers, "worker")),
            Self::Ready { slot, pid } => write!(f, "worker {slot} (pid {pid}) is ready"),
            Self::Crashed {
                slot,
                exit,
                pause_ms: 0,
            } => write!(f, "worker {slot} died ({}), respawning", Cause(exit)),
            Self::Crashed {
                slot,
                exit,
                pause_ms,
            } => {
                let cause = Cause(exit);
                write!(
                    f,
                    "worker {slot} died ({cause}), respawning in {pause_ms} ms"
                )
            }
            Self::Storm { slot, exit } => write!(
                f,
                "worker {slot} died too often (last: {}), not respawning it until a reload",
                Cause(exit)
            ),
            Self::CannotBoot { slot, exit } => {
                let cause = Cause(exit);
                write!(f, "worker {slot} cannot boot ({cause}), giving up")
            }
            Self::NobodyLeft => f.write_str("no worker is left, giving up"),
            Self::Moved { slot, pid, left_ms } => fmt_moved(f, slot, pid, left_ms),
            Self::Left { slot, exit } => write!(f, "worker {slot} left ({exit})"),
            Self::Overdue { slot, pid, doing } => {
                write!(
                    f,
                    "worker {slot} (pid {pid}) is {doing} for too long, killing it"
                )
            }
            Self::Stuck { slot, pid } => {
                write!(
                    f,
                    "worker {slot} (pid {pid}) shows no sign of life, killing it"
                )
            }
            Self::ReloadBegins { .. }
            | Self::ReloadQueued { .. }
            | Self::ReloadIgnored { .. }
            | Self::ProbeOverdue { .. }
            | Self::ReloadCrowded { .. }
            | Self::Replaced { .. }
            | Self::ReloadDone { .. }
            | Self::ReloadRefused { .. }
            | Self::ReloadFailed { .. } => self.fmt_change(f),
            Self::Scaling { from, to } => {
                write!(f, "scale: from {from} to {}", counted(to, "worker"))
            }
            Self::Scaled {
                serving,
                wanted,
                leftovers,
            } => fmt_scaled(f, serving, wanted, leftovers),
            Self::ScaleIgnored => f.write_str("scale: ignored, the server is stopping"),
            Self::Accepting { on: true } => f.write_str("resumed: clients are accepted"),
            Self::Accepting { on: false } => {
                f.write_str("paused: clients wait in the listeners' queues")
            }
            Self::Draining { timeout_ms } => {
                write!(f, "stopping: clients have {timeout_ms} ms to leave")
            }
            Self::StoppingNow => f.write_str("stopping at once"),
        }
    }
}

fn fmt_scaled(
    f: &mut fmt::Formatter<'_>,
    serving: u16,
    wanted: u16,
    leftovers: Leftovers,
) -> fmt::Result {
    let verb = if serving == 1 { "serves" } else { "serve" };
    if serving == wanted {
        let workers = counted(serving, "worker");
        write!(f, "scale: {workers} {verb}{leftovers}")
    } else {
        let wanted = counted(wanted, "worker");
        write!(f, "scale: only {serving} of {wanted} {verb}{leftovers}")
    }
}

fn fmt_moved(f: &mut fmt::Formatter<'_>, slot: u16, pid: Pid, left_ms: u64) -> fmt::Result {
    let seconds = left_ms.div_ceil(1000);
    write!(
        f,
        "worker {slot} (pid {pid}) is replaced and serves clients that cannot move, for at most \
         {seconds} s"
    )
}

impl Notice {
    /// The words of a reload, upgrade or renewal; none for anything else.
    fn fmt_change(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ReloadBegins { change, generation } => {
                write!(f, "{change}: generation {generation} begins")
            }
            Self::ReloadQueued { change } => {
                write!(f, "{change}: will begin when this is done")
            }
            Self::ReloadIgnored { change } => {
                write!(f, "{change}: ignored, the server is stopping")
            }
            Self::ProbeOverdue { change, .. } => {
                write!(f, "{change}: the check takes too long, ending it")
            }
            Self::ReloadCrowded { change } => {
                write!(
                    f,
                    "{change}: all slots are taken, the next one begins when an old worker has left"
                )
            }
            Self::Replaced { change, old, new } => {
                write!(f, "{change}: worker {new} replaces worker {old}")
            }
            Self::ReloadDone {
                change,
                generation,
                leftovers,
            } => write!(f, "{change}: generation {generation} serves{leftovers}"),
            Self::ReloadRefused { change, .. } => write!(f, "{change}: refused, nothing changed"),
            Self::ReloadFailed {
                change,
                generation,
                slot,
                exit,
            } => {
                let cause = Cause(exit);
                write!(
                    f,
                    "{change}: generation {generation} failed in worker {slot} ({cause}), \
                     the old workers stay"
                )
            }
            Self::AllReady { .. }
            | Self::Ready { .. }
            | Self::Crashed { .. }
            | Self::Storm { .. }
            | Self::CannotBoot { .. }
            | Self::NobodyLeft
            | Self::Moved { .. }
            | Self::Left { .. }
            | Self::Overdue { .. }
            | Self::Stuck { .. }
            | Self::Scaling { .. }
            | Self::Scaled { .. }
            | Self::ScaleIgnored
            | Self::Accepting { .. }
            | Self::Draining { .. }
            | Self::StoppingNow => Ok(()),
        }
    }
}
