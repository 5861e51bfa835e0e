//! The resolved configuration: plain data with every default filled in, and the way to it from what was given.
//!
//! It must not know how options are written on a command line or in a file, only their texts.

use std::fmt;
use std::path::PathBuf;

use log::LevelFilter;
use thiserror::Error;

use super::address::Address;
use super::channel_rule::ChannelRule;
use super::command::Settings;
use super::environment::Environment;
use super::operations::Operations;
use super::options::OptionSpec;
use super::secret::Secret;
use super::values::Refused;
use crate::protocol::websocket::{DeflatePolicy, OriginRule};
use crate::sharedarea::AreaSpec;

/// Most workers: the board has 64 seats, one of them is the master's and one is the spare of a reload.
pub const PROCESSES_MAX: u16 = 62;

/// An application at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Starts with a slash; the longest match wins.
    pub path: String,
    /// The name of a built-in application.
    pub app: String,
}

/// How statistics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatsStyle {
    /// In answer to an HTTP request.
    pub http: bool,
    /// Without white space.
    pub minified: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, who, what.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Everything that master and workers need to know. Sizes in bytes and times in milliseconds, as the names say.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; at least one.
    pub sockets: Vec<Address>,
    /// Where the HTTP API is served.
    pub api: Vec<Address>,
    /// What requests to the API must carry.
    pub api_token: Option<Secret>,
    /// Where statistics in uWSGI's form are written to who connects.
    pub stats: Vec<Address>,
    /// How they are written.
    pub stats_style: StatsStyle,
    /// The kernel's queue of connections that nobody has accepted yet.
    pub listen_backlog: i32,
    /// Mode of unix sockets; None leaves it to the umask.
    pub chmod_socket: Option<u32>,
    /// Workers, 1 to [`PROCESSES_MAX`].
    pub processes: u16,
    /// The application of every path without a mount; None is the default application.
    pub app: Option<String>,
    /// Applications at paths.
    pub mounts: Vec<Mount>,
    /// Clients of the channels application may publish.
    pub clients_publish: bool,
    /// Browsers of other hosts that may connect.
    pub origins: Vec<OriginRule>,
    /// A request head must be complete in this time.
    pub handshake_timeout_ms: u64,
    /// An idle HTTP connection is kept this long.
    pub http_keepalive_ms: u64,
    /// Clients get this long to leave at a stop or restart.
    pub drain_timeout_ms: u64,
    /// Over this time the clients that a reload must close are spread.
    pub drain_spread_ms: u64,
    /// Largest request head.
    pub head_bytes_max: usize,
    /// Most header fields of a request.
    pub headers_max: usize,
    /// Longest request target.
    pub target_bytes_max: usize,
    /// Pause between keepalive pings; 0 is off.
    pub ping_freq_ms: u64,
    /// A ping must be answered in this time.
    pub pong_tolerance_ms: u64,
    /// Largest message of a client.
    pub message_bytes_max: usize,
    /// Most fragments of a message.
    pub fragments_max: u32,
    /// Compression of messages.
    pub deflate: DeflatePolicy,
    /// Most bytes waiting for a client that does not read.
    pub outbox_bytes_max: usize,
    /// Most clients of one worker; 0 is as many as there are file descriptors.
    pub clients_max: usize,
    /// Size of the spool that holds published frames; a power of two.
    pub spool_bytes: u64,
    /// Entries of the log; a power of two.
    pub log_entries: u32,
    /// Places in the channel table; a power of two.
    pub channels_max: u32,
    /// Plain areas of shared memory, by number.
    pub areas: Vec<AreaSpec>,
    /// What holds for slow clients, by channel; the first rule that covers a name counts.
    pub channel_rules: Vec<ChannelRule>,
    /// Name of this instance; None takes the port.
    pub instance: Option<String>,
    /// Directory of the instances' control sockets.
    pub run_dir: PathBuf,
    /// Requests and conversations are logged.
    pub log_requests: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Log level; None leaves it to RUST_LOG.
    pub log_level: Option<LevelFilter>,
    /// Supervision, and the place in the system.
    pub operations: Operations,
}

/// A configuration that cannot work: which option, where it was given, and what would be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// One value is wrong.
    #[error("--{option} {value:?} ({origin}): allowed is {allowed}")]
    BadValue {
        /// The option's name.
        option: &'static str,
        /// The text that was given.
        value: String,
        /// Where it was given.
        origin: String,
        /// What is allowed instead.
        allowed: String,
    },
    /// The same, for an argument of a verb.
    #[error("{verb} {argument} {value:?}: allowed is {allowed}")]
    BadArgument {
        /// The verb.
        verb: &'static str,
        /// The argument, as the help has it.
        argument: &'static str,
        /// The text that was given.
        value: String,
        /// What is allowed instead.
        allowed: String,
    },
    /// An option that must be there is not.
    #[error("no --{option} is given: {hint}")]
    Missing {
        /// The option's name.
        option: &'static str,
        /// How to give it.
        hint: &'static str,
    },
    /// A configuration file is wrong, or cannot be read.
    #[error("{}{}: {problem}", path.display(), AtLine(*line))]
    File {
        /// Which.
        path: PathBuf,
        /// Where; 0 is the whole file.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Two values do not go together.
    #[error("--{option} {value} is less than --{other} {other_value}: {reason}")]
    TooSmall {
        /// The option that must grow (or whose counterpart must shrink).
        option: &'static str,
        /// Its value, in its unit.
        value: u64,
        /// The option it is compared with.
        other: &'static str,
        /// That option's value, in the same unit.
        other_value: u64,
        /// Why.
        reason: &'static str,
    },
}

