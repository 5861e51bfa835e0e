//! The sender's side: clients that this worker is giving away.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;

use log::{debug, info, warn};

use crate::engine::Shipment;
use crate::event_loop::Key;
use crate::sharedarea::ParticipantState;
use crate::status::counted;
use crate::sys::descriptors;

use super::super::mail::{self, BATCH_CLIENTS_MAX, Letter};
use super::ANSWER_MS;
use super::post::Post;

/// Batches on their way at the same time. The kernel limits descriptors in flight.
const BATCHES_MAX: usize = 4;
/// Bytes of descriptions in one batch; a client with more travels alone.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// When the other's mailbox has had no room, it is tried again after this time.
const RETRY_MS: u64 = 20;

/// Clients that this worker is giving away.
#[derive(Debug)]
pub(in crate::worker) struct Departure {
    to: u16,
    /// Which owner of that slot: its successor has not been asked.
    generation: u32,
    queue: Vec<Key>,
    /// Everybody is to go, those who can be moved only later too.
    everybody: bool,
    /// Who was not taken is not offered again.
    returned: HashSet<Key>,
    batches: Vec<Batch>,
    /// How many may still be given away.
    clients_left: usize,
    moved: usize,
    begun_ms: u64,
    blocked: Option<Blocked>,
}

#[derive(Debug)]
struct Batch {
    id: u64,
    shipments: Vec<Shipment>,
    sent_ms: u64,
    /// Which of them are taken; those wait for room for the letter that releases them.
    answer: Option<Vec<bool>>,
}

/// A letter could not be sent.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    since_ms: u64,
    again_ms: u64,
}

impl Departure {
    /// Gives up to `clients_max` clients to the worker in slot `to`.
    pub(in crate::worker) fn new(post: &Post<'_>, to: u16, clients_max: usize) -> Self {
        Self {
            to,
            generation: post.view(to).map_or(0, |view| view.generation),
            queue: post.engine.keys(),
            everybody: clients_max == usize::MAX,
            returned: HashSet::new(),
            batches: Vec::new(),
            clients_left: clients_max,
            moved: 0,
            begun_ms: post.now_ms,
            blocked: None,
        }
    }

    /// Sends what may be sent. Whether it is over: everybody who can be moved is, and nobody is
    /// `awaited` who would have to go as well.
    pub(in crate::worker) fn turn(&mut self, post: &mut Post<'_>, awaited: bool) -> bool {
        let now_ms = post.now_ms;
        let is_late = |since_ms: u64| now_ms >= since_ms + ANSWER_MS;
        let late = self.batches.iter().any(|batch| is_late(batch.sent_ms))
            || self
                .blocked
                .is_some_and(|blocked| is_late(blocked.since_ms));
        if late || !self.receiver_serves(post) {
            warn!("worker {} does not take our clients, they stay", self.to);
            self.abandon(post);
            return true;
        }
        if self
            .blocked
            .is_none_or(|blocked| now_ms >= blocked.again_ms)
        {
            self.go_on(post);
        }
        if self.everybody && self.batches.is_empty() && self.queue.is_empty() {
            // Whoever was in the middle of something may have finished it by now.
            self.queue = post.engine.keys();
            self.queue.retain(|key| !self.returned.contains(key));
            self.go_on(post);
        }
        let over = self.batches.is_empty()
            && (self.clients_left == 0 || (self.queue.is_empty() && !awaited));
        if over {
            let ms = now_ms.saturating_sub(self.begun_ms);
            info!(
                "handed {} over to worker {} in {ms} ms",
                counted(self.moved, "client"),
                self.to
            );
        }
        over
    }

    fn receiver_serves(&self, post: &Post<'_>) -> bool {
        post.view(self.to).is_some_and(|view| {
            view.state == ParticipantState::Ready && view.generation == self.generation
        })
    }

    /// Releases those that were taken, then offers more.
    fn go_on(&mut self, post: &mut Post<'_>) {
        while let Some(at) = self.batches.iter().position(|batch| batch.answer.is_some()) {
            if !self.release(post, at) {
                return;
            }
        }
        while self.batches.len() < BATCHES_MAX && !self.queue.is_empty() && self.clients_left > 0 {
            if !self.send_batch(post) {
                return;
            }
        }
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
        let sent = send_move(post, self.to, id, &shipments);
        if sent.is_ok() {
            self.clients_left -= shipments.len();
            self.batches.push(Batch {
                id,
                shipments,
                sent_ms: post.now_ms,
                answer: None,
            });
        } else {
            for shipment in shipments {
                post.engine.keep(&shipment);
                self.queue.push(shipment.key);
            }
        }
        self.note(post, sent)
    }

