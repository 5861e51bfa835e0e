//! Reads the configuration files that the command line names.
//!
//! It must not know what options mean.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::command::Settings;
use super::environment::Environment;
use super::ini;
use super::resolved::ConfigError;

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A pipe from which nothing comes for so long is given up.
const WAIT_MS_MAX: u16 = 3000;

/// The settings of all `--ini` files, in their order, and then those of the command line, which so
/// go over them.
///
/// # Errors
/// A file that cannot be read, or what is wrong in it.
pub fn read_files(settings: Settings, environment: &Environment) -> Result<Settings, ConfigError> {
    let mut all = Vec::new();
    for file in settings.0.iter().filter(|given| given.option.name == "ini") {
        let path = environment.start_dir.join(&file.value);
        let unreadable = |problem: String| ConfigError::File {
            path: path.clone(),
            line: 0,
            problem,
        };
        let text = read(&path, WAIT_MS_MAX)
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        all.extend(ini::parse(&text, &path)?);
    }
    all.extend(settings.0);
    Ok(Settings(all))
}

/// A pipe may be meant, as `/dev/stdin` or by the shell's `<(...)`, but one that nobody writes to is not
/// waited for without end.
fn read(path: &Path, wait_ms_max: u16) -> io::Result<String> {
    let mut options = OpenOptions::new();
    // Whoever opens a named pipe waits for a writer otherwise.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut file = options.open(path)?.take(FILE_BYTES_MAX);
    let mut bytes = Vec::new();
    loop {
        let mut set = [PollFd::new(file.get_ref().as_fd(), PollFlags::POLLIN)];
        match poll(&mut set, wait_ms_max) {
            Ok(0) => {
                let problem = format!("nothing has come from it for {wait_ms_max} ms");
                return Err(io::Error::other(problem));
            }
            Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match file.read_to_end(&mut bytes) {
            Ok(_) => break,
            // What has come so far is kept.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use nix::sys::stat::Mode;
    use nix::unistd::{mkfifo, pipe};

    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end_however_slowly_it_comes() {
        let (end, writer) = pipe().unwrap();
        let path = format!("/proc/self/fd/{}", end.as_raw_fd());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = std::fs::File::from(writer);
                for _ in 0..100 {
                    writer.write_all(b"[uwsgi]\n").unwrap();
                    std::thread::yield_now();
                }
            });
            let text = read(Path::new(&path), u16::MAX).unwrap();
            assert_eq!(text, "[uwsgi]\n".repeat(100));
        });
    }

    #[test]
    fn a_pipe_without_a_writer_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ini");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let error = read(&path, 1).unwrap_err().to_string();
        assert_eq!(error, "nothing has come from it for 1 ms");
    }
}
