//! Workers' signs of life: who has not beaten for too long, who is too old or too large. Pure.
//!
//! A beat is only compared with the one before: whose clock it is does not matter. It must not know
//! where beats come from, nor what is done about a worker.

use std::collections::BTreeMap;

/// After a renewal that has not come about, a worker is left alone for so long.
const RENEWAL_PAUSE_MS: u64 = 60_000;
/// Looks further apart than this mean that the whole machine was asleep.
const LOOK_GAP_MS_MAX: u64 = 5_000;

/// What is asked of workers; 0 is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Limits {
    pub(super) silent_ms_max: u64,
    pub(super) lifetime_ms_max: u64,
    pub(super) resident_bytes_max: u64,
}

/// A worker at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) slot: u16,
    pub(super) pid: i32,
    /// Any number that changes while the worker's loop turns.
    pub(super) beat: u64,
    /// When it began to serve; None for one that is leaving.
    pub(super) serves_since_ms: Option<u64>,
    pub(super) resident_bytes: u64,
}

/// What should become of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Its loop does not turn.
    Stuck { slot: u16 },
    /// It has served long enough.
    Old { slot: u16 },
    /// It has too much memory.
    Large { slot: u16, resident_bytes: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Record {
    pid: i32,
    beat: u64,
    beat_ms: u64,
    /// Not to be renewed before.
    renew_from_ms: u64,
}

/// What is known of the workers.
#[derive(Debug, Default)]
pub(super) struct Health {
    records: BTreeMap<u16, Record>,
    looked_ms: u64,
}

impl Health {
    /// Looks at all workers.
    pub(super) fn look(&mut self, now_ms: u64, limits: Limits, sights: &[Sight]) -> Vec<Finding> {
        let slept = now_ms.saturating_sub(self.looked_ms) > LOOK_GAP_MS_MAX;
        self.looked_ms = now_ms;
        self.records
            .retain(|slot, _| sights.iter().any(|sight| sight.slot == *slot));
        let mut findings = Vec::new();
        for sight in sights {
            let fresh = Record {
                pid: sight.pid,
                beat: sight.beat,
                beat_ms: now_ms,
                renew_from_ms: 0,
            };
            let record = self.records.entry(sight.slot).or_insert(fresh);
            if record.pid != sight.pid {
                *record = fresh;
            }
            if record.beat != sight.beat || slept {
                record.beat = sight.beat;
                record.beat_ms = now_ms;
            }
            findings.extend(record.judge(now_ms, limits, sight));
        }
        findings
    }

    /// Whether every worker has beaten within this time.
    pub(super) fn all_beat_within(&self, ms: u64, now_ms: u64) -> bool {
        self.records
            .values()
            .all(|record| now_ms.saturating_sub(record.beat_ms) <= ms)
    }
}

impl Record {
    fn judge(&mut self, now_ms: u64, limits: Limits, sight: &Sight) -> Option<Finding> {
        let slot = sight.slot;
        let above = |value: u64, max: u64| max > 0 && value >= max;
        if above(now_ms.saturating_sub(self.beat_ms), limits.silent_ms_max) {
            return Some(Finding::Stuck { slot });
        }
        let since_ms = sight.serves_since_ms?;
        if now_ms < self.renew_from_ms {
            return None;
        }
        let finding = if above(now_ms.saturating_sub(since_ms), limits.lifetime_ms_max) {
            Finding::Old { slot }
        } else if above(sight.resident_bytes, limits.resident_bytes_max) {
            let resident_bytes = sight.resident_bytes;
            Finding::Large {
                slot,
                resident_bytes,
            }
        } else {
            return None;
        };
        self.renew_from_ms = now_ms.saturating_add(RENEWAL_PAUSE_MS);
        Some(finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(slot: u16, beat: u64) -> Sight {
        Sight {
            slot,
            pid: 100 + i32::from(slot),
            beat,
            serves_since_ms: Some(0),
            resident_bytes: 10,
        }
    }

    #[test]
    fn who_does_not_beat_is_stuck() {
        let limits = Limits {
            silent_ms_max: 3_000,
            ..Limits::default()
        };
        let mut health = Health::default();
        for second in 0..3 {
            let sights = [sight(1, second), sight(2, 7)];
            assert_eq!(health.look(second * 1_000, limits, &sights), []);
        }
        assert!(health.all_beat_within(2_000, 2_000));
        let stuck = Finding::Stuck { slot: 2 };
        assert_eq!(
            health.look(3_000, limits, &[sight(1, 3), sight(2, 7)]),
            [stuck]
        );
        assert!(!health.all_beat_within(2_000, 3_000));
        let mut successor = sight(2, 7);
        successor.pid = 200;
        assert_eq!(health.look(4_000, limits, &[sight(1, 4), successor]), []);
    }

    #[test]
    fn nobody_is_stuck_because_the_machine_slept() {
        let limits = Limits {
            silent_ms_max: 3_000,
            ..Limits::default()
        };
        let mut health = Health::default();
        assert_eq!(health.look(0, limits, &[sight(1, 7)]), []);
        assert_eq!(health.look(3_600_000, limits, &[sight(1, 7)]), []);
    }

    #[test]
    fn the_old_and_the_large_are_found_once_a_minute() {
        let limits = Limits {
            lifetime_ms_max: 10_000,
            resident_bytes_max: 1_000,
            ..Limits::default()
        };
        let mut health = Health::default();
        let mut large = sight(2, 0);
        large.serves_since_ms = Some(9_000);
        large.resident_bytes = 1_000;
        let found = health.look(10_000, limits, &[sight(1, 0), large]);
        let resident_bytes = 1_000;
        let expected = [
            Finding::Old { slot: 1 },
            Finding::Large {
                slot: 2,
                resident_bytes,
            },
        ];
        assert_eq!(found, expected);
        assert_eq!(health.look(11_000, limits, &[sight(1, 0), large]), []);
        let mut leaving = sight(1, 0);
        leaving.serves_since_ms = None;
        assert_eq!(health.look(70_000, limits, &[leaving]), []);
        assert_eq!(health.look(70_000, limits, &[sight(1, 0)]), expected[..1]);
    }
}
