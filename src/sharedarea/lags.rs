//! Which clients of a worker lag behind the log, on the board for people and monitors.
//!
//! A worker shows how many there are, how far the furthest is, and the furthest few of them. Nothing is
//! decided by it. It must not know why a client is slow.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{Ordering, fence};

use super::algorithm::board;
use super::algorithm::memory::Memory;
use super::area::SharedArea;
use super::participant::Participant;

/// Clients of a worker that are shown one by one.
pub const LAGGARDS_SHOWN_MAX: usize = 4;

/// How often a reader looks again at what is being written.
const READS_MAX: usize = 16;
/// Stands for a channel that is not in the table.
const NO_CHANNEL: u32 = u32::MAX;

/// A distance in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Entries, of all channels.
    pub entries: u64,
    /// Bytes of the spool.
    pub bytes: u64,
    /// Age of the first entry that is missing, milliseconds.
    pub ms: u64,
}

impl Lag {
    /// The larger of each figure.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            entries: self.entries.max(other.entries),
            bytes: self.bytes.max(other.bytes),
            ms: self.ms.max(other.ms),
        }
    }
}

/// A client that lags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Laggard {
    /// How far.
    pub lag: Lag,
    /// Index of its channel in the table; `None` for one that is not there.
    pub channel: Option<u32>,
    /// Where its connection comes from; `None` for a unix socket.
    pub address: Option<SocketAddr>,
}

/// The clients of a worker that lag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Laggards {
    /// How many there are.
    pub clients: u32,
    /// The largest figures of any of them.
    pub largest: Lag,
    /// The furthest, at most [`LAGGARDS_SHOWN_MAX`].
    pub furthest: Vec<Laggard>,
}

impl Laggard {
    fn words(&self) -> [u64; board::LAGGARD_WORDS] {
        let port = self.address.map_or(0, |address| address.port());
        let ip = match self.address.map(|address| address.ip()) {
            Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped(),
            Some(IpAddr::V6(v6)) => v6,
            None => Ipv6Addr::UNSPECIFIED,
        };
        let [a, b, c, d, e, f, g, h] = ip.segments().map(u64::from);
        let [high, low] = [[a, b, c, d], [e, f, g, h]]
            .map(|parts| parts.into_iter().fold(0, |bits, part| bits << 16 | part));
        let channel = u64::from(self.channel.unwrap_or(NO_CHANNEL));
        [
            self.lag.entries,
            self.lag.bytes,
            self.lag.ms,
            channel | u64::from(port) << 32,
            high,
            low,
        ]
    }

    /// `None` for a row without a client.
    fn of_words(words: [u64; board::LAGGARD_WORDS]) -> Option<Self> {
        let [entries, bytes, ms, place, high, low] = words;
        let [c0, c1, c2, c3, p0, p1, _, _] = place.to_le_bytes();
        let channel = u32::from_le_bytes([c0, c1, c2, c3]);
        let ip = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        let address = SocketAddr::new(ip.to_canonical(), u16::from_le_bytes([p0, p1]));
        (entries > 0).then_some(Self {
            lag: Lag { entries, bytes, ms },
            channel: (channel != NO_CHANNEL).then_some(channel),
            address: Some(address).filter(|address| address.port() > 0),
        })
    }
}

impl Participant {
    /// Shows the clients that lag.
    pub fn show_laggards(&self, laggards: &Laggards) {
        let objects = self.objects();
        let at = |field| board::laggards(self.slot(), field);
        let edition = objects.board32(at(board::LAGGARDS_EDITION));
        let odd = edition.load(Ordering::Relaxed) | 1;
        edition.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        objects
            .board32(at(board::LAGGARDS_CLIENTS))
            .store(laggards.clients, Ordering::Relaxed);
        let Lag { entries, bytes, ms } = laggards.largest;
        for (field, value) in [
            (board::LAGGARDS_ENTRIES, entries),
            (board::LAGGARDS_BYTES, bytes),
            (board::LAGGARDS_MS, ms),
        ] {
            objects.board64(at(field)).store(value, Ordering::Relaxed);
        }
        for row in 0..LAGGARDS_SHOWN_MAX {
            let words = laggards.furthest.get(row).map(Laggard::words);
            for (index, word) in words.unwrap_or_default().into_iter().enumerate() {
                objects
                    .board64(at(board::laggard(row, index)))
                    .store(word, Ordering::Relaxed);
            }
        }
        edition.store(odd.wrapping_add(1), Ordering::Release);
    }
}

