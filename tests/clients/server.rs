//! A running server: started, awaited, asked, and ended by its own process id only.
//!
//! Shared by the tests that need a real server: `tests/clients`, `tests/it`, and the examples' tests. Which program
//! it is they say themselves. It must not know what is tested.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// For a signal to be heard before it is sent again.
const HEARD_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at something that no descriptor tells about.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The name of every server that these tests start; each has a run directory of its own.
pub(crate) const INSTANCE: &str = "tested";

/// A server and its clients' way to it.
pub(crate) struct Server {
    child: Child,
    program: &'static str,
    folder: TempDir,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Starts it on a free port with these further options and waits until all workers are ready.
    pub(crate) fn start(program: &'static str, options: &[&str]) -> Self {
        let all = [&["--socket", "127.0.0.1:0"], options].concat();
        Self::start_by(&[program], program, &all)
    }

    /// The same by other words in front of the options, which must end in this process becoming the program (a shell's
    /// `exec`), and without a socket of ours.
    pub(crate) fn start_by(words: &[&str], program: &'static str, options: &[&str]) -> Self {
        Self::start_in(folder(), words, program, options)
    }

    /// The same in a folder that may have something in it.
    pub(crate) fn start_in(
        folder: TempDir,
        words: &[&str],
        program: &'static str,
        options: &[&str],
    ) -> Self {
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = command(words[0], folder.path())
            .args(&words[1..])
            .args(["--instance", INSTANCE])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the built program starts");
        let mut server = Self {
            child,
            program,
            folder,
            addresses: Vec::new(),
        };
        server.addresses = wait_for("the server to be ready", START_TIMEOUT, || {
            let log = server.log();
            let ended = server.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "the server ended at its start: {log}");
            log.contains("ready: ").then(|| addresses_in(&log))
        });
        server
    }

    /// Where it listens; the first TCP address if there are several.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All TCP addresses where it listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of a websocket on it.
    pub(crate) fn websocket(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }

    /// Its temporary folder; its run directory is in it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has said this so many times.
    pub(crate) fn wait_for_log(&self, text: &str, times: usize) {
        wait_for(
            &format!("{times} x {text:?} in the log"),
            STOP_TIMEOUT,
            || (self.log().matches(text).count() >= times).then_some(()),
        );
    }

    /// A verb of the same program, aimed at this instance.
    pub(crate) fn verb(&self, words: &[&str]) -> Command {
        let mut command = command(self.program, self.folder.path());
        command
            .arg(words[0])
            .args(["--instance", INSTANCE])
            .args(&words[1..])
            .stdin(Stdio::null());
        command
    }

    /// Publishes from the command line, as a user would; returns what it says.
    pub(crate) fn publish(&self, channel: &str, text: &str) -> String {
        let output = self.verb(&["publish", channel, text]).output();
        succeeded(&output.expect("the built program starts"))
    }

    /// Sends a signal to the process that was started.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("our own child can be signalled");
    }

    /// Sends a signal until the server has said this. Two that come within a moment count as one, so one may not do.
    pub(crate) fn signal_until(&self, signal: Signal, text: &str) {
        wait_for(&format!("{text:?} in the log"), STOP_TIMEOUT, || {
            self.signal(signal);
            let end = Instant::now() + HEARD_TIMEOUT;
            while Instant::now() < end && !self.log().contains(text) {
                std::thread::sleep(LOOK_AGAIN);
            }
            self.log().contains(text).then_some(())
        });
    }

    /// Asks it to end.
    pub(crate) fn ask_to_end(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for the end that was asked for.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_for("the server to end", STOP_TIMEOUT, || {
            self.child.try_wait().expect("our own child")
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the server said:\n{}", self.log());
        }
        // Twice: the second one does not wait for clients that the test has left behind.
        for _ in 0..2 {
            if matches!(self.child.try_wait(), Ok(None)) {
                self.ask_to_end();
                std::thread::sleep(5 * LOOK_AGAIN);
            }
        }
        let end = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(LOOK_AGAIN);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _already_gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// A new temporary folder. The run directories of servers and verbs are in it.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A program whose run directory is in `folder`, whatever the user's environment says.
pub(crate) fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("XDG_RUNTIME_DIR", folder)
        .env_remove("RUST_LOG");
    command
}

/// Fails with everything that a command said unless it went well; returns its output.
pub(crate) fn succeeded(output: &Output) -> String {
    let said = said(output);
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}

/// Everything that a command said.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// Looks until there is something.
pub(crate) fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {timeout:?} for {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn addresses_in(log: &str) -> Vec<SocketAddr> {
    log.lines()
        .filter_map(|line| line.split_once("listening on ")?.1.split('"').next())
        .filter_map(|address| address.trim().parse().ok())
        .collect()
}
