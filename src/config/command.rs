//! The command line: a clap command made from the option table, and what was given on it, not yet interpreted.
//!
//! It must not know what options mean; texts are kept as texts with their origin.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::address::Address;
use super::area_verb::{self, AREA, AreaVerb};
use super::environment::Environment;
use super::options::{self, Group, OptionSpec, Takes};
use super::resolved::{ConfigError, PROCESSES_MAX};
use super::values::{self, Refused};

/// Where a setting of the command line came from, in messages.
const COMMAND_LINE: &str = "command line";

/// One option as it was given.
#[derive(Debug)]
pub struct Setting {
    /// Its line of the table.
    pub option: &'static OptionSpec,
    /// The text.
    pub value: String,
    /// Where it was given, for messages.
    pub origin: String,
}

/// Everything that was given, weakest first: a later setting of an option overrides or adds.
#[derive(Debug, Default)]
pub struct Settings(pub Vec<Setting>);

/// Which running instance a verb means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// By name.
    pub instance: Option<String>,
    /// By where it listens.
    pub socket: Option<Address>,
    /// Where to look.
    pub run_dir: PathBuf,
}

/// What to do with a running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Send one message to every client of a channel.
    Publish {
        /// The channel's name.
        channel: String,
        /// The message; None reads it from standard input.
        text: Option<String>,
        /// Send it as a binary message.
        binary: bool,
    },
    /// Print what is published on a channel, from now on.
    Tail {
        /// The channel's name.
        channel: String,
        /// One JSON object a line.
        json: bool,
    },
    /// Do something with an area.
    Area(AreaVerb),
    /// Show what the instance is doing.
    Status {
        /// For programs.
        json: bool,
    },
    /// Load the configuration again and replace the workers.
    Reload,
    /// Replace the program, and the workers with it.
    Upgrade,
    /// Stop the server.
    Stop {
        /// Clients get a close frame and no time.
        fast: bool,
    },
    /// Have so many workers.
    Scale {
        /// How many.
        processes: u16,
    },
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Be a server.
    Serve(Settings),
    /// Talk to one.
    Verb(Verb, Target),
}

/// The command line ends here: a mistake, or help or the version was asked for.
#[derive(Debug)]
pub enum Usage {
    /// Help or the version: print it and succeed.
    Told(clap::Error),
    /// Not a command line of ours; the message names what is wrong and what may have been meant.
    Wrong(clap::Error),
    /// A verb's value is wrong.
    BadValue(ConfigError),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(error) => error.fmt(f),
            Self::Wrong(error) => {
                let text = error.to_string();
                f.write_str(text.strip_prefix("error: ").unwrap_or(&text).trim_end())
            }
            Self::BadValue(error) => error.fmt(f),
        }
    }
}

/// Reads a command line, its program name included.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Invocation, Usage> {
    let matches =
        command()
            .try_get_matches_from(arguments)
            .map_err(|error| match error.use_stderr() {
                true => Usage::Wrong(error),
                false => Usage::Told(error),
            })?;
    match matches.subcommand() {
        Some((AREA, area)) => {
            let Some((name, verb)) = area.subcommand() else {
                // Clap asks for one.
                return Ok(Invocation::Serve(Settings::default()));
            };
            let target = target(verb, environment).map_err(Usage::BadValue)?;
            let verb = area_verb::read(name, verb).map_err(Usage::BadValue)?;
            Ok(Invocation::Verb(Verb::Area(verb), target))
        }
        Some((name, verb)) => {
            let target = target(verb, environment).map_err(Usage::BadValue)?;
            let verb = read_verb(name, verb).map_err(Usage::BadValue)?;
            Ok(Invocation::Verb(verb, target))
        }
        None => Ok(Invocation::Serve(read_settings(&matches))),
    }
}

/// The whole command, as clap knows it.
pub(super) fn command() -> Command {
    let mut command = Command::new("master")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A prefork WebSocket server with shared-memory broadcast")
        .override_usage("master [OPTIONS] --socket ADDRESS\n       master publish|tail|area|status|reload|upgrade|stop|scale ...")
        .after_help("For example: master --processes 8 --socket :3032")
        .args_conflicts_with_subcommands(true)
        .subcommand_help_heading("Talk to a running server")
        .disable_help_subcommand(true)
        .max_term_width(100);
    for group in Group::ALL {
        let of_group = options::all().filter(|option| option.group == group);
        command = command.args(of_group.map(argument));
    }
    command.subcommands([
        publish_command(),
        tail_command(),
        area_verb::command(),
        status_command(),
        verb(
            "reload",
            "Load the configuration again and replace the workers; returns when that is done",
        ),
        verb(
            "upgrade",
            "Replace the program and the workers; returns when that is done",
        ),
        stop_command(),
        scale_command(),
    ])
}

