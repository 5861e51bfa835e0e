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
use crate::config::{self, Config, Environment, Invocation, Settings, Usage};
use crate::master::{self, Role, logging};
use crate::worker;

/// The command line or the configuration is wrong.
const WRONG: u8 = 1;

/// Runs this process's command line to its end. `app` is the program's own application, which is the
/// default one then. In a server this returns once in the master and once in every worker.
pub fn run(app: Option<Box<dyn App>>) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read();
    let code = match config::parse(arguments.clone(), &environment) {
        Ok(Invocation::Verb(verb, target)) => client::run(&verb, &target),
        Ok(Invocation::Serve(settings)) => serve(&arguments, &settings, &environment, app),
        Err(Usage::Told(text)) => {
            // A closed standard output is no fault of ours.
            let _closed: std::io::Result<()> = text.print();
            0
        }
        Err(wrong) => complain(&wrong.to_string()),
    };
    ExitCode::from(code)
}

fn serve(
    arguments: &[OsString],
    settings: &Settings,
    environment: &Environment,
    app: Option<Box<dyn App>>,
) -> u8 {
    let config = match config::resolve(settings, environment) {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string()),
    };
    logging::begin(config.log_level, config.log_format);
    // Made before the first fork: workers share the memory of what does not change.
    let apps = match Apps::new(&config, app) {
        Ok(apps) => apps,
        Err(error) => return complain(&error.to_string()),
    };
    let mut load_config = || resolve_again(arguments);
    match master::run(config, &mut load_config) {
        Ok(Role::Ended(code)) => code,
        Ok(Role::Worker(seat)) => worker::run(*seat, apps),
        Err(error) => {
            log::error!("{error}");
            error.exit_code()
        }
    }
}

fn resolve_again(arguments: &[OsString]) -> Result<Config, String> {
    let environment = Environment::read();
    match config::parse(arguments.to_vec(), &environment) {
        Ok(Invocation::Serve(settings)) => {
            config::resolve(&settings, &environment).map_err(|error| error.to_string())
        }
        Ok(Invocation::Verb(..)) => Err("the command line is a verb's".to_owned()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

/// Says on standard error what is wrong; nothing is logged before there is a configuration.
fn complain(text: &str) -> u8 {
    // Without a standard error there is nobody to tell.
    let _closed: std::io::Result<()> = writeln!(std::io::stderr(), "master: {text}");
    WRONG
}
