//! The random cases: publishers and readers in processes, some of them killed at any instant.

use bellwether::sharedarea::{
    EntryFlags, Geometry, ParticipantKind, Publication, PublishError, SharedArea,
};

use crate::Outcome;
use crate::children::{self, Owned, PUBLISHER, READER, SLOW_READER, WORKER};
use crate::clock::{self, Deadline, Durations, Random, Stopwatch};
use crate::frames;
use crate::recovery::{Recovery, Taker};

/// No publication for this long means that the publishers are stuck.
const STUCK_MS: u64 = 5000;

/// The lock is held for less than a microsecond: so many looks for somebody who is in it.
const LOOKS_MAX: u64 = 10_000;

/// So many kills, and none inside the lock: it would not be luck any more.
const KILLS_WITHOUT_RECOVERY_MAX: u64 = 5000;

/// Full speed with a small spool and readers that dawdle: laps, but no torn frame.
pub(crate) fn lap(seed: u64, duration_ms: u64) -> Outcome {
    let roles = [PUBLISHER, WORKER, READER, SLOW_READER, SLOW_READER];
    let mut torture = Torture::start(&roles, seed)?;
    let deadline = Deadline::after_ms(duration_ms);
    while !deadline.is_over() {
        torture.watch()?;
        clock::pause_us(5000);
    }
    torture.finish(0)?;
    let lapped = torture.area.counters().lapped;
    if lapped == 0 {
        Err("no reader was lapped".into())
    } else {
        Ok(())
    }
}

/// Random `kill -9` of everybody.
pub(crate) fn kill(seed: u64, duration_ms: u64) -> Outcome {
    let roles = [PUBLISHER, PUBLISHER, WORKER, READER, SLOW_READER, READER];
    let mut torture = Torture::start(&roles, seed)?;
    let mut master = torture.area.join(ParticipantKind::Master, 0)?;
    let deadline = Deadline::after_ms(duration_ms);
    let mut kills = 0;
    let mut refused = 0;
    let mut frame = Vec::new();
    // Dying inside the lock is a matter of luck: go on until it has happened.
    while !deadline.is_over()
        || (torture.area.counters().recoveries == 0 && kills < KILLS_WITHOUT_RECOVERY_MAX)
    {
        torture.watch()?;
        torture.kill_one()?;
        kills += 1;
        let late_us = clock::pause_us(torture.random.below(8000));
        torture.late.note(late_us);
        // The master publishes too; it may be refused when a reader was killed over its pin or the
        // holder of the lock does not run, never for long.
        frames::fill(&mut frame, 0, kills, 4);
        let publication = Publication {
            channel: "master",
            flags: EntryFlags::TEXT,
            parts: &[&frame],
            alternate: &[],
            origin: 0,
            time_us: 0,
        };
        match master.publish(&publication) {
            Ok(_) => refused = 0,
            Err(PublishError::WouldBlock) => refused += 1,
            Err(error) => return Err(error.into()),
        }
        if refused > 20 {
            return Err("the master cannot publish any more".into());
        }
    }
    torture.finish(kills)?;
    println!("        dead publishers' locks:{}", torture.recovery);
    println!("        the killer's pauses were late: {}", torture.late);
    let recoveries = torture.area.counters().recoveries;
    if recoveries == 0 {
        Err("no lock was ever recovered".into())
    } else {
        Ok(())
    }
}

struct Torture {
    area: SharedArea,
    roles: Vec<&'static str>,
    children: Vec<Owned>,
    random: Random,
    head: u64,
    stuck: Deadline,
    recovery: Recovery,
    late: Durations,
}

impl Torture {
    fn start(roles: &[&'static str], seed: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let area = SharedArea::create(Geometry::with_spool(1 << 20), u128::from(seed), 0)?;
        let mut torture = Self {
            area,
            roles: roles.to_vec(),
            children: Vec::new(),
            random: Random::new(seed),
            head: 0,
            stuck: Deadline::after_ms(STUCK_MS),
            recovery: Recovery::default(),
            late: Durations::default(),
        };
        for index in 0..roles.len() {
            let child = torture.spawn(index)?;
            torture.children.push(child);
        }
        Ok(torture)
    }

    fn spawn(&mut self, index: usize) -> Result<Owned, Box<dyn std::error::Error>> {
        let role = self.roles.get(index).ok_or("no such role")?;
        let seed = self.random.below(1 << 30);
        Ok(Owned(children::start(
            &self.area,
            role,
            u16::try_from(index + 1)?,
            seed,
        )?))
    }

    /// Nobody has ended by itself, and messages flow.
    fn watch(&mut self) -> Outcome {
        for child in &mut self.children {
            if let Some(status) = child.0.try_wait()? {
                return Err(format!("a child found something and ended: {status}").into());
            }
        }
        let head = self.area.head();
        if head != self.head {
            self.head = head;
            self.stuck = Deadline::after_ms(STUCK_MS);
        } else if self.stuck.is_over() {
            return Err(format!("publishers are stuck at entry {head}").into());
        }
        Ok(())
    }

    /// Half of the time whoever is in the lock now, else anybody; publishers come first in the list, so of two choices
    /// the lower.
    fn victim(&mut self) -> Result<usize, Box<dyn std::error::Error>> {
        let all = self.children.len() as u64;
        let anybody = self.random.below(all).min(self.random.below(all));
        let looks = self.random.below(2) * LOOKS_MAX;
        // It is not the master: that is looking.
        let inside = (0..looks).find_map(|_| self.area.lock_owner()?.checked_sub(1));
        Ok(usize::try_from(inside.map_or(anybody, u64::from))?)
    }

    /// Kills a child and starts its successor in the same slot: after a sweep, after the others have helped themselves,
    /// or at once, so that it finds what its predecessor left.
    fn kill_one(&mut self) -> Outcome {
        let taker = match self.random.below(3) {
            0 => Some(Taker::Sweep),
            1 => {
                for (slot, child) in (1..).zip(&self.children) {
                    children::await_joined(&self.area, slot, child)?;
                }
                Some(Taker::Others)
            }
            _ => None,
        };
        let index = self.victim()?;
        let slot = u16::try_from(index + 1)?;
        let child = self.children.get_mut(index).ok_or("no such child")?;
        child.0.kill()?;
        let status = child.0.wait()?;
        let death = Stopwatch::start();
        if !children::was_killed(status) {
            return Err(format!("a child found something and ended: {status}").into());
        }
        let is_held = || self.area.lock_owner() == Some(slot);
        let was_held = is_held();
        if let Some(Taker::Sweep) = taker {
            self.area.sweep(slot);
        }
        if let (true, Some(taker)) = (was_held, taker) {
            self.recovery.watch(&death, taker, is_held)?;
        }
        if let Some(Taker::Others) = taker {
            // A pin that it left is in the way of the others too.
            clock::pause_us(self.random.below(4000));
        }
        let successor = self.spawn(index)?;
        if let Some(place) = self.children.get_mut(index) {
            *place = successor;
        }
        Ok(())
    }

    fn finish(&mut self, kills: u64) -> Outcome {
        self.watch()?;
        self.children.clear();
        let counters = self.area.counters();
        println!(
            "        {} published, {} delivered, {} lapped, {} would block, {kills} kills, {} recoveries",
            counters.published,
            counters.delivered,
            counters.lapped,
            counters.would_block,
            counters.recoveries
        );
        if counters.bad > 0 {
            return Err(format!("{} bad entries", counters.bad).into());
        }
        if counters.delivered == 0 {
            return Err("nothing was delivered".into());
        }
        Ok(())
    }
}
