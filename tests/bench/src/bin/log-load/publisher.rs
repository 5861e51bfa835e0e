//! One process that publishes as fast as it can, but for the readers: it waits before they would be lapped, since
//! they have to see everything.

use std::thread::{sleep, yield_now};
use std::time::Duration;

use bellwether::sharedarea::{
    Area, EntryFlags, Participant, ParticipantKind, Publication, PublishError, SharedArea,
};
use bellwether_bench::frames::Template;
use bellwether_bench::load::Report;
use bellwether_bench::{Failure, process};

use super::reader::stamp;
use super::{Phase, Role};

/// Messages between two looks at the phase and at the readers.
const BATCH: u64 = 64;
/// Messages that a reader may be behind.
const BEHIND_MAX: u64 = 100_000;
/// Meanwhile the processor is the readers'.
const PAUSE: Duration = Duration::from_micros(200);

struct Publisher<'a> {
    shared: &'a SharedArea,
    role: &'a Role,
    participant: Participant,
    template: Template,
    frame: Vec<u8>,
    published: u64,
    would_block: u64,
}

/// Publishes while the phases say so.
///
/// # Errors
/// The log refuses for another reason than that it is busy.
pub(crate) fn run(shared: &SharedArea, role: &Role) -> Result<Report, Failure> {
    let kind = if role.never_sleeps {
        ParticipantKind::Worker
    } else {
        ParticipantKind::External
    };
    let mut publisher = Publisher {
        shared,
        role,
        participant: shared.join(kind, role.slot)?,
        template: Template::server(role.payload_bytes),
        frame: Vec::new(),
        published: 0,
        would_block: 0,
    };
    let area = shared.area(0)?;
    area.wait(Phase::Start as u64, None)?;
    publisher.publish_during(Phase::Warm, &area)?;
    let own = [std::process::id()];
    let cpu_ns = process::cpu_ns(&own)?;
    let (published, would_block) = (publisher.published, publisher.would_block);
    publisher.publish_during(Phase::Measured, &area)?;
    let cpu_ns = process::cpu_ns(&own)? - cpu_ns;
    let mut report = Report::default();
    report.add("published", publisher.published as f64);
    report.add("messages", (publisher.published - published) as f64);
    report.add("would_block", (publisher.would_block - would_block) as f64);
    report.add("cpu_ns", cpu_ns as f64);
    Ok(report)
}

impl Publisher<'_> {
    fn publish_during(&mut self, phase: Phase, area: &Area) -> Result<(), Failure> {
        while !phase.is_over(area) {
            for _ in 0..BATCH {
                self.publish()?;
            }
            while self.behind() > BEHIND_MAX {
                sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// One message; busy is no error, and is tried again.
    fn publish(&mut self) -> Result<(), Failure> {
        self.frame.clear();
        let number = stamp(self.role.slot, self.published);
        self.template.append(number, &mut self.frame);
        let publication = Publication {
            channel: "bench",
            flags: EntryFlags::BINARY,
            parts: &[&self.frame],
            alternate: &[],
            origin: u64::from(self.role.slot),
            time_us: 0,
        };
        loop {
            match self.participant.publish(&publication) {
                Ok(_) => break,
                Err(PublishError::WouldBlock) => {
                    self.would_block += 1;
                    yield_now();
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.published += 1;
        Ok(())
    }

    /// How far the slowest reader is behind.
    fn behind(&self) -> u64 {
        let first = self.role.publishers + 1;
        let cursors = (first..first + self.role.readers)
            .filter_map(|slot| Some(self.shared.participant(slot)?.cursor));
        let slowest = cursors.min().unwrap_or(0);
        self.shared.head().saturating_sub(slowest)
    }
}
