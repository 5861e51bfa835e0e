//! Numbers by which the supervisor decides.
//!
//! It must not know the decisions.

/// The board has 64 seats: one is the master's, one the spare of a reload.
const WORKERS_MAX: u16 = 62;
/// A server can always grow to this many workers without a restart.
const WORKERS_MAX_LEAST: u16 = 16;

/// Most workers that a server which starts with `processes` can grow to: what all of them share is
/// made before the first fork.
pub fn workers_max(processes: u16) -> u16 {
    processes
        .saturating_mul(2)
        .clamp(WORKERS_MAX_LEAST, WORKERS_MAX)
}

/// Numbers by which the supervisor decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Workers wanted, at least 1.
    pub processes: u16,
    /// Slots there are: the most workers and one, the spare.
    pub slots: u16,
    /// What clients get to leave.
    pub drain_timeout_ms: u64,
    /// So long a replaced worker goes on serving clients who cannot be handed over.
    pub mercy_ms: u64,
    /// What clients get when the server must stop fast: enough for a close frame.
    pub fast_stop_ms: u64,
    /// A replacement must live this long before the next worker is replaced.
    pub settle_ms: u64,
    /// What the check of a new configuration or program may take.
    pub probe_timeout_ms: u64,
    /// What a worker gets beyond its clients' time, or after an order to stop, before it is killed.
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
            slots: workers_max(processes) + 1,
            drain_timeout_ms,
            mercy_ms: 0,
            fast_stop_ms: 1_000,
            settle_ms: 1_000,
            probe_timeout_ms: 30_000,
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
