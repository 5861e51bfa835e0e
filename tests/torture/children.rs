//! The processes of the torture: how they are started, and what they do. Memory objects are opened
//! through the parent's `/proc` entry; the bell, which cannot be, is the child's standard input.

use std::fs::OpenOptions;
use std::io::stdin;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Child, Command, ExitStatus, Stdio, id};

use bellwether::sharedarea::algorithm::publish::Step;
use bellwether::sharedarea::{
    Descriptors, Entry, EntryFlags, Participant, ParticipantKind, Publication, PublishError, Range,
    SharedArea,
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::{self, Deadline, Random};
use crate::frames::{self, Checker};
use crate::{Outcome, areas, crash};

/// A child that takes longer to start will never take part.
const JOIN_MS_MAX: u64 = 5000;

/// A publisher that may sleep for the lock.
pub(crate) const PUBLISHER: &str = "publisher";
/// A publisher that may not.
pub(crate) const WORKER: &str = "worker";
/// A reader that keeps up as well as it can.
pub(crate) const READER: &str = "reader";
/// A reader that dawdles over half-sent frames.
pub(crate) const SLOW_READER: &str = "slow-reader";
/// Writes and reads an area, announces ranges of it.
pub(crate) const LOCKER: &str = "locker";
/// Kills itself at a step of a write into an area.
pub(crate) const DYING_LOCKER: &str = "dying-locker";
/// A publisher that kills itself at a step.
pub(crate) const DYING: &str = "dying";

/// Starts this program again as `role` in `slot`.
pub(crate) fn start(
    area: &SharedArea,
    role: &str,
    slot: u16,
    extra: u64,
) -> Result<Child, Box<dyn std::error::Error>> {
    let fds = area.fds();
    let path = |fd: BorrowedFd<'_>| format!("/proc/{}/fd/{}", id(), fd.as_raw_fd());
    let child = Command::new(std::env::current_exe()?)
        .arg(format!("role={role}"))
        .args([path(fds.board), path(fds.log), path(fds.spool)])
        .args([slot.to_string(), extra.to_string()])
        .args(area.area_fds().map(path))
        .stdin(Stdio::from(fds.bell.try_clone_to_owned()?))
        .spawn()?;
    Ok(child)
}

/// Waits until the child in `slot` takes part.
pub(crate) fn await_joined(area: &SharedArea, slot: u16, child: &Owned) -> Outcome {
    let stuck = Deadline::after_ms(JOIN_MS_MAX);
    let joined = || {
        area.participant(slot)
            .is_some_and(|one| one.pid == child.0.id())
    };
    while !joined() {
        if stuck.is_over() {
            return Err(format!("the child in slot {slot} does not join").into());
        }
        clock::pause_us(200);
    }
    Ok(())
}

/// Whether the child ended by the signal that the torture sends, rather than by a finding.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL)
}

/// The child's side.
pub(crate) fn run(role: &str, arguments: &[String]) -> Outcome {
    // The torture's own death must not leave publishers behind.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let [board, log, spool, slot, extra, areas @ ..] = arguments else {
        return Err("wrong arguments".into());
    };
    let open = |path: &String| OpenOptions::new().read(true).write(true).open(path);
    let area = SharedArea::attach(Descriptors {
        board: open(board)?.into(),
        log: open(log)?.into(),
        spool: open(spool)?.into(),
        bell: stdin().as_fd().try_clone_to_owned()?,
    })?;
    let opened: Result<Vec<_>, _> = areas.iter().map(open).collect();
    area.attach_areas(opened?.into_iter().map(Into::into).collect())?;
    let (slot, extra) = (slot.parse()?, extra.parse()?);
    match role {
        PUBLISHER => publish(area.join(ParticipantKind::External, slot)?, extra),
        WORKER => publish(area.join(ParticipantKind::Worker, slot)?, extra),
        READER | SLOW_READER => {
            let participant = area.join(ParticipantKind::Worker, slot)?;
            Reader::new(&area, participant, role == SLOW_READER)?.run()
        }
        LOCKER => {
            let _participant = area.join(ParticipantKind::External, slot)?;
            areas::lock(&area, extra)
        }
        DYING_LOCKER => {
            let _participant = area.join(ParticipantKind::External, slot)?;
            areas::die(&area, extra)
        }
        DYING => crash::die(area.join(ParticipantKind::Worker, slot)?, extra),
        _ => Err("unknown role".into()),
    }
}

