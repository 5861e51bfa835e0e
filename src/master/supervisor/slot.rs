//! A slot: a worker's seat, where its life stands, and its record.
//!
//! It must not know why a slot changes.

use std::collections::VecDeque;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
        #[serde(with = "pid_number")]
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Killed then.
        deadline_ms: u64,
    },
    /// At work.
    Serving {
        /// The worker.
        #[serde(with = "pid_number")]
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Ready since.
        since_ms: u64,
    },
    /// Handing its clients over, or letting them go.
    Draining {
        /// The worker.
        #[serde(with = "pid_number")]
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Killed then.
        deadline_ms: u64,
        /// What is added to that if it reports that clients are left who cannot be handed over.
        mercy_ms: u64,
    },
    /// Replaced, and still serving clients who could not be handed over.
    Leftover {
        /// The worker.
        #[serde(with = "pid_number")]
        pid: Pid,
        /// Its configuration.
        generation: u32,
        /// Killed then.
        deadline_ms: u64,
    },
    /// Told to leave at once.
    Stopping {
        /// The worker.
        #[serde(with = "pid_number")]
        pid: Pid,
        /// Killed then.
        deadline_ms: u64,
    },
    /// Killed, not reaped yet.
    Killed {
        /// The worker.
        #[serde(with = "pid_number")]
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
            | Self::Leftover { pid, .. }
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
            | Self::Draining { generation, .. }
            | Self::Leftover { generation, .. } => Some(generation),
            Self::Killed { respawn, .. } => respawn,
            Self::Empty | Self::Stopping { .. } => None,
        }
    }

    /// The configuration that somebody may still be forked with in this slot.
    pub fn forks_with(self) -> Option<u32> {
        match self {
            Self::Abandoned { .. }
            | Self::Paused { .. }
            | Self::Forking { .. }
            | Self::Booting { .. }
            | Self::Serving { .. }
            | Self::Killed { .. } => self.generation(),
            // Who is leaving has its configuration, and is not respawned.
            Self::Empty | Self::Draining { .. } | Self::Leftover { .. } | Self::Stopping { .. } => {
                None
            }
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
            Self::Leftover { .. } => "leftover",
            Self::Stopping { .. } => "stopping",
            Self::Killed { .. } => "killed",
        }
    }

    /// When something is due if nothing else happens.
    pub(super) fn due_ms(self) -> Option<u64> {
        match self {
            Self::Paused { until_ms: due, .. }
            | Self::Booting {
                deadline_ms: due, ..
            }
            | Self::Draining {
                deadline_ms: due, ..
            }
            | Self::Leftover {
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    /// When it crashed lately, oldest first; at most `crashes_max`.
    pub(super) crashes_ms: VecDeque<u64>,
    /// Crashes since a worker last served for `stable_ms`.
    pub(super) streak: u32,
}

impl Slot {
    /// Nobody, and nothing on record.
    pub(super) fn empty() -> Self {
        Self {
            state: SlotState::Empty,
            crashes_ms: VecDeque::new(),
            streak: 0,
        }
    }
}

/// Process ids as numbers, for a new program that takes over.
mod pid_number {
    use nix::unistd::Pid;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(pid: &Pid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(pid.as_raw())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pid, D::Error> {
        i32::deserialize(from).map(Pid::from_raw)
    }
}
