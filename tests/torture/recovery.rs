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
    by_sweep: Durations,
    by_others: Durations,
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
                self.by_sweep.note(death.us());
            }
            Taker::Others => {
                let stuck = Deadline::after_ms(STUCK_MS);
                while is_held() {
                    if stuck.is_over() {
                        return Err("nobody takes the lock from the dead".into());
                    }
                    clock::pause_us(LOOK_US);
                }
                self.by_others.note(death.us());
            }
        }
        Ok(())
    }

    /// How many died with the lock.
    pub(crate) fn count(&self) -> usize {
        self.by_sweep.count() + self.by_others.count()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "by the sweep {}; by the next who wants it {}",
            self.by_sweep, self.by_others
        )
    }
}
