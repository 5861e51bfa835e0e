//! Holders of area locks that are killed: at every single step of a write, and at any instant.
//!
//! Every word of the area is the number of the write, but for the time in between, when the first is 0.
//! So whoever has a lock finds one number, or the 0 of a writer that died in the middle.

use std::collections::BTreeMap;

use bellwether::sharedarea::algorithm::areas::Step;
use bellwether::sharedarea::{
    Area, AreaError, AreaSize, AreaSource, AreaSpec, Geometry, ParticipantKind, Reading, SharedArea,
};

use crate::Outcome;
use crate::children::{self, DYING_LOCKER, LOCKER, Owned};
use crate::clock::{self, Deadline, Durations, Random, Stopwatch};
use crate::recovery::{Recovery, Taker};

const LOCKERS: u16 = 4;
const WORDS: u64 = 512;
/// The master's lock may be refused this often in a row.
const REFUSED_MAX: u32 = 50;

pub(crate) const CASES: [Step; 5] = [
    Step::Taken,
    Step::Begun,
    Step::Ended,
    Step::Unlocked,
    Step::Told,
];

fn area(seed: u64) -> Result<SharedArea, Box<dyn std::error::Error>> {
    let area = SharedArea::create(Geometry::with_spool(1 << 16), u128::from(seed), 0)?;
    area.make_areas(&[AreaSpec {
        source: AreaSource::Memory,
        size: AreaSize::Bytes(8 * WORDS),
        name: None,
        watch_ms: 0,
    }])?;
    Ok(area)
}

/// The child's side: dies at step number `case` of a write.
pub(crate) fn die(area: &SharedArea, case: u64) -> Outcome {
    let step = CASES.get(usize::try_from(case)?).ok_or("no such step")?;
    area.area(0)?.write_traced(0, &[1; 64], &mut |at| {
        if at == *step {
            children::kill_self();
        }
    })?;
    Err(format!("lived through {step:?}").into())
}

/// Lets a child die at `step` and checks what the next one finds, without a sweep.
pub(crate) fn run(step: Step) -> Outcome {
    let shared = area(1)?;
    let _master = shared.join(ParticipantKind::Master, 0)?;
    let area = shared.area(0)?;
    let before = area.announcement(0, None)?;
    let case = CASES.iter().position(|case| *case == step);
    let case = case.ok_or("no such step")? as u64;
    let mut child = Owned(children::start(&shared, DYING_LOCKER, 1, case)?);
    if !children::was_killed(child.0.wait()?) {
        return Err("the child did not die".into());
    }
    area.write(0, &[2; 64])?;
    let mut bytes = Vec::new();
    area.read(0, Some(64), &mut bytes)?;
    if bytes != [2; 64] {
        return Err("the next writer's bytes are not there".into());
    }
    if Reading::of_announced(&area, &before).is_some() {
        return Err("an announcement outlived a write".into());
    }
    shared.sweep(1);
    match area.info().writer {
        None => Ok(()),
        Some(slot) => Err(format!("slot {slot} has the lock").into()),
    }
}

/// The child's side: writes, reads, and looks at what was announced, for ever.
pub(crate) fn lock(shared: &SharedArea, seed: u64) -> Outcome {
    let area = shared.area(0)?;
    let mut random = Random::new(seed);
    let mut announced = None;
    for count in 1_u64.. {
        match random.below(4) {
            0 => unless_busy(write(&area, (seed << 32) | count))?,
            1 => {
                if let Some(reading) = unless_busy(area.reading().map(Some))? {
                    check(&reading)?;
                }
            }
            2 => announced = unless_busy(area.announcement(0, None).map(Some))?,
            _ => {
                if let Some(range) = &announced
                    && let Some(reading) = Reading::of_announced(&area, range)
                {
                    check(&reading)?;
                    if !reading.is_still(range) {
                        return Err("updated under a read lock".into());
                    }
                }
            }
        }
    }
    Ok(())
}

fn unless_busy<T: Default>(done: Result<T, AreaError>) -> Result<T, AreaError> {
    match done {
        Err(AreaError::Busy) => Ok(T::default()),
        done => done,
    }
}

/// Writes a number everywhere, in steps, with the lock held.
fn write(area: &Area, number: u64) -> Result<(), AreaError> {
    area.wlock()?;
    area.write64(0, 0)?;
    for word in 1..WORDS {
        area.write64(8 * word, number)?;
    }
    area.write64(0, number)?;
    area.unlock()
}

fn check(reading: &Reading<'_>) -> Outcome {
    let mut bytes = Vec::new();
    reading.copy(0, None, &mut bytes)?;
    let (words, _) = bytes.as_chunks::<8>();
    let first = words.first().ok_or("no words")?;
    if *first != [0; 8] && words.iter().any(|word| word != first) {
        return Err("a mixture of two writes".into());
    }
    Ok(())
}

