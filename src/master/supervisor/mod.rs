//! The supervisor: what the master decides, as a pure value. Events in, actions out.
//!
//! It knows slots (workers' seats), their states and deadlines, and nothing of how a process is
//! made, told or ended: the loop does that and reports back. It reads no clock; every event comes
//! with the time. `tests/sim` runs it through thousands of random lives.
//!
//! There are more slots than workers. A replacement boots in an empty one during a reload, and the
//! slot that it emptied is free for the next; [`Policy::slots`] bounds how far a server can grow.

mod chain;
mod machine;
mod notice;
mod policy;
mod reload;
mod scale;
mod slot;
mod snapshot;
mod stop;
#[cfg(test)]
mod tests;

use nix::unistd::Pid;

use self::reload::Reload;
use self::slot::Slot;
use crate::sys::process::Exit;

pub use self::notice::{Leftovers, Notice};
pub use self::policy::{Policy, workers_max};
pub use self::reload::Change;
pub use self::slot::SlotState;
pub use self::snapshot::Snapshot;
pub use self::stop::Haste;

/// Close code for clients when the server goes away (RFC 6455 section 7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// Close code for clients of a worker that is replaced (IANA registry: service restart).
pub const SERVICE_RESTART: u16 = 1012;

/// The exit code of a worker that cannot boot, and of a master whose workers cannot.
pub const CANNOT_BOOT: u8 = 3;

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
    /// A worker that is replaced has handed over whom it could, and others are left.
    Moved {
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
    Stop {
        /// What clients are given.
        haste: Haste,
    },
    /// Somebody wants the configuration loaded again and the workers replaced.
    Reload,
    /// Somebody wants the program replaced, and the workers with it.
    Upgrade,
    /// The answer to [`Action::Probe`]: the new configuration, or program, may be used.
    ProbePassed,
    /// The other answer to [`Action::Probe`].
    ProbeFailed,
    /// The answer to [`Action::LoadConfig`], or the beginning of a new program's life.
    ConfigLoaded {
        /// What of it the supervisor decides by.
        wanted: Wanted,
    },
    /// The other answer to [`Action::LoadConfig`].
    ConfigRefused,
    /// The answer to [`Action::Exec`], if there is one.
    ExecFailed,
    /// Somebody wants so many workers; out of range it is brought into it.
    Scale {
        /// How many.
        processes: u16,
    },
    /// Clients are to be accepted, or to wait in the listeners' queues.
    Accept {
        /// Which.
        on: bool,
    },
    /// A worker shows no sign of life.
    Stuck {
        /// Where.
        slot: u16,
    },
    /// A worker has grown old or large, and is to be replaced by one like it.
    Renew {
        /// Where.
        slot: u16,
    },
    /// The time is past [`Supervisor::next_timeout_ms`].
    Timeout,
}

/// What of a configuration the supervisor decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Workers; None leaves as many as there are.
    pub processes: Option<u16>,
    /// [`Policy::drain_timeout_ms`].
    pub drain_timeout_ms: u64,
    /// [`Policy::mercy_ms`].
    pub mercy_ms: u64,
    /// [`Policy::settle_ms`].
    pub settle_ms: u64,
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
    /// Order a worker to hand its clients over to another, to go on serving those who cannot be moved
    /// for a while, then to let go of them, and to leave.
    Replace {
        /// Whom.
        slot: u16,
        /// Who takes over; None: whoever has the fewest clients.
        by: Option<u16>,
        /// The close code for those who cannot be moved.
        code: u16,
        /// How long they are served.
        mercy_ms: u64,
        /// How long they may take to leave.
        timeout_ms: u64,
    },
    /// A worker has come in addition: let the others give it its share of their clients.
    Share {
        /// Where.
        slot: u16,
    },
    /// Tell a worker whether to accept clients.
    Accept {
        /// Whom.
        slot: u16,
        /// Whether.
        on: bool,
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
    /// Let a child find out whether the new configuration, or program, can be used; answer with
    /// [`Event::ProbePassed`] or [`Event::ProbeFailed`].
    Probe {
        /// Which of the two.
        change: Change,
    },
    /// Kill that child.
    EndProbe,
    /// Become the new program; there is an answer, [`Event::ExecFailed`], only if that fails.
    Exec,
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

/// What the master as a whole is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Until all of these first workers have served at the same time.
    Starting {
        workers: u16,
    },
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
    /// The latest that all workers have served.
    good: u32,
    /// When a stop was last asked for.
    stop_ms: Option<u64>,
    /// What was asked for when it could not begin.
    next: Option<Change>,
    /// The number of workers was changed, and they are not all there or gone yet.
    scaling: bool,
    /// Workers accept clients.
    accepting: bool,
    now_ms: u64,
    /// What [`Self::next_timeout_ms`] said last.
    due_ms: Option<u64>,
}
