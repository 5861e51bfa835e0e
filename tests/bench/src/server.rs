//! Starting, finding and ending the servers that are measured.
//!
//! Only processes that were started here are ended, each by its own id.

use std::fs::{self, File};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::{Report, Target};
use crate::{Failure, process};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Beyond what a run of the generator is asked for.
const LOAD_EXTRA: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(10);

/// How to know where a server listens, and that it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It says `listening on ADDRESS` on stderr, and this text when it is ready.
    Says(&'static str),
    /// It listens here as soon as one can connect.
    Answers(SocketAddrV4),
}

/// A server that can be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in the table.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// How it tells that it is ready.
    pub ready: Ready,
    /// The path of its websocket; none: bare TCP.
    pub path: Option<String>,
    /// The path to which messages are posted, if it is not published by frames.
    pub post: Option<String>,
}

/// Where the programs may run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Cores of the server.
    pub server_cores: Vec<usize>,
    /// Cores of the generator.
    pub load_cores: Vec<usize>,
    /// All cores.
    pub all_cores: Vec<usize>,
    /// Under a real-time policy, where other work on the machine would disturb.
    pub realtime: bool,
    /// For logs and run directories.
    pub folder: PathBuf,
}

impl Machine {
    /// The first core for the server and the second for the generator; all for both where there is one only.
    ///
    /// # Errors
    /// The system tells nothing about its cores.
    pub fn new(folder: PathBuf, realtime: bool) -> Result<Self, Failure> {
        let all_cores = process::cores()?;
        let (server_cores, load_cores) = match all_cores.as_slice() {
            [first, second, ..] => (vec![*first], vec![*second]),
            few => (few.to_vec(), few.to_vec()),
        };
        fs::create_dir_all(&folder)?;
        Ok(Self {
            server_cores,
            load_cores,
            all_cores,
            realtime,
            folder,
        })
    }

    fn command(&self, words: &[String], cores: &[usize]) -> Result<Command, Failure> {
        let mut all: Vec<&str> = Vec::new();
        if process::on_path("setpriv") {
            all.extend(["setpriv", "--pdeathsig", "TERM"]);
        }
        if self.realtime {
            all.extend(["chrt", "-f", "10"]);
        }
        all.extend(words.iter().map(String::as_str));
        let (program, arguments) = all.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        // What is started from now on inherits it.
        process::pin(cores)?;
        Ok(command)
    }

    /// Starts a server on `cores` and waits until it is ready.
    ///
    /// # Errors
    /// It ends or does not become ready; what it said is in the error.
    pub fn start(&self, program: &Program, cores: &[usize]) -> Result<Server, Failure> {
        let log = self
            .folder
            .join(format!("{}.log", program.name.replace(' ', "-")));
        let (out, err) = (
            File::create(log.with_extension("out"))?,
            File::create(&log)?,
        );
        let child = self
            .command(&program.command, cores)?
            .stdout(out)
            .stderr(err)
            .spawn();
        process::pin(&self.all_cores)?;
        let mut running =
            Running(child.map_err(|error| format!("{}: {error}", program.command.join(" ")))?);
        let begun = Instant::now();
        loop {
            let said = fs::read_to_string(&log)?;
            if let Some(address) = program.ready.address(&said) {
                let target = Target {
                    address,
                    path: program.path.clone(),
                    pid: running.0.id(),
                };
                return Ok(Server { running, target });
            }
            if running.0.try_wait()?.is_some() || begun.elapsed() > START_TIMEOUT {
                return Err(format!("{} did not start: {}", program.name, said.trim()).into());
            }
            sleep(PAUSE);
        }
    }

