//! The HTTP API, the stats server, and what is logged.

use std::path::Path;

use super::{Group, NONE, OptionSpec, Takes, server::socket_address, store};
use crate::config::address::Address;
use crate::config::resolved::{Draft, LogFormat};
use crate::config::secret::Secret;
use crate::config::values::{Refused, switch};

pub(super) const MONITORING: &[OptionSpec] = &[
    OptionSpec {
        name: "api",
        aliases: NONE,
        short: None,
        takes: Takes::Each("ADDRESS"),
        default: "",
        group: Group::Monitoring,
        help: "serve the HTTP API (publish, status, metrics) here; :PORT is loopback only",
        set: |draft, text| {
            let address = loopback_address(text, draft)?;
            draft.config.api.push(address);
            Ok(())
        },
    },
    OptionSpec {
        name: "api-token",
        aliases: NONE,
        short: None,
        takes: Takes::One("TOKEN"),
        default: "",
        group: Group::Monitoring,
        help: "requests to the API need `Authorization: Bearer TOKEN`; other users see it in the process list, so better --api-token-file",
        set: |draft, text| store(&mut draft.config.api_token, Secret::parse(text).map(Some)),
    },
    OptionSpec {
        name: "api-token-file",
        aliases: NONE,
        short: None,
        takes: Takes::One("PATH"),
        default: "",
        group: Group::Monitoring,
        help: "the same with the token in the first line of a file",
        set: |draft, text| {
            let path = draft.environment.start_dir.join(text);
            store(&mut draft.config.api_token, token_in(&path).map(Some))
        },
    },
    OptionSpec {
        name: "stats",
        aliases: &["stats-server"],
        short: None,
        takes: Takes::Each("ADDRESS"),
        default: "",
        group: Group::Monitoring,
        help: "write uWSGI's JSON statistics to whoever connects here, uwsgitop for example; :PORT is loopback only",
        set: |draft, text| {
            let address = loopback_address(text, draft)?;
            draft.config.stats.push(address);
            Ok(())
        },
    },
    OptionSpec {
        name: "stats-http",
        aliases: NONE,
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Monitoring,
        help: "statistics are the answer to an HTTP request",
        set: |draft, text| store(&mut draft.config.stats_style.http, switch(text)),
    },
    OptionSpec {
        name: "stats-minified",
        aliases: &["stats-min"],
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Monitoring,
        help: "statistics without white space",
        set: |draft, text| store(&mut draft.config.stats_style.minified, switch(text)),
    },
    OptionSpec {
        name: "log-requests",
        aliases: NONE,
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Monitoring,
        help: "a line in the log for each plain request, and when a WebSocket opens and ends",
        set: |draft, text| store(&mut draft.config.log_requests, switch(text)),
    },
    OptionSpec {
        name: "disable-logging",
        aliases: NONE,
        short: Some('L'),
        takes: Takes::Flag,
        default: "true",
        group: Group::Monitoring,
        help: "the opposite of --log-requests, for configurations of uWSGI",
        set: |draft, text| store(&mut draft.config.log_requests, switch(text).map(|off| !off)),
    },
    OptionSpec {
        name: "log-format",
        aliases: NONE,
        short: None,
        takes: Takes::One("FORMAT"),
        default: "text",
        group: Group::Monitoring,
        help: "text for people, or json for one object a line",
        set: |draft, text| store(&mut draft.config.log_format, log_format(text)),
    },
];

fn log_format(text: &str) -> Result<LogFormat, Refused> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Refused::new("text or json")),
    }
}

/// An address for those who operate the server: nobody else is let in unless the address says so.
fn loopback_address(text: &str, draft: &Draft<'_>) -> Result<Address, Refused> {
    let ipv6 = draft.environment.ipv6;
    if text.starts_with(':') {
        return socket_address(&format!("127.0.0.1{text}"), ipv6, &draft.folder);
    }
    socket_address(text, ipv6, &draft.folder)
}

fn token_in(path: &Path) -> Result<Secret, Refused> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refused::new(format!("a file that can be read ({error})")))?;
    let line = text.lines().next().unwrap_or_default();
    Secret::parse(line)
        .map_err(|Refused(what)| Refused::new(format!("a file that begins with {what}")))
}
