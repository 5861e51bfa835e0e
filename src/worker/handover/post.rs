//! Sending letters to other workers, and keeping those for which there was no room.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use log::debug;

use crate::engine::Engine;
use crate::sharedarea::{ParticipantView, SharedArea};
use crate::sys::descriptors;

use super::super::Mailboxes;
use super::super::mail::Letter;

/// What both directions need.
pub(in crate::worker) struct Post<'w> {
    pub(in crate::worker) engine: &'w mut Engine,
    pub(in crate::worker) area: &'w SharedArea,
    pub(in crate::worker) mailboxes: &'w Mailboxes,
    pub(in crate::worker) own_slot: u16,
    pub(in crate::worker) now_ms: u64,
    /// The batch that was numbered last.
    pub(in crate::worker) last_batch: &'w mut u64,
    pub(in crate::worker) unsent: &'w mut Unsent,
}

/// Letters without descriptors that wait for room in a mailbox, oldest first. There are no more than
/// batches that are neither released nor aborted: nothing else goes to a worker before what waits for it.
#[derive(Debug, Default)]
pub(in crate::worker) struct Unsent(Vec<Waiting>);

#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    to: u16,
    /// Whom it is meant for: a successor in the slot knows nothing of it.
    generation: u32,
    letter: Letter,
}

impl Unsent {
    pub(in crate::worker) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Post<'_> {
    /// Sends a letter now or not at all; `WouldBlock` as long as another waits for that worker.
    pub(super) fn send(
        &self,
        slot: u16,
        letter: &Letter,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        if self.unsent.0.iter().any(|waiting| waiting.to == slot) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.put(slot, letter, fds)
    }

    fn put(&self, slot: u16, letter: &Letter, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let peer = usize::from(slot)
            .checked_sub(1)
            .and_then(|at| self.mailboxes.peers.get(at));
        let peer = peer.ok_or(io::ErrorKind::NotFound)?;
        descriptors::send(peer.as_fd(), &letter.encode(), fds)
    }

    /// Sends a letter now or later: it is kept until it is sent or that generation of the slot is gone.
    pub(super) fn tell(&mut self, to: u16, generation: u32, letter: Letter) {
        let waiting = Waiting {
            to,
            generation,
            letter,
        };
        if !self.unsent.0.contains(&waiting) {
            self.unsent.0.push(waiting);
        }
        self.deliver();
    }

    /// Tells whoever is in the slot that a batch stays here.
    pub(in crate::worker) fn abort(&mut self, to: u16, batch: u64) {
        // When nobody is there, what was frozen there is gone, too.
        if let Some(view) = self.area.participant(to) {
            let from = self.own_slot;
            self.tell(to, view.generation, Letter::Abort { from, batch });
        }
    }

    /// Sends what waits and can be sent.
    pub(in crate::worker) fn deliver(&mut self) {
        let mut full = Vec::new();
        let mut waiting = std::mem::take(&mut self.unsent.0);
        waiting.retain(|one| {
            if full.contains(&one.to) {
                return true;
            }
            if !self.lives(one.to, one.generation) {
                return false;
            }
            match self.put(one.to, &one.letter, &[]) {
                Ok(()) => false,
                Err(error) if descriptors::may_pass(&error) => {
                    full.push(one.to);
                    true
                }
                Err(error) => {
                    debug!("worker {} cannot be told {:?}: {error}", one.to, one.letter);
                    false
                }
            }
        });
        self.unsent.0 = waiting;
    }

    /// Whether the slot has this owner still.
    pub(super) fn lives(&self, slot: u16, generation: u32) -> bool {
        let view = self.view(slot);
        view.is_some_and(|view| view.generation == generation)
    }

    pub(super) fn view(&self, slot: u16) -> Option<ParticipantView> {
        self.area.participant(slot)
    }

    /// A number that no other batch of any worker in this slot has.
    pub(super) fn number(&mut self) -> u64 {
        let generation = u64::from(self.engine.participant().generation()) << 32;
        *self.last_batch = (*self.last_batch + 1) & 0xffff_ffff;
        generation | *self.last_batch
    }
}

/// Which owner of its slot has numbered a batch.
pub(super) fn generation_of(batch: u64) -> u32 {
    u32::try_from(batch >> 32).unwrap_or(u32::MAX)
}
