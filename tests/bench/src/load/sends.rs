//! How often a server has sent, by its own count: a tracer would slow it down, and who is slow gathers more.

use std::process::Command;

use crate::Failure;
use crate::server::beside;

/// System calls with which the workers of the server with this run directory have sent so far.
///
/// # Errors
/// No such server, or it does not count.
pub(super) fn sends(run_dir: &str) -> Result<u64, Failure> {
    let output = Command::new(beside("master")?)
        .args(["status", "--json", "--run-dir", run_dir])
        .output()?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("master status: {}", String::from_utf8_lossy(&output.stderr)))?;
    let workers = status["workers"].as_array().ok_or("no workers in status")?;
    let of_worker = |worker: &serde_json::Value| worker["sends"].as_u64();
    let sum: Option<u64> = workers.iter().map(of_worker).sum();
    Ok(sum.ok_or("no sends in status")?)
}
