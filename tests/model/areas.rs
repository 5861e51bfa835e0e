//! Models of an area's lock: many readers or one writer, holders that die, and those who wait for an update.
//!
//! Each rule that rests on a fence or an order is tried once more on a memory that lacks it, and has to fail there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bellwether::sharedarea::algorithm::areas::{self, Hold, Step};
use bellwether::sharedarea::algorithm::board;
use bellwether::sharedarea::algorithm::lock::{self, Acquired, Patience};
use bellwether::sharedarea::algorithm::memory::{Memory, Word};
use loom::sync::atomic::AtomicU64;
use loom::thread::{self, JoinHandle};

use super::memory::{Flaw, ModelMemory};
use super::{explore, identity};

/// The area.
const ID: u8 = 0;

type Shared = Arc<ModelMemory>;

fn spawn<R: 'static>(memory: &Shared, work: impl FnOnce(&Shared) -> R + 'static) -> JoinHandle<R> {
    let memory = Arc::clone(memory);
    thread::spawn(move || work(&memory))
}

fn counter(memory: &ModelMemory) -> u64 {
    let at = board::area(ID, board::AREA_UPDATES);
    memory.board64(at).load(Ordering::Relaxed)
}

fn turn(memory: &ModelMemory) -> u32 {
    let at = board::area(ID, board::AREA_TURN);
    memory.board32(at).load(Ordering::Relaxed)
}

/// Writes as `slot`, unless others are inside for longer than it waits.
fn write(memory: &ModelMemory, slot: u16, patience: u32, trace: &mut dyn FnMut(Step)) -> bool {
    let trace = &mut |step| trace(step);
    let taken = areas::write(memory, identity(slot), ID, Patience(patience), trace).is_ok();
    if taken {
        assert_eq!(areas::hold(memory, identity(slot), ID), Hold::Write);
        assert_eq!(counter(memory) % 2, 1, "a write that nobody can see");
        memory.work_inside();
        areas::end_write(memory, ID, trace);
    }
    taken
}

/// Reads as `slot`, unless a writer is inside.
fn read(memory: &ModelMemory, slot: u16) {
    if areas::try_read(memory, identity(slot), ID) {
        assert_eq!(areas::hold(memory, identity(slot), ID), Hold::Read);
        assert_eq!(counter(memory) % 2, 0, "read beside a write");
        memory.look_inside();
        areas::end_read(memory, identity(slot), ID);
    }
}

/// Two writers and a reader.
fn meet(flaw: Flaw) {
    let memory = Arc::new(ModelMemory::with_area(flaw));
    let writers =
        [1, 2].map(|slot| spawn(&memory, move |memory| write(memory, slot, 0, &mut |_| {})));
    read(&memory, 0);
    let written = writers.map(|writer| u64::from(writer.join().unwrap()));
    assert_eq!(counter(&memory), 2 * written.iter().sum::<u64>());
    assert_eq!(memory.look_inside(), written.iter().sum::<u64>());
}

