//! The channel table: look-up, overflow, reclaiming.

use proptest::prelude::*;

use super::*;

#[test]
fn names_get_indexes_and_keep_them() {
    let area = area();
    let (mut one, mut two) = (worker(&area, 1), worker(&area, 2));
    let news = one.channel("news").unwrap();
    assert_eq!(two.channel("news"), Some(news));
    assert_ne!(two.channel("News"), Some(news));
    assert_eq!(area.channel(news).unwrap().name, "news");
    assert_eq!(area.channel(u32::MAX), None);
}

#[test]
fn a_name_that_does_not_fit_travels_in_front_of_its_frame() {
    let area = area();
    let mut writer = worker(&area, 1);
    let fits = "f".repeat(72);
    let long = "l".repeat(73);
    assert!(writer.channel(&fits).is_some());
    assert_eq!(writer.channel(&long), None);
    let published = writer
        .publish(&Publication {
            alternate: &[b"alt"],
            ..publication(&long, &[b"hel", b"lo"])
        })
        .unwrap();
    assert_eq!((published.offset, published.epoch), (0, 0));
    let entry = area.entry(published.seq).unwrap();
    assert_eq!(entry.channel, None);
    assert_eq!(bytes(&area, entry.name_range().unwrap()), long.as_bytes());
    assert_eq!(frame(&area, &entry), b"hello");
    assert_eq!(bytes(&area, entry.alternate_range().unwrap()), b"alt");
    assert_eq!(area.counters().named, 1);
}

#[test]
fn a_full_table_degrades_and_recovers() {
    let area = area_with(SPOOL_BYTES, 512, 4);
    let mut writer = worker(&area, 1);
    let held: Vec<u32> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| {
            let index = writer.channel(name).unwrap();
            writer.set_interest(index, 1);
            index
        })
        .collect();
    assert_eq!(writer.channel("e"), None);
    let edition = writer.channel_edition();
    let published = publish(&mut writer, "e", b"named").unwrap();
    assert_eq!(area.entry(published.seq).unwrap().channel, None);
    assert_eq!(writer.channel_edition(), edition);

    // One subscriber leaves: the next publication takes the slot, and everyone who waits can tell.
    writer.set_interest(held[2], 0);
    let published = publish(&mut writer, "e", b"indexed").unwrap();
    assert_eq!(area.entry(published.seq).unwrap().channel, Some(held[2]));
    assert_ne!(writer.channel_edition(), edition);
    assert_eq!(writer.channel("e"), Some(held[2]));
    assert_eq!(area.counters().reclaimed, 1);
}

#[test]
fn the_channel_that_rests_longest_is_reclaimed_and_comes_back_with_another_epoch() {
    let area = area_with(SPOOL_BYTES, 512, 2);
    let mut writer = worker(&area, 1);
    let first = publish(&mut writer, "a", b"1").unwrap();
    publish(&mut writer, "b", b"2").unwrap();
    publish(&mut writer, "a", b"3").unwrap();
    let index_of_b = area.entry(2).unwrap().channel;
    publish(&mut writer, "c", b"4").unwrap();
    assert_eq!(area.entry(4).unwrap().channel, index_of_b);
    publish(&mut writer, "d", b"5").unwrap();
    let again = publish(&mut writer, "a", b"6").unwrap();
    assert_eq!(again.offset, 1);
    assert_ne!(again.epoch, first.epoch);
}

#[test]
fn a_channel_that_was_just_looked_up_is_not_given_away() {
    let area = area_with(SPOOL_BYTES, 512, 2);
    let (mut reader, mut writer) = (worker(&area, 1), worker(&area, 2));
    let index = reader.channel("wanted").unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        publish(&mut writer, name, b"x").unwrap();
    }
    reader.set_interest(index, 1);
    assert_eq!(area.channel(index).unwrap().name, "wanted");
    // Looking elsewhere ends the visit, interest holds on.
    reader.channel("other");
    publish(&mut writer, "f", b"x").unwrap();
    assert_eq!(area.channel(index).unwrap().name, "wanted");
    reader.set_interest(index, 0);
    for name in ["g", "h"] {
        publish(&mut writer, name, b"x").unwrap();
    }
    assert_ne!(area.channel(index).unwrap().name, "wanted");
}

#[test]
fn subscribers_are_shown_by_worker_and_forgotten_with_it() {
    let area = area();
    let (mut one, mut two) = (worker(&area, 1), worker(&area, 63));
    let index = one.channel("news").unwrap();
    assert_eq!(two.channel("news"), Some(index));
    one.set_interest(index, 3);
    two.set_interest(index, 70_000);
    let shown = |slot: usize| area.channel(index).unwrap().subscribers[slot];
    assert_eq!((shown(1), shown(63), shown(2)), (3, u16::MAX, 0));
    drop(one);
    assert_eq!((shown(1), shown(63)), (0, u16::MAX));
    two.vanish();
    area.sweep(63);
    assert_eq!(shown(63), 0);
    // An index out of range is nobody's.
    worker(&area, 1).set_interest(u32::MAX, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a map: whatever is looked up and published, an index stands for one name, offsets
    /// count up per channel and epoch, and every frame arrives under its name.
    #[test]
    fn the_table_agrees_with_a_map(
        channels in prop_oneof![Just(1_u32), Just(4), Just(16)],
        names in prop::collection::vec("[a-e]{1,3}|[x]{70,75}", 1..120),
    ) {
        let area = area_with(SPOOL_BYTES, 512, channels);
        let mut writer = worker(&area, 1);
        let mut offsets = std::collections::HashMap::new();
        for name in &names {
            let published = publish(&mut writer, name, name.as_bytes()).unwrap();
            let entry = area.entry(published.seq).unwrap();
            prop_assert_eq!(frame(&area, &entry), name.as_bytes());
            match entry.channel {
                Some(index) => {
                    prop_assert_eq!(&area.channel(index).unwrap().name, name);
                    let last = offsets.entry((name, published.epoch)).or_insert(0);
                    *last += 1;
                    prop_assert_eq!(published.offset, *last);
                }
                None => prop_assert_eq!(bytes(&area, entry.name_range().unwrap()), name.as_bytes()),
            }
        }
    }
}
