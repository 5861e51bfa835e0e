//! The signal table: what each signal means to the master, and their delivery as a descriptor.
//!
//! `docs/signals.md` is made from the table. It must not know how a stop or a reload is done.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal is to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Stop: gracefully, at once the second time, by killing the third time.
    Stop,
    /// Load the configuration again and replace the workers one by one.
    Reload,
    /// A child has ended.
    Child,
    /// Write the figures to the log.
    Figures,
    /// Nothing, and a line in the log; caught so that it does not end or stop the master.
    Nothing,
    /// Nothing, quietly: terminals send it.
    Quiet,
}

/// One line of the table.
#[derive(Debug)]
pub struct SignalSpec {
    /// The signal.
    pub signal: Signal,
    /// What it means.
    pub meaning: Meaning,
    /// The same for people.
    pub text: &'static str,
}

/// The table.
pub const SIGNALS: &[SignalSpec] = &[
    SignalSpec {
        signal: Signal::SIGTERM,
        meaning: Meaning::Stop,
        text: "graceful stop: no new connections, clients get close code 1001 and `--drain-timeout` \
               to leave; the second one stops at once, the third kills",
    },
    SignalSpec {
        signal: Signal::SIGINT,
        meaning: Meaning::Stop,
        text: "the same (Ctrl-C; twice to stop at once)",
    },
    SignalSpec {
        signal: Signal::SIGQUIT,
        meaning: Meaning::Stop,
        text: "the same",
    },
    SignalSpec {
        signal: Signal::SIGHUP,
        meaning: Meaning::Reload,
        text: "reload: the command line is resolved again and the workers are replaced one by one; \
               clients of a replaced worker get close code 1012; if the new configuration is wrong or \
               its worker does not boot, the old workers stay; during a reload it is queued once",
    },
    SignalSpec {
        signal: Signal::SIGUSR1,
        meaning: Meaning::Figures,
        text: "write the figures (workers, clients, messages) to the log",
    },
    SignalSpec {
        signal: Signal::SIGCHLD,
        meaning: Meaning::Child,
        text: "a child has ended: all ended children are reaped, strangers too, so the master can be \
               process 1 of a container",
    },
    SignalSpec {
        signal: Signal::SIGUSR2,
        meaning: Meaning::Nothing,
        text: "ignored, with a line in the log",
    },
    SignalSpec {
        signal: Signal::SIGTTIN,
        meaning: Meaning::Nothing,
        text: "ignored, with a line in the log",
    },
    SignalSpec {
        signal: Signal::SIGTTOU,
        meaning: Meaning::Nothing,
        text: "ignored, with a line in the log",
    },
    SignalSpec {
        signal: Signal::SIGTSTP,
        meaning: Meaning::Nothing,
        text: "ignored, with a line in the log",
    },
    SignalSpec {
        signal: Signal::SIGWINCH,
        meaning: Meaning::Quiet,
        text: "ignored: terminals send it when their window changes",
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
it is told to die.

## To a worker

Workers take their orders from the master alone. They ignore what a terminal sends to the whole group (INT, QUIT,
HUP, TSTP, WINCH) and USR1 and USR2; TERM lets a single worker's clients go, and the master forks another. A worker
whose master is gone, however it went, lets its clients go and leaves.
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
