//! Publishing and reading, sending and copying.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::super::{Descriptors, EntryFlags, Geometry, PublishError, Range, SharedArea};
use super::*;

#[test]
fn what_is_published_can_be_read() {
    let area = area();
    let mut writer = worker(&area, 1);
    let published = writer
        .publish(&Publication {
            channel: "news",
            flags: EntryFlags::BINARY,
            parts: &[b"\x82\x05", b"hello"],
            alternate: &[b"\xc2\x02", b"zz"],
            origin: 42,
            time_us: 1_700_000_000_000_000,
        })
        .unwrap();
    assert_eq!((published.seq, published.offset), (1, 1));

    let entry = area.entry(1).unwrap();
    assert_eq!(frame(&area, &entry), b"\x82\x05hello");
    assert_eq!(
        bytes(&area, entry.alternate_range().unwrap()),
        b"\xc2\x02zz"
    );
    assert_eq!(entry.flags, EntryFlags::BINARY);
    assert_eq!((entry.origin, entry.time_us), (42, 1_700_000_000_000_000));
    assert_eq!(entry.channel, writer.channel("news"));
    assert_eq!((entry.offset, entry.prev, entry.name_range()), (1, 0, None));
}

#[test]
fn messages_of_a_channel_form_a_chain() {
    let area = area();
    let mut writer = worker(&area, 1);
    for channel in ["a", "b", "a", "a"] {
        publish(&mut writer, channel, b"x").unwrap();
    }
    let chain: Vec<_> = (1..=4).map(|seq| area.entry(seq).unwrap()).collect();
    let facts: Vec<_> = chain
        .iter()
        .map(|entry| (entry.offset, entry.prev))
        .collect();
    assert_eq!(facts, [(1, 0), (1, 0), (2, 1), (3, 3)]);
    assert_eq!(area.counters().published, 4);
    assert_eq!(area.counters().bytes, 4);
}

#[test]
fn entries_that_are_not_there_are_lapped() {
    let area = area();
    let mut writer = worker(&area, 1);
    assert!(area.entry(0).is_err());
    assert!(area.entry(1).is_err());
    publish(&mut writer, "a", b"x").unwrap();
    assert!(area.entry(0).is_err());
    assert!(area.entry(1).is_ok());
    assert!(area.entry(2).is_err());
    assert!(area.entry(u64::MAX).is_err());
}

#[test]
fn the_index_ring_laps_before_the_spool_when_frames_are_small() {
    let area = area_with(SPOOL_BYTES, 64, 64);
    let mut writer = worker(&area, 1);
    for _ in 0..65 {
        publish(&mut writer, "a", b"x").unwrap();
    }
    assert!(area.entry(1).is_err());
    assert!(area.entry(2).is_ok());
    assert_eq!(area.horizon(), 0);
}

#[test]
fn records_wrap_and_are_read_and_sent_whole() {
    let area = area();
    let mut writer = worker(&area, 1);
    let mut wrapped = 0;
    for n in 0..200_u32 {
        let payload: Vec<u8> = (0..777).map(|at| (at + n).to_le_bytes()[0]).collect();
        let seq = publish(&mut writer, "a", &payload).unwrap().seq;
        let entry = area.entry(seq).unwrap();
        assert_eq!(frame(&area, &entry), payload);
        if entry.position / SPOOL_BYTES != (entry.range().end() - 1) / SPOOL_BYTES {
            wrapped += 1;
            let (sender, mut receiver) = UnixStream::pair().unwrap();
            assert_eq!(
                area.send(sender.as_fd(), &[entry.range()]).unwrap(),
                payload.len()
            );
            drop(sender);
            let mut received = Vec::new();
            receiver.read_to_end(&mut received).unwrap();
            assert_eq!(received, payload);
        }
    }
    assert!(wrapped > 0);
}

#[test]
fn ranges_leave_in_order_and_at_most_64_pieces() {
    let area = area();
    let mut writer = worker(&area, 1);
    let ranges: Vec<Range> = (0..200_u8)
        .map(|n| {
            let seq = publish(&mut writer, "a", &[n; 10]).unwrap().seq;
            area.entry(seq).unwrap().range()
        })
        .collect();
    let (sender, mut receiver) = UnixStream::pair().unwrap();
    // All 200 are adjacent: one piece.
    assert_eq!(area.send(sender.as_fd(), &ranges).unwrap(), 2000);
    // Every second one: as many pieces as ranges.
    let odd: Vec<Range> = ranges.iter().copied().skip(1).step_by(2).collect();
    assert_eq!(area.send(sender.as_fd(), &odd).unwrap(), 640);
    assert_eq!(area.send(sender.as_fd(), &[]).unwrap(), 0);
    drop(sender);
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).unwrap();
    let expected: Vec<u8> = (0..200)
        .chain((0..64).map(|n| 2 * n + 1))
        .flat_map(|n| [n; 10])
        .collect();
    assert_eq!(received, expected);
}

