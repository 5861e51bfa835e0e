//! A running server's place in the run directory: a folder with a lock that names its process and
//! the control socket.
//!
//! `RUN_DIR/NAME/master.pid` holds the process id and a record lock for as long as the master lives
//! (whoever dies, however, loses it), `RUN_DIR/NAME/control.sock` is where verbs connect, `fifo` takes
//! commands and `areas/` links to the areas. The folders
//! are for their owner only. It must not know what is said on the socket.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::geteuid;
use thiserror::Error;

use crate::sharedarea::SharedArea;

const LOCK_FILE: &str = "master.pid";
const CONTROL_SOCKET: &str = "control.sock";
const FIFO: &str = "fifo";
const AREAS: &str = "areas";
/// Longest path of a unix socket.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why an instance cannot have its place.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// A server of this name runs.
    #[error(
        "instance {name} is already running (pid {pid}); --instance NAME gives this one another name"
    )]
    Live {
        /// The name.
        name: String,
        /// Its master.
        pid: i32,
    },
    /// Somebody else could read or replace what is in the folder.
    #[error(
        "{} is not a private directory of this user (owner {owner}, mode {mode:o}); \
         --run-dir DIR chooses another",
        path.display()
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// The control socket's path does not fit.
    #[error("{} is too long for a unix socket; --run-dir DIR chooses a shorter one", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}; --run-dir DIR chooses another place", path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A place that is held.
#[derive(Debug)]
pub(super) struct Instance {
    name: String,
    folder: PathBuf,
    /// Holds the lock. Closing any descriptor of the file in this process would give it up.
    lock: File,
}

impl Instance {
    /// Takes the place of `name` in `run_dir`, making the folders, and listens on the control socket.
    /// What a dead master left is reused.
    pub(super) fn take(run_dir: &Path, name: &str) -> Result<(Self, UnixListener), InstanceError> {
        make_private(run_dir)?;
        let folder = run_dir.join(name);
        make_private(&folder)?;
        let lock = lock(&folder.join(LOCK_FILE), name)?;
        let socket = folder.join(CONTROL_SOCKET);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(InstanceError::PathTooLong { path: socket });
        }
        unless_missing(fs::remove_file(&socket)).map_err(system("remove", &socket))?;
        let listener = UnixListener::bind(&socket).map_err(system("listen on", &socket))?;
        listener
            .set_nonblocking(true)
            .map_err(system("listen on", &socket))?;
        let instance = Self {
            name: name.to_owned(),
            folder,
            lock,
        };
        Ok((instance, listener))
    }

    /// Goes on in a place that the program before this one has taken; the lock is the process's.
    pub(super) fn inherit(name: String, folder: PathBuf, lock: OwnedFd) -> Self {
        Self {
            name,
            folder,
            lock: lock.into(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The descriptor that holds the lock.
    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the command FIFO is.
    pub(super) fn fifo_path(&self) -> PathBuf {
        self.folder.join(FIFO)
    }

    /// Links the areas into the folder by number and name, so that any program can open and map them:
    /// memory through this process's descriptor, a file by its own path.
    pub(super) fn link_areas(&self, area: &SharedArea) -> Result<(), InstanceError> {
        let folder = self.folder.join(AREAS);
        unless_missing(fs::remove_dir_all(&folder)).map_err(system("clear", &folder))?;
        make_private(&folder)?;
        let pid = std::process::id();
        for plain in area.areas() {
            let target = match plain.path() {
                Some(path) => fs::canonicalize(path).map_err(system("find a file of", &folder))?,
                None => format!("/proc/{pid}/fd/{}", plain.fd().as_raw_fd()).into(),
            };
            let names = [Some(plain.id().to_string()), plain.name()];
            for name in names.into_iter().flatten() {
                symlink(&target, folder.join(name)).map_err(system("make a link in", &folder))?;
            }
        }
        Ok(())
    }

    /// Clears the place at a clean end. Not on drop: a forked child drops its copy too.
    pub(super) fn clear(self) {
        let _left: io::Result<()> = fs::remove_dir_all(self.folder.join(AREAS));
        for name in [CONTROL_SOCKET, FIFO, LOCK_FILE] {
            // Whatever is left is reused by the next master.
            let _left: io::Result<()> = fs::remove_file(self.folder.join(name));
        }
        let _left: io::Result<()> = fs::remove_dir(&self.folder);
    }
}

/// The instances in a run directory whose master answers: name and connection.
///
/// # Errors
/// When the directory cannot be read; one that does not exist has no instances.
pub fn live(run_dir: &Path) -> io::Result<Vec<(String, UnixStream)>> {
    let entries = match fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(stream) = UnixStream::connect(entry.path().join(CONTROL_SOCKET)) {
            found.push((entry.file_name().to_string_lossy().into_owned(), stream));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// What the system refused to do with a path.
fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstanceError {
    move |source| InstanceError::System {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

/// What is not there need not be removed.
fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn make_private(path: &Path) -> Result<(), InstanceError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        fs::create_dir_all(parent).map_err(system("make the directory above", path))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(system("make the directory", path)(error));
        }
        Ok(()) | Err(_) => {}
    }
    // Not through a link: in /tmp somebody else may have put one there.
    let metadata = fs::symlink_metadata(path).map_err(system("look at", path))?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o777);
    if !metadata.is_dir() || owner != geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(InstanceError::NotPrivate {
            path: path.to_path_buf(),
            owner,
            mode,
        });
    }
    Ok(())
}

/// Takes the record lock of the whole file and writes our process id into it.
fn lock(path: &Path, name: &str) -> Result<File, InstanceError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(system("open", path))?;
    let mut region = libc::flock {
        l_type: F_WRLCK,
        l_whence: SEEK_SET,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(&file, FcntlArg::F_SETLK(&region)) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => {
            // Who has it; 0 if it has just gone, which is as good as an unknown process.
            let asked = fcntl(&file, FcntlArg::F_GETLK(&mut region));
            let pid = if asked.is_ok() { region.l_pid } else { 0 };
            return Err(InstanceError::Live {
                name: name.to_owned(),
                pid,
            });
        }
        Err(error) => return Err(system("lock", path)(error.into())),
    }
    file.set_len(0).map_err(system("write", path))?;
    writeln!(file, "{}", std::process::id()).map_err(system("write", path))?;
    Ok(file)
}

