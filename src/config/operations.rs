//! How the server is operated: what happens to processes, files and users around it. Plain data.
//!
//! It must not know how any of it is done.

use std::path::PathBuf;

/// What workers do when their master is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orphans {
    /// Let their clients go and leave.
    #[default]
    Drain,
    /// Leave at once.
    Exit,
}

/// Options of supervision and of the place in the system. Paths are absolute if where the server was
/// started is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operations {
    /// Only find out whether the configuration can be used.
    pub check: bool,
    /// A replacement must live this long before the next worker is replaced.
    pub settle_ms: u64,
    /// A replaced worker goes on serving clients who cannot be handed over for so long.
    pub worker_reload_mercy_ms: u64,
    /// A worker whose loop has not turned for so long is killed; 0 never.
    pub harakiri_ms: u64,
    /// A worker is replaced when it has served for so long; 0 never.
    pub worker_lifetime_ms: u64,
    /// A worker is replaced when it has so much memory; 0 never.
    pub reload_on_rss_bytes: u64,
    /// Processors for each worker; 0 leaves the choice to the kernel.
    pub cpu_affinity: u16,
    /// What workers do without a master.
    pub orphans: Orphans,
    /// Files that cause a reload when they change.
    pub touch_reload: Vec<PathBuf>,
    /// Pipe that takes letters as commands.
    pub master_fifo: Option<PathBuf>,
    /// File with the master's process id.
    pub pidfile: Option<PathBuf>,
    /// Go to the background and log into this file.
    pub daemonize: Option<PathBuf>,
    /// Log into this file.
    pub logto: Option<PathBuf>,
    /// Remove unix sockets, pidfile and pipe at the end.
    pub vacuum: bool,
    /// User, by name or number.
    pub uid: Option<String>,
    /// Group, by name or number.
    pub gid: Option<String>,
    /// Working directory.
    pub chdir: Option<PathBuf>,
    /// File mode creation mask.
    pub umask: Option<u32>,
}

impl Operations {
    /// Every default.
    pub(super) fn new() -> Self {
        Self {
            settle_ms: 1_000,
            ..Self::default()
        }
    }

    /// The file that is logged into, if it is not standard error as it was.
    pub fn log_file(&self) -> Option<&PathBuf> {
        self.logto.as_ref().or(self.daemonize.as_ref())
    }
}
