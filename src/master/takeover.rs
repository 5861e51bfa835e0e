//! What a new program takes over from the one before it in the same process: a text in a memory
//! object, and the descriptors that it names.
//!
//! `State` is the format, and its version counts every change that a program must know of; what has a
//! default may be missing, and what a program does not know it leaves alone. `upgrade` writes it. A
//! program that is only asked whether it could take over reads the same, attaches the shared area, and
//! changes nothing. It must not know how the program is replaced.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;

use nix::unistd::{getpid, getppid};
use serde::{Deserialize, Serialize};

use super::control::VerbState;
use super::fifo::Fifo;
use super::instance::Instance;
use super::letters::Letters;
use super::listeners::Bound;
use super::roster::Roster;
use super::stats::Reader;
use super::supervisor::Snapshot;
use crate::config::{Address, Config, Environment};
use crate::net;
use crate::sharedarea::{Descriptors, SharedArea};
use crate::sys::{descriptors, lines};

/// Of this text and of the packets between master and workers.
pub(super) const VERSION: u32 = 3;

/// What a program says that could take over.
pub const ACCEPTED: &str = "state accepted";

/// The text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    /// The master's process.
    pub(super) pid: i32,
    pub(super) supervisor: Snapshot,
    /// `processes` as the old program's configuration has it.
    pub(super) processes: u16,
    pub(super) instance: InstanceState,
    /// Listening control socket.
    pub(super) control: RawFd,
    /// Verbs that are connected.
    pub(super) verbs: Vec<(RawFd, VerbState)>,
    /// Board, log, spool and bell.
    pub(super) area: [RawFd; 4],
    /// Plain areas, in the order of their numbers.
    pub(super) plain_areas: Vec<RawFd>,
    /// Receiving and sending end of each slot's mailbox.
    pub(super) mailboxes: Vec<(RawFd, RawFd)>,
    /// Control sockets of the workers, by slot.
    pub(super) controls: Vec<(u16, RawFd)>,
    pub(super) listeners: Vec<ListenerState>,
    /// Where statistics are.
    #[serde(default)]
    pub(super) stats: Vec<ListenerState>,
    /// Who reads them.
    #[serde(default)]
    pub(super) readers: Vec<(RawFd, Reader)>,
    /// The pipe in the run directory.
    pub(super) fifo: RawFd,
    pub(super) letters: Option<(PathBuf, RawFd)>,
    /// The working directory; who has become another user may not be let into it by its path.
    #[serde(default)]
    pub(super) folder: Option<RawFd>,
    #[serde(default)]
    pub(super) lines: LinesState,
}

/// How log lines leave, and how many have not.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct LinesState {
    /// A description of standard error that does not block. Who has become another user could not open
    /// one.
    pub(super) own: Option<RawFd>,
    pub(super) lost: u64,
    /// The end of a line whose beginning has left.
    #[serde(default)]
    pub(super) rest: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InstanceState {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) lock: RawFd,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenerState {
    pub(super) socket: RawFd,
    pub(super) asked: String,
    /// For the API, not for clients.
    pub(super) api: bool,
    pub(super) activated: bool,
    pub(super) inode: Option<u64>,
}

/// What may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only say whether it could be taken over; our parent is the master.
    Check,
    /// Take over; we are the master.
    Start,
}

/// What was taken over.
#[derive(Debug)]
pub struct Takeover {
    pub(super) supervisor: Snapshot,
    pub(super) processes: u16,
    pub(super) instance: Instance,
    pub(super) control: UnixListener,
    pub(super) verbs: Vec<(UnixStream, VerbState)>,
    pub(super) area: SharedArea,
    pub(super) roster: Roster,
    pub(super) listeners: Vec<Rc<Bound>>,
    pub(super) stats: Vec<Rc<Bound>>,
    pub(super) readers: Vec<(OwnedFd, Reader)>,
    pub(super) fifo: Fifo,
    pub(super) letters: Option<Letters>,
    /// The working directory of the program before this one.
    pub folder: Option<OwnedFd>,
}

