//! Time and chance for the torture: deadlines, pauses, measured durations and a small random generator.

use std::fmt;
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

/// A point in time to measure from.
pub(crate) struct Stopwatch {
    begun: Instant,
    queued_us: u64,
}

impl Stopwatch {
    /// From now on.
    #[expect(
        clippy::disallowed_methods,
        reason = "the torture has no loop that owns a clock"
    )]
    pub(crate) fn start() -> Self {
        let queued_us = queued_us();
        let begun = Instant::now();
        Self { begun, queued_us }
    }

    /// Microseconds until now.
    pub(crate) fn us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The same without the time in which this process waited for a processor, and so could see nothing.
    pub(crate) fn awake_us(&self) -> u64 {
        let us = self.us();
        us.saturating_sub(queued_us().saturating_sub(self.queued_us))
    }
}

/// Microseconds that this process has been runnable and did not run, by the kernel's statistics; 0 without them.
fn queued_us() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let field = text.split_whitespace().nth(1);
    field.and_then(|ns| ns.parse().ok()).unwrap_or(0) / 1000
}

/// Measured durations, microseconds. They are shown and never judged: the machine has its share in them.
#[derive(Default)]
pub(crate) struct Durations(Vec<u64>);

impl Durations {
    pub(crate) fn note(&mut self, us: u64) {
        self.0.push(us);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let last = sorted.len().saturating_sub(1);
            sorted.get(last * percent / 100).copied().unwrap_or(0)
        };
        let (p50, p99, most) = (at(50), at(99), at(100));
        write!(
            f,
            "{} times, us: p50 {p50}, p99 {p99}, max {most}",
            sorted.len()
        )
    }
}

/// Lets the children run; the torture is over at a deadline, so this waits for nothing. Returns by how many microseconds
/// it took longer than asked: what the machine adds to all that is measured.
#[expect(
    clippy::disallowed_methods,
    reason = "kills are spread over time on purpose"
)]
pub(crate) fn pause_us(us: u64) -> u64 {
    let begun = Stopwatch::start();
    std::thread::sleep(Duration::from_micros(us));
    begun.us().saturating_sub(us)
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
