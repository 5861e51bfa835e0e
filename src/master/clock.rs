//! The master's clock: read once a turn and passed down.
//!
//! It must not know what the time is needed for.

use std::time::{Instant, SystemTime};

/// Milliseconds since the master began, and the time of day.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
        }
    }

    /// Monotonic, from 0.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
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