#[test]
fn readers_and_writers_of_an_area_never_overlap() {
    explore("area", 3, 5_000, || meet(Flaw::None));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_fences_a_reader_and_a_writer_overlap() {
    explore("area without fences", 3, 1, || {
        meet(Flaw::NoFence(Ordering::SeqCst));
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_orders_one_holder_does_not_see_what_the_other_wrote() {
    explore("area without orders", 3, 1, || meet(Flaw::Relaxed));
}

/// One looks without the lock, and believes what it saw if the counter was even and has not moved.
fn look(flaw: Flaw) {
    let memory = Arc::new(ModelMemory::with_area(flaw));
    let bytes = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let theirs = Arc::clone(&bytes);
    let writing = spawn(&memory, move |memory| {
        let trace = &mut |_| {};
        areas::write(&**memory, identity(1), ID, Patience(0), trace).unwrap();
        theirs
            .iter()
            .for_each(|byte| byte.store(1, Ordering::Relaxed));
        areas::end_write(&**memory, ID, trace);
    });
    let at = board::area(ID, board::AREA_UPDATES);
    let before = memory.board64(at).load(Ordering::Acquire);
    let [first, second] = [0, 1].map(|at: usize| bytes[at].load(Ordering::Relaxed));
    memory.fence(Ordering::Acquire);
    if before % 2 == 0 && counter(&memory) == before {
        assert_eq!(first, second, "half of a write is believed");
    }
    writing.join().unwrap();
}

#[test]
fn the_counter_tells_whoever_looks_without_the_lock() {
    explore("area, look", 4, 100, || look(Flaw::None));
}

#[test]
#[should_panic(expected = "half of a write is believed")]
fn without_the_fence_the_counter_comes_too_late() {
    explore("area, look without fences", 4, 1, || {
        look(Flaw::NoFence(Ordering::Release));
    });
}

#[test]
fn two_readers_that_want_to_write_keep_what_they_have() {
    explore("area, both want more", 4, 500, || {
        let memory = Arc::new(ModelMemory::with_area(Flaw::None));
        let both = |memory: &Shared, slot| {
            if !areas::try_read(&**memory, identity(slot), ID) {
                return;
            }
            memory.look_inside();
            if !write(memory, slot, 0, &mut |_| {}) {
                memory.look_inside();
            }
            assert_eq!(areas::hold(&**memory, identity(slot), ID), Hold::Read);
            areas::end_read(&**memory, identity(slot), ID);
        };
        let other = spawn(&memory, move |memory| both(memory, 1));
        both(&memory, 2);
        other.join().unwrap();
        assert!(write(&memory, 3, 0, &mut |_| {}), "a lock is left");
    });
}

#[test]
fn a_writer_that_dies_at_any_step_is_taken_over_from() {
    for step in [Step::Taken, Step::Begun, Step::Ended, Step::Unlocked] {
        explore(&format!("area, death at {step:?}"), 3, 20_000, move || {
            let memory = Arc::new(ModelMemory::with_area(Flaw::None));
            let dying = spawn(&memory, move |memory| {
                memory.work_and_die(2, step, |trace| write(memory, 2, 0, trace));
            });
            let survivor = spawn(&memory, |memory| write(memory, 1, 1, &mut |_| {}));
            if areas::read(&*memory, identity(0), ID, Patience(0)).is_ok() {
                assert_eq!(
                    counter(&memory) % 2,
                    0,
                    "read what a dead writer left half done"
                );
                memory.look_inside();
                areas::end_read(&*memory, identity(0), ID);
            }
            dying.join().unwrap();
            survivor.join().unwrap();
            let before = counter(&memory);
            assert!(
                write(&memory, 1, 0, &mut |_| {}),
                "the dead block the living"
            );
            let after = counter(&memory);
            assert!(after % 2 == 0 && after > before, "{before}, then {after}");
        });
    }
}

#[test]
fn a_reader_that_dies_blocks_nobody() {
    explore("area, dead reader", 4, 70, || {
        let memory = Arc::new(ModelMemory::with_area(Flaw::None));
        let dying = spawn(&memory, |memory| {
            if areas::try_read(&**memory, identity(2), ID) {
                memory.look_inside();
                memory.die(2);
            }
        });
        write(&memory, 1, 1, &mut |_| {});
        dying.join().unwrap();
        assert!(
            write(&memory, 1, 0, &mut |_| {}),
            "the dead block the living"
        );
    });
}

#[test]
fn whoever_asks_once_takes_the_lock_from_the_dead_while_another_begins_to_wait() {
    explore("area, one try", 5, 1_000, || {
        let memory = Arc::new(ModelMemory::with_area(Flaw::None));
        let at = board::area(ID, board::AREA_WRITER);
        let Ok(Acquired::Free) = lock::acquire_at(&*memory, at, identity(2), Patience(0)) else {
            panic!("a new lock is not free");
        };
        let death = spawn(&memory, |memory| memory.die(2));
        let waiting = spawn(&memory, |memory| write(memory, 1, 1, &mut |_| {}));
        death.join().unwrap();
        areas::recover(&*memory, identity(0), ID);
        let word = memory.board32(at).load(Ordering::Relaxed);
        assert_ne!(lock::slot_of_word(word), Some(2), "left to the dead");
        waiting.join().unwrap();
    });
}

/// One sleeps until something has happened, which `change` does.
fn sleep_over(flaw: Flaw, change: impl Fn(&Shared) + Copy + 'static) {
    let memory = Arc::new(ModelMemory::with_area(flaw));
    let changing = spawn(&memory, move |memory| change(memory));
    let slept_on = areas::wait(&*memory, identity(0), ID, 0);
    changing.join().unwrap();
    if let Some(slept_on) = slept_on
        && areas::updates(&*memory, ID) != 0
    {
        // A sleeper is woken after `turn` has changed, and does not fall asleep on another value.
        assert_ne!(turn(&memory), slept_on, "asleep over an update");
    }
}

fn write_and_update(memory: &Shared) {
    write(memory, 1, 0, &mut |_| {});
    areas::update(&**memory, ID);
}

#[test]
fn whoever_waits_for_an_area_misses_no_update() {
    explore("area, wait", 5, 100, || {
        sleep_over(Flaw::None, write_and_update)
    });
}

#[test]
#[should_panic(expected = "asleep over an update")]
fn without_the_fences_somebody_sleeps_over_an_update() {
    explore("area, wait without fences", 5, 1, || {
        sleep_over(Flaw::NoFence(Ordering::SeqCst), write_and_update);
    });
}

#[test]
fn what_a_dead_writer_did_is_told_even_by_one_that_gives_up() {
    explore("area, wait for the dead", 5, 40, || {
        sleep_over(Flaw::None, |memory| {
            memory.work_and_die(2, Step::Begun, |trace| write(memory, 2, 0, trace));
            // A reader that has yet to see the token is enough to be in the way.
            let readers = memory.board64(board::area(ID, board::AREA_READERS));
            readers.fetch_or(board::bit(3), Ordering::Relaxed);
            assert!(!write(memory, 1, 0, &mut |_| {}));
        });
    });
}
