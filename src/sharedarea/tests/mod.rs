//! Unit tests of the area in one process: several participants, each with its own slot and lock.

mod alternates;
mod areas;
mod board;
mod channels;
mod crash;
mod layout;
mod pins;
mod publish;
mod ranges;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::algorithm::publish::Step;
use super::{
    Entry, EntryFlags, Geometry, Participant, ParticipantKind, Publication, PublishError,
    Published, Range, SharedArea,
};

const SPOOL_BYTES: u64 = 64 * 1024;

fn area() -> SharedArea {
    area_with(SPOOL_BYTES, 512, 64)
}

fn area_with(spool_bytes: u64, entries: u32, channels: u32) -> SharedArea {
    let geometry = Geometry {
        spool_bytes,
        entries,
        channels,
    };
    SharedArea::create(geometry, 0x1234_5678_9abc_def0_0fed_cba9_8765_4321, 1).unwrap()
}

fn worker(area: &SharedArea, slot: u16) -> Participant {
    area.join(ParticipantKind::Worker, slot).unwrap()
}

fn publication<'p>(channel: &'p str, parts: &'p [&'p [u8]]) -> Publication<'p> {
    Publication {
        channel,
        flags: EntryFlags::TEXT,
        parts,
        alternate: &[],
        origin: 9,
        time_us: 7,
    }
}

fn publish(by: &mut Participant, channel: &str, frame: &[u8]) -> Result<Published, PublishError> {
    by.publish(&publication(channel, &[frame]))
}

/// Reads the bell's counter to see whether it was rung (the server never reads it).
fn rings(area: &SharedArea) -> u64 {
    let mut fds = [PollFd::new(area.bell(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO).unwrap() == 0 {
        return 0;
    }
    let mut counter = [0; 8];
    nix::unistd::read(area.bell(), &mut counter).unwrap();
    u64::from_ne_bytes(counter)
}

fn bytes(area: &SharedArea, range: Range) -> Vec<u8> {
    let mut out = Vec::new();
    area.copy_out(range, &mut out).unwrap();
    out
}

fn frame(area: &SharedArea, entry: &Entry) -> Vec<u8> {
    bytes(area, entry.range())
}

/// Publishes and dies at `step`, as far as others can tell. Whether it got there.
fn die_at(mut by: Participant, channel: &str, payload: &[u8], step: Step) -> bool {
    let (head, tail) = payload.split_at(payload.len() / 2);
    let parts = [head, tail];
    let died = catch_unwind(AssertUnwindSafe(|| {
        by.publish_traced(&publication(channel, &parts), &mut |at| {
            if at == step {
                resume_unwind(Box::new(()));
            }
        })
    }))
    .is_err();
    by.vanish();
    died
}
