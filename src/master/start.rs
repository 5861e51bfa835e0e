//! From a configuration to a master that is about to fork: limits, sockets, memory, the place in the
//! run directory. Each step that fails says what is wrong and ends the start with its exit code.
//!
//! It must not know what happens afterwards.

use std::io;

use thiserror::Error;

use super::clock::Clock;
use super::control::ControlServer;
use super::fifo::Fifo;
use super::instance::{Instance, InstanceError};
use super::outside::Outside;
use super::roster::Roster;
use super::signals::Signals;
use crate::config::{Address, Config};
use crate::net::{BindError, ListenOptions, Listener, Purpose};
use crate::sharedarea::{
    AreaProblem, AreaSpecError, CreateError, Geometry, Participant, ParticipantKind, SharedArea,
};
use crate::sys::limits;
use crate::sys::process::SingleThreaded;

/// Descriptors of a process besides clients, listeners and mailboxes: standard streams, the shared
/// area, signals, verbs, polls; generously.
const OWN_FILES: u64 = 128;
/// A worker that cannot hold this many clients is of no use.
const CLIENTS_MIN: u64 = 16;
/// Nor is one that cannot hold this many what most people expect of a WebSocket server.
const CLIENTS_EXPECTED: usize = 1000;

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no place in the run directory.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// Too few files may be open.
    #[error("only {limit} files may be open, and {needed} are needed (ulimit -n, LimitNOFILE=)")]
    TooFewFiles {
        /// The limit, raised as far as it goes.
        limit: u64,
        /// What this configuration needs without any client.
        needed: u64,
    },
    /// The shared area's sizes do not go together, or there is no memory.
    #[error("cannot make the shared area: {}", with_cause(.0))]
    Area(#[source] CreateError),
    /// A plain area cannot be made.
    #[error(transparent)]
    PlainArea(#[from] AreaSpecError),
    /// The system refused something else.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// `CreateError` leaves the system's answer to its source.
fn with_cause(error: &CreateError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or(error.to_string(), |cause| format!("{error}: {cause}"))
}

impl StartError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(_) | Self::Instance(InstanceError::Live { .. }) => 2,
            Self::Instance(
                InstanceError::NotPrivate { .. }
                | InstanceError::PathTooLong { .. }
                | InstanceError::System { .. },
            )
            | Self::TooFewFiles { .. }
            | Self::Area(CreateError::Geometry(_)) => 1,
            Self::PlainArea(error) => match error.problem {
                AreaProblem::Memory { .. } => 4,
                AreaProblem::Size
                | AreaProblem::TooMany
                | AreaProblem::Name
                | AreaProblem::NameTaken(_)
                | AreaProblem::Open(_)
                | AreaProblem::NotRegular
                | AreaProblem::Short { .. }
                | AreaProblem::NoRoomForHead(_)
                | AreaProblem::Late => 1,
            },
            Self::Area(CreateError::Memory { .. }) | Self::System { .. } => 4,
        }
    }
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::System { doing, source }
}

/// All that a master has before it forks.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) signals: Signals,
    pub(super) listeners: Vec<Listener>,
    pub(super) area: SharedArea,
    pub(super) participant: Participant,
    pub(super) instance: Instance,
    pub(super) control: ControlServer,
    pub(super) outside: Outside,
    pub(super) roster: Roster,
}

