//! Plain areas: bounds, integers, locks, dead holders, waiting, files.

use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::super::algorithm::areas::Step;
use super::super::{
    Area, AreaError, AreaProblem, AreaSize, AreaSource, AreaSpec, Descriptors, Reading,
};
use super::*;

pub(super) const PAGE: u64 = 4096;

fn memory(size: AreaSize) -> AreaSpec {
    AreaSpec {
        source: AreaSource::Memory,
        size,
        name: None,
        watch_ms: 0,
    }
}

fn file(path: &std::path::Path, offset: u64, bytes: u64) -> AreaSpec {
    AreaSpec {
        source: AreaSource::File {
            path: path.into(),
            offset,
        },
        ..memory(AreaSize::Bytes(bytes))
    }
}

/// A shared area with one page of memory as area 0, and this process in slot 1.
pub(super) fn with_page() -> (SharedArea, Participant, Area) {
    let shared = area();
    shared.make_areas(&[memory(AreaSize::Pages(1))]).unwrap();
    let participant = worker(&shared, 1);
    let page = shared.area(0).unwrap();
    (shared, participant, page)
}

/// The descriptors that another process would be handed.
fn copies(shared: &SharedArea) -> (Descriptors<OwnedFd>, Vec<OwnedFd>) {
    let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
    let fds = shared.fds();
    let fds = Descriptors {
        board: own(fds.board),
        log: own(fds.log),
        spool: own(fds.spool),
        bell: own(fds.bell),
    };
    (fds, shared.area_fds().map(own).collect())
}

/// The same shared area as another process in `slot` has it.
pub(super) fn other(shared: &SharedArea, slot: u16) -> (SharedArea, Participant, Area) {
    let (fds, areas) = copies(shared);
    let attached = SharedArea::attach(fds).unwrap();
    attached.attach_areas(areas).unwrap();
    let participant = worker(&attached, slot);
    let area = attached.area(0).unwrap();
    (attached, participant, area)
}

pub(super) fn read(area: &Area, position: u64, bytes: impl Into<Option<u64>>) -> Vec<u8> {
    let mut out = Vec::new();
    area.read(position, bytes.into(), &mut out).unwrap();
    out
}

pub(super) fn outside(position: u64, bytes: u64) -> AreaError {
    AreaError::OutOfBounds {
        position,
        bytes,
        limit: PAGE,
    }
}

#[test]
fn what_is_written_is_read_by_others() {
    let (shared, _me, page) = with_page();
    let (_attached, _other, theirs) = other(&shared, 2);
    page.write(5, b"hello").unwrap();
    assert_eq!(read(&theirs, 5, 5), b"hello");
    assert_eq!(read(&theirs, PAGE - 1, None), [0]);
    assert_eq!(read(&theirs, PAGE, None), b"");
    assert_eq!((theirs.updates(), theirs.info().hits), (1, 3));
    let mut out = b"before".to_vec();
    for (position, bytes) in [(PAGE, 1), (0, PAGE + 1), (u64::MAX, 1), (1, u64::MAX)] {
        let result = page.read(position, Some(bytes), &mut out);
        assert_eq!(result, Err(outside(position, bytes)));
    }
    assert_eq!(out, b"before");
    assert_eq!(page.write(PAGE - 4, b"hello"), Err(outside(PAGE - 4, 5)));
    assert_eq!(page.write(u64::MAX, b"x"), Err(outside(u64::MAX, 1)));
    assert_eq!(read(&page, PAGE - 4, 4), [0; 4]);
    assert_eq!(shared.area(1).unwrap_err(), AreaError::NoArea);
}

