//! The program: a command line becomes a verb or a server, a server a master and workers, and each
//! process an exit code.
//!
//! Used by `src/main.rs` and by programs that bring an app of their own. It must not know how any of it
//! is done.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use crate::app::{App, Apps};
use crate::client;
use crate::config::{self, Activation, Config, Environment, Invocation, Usage};
use crate::master::place::{self, Detached};
use crate::master::takeover::{ACCEPTED, Purpose, Takeover};
use crate::master::{self, Launch, Program, Role, StartError, logging};
use crate::worker;

/// The command line or the configuration is wrong.
const WRONG: u8 = 1;
/// A worker's own applications cannot be made.
const CANNOT_BOOT: u8 = 3;

/// Runs this process's command line to its end. `app` is the program's own application, which is the
/// default one then. In a server this returns once in the master and once in every worker.
pub fn run(app: Option<Box<dyn App>>) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read();
    let code = match config::parse(arguments.clone(), &environment) {
        Ok(Invocation::Verb(verb, target)) => client::run(&verb, &target),
        Ok(Invocation::Serve(_)) => serve(arguments, environment, app),
        Err(Usage::Told(text)) => {
            // A closed standard output is no fault of ours.
            let _closed: std::io::Result<()> = text.print();
            0
        }
        Err(wrong) => complain(&wrong.to_string()),
    };
    ExitCode::from(code)
}

/// A server's command line, and what it depends on.
struct Source {
    arguments: Vec<OsString>,
    environment: Environment,
    own_app: Option<&'static str>,
}

impl Source {
    /// The configuration as it is now; a file may have changed since the last time.
    fn load(&self) -> Result<Config, String> {
        let environment = Environment {
            // The share of this machine may have changed; who and where we are has not.
            processors: Environment::read().processors,
            ..self.environment.clone()
        };
        let settings = match config::parse(self.arguments.clone(), &environment) {
            Ok(Invocation::Serve(settings)) => settings,
            Ok(Invocation::Verb(..)) => return Err("the command line is a verb's".to_owned()),
            Err(wrong) => return Err(wrong.to_string()),
        };
        let config = config::read_files(settings, &environment)
            .and_then(|settings| config::resolve(&settings, &environment))
            .map_err(|error| error.to_string())?;
        Apps::check(&config, self.own_app).map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn program(&self) -> Program {
        let name = self.arguments.first().cloned().unwrap_or_default();
        let start_dir = self.environment.start_dir.clone();
        Program {
            path: config::program_path(&name, &start_dir).unwrap_or_else(|| name.into()),
            words: self.arguments.clone(),
            start_dir,
        }
    }
}

fn serve(arguments: Vec<OsString>, environment: Environment, app: Option<Box<dyn App>>) -> u8 {
    let mut source = Source {
        arguments,
        environment,
        own_app: app.as_ref().map(|app| app.name()),
    };
    let activation = Activation::read();
    // A program that is only to be checked says so by its words, whatever is wrong with them.
    let checks = source.arguments.iter().any(|word| word == "--check");
    let purpose = if checks {
        Purpose::Check
    } else {
        Purpose::Start
    };
    let takeover = activation.state.as_ref();
    let takeover = match takeover
        .map(|state| Takeover::read(state, purpose))
        .transpose()
    {
        Ok(takeover) => takeover,
        Err(error) => return complain(&error),
    };
    source.environment.has_sockets =
        activation.listen.is_some() || takeover.as_ref().is_some_and(Takeover::has_sockets);
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    if config.operations.check {
        return check(&config, takeover.as_ref());
    }
    let starter = match enter(&config, takeover.as_ref(), &source.environment) {
        Ok(Detached::Server(starter)) => starter,
        Ok(Detached::Starter(code)) => return code,
        Err(error) => return complain(&error.to_string()),
    };
    let launch = Launch {
        config,
        program: source.program(),
        activation,
        takeover,
        starter,
    };
    let mut load_config = || source.load();
    match master::run(launch, &mut load_config) {
        Ok(Role::Ended(code)) => code,
        // Made in each worker: a reload may have changed which there are.
        Ok(Role::Worker(seat)) => match Apps::new(&seat.config, app) {
            Ok(apps) => worker::run(*seat, apps),
            Err(error) => {
                log::error!("{error}");
                CANNOT_BOOT
            }
        },
        Err(error) => {
            log::error!("{error}");
            error.exit_code()
        }
    }
}

/// Says whether a server with this configuration could be started, or go on from another program.
fn check(config: &Config, takeover: Option<&Takeover>) -> u8 {
    if let Err(error) = place::check(&config.operations) {
        return complain(&error.to_string());
    }
    let (checked, text) = match takeover {
        Some(takeover) => (master::check_takeover(config.clone(), takeover), ACCEPTED),
        None => (
            master::check_start(config.clone()),
            "the configuration can be used",
        ),
    };
    if let Err(error) = checked {
        return complain(&error.to_string());
    }
    // The exit code says the same.
    let _closed: std::io::Result<()> = writeln!(std::io::stderr(), "{text}");
    0
}

/// Takes the place in the system that the options name, and begins to log.
fn enter(
    config: &Config,
    takeover: Option<&Takeover>,
    environment: &Environment,
) -> Result<Detached, StartError> {
    let operations = &config.operations;
    let begin_to_log = || logging::begin(config.log_level, config.log_format);
    if let Some(takeover) = takeover {
        begin_to_log();
        place::go_on(operations, takeover.folder.as_ref());
        takeover.warn_of_another_place(config, environment);
        return Ok(Detached::Server(None));
    }
    let detached = match &operations.daemonize {
        Some(file) => place::detach(file)?,
        None => Detached::Server(None),
    };
    if matches!(detached, Detached::Server(_)) {
        place::enter(operations)?;
        begin_to_log();
    }
    Ok(detached)
}

/// Says on standard error what is wrong; nothing is logged before there is a configuration.
fn complain(text: &str) -> u8 {
    // Without a standard error there is nobody to tell.
    let _closed: std::io::Result<()> = writeln!(std::io::stderr(), "master: {text}");
    WRONG
}