impl Takeover {
    /// Reads the state behind the descriptor whose number is `variable`, and takes the descriptors
    /// that it names. Call it once, before anything else is opened.
    ///
    /// # Errors
    /// Why this program cannot take over, as a sentence.
    pub fn read(variable: &str, purpose: Purpose) -> Result<Self, String> {
        let state = read_state(variable)?;
        let master = match purpose {
            Purpose::Check => getppid(),
            Purpose::Start => getpid(),
        };
        if state.pid != master.as_raw() {
            return Err(format!(
                "the state in descriptor {variable} is that of process {}",
                state.pid
            ));
        }
        let area = take_area(state.area, state.plain_areas)?;
        let lock = take(state.instance.lock)?;
        let mut mailboxes = Vec::new();
        for (receiver, sender) in state.mailboxes {
            mailboxes.push((take(receiver)?, take(sender)?));
        }
        let mut controls = Vec::new();
        for (slot, control) in state.controls {
            controls.push((slot, take(control)?));
        }
        if mailboxes.len() != state.supervisor.slots() {
            return Err("the state does not fit itself".to_owned());
        }
        let listeners = |states: Vec<ListenerState>| -> Result<Vec<_>, String> {
            states.into_iter().map(take_listener).collect()
        };
        let mut readers = Vec::new();
        for (fd, reader) in state.readers {
            readers.push((take(fd)?, reader));
        }
        let mut verbs = Vec::new();
        for (verb, state) in state.verbs {
            verbs.push((UnixStream::from(take(verb)?), state));
        }
        let letters = match state.letters {
            Some((path, pipe)) => Some(Letters::inherit(path, take(pipe)?)),
            None => None,
        };
        let own = state.lines.own.map(take).transpose()?;
        if purpose == Purpose::Start {
            lines::go_on(own, state.lines.lost, state.lines.rest);
        }
        Ok(Self {
            supervisor: state.supervisor,
            processes: state.processes,
            instance: Instance::inherit(state.instance.name, state.instance.folder, lock),
            control: UnixListener::from(take(state.control)?),
            verbs,
            area,
            roster: Roster::inherit(controls, mailboxes),
            listeners: listeners(state.listeners)?,
            stats: listeners(state.stats)?,
            readers,
            fifo: Fifo::inherit(take(state.fifo)?),
            letters,
            folder: state.folder.map(take).transpose()?,
        })
    }

    /// Tells if the configuration has another place in the run directory than the server, which keeps its own.
    /// The directory that is the default depends on the user, whom the server may have changed.
    pub fn warn_of_another_place(&self, config: &Config, environment: &Environment) {
        let name = self.instance.name();
        if config.instance.as_deref().is_some_and(|it| it != name) {
            log::warn!("--instance has changed: that takes a restart");
        }
        let run_dir = &config.run_dir;
        if self.instance.folder().parent() != Some(run_dir) && *run_dir != environment.run_dir() {
            log::warn!("--run-dir has changed: that takes a restart");
        }
    }

    /// Whether it has listening sockets that nobody need ask for.
    pub fn has_sockets(&self) -> bool {
        self.listeners.iter().any(|bound| bound.activated)
    }
}

fn take(number: RawFd) -> Result<OwnedFd, String> {
    descriptors::inherited(number)
        .map_err(|error| format!("descriptor {number} of the state: {error}"))
}

/// It maps and compares; nothing is written before a participant joins.
fn take_area(area: [RawFd; 4], plain: Vec<RawFd>) -> Result<SharedArea, String> {
    let [board, log, spool, bell] = area;
    let area = SharedArea::attach(Descriptors {
        board: take(board)?,
        log: take(log)?,
        spool: take(spool)?,
        bell: take(bell)?,
    })
    .map_err(|error| {
        format!(
            "the shared area of the running server cannot be used: {error}: that takes a restart"
        )
    })?;
    let plain: Vec<OwnedFd> = plain.into_iter().map(take).collect::<Result<_, _>>()?;
    area.attach_areas(plain)
        .map_err(|error| format!("an area of the running server cannot be used: {error}"))?;
    Ok(area)
}

fn take_listener(state: ListenerState) -> Result<Rc<Bound>, String> {
    let asked = Address::parse(&state.asked, true)
        .map_err(|error| format!("the listener {}: {error}", state.asked))?;
    let purpose = if state.api {
        net::Purpose::Api
    } else {
        net::Purpose::Clients
    };
    let fd = take(state.socket)?;
    let (activated, inode) = (state.activated, state.inode);
    Ok(Rc::new(Bound::inherit(
        fd, asked, purpose, activated, inode,
    )))
}

fn read_state(variable: &str) -> Result<State, String> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let number: RawFd = variable
        .parse()
        .map_err(|_| format!("{variable:?} is no descriptor of a state"))?;
    let fd: OwnedFd = descriptors::inherited(number)
        .map_err(|error| format!("descriptor {variable} of the state: {error}"))?;
    let mut file = File::from(fd);
    let mut text = String::new();
    file.rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .map_err(|error| format!("the state cannot be read: {error}"))?;
    let nonsense = |error| format!("the state of the running server makes no sense: {error}");
    let head: Head = serde_json::from_str(&text).map_err(nonsense)?;
    if head.version != VERSION {
        return Err(format!(
            "the running server has state of version {}, this program knows version {VERSION}: \
             that takes a restart",
            head.version
        ));
    }
    serde_json::from_str(&text).map_err(nonsense)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::IntoRawFd as _;

    use super::*;

    fn refused(text: &str) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let number = file.into_raw_fd().to_string();
        Takeover::read(&number, Purpose::Start).unwrap_err()
    }

    #[test]
    fn another_version_is_refused_before_anything_is_taken() {
        let error = refused("{\"version\": 99, \"something\": [1]}");
        assert!(error.contains("version 99"), "{error}");
        assert!(error.contains("restart"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(refused("no json").contains("makes no sense"));
        assert!(refused(&format!("{{\"version\": {VERSION}}}")).contains("makes no sense"));
        for variable in ["", "x", "1", "-1", "99999"] {
            assert!(
                Takeover::read(variable, Purpose::Start).is_err(),
                "{variable}"
            );
        }
    }
}
