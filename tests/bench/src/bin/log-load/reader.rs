//! One process that reads the log as a worker does and checks every byte: nothing lost, nothing twice, each publisher's
//! messages in their order; and it sums up the order of all, to be compared with what others saw.

use std::thread::sleep;
use std::time::Duration;

use bellwether::sharedarea::{Entry, Participant, ParticipantKind, Range, SharedArea};
use bellwether_bench::Failure;
use bellwether_bench::frames::Template;
use bellwether_bench::load::Report;

use super::{Phase, Role};

/// Entries that are copied at once.
const BATCH: u64 = 256;
/// When there is nothing new.
const PAUSE: Duration = Duration::from_micros(100);
/// A message's number has its publisher above this bit.
const PUBLISHER_SHIFT: u32 = 32;

/// The number of message `count` of the publisher in `slot`.
pub(crate) fn stamp(slot: u16, count: u64) -> u64 {
    (u64::from(slot) << PUBLISHER_SHIFT) | count
}

/// Reads until nobody publishes any more, and then to the end.
///
/// # Errors
/// A message that is wrong, lost, doubled or out of its publisher's order; being lapped.
pub(crate) fn run(shared: &SharedArea, role: &Role) -> Result<Report, Failure> {
    let participant = shared.join(ParticipantKind::Worker, role.slot)?;
    let area = shared.area(0)?;
    let template = Template::server(role.payload_bytes);
    let mut order = Order::new(role.publishers);
    let mut bytes = Vec::new();
    loop {
        // Nobody publishes any more then, so the head that is read after that is the last.
        let is_last = Phase::Ended.is_over(&area);
        let head = shared.head();
        while order.received < head {
            let from = order.received + 1;
            let to = head.min(order.received + BATCH);
            let entries: Vec<Entry> = (from..=to)
                .map(|seq| shared.entry(seq))
                .collect::<Result<_, _>>()?;
            let start = copy(shared, &participant, &entries, &mut bytes)?;
            for entry in &entries {
                let at = usize::try_from(entry.position - start)?;
                let frame = bytes.get(at..at + entry.frame_bytes as usize);
                let number = frame.and_then(|frame| template.number_in(frame));
                order.take(number.ok_or("a frame is wrong")?)?;
            }
            participant.set_cursor(order.received);
        }
        if is_last {
            return Ok(order.report());
        }
        sleep(PAUSE);
    }
}

/// Copies what the entries name, which lies side by side; returns where it starts.
fn copy(
    shared: &SharedArea,
    participant: &Participant,
    entries: &[Entry],
    bytes: &mut Vec<u8>,
) -> Result<u64, Failure> {
    let (first, last) = entries.first().zip(entries.last()).ok_or("no entries")?;
    if !participant.pin(first.position) {
        return Err("lapped".into());
    }
    bytes.clear();
    let length = u32::try_from(last.range().end() - first.position)?;
    let range = Range {
        position: first.position,
        bytes: length,
    };
    let copied = shared.copy_out(range, bytes);
    participant.unpin();
    copied?;
    Ok(first.position)
}

/// What has been seen of the order of all messages.
struct Order {
    /// The next count of each publisher, by slot.
    next: Vec<u64>,
    received: u64,
    /// Follows from all numbers in their order.
    digest: u64,
}

impl Order {
    fn new(publishers: u16) -> Self {
        Self {
            next: vec![0; usize::from(publishers) + 1],
            received: 0,
            digest: 0,
        }
    }

    fn take(&mut self, number: u64) -> Result<(), Failure> {
        let publisher = usize::try_from(number >> PUBLISHER_SHIFT)?;
        let next = self.next.get_mut(publisher).ok_or("an unknown publisher")?;
        let count = number & ((1 << PUBLISHER_SHIFT) - 1);
        if count != *next {
            return Err(format!("message {count} of {publisher} came instead of {next}").into());
        }
        *next += 1;
        self.received += 1;
        self.digest = (self.digest.rotate_left(7) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Ok(())
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        report.add("received", self.received as f64);
        // A figure holds 53 bits exactly.
        report.add("order", (self.digest >> 16) as f64);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_publisher_counts_upwards_and_the_order_of_all_counts() {
        let see = |numbers: &[u64]| {
            let mut order = Order::new(2);
            let seen: Result<(), Failure> = numbers.iter().try_for_each(|one| order.take(*one));
            seen.map(|()| order.report().get("order"))
        };
        let (a, b, c) = (stamp(1, 0), stamp(2, 0), stamp(1, 1));
        assert_eq!(see(&[a, b, c]).unwrap(), see(&[a, b, c]).unwrap());
        assert_ne!(see(&[a, b, c]).unwrap(), see(&[b, a, c]).unwrap());
        for wrong in [&[a, a][..], &[a, stamp(1, 2)], &[c], &[stamp(3, 0)]] {
            assert!(see(wrong).is_err());
        }
    }
}
