//! The crash matrix: a writer that dies at any step, and what the next one finds.

use std::sync::atomic::Ordering::SeqCst;

use super::super::algorithm::board;
use super::super::algorithm::channels::EditStep;
use super::super::algorithm::lock::Identity;
use super::super::algorithm::memory::Memory;
use super::*;

/// Every step of a publication in two parts to a new channel, when the spool is full.
const STEPS: [Step; 14] = [
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

fn is_published_at(step: Step) -> bool {
    matches!(
        step,
        Step::Committed | Step::ChannelRecorded | Step::Unlocked | Step::Rung
    )
}

/// An area with a full spool: the next publication has to make room.
fn full_area() -> SharedArea {
    let area = area();
    let mut writer = worker(&area, 1);
    while area.counters().bytes + 4000 <= SPOOL_BYTES {
        publish(&mut writer, "old", &[1; 4000]).unwrap();
    }
    area
}

fn check(step: Step, after: impl Fn(&SharedArea)) {
    let area = full_area();
    let before = area.head();
    assert!(
        die_at(worker(&area, 1), "new", &[2; 4000], step),
        "{step:?} does not happen"
    );
    after(&area);

    let mut successor = worker(&area, 2);
    let published = publish(&mut successor, "new", &[3; 4000]).unwrap();
    let survived = u64::from(is_published_at(step));
    assert_eq!(published.seq, before + 1 + survived, "{step:?}");
    assert_eq!(published.offset, 1 + survived, "{step:?}");
    if survived == 1 {
        let entry = area.entry(before + 1).unwrap();
        assert_eq!(frame(&area, &entry), [2; 4000]);
        assert_eq!(area.entry(published.seq).unwrap().prev, entry.seq);
    }
    assert_eq!(frame(&area, &area.entry(published.seq).unwrap()), [3; 4000]);
    let inside = !matches!(step, Step::Unlocked | Step::Rung);
    assert_eq!(area.counters().recoveries, u64::from(inside), "{step:?}");
    assert_eq!(area.counters().bad, 0);
    // The table is in order: one channel of each name.
    let mut names = Vec::new();
    area.channels(&mut |view| names.push((view.name, view.messages)));
    names.sort();
    assert_eq!(
        names,
        [
            ("new".to_owned(), published.offset),
            ("old".to_owned(), before)
        ]
    );
}

#[test]
fn the_next_writer_repairs_whatever_step_was_the_last() {
    for step in STEPS {
        check(step, |_| {});
    }
}

#[test]
fn the_master_repairs_when_it_sweeps() {
    for step in STEPS {
        check(step, |area| {
            let _master = area.join(ParticipantKind::Master, 0).unwrap();
            area.sweep(1);
            assert_eq!(area.participants().count(), 1);
        });
    }
}

#[test]
fn a_successor_in_the_same_slot_repairs_when_it_joins() {
    for step in STEPS {
        check(step, |area| {
            let successor = worker(area, 1);
            assert!(successor.generation() > 1);
        });
    }
}

#[test]
fn the_token_of_a_predecessor_in_a_slot_that_is_alive_again_is_a_dead_ones() {
    let area = area();
    let mut writer = worker(&area, 2);
    let old = worker(&area, 1);
    let stale = Identity {
        slot: 1,
        generation: old.generation(),
    }
    .token();
    old.vanish();
    let alive = worker(&area, 1);
    area.objects().board32(board::LOCK).store(stale, SeqCst);
    publish(&mut writer, "a", b"x").unwrap();
    assert_eq!(area.counters().recoveries, 1);
    // A live owner is respected.
    let token = Identity {
        slot: 1,
        generation: alive.generation(),
    }
    .token();
    area.objects().board32(board::LOCK).store(token, SeqCst);
    assert_eq!(
        publish(&mut writer, "a", b"x"),
        Err(PublishError::WouldBlock)
    );
    let mut master = area.join(ParticipantKind::Master, 0).unwrap();
    assert_eq!(
        publish(&mut master, "a", b"x"),
        Err(PublishError::WouldBlock)
    );
}

#[test]
fn a_lock_word_that_nobody_can_have_written_is_taken_over() {
    let area = area();
    let mut writer = worker(&area, 1);
    for garbage in [1 << 31, 0x7f, u32::MAX, 65] {
        area.objects().board32(board::LOCK).store(garbage, SeqCst);
        publish(&mut writer, "a", b"x").unwrap();
    }
    assert_eq!(area.counters().recoveries, 4);
}

#[test]
fn garbage_in_the_board_never_panics_or_leaves_the_mapping() {
    for garbage in [u64::MAX, u64::MAX - 3, 1 << 63, 0x5555_5555_5555_5555] {
        for at in [
            board::HEAD,
            board::END,
            board::HORIZON,
            board::SAFE,
            board::JOINED,
        ] {
            let area = full_area();
            let mut writer = worker(&area, 1);
            area.objects().board64(at).store(garbage, SeqCst);
            for _ in 0..3 {
                let _outcome = publish(&mut writer, "a", &[1; 4000]);
                let _entry = area.entry(area.head());
                let _pinned = writer.pin(garbage);
                writer.unpin();
            }
        }
    }
}

#[test]
fn garbage_in_an_entry_is_lapped_and_counted() {
    let area = area();
    let mut writer = worker(&area, 1);
    publish(&mut writer, "a", b"x").unwrap();
    let words = area.objects().entry(1);
    let good: Vec<u64> = words.iter().map(|word| word.load(SeqCst)).collect();
    let bad = [
        (board::ENTRY_POSITION, u64::MAX),
        (board::ENTRY_FRAME, u64::from(u32::MAX)),
        (board::ENTRY_FRAME, 64 << 32),
        (board::ENTRY_FRAME, u64::from(board::CHANNEL_BY_NAME) << 32),
        (board::ENTRY_TIME, 1 << 56),
        (board::ENTRY_ALTERNATE, u64::from(u32::MAX)),
    ];
    for (count, (word, value)) in (1..).zip(bad) {
        words[word].store(value, SeqCst);
        assert!(area.entry(1).is_err());
        assert_eq!(area.counters().bad, count);
        words[word].store(good[word], SeqCst);
        assert!(area.entry(1).is_ok());
    }
}
