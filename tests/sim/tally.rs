//! How often things happened in the simulation: a run in which some never did has shown nothing about them.

use bellwether::master::supervisor::{Change, Notice};

/// How often things happened over all seeds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) reloads_done: u64,
    pub(super) reloads_failed: u64,
    pub(super) reloads_refused: u64,
    pub(super) upgrades_done: u64,
    pub(super) renewals_done: u64,
    pub(super) scaled: u64,
    pub(super) scaled_short: u64,
    pub(super) pauses: u64,
    pub(super) stuck: u64,
    pub(super) probes_overdue: u64,
    pub(super) storms: u64,
    pub(super) cannot_boot: u64,
    pub(super) nobody_left: u64,
    pub(super) overdue: u64,
    pub(super) jumps: u64,
    pub(super) clean_ends: u64,
    pub(super) leftovers: u64,
    pub(super) leftovers_crashed: u64,
    pub(super) leftovers_killed: u64,
    pub(super) leftovers_stopped: u64,
    pub(super) leftovers_upgraded: u64,
    pub(super) reloads_over_leftovers: u64,
    pub(super) reloads_with_leftovers: u64,
    pub(super) crowded: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.reloads_done += other.reloads_done;
        self.reloads_failed += other.reloads_failed;
        self.reloads_refused += other.reloads_refused;
        self.upgrades_done += other.upgrades_done;
        self.renewals_done += other.renewals_done;
        self.scaled += other.scaled;
        self.scaled_short += other.scaled_short;
        self.pauses += other.pauses;
        self.stuck += other.stuck;
        self.probes_overdue += other.probes_overdue;
        self.storms += other.storms;
        self.cannot_boot += other.cannot_boot;
        self.nobody_left += other.nobody_left;
        self.overdue += other.overdue;
        self.jumps += other.jumps;
        self.clean_ends += other.clean_ends;
        self.leftovers += other.leftovers;
        self.leftovers_crashed += other.leftovers_crashed;
        self.leftovers_killed += other.leftovers_killed;
        self.leftovers_stopped += other.leftovers_stopped;
        self.leftovers_upgraded += other.leftovers_upgraded;
        self.reloads_over_leftovers += other.reloads_over_leftovers;
        self.reloads_with_leftovers += other.reloads_with_leftovers;
        self.crowded += other.crowded;
    }

    pub(super) fn assert_everything_happened(&self) {
        let Self {
            reloads_done,
            reloads_failed,
            reloads_refused,
            upgrades_done,
            renewals_done,
            scaled,
            scaled_short,
            pauses,
            stuck,
            probes_overdue,
            storms,
            cannot_boot,
            nobody_left,
            overdue,
            jumps,
            clean_ends,
            leftovers,
            leftovers_crashed,
            leftovers_killed,
            leftovers_stopped,
            leftovers_upgraded,
            reloads_over_leftovers,
            reloads_with_leftovers,
            crowded,
        } = *self;
        let counts = [
            reloads_done,
            reloads_failed,
            reloads_refused,
            upgrades_done,
            renewals_done,
            scaled,
            scaled_short,
            pauses,
            stuck,
            probes_overdue,
            storms,
            cannot_boot,
            nobody_left,
            overdue,
            jumps,
            clean_ends,
            leftovers,
            leftovers_crashed,
            leftovers_killed,
            leftovers_stopped,
            leftovers_upgraded,
            reloads_over_leftovers,
            reloads_with_leftovers,
            crowded,
        ];
        assert!(counts.iter().all(|count| *count > 0), "{self:?}");
    }

    pub(super) fn count(&mut self, notice: &Notice) {
        match notice {
            Notice::ReloadDone {
                change, leftovers, ..
            } => {
                self.reloads_with_leftovers += u64::from(leftovers.workers > 0);
                match change {
                    Change::Reload => self.reloads_done += 1,
                    Change::Upgrade => self.upgrades_done += 1,
                    Change::Renewal => self.renewals_done += 1,
                }
            }
            Notice::ReloadFailed { .. } => self.reloads_failed += 1,
            Notice::ReloadRefused { .. } => self.reloads_refused += 1,
            Notice::Scaled {
                serving, wanted, ..
            } if serving == wanted => self.scaled += 1,
            Notice::Scaled { .. } => self.scaled_short += 1,
            Notice::Accepting { .. } => self.pauses += 1,
            Notice::ReloadCrowded { .. } => self.crowded += 1,
            Notice::Stuck { .. } => self.stuck += 1,
            Notice::ProbeOverdue { .. } => self.probes_overdue += 1,
            Notice::Storm { .. } => self.storms += 1,
            Notice::CannotBoot { .. } => self.cannot_boot += 1,
            Notice::NobodyLeft => self.nobody_left += 1,
            Notice::Overdue { .. } => self.overdue += 1,
            Notice::AllReady { .. }
            | Notice::Ready { .. }
            | Notice::Moved { .. }
            | Notice::Crashed { .. }
            | Notice::Left { .. }
            | Notice::ReloadBegins { .. }
            | Notice::ReloadQueued { .. }
            | Notice::ReloadIgnored { .. }
            | Notice::Scaling { .. }
            | Notice::ScaleIgnored
            | Notice::Replaced { .. }
            | Notice::Draining { .. }
            | Notice::StoppingNow => {}
        }
    }
}
