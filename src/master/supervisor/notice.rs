//! What the supervisor tells people, as values; the words are here and nowhere else.
//!
//! It must not decide anything.

use std::fmt;

use log::Level;
use nix::unistd::Pid;

use crate::sys::process::Exit;

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
    /// A reload begins.
    ReloadBegins {
        /// The number of the new configuration.
        generation: u32,
    },
    /// A reload is asked for while one is going on or the server starts.
    ReloadQueued,
    /// A reload is asked for while the server stops.
    ReloadIgnored,
    /// A worker is replaced.
    Replaced {
        /// The slot that is left.
        old: u16,
        /// The slot that serves instead.
        new: u16,
    },
    /// All workers are of the new generation.
    ReloadDone {
        /// Its number.
        generation: u32,
    },
    /// The new configuration is wrong; nothing changed.
    ReloadRefused,
    /// A worker of the new generation failed; the others of the old one stay.
    ReloadFailed {
        /// The number of the generation that failed.
        generation: u32,
        /// Where it failed.
        slot: u16,
        /// How.
        exit: Option<Exit>,
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
            | Self::Left { .. }
            | Self::ReloadBegins { .. }
            | Self::ReloadQueued
            | Self::Replaced { .. }
            | Self::ReloadDone { .. }
            | Self::Draining { .. }
            | Self::StoppingNow => Level::Info,
            Self::Crashed { .. } | Self::Overdue { .. } | Self::ReloadIgnored => Level::Warn,
            Self::Storm { .. }
            | Self::CannotBoot { .. }
            | Self::NobodyLeft
            | Self::ReloadRefused
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
            Self::AllReady { workers } => write!(f, "ready: {workers} workers"),
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
            Self::Left { slot, exit } => write!(f, "worker {slot} left ({exit})"),
            Self::Overdue { slot, pid, doing } => {
                write!(
                    f,
                    "worker {slot} (pid {pid}) is {doing} for too long, killing it"
                )
            }
            Self::ReloadBegins { generation } => {
                write!(f, "reload: generation {generation} begins")
            }
            Self::ReloadQueued => f.write_str("reload: will begin when this is done"),
            Self::ReloadIgnored => f.write_str("reload: ignored, the server is stopping"),
            Self::Replaced { old, new } => write!(f, "reload: worker {new} replaces worker {old}"),
            Self::ReloadDone { generation } => write!(f, "reload: generation {generation} serves"),
            Self::ReloadRefused => f.write_str("reload: refused, nothing changed"),
            Self::ReloadFailed {
                generation,
                slot,
                exit,
            } => write!(
                f,
                "reload: generation {generation} failed in worker {slot} ({}), the old workers stay",
                Cause(exit)
            ),
            Self::Draining { timeout_ms } => {
                write!(f, "stopping: clients have {timeout_ms} ms to leave")
            }
            Self::StoppingNow => f.write_str("stopping at once"),
        }
    }
}