// libc gives these as int, and the structure's fields are short.
const F_WRLCK: i16 = 1;
const SEEK_SET: i16 = 0;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_place_is_private_found_and_cleared() {
        let run_dir = tempfile::tempdir().unwrap();
        let run_dir = run_dir.path().join("run");
        let (instance, listener) = Instance::take(&run_dir, "3032").unwrap();
        for path in [&run_dir, &run_dir.join("3032")] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        let pid = fs::read_to_string(run_dir.join("3032/master.pid")).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        let names: Vec<String> = live(&run_dir)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["3032"]);
        drop(listener);
        assert!(
            live(&run_dir).unwrap().is_empty(),
            "a stale socket is no instance"
        );
        instance.clear();
        assert!(!run_dir.join("3032").exists());
    }

    #[test]
    fn what_a_dead_master_left_is_reused() {
        let run_dir = tempfile::tempdir().unwrap();
        let run_dir = run_dir.path().join("run");
        drop(Instance::take(&run_dir, "a").unwrap());
        Instance::take(&run_dir, "a").unwrap();
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let run_dir = tempfile::tempdir().unwrap();
        fs::set_permissions(run_dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = Instance::take(run_dir.path(), "a").unwrap_err();
        assert!(
            matches!(error, InstanceError::NotPrivate { mode: 0o755, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_path_too_long_says_what_to_do() {
        let run_dir = tempfile::tempdir().unwrap();
        let long = run_dir.path().join("d".repeat(120));
        let error = Instance::take(&long, "a").unwrap_err().to_string();
        assert!(error.contains("--run-dir"), "{error}");
    }
}