#[test]
fn integers_reach_exactly_to_the_end() {
    let (_shared, _me, page) = with_page();
    macro_rules! check {
        ($integer:ty, $bytes:literal, $read:ident, $write:ident, $inc:ident, $dec:ident) => {
            let last = PAGE - $bytes;
            page.$write(last, <$integer>::MAX).unwrap();
            assert_eq!(page.$read(last), Ok(<$integer>::MAX));
            assert_eq!(page.$inc(last, 2), Ok(1), "it wraps");
            assert_eq!(page.$dec(last, 3), Ok(<$integer>::MAX - 1));
            for position in [last + 1, u64::MAX, u64::MAX - $bytes + 1] {
                let error = Err(outside(position, $bytes));
                assert_eq!(page.$read(position), error);
                assert_eq!(page.$write(position, 0), error.map(drop));
                assert_eq!(page.$inc(position, 1), error);
                assert_eq!(page.$dec(position, 1), error);
            }
            // Unaligned, and native-endian.
            page.$write(5, 7).unwrap();
            assert_eq!(read(&page, 5, $bytes), <$integer>::to_ne_bytes(7));
            assert_eq!(page.$read(last), Ok(<$integer>::MAX - 1));
        };
    }
    check!(u8, 1, read8, write8, inc8, dec8);
    check!(u16, 2, read16, write16, inc16, dec16);
    check!(u32, 4, read32, write32, inc32, dec32);
    check!(u64, 8, read64, write64, inc64, dec64);
}

#[test]
fn the_rest_ends_where_the_area_is_used_to() {
    let (_shared, _me, page) = with_page();
    assert_eq!(page.used(), None);
    page.write(0, b"abcdef").unwrap();
    page.set_used(4).unwrap();
    assert_eq!(read(&page, 1, None), b"bcd");
    assert_eq!(read(&page, 4, None), b"");
    assert_eq!(read(&page, 1, 5), b"bcdef", "who gives a length means it");
    assert!(page.read(5, None, &mut Vec::new()).is_err());
    assert_eq!(page.set_used(PAGE + 1), Err(outside(0, PAGE + 1)));
    assert_eq!((page.used(), page.updates()), (Some(4), 2));
}

#[test]
fn the_holder_passes_and_others_do_not() {
    let (shared, _me, page) = with_page();
    let (_attached, _other, theirs) = other(&shared, 2);
    page.wlock().unwrap();
    page.wlock().unwrap();
    page.write(0, b"x").unwrap();
    assert_eq!(page.inc8(0, 1), Ok(b'y'));
    assert_eq!(read(&page, 0, 1), b"y");
    page.rlock().unwrap();
    assert_eq!(theirs.write(0, b"z"), Err(AreaError::Busy));
    assert_eq!(
        theirs.read(0, Some(1), &mut Vec::new()),
        Err(AreaError::Busy)
    );
    assert_eq!(theirs.rlock(), Err(AreaError::Busy));
    assert_eq!(page.updates(), 0, "not yet");
    assert_eq!(theirs.info().writer, Some(1));
    page.unlock().unwrap();
    assert_eq!(page.updates(), 1);
    theirs.write(0, b"z").unwrap();

    page.rlock().unwrap();
    theirs.rlock().unwrap();
    assert_eq!(theirs.info().readers, [1, 2]);
    assert_eq!(page.wlock(), Err(AreaError::Busy), "another one reads");
    assert_eq!(read(&page, 0, 1), b"z", "and the read lock is still there");
    theirs.unlock().unwrap();
    page.wlock().unwrap();
    page.unlock().unwrap();
    assert!(theirs.info().readers.is_empty());
    theirs.wlock().unwrap();
    theirs.unlock().unwrap();
}

#[test]
fn who_takes_no_part_may_not_lock() {
    let shared = area();
    shared.make_areas(&[memory(AreaSize::Pages(1))]).unwrap();
    let page = shared.area(0).unwrap();
    assert_eq!(page.write(0, b"x"), Err(AreaError::NotJoined));
    assert_eq!(page.rlock(), Err(AreaError::NotJoined));
}

const STEPS: [Step; 5] = [
    Step::Taken,
    Step::Begun,
    Step::Ended,
    Step::Unlocked,
    Step::Told,
];

