//! The master's clock: read once a turn and passed down.
//!
//! It must not know what the time is needed for.

use std::time::{Instant, SystemTime};

/// Milliseconds since the master began, and the time of day.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
    /// What the clock of the program before this one had reached.
    before_ms: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self::going_on_at(0)
    }

    /// A clock that goes on from another program's.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn going_on_at(before_ms: u64) -> Self {
        Self {
            begun: Instant::now(),
            before_ms,
        }
    }

    /// Monotonic, from 0.
    pub(super) fn now_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.before_ms.saturating_add(elapsed_ms)
    }

    /// Microseconds of Unix time; 0 for a clock that is set before 1970.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn wall_us() -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_micros()).ok())
            .unwrap_or(0)
    }
}
