//! Records with an alternate behind the frame: who asks for one, how it is read, limits, laps, garbage.

use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::super::algorithm::board;
use super::super::algorithm::memory::Memory;
use super::*;

#[test]
fn an_alternate_is_wanted_where_a_worker_with_subscribers_has_clients_that_read_it() {
    let area = area();
    let writer = worker(&area, 1);
    let (mut plain, mut deflating) = (worker(&area, 2), worker(&area, 3));
    for (of, name) in [(&mut plain, "plain"), (&mut deflating, "deflating")] {
        let index = of.channel(name).unwrap();
        of.set_interest(index, 1);
    }
    assert!(!writer.wants_alternate("deflating"), "nobody has said so");
    deflating.set_deflating(true);
    assert!(writer.wants_alternate("deflating"));
    assert!(deflating.wants_alternate("deflating"));
    for other in ["plain", "nobody", "", &"n".repeat(100)] {
        assert!(!writer.wants_alternate(other), "{other:?}");
    }
    // Some channel of its clients has no slot: that could be any.
    deflating.set_wild(true);
    assert!(writer.wants_alternate("plain") && writer.wants_alternate(&"n".repeat(100)));
    deflating.set_wild(false);
    deflating.set_deflating(false);
    assert!(!writer.wants_alternate("deflating"));
}

#[test]
fn who_leaves_or_is_swept_wants_no_alternates_any_more() {
    for killed in [false, true] {
        let area = area();
        let writer = worker(&area, 1);
        let mut gone = worker(&area, 2);
        gone.set_deflating(true);
        gone.set_wild(true);
        assert!(writer.wants_alternate("news"));
        if killed {
            gone.vanish();
            area.sweep(2);
        } else {
            drop(gone);
        }
        let mut other = worker(&area, 3);
        other.set_wild(true);
        assert!(!writer.wants_alternate("news"));
        assert_eq!(area.objects().board64(board::DEFLATING).load(SeqCst), 0);
    }
}

#[test]
fn an_alternate_for_which_there_is_no_room_is_left_out() {
    let area = area();
    let mut writer = worker(&area, 1);
    let max = usize::try_from(area.record_bytes_max()).unwrap();
    let plain = vec![1; max - 101];
    for (alternate_bytes, expected) in [(99, 99), (100, 100), (101, 0), (max, 0)] {
        let published = writer
            .publish(&Publication {
                alternate: &[&vec![2; alternate_bytes]],
                ..publication("a", &[&plain])
            })
            .unwrap();
        let entry = area.entry(published.seq).unwrap();
        assert_eq!(frame(&area, &entry), plain);
        let alternate = entry.alternate_range().map_or(0, |range| range.bytes);
        assert_eq!(alternate as usize, expected);
    }
    let bytes = area.record_bytes_max() + 1;
    let refused = writer.publish(&Publication {
        alternate: &[b"alternate"],
        ..publication("a", &[&vec![1; max]])
    });
    let max = area.record_bytes_max();
    assert_eq!(refused, Err(PublishError::TooLarge { bytes, max }));
}

#[test]
fn a_writer_that_dies_behind_the_frame_leaves_nothing() {
    // Part 0 is the name, part 1 the frame, part 2 the alternate.
    for step in [Step::PartCopied(1), Step::PartCopied(2)] {
        let area = area();
        let mut dying = worker(&area, 1);
        let died = catch_unwind(AssertUnwindSafe(|| {
            let publication = Publication {
                alternate: &[&[9; 500]],
                ..publication("news", &[&[8; 1000]])
            };
            dying.publish_traced(&publication, &mut |at| {
                if at == step {
                    resume_unwind(Box::new(()));
                }
            })
        }));
        assert!(died.is_err(), "{step:?} does not happen");
        dying.vanish();
        assert_eq!((area.head(), area.counters().bytes), (0, 0));
        let mut successor = worker(&area, 2);
        assert_eq!(publish(&mut successor, "news", b"next").unwrap().seq, 1);
        let entry = area.entry(1).unwrap();
        assert_eq!(frame(&area, &entry), b"next");
        assert_eq!(entry.alternate_range(), None);
    }
}

#[test]
fn lengths_that_nobody_can_have_written_are_refused() {
    let area = area();
    let mut writer = worker(&area, 1);
    writer
        .publish(&Publication {
            alternate: &[b"short"],
            ..publication("a", &[b"the frame"])
        })
        .unwrap();
    let max = area.record_bytes_max();
    let words = area.objects().entry(1);
    let good = words[board::ENTRY_ALTERNATE].load(SeqCst);
    let set = |bytes: u64| {
        let others = good & !u64::from(u32::MAX);
        words[board::ENTRY_ALTERNATE].store(others | bytes, SeqCst);
    };
    // As long as it may be together with the frame, and what is there is sent: no harm.
    set(max - 9);
    let entry = area.entry(1).unwrap();
    assert_eq!(entry.alternate_range().unwrap().end(), entry.record_end());
    for bytes in [max - 8, max, u64::from(u32::MAX)] {
        set(bytes);
        assert!(area.entry(1).is_err(), "{bytes}");
    }
    assert_eq!(area.counters().bad, 3);
    // An end beyond all positions.
    set(5);
    words[board::ENTRY_POSITION].store(u64::MAX - 13, SeqCst);
    assert!(area.entry(1).is_err());
    words[board::ENTRY_POSITION].store(u64::MAX - 14, SeqCst);
    assert_eq!(area.entry(1).unwrap().record_end(), u64::MAX);
}

/// Bytes that no other record has at this place.
fn pattern(number: usize, bytes: usize) -> Vec<u8> {
    let byte = |at: usize| (number * 31 + at * 7).to_le_bytes()[0];
    (0..bytes).map(byte).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is still in the log is whole, both of it, in records of all sizes that wrap and lap.
    #[test]
    fn what_the_log_still_has_is_whole(
        sizes in prop::collection::vec((0_usize..3000, 0_usize..3000, any::<bool>()), 1..120),
    ) {
        let area = area_with(SPOOL_BYTES, 64, 64);
        let mut writer = worker(&area, 1);
        let long = "n".repeat(100);
        for (number, (frame_bytes, alternate_bytes, has_alternate)) in sizes.iter().enumerate() {
            let plain = pattern(number, *frame_bytes);
            let alternate = pattern(number + 1, *alternate_bytes * usize::from(*has_alternate));
            let by_name = number % 3 == 0;
            writer.publish(&Publication {
                alternate: &[&alternate],
                ..publication(if by_name { &long } else { "news" }, &[&plain])
            }).unwrap();
        }
        let mut there = 0;
        let mut end = None;
        for (seq, (frame_bytes, alternate_bytes, has_alternate)) in (1..).zip(&sizes) {
            let Ok(entry) = area.entry(seq) else {
                prop_assert_eq!(there, 0, "a hole at {}", seq);
                continue;
            };
            there += 1;
            let number = usize::try_from(seq - 1).unwrap();
            prop_assert_eq!(frame(&area, &entry), pattern(number, *frame_bytes));
            let alternate = entry.alternate_range().map_or(Vec::new(), |range| bytes(&area, range));
            let expected = pattern(number + 1, *alternate_bytes * usize::from(*has_alternate));
            prop_assert_eq!(alternate, expected);
            prop_assert!(end.is_none_or(|end| end == entry.record_position()), "they are adjacent");
            end = Some(entry.record_end());
        }
        prop_assert!(there >= sizes.len().min(8));
        prop_assert_eq!(area.counters().bad, 0);
        prop_assert_eq!(end, Some(area.counters().bytes));
    }
}
