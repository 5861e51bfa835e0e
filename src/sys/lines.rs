//! Lines to standard error that wait for nobody: what its reader does not take is lost, whole lines
//! only, and counted.
//!
//! Whether a write waits is a matter of the open description, which a shell, a parent or a child shares
//! with us. So a pipe or terminal is opened again, for a description of our own; a socket is told with
//! every line; a file is written as it is. Up to `PIPE_BUF` bytes, lines of several processes do not
//! mix. It must not know what a line says.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use nix::sys::stat::{SFlag, fstat};

/// How lines leave.
#[derive(Debug)]
enum Way {
    /// Through a description of our own that does not block.
    Own(OwnedFd),
    /// Standard error is a socket.
    Socket,
    /// As standard error does it: a file, or something that cannot be opened again.
    AsItIs,
}

/// What of this process's lines has not left.
#[derive(Debug)]
struct Lines {
    /// None: to be found out.
    way: Option<Way>,
    /// The end of a line whose beginning has left.
    rest: Vec<u8>,
    lost: u64,
}

static LINES: Mutex<Lines> = Mutex::new(Lines::new());

/// A panic while it was held left nothing half done that would matter.
fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds out how lines leave from now on; who becomes another user may not be able to do so later.
pub fn look() {
    let mut lines = lines();
    if lines.way.is_none() {
        lines.way = Way::of(io::stderr().as_fd()).ok();
    }
}

/// Writes a line, its end included, or counts it as lost.
pub fn write(line: &[u8]) {
    lines().write(line, io::stderr().as_fd());
}

/// Counts lines as lost that were not even tried here.
pub fn lose(count: u64) {
    let mut lines = lines();
    lines.lost = lines.lost.saturating_add(count);
}

/// Lines that are lost and were not [told](tell).
pub fn lost() -> u64 {
    lines().lost
}

/// So many lost lines need not be told any more.
pub fn tell(lost: u64) {
    let mut lines = lines();
    lines.lost = lines.lost.saturating_sub(lost);
}

/// Goes on with a line that has left in part; `false` while there is more of it.
pub fn finish() -> bool {
    lines().finish(io::stderr().as_fd())
}

/// Whether anything was lost or has left in part.
pub fn is_behind() -> bool {
    let lines = lines();
    lines.lost > 0 || !lines.rest.is_empty()
}

/// The description of our own, if there is one: who becomes another user could not open it again.
pub fn own() -> Option<OwnedFd> {
    match &lines().way {
        Some(Way::Own(fd)) => fd.try_clone().ok(),
        Some(Way::Socket | Way::AsItIs) | None => None,
    }
}

/// The end of a line whose beginning has left.
pub fn rest() -> Vec<u8> {
    lines().rest.clone()
}

/// Goes on with what the program before this one had: its own description, lines it has lost, and the
/// [rest] of one.
pub fn go_on(own: Option<OwnedFd>, lost: u64, rest: Vec<u8>) {
    let mut lines = lines();
    lines.way = own.map(Way::Own);
    lines.lost = lost;
    lines.rest = rest;
}

/// Standard error is another one now.
pub(super) fn look_again() {
    let mut lines = lines();
    lines.way = None;
    lines.rest = Vec::new();
}

/// In a new process: what its parent has begun or lost is the parent's.
pub(super) fn begin_anew() {
    let mut lines = lines();
    lines.rest = Vec::new();
    lines.lost = 0;
}

impl Lines {
    const fn new() -> Self {
        Self {
            way: None,
            rest: Vec::new(),
            lost: 0,
        }
    }

    fn write(&mut self, line: &[u8], to: BorrowedFd<'_>) {
        let taken = self.finish(to)
            && match self.send(line, to) {
                Ok(sent) => {
                    self.rest.extend_from_slice(&line[sent..]);
                    self.finish(to);
                    true
                }
                Err(_) => false,
            };
        if !taken {
            self.lost += 1;
        }
    }

    fn finish(&mut self, to: BorrowedFd<'_>) -> bool {
        while !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            match self.send(&rest, to) {
                Ok(sent) => self.rest.extend_from_slice(&rest[sent..]),
                // Who has its beginning is gone.
                Err(Errno::EPIPE) => self.lost += 1,
                Err(_) => {
                    self.rest = rest;
                    return false;
                }
            }
        }
        true
    }

    fn send(&mut self, bytes: &[u8], to: BorrowedFd<'_>) -> nix::Result<usize> {
        let way = match &mut self.way {
            Some(way) => way,
            unknown @ None => unknown.insert(Way::of(to)?),
        };
        loop {
            let sent = match way {
                Way::Own(own) => nix::unistd::write(own, bytes),
                Way::Socket => {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    nix::sys::socket::send(to.as_raw_fd(), bytes, flags)
                }
                Way::AsItIs => nix::unistd::write(to, bytes),
            };
            if sent != Err(Errno::EINTR) {
                return sent;
            }
        }
    }
}

