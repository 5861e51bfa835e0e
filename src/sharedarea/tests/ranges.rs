//! Announced ranges: what their entries say, when they may be sent, and garbage.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::super::{Announced, Announcement, AreaError, Reading};
use super::areas::{PAGE, other, outside, read, with_page};
use super::*;

fn announce(shared: &SharedArea, by: &mut Participant, range: Announced, channel: &str) -> Entry {
    let published = by
        .announce(&Announcement {
            channel,
            flags: EntryFlags::TEXT,
            range,
            time_us: 3,
        })
        .unwrap();
    shared.entry(published.seq).unwrap()
}

#[test]
fn a_range_is_announced_by_an_entry_and_no_bytes() {
    let (shared, mut me, page) = with_page();
    page.write(100, b"payload").unwrap();
    let range = page.announcement(100, Some(7)).unwrap();
    assert_eq!(
        range,
        Announced {
            area: 0,
            position: 100,
            bytes: 7,
            updates: 2
        }
    );
    let entry = announce(&shared, &mut me, range, "news");
    assert_eq!(entry.announced, Some(range));
    assert_eq!(entry.flags, EntryFlags::TEXT | EntryFlags::REF);
    assert_eq!((entry.offset, entry.time_us, entry.origin), (1, 3, 0));
    assert_eq!(entry.range().bytes, 0);
    assert_eq!(entry.alternate_range(), None);
    assert_eq!(shared.counters().bytes, 0);
    // A name that is too long for the table travels in the spool.
    let long = "n".repeat(100);
    let entry = announce(&shared, &mut me, range, &long);
    assert_eq!(entry.announced, Some(range));
    assert_eq!(bytes(&shared, entry.name_range().unwrap()), long.as_bytes());
    let next = publish(&mut me, "news", b"x").unwrap();
    assert_eq!(next.offset, 2);
    assert_eq!(shared.entry(next.seq).unwrap().announced, None);

    assert_eq!(
        page.announcement(PAGE, Some(1)),
        Err(outside(PAGE, 1)),
        "and nothing is announced outside"
    );
    page.wlock().unwrap();
    assert_eq!(page.announcement(0, None), Err(AreaError::Locked));
}

#[test]
fn an_announced_range_is_sent_whole_or_not_at_all() {
    let (shared, _me, page) = with_page();
    let (_attached, _other, theirs) = other(&shared, 2);
    let (ours, mut peer) = UnixStream::pair().unwrap();
    page.write(0, b"abcdef").unwrap();
    let range = page.announcement(1, Some(4)).unwrap();
    let reading = Reading::of_announced(&theirs, &range).unwrap();
    assert!(!reading.is_in_the_way());
    assert_eq!(
        page.write(0, b"X"),
        Err(AreaError::Busy),
        "it is being sent"
    );
    let sent = reading.send(ours.as_fd(), b"head:", 1, 4).unwrap();
    assert!(reading.is_still(&range));
    assert!(reading.send(ours.as_fd(), b"", PAGE - 1, 2).is_err());
    drop(reading);
    let mut got = vec![0; sent];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, b"head:bcde");

    page.write(0, b"X").unwrap();
    assert!(Reading::of_announced(&theirs, &range).is_none());
    let range = page.announcement(1, Some(4)).unwrap();
    page.wlock().unwrap();
    assert!(Reading::of_announced(&theirs, &range).is_none());
    page.unlock().unwrap();
    assert!(Reading::of_announced(&theirs, &range).is_none());
    page.rlock().unwrap();
    let range = page.announcement(1, Some(4)).unwrap();
    drop(Reading::of_announced(&page, &range).unwrap());
    assert_eq!(page.info().readers, [1], "the caller's own lock stays");
}

#[test]
fn what_an_announcement_says_is_checked_by_its_reader() {
    let (shared, _me, _page) = with_page();
    let good = Announced {
        area: 0,
        position: PAGE - 1,
        bytes: 1,
        updates: 0,
    };
    assert!(shared.announced_area(&good).is_ok());
    for bad in [
        Announced { area: 1, ..good },
        Announced { bytes: 2, ..good },
        Announced {
            position: u64::MAX,
            ..good
        },
    ] {
        assert!(shared.announced_area(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn garbage_in_an_areas_record_harms_nobody() {
    use super::super::algorithm::board;
    use super::super::algorithm::memory::Memory;
    use std::sync::atomic::Ordering::SeqCst;

    for garbage in [u64::MAX, 1 << 63, 0x5555_5555_5555_5555] {
        let (shared, _me, page) = with_page();
        for field in (0..board::AREA_STRIDE).step_by(8) {
            let word = shared.objects().board64(board::area(0, field));
            let before = word.swap(garbage, SeqCst);
            let _read = page.read(0, None, &mut Vec::new());
            let _written = page.write(PAGE - 1, b"xy");
            let _info = page.info();
            let _range = page.announcement(0, None);
            shared.sweep(3);
            word.store(before, SeqCst);
        }
        assert_eq!(read(&page, 0, PAGE).len() as u64, PAGE);
    }
}
