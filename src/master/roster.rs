//! The workers as the master sees them: their control sockets and their mailboxes.
//!
//! It must not know when a worker is made or ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::logging::REPEATABLE;
use crate::sharedarea::Participant;
use crate::sys::descriptors::{self, Received};
use crate::worker::{Mailboxes, Order, Report, is_for_anybody};

/// No packet between workers or to the master is longer.
const PACKET_BYTES_MAX: usize = 4096;

/// Both ends of a slot's mailbox. They outlive its workers.
#[derive(Debug)]
struct Mailbox {
    receiver: OwnedFd,
    sender: OwnedFd,
}

/// Control sockets by slot, mailboxes of all slots.
#[derive(Debug)]
pub(super) struct Roster {
    controls: BTreeMap<u16, OwnedFd>,
    /// That of slot n is at n - 1.
    mailboxes: Vec<Mailbox>,
}

impl Roster {
    /// Makes the mailboxes of slots 1 to `slots`, before the first fork, so that all workers know all.
    pub(super) fn new(slots: u16) -> io::Result<Self> {
        let mailbox = |_| {
            let (receiver, sender) = descriptors::packet_pair()?;
            Ok(Mailbox { receiver, sender })
        };
        let mailboxes = (0..slots).map(mailbox).collect::<io::Result<_>>()?;
        Ok(Self {
            controls: BTreeMap::new(),
            mailboxes,
        })
    }

    /// Goes on with what the program before this one had: control sockets by slot, and the receiving
    /// and sending ends of all mailboxes.
    pub(super) fn inherit(
        controls: Vec<(u16, OwnedFd)>,
        mailboxes: Vec<(OwnedFd, OwnedFd)>,
    ) -> Self {
        let mailbox = |(receiver, sender)| Mailbox { receiver, sender };
        Self {
            controls: controls.into_iter().collect(),
            mailboxes: mailboxes.into_iter().map(mailbox).collect(),
        }
    }

    /// Slots there are mailboxes for.
    pub(super) fn slots(&self) -> usize {
        self.mailboxes.len()
    }

