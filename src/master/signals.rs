//! The table of signals and letters: what each means to the master, and the delivery of signals as a
//! descriptor.
//!
//! `docs/signals.md` is made from the table. It must not know how a stop or a reload is done.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::sys::process;

/// What a signal or a letter is to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Stop gracefully; at once the second time, by killing the third time.
    Stop,
    /// Stop fast; likewise.
    StopFast,
    /// Load the configuration again and replace the workers one by one.
    Reload,
    /// Become the program that is on disk now, and replace the workers one by one.
    Upgrade,
    /// One worker more.
    More,
    /// One worker fewer.
    Fewer,
    /// Accept no clients; unless there is a terminal, which sends the signal for its own reasons.
    StopAccepting,
    /// Accept no clients, or accept them again.
    Pause,
    /// Write the figures to the log.
    Figures,
    /// Open the log file again.
    ReopenLog,
    /// Both of these.
    FiguresAndReopenLog,
    /// A child has ended.
    Child,
}

/// One signal of the table.
#[derive(Debug)]
pub struct SignalSpec {
    /// The signal.
    pub signal: Signal,
    /// What it means.
    pub meaning: Meaning,
    /// The same for people.
    pub text: &'static str,
}

/// One letter of the named pipe, and what signal or verb does the same.
#[derive(Debug)]
pub struct LetterSpec {
    /// The letter.
    pub letter: u8,
    /// What it means.
    pub meaning: Meaning,
    /// The same for people.
    pub text: &'static str,
}

/// The signals.
pub const SIGNALS: &[SignalSpec] = &[
    SignalSpec {
        signal: Signal::SIGTERM,
        meaning: Meaning::Stop,
        text: "graceful stop: no new connections, clients get close code 1001 and `--drain-timeout` \
               to leave; the second signal to stop stops at once, the third kills",
    },
    SignalSpec {
        signal: Signal::SIGQUIT,
        meaning: Meaning::Stop,
        text: "the same",
    },
    SignalSpec {
        signal: Signal::SIGINT,
        meaning: Meaning::StopFast,
        text: "fast stop (Ctrl-C): clients get close code 1001 and one second; the second one stops \
               at once, the third kills",
    },
    SignalSpec {
        signal: Signal::SIGHUP,
        meaning: Meaning::Reload,
        text: "reload: the configuration is read again and the workers are replaced one by one, \
               handing their clients over; if the configuration is wrong or a worker of it fails, the \
               old workers stay; during a reload it is queued once",
    },
    SignalSpec {
        signal: Signal::SIGUSR2,
        meaning: Meaning::Upgrade,
        text: "upgrade: the master becomes the program that is on disk now, with the same process id, \
               and replaces the workers like a reload; a program that cannot start is found out before",
    },
    SignalSpec {
        signal: Signal::SIGUSR1,
        meaning: Meaning::FiguresAndReopenLog,
        text: "write the figures (workers, clients, messages) to the log, and open the log file again \
               everywhere",
    },
    SignalSpec {
        signal: Signal::SIGTTIN,
        meaning: Meaning::More,
        text: "one worker more; the others give it its share of their clients",
    },
    SignalSpec {
        signal: Signal::SIGTTOU,
        meaning: Meaning::Fewer,
        text: "one worker fewer, but never none; its clients move to the others",
    },
    SignalSpec {
        signal: Signal::SIGWINCH,
        meaning: Meaning::StopAccepting,
        text: "accept no more clients and keep those there are; ignored where there is a terminal, \
               which sends it when its window changes",
    },
    SignalSpec {
        signal: Signal::SIGTSTP,
        meaning: Meaning::Pause,
        text: "accept no more clients, or accept them again; meanwhile they wait in the listeners' \
               queues",
    },
    SignalSpec {
        signal: Signal::SIGCHLD,
        meaning: Meaning::Child,
        text: "a child has ended: all ended children are reaped, strangers too, so the master can be \
               process 1 of a container",
    },
];