/// Random `kill -9` of those who hold the locks, and of the others.
pub(crate) fn kill(seed: u64, duration_ms: u64) -> Outcome {
    let shared = area(seed)?;
    let _master = shared.join(ParticipantKind::Master, 0)?;
    let mut torture = Torture::start(&shared, seed)?;
    let deadline = Deadline::after_ms(duration_ms);
    while !deadline.is_over() {
        let late_us = clock::pause_us(torture.random.below(6000));
        torture.late.note(late_us);
        let slot = torture.kill_one()?;
        torture.write()?;
        torture.start_locker(slot)?;
    }
    torture.finish()
}

struct Torture<'a> {
    shared: &'a SharedArea,
    area: Area,
    lockers: BTreeMap<u16, Owned>,
    random: Random,
    kills: u64,
    writers: Recovery,
    readers: Recovery,
    behind_others: Durations,
    late: Durations,
}

impl<'a> Torture<'a> {
    fn start(shared: &'a SharedArea, seed: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let mut torture = Self {
            shared,
            area: shared.area(0)?,
            lockers: BTreeMap::new(),
            random: Random::new(seed),
            kills: 0,
            writers: Recovery::default(),
            readers: Recovery::default(),
            behind_others: Durations::default(),
            late: Durations::default(),
        };
        for slot in 1..=LOCKERS {
            torture.start_locker(slot)?;
        }
        Ok(torture)
    }

    fn start_locker(&mut self, slot: u16) -> Outcome {
        let seed = self.random.below(1 << 30);
        let locker = children::start(self.shared, LOCKER, slot, seed)?;
        self.lockers.insert(slot, Owned(locker));
        Ok(())
    }

    /// Half of the time whoever has the write lock now, else anybody. The slot stays empty until nothing that the dead
    /// has held is left. Where the others have to help themselves they are all there; else some may be just starting.
    fn kill_one(&mut self) -> Result<u16, Box<dyn std::error::Error>> {
        let taker = if self.random.below(2) == 0 {
            Taker::Sweep
        } else {
            for (slot, locker) in &self.lockers {
                children::await_joined(self.shared, *slot, locker)?;
            }
            Taker::Others
        };
        let anybody = u16::try_from(self.random.below(u64::from(LOCKERS)))? + 1;
        let slot = match self.area.info().writer {
            Some(writer) if writer > 0 && self.random.below(2) == 0 => writer,
            Some(_) | None => anybody,
        };
        let locker = self.lockers.get_mut(&slot).ok_or("no such child")?;
        locker.0.kill()?;
        let status = locker.0.wait()?;
        let death = Stopwatch::start();
        if !children::was_killed(status) {
            return Err(format!("a child found something and ended: {status}").into());
        }
        self.kills += 1;
        let writes = || self.area.info().writer == Some(slot);
        let reads = || self.area.info().readers.contains(&slot);
        let (wrote, read) = (writes(), reads());
        match taker {
            Taker::Sweep => self.shared.sweep(slot),
            Taker::Others => {}
        }
        if wrote {
            self.writers.watch(&death, taker, writes)?;
        }
        if read {
            self.readers.watch(&death, taker, reads)?;
        }
        Ok(slot)
    }

    /// The killer wants the lock too, and stands behind live owners now.
    fn write(&mut self) -> Outcome {
        let recovered = Stopwatch::start();
        let mut refused = 0;
        while unless_busy(write(&self.area, self.kills).map(|()| Some(())))?.is_none() {
            refused += 1;
            if refused > REFUSED_MAX {
                return Err("the lock is stuck".into());
            }
        }
        self.behind_others.note(recovered.us());
        if let Some(reading) = unless_busy(self.area.reading().map(Some))? {
            check(&reading)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Outcome {
        self.lockers.clear();
        (1..=LOCKERS).for_each(|slot| self.shared.sweep(slot));
        let info = self.area.info();
        println!(
            "        {} updates, {} kills, {} recoveries",
            info.updates,
            self.kills,
            self.shared.counters().recoveries
        );
        println!("        dead writers' locks:{}", self.writers);
        println!("        dead readers' locks:{}", self.readers);
        println!("        then behind live owners: {}", self.behind_others);
        println!("        the killer's pauses were late: {}", self.late);
        if info.writer.is_some() || !info.readers.is_empty() {
            return Err("a lock is left".into());
        }
        if info.updates <= self.kills {
            return Err("the children wrote nothing".into());
        }
        if self.writers.count() == 0 {
            return Err("nobody died with the lock".into());
        }
        Ok(())
    }
}
