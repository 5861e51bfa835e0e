//! Finding the running instance that is meant, and the conversation with it.
//!
//! It must not know what is asked or printed.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::config::{Address, Target};
use crate::master::control::{Answer, Errand, FrameError, Frames, Request};
use crate::master::instance;
use crate::status::Status;
use crate::sys::process::Watched;

/// A master that has not answered by then is stuck.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Largest answer taken from a master: a message of the largest spool.
const ANSWER_BYTES_MAX: usize = 1 << 31;
const READ_BYTES: usize = 64 * 1024;

/// Why a verb fails.
#[derive(Debug, Error)]
pub(super) enum Problem {
    /// Nobody is there.
    #[error("no server is running{0}")]
    NoInstance(String),
    /// More than one is.
    #[error("several servers are running; say which by --instance NAME:\n{0}")]
    Several(String),
    /// The run directory cannot be read.
    #[error("cannot look for servers in {}: {source}", path.display())]
    RunDir {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The master said no.
    #[error("refused: {0}")]
    Refused(String),
    /// The master went away.
    #[error("the server has ended")]
    Ended,
    /// The master is there and says nothing.
    #[error("the server has not answered for {} s; does it hang, or was it stopped by a signal?", ANSWER_WAIT.as_secs())]
    Silent,
    /// The connection failed.
    #[error("cannot talk to the server: {0}")]
    Talk(io::Error),
    /// What came is not what a master says.
    #[error("the server speaks another version of the control protocol: {0}")]
    Frame(#[from] FrameError),
    /// The same, for an answer in the wrong place.
    #[error("the server speaks another version of the control protocol: {0}")]
    Unexpected(String),
    /// The same, for the status.
    #[error("the server speaks another version of the control protocol: {0}")]
    Json(serde_json::Error),
    /// There is no such area.
    #[error("refused: there is no area {0}")]
    NoArea(String),
    /// Standard input cannot be read.
    #[error("cannot read the message: {0}")]
    Input(io::Error),
    /// Standard output cannot be written.
    #[error("cannot write: {0}")]
    Output(io::Error),
}

/// An answer in the wrong place.
pub(super) fn unexpected(answer: Answer) -> Problem {
    match answer {
        Answer::Refused { reason } => Problem::Refused(reason),
        Answer::Published { .. }
        | Answer::Tailing
        | Answer::Message { .. }
        | Answer::Lapped { .. }
        | Answer::Done { .. }
        | Answer::AreaBytes { .. }
        | Answer::AreaWritten
        | Answer::Status { .. } => Problem::Unexpected("an answer to nothing".to_owned()),
    }
}

/// A conversation with a master.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    frames: Frames,
}

impl Connection {
    /// Connects to the instance that is meant.
    pub(super) fn open(target: &Target) -> Result<Self, Problem> {
        let mut found = instance::live(&target.run_dir).map_err(|source| Problem::RunDir {
            path: target.run_dir.clone(),
            source,
        })?;
        let all = describe(&found);
        if let Some(name) = &target.instance {
            found.retain(|(instance, _)| instance == name);
        }
        let mut connections = Vec::new();
        for (name, stream) in found {
            let mut connection = Self::new(stream).map_err(Problem::Talk)?;
            if let Some(address) = &target.socket
                && !connection.status()?.listens_on(address)
            {
                continue;
            }
            connections.push((name, connection));
        }
        if connections.len() > 1 {
            return Err(Problem::Several(names(
                connections.iter().map(|(name, _)| &**name),
            )));
        }
        match connections.pop() {
            Some((_, connection)) => Ok(connection),
            None => Err(Problem::NoInstance(missing(target, &all))),
        }
    }

    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        Ok(Self {
            stream,
            frames: Frames::new(ANSWER_BYTES_MAX),
        })
    }

    /// The master's process, if it can be watched from here.
    pub(super) fn server(&self) -> Option<Watched> {
        Watched::listening_to(&self.stream).ok()
    }

    pub(super) fn ask(&mut self, request: &Request) -> Result<(), Problem> {
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        match self.stream.write_all(&bytes) {
            // It has refused and left while we were sending; the reason is there to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            // This is how a write that takes too long fails.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Problem::Silent),
            sent => sent.map_err(Problem::Talk),
        }
    }