#[test]
fn a_full_socket_blocks_and_a_closed_one_fails_without_a_signal() {
    let area = area();
    let mut writer = worker(&area, 1);
    let seq = publish(&mut writer, "a", &[1; 8000]).unwrap().seq;
    let range = area.entry(seq).unwrap().range();
    let (sender, receiver) = UnixStream::pair().unwrap();
    let error = std::iter::repeat_with(|| area.send(sender.as_fd(), &[range]))
        .find_map(Result::err)
        .unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(receiver);
    let error = area.send(sender.as_fd(), &[range]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn wild_ranges_stay_inside_the_mapping() {
    let area = area();
    for position in [0, 1, SPOOL_BYTES - 1, u64::MAX, u64::MAX - 5] {
        let range = Range {
            position,
            bytes: u32::MAX,
        };
        assert_eq!(bytes(&area, range).len() as u64, SPOOL_BYTES);
    }
}

#[test]
fn limits_are_told_apart() {
    let area = area();
    let mut writer = worker(&area, 1);
    let max = SPOOL_BYTES / 8;
    let most = vec![0; usize::try_from(max).unwrap() - 1];
    publish(&mut writer, "a", &most).unwrap();
    let more = vec![0; most.len() + 1];
    assert_eq!(
        publish(&mut writer, "a", &more),
        Err(PublishError::TooLarge {
            bytes: max + 1,
            max
        })
    );
    assert_eq!(
        publish(&mut writer, "", b"x"),
        Err(PublishError::InvalidChannel)
    );
    let long = "c".repeat(256);
    assert_eq!(
        publish(&mut writer, &long, b"x"),
        Err(PublishError::InvalidChannel)
    );
    assert!(publish(&mut writer, &long[..255], b"x").is_ok());
}

#[test]
fn an_attached_area_is_the_same_area() {
    let area = area();
    let mut writer = worker(&area, 1);
    publish(&mut writer, "news", b"hello").unwrap();
    let attached = SharedArea::attach(clones(&area)).unwrap();
    assert_eq!(attached.geometry(), area.geometry());
    assert_eq!(attached.head(), 1);
    let mut other = worker(&attached, 2);
    assert_eq!(other.channel("news"), writer.channel("news"));
    assert_eq!(publish(&mut other, "news", b"again").unwrap().offset, 2);
    assert_eq!(frame(&area, &area.entry(2).unwrap()), b"again");
}

#[test]
fn foreign_objects_are_refused() {
    // A spool that is large enough to be taken for a board.
    let geometry = Geometry::with_spool(128 * 1024);
    let area = SharedArea::create(geometry, 1, 0).unwrap();
    let swap = |change: fn(&mut Descriptors<OwnedFd>)| {
        let mut fds = clones(&area);
        change(&mut fds);
        SharedArea::attach(fds).unwrap_err().to_string()
    };
    let text = swap(|fds| std::mem::swap(&mut fds.log, &mut fds.spool));
    assert!(text.starts_with("log has"), "{text}");
    let text = swap(|fds| std::mem::swap(&mut fds.board, &mut fds.spool));
    assert!(text.starts_with("not a shared area"), "{text}");
    let text = swap(|fds| std::mem::swap(&mut fds.board, &mut fds.bell));
    assert!(text.starts_with("cannot map the board"), "{text}");
}

#[test]
fn impossible_sizes_are_refused() {
    let good = Geometry::with_spool(1 << 20);
    assert_eq!(good.entries, 8192);
    good.check().unwrap();
    for bad in [
        Geometry {
            spool_bytes: 32 * 1024,
            ..good
        },
        Geometry {
            spool_bytes: 100_000,
            ..good
        },
        Geometry {
            spool_bytes: 1 << 40,
            ..good
        },
        Geometry {
            entries: 100,
            ..good
        },
        Geometry {
            entries: 32,
            ..good
        },
        Geometry {
            channels: 0,
            ..good
        },
        Geometry {
            channels: 3,
            ..good
        },
    ] {
        assert!(SharedArea::create(bad, 1, 1).is_err(), "{bad:?}");
    }
}

fn clones(area: &SharedArea) -> Descriptors<OwnedFd> {
    let fds = area.fds();
    Descriptors {
        board: fds.board.try_clone_to_owned().unwrap(),
        log: fds.log.try_clone_to_owned().unwrap(),
        spool: fds.spool.try_clone_to_owned().unwrap(),
        bell: fds.bell.try_clone_to_owned().unwrap(),
    }
}
