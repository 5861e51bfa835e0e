//! The command FIFO in the run directory: one line, one command, for whatever can write a file.
//!
//! Whoever may open it may do no more than publish. A line that is no command is told in the log and
//! does nothing. It must not know how commands are done.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::stat::Mode;

use super::logging::REPEATABLE;
use crate::protocol::websocket::Kind;

/// Longest line; the rest of a longer one is thrown away.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes taken in one turn.
const READ_BYTES: usize = 64 * 1024;
/// What of a bad line is shown.
const SHOWN_CHARS_MAX: usize = 80;

const ALLOWED: &str = "P CHANNEL TEXT | A AREA POS LEN [CHANNEL] (binary) | T AREA POS LEN [CHANNEL] (text) | U AREA | W AREA";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Publish a text message.
    Publish { channel: String, text: String },
    /// A range of an area was written: send it.
    Announce {
        area: String,
        position: u64,
        bytes: u64,
        channel: Option<String>,
        kind: Kind,
    },
    /// Count an update of an area.
    Update { area: String },
    /// Look at a watched area now.
    Look { area: String },
}

/// The FIFO and the line that is not complete yet.
#[derive(Debug)]
pub(super) struct Fifo {
    file: File,
    line: Vec<u8>,
    /// The line is too long, and its end has not come.
    skipping: bool,
}

impl Fifo {
    /// Makes the FIFO, for its owner only; one that a dead master left is replaced.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Open for writing too, so that it does not end when a writer goes.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Self::inherit(file.into()))
    }

    /// Goes on with a FIFO that the program before this one had opened.
    pub(super) fn inherit(file: OwnedFd) -> Self {
        Self {
            file: file.into(),
            line: Vec::new(),
            skipping: false,
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The commands that have come.
    pub(super) fn read(&mut self) -> Vec<Command> {
        let mut chunk = [0; READ_BYTES];
        // Blocked or interrupted: poll will say when there is more.
        let count = self.file.read(&mut chunk).unwrap_or(0);
        self.push(&chunk[..count])
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<Command> {
        let mut commands = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (part, ends) = match part.strip_suffix(b"\n") {
                Some(part) => (part, true),
                None => (part, false),
            };
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                self.skipping = true;
                self.line.clear();
            }
            if !self.skipping {
                self.line.extend_from_slice(part);
            }
            if ends {
                let line = std::mem::take(&mut self.line);
                if std::mem::take(&mut self.skipping) {
                    log::warn!(
                        target: REPEATABLE,
                        "fifo: a line of more than {LINE_BYTES_MAX} bytes; allowed is {ALLOWED}"
                    );
                } else if !line.is_empty() {
                    commands.extend(understood(&line));
                }
            }
        }
        commands
    }
}

/// The command in a line, or a word in the log about it.
fn understood(line: &[u8]) -> Option<Command> {
    let command = str::from_utf8(line).ok().and_then(parse);
    if command.is_none() {
        let shown: String = String::from_utf8_lossy(line)
            .chars()
            .take(SHOWN_CHARS_MAX)
            .collect();
        log::warn!(target: REPEATABLE, "fifo: {shown:?} is no command; allowed is {ALLOWED}");
    }
    command
}

fn parse(line: &str) -> Option<Command> {
    let (letter, rest) = line.split_once(' ')?;
    match letter {
        "P" => {
            let (channel, text) = rest.split_once(' ')?;
            Some(Command::Publish {
                channel: channel.to_owned(),
                text: text.to_owned(),
            })
        }
        "A" => announce(rest, Kind::Binary),
        "T" => announce(rest, Kind::Text),
        "U" => area(rest).map(|area| Command::Update { area }),
        "W" => area(rest).map(|area| Command::Look { area }),
        _ => None,
    }
}

fn area(rest: &str) -> Option<String> {
    let area = rest.trim();
    (!area.is_empty() && !area.contains(' ')).then(|| area.to_owned())
}

fn announce(rest: &str, kind: Kind) -> Option<Command> {
    let mut words = rest.splitn(4, ' ');
    let area = words.next()?.to_owned();
    let position = words.next()?.parse().ok()?;
    let bytes = words.next()?.parse().ok()?;
    let channel = words.next().map(str::to_owned);
    Some(Command::Announce {
        area,
        position,
        bytes,
        channel: channel.filter(|channel| !channel.is_empty()),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_become_commands_however_they_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        std::fs::write(&path, "left over").unwrap();
        let mut fifo = Fifo::create(&path).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(fifo.read(), []);
        let expected = [
            Command::Publish {
                channel: "news".into(),
                text: "hello  world".into(),
            },
            Command::Announce {
                area: "0".into(),
                position: 64,
                bytes: 5,
                channel: None,
                kind: Kind::Binary,
            },
            Command::Announce {
                area: "frames".into(),
                position: 0,
                bytes: 1,
                channel: Some("my room".into()),
                kind: Kind::Text,
            },
            Command::Update { area: "1".into() },
            Command::Look { area: "0".into() },
        ];
        let lines = b"P news hello  world\nA 0 64 5\n\nT frames 0 1 my room\nU 1\nW 0\n";
        for cut in 0..lines.len() {
            let mut commands = Vec::new();
            for part in [&lines[..cut], &lines[cut..]] {
                writer.write_all(part).unwrap();
                commands.extend(fifo.read());
            }
            assert_eq!(commands, expected);
        }
    }

    #[test]
    fn what_is_no_command_does_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut fifo = Fifo::create(&folder.path().join("fifo")).unwrap();
        for line in [
            "P news",
            "P",
            "Q",
            "r",
            "A 0 1",
            "A 0 -1 5",
            "A 0 0x5 1",
            "A 0 1 99999999999999999999",
            "U",
            "W",
            "W  ",
            "W 0 1",
            "\u{1b}[2J",
        ] {
            let line = format!("{line}\n");
            assert_eq!(fifo.push(line.as_bytes()), [], "{line:?}");
        }
        assert_eq!(fifo.push(b"P a \xff\n"), []);
        // A line without an end takes no memory without end, and the next one counts again.
        for _ in 0..10 {
            assert_eq!(fifo.push(&[b'x'; 30_000]), []);
            assert!(fifo.line.len() <= LINE_BYTES_MAX);
        }
        assert_eq!(fifo.push(b"\nW 0\n").len(), 1);
    }
}