fn argument(option: &'static OptionSpec) -> Arg {
    let arg = Arg::new(option.name)
        .long(option.name)
        .visible_aliases(option.aliases.iter().copied())
        .help(help_line(option))
        .help_heading(option.group.title())
        .action(ArgAction::Append);
    let arg = match option.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    match option.takes {
        Takes::One(value) | Takes::Each(value) => arg
            .value_name(value)
            .num_args(1)
            // Whether one is allowed is for the option to say.
            .allow_negative_numbers(true),
        Takes::Flag => arg
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

fn help_line(option: &OptionSpec) -> String {
    let repeats = match option.takes {
        Takes::Each(_) => "; may be repeated",
        Takes::One(_) | Takes::Flag => "",
    };
    match option.default {
        "" => format!("{}{repeats}", option.help),
        default => format!("{}{repeats} [default: {default}]", option.help),
    }
}

fn publish_command() -> Command {
    verb("publish", "Send a message to every client of a channel")
        .arg(channel_argument())
        .arg(
            Arg::new("text")
                .value_name("TEXT")
                .help("the message; without it or with '-' it is read from standard input")
                .allow_hyphen_values(true),
        )
        .arg(switch_argument("binary", "send it as a binary message"))
}

fn tail_command() -> Command {
    verb("tail", "Print what is published on a channel, from now on")
        .arg(channel_argument())
        .arg(switch_argument("json", "print one JSON object a line"))
}

fn status_command() -> Command {
    verb("status", "Show workers, channels and counters").arg(switch_argument("json", "print JSON"))
}

fn stop_command() -> Command {
    verb("stop", "Stop the server; returns when it has ended").arg(switch_argument(
        "fast",
        "clients get a close frame and no time to leave",
    ))
}

fn scale_command() -> Command {
    verb("scale", "Have N workers; returns when that is done").arg(
        Arg::new("workers")
            .value_name("N")
            .help("how many")
            .required(true)
            .allow_negative_numbers(true),
    )
}

/// A verb with the options that say which instance is meant.
pub(super) fn verb(name: &'static str, about: &'static str) -> Command {
    let which = ["instance", "socket", "run-dir"];
    let options = which.iter().filter_map(|name| options::find(name));
    Command::new(name).about(about).args(options.map(|option| {
        argument(option)
            .help_heading("Which server (needed if several run)")
            .help(match option.name {
                "instance" => "by its name",
                "socket" => "by the address it listens on, or just :PORT",
                _ => "where its control socket is, if it was started with --run-dir",
            })
    }))
}

pub(super) fn channel_argument() -> Arg {
    Arg::new("channel")
        .value_name("CHANNEL")
        .help("name of the channel")
        .required(true)
}

pub(super) fn switch_argument(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::SetTrue)
}

fn read_settings(matches: &ArgMatches) -> Settings {
    let mut settings = Vec::new();
    for option in options::all() {
        for value in matches
            .get_many::<String>(option.name)
            .into_iter()
            .flatten()
        {
            settings.push(Setting {
                option,
                value: value.clone(),
                origin: COMMAND_LINE.to_owned(),
            });
        }
    }
    Settings(settings)
}

fn read_verb(name: &str, matches: &ArgMatches) -> Result<Verb, ConfigError> {
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let channel = || text("channel").unwrap_or_default();
    Ok(match name {
        "publish" => Verb::Publish {
            channel: channel(),
            text: text("text").filter(|text| text != "-"),
            binary: matches.get_flag("binary"),
        },
        "tail" => Verb::Tail {
            channel: channel(),
            json: matches.get_flag("json"),
        },
        "reload" => Verb::Reload,
        "upgrade" => Verb::Upgrade,
        "stop" => Verb::Stop {
            fast: matches.get_flag("fast"),
        },
        "scale" => Verb::Scale {
            processes: argument_number("scale", ("workers", "N"), matches, 1..=PROCESSES_MAX)?
                .unwrap_or(1),
        },
        _ => Verb::Status {
            json: matches.get_flag("json"),
        },
    })
}

/// A number among a verb's arguments, by its id; the name it has in the help is for messages.
pub(super) fn argument_number<T>(
    verb: &'static str,
    (id, argument): (&str, &'static str),
    matches: &ArgMatches,
    range: RangeInclusive<T>,
) -> Result<Option<T>, ConfigError>
where
    T: TryFrom<u64> + PartialOrd + fmt::Display,
{
    let text = matches.get_one::<String>(id);
    text.map(|text| {
        values::whole(text, range).map_err(|Refused(allowed)| ConfigError::BadArgument {
            verb,
            argument,
            value: text.clone(),
            allowed,
        })
    })
    .transpose()
}

fn target(matches: &ArgMatches, environment: &Environment) -> Result<Target, ConfigError> {
    let last = |name: &str| matches.get_many::<String>(name).and_then(Iterator::last);
    let read = |name: &'static str, text: &str, refused: Refused| ConfigError::BadValue {
        option: name,
        value: text.to_owned(),
        origin: COMMAND_LINE.to_owned(),
        allowed: refused.0,
    };
    let mut target = Target {
        instance: None,
        socket: None,
        run_dir: environment.run_dir(),
    };
    if let Some(text) = last("instance") {
        let name = options::instance_name(text);
        target.instance = Some(name.map_err(|refused| read("instance", text, refused))?);
    }
    if let Some(text) = last("socket") {
        let address = options::socket_address(text, environment.ipv6, &environment.start_dir);
        target.socket = Some(address.map_err(|refused| read("socket", text, refused))?);
    }
    if let Some(text) = last("run-dir") {
        let dir = options::run_dir(text, &environment.start_dir);
        target.run_dir = dir.map_err(|refused| read("run-dir", text, refused))?;
    }
    Ok(target)
}
