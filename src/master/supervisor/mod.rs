//! The supervisor: what the master decides, as a pure value. Events in, actions out.
//!
//! It knows slots (workers' seats), their states and deadlines, and nothing of how a process is
//! made, told or ended: the loop does that and reports back. It reads no clock; every event comes
//! with the time. `tests/sim` runs it through thousands of random lives.
//!
//! There is one slot more than workers, the spare: a replacement boots there during a reload, and
//! the slot that it emptied is the next spare.

mod machine;
mod notice;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use nix::unistd::Pid;

use self::reload::Reload;
use crate::sys::process::Exit;

pub use self::notice::Notice;

/// Close code for clients when the server goes away (RFC 6455 section 7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// Close code for clients of a worker that is replaced (IANA registry: service restart).
pub const SERVICE_RESTART: u16 = 1012;

/// The exit code of a worker that cannot boot, and of a master whose workers cannot.
pub const CANNOT_BOOT: u8 = 3;

/// Numbers by which the supervisor decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Workers wanted, at least 1.
    pub processes: u16,
    /// What clients get to leave.
    pub drain_timeout_ms: u64,
    /// What a worker gets beyond that, or after an order to stop, before it is killed.
    pub grace_ms: u64,
    /// What a worker gets to report that it is ready.
    pub boot_timeout_ms: u64,
    /// So many crashes of one slot ...
    pub crashes_max: usize,
    /// ... in this time are a storm.
    pub crash_window_ms: u64,
    /// Pause before the second respawn in a row; the first comes at once, later ones double it.
    pub pause_first_ms: u64,
    /// Longest pause.
    pub pause_max_ms: u64,
    /// A worker that served this long clears its slot's record.
    pub stable_ms: u64,
    /// Requests to stop that come this soon after another are the same one: timeout(1) and some
    /// shells signal the process and then its whole group.
    pub stop_again_ms: u64,
    /// When a timeout is noticed later than this, the whole machine was asleep, and deadlines move.
    pub late_ms_max: u64,
}

