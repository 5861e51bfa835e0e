//! The receiver's side: clients that others have frozen for this worker.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use log::warn;

use crate::engine::{Arrival, Engine};

use super::super::mail::{self, Letter};
use super::ANSWER_MS;
use super::post::{Post, generation_of};

/// What has come and was neither released nor aborted is looked at after this time.
const OFFER_MS: u64 = 2 * ANSWER_MS;

/// Clients that others have frozen for this worker.
#[derive(Debug, Default)]
pub(in crate::worker) struct Arrivals {
    offers: HashMap<(u16, u64), Offer>,
}

#[derive(Debug)]
struct Offer {
    taken: Vec<Option<Arrival>>,
    come_ms: u64,
}

impl Arrivals {
    /// Another worker offers clients, whose descriptors come behind the file of descriptions.
    pub(in crate::worker) fn offered(
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
        let letter = Letter::Taken {
            by: post.own_slot,
            batch,
            yes: taken.iter().map(Option::is_some).collect(),
        };
        let come_ms = post.now_ms;
        self.offers.insert((from, batch), Offer { taken, come_ms });
        post.tell(from, generation_of(batch), letter);
    }

    /// Those marked are ours.
    pub(in crate::worker) fn released(
        &mut self,
        post: &mut Post<'_>,
        (from, batch): (u16, u64),
        yes: &[bool],
        file: Option<&OwnedFd>,
    ) {
        let Some(offer) = self.offers.remove(&(from, batch)) else {
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

    /// Whether nobody has come of whom it is not certain yet whose they are.
    pub(in crate::worker) fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// They stay where they are.
    pub(in crate::worker) fn aborted(&mut self, engine: &mut Engine, from: u16, batch: u64) {
        if let Some(offer) = self.offers.remove(&(from, batch)) {
            for arrival in offer.taken.into_iter().flatten() {
                engine.turn_away(&arrival);
            }
        }
    }

    /// Forgets what came from workers that died before they released it.
    pub(in crate::worker) fn turn(&mut self, post: &mut Post<'_>) {
        let now_ms = post.now_ms;
        let dead: Vec<(u16, u64)> = self
            .offers
            .iter()
            .filter(|(_, offer)| now_ms >= offer.come_ms + OFFER_MS)
            .map(|(name, _)| *name)
            .filter(|(from, batch)| !post.lives(*from, generation_of(*batch)))
            .collect();
        for (from, batch) in dead {
            self.aborted(post.engine, from, batch);
        }
    }
}
