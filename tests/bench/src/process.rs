//! CPU time and memory of a process tree, read from `/proc`; pinning and limits of this process.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::Failure;

/// The process and all its descendants.
///
/// # Errors
/// The process is gone.
pub fn tree(root: u32) -> Result<Vec<u32>, Failure> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(parent) = parent(pid) {
            parents.push((pid, parent));
        }
    }
    if !parents.iter().any(|(pid, _)| *pid == root) {
        return Err(format!("process {root} is gone").into());
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == pid)
                .map(|(child, _)| *child),
        );
        at += 1;
    }
    Ok(found)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; what follows the last one is regular: state, parent, ...
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Nanoseconds of CPU that all threads of these processes have used.
///
/// # Errors
/// One of them is gone, or the kernel keeps no scheduler statistics.
pub fn cpu_ns(pids: &[u32]) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            sum += text
                .split_whitespace()
                .next()
                .unwrap_or("")
                .parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// Bytes of these processes' proportional share of memory (PSS).
///
/// # Errors
/// One of them is gone, or its memory may not be read.
pub fn pss_bytes(pids: &[u32]) -> Result<u64, Failure> {
    memory_bytes(pids, "smaps_rollup", "Pss:")
}

/// Bytes of memory that these processes have for themselves.
///
/// # Errors
/// One of them is gone.
pub fn private_bytes(pids: &[u32]) -> Result<u64, Failure> {
    memory_bytes(pids, "status", "RssAnon:")
}

/// The sum of what stands behind `label` in this file of each process.
fn memory_bytes(pids: &[u32], file: &str, label: &str) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .ok_or_else(|| format!("no {label} in {file}"))?;
        sum += line.trim_end_matches("kB").trim().parse::<u64>()? * 1024;
    }
    Ok(sum)
}

/// The cores this process may use.
///
/// # Errors
/// The kernel refuses to tell.
pub fn cores() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect())
}

/// Keeps this process, and what it starts from now on, on `cores`.
///
/// # Errors
/// A core does not exist or may not be used.
pub fn pin(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
        .map_err(|error| format!("pinning to cores {cores:?}: {error}").into())
}

/// Raises the number of descriptors to what is allowed at most and returns it.
///
/// # Errors
/// The kernel refuses.
pub fn raise_descriptor_limit() -> Result<u64, Failure> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// Lets the kernel end this process when the one that started it ends.
///
/// # Errors
/// The kernel refuses.
pub fn end_with_parent() -> Result<(), Failure> {
    Ok(nix::sys::prctl::set_pdeathsig(
        nix::sys::signal::Signal::SIGTERM,
    )?)
}

/// Whether a program of this name is on the path.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_in_the_tree_and_its_memory_counts() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pids = tree(std::process::id()).unwrap();
        assert!(pids.contains(&child.id()));
        assert!(pss_bytes(&[std::process::id()]).unwrap() > 0);
        assert!(private_bytes(&[std::process::id()]).unwrap() > 0);
        assert!(cpu_ns(&[std::process::id()]).unwrap() > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(tree(u32::MAX).is_err());
        assert!(cpu_ns(&[u32::MAX]).is_err());
    }
}
