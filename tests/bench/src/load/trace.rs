//! Counts the system calls of a process tree for a while, by strace.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;
use crate::sockets::nonblocking;

/// A running strace.
#[derive(Debug)]
pub(super) struct Trace {
    child: Child,
    processes: usize,
    said: String,
}

impl Trace {
    /// Starts to attach to these processes and counts all calls.
    pub(super) fn attach(pids: &[u32]) -> Result<Self, Failure> {
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-e", "trace=all"]);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let trace = Self {
            child,
            processes: pids.len(),
            said: String::new(),
        };
        trace.unblock()?;
        Ok(trace)
    }

    fn unblock(&self) -> Result<(), Failure> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        if let Some(pipe) = &self.child.stderr {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Failure> {
        let Some(pipe) = &mut self.child.stderr else {
            return Ok(());
        };
        let mut part = [0; 4096];
        while let Some(read @ 1..) = nonblocking(pipe.read(&mut part))? {
            self.said.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        Ok(())
    }

    /// Whether it counts by now.
    pub(super) fn is_attached(&mut self) -> Result<bool, Failure> {
        self.read()?;
        if self.child.try_wait()?.is_some() {
            return Err(format!("strace ended: {}", self.said.trim()).into());
        }
        Ok(self.said.matches(" attached").count() >= self.processes)
    }

    /// Asks it to leave.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            Signal::SIGINT,
        )?)
    }

    /// Whether it has left.
    pub(super) fn is_gone(&mut self) -> Result<bool, Failure> {
        self.read()?;
        Ok(self.child.try_wait()?.is_some())
    }

    /// How many calls it has counted.
    pub(super) fn calls(&mut self) -> Result<u64, Failure> {
        self.read()?;
        total(&self.said)
            .ok_or_else(|| format!("strace printed no total: {}", self.said.trim()).into())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Only where the run has failed is it still there; then nothing can be done about an error either.
        if !matches!(self.child.try_wait(), Ok(Some(_))) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The calls in the line `100.00    0.123456           3      2000        16 total`; the errors may be missing.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .rfind(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_total_is_found_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.104422           3     30005           total\n";
        assert_eq!(super::total(table), Some(30_005));
        assert_eq!(
            super::total("100.00    0.104422           3     30006        17 total"),
            Some(30_006)
        );
        assert_eq!(super::total("strace: Process 12 detached"), None);
    }
}
