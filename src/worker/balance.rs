//! Which worker a newly accepted client goes to.
//!
//! WebSockets live long, so an uneven start stays uneven. The kernel wakes whom it likes; whoever
//! has accepted looks at the board and passes the client on if another worker has clearly fewer.

use crate::sharedarea::{ParticipantKind, ParticipantState, ParticipantView};

/// A difference of so many clients is not worth a hand-over.
const SLACK_CLIENTS: u32 = 2;
/// Nor is one of one part in so many of the fewest.
const SLACK_SHARE: u32 = 50;

/// The slot with the fewest clients, if `mine` are clearly more; `None`: keep it.
pub(super) fn better_slot(
    views: impl Iterator<Item = ParticipantView>,
    own_slot: u16,
    mine: u32,
) -> Option<u16> {
    let (fewest, slot) = views
        .filter(|view| view.slot != own_slot && view.kind == ParticipantKind::Worker)
        .filter(|view| view.state == ParticipantState::Ready)
        .map(|view| (view.clients.saturating_add(view.reserved), view.slot))
        .min()?;
    let slack = SLACK_CLIENTS.max(fewest / SLACK_SHARE);
    (mine > fewest.saturating_add(slack)).then_some(slot)
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
}