/// The letters of `--master-fifo`: uWSGI's, and `u`.
pub const LETTERS: &[LetterSpec] = &[
    LetterSpec {
        letter: b'r',
        meaning: Meaning::Reload,
        text: "reload, as HUP",
    },
    LetterSpec {
        letter: b'R',
        meaning: Meaning::Reload,
        text: "the same: there is no brutal reload",
    },
    LetterSpec {
        letter: b'c',
        meaning: Meaning::Reload,
        text: "the same: every reload is a chain",
    },
    LetterSpec {
        letter: b'w',
        meaning: Meaning::Reload,
        text: "the same: what is reloaded is the workers",
    },
    LetterSpec {
        letter: b'W',
        meaning: Meaning::Reload,
        text: "the same",
    },
    LetterSpec {
        letter: b'u',
        meaning: Meaning::Upgrade,
        text: "upgrade, as USR2",
    },
    LetterSpec {
        letter: b'q',
        meaning: Meaning::Stop,
        text: "graceful stop, as TERM",
    },
    LetterSpec {
        letter: b'Q',
        meaning: Meaning::StopFast,
        text: "fast stop, as INT",
    },
    LetterSpec {
        letter: b'p',
        meaning: Meaning::Pause,
        text: "pause or resume accepting, as TSTP",
    },
    LetterSpec {
        letter: b'+',
        meaning: Meaning::More,
        text: "one worker more, as TTIN",
    },
    LetterSpec {
        letter: b'-',
        meaning: Meaning::Fewer,
        text: "one worker fewer, as TTOU",
    },
    LetterSpec {
        letter: b's',
        meaning: Meaning::Figures,
        text: "write the figures to the log",
    },
    LetterSpec {
        letter: b'l',
        meaning: Meaning::ReopenLog,
        text: "open the log file again everywhere",
    },
];

/// Signals that arrive as readiness of a descriptor. Dropping it takes the handlers' actions away:
/// the signals are then caught and do nothing.
#[derive(Debug)]
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Catches every signal of the table.
    pub(super) fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let numbers = SIGNALS.iter().map(|spec| spec.signal as i32);
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, numbers)?;
        // A program that became this one has held them back until they are caught.
        process::let_signals_through()?;
        Ok(Self { delivery })
    }

    /// The signals that have come since the last call; each at most once.
    pub(super) fn take(&mut self) -> Vec<&'static SignalSpec> {
        let find = |number| SIGNALS.iter().find(|spec| spec.signal as i32 == number);
        self.delivery.pending().filter_map(find).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

/// `docs/signals.md`.
pub fn signals_page() -> String {
    let mut page = String::from(
        "# Signals

Made from the table in `src/master/signals.rs`; a test fails when this page is not current.
`BELLWETHER_WRITE_DOCS=1 cargo test signals_page` writes it again.

## To the master

| signal | what it does |
|---|---|
",
    );
    for spec in SIGNALS {
        let name = spec.signal.as_str().trim_start_matches("SIG");
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, "| `{name}` | {} |", spec.text);
    }
    page.push_str(
        "
TERM stops gracefully, because systemd and containers send it to stop a service. uWSGI reloads on TERM unless
it is told to die (`--die-on-term`). [reload.md](reload.md) tells what a reload and an upgrade do; `master reload`,
`master upgrade`, `master scale N` and `master stop` do the same and return when it is done, with its result.

## Letters of the named pipe

`--master-fifo PATH` makes a pipe that takes these letters, many at once if need be: `echo r > PATH`. Letters that
mean nothing are told in the log, white space is not.

| letter | what it does |
|---|---|
",
    );
    for spec in LETTERS {
        let letter = char::from(spec.letter);
        let _infallible = writeln!(page, "| `{letter}` | {} |", spec.text);
    }
    page.push_str(
        "

## To a worker

Workers take their orders from the master alone. They ignore what a terminal sends to the whole group (INT, QUIT,
HUP, TSTP, WINCH) and USR1 and USR2; TERM lets a single worker's clients go, and the master forks another. A worker
whose master is gone, however it went, lets its clients go and leaves, or just leaves (`--orphans exit`).
",
    );
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_signal_has_one_meaning() {
        let mut numbers: Vec<i32> = SIGNALS.iter().map(|spec| spec.signal as i32).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), SIGNALS.len());
        let mut letters: Vec<u8> = LETTERS.iter().map(|spec| spec.letter).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), LETTERS.len());
    }

    #[test]
    fn a_caught_signal_is_taken_once() {
        let mut signals = Signals::catch().unwrap();
        signal_hook::low_level::raise(Signal::SIGUSR2 as i32).unwrap();
        let taken = signals.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].signal, Signal::SIGUSR2);
        assert!(signals.take().is_empty());
    }

    #[test]
    fn signals_page_on_disk_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/signals.md");
        if std::env::var_os("BELLWETHER_WRITE_DOCS").is_some() {
            std::fs::write(&path, signals_page()).unwrap();
        }
        let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            on_disk == signals_page(),
            "docs/signals.md is not current: BELLWETHER_WRITE_DOCS=1 cargo test signals_page"
        );
    }
}