/// A writer in slot 2 dies at `step` of a write; `then` is what happens afterwards.
fn check_death(step: Step, then: impl Fn(&SharedArea, &Area)) {
    let (shared, _me, page) = with_page();
    let before = page.announcement(0, Some(8)).unwrap();
    let (attached, writer, theirs) = other(&shared, 2);
    let death = catch_unwind(AssertUnwindSafe(|| {
        theirs.write_traced(0, b"new", &mut |at| {
            if at == step {
                resume_unwind(Box::new(()));
            }
        })
    }));
    assert!(death.is_err(), "{step:?} does not happen");
    writer.vanish();
    drop(attached);
    then(&shared, &page);
    // Nobody is kept out, and the counter is in order.
    page.write(0, b"next").unwrap();
    assert_eq!(read(&page, 0, 4), b"next");
    let info = page.info();
    assert_eq!(
        (info.writer, &info.readers[..]),
        (None, &[][..]),
        "{step:?}"
    );
    let inside = matches!(step, Step::Taken | Step::Begun | Step::Ended);
    assert_eq!(shared.counters().recoveries, u64::from(inside), "{step:?}");
    assert!(
        Reading::of_announced(&page, &before).is_none(),
        "{step:?}: an old announcement counts as current"
    );
    let now = page.announcement(0, Some(4)).unwrap();
    assert!(now.updates.is_multiple_of(2));
    assert!(Reading::of_announced(&page, &now).is_some());
}

#[test]
fn the_next_writer_takes_over_from_a_dead_one() {
    for step in STEPS {
        check_death(step, |_, _| {});
    }
}

#[test]
fn the_next_reader_takes_over_from_a_dead_writer() {
    for step in STEPS {
        check_death(step, |_, page| {
            page.rlock().unwrap();
            page.unlock().unwrap();
        });
    }
}

#[test]
fn the_sweep_gives_back_what_the_dead_held() {
    for step in STEPS {
        check_death(step, |shared, page| {
            shared.sweep(2);
            assert_eq!(page.info().writer, None);
        });
    }
}

#[test]
fn a_successor_in_the_slot_gives_back_what_the_dead_held() {
    for step in STEPS {
        check_death(step, |shared, page| {
            let (_attached, _successor, theirs) = other(shared, 2);
            assert_eq!(page.info().writer, None);
            theirs.wlock().unwrap();
            theirs.unlock().unwrap();
            page.update();
        });
    }
}

#[test]
fn a_dead_reader_is_in_nobodys_way() {
    let (shared, _me, page) = with_page();
    for _ in 0..2 {
        let (_attached, reader, theirs) = other(&shared, 2);
        theirs.rlock().unwrap();
        assert_eq!(page.wlock(), Err(AreaError::Busy));
        reader.vanish();
        page.write(0, b"x").unwrap();
        assert!(page.info().readers.is_empty());
    }
    let (_attached, reader, theirs) = other(&shared, 2);
    theirs.rlock().unwrap();
    reader.vanish();
    shared.sweep(2);
    assert!(page.info().readers.is_empty());
}

#[test]
fn a_wait_misses_nothing_and_ends_in_time() {
    let (shared, _me, page) = with_page();
    page.update();
    assert_eq!(page.wait(0, None), Ok(1), "it has happened already");
    assert_eq!(page.wait(1, Some(0)), Ok(1));
    assert_eq!(page.wait(1, Some(10)), Ok(1));
    let (fds, areas) = copies(&shared);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let attached = SharedArea::attach(fds).unwrap();
            attached.attach_areas(areas).unwrap();
            let _waiter = worker(&attached, 2);
            let page = attached.area(0).unwrap();
            let mut seen = 1;
            let mut values = Vec::new();
            while seen < 101 {
                seen = page.wait(seen, None).unwrap();
                values.push(page.read64(0).unwrap());
            }
            values
        });
        for _ in 0..100 {
            // Retried: the reader may be inside while it is not scheduled.
            while page.inc64(0, 1).is_err() {}
        }
        let values = waiter.join().unwrap();
        assert_eq!(values.last(), Some(&100));
        assert!(values.is_sorted());
    });
}

#[test]
fn a_watcher_that_sleeps_is_rung_for() {
    let (shared, me, page) = with_page();
    let (_attached, _other, theirs) = other(&shared, 2);
    let bell = || {
        let mut count = [0; 8];
        // The counter tells whether somebody rang; it is read in tests only.
        nix::unistd::read(shared.bell(), &mut count).is_ok()
    };
    page.set_watched(true).unwrap();
    assert!(me.park(0));
    theirs.update();
    assert!(bell());
    theirs.update();
    assert!(!bell(), "it is awake now");
    assert!(me.park(0));
    page.set_watched(false).unwrap();
    theirs.update();
    assert!(!bell());
}

