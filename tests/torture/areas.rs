//! Holders of area locks that are killed: at every single step of a write, and at any instant.
//!
//! Every word of the area is the number of the write, but for the time in between, when the first is 0.
//! So whoever has a lock finds one number, or the 0 of a writer that died in the middle.

use bellwether::sharedarea::algorithm::areas::Step;
use bellwether::sharedarea::{
    Area, AreaError, AreaSize, AreaSource, AreaSpec, Geometry, ParticipantKind, Reading, SharedArea,
};

use crate::Outcome;
use crate::children::{self, DYING_LOCKER, LOCKER, Owned};
use crate::clock::{self, Deadline, Random};

const LOCKERS: u16 = 4;
const WORDS: u64 = 512;
/// The master's lock may be refused this often in a row.
const REFUSED_MAX: u32 = 50;
/// A lock that is taken over later than this after its holder's death is told.
const RECOVERY_MS_MAX: u64 = 10;

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

/// Random `kill -9` of those who hold the locks.
pub(crate) fn kill(seed: u64, duration_ms: u64) -> Outcome {
    let shared = area(seed)?;
    let _master = shared.join(ParticipantKind::Master, 0)?;
    let area = shared.area(0)?;
    let mut random = Random::new(seed);
    let start = |slot, random: &mut Random| -> Result<Owned, Box<dyn std::error::Error>> {
        let seed = random.below(1 << 30);
        Ok(Owned(children::start(&shared, LOCKER, slot, seed)?))
    };
    let mut lockers = Vec::new();
    for slot in 1..=LOCKERS {
        lockers.push(start(slot, &mut random)?);
    }
    let deadline = Deadline::after_ms(duration_ms);
    let (mut kills, mut slow) = (0_u64, 0_u64);
    while !deadline.is_over() {
        clock::pause_us(random.below(6000));
        let slot = u16::try_from(random.below(u64::from(LOCKERS)))? + 1;
        let place = lockers
            .get_mut(usize::from(slot) - 1)
            .ok_or("no such child")?;
        place.0.kill()?;
        let status = place.0.wait()?;
        if !children::was_killed(status) {
            return Err(format!("a child found something and ended: {status}").into());
        }
        kills += 1;
        if random.below(2) == 0 {
            shared.sweep(slot);
        }
        let soon = Deadline::after_ms(RECOVERY_MS_MAX);
        let mut refused = 0;
        while unless_busy(write(&area, kills).map(|()| Some(())))?.is_none() {
            refused += 1;
            if refused > REFUSED_MAX {
                return Err("the lock is stuck".into());
            }
        }
        slow += u64::from(soon.is_over());
        if let Some(reading) = unless_busy(area.reading().map(Some))? {
            check(&reading)?;
        }
        *place = start(slot, &mut random)?;
    }
    drop(lockers);
    (1..=LOCKERS).for_each(|slot| shared.sweep(slot));
    let info = area.info();
    println!(
        "        {} updates, {kills} kills, {} recoveries, {slow} locks later than {RECOVERY_MS_MAX} ms",
        info.updates,
        shared.counters().recoveries
    );
    if info.writer.is_some() || !info.readers.is_empty() {
        return Err("a lock is left".into());
    }
    if info.updates <= kills {
        return Err("the children wrote nothing".into());
    }
    Ok(())
}
