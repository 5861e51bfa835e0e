//! Time and chance for the torture: deadlines, pauses and a small random generator.

use std::time::{Duration, Instant, SystemTime};

/// A point in time to wait for.
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// `ms` from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the torture has no loop that owns a clock"
    )]
    pub(crate) fn after_ms(ms: u64) -> Self {
        Self(Instant::now() + Duration::from_millis(ms))
    }

    /// Whether it has come.
    #[expect(
        clippy::disallowed_methods,
        reason = "the torture has no loop that owns a clock"
    )]
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Lets the children run; the torture is over at a deadline, so this waits for nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "kills are spread over time on purpose"
)]
pub(crate) fn pause_us(us: u64) {
    std::thread::sleep(Duration::from_micros(us));
}

/// A seed that differs from run to run.
pub(crate) fn seed() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(1, |elapsed| elapsed.as_secs())
}

/// xorshift64*: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}
