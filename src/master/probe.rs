//! A child that finds out whether a new configuration or program can be used, and what it says.
//!
//! It must not know what is checked.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use crate::sys::process::Exit;

/// Of what it says, the end is kept.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A check that is going on.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) child: Pid,
    output: File,
    text: Vec<u8>,
    /// Whether more may come.
    open: bool,
    /// It was given up after so long.
    overdue_ms: Option<u64>,
}

/// The two ends of a pipe: what the child says comes out of the first.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC)?)
}

impl Probe {
    /// Hears what `child` writes to the other end of `output`.
    pub(super) fn new(child: Pid, output: OwnedFd) -> io::Result<Self> {
        nix::fcntl::fcntl(&output, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            child,
            output: output.into(),
            text: Vec::new(),
            open: true,
            overdue_ms: None,
        })
    }

    pub(super) fn output(&self) -> &File {
        &self.output
    }

    /// Whether it is worth listening to.
    pub(super) fn speaks(&self) -> bool {
        self.open
    }

    /// Takes what there is.
    pub(super) fn hear(&mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.output.read(&mut chunk) {
                Ok(0) => {
                    self.open = false;
                    return;
                }
                Ok(count) => self.text.extend_from_slice(&chunk[..count]),
                Err(error) => {
                    self.open = error.kind() == io::ErrorKind::WouldBlock;
                    return;
                }
            }
            let surplus = self.text.len().saturating_sub(TEXT_BYTES_MAX);
            self.text.drain(..surplus);
        }
    }

    /// Its time is over: whatever it says, it has failed for that.
    pub(super) fn give_up(&mut self, timeout_ms: u64) {
        self.overdue_ms = Some(timeout_ms);
    }

    /// What it found out: passed, with `token` among its words if one is asked for, or why not.
    pub(super) fn verdict(mut self, exit: Exit, token: Option<&str>) -> Result<(), String> {
        if let Some(timeout_ms) = self.overdue_ms {
            let seconds = timeout_ms.div_ceil(1000);
            return Err(format!(
                "the check was ended: it has taken more than {seconds} s"
            ));
        }
        self.hear();
        let text = String::from_utf8_lossy(&self.text);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        if exit == Exit::Code(0) {
            return match token {
                Some(token) if !lines.any(|line| line == token) => {
                    Err("the program on disk is none that can take over".to_owned())
                }
                Some(_) | None => Ok(()),
            };
        }
        Err(match lines.next_back() {
            Some(last) => last.strip_prefix("master: ").unwrap_or(last).to_owned(),
            None => format!("the check ended without a word ({exit})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn verdict(said: &str, exit: Exit, token: Option<&str>) -> Result<(), String> {
        let (output, input) = pipe().unwrap();
        File::from(input).write_all(said.as_bytes()).unwrap();
        Probe::new(Pid::from_raw(1), output)
            .unwrap()
            .verdict(exit, token)
    }

    #[test]
    fn the_last_line_is_the_reason() {
        let error = verdict("a warning\nmaster: no such thing\n\n", Exit::Code(1), None);
        assert_eq!(error, Err("no such thing".to_owned()));
        let error = verdict("", Exit::Signal(11), None).unwrap_err();
        assert_eq!(error, "the check ended without a word (killed by SIGSEGV)");
    }

    #[test]
    fn a_check_that_was_ended_for_its_time_says_so() {
        let (output, input) = pipe().unwrap();
        let mut probe = Probe::new(Pid::from_raw(1), output).unwrap();
        File::from(input).write_all(b"reading\n").unwrap();
        probe.give_up(30_000);
        let error = probe.verdict(Exit::Signal(9), None).unwrap_err();
        assert_eq!(error, "the check was ended: it has taken more than 30 s");
    }

    #[test]
    fn who_does_not_know_the_token_has_not_passed() {
        assert_eq!(verdict("", Exit::Code(0), None), Ok(()));
        assert_eq!(verdict("x\ntoken\n", Exit::Code(0), Some("token")), Ok(()));
        assert!(verdict("x\n", Exit::Code(0), Some("token")).is_err());
    }
}
