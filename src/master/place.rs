//! The server's place in the system: working directory, log file, process id file, background, user.
//!
//! It must not know what is served.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{
    Gid, Group, Pid, Uid, User, fchdir, getegid, geteuid, setgid, setgroups, setuid,
};

use super::start::StartError;
use crate::config::{Address, Config, Operations};
use crate::sys::process::{self, Fork, SingleThreaded};
use crate::sys::streams;

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { doing, source }
}

fn wrong(
    option: &'static str,
    value: impl std::fmt::Display,
    problem: impl std::fmt::Display,
) -> StartError {
    StartError::Place {
        option,
        value: value.to_string(),
        problem: problem.to_string(),
    }
}

/// Which of the two processes of a server that goes to the background this is.
#[derive(Debug)]
pub enum Detached {
    /// The one that was started: it ends with this code, when the other is ready or has failed.
    Starter(u8),
    /// The server; it writes a byte here, if anybody waits, when it is ready.
    Server(Option<OwnedFd>),
}

/// Goes to the background, logging into `file`.
///
/// # Errors
/// The file cannot be opened, or the system refuses a process.
pub fn detach(file: &Path) -> Result<Detached, StartError> {
    // While there is somebody to tell.
    streams::open_log(file).map_err(|error| wrong("daemonize", file.display(), error))?;
    let begin = || -> io::Result<Detached> {
        let (reader, writer) = super::probe::pipe()?;
        match process::fork(SingleThreaded::prove()?)? {
            Fork::Parent { child } => {
                drop(writer);
                let mut ready = [0];
                if matches!(File::from(reader).read(&mut ready), Ok(1)) {
                    return Ok(Detached::Starter(0));
                }
                // It has said why in the log.
                Ok(Detached::Starter(match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, code)) => u8::try_from(code & 0xff).unwrap_or(4),
                    Ok(_) | Err(_) => 4,
                }))
            }
            Fork::Child => {
                streams::detach()?;
                streams::log_into(file)?;
                Ok(Detached::Server(Some(writer)))
            }
        }
    };
    begin().map_err(system("go to the background"))
}

/// Log file, working directory and mask, before anything is opened or bound.
///
/// # Errors
/// The option that cannot be obeyed.
pub fn enter(operations: &Operations) -> Result<(), StartError> {
    if let Some(file) = &operations.logto {
        streams::log_into(file).map_err(|error| wrong("logto", file.display(), error))?;
    }
    if let Some(folder) = &operations.chdir {
        std::env::set_current_dir(folder)
            .map_err(|error| wrong("chdir", folder.display(), error))?;
    }
    mask(operations);
    Ok(())
}

/// The same for a program that goes on from another one, which was in `folder`. What cannot be had is told,
/// and stays as it was: a server that runs does not end for want of it.
pub fn go_on(operations: &Operations, folder: Option<&OwnedFd>) {
    if let Some(file) = &operations.logto
        && let Err(error) = streams::log_into(file)
    {
        log::warn!(
            "--logto {}: {error}; the log goes on as before",
            file.display()
        );
    }
    if let Some(path) = &operations.chdir
        && let Err(error) = std::env::set_current_dir(path)
    {
        let is_back = folder.is_some_and(|folder| fchdir(folder).is_ok());
        let stays = if is_back {
            "the directory is that of before"
        } else {
            "the directory is that of the start"
        };
        log::warn!("--chdir {}: {error}; {stays}", path.display());
    }
    mask(operations);
}

fn mask(operations: &Operations) {
    if let Some(mask) = operations.umask {
        let _before: Mode = umask(Mode::from_bits_truncate(mask));
    }
}

