//! Who gives how many clients to a worker that has come in addition, and who has the fewest. Pure.
//!
//! It must not know why somebody came.

use crate::sharedarea::ParticipantView;

/// Fewer are not worth moving.
const CLIENTS_MIN: u32 = 2;

/// What a worker has and is about to get.
pub(super) fn load(view: &ParticipantView) -> u32 {
    view.clients.saturating_add(view.reserved)
}

/// Of workers with so many clients each: who gives how many to `new`, so that all have about the same.
pub(super) fn shares(loads: &[(u16, u32)], new: u16) -> Vec<(u16, u32)> {
    let total: u64 = loads.iter().map(|(_, clients)| u64::from(*clients)).sum();
    let workers = loads.len().max(1) as u64;
    let fair = u32::try_from(total.div_ceil(workers)).unwrap_or(u32::MAX);
    let own = loads.iter().find(|(slot, _)| *slot == new);
    let mut missing = fair.saturating_sub(own.map_or(0, |(_, clients)| *clients));
    let mut gifts = Vec::new();
    for (slot, clients) in loads.iter().filter(|(slot, _)| *slot != new) {
        let gift = clients.saturating_sub(fair).min(missing);
        if gift >= CLIENTS_MIN {
            missing -= gift;
            gifts.push((*slot, gift));
        }
    }
    gifts
}

/// The slot with the fewest clients besides `slot`.
pub(super) fn least_loaded(loads: &[(u16, u32)], slot: u16) -> Option<u16> {
    let others = loads.iter().filter(|(other, _)| *other != slot);
    others
        .min_by_key(|(_, clients)| *clients)
        .map(|(other, _)| *other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gives_what_is_above_the_fair_share() {
        assert_eq!(shares(&[(1, 90), (2, 60), (3, 0)], 3), [(1, 40), (2, 10)]);
        assert_eq!(shares(&[(1, 100), (2, 0)], 2), [(1, 50)]);
        let loads = [(1, 7_000), (2, 7_000), (3, 500), (4, 0)];
        let gifts = shares(&loads, 4);
        assert_eq!(gifts, [(1, 3_375), (2, 250)], "no more than it needs");
    }

    #[test]
    fn small_differences_are_left_alone() {
        assert_eq!(shares(&[(1, 2), (2, 1)], 2), []);
        assert_eq!(shares(&[(1, 0), (2, 0)], 2), []);
        assert_eq!(shares(&[], 2), []);
    }

    #[test]
    fn the_least_loaded_is_somebody_else() {
        assert_eq!(least_loaded(&[(1, 5), (2, 3), (3, 9)], 2), Some(1));
        assert_eq!(least_loaded(&[(2, 3)], 2), None);
    }
}
