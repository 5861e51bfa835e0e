//! From a configuration to a master that is about to fork: limits, sockets, memory, the place in the
//! run directory. Each step that fails says what is wrong and ends the start with its exit code.
//!
//! It must not know what happens afterwards.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thiserror::Error;

use super::clock::Clock;
use super::control::ControlServer;
use super::fifo::Fifo;
use super::instance::{Instance, InstanceError};
use super::letters::Letters;
use super::listeners::{self, Bound, Generation, Generations};
use super::neighbour;
use super::notify::Notifier;
use super::outside::Outside;
use super::place;
use super::roster::Roster;
use super::signals::Signals;
use super::stats::StatsServer;
use super::supervisor::{Event, Policy, Supervisor};
use super::takeover::Takeover;
use super::upgrade::Program;
use crate::config::{Activation, Address, Config};
use crate::net::{ActivationError, BindError, Listener, Purpose, activated_listeners};
use crate::sharedarea::{
    AreaProblem, AreaSpecError, CreateError, Geometry, Participant, ParticipantKind, SharedArea,
};
use crate::sys::limits;
use crate::sys::process::{self, SingleThreaded};

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
    /// Another server of this run directory listens there.
    #[error(
        "cannot listen on {address}: the address is already in use by instance {instance} (pid {pid})"
    )]
    Neighbour {
        /// Where.
        address: String,
        /// Its name.
        instance: String,
        /// Its master.
        pid: u32,
    },
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
    /// What the service manager has given us is of no use.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// An option about the place in the system cannot be obeyed.
    #[error("--{option} {value}: {problem}")]
    Place {
        /// Which.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is in the way.
        problem: String,
    },
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
            Self::Bind(_) | Self::Neighbour { .. } | Self::Instance(InstanceError::Live { .. }) => {
                2
            }
            Self::Instance(
                InstanceError::NotPrivate { .. }
                | InstanceError::PathTooLong { .. }
                | InstanceError::System { .. },
            )
            | Self::TooFewFiles { .. }
            | Self::Activation(_)
            | Self::Place { .. }
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

/// Says who has the address, if it is one of us.
fn name_neighbour(error: BindError, config: &Config) -> StartError {
    let neighbour = error.in_use().and_then(|address| {
        let status = neighbour::on(address, &config.run_dir)?;
        Some(StartError::Neighbour {
            address: address.to_owned(),
            instance: status.instance,
            pid: status.pid,
        })
    });
    neighbour.unwrap_or(StartError::Bind(error))
}

/// What a start begins with.
#[derive(Debug)]
pub struct Launch {
    /// The configuration.
    pub config: Config,
    /// How this program was started.
    pub program: Program,
    /// What a service manager has left in the environment.
    pub activation: Activation,
    /// What the program before this one has left.
    pub takeover: Option<Takeover>,
    /// Who waits for us to be ready in the background.
    pub starter: Option<OwnedFd>,
}

/// All that a master has before it forks.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) program: Program,
    pub(super) supervisor: Supervisor,
    pub(super) generations: Generations,
    pub(super) first: Event,
    pub(super) clock: Clock,
    pub(super) signals: Signals,
    pub(super) area: SharedArea,
    pub(super) participant: Participant,
    pub(super) instance: Instance,
    pub(super) control: ControlServer,
    pub(super) stats: StatsServer,
    pub(super) outside: Outside,
    pub(super) roster: Roster,
    pub(super) letters: Option<Letters>,
    pub(super) notifier: Notifier,
    pub(super) starter: Option<OwnedFd>,
}

impl Start {
    /// Takes everything that a server needs, in an order in which nothing is disturbed before the
    /// addresses are ours.
    pub(super) fn new(launch: Launch) -> Result<Self, StartError> {
        // Every fork proves it anew; here it fails while there is somebody to tell.
        let proof = SingleThreaded::prove().map_err(system("fork safely"))?;
        let activated = activated(&launch.activation)?;
        process::forget_variables(proof, &Activation::PRIVATE);
        let signals = Signals::catch().map_err(system("catch signals"))?;
        let notifier = Notifier::new(&launch.activation, std::process::id());
        let start = match launch.takeover {
            None => Self::anew(launch.config, launch.program, activated, signals, notifier)?,
            Some(takeover) => {
                Self::going_on(launch.config, launch.program, takeover, signals, notifier)?
            }
        };
        let generation = start.generations.latest();
        for bound in &generation.listeners {
            announce(&bound.listener, &generation.config);
        }
        for bound in start.stats.listeners() {
            log::info!("statistics are at {}", bound.listener.local_address());
        }
        Ok(Self {
            starter: launch.starter,
            ..start
        })
    }

