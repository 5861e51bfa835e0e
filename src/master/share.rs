//! Who gives how many clients to a worker that has come in addition, and who has the fewest. Pure.
//!
//! It must not know why somebody came.

use std::collections::BTreeMap;

use crate::sharedarea::ParticipantView;

/// Fewer are not worth moving.
const CLIENTS_MIN: u32 = 2;

/// So often the others are asked to give a new worker its share: who is busy giving to somebody else
/// does not listen.
const TRIES: u8 = 10;

/// New workers, and how often the others are still asked.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    tries_left: BTreeMap<u16, u8>,
}

impl Sharing {
    /// A worker has come.
    pub(super) fn begin(&mut self, slot: u16) {
        self.tries_left.insert(slot, TRIES);
    }

    pub(super) fn is_over(&self) -> bool {
        self.tries_left.is_empty()
    }

    /// Who is to be asked now for how many clients, and for whom; with what each of them has.
    pub(super) fn gifts(&mut self, loads: &[(u16, u32)]) -> Vec<(u16, u32, u16)> {
        let mut gifts: Vec<(u16, u32, u16)> = Vec::new();
        self.tries_left.retain(|slot, tries_left| {
            if !loads.iter().any(|(known, _)| known == slot) {
                return false;
            }
            let before = gifts.len();
            for (giver, clients) in shares(loads, *slot) {
                if !gifts.iter().any(|(busy, ..)| *busy == giver) {
                    gifts.push((giver, clients, *slot));
                }
            }
            let wanted = !shares(loads, *slot).is_empty();
            *tries_left = tries_left.saturating_sub(u8::from(gifts.len() > before));
            wanted && *tries_left > 0
        });
        gifts
    }
}

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
    fn a_giver_gives_to_one_at_a_time_until_all_have_enough() {
        let mut sharing = Sharing::default();
        sharing.begin(2);
        sharing.begin(3);
        assert_eq!(sharing.gifts(&[(1, 30), (2, 0), (3, 0)]), [(1, 10, 2)]);
        assert_eq!(sharing.gifts(&[(1, 20), (2, 10), (3, 0)]), [(1, 10, 3)]);
        assert!(!sharing.is_over());
        assert_eq!(sharing.gifts(&[(1, 10), (2, 10), (3, 10)]), []);
        assert!(sharing.is_over());
        sharing.begin(4);
        assert_eq!(sharing.gifts(&[(1, 10)]), [], "it is gone");
        assert!(sharing.is_over());
        sharing.begin(2);
        let tries = (0..100).take_while(|_| !sharing.gifts(&[(1, 9), (2, 0)]).is_empty());
        assert_eq!(
            tries.count(),
            usize::from(TRIES),
            "nobody is asked for ever"
        );
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