impl Way {
    /// # Errors
    /// `ENXIO`: nobody has the other end of a pipe.
    fn of(to: BorrowedFd<'_>) -> nix::Result<Self> {
        let kind = SFlag::from_bits_truncate(fstat(to)?.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFSOCK {
            return Ok(Self::Socket);
        }
        if kind != SFlag::S_IFIFO && kind != SFlag::S_IFCHR {
            return Ok(Self::AsItIs);
        }
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", to.as_raw_fd()));
        match opened {
            Ok(own) => Ok(Self::Own(own.into())),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Err(Errno::ENXIO),
            Err(_) => Ok(Self::AsItIs),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    /// Longer than what leaves in one piece.
    const LONG: usize = 3 * libc::PIPE_BUF;

    fn pipe() -> (File, OwnedFd) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        (reader.into(), writer)
    }

    /// Lines of this length until one is lost; how many were not.
    fn fill(lines: &mut Lines, length: usize, to: BorrowedFd<'_>) -> usize {
        let before = lines.lost;
        let mut line = vec![b'x'; length];
        line[length - 1] = b'\n';
        for taken in 0.. {
            lines.write(&line, to);
            if lines.lost > before {
                return taken;
            }
        }
        0
    }

    /// Reads so many whole lines, all of this length.
    fn drain(mut reader: impl io::Read, count: usize, length: usize) {
        let mut text = vec![0; count * length];
        reader.read_exact(&mut text).unwrap();
        assert!(text.chunks(length).all(|line| line.ends_with(b"x\n")));
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), count);
    }

    #[test]
    fn a_full_pipe_takes_whole_lines_or_none_and_others_may_block_on_it() {
        for length in [2, 100, libc::PIPE_BUF] {
            let (mut reader, writer) = pipe();
            let mut lines = Lines::new();
            let taken = fill(&mut lines, length, writer.as_fd());
            assert!(taken > 1, "{length}");
            assert!(lines.rest.is_empty(), "no part of a line has left");
            let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
            assert!(!flags.contains(OFlag::O_NONBLOCK));
            drain(&mut reader, taken, length);
            lines.write(b"again\n", writer.as_fd());
            let mut again = [0; 6];
            reader.read_exact(&mut again).unwrap();
            assert_eq!((&again, lines.lost), (b"again\n", 1));
        }
    }

    #[test]
    fn a_long_line_that_has_begun_to_leave_is_finished_before_anything_else() {
        let (mut reader, writer) = pipe();
        let mut lines = Lines::new();
        let taken = fill(&mut lines, LONG, writer.as_fd());
        assert!(!lines.rest.is_empty(), "it ends in the middle of one");
        drain(&mut reader, taken - 1, LONG);
        assert!(lines.finish(writer.as_fd()));
        drain(&mut reader, 1, LONG);
    }

    #[test]
    fn a_socket_that_nobody_reads_holds_nobody_up() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let mut lines = Lines::new();
        let taken = fill(&mut lines, 100, writer.as_fd());
        drain(&reader, taken, 100);
        lines.write(b"again\n", writer.as_fd());
        drop(writer);
        let mut again = String::new();
        (&reader).read_to_string(&mut again).unwrap();
        assert_eq!(again, "again\n");
    }

    #[test]
    fn a_pipe_without_a_reader_loses_lines_until_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            options.open(&path).unwrap()
        };
        let reader = open();
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        drop(reader);
        let mut lines = Lines::new();
        lines.write(b"nobody\n", writer.as_fd());
        assert_eq!(lines.lost, 1);
        let mut reader = open();
        lines.write(b"somebody\n", writer.as_fd());
        let mut text = [0; 9];
        reader.read_exact(&mut text).unwrap();
        assert_eq!((&text, lines.lost), (b"somebody\n", 1));
    }

    #[test]
    fn a_file_gets_everything_at_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before\n").unwrap();
        let mut lines = Lines::new();
        lines.write(b"after\n", file.as_fd());
        io::Seek::rewind(&mut file).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), lines.lost), ("before\nafter\n", 0));
    }
}
