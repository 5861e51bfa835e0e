//! The standard streams of a process, and its terminal.
//!
//! It must not know what is written to them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// Standard output and error go to the end of this file from now on, which is made if need be.
///
/// # Errors
/// Those of `open(2)` and `dup2(2)`; nothing has changed then.
pub fn log_into(file: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOCTTY)
        .open(file)?;
    write_to(&file)
}

/// Standard output and error go to this descriptor from now on.
///
/// # Errors
/// Those of `dup2(2)`.
pub fn write_to(to: impl AsFd) -> io::Result<()> {
    dup2_stdout(to.as_fd())?;
    Ok(dup2_stderr(to.as_fd())?)
}

/// Leaves the terminal: a session of its own, nothing to read.
///
/// # Errors
/// Those of `setsid(2)` and `open(2)`.
pub fn detach() -> io::Result<()> {
    setsid()?;
    Ok(dup2_stdin(File::open("/dev/null")?)?)
}

/// Whether this process belongs to a terminal.
pub fn has_terminal() -> bool {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOCTTY)
        .open("/dev/tty")
        .is_ok()
}