/// `:LINE`, or nothing for the whole file.
struct AtLine(usize);

impl fmt::Display for AtLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

/// A configuration in the making: what depends on other options stays open until all are known.
#[derive(Debug)]
pub struct Draft<'e> {
    pub(super) config: Config,
    pub(super) environment: &'e Environment,
    /// Where relative paths begin: the folder of `--chdir`, else where the server was started.
    pub(super) folder: PathBuf,
    pub(super) outbox_bytes_max: Option<usize>,
    pub(super) log_entries: Option<u32>,
}

/// Applies what was given over the defaults.
pub fn resolve(settings: &Settings, environment: &Environment) -> Result<Config, ConfigError> {
    let mut given = settings.0.iter();
    let folder = match given.rfind(|setting| setting.option.name == "chdir") {
        Some(chdir) => environment.start_dir.join(&chdir.value),
        None => environment.start_dir.clone(),
    };
    let mut draft = Draft {
        config: Config::new(environment),
        environment,
        folder,
        outbox_bytes_max: None,
        log_entries: None,
    };
    for setting in &settings.0 {
        apply(&mut draft, setting.option, &setting.value, &setting.origin)?;
    }
    draft.finish()
}

fn apply(
    draft: &mut Draft<'_>,
    option: &'static OptionSpec,
    value: &str,
    origin: &str,
) -> Result<(), ConfigError> {
    (option.set)(draft, value).map_err(|Refused(allowed)| ConfigError::BadValue {
        option: option.name,
        // A secret is not shown even when it cannot be one.
        value: if option.name == "api-token" {
            "..."
        } else {
            value
        }
        .to_owned(),
        origin: origin.to_owned(),
        allowed,
    })
}

impl Draft<'_> {
    /// Fills in what follows from other options and checks what must fit together.
    fn finish(self) -> Result<Config, ConfigError> {
        let mut config = self.config;
        if config.sockets.is_empty() && !self.environment.has_sockets {
            return Err(ConfigError::Missing {
                option: "socket",
                hint: "say where to listen, for example --socket :3032",
            });
        }
        config.log_entries = self
            .log_entries
            .unwrap_or_else(|| entries_for(config.spool_bytes));
        config.outbox_bytes_max = match self.outbox_bytes_max {
            None => outbox_for(config.message_bytes_max),
            Some(bytes) if bytes >= config.message_bytes_max => bytes,
            Some(bytes) => {
                return Err(ConfigError::TooSmall {
                    option: "outbox-max",
                    value: kib(bytes),
                    other: "websockets-max-size",
                    other_value: kib(config.message_bytes_max),
                    reason: "an answer as large as its message must fit",
                });
            }
        };
        Ok(config)
    }
}

/// One log entry for 128 spool bytes, up to the most that a log can have.
fn entries_for(spool_bytes: u64) -> u32 {
    u32::try_from(spool_bytes / 128)
        .unwrap_or(u32::MAX)
        .min(1 << 26)
}

/// Room for two of the largest messages, at least 1 MiB.
fn outbox_for(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_mul(2).max(1 << 20)
}

fn kib(bytes: usize) -> u64 {
    bytes as u64 / 1024
}

impl Config {
    /// Every default, and no socket.
    pub fn new(environment: &Environment) -> Self {
        let message_bytes_max = 1024 * 1024;
        let spool_bytes = 16 * 1024 * 1024;
        Self {
            sockets: Vec::new(),
            api: Vec::new(),
            api_token: None,
            stats: Vec::new(),
            stats_style: StatsStyle::default(),
            listen_backlog: 1024,
            chmod_socket: None,
            processes: 1,
            app: None,
            mounts: Vec::new(),
            clients_publish: false,
            origins: Vec::new(),
            handshake_timeout_ms: 10_000,
            http_keepalive_ms: 30_000,
            drain_timeout_ms: 8_000,
            drain_spread_ms: 2_000,
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            target_bytes_max: 8192,
            ping_freq_ms: 30_000,
            pong_tolerance_ms: 3_000,
            message_bytes_max,
            fragments_max: 131_072,
            deflate: DeflatePolicy::default(),
            outbox_bytes_max: outbox_for(message_bytes_max),
            clients_max: 0,
            spool_bytes,
            log_entries: entries_for(spool_bytes),
            channels_max: 16_384,
            areas: Vec::new(),
            channel_rules: Vec::new(),
            instance: None,
            run_dir: environment.run_dir(),
            log_requests: false,
            log_format: LogFormat::Text,
            log_level: None,
            operations: Operations::new(),
        }
    }
}
