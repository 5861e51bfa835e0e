//! Becoming another program: the check by a child, and the exec in place.
//!
//! Everything that the new program takes over is written down ([`super::takeover`]) and stays open. If
//! the exec fails, nothing has changed. It must not know when to do it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, getppid};

use super::listeners::Bound;
use super::serve::Master;
use super::takeover::{InstanceState, LinesState, ListenerState, State, VERSION};
use crate::config::Activation;
use crate::net::Purpose;
use crate::sys::process::{self, SignalsHeld};
use crate::sys::streams;
use crate::sys::{descriptors, lines};

/// How this program was started, and so how the next one is.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file, as it was named: what is there now may be another one.
    pub path: PathBuf,
    /// Its words, the first one included.
    pub words: Vec<OsString>,
    /// Where it was started.
    pub start_dir: PathBuf,
}

/// What stays open for a new program, and the text about it.
struct Estate<'m> {
    text: OwnedFd,
    /// How log lines leave.
    lines: Option<OwnedFd>,
    /// Where we are.
    folder: Option<OwnedFd>,
    kept: Vec<BorrowedFd<'m>>,
}

impl Estate<'_> {
    fn keep(&self, keep: bool) -> io::Result<()> {
        let own = [Some(&self.text), self.lines.as_ref(), self.folder.as_ref()];
        own.into_iter()
            .flatten()
            .map(OwnedFd::as_fd)
            .chain(self.kept.iter().copied())
            .try_for_each(|fd| descriptors::keep_over_exec(fd, keep))
    }
}

impl Master<'_> {
    /// In a child: lets the program on disk check whether it could take over. Returns only if it
    /// cannot even be started.
    pub(super) fn exec_check(&self, output: &OwnedFd) -> io::Error {
        let prepared = || -> io::Result<Estate<'_>> {
            streams::write_to(output)?;
            let estate = self.estate(getppid())?;
            estate.keep(true)?;
            std::env::set_current_dir(&self.program.start_dir)?;
            Ok(estate)
        };
        let estate = match prepared() {
            Ok(estate) => estate,
            Err(error) => return error,
        };
        let mut words = self.program.words.clone();
        words.insert(1.min(words.len()), "--check".into());
        let variables = Activation::variables_with(estate.text.as_raw_fd());
        process::exec(&self.program.path, &words, &variables)
    }

    /// Becomes the program on disk. Returns only if that is not possible; nothing has changed then.
    pub(super) fn exec(&self) -> io::Error {
        let before = std::env::current_dir();
        let error = self.try_exec();
        if let Ok(before) = before
            && let Err(error) = std::env::set_current_dir(&before)
        {
            log::error!("cannot go back to {}: {error}", before.display());
        }
        error
    }

    fn try_exec(&self) -> io::Error {
        let prepared = || -> io::Result<(SignalsHeld, Estate<'_>)> {
            let estate = self.estate(getpid())?;
            std::env::set_current_dir(&self.program.start_dir)?;
            // A signal that comes while nobody catches it would end us; the new program lets them through.
            let held = SignalsHeld::hold()?;
            estate.keep(true)?;
            Ok((held, estate))
        };
        let (held, estate) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => return error,
        };
        let variables = Activation::variables_with(estate.text.as_raw_fd());
        let error = process::exec(&self.program.path, &self.program.words, &variables);
        if let Err(error) = estate.keep(false) {
            log::error!("descriptors stay open over exec: {error}");
        }
        drop(held);
        error
    }

    /// What `master`, which is this process or its parent, leaves.
    fn estate(&self, master: Pid) -> io::Result<Estate<'_>> {
        let mut kept = Vec::new();
        let mut keep = |fd| keep(&mut kept, fd);
        let area = self.area.fds();
        let snapshot = self.supervisor.snapshot();
        let lines = lines::own();
        // One that we may not open is one that we could not go back to.
        let folder = open(".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok();
        let state = State {
            version: VERSION,
            pid: master.as_raw(),
            supervisor: snapshot,
            processes: self.generations.latest().config.processes,
            instance: InstanceState {
                name: self.instance.name().to_owned(),
                folder: self.instance.folder().to_path_buf(),
                lock: keep(self.instance.lock()),
            },
            control: keep(self.control.listener()),
            verbs: (self.control.verbs())
                .map(|(verb, state)| (keep(verb), state))
                .collect(),
            area: [area.board, area.log, area.spool, area.bell].map(&mut keep),
            plain_areas: self.area.area_fds().map(&mut keep).collect(),
            mailboxes: (self.roster.mailboxes())
                .map(|(receiver, sender)| (keep(receiver), keep(sender)))
                .collect(),
            controls: (self.roster.controls())
                .map(|(slot, control)| (slot, keep(control)))
                .collect(),
            listeners: (self.generations.latest().listeners.iter())
                .map(|bound| listener_state(bound, &mut keep))
                .collect(),
            stats: (self.stats.listeners().iter())
                .map(|bound| listener_state(bound, &mut keep))
                .collect(),
            readers: (self.stats.readers())
                .map(|(fd, reader)| (keep(fd), reader))
                .collect(),
            fifo: keep(self.outside.as_fd()),
            letters: (self.letters.as_ref())
                .map(|letters| (letters.path().to_path_buf(), keep(letters.as_fd()))),
            folder: folder.as_ref().map(OwnedFd::as_raw_fd),
            lines: LinesState {
                own: lines.as_ref().map(OwnedFd::as_raw_fd),
                lost: lines::lost(),
                rest: lines::rest(),
            },
        };
        let text = serde_json::to_vec(&state).map_err(io::Error::other)?;
        let mut file = File::from(memfd_create("bellwether-state", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&text)?;
        Ok(Estate {
            text: file.into(),
            lines,
            folder,
            kept,
        })
    }
}

fn listener_state<'m>(
    bound: &'m Bound,
    keep: &mut impl FnMut(BorrowedFd<'m>) -> RawFd,
) -> ListenerState {
    ListenerState {
        socket: keep(bound.listener.as_fd()),
        asked: bound.asked.to_string(),
        api: bound.listener.purpose() == Purpose::Api,
        activated: bound.activated,
        inode: bound.inode,
    }
}

fn keep<'m>(kept: &mut Vec<BorrowedFd<'m>>, fd: BorrowedFd<'m>) -> RawFd {
    kept.push(fd);
    fd.as_raw_fd()
}