impl Start {
    /// Takes everything that a server needs, in an order in which nothing is disturbed before the
    /// addresses are ours.
    pub(super) fn new(mut config: Config) -> Result<Self, StartError> {
        let clock = Clock::new();
        // Every fork proves it anew; here it fails while there is somebody to tell.
        let _proof: SingleThreaded = SingleThreaded::prove().map_err(system("fork safely"))?;
        let signals = Signals::catch().map_err(system("catch signals"))?;
        limit_clients(&mut config)?;
        let listeners = bind(&config)?;
        let name = match (&config.instance, listeners.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(listener)) => listener.local_address().instance_name(),
            (None, None) => "master".to_owned(),
        };
        // Before the place is taken: a missing file is no reason to leave a trace there.
        let area = create_area(&config)?;
        area.make_areas(&config.areas)?;
        let (instance, control) = Instance::take(&config.run_dir, &name)?;
        instance.link_areas(&area)?;
        let participant = area
            .join(ParticipantKind::Master, 0)
            .map_err(system("join the shared area"))?;
        let roster = Roster::new(config.processes + 1).map_err(system("make mailboxes"))?;
        log::info!(
            "bellwether {}, pid {}, instance {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            instance.name()
        );
        log::info!("{}", area.describe());
        for plain in area.areas() {
            log::info!("{}", plain.describe());
        }
        for listener in &listeners {
            announce(listener, &config);
        }
        let fifo = Fifo::create(&instance.fifo_path()).map_err(system("make the fifo"))?;
        let outside = Outside::new(fifo, &area);
        let control = ControlServer::new(control, config.message_bytes_max);
        Ok(Self {
            config,
            clock,
            signals,
            listeners,
            area,
            participant,
            instance,
            control,
            outside,
            roster,
        })
    }
}

fn announce(listener: &Listener, config: &Config) {
    let address = listener.local_address();
    match listener.purpose() {
        Purpose::Clients => log::info!("listening on {address}"),
        Purpose::Api => {
            log::info!("the API is at {address}");
            let is_local = match address {
                Address::Tcp(address) => address.ip().is_loopback(),
                Address::Unix(_) => true,
            };
            if !is_local && config.api_token.is_none() {
                log::warn!(
                    "whoever reaches {address} can publish: --api-token-file would ask for a token"
                );
            }
        }
    }
}

/// Raises the limit of open files and settles how many clients a worker takes.
pub(super) fn limit_clients(config: &mut Config) -> Result<(), StartError> {
    let limit = limits::raise_open_files().map_err(system("raise the limit of open files"))?;
    let slots = u64::from(config.processes) + 1;
    // The master holds both ends of every mailbox and a control socket for each worker.
    let own = OWN_FILES + (config.sockets.len() + config.api.len()) as u64 + 3 * slots;
    let room = limit.saturating_sub(own);
    if room < CLIENTS_MIN {
        return Err(StartError::TooFewFiles {
            limit,
            needed: own + CLIENTS_MIN,
        });
    }
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let few = format!(
        "only {limit} files may be open, which is enough for {room} clients of a worker \
         (ulimit -n, LimitNOFILE=)"
    );
    match config.clients_max {
        0 if room < CLIENTS_EXPECTED => log::warn!("{few}"),
        asked if asked > room => log::warn!("--max-clients {asked}: {few}"),
        _ => {}
    }
    if config.clients_max == 0 || config.clients_max > room {
        config.clients_max = room;
    }
    Ok(())
}

fn bind(config: &Config) -> Result<Vec<Listener>, BindError> {
    let options = ListenOptions {
        backlog: config.listen_backlog,
        unix_mode: config.chmod_socket,
    };
    let bind = |address, purpose| {
        Listener::bind(address, &options).map(|listener| listener.with_purpose(purpose))
    };
    let clients = config.sockets.iter();
    let clients = clients.map(|address| bind(address, Purpose::Clients));
    let api = config.api.iter();
    clients
        .chain(api.map(|address| bind(address, Purpose::Api)))
        .collect()
}

fn create_area(config: &Config) -> Result<SharedArea, StartError> {
    let geometry = Geometry {
        spool_bytes: config.spool_bytes,
        entries: config.log_entries,
        channels: config.channels_max,
    };
    let boot_id = boot_id().map_err(system("read /dev/urandom"))?;
    SharedArea::create(geometry, boot_id, Clock::wall_us()).map_err(StartError::Area)
}

/// A number that no other life of a server has.
fn boot_id() -> io::Result<u128> {
    use std::io::Read as _;

    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}
