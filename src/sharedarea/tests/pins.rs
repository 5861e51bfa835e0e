//! Pins against writers, among them the bugs that an earlier prototype had.

use super::*;

/// Fills the spool until a writer is refused; how many messages went in.
fn fill(writer: &mut Participant) -> u32 {
    let mut published = 0;
    while publish(writer, "fill", &[0xff; 4000]).is_ok() {
        published += 1;
        assert!(published < 100, "nothing held the writer");
    }
    published
}

#[test]
fn pinned_bytes_stay_while_the_writer_is_refused_again_and_again() {
    let area = area();
    let (mut writer, reader) = (worker(&area, 1), worker(&area, 2));
    publish(&mut writer, "a", b"precious").unwrap();
    let entry = area.entry(1).unwrap();
    assert!(reader.pin(entry.position));
    fill(&mut writer);
    // Announced, then failed: the next writers must check again.
    assert!(area.horizon() > entry.position);
    for _ in 0..3 {
        assert_eq!(
            publish(&mut writer, "a", &[0xff; 4000]),
            Err(PublishError::WouldBlock)
        );
        assert_eq!(frame(&area, &entry), b"precious");
    }
    assert_eq!(area.counters().would_block, 4);
    reader.unpin();
    assert!(publish(&mut writer, "a", &[0xff; 4000]).is_ok());
}

#[test]
fn a_writer_that_is_refused_wakes_who_sleeps_with_a_pin() {
    let area = area();
    let (mut writer, reader) = (worker(&area, 1), worker(&area, 2));
    publish(&mut writer, "a", b"precious").unwrap();
    assert!(reader.pin(area.entry(1).unwrap().position));
    assert!(reader.park(1));
    fill(&mut writer);
    assert_eq!(rings(&area), 1);
    // Whoever sleeps and is not in the way sleeps on.
    let other = worker(&area, 3);
    assert!(other.park(area.head()));
    assert!(publish(&mut writer, "a", &[0xff; 4000]).is_err());
    assert_eq!(rings(&area), 0);
}

#[test]
fn a_half_sent_frame_is_protected_by_its_pin_not_by_the_horizon() {
    let area = area();
    let (mut writer, reader, late) = (worker(&area, 1), worker(&area, 2), worker(&area, 3));
    publish(&mut writer, "a", b"half-sent").unwrap();
    let entry = area.entry(1).unwrap();
    assert!(reader.pin(entry.position));
    fill(&mut writer);
    assert!(area.entry(1).is_err(), "for others it is lapped");
    assert!(!late.pin(entry.position));
    // The rest of the frame, behind the announced horizon, is still ours.
    assert!(reader.pin(entry.position + 4));
    assert_eq!(frame(&area, &entry)[4..], *b"-sent");
    assert_eq!(
        publish(&mut writer, "a", &[0xff; 4000]),
        Err(PublishError::WouldBlock)
    );
    // Given up for good once it moves away.
    reader.unpin();
    assert!(!reader.pin(entry.position));
}

#[test]
fn a_refused_pin_leaves_the_old_one_in_force() {
    let area = area();
    let (mut writer, reader) = (worker(&area, 1), worker(&area, 2));
    publish(&mut writer, "a", b"first").unwrap();
    publish(&mut writer, "a", b"second").unwrap();
    let second = area.entry(2).unwrap();
    assert!(reader.pin(second.position));
    fill(&mut writer);
    assert!(!reader.pin(0));
    assert_eq!(area.participant(2).unwrap().pin, Some(second.position));
    assert_eq!(
        publish(&mut writer, "a", &[0xff; 4000]),
        Err(PublishError::WouldBlock)
    );
    assert_eq!(frame(&area, &second), b"second");
}

#[test]
fn a_pin_may_move_down_while_the_bytes_are_there() {
    let area = area();
    let (mut writer, reader) = (worker(&area, 1), worker(&area, 2));
    publish(&mut writer, "a", b"first").unwrap();
    publish(&mut writer, "a", b"second").unwrap();
    assert!(reader.pin(area.entry(2).unwrap().position));
    assert!(reader.pin(area.entry(1).unwrap().position));
    fill(&mut writer);
    assert_eq!(
        bytes(
            &area,
            Range {
                position: 0,
                bytes: 11
            }
        ),
        b"firstsecond"
    );
}

#[test]
fn a_writer_is_refused_by_its_own_pin() {
    let area = area();
    let mut writer = worker(&area, 1);
    publish(&mut writer, "a", b"mine").unwrap();
    assert!(writer.pin(0));
    fill(&mut writer);
    assert_eq!(
        bytes(
            &area,
            Range {
                position: 0,
                bytes: 4
            }
        ),
        b"mine"
    );
}

#[test]
fn the_pin_of_a_dead_reader_holds_nobody() {
    let area = area();
    let (mut writer, reader) = (worker(&area, 1), worker(&area, 2));
    publish(&mut writer, "a", b"x").unwrap();
    assert!(reader.pin(0));
    fill(&mut writer);
    reader.vanish();
    assert!(
        publish(&mut writer, "a", &[0xff; 4000]).is_ok(),
        "the writer finds out by itself"
    );
    assert_eq!(area.participant(2).unwrap().pin, None);
}

#[test]
fn pins_that_are_out_of_the_way_do_not_hold_a_writer() {
    let area = area();
    let (mut writer, reader) = (worker(&area, 1), worker(&area, 2));
    for n in 0..200_u64 {
        let seq = publish(&mut writer, "a", &[0; 4000]).unwrap().seq;
        assert_eq!(seq, n + 1);
        assert!(reader.pin(area.entry(seq).unwrap().position));
    }
    assert_eq!(area.counters().would_block, 0);
}

#[test]
fn a_patient_writer_gives_up_too() {
    let area = area();
    let reader = worker(&area, 1);
    let mut master = area.join(ParticipantKind::Master, 0).unwrap();
    publish(&mut master, "a", b"x").unwrap();
    assert!(reader.pin(0));
    fill(&mut master);
    assert_eq!(area.counters().would_block, 1);
}