    fn anew(
        mut config: Config,
        program: Program,
        activated: Vec<Rc<Bound>>,
        signals: Signals,
        notifier: Notifier,
    ) -> Result<Self, StartError> {
        let policy = policy(&config);
        let slots = policy.slots;
        limit_clients(&mut config, usize::from(slots))?;
        let listeners =
            listeners::bind(&config, &activated).map_err(|error| name_neighbour(error, &config))?;
        let stats = StatsServer::bind(&config)?;
        let name = match (&config.instance, listeners.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(bound)) => bound.listener.local_address().instance_name(),
            (None, None) => "master".to_owned(),
        };
        // Before the place is taken: a missing file is no reason to leave a trace there.
        let area = create_area(&config)?;
        area.make_areas(&config.areas)?;
        let (instance, control) = Instance::take(&config.run_dir, &name)?;
        instance.link_areas(&area)?;
        let fifo = Fifo::create(&instance.fifo_path()).map_err(system("make the fifo"))?;
        let operations = &config.operations;
        place::write_pidfile(operations)?;
        let letters = operations.master_fifo.as_deref().map(letters).transpose()?;
        let files = [operations.log_file(), operations.master_fifo.as_ref()];
        let files: Vec<&Path> = files.into_iter().flatten().map(PathBuf::as_path).collect();
        place::become_user(operations, &files)?;
        let participant = join(&area)?;
        let roster = Roster::new(slots).map_err(system("make mailboxes"))?;
        introduce(&instance, &area);
        let outside = Outside::new(fifo, &area);
        Ok(Self {
            program,
            supervisor: Supervisor::new(policy),
            first: Event::Begin,
            clock: Clock::new(),
            signals,
            area,
            participant,
            instance,
            control: ControlServer::new(control, config.message_bytes_max),
            generations: Generations::new(1, Generation { config, listeners }),
            stats,
            outside,
            roster,
            letters,
            notifier,
            starter: None,
        })
    }

    /// As the program that the master has become: everything is there, and the workers serve.
    fn going_on(
        mut config: Config,
        program: Program,
        takeover: Takeover,
        signals: Signals,
        notifier: Notifier,
    ) -> Result<Self, StartError> {
        limit_clients(&mut config, takeover.roster.slots())?;
        let listeners = listeners::bind(&config, &takeover.listeners)?;
        let stats = StatsServer::inherit(&config, takeover.stats, takeover.readers);
        place::become_user(&config.operations, &[])?;
        let area = takeover.area;
        let mut control = ControlServer::new(takeover.control, config.message_bytes_max);
        let mut participant = join(&area)?;
        for (verb, state) in takeover.verbs {
            control.adopt(verb, state, &mut participant);
        }
        introduce(&takeover.instance, &area);
        let snapshot = takeover.supervisor;
        let wanted = super::perform::wanted(&config, takeover.processes);
        let number = snapshot.generation();
        let mut generations = Generations::new(number, Generation { config, listeners });
        // What the old ones were is not known to this program: who of them dies comes back as a new one.
        for older in snapshot.generations() {
            generations.alias(older);
        }
        Ok(Self {
            program,
            clock: Clock::going_on_at(snapshot.now_ms()),
            supervisor: Supervisor::resume(policy(&generations.latest().config), snapshot),
            first: Event::ConfigLoaded { wanted },
            signals,
            participant,
            instance: takeover.instance,
            control,
            generations,
            roster: takeover.roster,
            outside: Outside::new(takeover.fifo, &area),
            area,
            letters: takeover.letters,
            stats,
            notifier,
            starter: None,
        })
    }
}

/// Whether a server could be started, as far as that shows without binding anything or leaving anything
/// behind, and without taking the memory: sizes, limits, files of areas, where other files would be.
///
/// # Errors
/// What would be in its way.
pub fn check_start(mut config: Config) -> Result<(), StartError> {
    place::check_paths(&config)?;
    let slots = policy(&config).slots;
    limit_clients(&mut config, usize::from(slots))?;
    let geometry = geometry(&config).check();
    geometry.map_err(|error| StartError::Area(error.into()))?;
    Ok(SharedArea::check_areas(&config.areas)?)
}

/// Whether this program could go on from the one before it: what it would bind is bound, and let go at
/// once.
///
/// # Errors
/// What would be in its way.
pub fn check_takeover(mut config: Config, takeover: &Takeover) -> Result<(), StartError> {
    limit_clients(&mut config, takeover.roster.slots())?;
    let (there, stats) = (&takeover.listeners, &takeover.stats);
    Ok(listeners::try_to_bind(&config, there, stats)?)
}

fn policy(config: &Config) -> Policy {
    Policy {
        mercy_ms: config.operations.worker_reload_mercy_ms,
        settle_ms: config.operations.settle_ms,
        ..Policy::new(config.processes, config.drain_timeout_ms)
    }
}

fn activated(activation: &Activation) -> Result<Vec<Rc<Bound>>, StartError> {
    let Some((pid, fds, names)) = &activation.listen else {
        return Ok(Vec::new());
    };
    let found = activated_listeners((pid, fds, names), std::process::id())?;
    let taken = |(name, listener): (String, Listener)| {
        let address = listener.local_address();
        log::info!("{address} comes from the service manager, by the name {name:?}");
        Rc::new(Bound::activated(listener))
    };
    Ok(found.into_iter().map(taken).collect())
}

fn letters(path: &Path) -> Result<Letters, StartError> {
    Letters::make(path).map_err(|error| StartError::Place {
        option: "master-fifo",
        value: path.display().to_string(),
        problem: error.to_string(),
    })
}

fn join(area: &SharedArea) -> Result<Participant, StartError> {
    area.join(ParticipantKind::Master, 0)
        .map_err(system("join the shared area"))
}

fn introduce(instance: &Instance, area: &SharedArea) {
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
}

/// Says where clients connect, and who else.
pub(super) fn announce(listener: &Listener, config: &Config) {
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
pub(super) fn limit_clients(config: &mut Config, slots: usize) -> Result<(), StartError> {
    let limit = limits::raise_open_files().map_err(system("raise the limit of open files"))?;
    // The master holds both ends of every mailbox and a control socket for each worker.
    let own = OWN_FILES + (config.sockets.len() + config.api.len()) as u64 + 3 * slots as u64;
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

fn geometry(config: &Config) -> Geometry {
    Geometry {
        spool_bytes: config.spool_bytes,
        entries: config.log_entries,
        channels: config.channels_max,
    }
}

fn create_area(config: &Config) -> Result<SharedArea, StartError> {
    let boot_id = boot_id().map_err(system("read /dev/urandom"))?;
    SharedArea::create(geometry(config), boot_id, Clock::wall_us()).map_err(StartError::Area)
}

/// A number that no other life of a server has.
fn boot_id() -> io::Result<u128> {
    use std::io::Read as _;

    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}
