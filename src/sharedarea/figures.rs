//! What a participant shows of itself in the board, and the places that others reserve with it. It must
//! not know what is published.

use std::sync::atomic::Ordering;

use super::algorithm::board;
use super::algorithm::memory::Memory;
use super::participant::{Participant, ParticipantState};

impl Participant {
    fn show32(&self, field: usize, value: u32) {
        let at = board::participant(self.identity.slot, field);
        self.objects().board32(at).store(value, Ordering::Relaxed);
    }

    fn show64(&self, field: usize, value: u64) {
        let at = board::participant(self.identity.slot, field);
        self.objects().board64(at).store(value, Ordering::Relaxed);
    }

    fn count(&self, field: usize, more: u64) {
        // Only the slot's owner writes these, so no exchange is needed.
        let word = self
            .objects()
            .board64(board::participant(self.identity.slot, field));
        word.store(
            word.load(Ordering::Relaxed).wrapping_add(more),
            Ordering::Relaxed,
        );
    }

    /// Shows what this process is doing.
    pub fn set_state(&self, state: ParticipantState) {
        let at = board::participant(self.identity.slot, board::PARTICIPANT_STATE);
        self.objects()
            .board32(at)
            .store(state as u32, Ordering::SeqCst);
    }

    /// Shows the number of connected clients.
    pub fn set_clients(&self, clients: u32) {
        self.show32(board::PARTICIPANT_CLIENTS, clients);
    }

    /// Shows the number of subscriptions of all clients.
    pub fn set_subscriptions(&self, subscriptions: u32) {
        self.show32(board::PARTICIPANT_SUBSCRIPTIONS, subscriptions);
    }

    /// Shows the last entry this process has processed.
    pub fn set_cursor(&self, seq: u64) {
        self.show64(board::PARTICIPANT_CURSOR, seq);
    }

    /// Shows that the loop turns.
    pub fn beat(&self, now_us: u64) {
        self.show64(board::PARTICIPANT_BEAT_US, now_us);
    }

    /// Counts deliveries of entries to clients.
    pub fn count_delivered(&self, deliveries: u64) {
        self.count(board::PARTICIPANT_DELIVERED, deliveries);
    }

    /// Counts clients that were lapped.
    pub fn count_lapped(&self, clients: u64) {
        self.count(board::PARTICIPANT_LAPPED, clients);
    }

    /// Counts deliveries of announced ranges left out because the range had changed.
    pub fn count_stale(&self, deliveries: u64) {
        self.count(board::PARTICIPANT_STALE, deliveries);
    }

    /// Reserves a place in another participant before a client is handed over to it, so that others do
    /// not choose it too. `false`: it is not ready to take clients.
    #[must_use]
    pub fn reserve(&self, slot: u16) -> bool {
        if slot >= board::PARTICIPANT_COUNT {
            return false;
        }
        let half = |field| self.objects().board32(board::participant(slot, field));
        // Reserve, then look; the other shows that it drains, then looks whether anything is reserved
        // (`set_state`, `is_reserved`). With one order of all four, one of the two sees the other.
        half(board::PARTICIPANT_RESERVED).fetch_add(1, Ordering::SeqCst);
        let state = half(board::PARTICIPANT_STATE).load(Ordering::SeqCst);
        let ready = ParticipantState::of_word(state) == Some(ParticipantState::Ready);
        if !ready {
            self.release_reservation(slot);
        }
        ready
    }

    /// Whether somebody is about to hand a client to this process. Once it has shown that it drains and
    /// this is `false`, nobody will any more.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let at = board::participant(self.identity.slot, board::PARTICIPANT_RESERVED);
        self.objects().board32(at).load(Ordering::SeqCst) > 0
    }

    /// Forgets what is reserved here; returns how much that was. Who should still come finds room
    /// all the same: giving back a reservation that there is none of does nothing.
    pub fn forget_reservations(&self) -> u32 {
        let at = board::participant(self.identity.slot, board::PARTICIPANT_RESERVED);
        self.objects().board32(at).swap(0, Ordering::SeqCst)
    }

    /// Gives a reservation back: the receiver for its own slot once it has the client, the sender for
    /// the other's when the hand-over failed.
    pub fn release_reservation(&self, slot: u16) {
        if slot >= board::PARTICIPANT_COUNT {
            return;
        }
        let at = board::participant(slot, board::PARTICIPANT_RESERVED);
        // A respawned worker starts at 0 and may still find clients that were sent to its predecessor.
        let _none_left = self.objects().board32(at).fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            |reserved| reserved.checked_sub(1),
        );
    }
}
