//! Which worker a newly accepted client goes to.
//!
//! WebSockets live long, so an uneven start stays uneven. The kernel wakes whom it likes; whoever
//! has accepted looks at the board and passes the client on if another worker has clearly fewer.
//! Pure; it must not know how a client is passed on.

use crate::sharedarea::{ParticipantKind, ParticipantState, ParticipantView};

/// A difference of so many clients is not worth a hand-over.
const SLACK_CLIENTS: u32 = 2;
/// Nor is one of one part in so many of the fewest.
const SLACK_SHARE: u32 = 50;
/// Places that are reserved for so long without a letter are reserved by the dead.
const UNCLAIMED_MS: u64 = 1_000;

/// The slot with the fewest clients, if `mine` are clearly more; `None`: keep it.
pub(super) fn better_slot(
    views: impl Iterator<Item = ParticipantView>,
    own_slot: u16,
    mine: u32,
) -> Option<u16> {
    let (fewest, slot) = fewest(views, own_slot)?;
    let slack = SLACK_CLIENTS.max(fewest / SLACK_SHARE);
    (mine > fewest.saturating_add(slack)).then_some(slot)
}

/// The slot with the fewest clients, if `mine` are more at all: for a client that cannot stay. It has
/// been passed on for ever fewer clients, so it does not go round in circles.
pub(super) fn other_slot(
    views: impl Iterator<Item = ParticipantView>,
    own_slot: u16,
    mine: u32,
) -> Option<u16> {
    let (fewest, slot) = fewest(views, own_slot)?;
    (mine > fewest).then_some(slot)
}

/// The fewest clients of another worker that takes some, those on their way counted, and its slot.
fn fewest(views: impl Iterator<Item = ParticipantView>, own_slot: u16) -> Option<(u32, u16)> {
    views
        .filter(|view| view.slot != own_slot && view.kind == ParticipantKind::Worker)
        .filter(|view| view.state == ParticipantState::Ready)
        .map(|view| (view.clients.saturating_add(view.reserved), view.slot))
        .min()
}

/// Places that others have reserved here and do not claim. A worker that dies between its reservation
/// and its letter leaves one, and this one would seem to have more clients than it has, for ever.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    since_ms: Option<u64>,
}

impl Unclaimed {
    /// A letter has come: who reserves still claims.
    pub(super) fn claimed(&mut self) {
        self.since_ms = None;
    }

    /// Whether nobody will claim what is reserved.
    pub(super) fn is_over(&mut self, is_reserved: bool, now_ms: u64) -> bool {
        if !is_reserved {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        now_ms >= since_ms + UNCLAIMED_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(slot: u16, clients: u32, reserved: u32) -> ParticipantView {
        ParticipantView {
            slot,
            generation: 1,
            pid: 1,
            kind: ParticipantKind::Worker,
            state: ParticipantState::Ready,
            clients,
            reserved,
            subscriptions: 0,
            cursor: 0,
            beat_us: 0,
            delivered: 0,
            lapped: 0,
            stale: 0,
            pin: None,
        }
    }

    #[test]
    fn it_goes_to_the_fewest_when_that_is_clearly_fewer() {
        let views = [view(1, 10, 0), view(2, 3, 4), view(3, 3, 0)];
        assert_eq!(better_slot(views.into_iter(), 1, 10), Some(3));
        assert_eq!(better_slot(views.into_iter(), 1, 6), Some(3));
        assert_eq!(better_slot(views.into_iter(), 1, 5), None);
        assert_eq!(better_slot(views.into_iter(), 3, 10), Some(2));
    }

    #[test]
    fn large_numbers_allow_a_larger_difference() {
        assert_eq!(better_slot([view(2, 1000, 0)].into_iter(), 1, 1020), None);
        assert_eq!(
            better_slot([view(2, 1000, 0)].into_iter(), 1, 1021),
            Some(2)
        );
    }

    #[test]
    fn only_workers_that_accept_count() {
        let mut draining = view(2, 0, 0);
        draining.state = ParticipantState::Draining;
        let mut master = view(0, 0, 0);
        master.kind = ParticipantKind::Master;
        assert_eq!(better_slot([draining, master].into_iter(), 1, 100), None);
        assert_eq!(better_slot(std::iter::empty(), 1, 100), None);
    }

    #[test]
    fn who_cannot_stay_goes_where_there_are_fewer_at_all() {
        let views = [view(2, 9, 0), view(3, 7, 1)];
        assert_eq!(other_slot(views.into_iter(), 1, 9), Some(3));
        assert_eq!(other_slot(views.into_iter(), 1, 8), None);
        assert_eq!(other_slot(views.into_iter(), 3, 10), Some(2));
    }

    #[test]
    fn reservations_without_letters_are_over_after_a_while() {
        let mut unclaimed = Unclaimed::default();
        assert!(!unclaimed.is_over(false, 0));
        assert!(!unclaimed.is_over(true, 5_000));
        assert!(!unclaimed.is_over(true, 5_900));
        unclaimed.claimed();
        assert!(!unclaimed.is_over(true, 6_100), "there was a letter");
        assert!(!unclaimed.is_over(true, 7_000));
        assert!(!unclaimed.is_over(false, 7_050));
        assert!(!unclaimed.is_over(true, 7_100), "that is another one");
        assert!(!unclaimed.is_over(true, 8_099));
        assert!(unclaimed.is_over(true, 8_100));
    }
}
