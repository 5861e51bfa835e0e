//! The verbs about areas on the command line.
//!
//! It must not know how they are done.

use clap::{Arg, ArgMatches, Command};

use super::command::{argument_number, channel_argument, switch_argument, verb};
use super::resolved::ConfigError;

/// The word in front of the verbs.
pub(super) const AREA: &str = "area";

/// What to do with an area, which is named by its number or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AreaVerb {
    /// Show the areas, or one.
    Info {
        /// The area; None for all.
        area: Option<String>,
        /// For programs.
        json: bool,
    },
    /// Print bytes.
    Read {
        /// The area.
        area: String,
        /// The first byte.
        position: u64,
        /// How many; None for the rest.
        bytes: Option<u64>,
    },
    /// Write bytes.
    Write {
        /// The area.
        area: String,
        /// The first byte.
        position: u64,
        /// What is written; None reads it from standard input.
        text: Option<String>,
    },
    /// Send a range to every client of a channel.
    Send {
        /// The area.
        area: String,
        /// The channel's name.
        channel: String,
        /// The first byte.
        position: u64,
        /// How many; None for the rest.
        bytes: Option<u64>,
        /// Send it as a binary message.
        binary: bool,
    },
}

pub(super) fn command() -> Command {
    let which = || {
        Arg::new("area")
            .value_name("AREA")
            .help("number or name of the area")
    };
    let position = || number("position", "POS").help("the first byte; 0 if it is not given");
    let length = || number("length", "LEN").help("how many bytes; without it, the rest");
    let plain = |name, about| Command::new(name).about(about);
    verb(AREA, "Look into, write and send from a shared area")
        .mut_args(|option| option.global(true))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([
            plain("info", "Show the areas, or one of them")
                .arg(which())
                .arg(switch_argument("json", "print JSON")),
            plain("read", "Print bytes of an area as they are")
                .arg(which().required(true))
                .arg(position())
                .arg(length()),
            plain("write", "Write bytes into an area")
                .arg(which().required(true))
                .arg(position().required(true))
                .arg(
                    Arg::new("text")
                        .value_name("TEXT")
                        .help(
                            "what to write; without it or with '-' it is read from standard input",
                        )
                        .allow_hyphen_values(true),
                ),
            verb(
                "send",
                "Send a range of an area to every client of a channel",
            )
            .arg(which().required(true))
            .arg(channel_argument())
            .arg(position())
            .arg(length())
            .arg(switch_argument("binary", "send it as a binary message")),
        ])
}

fn number(id: &'static str, name: &'static str) -> Arg {
    Arg::new(id).value_name(name).allow_negative_numbers(true)
}

pub(super) fn read(name: &str, matches: &ArgMatches) -> Result<AreaVerb, ConfigError> {
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let number = |verb, names| argument_number(verb, names, matches, 0..=u64::MAX);
    let area = text("area");
    let position = |verb| Ok(number(verb, ("position", "POS"))?.unwrap_or(0));
    let bytes = |verb| number(verb, ("length", "LEN"));
    Ok(match (name, area) {
        ("read", Some(area)) => AreaVerb::Read {
            area,
            position: position("area read")?,
            bytes: bytes("area read")?,
        },
        ("write", Some(area)) => AreaVerb::Write {
            area,
            position: position("area write")?,
            text: text("text").filter(|text| text != "-"),
        },
        ("send", Some(area)) => AreaVerb::Send {
            area,
            channel: text("channel").unwrap_or_default(),
            position: position("area send")?,
            bytes: bytes("area send")?,
            binary: matches.get_flag("binary"),
        },
        (_, area) => AreaVerb::Info {
            area,
            json: matches.get_flag("json"),
        },
    })
}
