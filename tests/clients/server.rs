//! A running `master`: started, awaited, asked, and ended by its own process id only.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at something that no descriptor tells about.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const INSTANCE: &str = "clients-test";

/// A server and its clients' way to it.
pub(super) struct Server {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Server {
    /// Starts it on a free port with these further options and waits until all workers are ready.
    pub(super) fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = program(&folder)
            .args(["--socket", "127.0.0.1:0", "--instance", INSTANCE])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the built master starts");
        let mut server = Self {
            child,
            folder,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        server.address = wait_for("the server to be ready", START_TIMEOUT, || {
            let log = server.log();
            let ended = server.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "the server ended at its start: {log}");
            log.contains("ready: ").then(|| address_in(&log)).flatten()
        });
        server
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a websocket on it.
    pub(super) fn websocket(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// What it has said so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A verb of the same program, aimed at this instance.
    pub(super) fn verb(&self, words: &[&str]) -> Command {
        let mut command = program(&self.folder);
        command.args(words).args(["--instance", INSTANCE]);
        command
    }

    /// Publishes from the command line, as a user would.
    pub(super) fn publish(&self, channel: &str, text: &str) {
        let output = self
            .verb(&["publish", channel, text])
            .stdin(Stdio::null())
            .output();
        succeeded(&output.expect("the built master starts"));
    }

    /// Asks it to end.
    pub(super) fn ask_to_end(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("our own child can be signalled");
    }

    /// Waits for the end that was asked for.
    pub(super) fn ended(&mut self) -> ExitStatus {
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
        if matches!(self.child.try_wait(), Ok(None)) {
            self.ask_to_end();
            let end = Instant::now() + STOP_TIMEOUT;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _already_gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// Fails with everything that a command said unless it went well.
pub(super) fn succeeded(output: &Output) {
    let said = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    assert!(output.status.success(), "{}: {said}", output.status);
}

/// Looks until there is something.
pub(super) fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {timeout:?} for {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The control socket of server and verb is in `folder`, whatever the user's environment says.
fn program(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_master"));
    command
        .env("XDG_RUNTIME_DIR", folder.path())
        .env_remove("RUST_LOG");
    command
}

fn address_in(log: &str) -> Option<SocketAddr> {
    log.split_once("listening on ")?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