    /// Runs a generator against a server, or without one on all cores; `arguments` are its mode and numbers, `run_time`
    /// is what they ask for.
    ///
    /// # Errors
    /// It finds a fault, or does not end; what it said is in the error.
    pub fn load(
        &self,
        generator: &str,
        target: Option<&Target>,
        arguments: &[String],
        run_time: Duration,
    ) -> Result<Report, Failure> {
        let mut words = vec![beside(generator)?.display().to_string()];
        words.extend_from_slice(arguments);
        if let Some(target) = target {
            words.extend(target.arguments());
        }
        let cores = match target {
            Some(_) => &self.load_cores,
            None => &self.all_cores,
        };
        let log = self.folder.join("load.log");
        let out = log.with_extension("out");
        let mut command = self.command(&words, cores)?;
        let child = command
            .stdout(File::create(&out)?)
            .stderr(File::create(&log)?)
            .spawn();
        process::pin(&self.all_cores)?;
        let mut running = Running(child?);
        let ended = running.wait(run_time + LOAD_EXTRA)?;
        let report = Report::parse(&fs::read_to_string(&out)?);
        report.filter(|_| ended).ok_or_else(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let reason = if ended {
                said.trim()
            } else {
                "the generator did not end in time"
            };
            reason.trim_start_matches("Error: ").to_owned().into()
        })
    }
}

impl Ready {
    fn address(&self, said: &str) -> Option<SocketAddrV4> {
        match self {
            Self::Answers(address) => TcpStream::connect(address).ok().map(|_| *address),
            Self::Says(text) => {
                let (_, rest) = said.split_once("listening on ")?;
                let (address, rest) = rest.split_once('\n')?;
                (address.contains(text) || rest.contains(text)).then_some(())?;
                address.split_whitespace().next()?.parse().ok()
            }
        }
    }
}

/// A process that ends with this value.
#[derive(Debug)]
struct Running(Child);

impl Running {
    /// Whether it has ended within this time.
    fn wait(&mut self, timeout: Duration) -> Result<bool, Failure> {
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            if self.0.try_wait()?.is_some() {
                return Ok(true);
            }
            sleep(PAUSE);
        }
        Ok(false)
    }

    fn ask_to_end(&self) -> Result<(), Failure> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.0.id())?),
            Signal::SIGTERM,
        )?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let ended = self.ask_to_end().is_ok() && matches!(self.wait(STOP_TIMEOUT), Ok(true));
        if !ended && self.0.kill().is_ok() {
            // It cannot refuse this one, so the wait ends.
            drop(self.0.wait());
        }
    }
}

/// A server that runs; it is asked to end when this value goes.
#[derive(Debug)]
pub struct Server {
    running: Running,
    target: Target,
}

impl Server {
    /// What the generator has to know of it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It had ended before, or did not obey.
    pub fn stop(mut self) -> Result<(), Failure> {
        if let Some(status) = self.running.0.try_wait()? {
            return Err(format!("the server had ended by itself: {status}").into());
        }
        self.running.ask_to_end()?;
        if self.running.wait(STOP_TIMEOUT)? {
            Ok(())
        } else {
            Err(format!("the server did not end in {STOP_TIMEOUT:?}").into())
        }
    }
}

/// The program of this name in the folder of this one.
///
/// # Errors
/// It has not been built.
pub fn beside(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let path = own.parent().unwrap_or(Path::new(".")).join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is not there: run scripts/bench", path.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_the_start_line_once_the_server_is_ready() {
        let ready = Ready::Says("ready:");
        let said = "INFO master listening on 127.0.0.1:41234\n";
        assert_eq!(ready.address(said), None);
        assert_eq!(ready.address("INFO listening on 127.0.0.1:4"), None);
        let address = Some("127.0.0.1:41234".parse().unwrap());
        assert_eq!(
            ready.address(&format!("{said}INFO ready: 1 workers\n")),
            address
        );
        assert_eq!(Ready::Says("").address(said), address);
    }

    #[test]
    fn a_program_that_ends_at_once_is_an_error_with_its_words() {
        let folder =
            std::env::temp_dir().join(format!("bellwether-bench-test-{}", std::process::id()));
        let machine = Machine::new(folder.clone(), false).unwrap();
        let program = Program {
            name: "quitter".into(),
            command: ["sh", "-c", "echo no luck >&2"].map(String::from).to_vec(),
            ready: Ready::Says(""),
            path: None,
            post: None,
        };
        let error = machine
            .start(&program, &machine.all_cores)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no luck"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