impl Policy {
    /// The usual numbers.
    pub fn new(processes: u16, drain_timeout_ms: u64) -> Self {
        Self {
            processes,
            drain_timeout_ms,
            grace_ms: 2_000,
            boot_timeout_ms: 60_000,
            crashes_max: 5,
            crash_window_ms: 10_000,
            pause_first_ms: 100,
            pause_max_ms: 30_000,
            stable_ms: 10_000,
            stop_again_ms: 10,
            late_ms_max: 2_000,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The sockets are bound: begin.
    Begin,
    /// The answer to [`Action::Fork`].
    Forked {
        /// Where.
        slot: u16,
        /// Who.
        pid: Pid,
    },
    /// The other answer to [`Action::Fork`].
    ForkFailed {
        /// Where.
        slot: u16,
    },
    /// A worker accepts clients.
    Ready {
        /// Where.
        slot: u16,
    },
    /// A process ended and was reaped.
    Exited {
        /// Who; a process that is no worker is ignored.
        pid: Pid,
        /// How.
        exit: Exit,
    },
    /// Somebody wants the server to stop; again, and it stops at once; a third time, and it kills.
    Stop,
    /// Somebody wants the configuration loaded again and the workers replaced.
    Reload,
    /// The answer to [`Action::LoadConfig`].
    ConfigLoaded,
    /// The other answer to [`Action::LoadConfig`].
    ConfigRefused,
    /// The time is past [`Supervisor::next_timeout_ms`].
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fork a worker into this slot, with the configuration of this generation; answer with
    /// [`Event::Forked`] or [`Event::ForkFailed`].
    Fork {
        /// Where.
        slot: u16,
        /// Which configuration.
        generation: u32,
    },
    /// Order a worker to let its clients go.
    Drain {
        /// Whom.
        slot: u16,
        /// With which close code.
        code: u16,
        /// How long they may take.
        timeout_ms: u64,
    },
    /// Order a worker to leave at once.
    Stop {
        /// Whom.
        slot: u16,
    },
    /// Kill it.
    Kill {
        /// Whose slot.
        slot: u16,
        /// Whom.
        pid: Pid,
    },
    /// Resolve the configuration again and keep it as this generation's; answer with
    /// [`Event::ConfigLoaded`] or [`Event::ConfigRefused`].
    LoadConfig {
        /// Its number.
        generation: u32,
    },
    /// Let go of the listening sockets: who connects from now on is refused at once instead of
    /// waiting for nobody.
    CloseListeners,
    /// Tell people.
    Tell(Notice),
    /// Nobody is left: end with this code. The last action there is.
    Exit {
        /// Exit code of the master.
        code: u8,
    },
}

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Nobody, and nobody wanted: the spare, or after a stop.
    Empty,
    /// Crashed too often; only a reload tries again.
    Abandoned {
        /// What it served last.
        generation: u32,
    },
    /// Will be forked again.
    Paused {
        /// When.
        until_ms: u64,
        /// With which configuration.
        generation: u32,
    },
    /// Fork was asked for.
    Forking {
        /// With which configuration.
        generation: u32,
    },
    /// Not ready yet.
    Booting {
        /// The worker.
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Killed then.
        deadline_ms: u64,
    },
    /// At work.
    Serving {
        /// The worker.
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Ready since.
        since_ms: u64,
    },
    /// Letting its clients go.
    Draining {
        /// The worker.
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Killed then.
        deadline_ms: u64,
    },
    /// Told to leave at once.
    Stopping {
        /// The worker.
        pid: Pid,
        /// Killed then.
        deadline_ms: u64,
    },
    /// Killed, not reaped yet.
    Killed {
        /// The worker.
        pid: Pid,
        /// The configuration to respawn with; None: the slot will be empty.
        respawn: Option<u32>,
    },
}

impl SlotState {
    /// The process in the slot.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Booting { pid, .. }
            | Self::Serving { pid, .. }
            | Self::Draining { pid, .. }
            | Self::Stopping { pid, .. }
            | Self::Killed { pid, .. } => Some(pid),
            Self::Empty | Self::Abandoned { .. } | Self::Paused { .. } | Self::Forking { .. } => {
                None
            }
        }
    }

    /// The configuration that its worker has or will have.
    pub fn generation(self) -> Option<u32> {
        match self {
            Self::Abandoned { generation }
            | Self::Paused { generation, .. }
            | Self::Forking { generation }
            | Self::Booting { generation, .. }
            | Self::Serving { generation, .. }
            | Self::Draining { generation, .. } => Some(generation),
            Self::Killed { respawn, .. } => respawn,
            Self::Empty | Self::Stopping { .. } => None,
        }
    }

    /// One word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Abandoned { .. } => "abandoned",
            Self::Paused { .. } => "paused",
            Self::Forking { .. } => "forking",
            Self::Booting { .. } => "booting",
            Self::Serving { .. } => "serving",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Killed { .. } => "killed",
        }
    }

    /// When something is due if nothing else happens.
    fn due_ms(self) -> Option<u64> {
        match self {
            Self::Paused { until_ms: due, .. }
            | Self::Booting {
                deadline_ms: due, ..
            }
            | Self::Draining {
                deadline_ms: due, ..
            }
            | Self::Stopping {
                deadline_ms: due, ..
            } => Some(due),
            Self::Empty
            | Self::Abandoned { .. }
            | Self::Forking { .. }
            | Self::Serving { .. }
            | Self::Killed { .. } => None,
        }
    }
}

/// A slot with its record.
#[derive(Debug, Clone)]
struct Slot {
    state: SlotState,
    /// When it crashed lately, oldest first; at most `crashes_max`.
    crashes_ms: VecDeque<u64>,
    /// Crashes since a worker last served for `stable_ms`.
    streak: u32,
}

/// What the master as a whole is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Until all workers have served at the same time.
    Starting,
    Running,
    Reloading(Reload),
    /// Clients are leaving.
    Draining,
    /// Workers are leaving.
    Stopping {
        code: u8,
    },
    Ended,
}

/// The master's mind.
#[derive(Debug, Clone)]
pub struct Supervisor {
    policy: Policy,
    phase: Phase,
    /// Slot n is at n - 1.
    slots: Vec<Slot>,
    /// The latest number given to a configuration.
    generation: u32,
    /// When a stop was last asked for.
    stop_ms: Option<u64>,
    /// A reload was asked for when none could begin.
    reload_again: bool,
    now_ms: u64,
    /// What [`Self::next_timeout_ms`] said last.
    due_ms: Option<u64>,
}