    /// The ends of all mailboxes, in the order of slots.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = (BorrowedFd<'_>, BorrowedFd<'_>)> {
        self.mailboxes
            .iter()
            .map(|mailbox| (mailbox.receiver.as_fd(), mailbox.sender.as_fd()))
    }

    pub(super) fn add(&mut self, slot: u16, control: OwnedFd) {
        self.controls.insert(slot, control);
    }

    pub(super) fn remove(&mut self, slot: u16) {
        self.controls.remove(&slot);
    }

    /// In a new worker: what it keeps of all this. The rest is closed.
    pub(super) fn into_mailboxes(self, slot: u16) -> io::Result<Mailboxes> {
        let (mut receivers, mut peers) = (Vec::new(), Vec::new());
        for mailbox in self.mailboxes {
            receivers.push(mailbox.receiver);
            peers.push(mailbox.sender);
        }
        let index = usize::from(slot) - 1;
        if index >= receivers.len() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Mailboxes {
            own: receivers.swap_remove(index),
            peers,
        })
    }

    /// The control sockets, to be polled.
    pub(super) fn controls(&self) -> impl Iterator<Item = (u16, BorrowedFd<'_>)> {
        self.controls
            .iter()
            .map(|(slot, control)| (*slot, control.as_fd()))
    }

    /// The receiving end of a slot's mailbox.
    pub(super) fn mailbox(&self, slot: u16) -> Option<BorrowedFd<'_>> {
        self.mailboxes
            .get(usize::from(slot) - 1)
            .map(|mailbox| mailbox.receiver.as_fd())
    }

    /// Sends an order. A worker that cannot be told misses its deadline and is killed.
    pub(super) fn order(&self, slot: u16, order: Order) {
        let Some(control) = self.controls.get(&slot) else {
            return;
        };
        if let Err(error) = descriptors::send(control.as_fd(), &order.encode(), &[]) {
            // A dead one is reaped soon.
            log::debug!("worker {slot} cannot be told {order:?}: {error}");
        }
    }

    /// The next report of a worker; None when there is none now. A socket that is at its end is
    /// forgotten: the worker's exit follows.
    pub(super) fn report(&mut self, slot: u16) -> Option<Report> {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            let control = self.controls.get(&slot)?;
            match descriptors::receive(control.as_fd(), &mut packet) {
                Ok(Received::Packet { bytes, .. }) => match Report::decode(&packet[..bytes]) {
                    Some(report) => return Some(report),
                    None => log::warn!(target: REPEATABLE, "worker {slot} reports nonsense"),
                },
                Ok(Received::Blocked) => return None,
                Ok(Received::Ended) => {
                    self.controls.remove(&slot);
                    return None;
                }
                Err(error) => {
                    log::warn!("worker {slot} cannot be heard: {error}");
                    self.controls.remove(&slot);
                    return None;
                }
            }
        }
    }

    /// Passes clients that wait in the mailbox of a slot without worker on to one that serves.
    /// A client that nobody takes is closed. Letters between two workers end here: who is offered and
    /// not answered for stays where it is, and what else there is was for the dead alone.
    pub(super) fn forward(&self, from: u16, to: &[u16], participant: &Participant) {
        let Some(receiver) = self.mailbox(from) else {
            return;
        };
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut to = to.iter().cycle();
        loop {
            let (bytes, clients) = match descriptors::receive(receiver, &mut packet) {
                Ok(Received::Packet { bytes, descriptors }) => (bytes, descriptors),
                Ok(Received::Blocked | Received::Ended) => return,
                Err(error) => {
                    log::warn!(target: REPEATABLE, "mailbox of worker {from}: {error}");
                    return;
                }
            };
            if !is_for_anybody(&packet[..bytes]) {
                continue;
            }
            let Some(to) = to.next() else {
                return;
            };
            let clients: Vec<BorrowedFd<'_>> = clients.iter().map(AsFd::as_fd).collect();
            let passed = participant.reserve(*to)
                && self
                    .mailboxes
                    .get(usize::from(*to) - 1)
                    .is_some_and(|mailbox| {
                        descriptors::send(mailbox.sender.as_fd(), &packet[..bytes], &clients)
                            .is_ok()
                            || {
                                participant.release_reservation(*to);
                                false
                            }
                    });
            if !passed {
                log::debug!("a client in the mailbox of worker {from} finds no other worker");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sharedarea::{Geometry, ParticipantKind, ParticipantState, SharedArea};

    #[test]
    fn a_worker_gets_its_own_mailbox_and_the_ends_of_all() {
        let roster = Roster::new(3).unwrap();
        let own = roster.mailbox(2).unwrap().as_raw_fd();
        let mailboxes = roster.into_mailboxes(2).unwrap();
        assert_eq!(mailboxes.own.as_raw_fd(), own);
        descriptors::send(mailboxes.peers[1].as_fd(), b"x", &[]).unwrap();
        let received = descriptors::receive(mailboxes.own.as_fd(), &mut [0; 4]).unwrap();
        assert!(matches!(received, Received::Packet { bytes: 1, .. }));
        assert!(Roster::new(3).unwrap().into_mailboxes(4).is_err());
    }

    #[test]
    fn reports_come_in_order_until_the_end() {
        let mut roster = Roster::new(1).unwrap();
        let (ours, theirs) = descriptors::packet_pair().unwrap();
        roster.add(1, ours);
        assert_eq!(roster.report(1), None);
        for packet in [
            Report::Ready.encode(),
            b"?".to_vec(),
            Report::Drained.encode(),
        ] {
            descriptors::send(theirs.as_fd(), &packet, &[]).unwrap();
        }
        drop(theirs);
        assert_eq!(roster.report(1), Some(Report::Ready));
        assert_eq!(roster.report(1), Some(Report::Drained));
        assert_eq!(roster.report(1), None);
        assert_eq!(roster.controls().count(), 0);
    }

    #[test]
    fn a_client_in_a_dead_mailbox_goes_to_a_worker_that_serves() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let participant = area.join(ParticipantKind::Master, 0).unwrap();
        let worker = area.join(ParticipantKind::Worker, 2).unwrap();
        worker.set_state(ParticipantState::Ready);
        let roster = Roster::new(2).unwrap();
        let (client, _peer) = descriptors::packet_pair().unwrap();
        let sender = roster.mailboxes[0].sender.as_fd();
        descriptors::send(sender, b"m\x03\0\x01\0\0\0\0\0\0\0", &[client.as_fd()]).unwrap();
        descriptors::send(sender, b"n", &[client.as_fd()]).unwrap();
        roster.forward(1, &[2], &participant);
        let mut packet = [0; 16];
        let received = descriptors::receive(roster.mailbox(2).unwrap(), &mut packet).unwrap();
        let Received::Packet {
            bytes: 1,
            descriptors,
        } = received
        else {
            panic!("{received:?}");
        };
        assert_eq!((packet[0], descriptors.len()), (b'n', 1));
        assert_eq!(area.participant(2).unwrap().reserved, 1);
    }
}
