//! Processes from the outside: whether one lives, what it holds, and how it is killed.
//!
//! Only processes of servers that a test has started may be signalled.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::PATIENCE;
use crate::server::wait_for;

/// Sends a signal to a worker or master that a test has started.
pub(crate) fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("a process of this test can be signalled");
}

/// Kills it without a word.
pub(crate) fn kill_hard(pid: i32) {
    signal(pid, Signal::SIGKILL);
}

/// Whether a process is there and has not ended.
pub(crate) fn lives(pid: i32) -> bool {
    field(pid, "State").is_some_and(|state| !state.starts_with('Z') && !state.starts_with('X'))
}

/// Waits until all have ended.
pub(crate) fn wait_until_gone(pids: &[i32]) {
    wait_for(&format!("processes {pids:?} to end"), PATIENCE, || {
        (!pids.iter().any(|pid| lives(*pid))).then_some(())
    });
}

/// Bytes of memory that a process has for itself.
pub(crate) fn private_bytes(pid: i32) -> u64 {
    let text = field(pid, "RssAnon").expect("a living process");
    let kib: u64 = text
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("a number of KiB");
    kib * 1024
}

/// Descriptors that a process holds.
pub(crate) fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a living process of ours")
        .count()
}

/// The soft limit of open files of a process, as the system writes it.
pub(crate) fn open_files_limit(pid: i32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("a living process");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line
        .expect("the line of open files")
        .split_whitespace()
        .nth(3);
    soft.expect("the soft limit").to_owned()
}

/// Lets this test process hold many clients.
pub(crate) fn raise_own_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit is allowed");
}

/// A line of `/proc/PID/status`.
fn field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
