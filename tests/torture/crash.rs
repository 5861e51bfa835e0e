//! The crash matrix with real kills: a child kills itself at exactly one step of a publication, and
//! the area is checked afterwards.

use bellwether::sharedarea::algorithm::channels::EditStep;
use bellwether::sharedarea::algorithm::publish::Step;
use bellwether::sharedarea::{
    EntryFlags, Geometry, Participant, ParticipantKind, Publication, SharedArea,
};

use crate::Outcome;
use crate::children::{self, DYING, Owned};

const FRAME_BYTES: usize = 4000;

/// Every step of a publication in two parts to a new channel while the spool is full.
pub(crate) const CASES: [Step; 14] = [
    Step::Locked,
    Step::Edit(EditStep::Begun),
    Step::Edit(EditStep::Filled),
    Step::SpaceAnnounced,
    Step::SpaceConfirmed,
    Step::PartCopied(0),
    Step::PartCopied(1),
    Step::EntryInvalidated,
    Step::EntryFilled,
    Step::EndMoved,
    Step::Committed,
    Step::ChannelRecorded,
    Step::Unlocked,
    Step::Rung,
];

fn publication<'p>(channel: &'p str, parts: &'p [&'p [u8]]) -> Publication<'p> {
    let flags = EntryFlags::BINARY;
    Publication {
        channel,
        flags,
        parts,
        alternate: &[],
        origin: 0,
        time_us: 0,
    }
}

/// The child's side: publishes and dies at step number `case`.
pub(crate) fn die(mut participant: Participant, case: u64) -> Outcome {
    let step = CASES.get(usize::try_from(case)?).ok_or("no such step")?;
    let half = [2; FRAME_BYTES / 2];
    let parts: [&[u8]; 2] = [&half, &half];
    participant.publish_traced(&publication("new", &parts), &mut |at| {
        if at == *step {
            children::kill_self();
        }
    })?;
    Err(format!("lived through {step:?}").into())
}

/// Lets a child die at `step` and checks what the next publication finds.
pub(crate) fn run(step: Step) -> Outcome {
    let geometry = Geometry {
        spool_bytes: 64 * 1024,
        entries: 512,
        channels: 64,
    };
    let area = SharedArea::create(geometry, 5, 0)?;
    let mut master = area.join(ParticipantKind::Master, 0)?;
    let frame = [1; FRAME_BYTES];
    while area.counters().bytes + FRAME_BYTES as u64 <= geometry.spool_bytes {
        master.publish(&publication("old", &[&frame]))?;
    }
    let before = area.head();

    let case = CASES
        .iter()
        .position(|case| *case == step)
        .ok_or("no such step")?;
    let mut child = Owned(children::start(&area, DYING, 1, case as u64)?);
    if !children::was_killed(child.0.wait()?) {
        return Err("the child did not die".into());
    }
    // A publication by itself, without the sweep, must do.
    let frame = [3; FRAME_BYTES];
    let published = master.publish(&publication("new", &[&frame]))?;
    let survived = matches!(
        step,
        Step::Committed | Step::ChannelRecorded | Step::Unlocked | Step::Rung
    );
    let expected = 1 + u64::from(survived);
    ensure(published.seq == before + expected, "the order is broken")?;
    ensure(
        published.offset == expected,
        "the channel's order is broken",
    )?;
    for (seq, byte) in [
        (before + 1, if survived { 2 } else { 3 }),
        (published.seq, 3),
    ] {
        let entry = area.entry(seq)?;
        let mut bytes = Vec::new();
        area.copy_out(entry.range(), &mut bytes)?;
        ensure(bytes == [byte; FRAME_BYTES], "a frame is torn")?;
    }
    let inside = !matches!(step, Step::Unlocked | Step::Rung);
    ensure(
        area.counters().recoveries == u64::from(inside),
        "wrong number of recoveries",
    )?;
    area.sweep(1);
    ensure(area.participants().count() == 1, "the sweep left something")
}

fn ensure(condition: bool, complaint: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(complaint.into())
    }
}