#[test]
fn wrong_areas_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, [7; 100]).unwrap();
    let named = |name: &str| AreaSpec {
        name: Some(name.into()),
        ..memory(AreaSize::Pages(1))
    };
    let refused = |specs: &[AreaSpec]| area().make_areas(specs).unwrap_err().to_string();
    let place = path.display();
    assert_eq!(
        refused(&[memory(AreaSize::Pages(1)), file(&path, 37, 64)]),
        format!(
            "sharedarea 1 (file={place}): has 100 bytes, 101 are needed; it is never made longer"
        )
    );
    assert!(refused(&[file(&folder.path().join("no"), 0, 1)]).contains("it must exist"));
    assert!(refused(&[file(folder.path(), 0, 1)]).contains("cannot be opened"));
    assert!(refused(&[file("/dev/null".as_ref(), 0, 1)]).contains("not a regular file"));
    assert!(refused(&[file(&path, u64::MAX, 2)]).contains("must fit"));
    assert!(refused(&[memory(AreaSize::Bytes(0))]).contains("at least one byte"));
    assert!(refused(&[memory(AreaSize::Pages(u64::MAX))]).contains("must fit"));
    assert!(refused(&[named("a"), named("a")]).contains("area 0 has this name"));
    assert!(refused(&[named("")]).contains("1 to 32 bytes"));
    assert!(refused(&[named(&"n".repeat(33))]).contains("1 to 32 bytes"));
    assert!(refused(&vec![memory(AreaSize::Pages(1)); 257]).contains("there can be 256"));
    let watched = AreaSpec {
        watch_ms: 1,
        ..file(&path, 0, 64)
    };
    assert!(refused(&[watched]).contains("head"));
    let once = area();
    once.make_areas(&[named("a")]).unwrap();
    assert!(matches!(
        once.make_areas(&[]).unwrap_err().problem,
        AreaProblem::Late
    ));
    assert_eq!(once.find_area("a").unwrap().id(), 0);
    assert_eq!(once.find_area("0").unwrap().name().as_deref(), Some("a"));
    assert!(once.find_area("1").is_err());
    assert_eq!(once.areas().count(), 1);
    assert_eq!(once.area(0).unwrap().info().bytes, PAGE);
}

#[test]
fn a_file_is_an_area_with_exact_bounds_and_no_signal_when_it_shrinks() {
    let mut made = tempfile::NamedTempFile::new().unwrap();
    made.write_all(&[b'.'; 100]).unwrap();
    let by_number = AreaSpec {
        source: AreaSource::Descriptor {
            fd: made.as_raw_fd(),
            offset: 0,
        },
        ..memory(AreaSize::Bytes(100))
    };
    let shared = area();
    let specs = [file(made.path(), 10, 20), by_number];
    shared.make_areas(&specs).unwrap();
    let _me = worker(&shared, 1);
    let (part, whole) = (shared.area(0).unwrap(), shared.area(1).unwrap());
    part.write(0, b"begin").unwrap();
    part.write32(16, u32::from_ne_bytes(*b"last")).unwrap();
    assert!(part.write8(20, 0).is_err());
    assert_eq!(read(&whole, 9, 6), b".begin");
    assert_eq!(read(&whole, 25, 6), b".last.");
    assert!(!part.is_mapped());
    made.as_file().set_len(12).unwrap();
    let gone = Err(AreaError::File(std::io::ErrorKind::UnexpectedEof));
    let mut out = Vec::new();
    assert_eq!(part.read(0, Some(3), &mut out), gone);
    assert_eq!(out, b"");
    assert_eq!(part.write(0, b"abc"), gone, "it is not made longer");
    assert_eq!(part.inc16(1, 1), gone.map(|()| 0));
    assert_eq!(made.seek(std::io::SeekFrom::End(0)).unwrap(), 12);
    part.write(0, b"ab").unwrap();
    assert_eq!(read(&part, 0, 2), b"ab");
}
