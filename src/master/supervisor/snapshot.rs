//! What of the supervisor outlives its program: an upgrade writes it down, and the new program goes on
//! from it.
//!
//! Times stay as they are: the new program's clock goes on where the old one's was. It must not know
//! how the text is handed over.

use serde::{Deserialize, Serialize};

use super::reload::Reload;
use super::slot::Slot;
use super::{Change, Phase, Policy, Supervisor};

/// A supervisor in the middle of an upgrade, as data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    processes: u16,
    slots: Vec<Slot>,
    generation: u32,
    good: u32,
    next: Option<Change>,
    scaling: bool,
    accepting: bool,
    now_ms: u64,
}

impl Snapshot {
    /// Slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// When it was taken, on the clock of [`Supervisor::handle`].
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Every generation that somebody may still be forked with.
    pub fn generations(&self) -> impl Iterator<Item = u32> + '_ {
        let of_slots = self.slots.iter().filter_map(|slot| slot.state.forks_with());
        std::iter::once(self.good).chain(of_slots)
    }

    /// The generation that the new program begins.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

impl Supervisor {
    /// Everything that a new program needs to know.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            processes: self.policy.processes,
            slots: self.slots.clone(),
            generation: self.generation,
            good: self.good,
            next: self.next,
            scaling: self.scaling,
            accepting: self.accepting,
            now_ms: self.now_ms,
        }
    }

    /// Goes on as the new program: [`super::Event::ConfigLoaded`] or its refusal is what comes next.
    /// Number of workers and slots are the old program's, everything else of `policy` counts.
    pub fn resume(policy: Policy, snapshot: Snapshot) -> Self {
        let slots = u16::try_from(snapshot.slots.len()).unwrap_or(u16::MAX);
        Self {
            policy: Policy {
                processes: snapshot.processes,
                slots,
                ..policy
            },
            phase: Phase::Reloading(Reload::resolving(Change::Upgrade, snapshot.generation)),
            slots: snapshot.slots,
            generation: snapshot.generation,
            good: snapshot.good,
            stop_ms: None,
            next: snapshot.next,
            scaling: snapshot.scaling,
            accepting: snapshot.accepting,
            now_ms: snapshot.now_ms,
            due_ms: None,
        }
    }
}
