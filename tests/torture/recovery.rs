//! How soon a lock is rid of a holder that was killed: from the death, as the one who reaps it learns of it, until the
//! dead holder is not named any more. Waiting behind live holders after that is another matter.

use std::fmt;

use crate::Outcome;
use crate::clock::{self, Deadline, Durations, Stopwatch};

/// A dead holder that is named for longer will be for ever.
const STUCK_MS: u64 = 5000;
/// Between two looks. The looking must leave the processor to those who are looked at.
const LOOK_US: u64 = 50;

/// Who has to notice that a holder died.
#[derive(Clone, Copy)]
pub(crate) enum Taker {
    /// The master's sweep, at once.
    Sweep,
    /// Whoever wants the lock next.
    Others,
}

/// All that were measured for one kind of lock.
#[derive(Default)]
pub(crate) struct Recovery {
    by_sweep: Times,
    by_others: Times,
}

/// What a clock says, and what is left without the time in which the killer waited for a processor.
#[derive(Default)]
struct Times {
    all: Durations,
    awake: Durations,
}

impl Times {
    fn note(&mut self, death: &Stopwatch) {
        self.awake.note(death.awake_us());
        self.all.note(death.us());
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (while the killer ran: {})", self.all, self.awake)
    }
}

impl Recovery {
    /// Waits until `is_held` no longer finds the holder whose death was known at `death`.
    pub(crate) fn watch(
        &mut self,
        death: &Stopwatch,
        taker: Taker,
        is_held: impl Fn() -> bool,
    ) -> Outcome {
        match taker {
            Taker::Sweep => {
                if is_held() {
                    return Err("the sweep left the lock to the dead".into());
                }
                self.by_sweep.note(death);
            }
            Taker::Others => {
                let stuck = Deadline::after_ms(STUCK_MS);
                while is_held() {
                    if stuck.is_over() {
                        return Err("nobody takes the lock from the dead".into());
                    }
                    clock::pause_us(LOOK_US);
                }
                self.by_others.note(death);
            }
        }
        Ok(())
    }

    /// How many died with the lock.
    pub(crate) fn count(&self) -> usize {
        self.by_sweep.all.count() + self.by_others.all.count()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(f, "          by the sweep {}", self.by_sweep)?;
        write!(f, "          by the next who wants it {}", self.by_others)
    }
}
