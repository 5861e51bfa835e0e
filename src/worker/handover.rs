//! Moving clients to another worker, batch by batch, over the mailboxes.
//!
//! ```text
//! sender:    freeze ─ Move ──▶        ──▶ Release ─ gone
//! receiver:            revive, Taken ──┘             └▶ admit
//! ```
//!
//! Until the Release is sent, the sender owns the clients: whatever goes wrong, it gives them back
//! to itself. From then on the receiver does. What a client is, only the engine knows.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use log::{debug, info, warn};

use crate::engine::{Arrival, Engine, Shipment};
use crate::event_loop::Key;
use crate::sharedarea::{ParticipantState, SharedArea};
use crate::sys::descriptors;

use super::Mailboxes;
use super::mail::{self, BATCH_CLIENTS_MAX, Letter};

/// Batches on their way at the same time. The kernel limits descriptors in flight.
const BATCHES_MAX: usize = 4;
/// Bytes of descriptions in one batch; a client with more travels alone.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A batch that is not answered in this time stays here.
const ANSWER_MS: u64 = 5_000;
/// What has come and was neither released nor aborted is looked at after this time.
const ARRIVAL_MS: u64 = 2 * ANSWER_MS;

/// Clients that this worker is giving away.
#[derive(Debug)]
pub(super) struct Departure {
    to: u16,
    queue: Vec<Key>,
    batches: Vec<Batch>,
    /// How many may still be given away.
    clients_left: usize,
    moved: usize,
    begun_ms: u64,
}

#[derive(Debug)]
struct Batch {
    id: u64,
    shipments: Vec<Shipment>,
    sent_ms: u64,
}

/// Clients that others have frozen for this worker.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    batches: HashMap<(u16, u64), Offer>,
}

#[derive(Debug)]
struct Offer {
    taken: Vec<Option<Arrival>>,
    come_ms: u64,
}

/// What both directions need.
pub(super) struct Post<'w> {
    pub(super) engine: &'w mut Engine,
    pub(super) area: &'w SharedArea,
    pub(super) mailboxes: &'w Mailboxes,
    pub(super) own_slot: u16,
    /// The batch that was numbered last.
    pub(super) last_batch: &'w mut u64,
}

impl Post<'_> {
    fn send(&self, slot: u16, letter: &Letter, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let peer = usize::from(slot)
            .checked_sub(1)
            .and_then(|at| self.mailboxes.peers.get(at));
        let peer = peer.ok_or(io::ErrorKind::NotFound)?;
        descriptors::send(peer.as_fd(), &letter.encode(), fds)
    }

    /// A number that no other batch of any worker in this slot has.
    fn number(&mut self) -> u64 {
        let generation = u64::from(self.engine.participant().generation()) << 32;
        *self.last_batch = (*self.last_batch + 1) & 0xffff_ffff;
        generation | *self.last_batch
    }

    fn serves(&self, slot: u16) -> bool {
        let view = self.area.participant(slot);
        view.is_some_and(|view| view.state == ParticipantState::Ready)
    }
}

impl Departure {
    /// Gives up to `clients_max` clients to the worker in slot `to`.
    pub(super) fn new(engine: &Engine, to: u16, clients_max: usize) -> Self {
        Self {
            to,
            queue: engine.keys(),
            batches: Vec::new(),
            clients_left: clients_max,
            moved: 0,
            begun_ms: engine.now_ms(),
        }
    }

    /// One that has nobody to give away.
    pub(super) fn over(to: u16) -> Self {
        Self {
            to,
            queue: Vec::new(),
            batches: Vec::new(),
            clients_left: 0,
            moved: 0,
            begun_ms: 0,
        }
    }

