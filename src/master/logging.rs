//! Log lines: `time level role[slot] message`.
//!
//! It must not know what is logged.

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicU16, Ordering};

use log::LevelFilter;

/// The slot of the worker that this process is; 0 for the master.
static SLOT: AtomicU16 = AtomicU16::new(0);

/// Starts logging to standard error. `level` comes from the configuration; without it RUST_LOG
/// decides, and without that it is info.
pub fn begin(level: Option<LevelFilter>) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Info);
    match level {
        Some(level) => builder.filter_level(level),
        None => builder.parse_default_env(),
    };
    builder.format(|line, record| {
        let time = line.timestamp_millis();
        let level = record.level();
        writeln!(line, "{time} {level:<5} {} {}", Role(slot()), record.args())
    });
    // A second start, as in tests, leaves the first in place.
    let _already: Result<(), log::SetLoggerError> = builder.try_init();
}

/// From here on this process is the worker of a slot.
pub(super) fn become_worker(slot: u16) {
    SLOT.store(slot, Ordering::Relaxed);
}

fn slot() -> u16 {
    SLOT.load(Ordering::Relaxed)
}

struct Role(u16);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("master"),
            slot => write!(f, "worker[{slot}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_as_words() {
        assert_eq!(Role(0).to_string(), "master");
        assert_eq!(Role(7).to_string(), "worker[7]");
    }
}