impl SharedArea {
    /// The clients of a slot's worker that lag. What changes all the time is read as it is: it is only shown.
    #[must_use]
    pub fn laggards(&self, slot: u16) -> Laggards {
        if slot >= board::PARTICIPANT_COUNT {
            return Laggards::default();
        }
        let at = board::laggards(slot, board::LAGGARDS_EDITION);
        let edition = self.objects().board32(at);
        let mut before = edition.load(Ordering::Acquire);
        let mut seen = self.laggards_now(slot);
        for _ in 0..READS_MAX {
            fence(Ordering::Acquire);
            let after = edition.load(Ordering::Relaxed);
            if before == after && after.is_multiple_of(2) {
                break;
            }
            before = edition.load(Ordering::Acquire);
            seen = self.laggards_now(slot);
        }
        seen
    }

    fn laggards_now(&self, slot: u16) -> Laggards {
        let objects = self.objects();
        let word = |field| {
            objects
                .board64(board::laggards(slot, field))
                .load(Ordering::Relaxed)
        };
        let row = |row| {
            Laggard::of_words(std::array::from_fn(|index| {
                word(board::laggard(row, index))
            }))
        };
        Laggards {
            clients: objects
                .board32(board::laggards(slot, board::LAGGARDS_CLIENTS))
                .load(Ordering::Relaxed),
            largest: Lag {
                entries: word(board::LAGGARDS_ENTRIES),
                bytes: word(board::LAGGARDS_BYTES),
                ms: word(board::LAGGARDS_MS),
            },
            furthest: (0..LAGGARDS_SHOWN_MAX).filter_map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharedarea::{Geometry, ParticipantKind};

    fn laggard(entries: u64, channel: Option<u32>, address: Option<&str>) -> Laggard {
        Laggard {
            lag: Lag {
                entries,
                bytes: 7 << 40,
                ms: 9,
            },
            channel,
            address: address.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn what_a_worker_shows_is_read_by_all_until_its_slot_is_cleaned() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let worker = area.join(ParticipantKind::Worker, 63).unwrap();
        assert_eq!(area.laggards(63), Laggards::default());
        let shown = Laggards {
            clients: 900,
            largest: Lag {
                entries: 1 << 33,
                bytes: 2 << 33,
                ms: 3 << 33,
            },
            furthest: vec![
                laggard(4, Some(0), Some("127.0.0.1:65535")),
                laggard(3, Some(9), Some("[2001:db8::1]:1")),
                laggard(2, None, None),
            ],
        };
        worker.show_laggards(&shown);
        assert_eq!(area.laggards(63), shown);
        assert_eq!(area.laggards(62), Laggards::default());
        assert_eq!(area.laggards(64), Laggards::default());
        let fewer = Laggards {
            clients: 1,
            furthest: vec![laggard(1, None, None)],
            ..shown
        };
        worker.show_laggards(&fewer);
        assert_eq!(area.laggards(63), fewer);
        drop(worker);
        area.sweep(63);
        assert_eq!(area.laggards(63), Laggards::default());
    }

    #[test]
    fn a_writer_that_died_in_the_middle_does_not_hold_readers_up() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let worker = area.join(ParticipantKind::Worker, 5).unwrap();
        let at = board::laggards(5, board::LAGGARDS_EDITION);
        area.objects().board32(at).store(7, Ordering::Relaxed);
        assert_eq!(area.laggards(5), Laggards::default());
        let shown = Laggards {
            clients: 2,
            ..Laggards::default()
        };
        worker.show_laggards(&shown);
        assert_eq!(area.laggards(5), shown);
    }
}
