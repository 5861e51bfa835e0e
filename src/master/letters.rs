//! The named pipe of `--master-fifo`: letters in, lines of the table out.
//!
//! It must not know what the letters lead to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::logging::REPEATABLE;
use super::signals::{LETTERS, LetterSpec};

/// Letters taken at once; more wait in the pipe.
const LETTERS_PER_TURN: usize = 64;

/// A pipe that is open at both ends, so that it never ends.
#[derive(Debug)]
pub(super) struct Letters {
    path: PathBuf,
    pipe: File,
}

impl Letters {
    /// Makes the pipe, or takes one that is there already, for its owner only.
    ///
    /// # Errors
    /// What the system says, or that something else is in the way.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(path)?;
        if !pipe.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other(
                "a file that is no named pipe is in the way",
            ));
        }
        pipe.set_permissions(fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            path: path.to_path_buf(),
            pipe,
        })
    }

    /// Goes on with a pipe that the program before this one had opened.
    pub(super) fn inherit(path: PathBuf, pipe: OwnedFd) -> Self {
        Self {
            path,
            pipe: pipe.into(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What has been written: lines of the table, and letters that are none of ours.
    pub(super) fn take(&mut self) -> Vec<Result<&'static LetterSpec, char>> {
        let mut letters = [0; LETTERS_PER_TURN];
        let count = match self.pipe.read(&mut letters) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                log::warn!(target: REPEATABLE, "{}: {error}", self.path.display());
                0
            }
        };
        let meant = letters[..count]
            .iter()
            .filter(|letter| !letter.is_ascii_whitespace());
        meant.map(|letter| find(*letter)).collect()
    }

    /// Removes it, if it is still ours.
    pub(super) fn remove(&self) -> io::Result<()> {
        let ours = self.pipe.metadata()?.ino();
        if fs::symlink_metadata(&self.path)?.ino() == ours {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

impl AsFd for Letters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn find(letter: u8) -> Result<&'static LetterSpec, char> {
    LETTERS
        .iter()
        .find(|spec| spec.letter == letter)
        .ok_or(char::from(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::signals::Meaning;

    #[test]
    fn letters_come_out_as_lines_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mut fifo = Letters::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(fifo.take().is_empty(), "it does not block");
        fs::write(&path, "r+\n?").unwrap();
        let meanings: Vec<Result<Meaning, char>> = fifo
            .take()
            .into_iter()
            .map(|found| found.map(|spec| spec.meaning))
            .collect();
        assert_eq!(meanings, [Ok(Meaning::Reload), Ok(Meaning::More), Err('?')]);
        fifo.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_pipe_is_taken_and_anything_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        drop(Letters::make(&path).unwrap());
        drop(Letters::make(&path).unwrap());
        let file = folder.path().join("file");
        fs::write(&file, "keep me").unwrap();
        assert!(Letters::make(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "keep me");
    }
}
