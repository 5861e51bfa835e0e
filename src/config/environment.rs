//! What the machine and the environment say, read once, so that resolving options stays a function of its arguments.
//!
//! The only place that reads environment variables. It must not know what the values are used for.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::resolved::PROCESSES_MAX;

/// A snapshot of what resolving depends on besides the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `XDG_RUNTIME_DIR`, if it is set and absolute.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// The effective user.
    pub uid: u32,
    /// Processors this process may use: affinity and cgroup quota are counted in.
    pub processors: u16,
    /// The machine can bind IPv6 sockets.
    pub ipv6: bool,
    /// Somebody else has made listening sockets for us, so none need be named.
    pub has_sockets: bool,
    /// Where the server was started.
    pub start_dir: PathBuf,
}

/// What a service manager, or the program before this one, has left in the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activation {
    /// `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`: inherited listening sockets.
    pub listen: Option<(String, String, String)>,
    /// `NOTIFY_SOCKET`: where the service manager hears how we are.
    pub notify_socket: Option<OsString>,
    /// `WATCHDOG_USEC` and `WATCHDOG_PID`: how often it must.
    pub watchdog: Option<(String, Option<String>)>,
    /// `BELLWETHER_STATE`: descriptor with the state of the program before an upgrade.
    pub state: Option<String>,
}

/// Tells a new program which descriptor has the old one's state.
const STATE_VARIABLE: &str = "BELLWETHER_STATE";

impl Activation {
    /// Variables of which nobody whom we start must think that they are meant for them.
    pub const PRIVATE: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", STATE_VARIABLE];

    /// Reads the variables of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment is read"
    )]
    pub fn read() -> Self {
        let text = |name| std::env::var(name).ok();
        Self {
            listen: text("LISTEN_PID")
                .zip(text("LISTEN_FDS"))
                .map(|(pid, fds)| (pid, fds, text("LISTEN_FDNAMES").unwrap_or_default())),
            notify_socket: std::env::var_os("NOTIFY_SOCKET"),
            watchdog: text("WATCHDOG_USEC").map(|usec| (usec, text("WATCHDOG_PID"))),
            state: text(STATE_VARIABLE),
        }
    }

    /// The variables of this process for a program that takes over the state behind this descriptor.
    pub fn variables_with(state: RawFd) -> Vec<(OsString, OsString)> {
        let is_private = |name: &OsString| Self::PRIVATE.iter().any(|private| name == private);
        std::env::vars_os()
            .filter(|(name, _)| !is_private(name))
            .chain([(STATE_VARIABLE.into(), state.to_string().into())])
            .collect()
    }
}

/// The file of this program as it was named by `word`, its first word: by its path, seen from
/// `start_dir`, or found on `PATH`. Links are left as they are, so that a link to a newer program leads
/// to that.
pub fn program_path(word: &OsStr, start_dir: &Path) -> Option<PathBuf> {
    if word.as_bytes().contains(&b'/') {
        return Some(start_dir.join(word));
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| start_dir.join(folder).join(word))
        .find(|path| path.is_file())
        .or_else(|| std::env::current_exe().ok())
}

impl Environment {
    /// Reads the surroundings of this process.
    pub fn read() -> Self {
        let processors = std::thread::available_parallelism()
            .ok()
            .and_then(|count| u16::try_from(count.get()).ok())
            .unwrap_or(PROCESSES_MAX)
            .min(PROCESSES_MAX);
        Self {
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute()),
            uid: geteuid().as_raw(),
            processors,
            // Loopback exists wherever IPv6 is switched on; binding a datagram socket disturbs nobody.
            ipv6: UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
            has_sockets: false,
            start_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }

    /// Where instances keep their control sockets unless `--run-dir` says otherwise.
    pub fn run_dir(&self) -> PathBuf {
        match (&self.xdg_runtime_dir, self.uid) {
            (Some(dir), _) => dir.join("bellwether"),
            (None, 0) => PathBuf::from("/run/bellwether"),
            (None, uid) => PathBuf::from(format!("/tmp/bellwether-{uid}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_it_was_named() {
        let found = |word: &str| program_path(OsStr::new(word), Path::new("/srv"));
        assert_eq!(found("./master"), Some("/srv/./master".into()));
        assert_eq!(
            found("/opt/current/master"),
            Some("/opt/current/master".into())
        );
        assert!(found("sh").unwrap().ends_with("sh"));
    }

    #[test]
    fn the_run_directory_is_private_to_the_user() {
        let mut environment = Environment {
            xdg_runtime_dir: Some("/run/user/7".into()),
            uid: 7,
            processors: 1,
            ipv6: true,
            has_sockets: false,
            start_dir: "/".into(),
        };
        assert_eq!(
            environment.run_dir(),
            PathBuf::from("/run/user/7/bellwether")
        );
        environment.xdg_runtime_dir = None;
        assert_eq!(environment.run_dir(), PathBuf::from("/tmp/bellwether-7"));
        environment.uid = 0;
        assert_eq!(environment.run_dir(), PathBuf::from("/run/bellwether"));
    }
}
