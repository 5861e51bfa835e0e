//! Loom models of the shared area: the algorithms that ship run over loom's atomics, and every
//! interleaving (up to the preemption bound) and every value a weak memory order allows is tried.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --test model --release --target-dir target/loom`.
//! Without `--cfg loom` there is nothing here.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a model fails by panicking")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]
#![expect(clippy::print_stdout, reason = "how much was explored is reported")]

mod areas;
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether::sharedarea::EntryFlags;
use bellwether::sharedarea::algorithm::channels::{self, Name};
use bellwether::sharedarea::algorithm::lock::{self, Acquired, Identity, Patience};
use bellwether::sharedarea::algorithm::memory::{Memory, Word};
use bellwether::sharedarea::algorithm::publish::{self, Committed, Record, Step, WouldBlock};
use bellwether::sharedarea::algorithm::{bell, board, log, pin};
use loom::thread;
use memory::ModelMemory;

/// Explores `model` and checks that it was explored: a model whose threads cannot meet passes
/// everything.
fn explore(
    name: &str,
    preemptions: usize,
    interleavings_min: usize,
    model: impl Fn() + Send + Sync + 'static,
) {
    let interleavings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&interleavings);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = interleavings.load(Ordering::Relaxed);
    println!("{name}: {explored} interleavings");
    assert!(
        explored >= interleavings_min,
        "{name}: only {explored} interleavings explored"
    );
}

fn identity(slot: u16) -> Identity {
    Identity {
        slot,
        generation: 1,
    }
}

fn name() -> Name<'static> {
    Name::new("c", 1).unwrap()
}

/// The payload of a message by `slot`: two bytes that must be seen together.
fn payload(slot: u16) -> [u8; 2] {
    [
        u8::try_from(slot).unwrap(),
        0x80 | u8::try_from(slot).unwrap(),
    ]
}

fn publish(
    memory: &ModelMemory,
    slot: u16,
    trace: &mut dyn FnMut(Step),
) -> Result<Committed, WouldBlock> {
    let record = Record {
        name: name(),
        parts: &[&payload(slot)],
        alternate: &[],
        frame_bytes: 2,
        alternate_bytes: 0,
        flags: EntryFlags::BINARY,
        origin: u64::from(slot),
        time_us: 0,
        announced: None,
    };
    publish::publish(memory, identity(slot), Patience(0), &record, &mut |step| {
        trace(step);
    })
}

/// Reads entry `seq` as a worker does: entry, pin, bytes. `None`: lapped. The bytes must be the ones
/// of the entry, and no writer may touch them meanwhile (the cells check that).
fn read(memory: &ModelMemory, slot: u16, seq: u64) -> Option<log::Entry> {
    let entry = log::read(memory, seq).ok()?;
    assert_eq!(entry.seq, seq);
    let protected = pin::set(memory, slot, entry.position, board::PIN_NONE)?;
    assert_eq!(protected, entry.position);
    let bytes = memory.read_spool(entry.position, entry.frame_bytes);
    pin::clear(memory, slot);
    assert_eq!(
        bytes,
        payload(u16::try_from(entry.origin).unwrap()),
        "entry {seq} is torn"
    );
    Some(entry)
}

#[test]
fn a_reader_sees_whole_entries_or_none_while_a_writer_laps_it() {
    explore("lap", 3, 20_000, || {
        let memory = Arc::new(ModelMemory::new());
        // The spool takes eight messages, the log four: the next one overwrites both.
        for _ in 0..8 {
            publish(&memory, 1, &mut |_| {}).unwrap();
        }
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || publish(&memory, 2, &mut |_| {}).is_ok())
        };
        let head = log::head(&*memory);
        // The oldest still there, which the writer is after, and the newest.
        read(&memory, 0, 5);
        let newest = read(&memory, 0, head).expect("the newest entry cannot be lapped here");
        assert_eq!(newest.offset, head);
        assert!(
            writer.join().unwrap(),
            "a short pin must not fail a publication for good"
        );
    });
}

#[test]
fn pinned_bytes_survive_a_writer_that_wants_them() {
    explore("pin", 4, 1_000, || {
        let memory = Arc::new(ModelMemory::new());
        // All eight are in the log if it is asked by position only: the frame is half sent.
        for _ in 0..8 {
            publish(&memory, 1, &mut |_| {}).unwrap();
        }
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                // Announced, then failed: the second try must not believe the first.
                for _ in 0..2 {
                    let _refused = publish(&memory, 2, &mut |_| {});
                }
            })
        };
        // The oldest message, at position 0, which the first new one would overwrite.
        let pinned = pin::set(&*memory, 0, 0, board::PIN_NONE);
        if let Some(protected) = pinned {
            assert_eq!(memory.read_spool(0, 2), payload(1));
            // Half of it is out: the pin moves up, whatever the horizon is by now.
            assert_eq!(pin::set(&*memory, 0, 1, protected), Some(1));
            assert_eq!(memory.read_spool(1, 1), payload(1)[1..]);
            pin::clear(&*memory, 0);
        }
        writer.join().unwrap();
        // Both may have been refused; without the pin nobody is.
        publish(&memory, 2, &mut |_| {}).expect("the space is free again");
    });
}

