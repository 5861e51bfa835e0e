//! What a worker inherits from the master, and the two-way protocol between them.
//!
//! Orders and reports are single packets on a `SOCK_SEQPACKET` pair. The same pair is the
//! lifeline: its end tells the worker that the master is gone, and the master that the worker is.

use std::os::fd::OwnedFd;

use crate::config::Config;
use crate::net::Listener;
use crate::sharedarea::SharedArea;

/// All that a worker inherits.
#[derive(Debug)]
pub struct Seat {
    /// The worker's slot in the shared board, from 1.
    pub slot: u16,
    /// The load of the configuration that it serves; counts reloads.
    pub generation: u32,
    /// The configuration.
    pub config: Config,
    /// The listening sockets, shared with all workers.
    pub listeners: Vec<Listener>,
    /// Board, log and spool.
    pub area: SharedArea,
    /// Packets to and from the master; its end means that the master is gone.
    pub control: OwnedFd,
    /// Where accepted clients are handed over between workers.
    pub mailboxes: Mailboxes,
    /// Clients are accepted from the beginning; else after [`Order::Accept`].
    pub accepting: bool,
}

/// Packet sockets for handing accepted descriptors to another worker. They outlive workers: what
/// waits in the mailbox of a dead one is served by its successor.
#[derive(Debug)]
pub struct Mailboxes {
    /// What others hand to this slot.
    pub own: OwnedFd,
    /// The sending ends; the one of slot n is at n - 1.
    pub peers: Vec<OwnedFd>,
}

/// What the master wants of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Accept no more, end every client with this close code, leave when all are gone or the time
    /// is up.
    Drain {
        /// 1001 when the server stops, 1012 when it restarts.
        code: u16,
        /// After this many milliseconds the worker leaves in any case.
        timeout_ms: u32,
    },
    /// As `Drain`, but first hand every client that can be moved over to the worker in another
    /// slot, which does not notice more than a new client; only the others are closed, after they
    /// have been served for some time more.
    Replace {
        /// The slot of the worker that takes over.
        by: u16,
        /// For those that cannot be moved; 1012.
        code: u16,
        /// For so many milliseconds they are served as ever.
        mercy_ms: u32,
        /// After this many milliseconds more the worker leaves in any case.
        timeout_ms: u32,
    },
    /// Hand up to so many clients over to the worker in another slot, and go on serving.
    GiveAway {
        /// The slot of the worker that takes them.
        to: u16,
        /// At most so many.
        clients: u32,
    },
    /// Accept clients, or let them wait in the listeners' queues.
    Accept {
        /// Which.
        on: bool,
    },
    /// Open the log file again: it was moved away.
    ReopenLog,
    /// Leave at once.
    Stop,
}

/// What a worker tells the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It accepts clients.
    Ready,
    /// After an order to be replaced: whoever could be moved has been, and it serves the others for
    /// the time that it was given.
    Moved,
    /// It has no clients left after an order to drain, and exits now.
    Drained,
    /// It exits now, and could not write so many of its log lines nor tell of them.
    LinesLost {
        /// How many.
        lines: u64,
    },
}

const DRAIN: u8 = b'd';
const REPLACE: u8 = b'r';
const GIVE_AWAY: u8 = b'g';
const ACCEPT: u8 = b'a';
const REOPEN_LOG: u8 = b'l';
const STOP: u8 = b's';
const READY: u8 = b'r';
const MOVED: u8 = b'm';
const DRAINED: u8 = b'e';
const LINES_LOST: u8 = b'l';

impl Order {
    /// The packet for it: a letter, then the code and the time in little endian.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Drain { code, timeout_ms } => {
                let mut packet = vec![DRAIN];
                packet.extend(code.to_le_bytes());
                packet.extend(timeout_ms.to_le_bytes());
                packet
            }
            Self::Replace {
                by,
                code,
                mercy_ms,
                timeout_ms,
            } => {
                let mut packet = vec![REPLACE];
                packet.extend(by.to_le_bytes());
                packet.extend(code.to_le_bytes());
                packet.extend(mercy_ms.to_le_bytes());
                packet.extend(timeout_ms.to_le_bytes());
                packet
            }
            Self::GiveAway { to, clients } => {
                let mut packet = vec![GIVE_AWAY];
                packet.extend(to.to_le_bytes());
                packet.extend(clients.to_le_bytes());
                packet
            }
            Self::Accept { on } => vec![ACCEPT, u8::from(on)],
            Self::ReopenLog => vec![REOPEN_LOG],
            Self::Stop => vec![STOP],
        }
    }

    /// The order in a packet; `None` if it is none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match *packet {
            [DRAIN, c0, c1, t0, t1, t2, t3] => Some(Self::Drain {
                code: u16::from_le_bytes([c0, c1]),
                timeout_ms: u32::from_le_bytes([t0, t1, t2, t3]),
            }),
            [REPLACE, b0, b1, c0, c1, m0, m1, m2, m3, t0, t1, t2, t3] => Some(Self::Replace {
                by: u16::from_le_bytes([b0, b1]),
                code: u16::from_le_bytes([c0, c1]),
                mercy_ms: u32::from_le_bytes([m0, m1, m2, m3]),
                timeout_ms: u32::from_le_bytes([t0, t1, t2, t3]),
            }),
            [GIVE_AWAY, t0, t1, n0, n1, n2, n3] => Some(Self::GiveAway {
                to: u16::from_le_bytes([t0, t1]),
                clients: u32::from_le_bytes([n0, n1, n2, n3]),
            }),
            [ACCEPT, on @ (0 | 1)] => Some(Self::Accept { on: on == 1 }),
            [REOPEN_LOG] => Some(Self::ReopenLog),
            [STOP] => Some(Self::Stop),
            _ => None,
        }
    }
}

impl Report {
    /// The packet for it: a letter, then the number in little endian.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Ready => vec![READY],
            Self::Moved => vec![MOVED],
            Self::Drained => vec![DRAINED],
            Self::LinesLost { lines } => {
                let mut packet = vec![LINES_LOST];
                packet.extend(lines.to_le_bytes());
                packet
            }
        }
    }

    /// The report in a packet; `None` if it is none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match packet {
            [READY] => Some(Self::Ready),
            [MOVED] => Some(Self::Moved),
            [DRAINED] => Some(Self::Drained),
            [LINES_LOST, lines @ ..] => Some(Self::LinesLost {
                lines: u64::from_le_bytes(lines.try_into().ok()?),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_reports_survive_their_packets() {
        for order in [
            Order::Drain {
                code: 1012,
                timeout_ms: u32::MAX,
            },
            Order::Replace {
                by: 3,
                code: 1012,
                mercy_ms: 60_000,
                timeout_ms: 8000,
            },
            Order::GiveAway {
                to: 2,
                clients: 70_000,
            },
            Order::Accept { on: true },
            Order::Accept { on: false },
            Order::ReopenLog,
            Order::Stop,
        ] {
            assert_eq!(Order::decode(&order.encode()), Some(order));
        }
        let lost = Report::LinesLost { lines: 1 << 40 };
        for report in [Report::Ready, Report::Moved, Report::Drained, lost] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        for nonsense in [&b""[..], b"x", b"d", b"d1234567", b"ss", b"l1"] {
            assert_eq!(Order::decode(nonsense), None);
            assert_eq!(Report::decode(nonsense), None);
        }
    }
}
