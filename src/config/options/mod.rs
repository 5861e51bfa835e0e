//! Every option of the server, in one table by group: names, what it takes, its default, its words, and how it is set.
//!
//! `--help`, `docs/options.md`, the parser and "did you mean" are made from it. uWSGI's names where the meaning is
//! the same. It must not know where a value came from.

mod area;
mod monitoring;
mod operations;
mod server;
mod serving;
mod websocket;

use super::resolved::Draft;
use super::values::Refused;

pub(super) use server::{instance_name, run_dir, socket_address};

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `=false` to switch it off again.
    Flag,
    /// One value, shown by this word; given again, the last one counts.
    One(&'static str),
    /// A value each time it is given, all of which count.
    Each(&'static str),
}

/// Heading under which an option is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Listening.
    Sockets,
    /// Workers.
    Processes,
    /// What is served.
    Applications,
    /// Limits of HTTP.
    Http,
    /// WebSocket protocol and limits.
    WebSocket,
    /// Size of the shared area.
    SharedArea,
    /// The API, statistics and logs.
    Monitoring,
    /// Where the instance is found, what it logs.
    Instance,
}

impl Group {
    /// In the order of help and documentation.
    pub const ALL: [Self; 8] = [
        Self::Sockets,
        Self::Processes,
        Self::Applications,
        Self::Http,
        Self::WebSocket,
        Self::SharedArea,
        Self::Monitoring,
        Self::Instance,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sockets => "Sockets",
            Self::Processes => "Processes",
            Self::Applications => "Applications",
            Self::Http => "HTTP",
            Self::WebSocket => "WebSocket",
            Self::SharedArea => "Shared area",
            Self::Monitoring => "API and monitoring",
            Self::Instance => "Instance",
        }
    }
}

/// One option.
#[derive(Debug)]
pub struct OptionSpec {
    /// Long name without dashes.
    pub name: &'static str,
    /// Other long names.
    pub aliases: &'static [&'static str],
    /// One-letter name.
    pub short: Option<char>,
    /// What it takes.
    pub takes: Takes,
    /// The default as text; empty when there is none.
    pub default: &'static str,
    /// Where it is listed.
    pub group: Group,
    /// What it does: one line, no full stop at the end.
    pub help: &'static str,
    /// Writes a value into the draft, or says what is allowed.
    pub set: fn(&mut Draft<'_>, &str) -> Result<(), Refused>,
}

/// No other names.
const NONE: &[&str] = &[];

/// The table, in the order of help and documentation.
const TABLE: [&[OptionSpec]; 11] = [
    server::SOCKETS,
    server::PROCESSES,
    operations::SUPERVISION,
    serving::APPLICATIONS,
    serving::HTTP,
    websocket::WEBSOCKET,
    area::SHARED_AREA,
    monitoring::MONITORING,
    operations::CONFIGURATION,
    server::INSTANCE,
    operations::PLACE,
];

/// All options, in the order of help and documentation.
pub fn all() -> impl Iterator<Item = &'static OptionSpec> {
    TABLE.into_iter().flatten()
}

/// The option of this name; None for a name that is not in the table.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    all().find(|option| option.name == name)
}

/// Puts a value in its place, if it is one.
fn store<T>(place: &mut T, value: Result<T, Refused>) -> Result<(), Refused> {
    *place = value?;
    Ok(())
}