#[test]
fn two_writers_agree_on_one_order() {
    explore("two writers", 6, 40, || {
        let memory = Arc::new(ModelMemory::new());
        publish(&memory, 1, &mut |_| {}).unwrap();
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || publish(&memory, 2, &mut |_| {}).ok())
        };
        let mine = publish(&memory, 1, &mut |_| {}).ok();
        let theirs = other.join().unwrap();
        let mut seqs: Vec<u64> = [mine, theirs]
            .into_iter()
            .flatten()
            .map(|done| done.seq)
            .collect();
        seqs.sort_unstable();
        let expected: Vec<u64> = (2..).take(seqs.len()).collect();
        assert_eq!(seqs, expected);
        assert_eq!(log::head(&*memory), 1 + seqs.len() as u64);
        for seq in seqs {
            let entry = read(&memory, 0, seq).unwrap();
            assert_eq!((entry.offset, entry.prev), (seq, seq - 1));
        }
    });
}

#[test]
fn a_writer_that_dies_at_any_step_is_repaired_beside_a_reader() {
    let steps = [
        Step::Locked,
        Step::SpaceConfirmed,
        Step::PartCopied(0),
        Step::PartCopied(1),
        Step::EntryInvalidated,
        Step::EntryFilled,
        Step::EndMoved,
        Step::Committed,
        Step::ChannelRecorded,
    ];
    for step in steps {
        explore(&format!("death at {step:?}"), 4, 500, move || {
            let memory = Arc::new(ModelMemory::new());
            publish(&memory, 3, &mut |_| {}).unwrap();
            let dying = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    memory.work_and_die(2, step, |trace| publish(&memory, 2, trace));
                })
            };
            let survivor = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || publish(&memory, 1, &mut |_| {}).ok())
            };
            let head = log::head(&*memory);
            read(&memory, 0, head).expect("a committed entry is whole");
            dying.join().unwrap();
            survivor.join().unwrap();
            // Whoever comes now finds order.
            let last = publish(&memory, 1, &mut |_| {}).expect("the dead block nobody");
            let head = log::head(&*memory);
            assert_eq!(last.seq, head);
            for seq in 2..=head {
                let entry = read(&memory, 0, seq).unwrap();
                assert_eq!((entry.offset, entry.prev), (seq, seq - 1));
            }
        });
    }
}

#[test]
fn a_live_owner_that_has_just_joined_is_not_robbed() {
    explore("join", 8, 40, || {
        let memory = Arc::new(ModelMemory::new());
        let newcomer = Identity {
            slot: 2,
            generation: 2,
        };
        let joining = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let at = board::participant(2, board::PARTICIPANT_GENERATION);
                memory.board32(at).fetch_add(1, Ordering::Release);
                if lock::acquire(&*memory, newcomer, Patience(0)).is_ok() {
                    memory.work_inside();
                    lock::release(&*memory);
                }
            })
        };
        match lock::acquire(&*memory, identity(1), Patience(0)) {
            Ok(Acquired::Free) => {
                memory.work_inside();
                lock::release(&*memory);
            }
            Ok(Acquired::FromTheDead) => panic!("robbed a live owner"),
            Err(lock::Busy) => {}
        }
        joining.join().unwrap();
    });
}

#[test]
fn a_worker_never_sleeps_over_a_message() {
    explore("park", 4, 5_000, || {
        let memory = Arc::new(ModelMemory::new());
        channels::set_interest(&*memory, 0, 0, true);
        let writers: Vec<_> = [1, 2]
            .into_iter()
            .map(|_| {
                let memory = Arc::clone(&memory);
                // What a publication does after the lock, with the lock left out.
                thread::spawn(move || {
                    memory.board64(board::HEAD).fetch_add(1, Ordering::Release);
                    bell::ring(&*memory, Some(0));
                })
            })
            .collect();
        let seen = log::head(&*memory);
        let sleeps = bell::park(&*memory, 0, seen);
        for writer in writers {
            writer.join().unwrap();
        }
        if sleeps && log::head(&*memory) != seen {
            assert!(memory.rings() > 0, "asleep over entry {}", seen + 1);
        }
    });
}

#[test]
fn a_worker_never_sleeps_over_a_message_that_was_committed_after_it_had_come_to_the_channel() {
    explore("come and park", 6, 200, || {
        let memory = Arc::new(ModelMemory::new());
        let index = channels::find_or_insert(&*memory, &name(), &mut |_| {}).unwrap();
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || publish(&memory, 1, &mut |_| {}).is_ok())
        };
        channels::set_interest(&*memory, 0, index, true);
        let seen = log::head(&*memory);
        let sleeps = bell::park(&*memory, 0, seen);
        assert!(writer.join().unwrap(), "nothing is in its way");
        if sleeps && log::head(&*memory) != seen {
            assert!(memory.rings() > 0, "asleep over entry {}", seen + 1);
        }
    });
}

#[test]
fn a_channel_slot_is_not_given_away_under_a_subscriber() {
    explore("visit", 5, 3_000, || {
        let memory = Arc::new(ModelMemory::new());
        // The table has one slot, and it is idle.
        assert_eq!(
            channels::find_or_insert(&*memory, &name(), &mut |_| {}),
            Some(0)
        );
        let other = Name::new("d", 1).unwrap();
        let editor = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || channels::find_or_insert(&*memory, &other, &mut |_| {}).is_some())
        };
        let visited = channels::visit(&*memory, 0, &name()).is_some();
        if visited {
            channels::set_interest(&*memory, 0, 0, true);
        }
        let given_away = editor.join().unwrap();
        assert!(
            !(visited && given_away),
            "subscribed to a name, got another"
        );
        if visited {
            assert_eq!(channels::name(&*memory, 0).as_deref(), Some("c"));
        }
    });
}