    /// The other worker has answered.
    pub(in crate::worker) fn taken(
        &mut self,
        post: &mut Post<'_>,
        by: u16,
        id: u64,
        yes: Vec<bool>,
    ) {
        let batch = self.batches.iter().position(|batch| batch.id == id);
        // Only who was asked may answer; its successor or whoever leaves does not count.
        let batch = batch.filter(|_| by == self.to && self.receiver_serves(post));
        match batch.and_then(|at| Some((at, self.batches.get_mut(at)?))) {
            Some((at, batch)) => {
                batch.answer = Some(yes);
                self.release(post, at);
            }
            // Too late: the clients are ours again.
            None => post.abort(by, id),
        }
    }

    /// Gives a batch that was answered out of our hands, and takes back what the other does not want.
    /// Whether that could be told to the other; else all of it is ours, frozen, until a later turn.
    fn release(&mut self, post: &mut Post<'_>, at: usize) -> bool {
        let Some(batch) = self.batches.get(at) else {
            return true;
        };
        let yes = batch.answer.as_deref().unwrap_or_default();
        let late: Vec<Option<Vec<u8>>> = batch
            .shipments
            .iter()
            .enumerate()
            .map(|(at, shipment)| {
                let taken = yes.get(at).copied().unwrap_or(false);
                taken.then(|| post.engine.late(shipment)).flatten()
            })
            .collect();
        let sent = send_release(post, self.to, batch.id, &late);
        let hopeless = matches!(&sent, Err(error) if !descriptors::may_pass(error));
        if sent.is_ok() || hopeless {
            let batch = self.batches.swap_remove(at);
            for (shipment, late) in batch.shipments.iter().zip(&late) {
                if sent.is_ok() && late.is_some() {
                    post.engine.release(shipment);
                    self.moved += 1;
                } else {
                    post.engine.give_back(shipment);
                    self.returned.insert(shipment.key);
                }
            }
            if hopeless {
                post.abort(self.to, batch.id);
            }
        }
        self.note(post, sent)
    }

    /// What becomes of the rest after a letter was sent or not. Whether it was.
    fn note(&mut self, post: &Post<'_>, sent: io::Result<()>) -> bool {
        let now_ms = post.now_ms;
        match sent {
            Ok(()) => self.blocked = None,
            Err(error) if descriptors::may_pass(&error) => {
                debug!("clients cannot be sent to worker {} now: {error}", self.to);
                self.blocked = Some(Blocked {
                    since_ms: self.blocked.map_or(now_ms, |blocked| blocked.since_ms),
                    again_ms: now_ms + RETRY_MS,
                });
                return false;
            }
            Err(error) => {
                warn!(
                    "clients cannot be sent to worker {}, they stay: {error}",
                    self.to
                );
                self.queue.clear();
                self.everybody = false;
                return false;
            }
        }
        true
    }

    /// Everybody who is on the way stays here.
    pub(in crate::worker) fn abandon(&mut self, post: &mut Post<'_>) {
        self.queue.clear();
        for batch in self.batches.drain(..) {
            for shipment in &batch.shipments {
                post.engine.give_back(shipment);
            }
            post.abort(self.to, batch.id);
        }
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
    let from = post.own_slot;
    post.send(to, &Letter::Move { from, batch }, &fds)
}

/// Releases those for whom there is what has gathered for them, be it nothing.
fn send_release(post: &Post<'_>, to: u16, batch: u64, late: &[Option<Vec<u8>>]) -> io::Result<()> {
    let letter = Letter::Release {
        from: post.own_slot,
        batch,
        yes: late.iter().map(Option::is_some).collect(),
    };
    let pieces = late.iter().map(|late| late.as_deref().unwrap_or_default());
    if pieces.clone().all(<[u8]>::is_empty) {
        return post.send(to, &letter, &[]);
    }
    let file = mail::enclose(pieces)?;
    post.send(to, &letter, &[file.as_fd()])
}
