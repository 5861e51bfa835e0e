//! The standard streams of a process, and its terminal.
//!
//! It must not know what is written to them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::lines;

/// Standard output and error go to the end of this file from now on, as [`open_log`] opens it.
///
/// # Errors
/// Those of `open(2)` and `dup2(2)`; nothing has changed then.
pub fn log_into(file: &Path) -> io::Result<()> {
    write_to(open_log(file)?)
}

/// Opens a file to write at its end; it is made if need be. A named pipe is not waited for: without a
/// reader, what is written waits in it for one.
///
/// # Errors
/// Those of `open(2)`.
pub fn open_log(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let file = match options.open(file) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => options.read(true).open(file)?,
        opened => opened?,
    };
    // Only the opening was not to wait: apps may write here too, and know nothing of such descriptors.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// Standard output and error go to this descriptor from now on.
///
/// # Errors
/// Those of `dup2(2)`.
pub fn write_to(to: impl AsFd) -> io::Result<()> {
    dup2_stdout(to.as_fd())?;
    dup2_stderr(to.as_fd())?;
    lines::look_again();
    Ok(())
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
