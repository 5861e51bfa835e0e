//! What the machine and the environment say, read once, so that resolving options stays a function of its arguments.
//!
//! The only place that reads environment variables. It must not know what the values are used for.

use std::net::{Ipv6Addr, UdpSocket};
use std::path::PathBuf;

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
    fn the_run_directory_is_private_to_the_user() {
        let mut environment = Environment {
            xdg_runtime_dir: Some("/run/user/7".into()),
            uid: 7,
            processors: 1,
            ipv6: true,
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
