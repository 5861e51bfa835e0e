//! How many files a process may hold open.
//!
//! It must not know what the files are.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The most that is asked for when the hard limit is higher: the kernel's own default ceiling (`fs.nr_open`), and
/// enough for every target of ours.
const OPEN_FILES_WANTED: u64 = 1 << 20;

/// Raises the soft limit of open files as far as the hard limit allows, and returns what it is now.
///
/// # Errors
/// Those of `getrlimit(2)` and `setrlimit(2)`.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(OPEN_FILES_WANTED);
    if soft >= wanted {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let limit = raise_open_files().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, limit);
        assert!(limit == hard || limit >= OPEN_FILES_WANTED);
    }
}