    /// Runs an errand to its end; returns its result.
    pub(super) fn run(&mut self, errand: Errand) -> Result<String, Problem> {
        self.ask(&Request::Errand(errand))?;
        match self.wait_for_answer()? {
            Answer::Done { result } => Ok(result),
            other @ (Answer::Published { .. }
            | Answer::Tailing
            | Answer::Message { .. }
            | Answer::Lapped { .. }
            | Answer::AreaBytes { .. }
            | Answer::AreaWritten
            | Answer::Status { .. }
            | Answer::Refused { .. }) => Err(unexpected(other)),
        }
    }

    /// The next answer, soon.
    pub(super) fn answer(&mut self) -> Result<Answer, Problem> {
        self.read_answer(Some(ANSWER_WAIT))
    }

    /// The next answer, whenever it comes.
    pub(super) fn wait_for_answer(&mut self) -> Result<Answer, Problem> {
        self.read_answer(None)
    }

    fn read_answer(&mut self, wait_max: Option<Duration>) -> Result<Answer, Problem> {
        self.stream
            .set_read_timeout(wait_max)
            .map_err(Problem::Talk)?;
        let mut chunk = vec![0; READ_BYTES];
        loop {
            if let Some(answer) = self.frames.answer()? {
                return Ok(answer);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Problem::Ended),
                Ok(bytes) => self.frames.push(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Problem::Ended);
                }
                // This is how a read that takes too long fails.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Problem::Silent);
                }
                Err(error) => return Err(Problem::Talk(error)),
            }
        }
    }

    pub(super) fn status(&mut self) -> Result<Status, Problem> {
        self.ask(&Request::Status)?;
        match self.answer()? {
            Answer::Status { json } => serde_json::from_slice(&json).map_err(Problem::Json),
            other @ (Answer::Published { .. }
            | Answer::Tailing
            | Answer::Message { .. }
            | Answer::Lapped { .. }
            | Answer::Done { .. }
            | Answer::AreaBytes { .. }
            | Answer::AreaWritten
            | Answer::Refused { .. }) => Err(unexpected(other)),
        }
    }
}

impl Status {
    /// Whether a user who names this address means this server: the same path, or the same port.
    fn listens_on(&self, address: &Address) -> bool {
        self.listeners.iter().any(|listener| match address {
            Address::Unix(path) => listener.as_str() == path.to_string_lossy(),
            Address::Tcp(tcp) => {
                let port = listener.rsplit_once(':').map(|(_, port)| port);
                port == Some(tcp.port().to_string().as_str())
            }
        })
    }
}

fn describe(found: &[(String, UnixStream)]) -> String {
    names(found.iter().map(|(name, _)| name.as_str()))
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut list = String::new();
    for name in names {
        // Writing to a String cannot fail.
        let _infallible = writeln!(list, "  {name}");
    }
    list.trim_end().to_owned()
}

/// Which one is missing, and which ones are there instead.
fn missing(target: &Target, all: &str) -> String {
    let mut text = String::new();
    if let Some(name) = &target.instance {
        text.push_str(&format!(" as instance {name}"));
    }
    if let Some(address) = &target.socket {
        text.push_str(&format!(" on {address}"));
    }
    text.push_str(&format!(" in {}", target.run_dir.display()));
    if !all.is_empty() {
        text.push_str(&format!("; there are:\n{all}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report;

    #[test]
    fn a_server_is_meant_by_its_port_or_path() {
        let mut status = report::example();
        status.listeners = vec!["[::]:3032".into(), "/run/a.sock".into()];
        for (text, meant) in [
            (":3032", true),
            ("127.0.0.1:3032", true),
            (":303", false),
            ("/run/a.sock", true),
            ("/run/b.sock", false),
        ] {
            let address = Address::parse(text, true).unwrap();
            assert_eq!(status.listens_on(&address), meant, "{text}");
        }
    }

    #[test]
    fn nobody_running_says_where_it_looked() {
        let run_dir = tempfile::tempdir().unwrap();
        let target = Target {
            instance: Some("a".into()),
            socket: None,
            run_dir: run_dir.path().join("nothing"),
        };
        let error = Connection::open(&target).unwrap_err().to_string();
        let place = target.run_dir.display();
        assert_eq!(
            error,
            format!("no server is running as instance a in {place}")
        );
    }
}