    /// Sends what may be sent. Whether it is over: everybody who can be moved is.
    pub(super) fn turn(&mut self, post: &mut Post<'_>) -> bool {
        let now_ms = post.engine.now_ms();
        let late = |batch: &Batch| now_ms >= batch.sent_ms + ANSWER_MS;
        if !post.serves(self.to) || self.batches.iter().any(late) {
            warn!("worker {} does not take our clients, they stay", self.to);
            self.abandon(post);
            return true;
        }
        while self.batches.len() < BATCHES_MAX && !self.queue.is_empty() && self.clients_left > 0 {
            if !self.send_batch(post) {
                break;
            }
        }
        let over = self.batches.is_empty() && (self.queue.is_empty() || self.clients_left == 0);
        if over {
            let ms = now_ms.saturating_sub(self.begun_ms);
            info!(
                "handed {} clients over to worker {} in {ms} ms",
                self.moved, self.to
            );
        }
        over
    }

    /// Whether it makes sense to try another one at once.
    fn send_batch(&mut self, post: &mut Post<'_>) -> bool {
        let mut shipments: Vec<Shipment> = Vec::new();
        let mut bytes = 0;
        while let Some(key) = self.queue.pop() {
            if let Some(shipment) = post.engine.freeze(key) {
                bytes += shipment.record.len();
                shipments.push(shipment);
            }
            let full = shipments.len() >= BATCH_CLIENTS_MAX.min(self.clients_left);
            if full || bytes >= BATCH_BYTES_MAX {
                break;
            }
        }
        if shipments.is_empty() {
            return true;
        }
        let id = post.number();
        match send_move(post, self.to, id, &shipments) {
            Ok(()) => {
                self.clients_left -= shipments.len();
                self.batches.push(Batch {
                    id,
                    shipments,
                    sent_ms: post.engine.now_ms(),
                });
                true
            }
            Err(error) => {
                debug!("a batch of clients cannot be sent now: {error}");
                for shipment in shipments {
                    post.engine.give_back(&shipment);
                    self.queue.push(shipment.key);
                }
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.queue.clear();
                }
                false
            }
        }
    }

    /// The other worker has answered.
    pub(super) fn taken(&mut self, post: &mut Post<'_>, by: u16, id: u64, yes: &[bool]) {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else {
            // Too late: the clients are ours again.
            return abort(post, by, id);
        };
        let batch = self.batches.swap_remove(at);
        let mut kept = Vec::new();
        let mut late = Vec::new();
        for (at, shipment) in batch.shipments.iter().enumerate() {
            let released = match yes.get(at) {
                Some(true) => post.engine.release(shipment),
                Some(false) | None => {
                    post.engine.give_back(shipment);
                    None
                }
            };
            kept.push(released.is_some());
            late.push(released.unwrap_or_default());
        }
        self.moved += kept.iter().filter(|released| **released).count();
        if let Err(error) = send_release(post, by, id, kept, &late) {
            // They are nobody's now; that is what the death of a worker does, and no more often.
            warn!("released clients are lost, worker {by} cannot be told: {error}");
        }
    }

    /// Everybody who is on the way stays here.
    pub(super) fn abandon(&mut self, post: &mut Post<'_>) {
        self.queue.clear();
        for batch in self.batches.drain(..) {
            for shipment in &batch.shipments {
                post.engine.give_back(shipment);
            }
            abort(post, self.to, batch.id);
        }
    }
}

impl Arrivals {
    /// Another worker offers clients, whose descriptors come behind the file of descriptions.
    pub(super) fn offered(
        &mut self,
        post: &mut Post<'_>,
        (from, batch): (u16, u64),
        fds: Vec<OwnedFd>,
        clients_max: usize,
    ) {
        let mut fds = fds.into_iter();
        let Some(file) = fds.next() else {
            return;
        };
        let records = mail::disclose(&file, fds.len()).unwrap_or_else(|error| {
            warn!("the descriptions of clients from worker {from} cannot be read: {error}");
            Vec::new()
        });
        let taken: Vec<Option<Arrival>> = fds
            .enumerate()
            .map(|(at, fd)| {
                let room = post.engine.clients() < clients_max;
                let record = records.get(at).filter(|_| room)?;
                post.engine.receive_frozen(fd, record)
            })
            .collect();
        let yes = taken.iter().map(Option::is_some).collect();
        let letter = Letter::Taken {
            by: post.own_slot,
            batch,
            yes,
        };
        match post.send(from, &letter, &[]) {
            Ok(()) => {
                let come_ms = post.engine.now_ms();
                self.batches.insert((from, batch), Offer { taken, come_ms });
            }
            Err(error) => {
                debug!("worker {from} cannot be answered, its clients stay there: {error}");
                turn_away(post.engine, taken);
            }
        }
    }

