//! Processes: a fork that is proven sound, reaping, signals to children, and what signals do in a child.
//!
//! It must not know workers: process ids and exit states go in and out.

#![expect(unsafe_code, reason = "a face on system calls")]

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigSet, SigmaskHow, Signal};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execve};

use super::lines;

/// A witness that this process has exactly one thread, so that a fork copies all of it.
///
/// With a second thread, a lock it holds at that moment (the allocator's, say) would stay locked in the child for ever.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the threads of this process.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or when there is more than one thread.
    pub fn prove() -> io::Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads == 1 {
            return Ok(Self(()));
        }
        Err(io::Error::other(format!(
            "this process has {threads} threads, and forking needs exactly one"
        )))
    }
}

/// Memory that a process occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupied {
    /// Bytes that are in memory now, shared ones among them.
    pub resident_bytes: u64,
    /// Bytes of its address space.
    pub virtual_bytes: u64,
}

/// Asks the system what a process occupies; `None` when it is gone.
pub fn occupied(pid: Pid) -> Option<Occupied> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split(' ').map_while(|pages| pages.parse::<u64>().ok());
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let page_bytes = u64::try_from(page_bytes.ok()??).ok()?;
    let virtual_bytes = pages.next()? * page_bytes;
    let resident_bytes = pages.next()? * page_bytes;
    Some(Occupied {
        resident_bytes,
        virtual_bytes,
    })
}

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that was there before.
    Parent {
        /// The new one.
        child: Pid,
    },
    /// The new process.
    Child,
}

/// Makes a copy of this process. The proof is used up, so that each fork is proven anew.
///
/// # Errors
/// Those of `fork(2)`: no memory, or too many processes.
pub fn fork(_proof: SingleThreaded) -> io::Result<Fork> {
    // SAFETY: the proof says that no other thread exists whose state the child would miss.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent { child }),
        ForkResult::Child => {
            lines::begin_anew();
            Ok(Fork::Child)
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// Takes one ended child, whoever's it was, without waiting; None when none has ended.
///
/// # Errors
/// Those of `waitpid(2)`, but having no children at all is None.
pub fn reap() -> io::Result<Option<(Pid, Exit)>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            // An exit code has eight bits by the time it is reported.
            Ok(WaitStatus::Exited(pid, code)) => {
                return Ok(Some((
                    pid,
                    Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                )));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Ok(Some((pid, Exit::Signal(signal as i32))));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            // Stopped or continued children are not reported without asking, and an interrupted call is repeated.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends a process at once.
///
/// # Errors
/// Those of `kill(2)`, but a process that is gone already is no error.
pub fn kill(pid: Pid) -> io::Result<()> {
    match signal::kill(pid, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A living process whose end can be waited for, whoever's child it is. It stays this process even if
/// its number is given to another one.
#[derive(Debug)]
pub struct Watched(OwnedFd);

impl Watched {
    /// The process that listens at the other end of a connected unix socket.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)`; it cannot be seen from another process namespace.
    pub fn listening_to(socket: &impl AsFd) -> io::Result<Self> {
        let pid = getsockopt(socket, PeerCredentials)?.pid();
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(Errno::result(result)?).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits, for as long as it takes, until it has ended and has closed all that it had open.
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn wait(&self) -> io::Result<()> {
        let mut set = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut set, PollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Every signal is held back from here until the value goes: around a fork, so that the child never runs its parent's
/// handlers (they would write into the parent's pipe).
#[derive(Debug)]
pub struct SignalsHeld {
    before: SigSet,
}

impl SignalsHeld {
    /// Holds them back.
    ///
    /// # Errors
    /// Those of `sigprocmask(2)`, which has none for these arguments.
    pub fn hold() -> io::Result<Self> {
        let mut before = SigSet::empty();
        signal::sigprocmask(
            SigmaskHow::SIG_SETMASK,
            Some(&SigSet::all()),
            Some(&mut before),
        )?;
        Ok(Self { before })
    }
}

impl Drop for SignalsHeld {
    fn drop(&mut self) {
        // It cannot fail for a mask that the kernel gave us.
        let _never: nix::Result<()> =
            signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Lets every signal through that is held back.
///
/// # Errors
/// Those of `sigprocmask(2)`, which has none for these arguments.
pub fn let_signals_through() -> io::Result<()> {
    Ok(signal::sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::empty()),
        None,
    )?)
}

/// Becomes another program, in the same process: with these words (the first is its name) and
/// variables. Returns only if that is not possible.
pub fn exec(program: &Path, words: &[OsString], variables: &[(OsString, OsString)]) -> io::Error {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
    let prepared = || {
        let program = text(program.as_os_str())?;
        let words = words.iter().map(|word| text(word));
        let words: Vec<CString> = words.collect::<io::Result<_>>()?;
        let variables = variables.iter().map(|(name, value)| {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            text(&variable)
        });
        let variables: Vec<CString> = variables.collect::<io::Result<_>>()?;
        Ok((program, words, variables))
    };
    match prepared() {
        Ok((program, words, variables)) => match execve(&program, &words, &variables) {
            Ok(never) => match never {},
            Err(error) => error.into(),
        },
        Err(error) => error,
    }
}

/// Takes variables out of this process's environment.
pub fn forget_variables(_proof: SingleThreaded, names: &[&str]) {
    for name in names {
        // SAFETY: the proof says that no other thread exists which could read the environment now.
        unsafe { std::env::remove_var(name) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_are_no_proof() {
        // The test harness itself has a thread for each test beside the main one.
        let error = SingleThreaded::prove().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("threads, and forking needs exactly one")
        );
    }

    #[test]
    fn exits_read_as_words() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert_eq!(Exit::Signal(libc::SIGKILL).to_string(), "killed by SIGKILL");
        assert_eq!(Exit::Signal(64).to_string(), "killed by signal 64");
    }

    #[test]
    fn a_process_that_is_gone_can_be_killed_again() {
        // No process has the largest id the kernel could ever give.
        assert!(kill(Pid::from_raw(i32::MAX)).is_ok());
    }
}