/// The user and group that the options name; `None` where there is nothing to change.
fn identity(operations: &Operations) -> Result<Option<(Uid, Gid)>, StartError> {
    let (mut uid, mut gid) = (geteuid(), getegid());
    if let Some(name) = &operations.uid {
        let number = name.parse().ok().map(Uid::from_raw);
        let user = match number {
            Some(number) => User::from_uid(number),
            None => User::from_name(name),
        };
        match (user.map_err(|error| wrong("uid", name, error))?, number) {
            (Some(user), _) => (uid, gid) = (user.uid, user.gid),
            // A number needs no name.
            (None, Some(number)) => uid = number,
            (None, None) => return Err(wrong("uid", name, "there is no such user")),
        }
    }
    if let Some(name) = &operations.gid {
        gid = match name.parse() {
            Ok(number) => Gid::from_raw(number),
            Err(_) => match Group::from_name(name).map_err(|error| wrong("gid", name, error))? {
                Some(group) => group.gid,
                None => return Err(wrong("gid", name, "there is no such group")),
            },
        };
    }
    Ok(((uid, gid) != (geteuid(), getegid())).then_some((uid, gid)))
}

/// Whether user and group exist and we may become them.
///
/// # Errors
/// The option that cannot be obeyed.
pub fn check(operations: &Operations) -> Result<(), StartError> {
    match identity(operations)? {
        Some((uid, _)) if !geteuid().is_root() => {
            let problem = format!("only root may change it, and this is user {}", geteuid());
            Err(wrong("uid", uid, problem))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether there is the directory to work in, and one for each file and unix socket that would be made.
///
/// # Errors
/// The option that cannot be obeyed.
pub(super) fn check_paths(config: &Config) -> Result<(), StartError> {
    let operations = &config.operations;
    if let Some(folder) = &operations.chdir {
        std::env::set_current_dir(folder)
            .map_err(|error| wrong("chdir", folder.display(), error))?;
    }
    let files = [
        ("logto", &operations.logto),
        ("daemonize", &operations.daemonize),
        ("pidfile", &operations.pidfile),
        ("master-fifo", &operations.master_fifo),
    ];
    for (option, path) in files {
        if let Some(path) = path {
            check_folder_of(path).map_err(|error| wrong(option, path.display(), error))?;
        }
    }
    let sockets = [
        ("socket", &config.sockets),
        ("api", &config.api),
        ("stats", &config.stats),
    ];
    for (option, addresses) in sockets {
        for address in addresses {
            if let Address::Unix(path) = address {
                check_folder_of(path).map_err(|error| wrong(option, address, error))?;
            }
        }
    }
    Ok(())
}

fn check_folder_of(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    match path.parent() {
        Some(folder) if !fs::metadata(folder)?.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Some(_) | None => Ok(()),
    }
}

/// Becomes the user that the options name, and gives `files` to it.
///
/// # Errors
/// The option that cannot be obeyed.
pub(super) fn become_user(operations: &Operations, files: &[&Path]) -> Result<(), StartError> {
    check(operations)?;
    let Some((uid, gid)) = identity(operations)? else {
        if geteuid().is_root() && operations.uid.is_none() {
            log::warn!("running as root; --uid USER makes it another user");
        }
        return Ok(());
    };
    for file in files {
        chown(file, Some(uid.as_raw()), Some(gid.as_raw()))
            .map_err(|error| wrong("uid", file.display(), error))?;
    }
    let change = || -> nix::Result<()> {
        setgroups(&[gid])?;
        setgid(gid)?;
        setuid(uid)?;
        // Else /proc/self would be closed to us, through which memory objects are opened again.
        prctl::set_dumpable(true)
    };
    change().map_err(|error| wrong("uid", uid, error))?;
    log::info!("running as user {uid}, group {gid}");
    Ok(())
}

/// Lets this process, the worker of a slot, run on `each` processors, the next slot's on the next ones.
pub(super) fn pin_to_processors(slot: u16, each: u16) {
    if each == 0 {
        return;
    }
    let us = Pid::from_raw(0);
    let pin = || -> nix::Result<Vec<usize>> {
        let allowed = sched_getaffinity(us)?;
        let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
        let all: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
        let chosen = processors(&all, slot, each);
        let mut set = CpuSet::new();
        chosen.iter().try_for_each(|cpu| set.set(*cpu))?;
        sched_setaffinity(us, &set)?;
        Ok(chosen)
    };
    match pin() {
        Ok(chosen) => log::info!("on processors {chosen:?}"),
        Err(error) => log::warn!("--cpu-affinity {each}: {error}"),
    }
}

/// The processors of a slot: `each` of all, going round.
fn processors(all: &[usize], slot: u16, each: u16) -> Vec<usize> {
    let first = usize::from(slot.saturating_sub(1)) * usize::from(each);
    let count = usize::from(each).min(all.len());
    all.iter()
        .copied()
        .cycle()
        .skip(first % all.len().max(1))
        .take(count)
        .collect()
}

/// Writes our process id into the file of `--pidfile`.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_pidfile(operations: &Operations) -> Result<(), StartError> {
    let Some(path) = &operations.pidfile else {
        return Ok(());
    };
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        writeln!(file, "{}", std::process::id())
    };
    write().map_err(|error| wrong("pidfile", path.display(), error))
}

/// Removes that file, if it still has our process id.
pub(super) fn remove_pidfile(path: &Path) {
    let ours = std::process::id().to_string();
    if fs::read_to_string(path).is_ok_and(|text| text.trim() == ours) {
        match fs::remove_file(path) {
            Ok(()) => log::info!("vacuum: {} is removed", path.display()),
            Err(error) => log::warn!("vacuum: {}: {error}", path.display()),
        }
    }
}

/// Opens the log file again, if it is one.
pub(super) fn reopen_log(operations: &Operations) {
    let Some(file) = operations.log_file() else {
        return;
    };
    match streams::log_into(file) {
        Ok(()) => log::info!("the log file is opened again"),
        Err(error) => log::error!("{} cannot be opened again: {error}", file.display()),
    }
}

/// Says that the server is ready, or nothing to nobody.
pub(super) fn tell_starter(starter: OwnedFd) {
    if let Err(error) = nix::unistd::write(starter.as_fd(), &[1]) {
        log::debug!("who started us does not listen: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_users_and_groups_are_named() {
        let mut operations = Operations {
            uid: Some("no-such-user-here".into()),
            ..Operations::default()
        };
        let error = check(&operations).unwrap_err().to_string();
        assert!(error.contains("--uid no-such-user-here"), "{error}");
        operations.uid = None;
        operations.gid = Some("no-such-group-here".into());
        let error = check(&operations).unwrap_err().to_string();
        assert!(error.contains("--gid no-such-group-here"), "{error}");
    }

    #[test]
    fn processors_go_round() {
        let all = [0, 2, 4];
        assert_eq!(processors(&all, 1, 1), [0]);
        assert_eq!(processors(&all, 2, 2), [4, 0]);
        assert_eq!(processors(&all, 4, 1), [0]);
        assert_eq!(processors(&all, 9, 8).len(), 3);
        assert_eq!(processors(&[], 1, 1), [0_usize; 0]);
    }

    #[test]
    fn oneself_is_nothing_to_change() {
        let operations = Operations {
            uid: Some(geteuid().to_string()),
            gid: Some(getegid().to_string()),
            ..Operations::default()
        };
        assert!(identity(&operations).unwrap().is_none());
    }

    #[test]
    fn a_pidfile_of_somebody_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let operations = Operations {
            pidfile: Some(path.clone()),
            ..Operations::default()
        };
        write_pidfile(&operations).unwrap();
        let pid = fs::read_to_string(&path).unwrap();
        assert_eq!(pid, format!("{}\n", std::process::id()));
        fs::write(&path, "1\n").unwrap();
        remove_pidfile(&path);
        assert!(path.exists());
        write_pidfile(&operations).unwrap();
        remove_pidfile(&path);
        assert!(!path.exists());
    }
}