    /// Those marked are ours.
    pub(super) fn released(
        &mut self,
        post: &mut Post<'_>,
        (from, batch): (u16, u64),
        yes: &[bool],
        file: Option<&OwnedFd>,
    ) {
        let Some(offer) = self.batches.remove(&(from, batch)) else {
            return;
        };
        let late = file.map(|file| mail::disclose(file, offer.taken.len()));
        let late = late.transpose().unwrap_or_else(|error| {
            warn!("what has gathered for clients of worker {from} cannot be read: {error}");
            None
        });
        let late = late.unwrap_or_default();
        for (at, arrival) in offer.taken.into_iter().enumerate() {
            match (arrival, yes.get(at)) {
                (Some(arrival), Some(true)) => {
                    let late = late.get(at).map_or(&[][..], Vec::as_slice);
                    post.engine.admit(&arrival, late);
                }
                (Some(arrival), _) => post.engine.turn_away(&arrival),
                (None, _) => {}
            }
        }
    }

    /// They stay where they are.
    pub(super) fn aborted(&mut self, engine: &mut Engine, from: u16, batch: u64) {
        if let Some(offer) = self.batches.remove(&(from, batch)) {
            turn_away(engine, offer.taken);
        }
    }

    /// Forgets what came from workers that died before they released it.
    pub(super) fn turn(&mut self, post: &mut Post<'_>) {
        let now_ms = post.engine.now_ms();
        let dead: Vec<(u16, u64)> = self
            .batches
            .iter()
            .filter(|(_, offer)| now_ms >= offer.come_ms + ARRIVAL_MS)
            .map(|(name, _)| *name)
            .filter(|(from, batch)| {
                let view = post.area.participant(*from);
                view.is_none_or(|view| u64::from(view.generation) != batch >> 32)
            })
            .collect();
        for (from, batch) in dead {
            self.aborted(post.engine, from, batch);
        }
    }
}

fn turn_away(engine: &mut Engine, taken: Vec<Option<Arrival>>) {
    for arrival in taken.into_iter().flatten() {
        engine.turn_away(&arrival);
    }
}

fn send_move(post: &Post<'_>, to: u16, batch: u64, shipments: &[Shipment]) -> io::Result<()> {
    let file = mail::enclose(shipments.iter().map(|shipment| shipment.record.as_slice()))?;
    let mut fds = vec![file.as_fd()];
    for shipment in shipments {
        // One left out would give all behind it the description of another.
        let fd = post.engine.descriptor(shipment);
        fds.push(fd.ok_or(io::ErrorKind::NotFound)?);
    }
    post.send(
        to,
        &Letter::Move {
            from: post.own_slot,
            batch,
        },
        &fds,
    )
}

fn send_release(
    post: &Post<'_>,
    to: u16,
    batch: u64,
    yes: Vec<bool>,
    late: &[Vec<u8>],
) -> io::Result<()> {
    let letter = Letter::Release {
        from: post.own_slot,
        batch,
        yes,
    };
    if late.iter().all(Vec::is_empty) {
        return post.send(to, &letter, &[]);
    }
    let file = mail::enclose(late.iter().map(Vec::as_slice))?;
    post.send(to, &letter, &[file.as_fd()])
}

/// Best effort: who does not hear it forgets the batch when we are gone.
fn abort(post: &Post<'_>, to: u16, batch: u64) {
    if let Err(error) = post.send(
        to,
        &Letter::Abort {
            from: post.own_slot,
            batch,
        },
        &[],
    ) {
        debug!("worker {to} cannot be told that clients stay: {error}");
    }
}