/// Kills this process, as `kill -9` from outside would.
pub(crate) fn kill_self() {
    // If the signal could not be sent, the parent sees that the child lived on.
    let _sent = kill(Pid::this(), Signal::SIGKILL);
}

fn publish(mut participant: Participant, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let slot = u64::from(participant.slot());
    let origin = (slot << 32) | u64::from(participant.generation());
    let names: Vec<String> = (0..frames::CHANNELS)
        .map(|n| format!("channel/{n}"))
        .collect();
    let (mut frame, mut alternate) = (Vec::new(), Vec::new());
    for count in 1_u64.. {
        let words = if random.below(4) == 0 {
            random.below(1024)
        } else {
            random.below(32)
        };
        frames::fill(&mut frame, origin, count, words);
        // Some have an alternate: a shorter frame of the same message.
        alternate.clear();
        if random.below(2) == 0 {
            frames::fill(&mut alternate, origin, count, words / 2);
        }
        // Many parts make the copy slow, so that many kills fall inside the lock.
        let parts: Vec<&[u8]> = frame.chunks(32).collect();
        let channel = names.get(usize::try_from(random.below(frames::CHANNELS))?);
        let publication = Publication {
            channel: channel.map_or("channel", String::as_str),
            flags: EntryFlags::BINARY,
            parts: &parts,
            alternate: &[&alternate],
            origin,
            time_us: 0,
        };
        match participant.publish_traced(&publication, &mut |_: Step| {}) {
            Ok(_) => {}
            Err(PublishError::WouldBlock) => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A reader as a worker is one: cursor, pin, park.
struct Reader<'a> {
    area: &'a SharedArea,
    participant: Participant,
    is_slow: bool,
    bell: Epoll,
    checker: Checker,
    frame: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(
        area: &'a SharedArea,
        mut participant: Participant,
        is_slow: bool,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        participant.set_wild(true);
        let bell = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        bell.add(area.bell(), edge)?;
        let checker = Checker::default();
        Ok(Self {
            area,
            participant,
            is_slow,
            bell,
            checker,
            frame: Vec::new(),
        })
    }

    fn run(mut self) -> Outcome {
        let mut cursor = self.area.head();
        loop {
            let head = self.area.head();
            while cursor < head {
                if self.read(cursor + 1)? {
                    cursor += 1;
                    self.participant.count_delivered(1);
                } else {
                    self.checker.lapped();
                    self.participant.count_lapped(1);
                    cursor = self.area.head();
                }
            }
            self.participant.set_cursor(cursor);
            if self.participant.park(cursor) {
                let mut events = [EpollEvent::empty()];
                self.bell.wait(&mut events, EpollTimeout::from(100_u8))?;
                self.participant.unpark();
            }
        }
    }

    /// Reads one entry in two halves with the pin moving up between them. `false`: lapped.
    fn read(&mut self, seq: u64) -> Result<bool, Box<dyn std::error::Error>> {
        let Ok(entry) = self.area.entry(seq) else {
            return Ok(false);
        };
        if !self.participant.pin(entry.position) {
            return Ok(false);
        }
        let frame = match entry.alternate_range() {
            Some(alternate) if entry.seq.is_multiple_of(2) => alternate,
            Some(_) | None => entry.range(),
        };
        let outcome = self.copy_halves(&entry, frame);
        self.participant.unpin();
        outcome?;
        self.checker.check(&entry, &self.frame)?;
        Ok(true)
    }

    fn copy_halves(&mut self, entry: &Entry, frame: Range) -> Outcome {
        let mut first = frame;
        first.bytes /= 2;
        let mut second = frame;
        second.position += u64::from(first.bytes);
        second.bytes -= first.bytes;
        self.frame.clear();
        self.area.copy_out(first, &mut self.frame)?;
        if self.is_slow && entry.seq.is_multiple_of(16) {
            for _ in 0..20 {
                std::thread::yield_now();
            }
        }
        if !self.participant.pin(second.position) {
            return Err(format!("entry {}: a half-sent frame lost its pin", entry.seq).into());
        }
        self.area.copy_out(second, &mut self.frame)?;
        Ok(())
    }
}

/// A child that is killed and waited for when it goes out of scope.
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}
