//! Every option of the server, in one table: names, what it takes, its default, its words, and how it is set.
//!
//! `--help`, `docs/options.md`, the parser and "did you mean" are made from it. uWSGI's names where the meaning is
//! the same. It must not know where a value came from.

use super::address::Address;
use super::resolved::{Draft, Mount, PROCESSES_MAX};
use super::values::{Refused, octal_mode, power_of_two, seconds, switch, whole};
use crate::protocol::websocket::OriginRule;

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
    /// Where the instance is found, what it logs.
    Instance,
}

impl Group {
    /// In the order of help and documentation.
    pub const ALL: [Self; 7] = [
        Self::Sockets,
        Self::Processes,
        Self::Applications,
        Self::Http,
        Self::WebSocket,
        Self::SharedArea,
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

const NONE: &[&str] = &[];

/// The table.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "socket",
        aliases: NONE,
        short: Some('s'),
        takes: Takes::Each("ADDRESS"),
        default: "",
        group: Group::Sockets,
        help: "listen here: :3032, 127.0.0.1:3032, [::1]:3032, localhost:3032 or /path.sock",
        set: |draft, text| {
            let address = socket_address(text, draft.environment.ipv6)?;
            draft.config.sockets.push(address);
            Ok(())
        },
    },
    OptionSpec {
        name: "listen",
        aliases: NONE,
        short: Some('l'),
        takes: Takes::One("N"),
        default: "1024",
        group: Group::Sockets,
        help: "length of the kernel's queue of connections not accepted yet (the kernel caps it at net.core.somaxconn)",
        set: |draft, text| store(&mut draft.config.listen_backlog, whole(text, 1..=65_535)),
    },
    OptionSpec {
        name: "chmod-socket",
        aliases: NONE,
        short: Some('C'),
        takes: Takes::One("MODE"),
        default: "",
        group: Group::Sockets,
        help: "octal mode of unix sockets, for example 660; without it the umask decides",
        set: |draft, text| store(&mut draft.config.chmod_socket, octal_mode(text).map(Some)),
    },
    OptionSpec {
        name: "processes",
        aliases: &["workers"],
        short: Some('p'),
        takes: Takes::One("N"),
        default: "1",
        group: Group::Processes,
        help: "workers, or auto for one per processor this process may use",
        set: |draft, text| {
            draft.config.processes = if text == "auto" {
                draft.environment.processors
            } else {
                whole(text, 1..=PROCESSES_MAX)
                    .map_err(|Refused(range)| Refused::new(format!("{range}, or auto")))?
            };
            Ok(())
        },
    },
    OptionSpec {
        name: "drain-timeout",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "8",
        group: Group::Processes,
        help: "how long clients may take to leave at a stop or reload; below the 10 s after which containers are killed",
        set: |draft, text| {
            store(
                &mut draft.config.drain_timeout_ms,
                seconds(text, 0..=3_600_000),
            )
        },
    },
    OptionSpec {
        name: "max-clients",
        aliases: NONE,
        short: None,
        takes: Takes::One("N"),
        default: "0",
        group: Group::Processes,
        help: "most clients of one worker; 0 is as many as file descriptors allow",
        set: |draft, text| store(&mut draft.config.clients_max, whole(text, 0..=10_000_000)),
    },
    OptionSpec {
        name: "app",
        aliases: NONE,
        short: None,
        takes: Takes::One("NAME"),
        default: "channels",
        group: Group::Applications,
        help: "the built-in application that serves every path without a mount: channels or echo",
        set: |draft, text| store(&mut draft.config.app, app_name(text).map(Some)),
    },
    OptionSpec {
        name: "mount",
        aliases: NONE,
        short: None,
        takes: Takes::Each("/PATH=app:NAME"),
        default: "",
        group: Group::Applications,
        help: "serve one path by another built-in application",
        set: |draft, text| {
            let mount = mount(text)?;
            draft.config.mounts.push(mount);
            Ok(())
        },
    },
    OptionSpec {
        name: "clients-publish",
        aliases: NONE,
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Applications,
        help: "clients of the channels application may publish; otherwise their messages end the connection (1008)",
        set: |draft, text| store(&mut draft.config.clients_publish, switch(text)),
    },
    OptionSpec {
        name: "origin",
        aliases: NONE,
        short: None,
        takes: Takes::Each("PATTERN"),
        default: "",
        group: Group::Applications,
        help: "let pages of other hosts connect: https://a.example[:port], *.example.com, or * for any",
        set: |draft, text| {
            let rule = origin(text)?;
            draft.config.origins.push(rule);
            Ok(())
        },
    },
    OptionSpec {
        name: "handshake-timeout",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "10",
        group: Group::Http,
        help: "a request head must be complete in this time (408)",
        set: |draft, text| {
            store(
                &mut draft.config.handshake_timeout_ms,
                seconds(text, 1..=3_600_000),
            )
        },
    },
    OptionSpec {
        name: "http-keepalive",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "30",
        group: Group::Http,
        help: "how long an idle HTTP connection waits for its next request; 0 closes after each",
        set: |draft, text| {
            store(
                &mut draft.config.http_keepalive_ms,
                seconds(text, 0..=3_600_000),
            )
        },
    },
    OptionSpec {
        name: "buffer-size",
        aliases: NONE,
        short: Some('b'),
        takes: Takes::One("BYTES"),
        default: "16384",
        group: Group::Http,
        help: "largest request head (431)",
        set: |draft, text| {
            store(
                &mut draft.config.head_bytes_max,
                whole(text, 256..=1_048_576),
            )
        },
    },
    OptionSpec {
        name: "http-headers-max",
        aliases: NONE,
        short: None,
        takes: Takes::One("N"),
        default: "100",
        group: Group::Http,
        help: "most header fields of a request (431)",
        set: |draft, text| store(&mut draft.config.headers_max, whole(text, 8..=1000)),
    },
    OptionSpec {
        name: "http-target-max",
        aliases: NONE,
        short: None,
        takes: Takes::One("BYTES"),
        default: "8192",
        group: Group::Http,
        help: "longest request target (414)",
        set: |draft, text| {
            store(
                &mut draft.config.target_bytes_max,
                whole(text, 16..=1_048_576),
            )
        },
    },
    OptionSpec {
        name: "websockets-ping-freq",
        aliases: &["websocket-ping-freq"],
        short: None,
        takes: Takes::One("SECONDS"),
        default: "30",
        group: Group::WebSocket,
        help: "pause between keepalive pings to a quiet client; 0 sends none",
        set: |draft, text| {
            store(
                &mut draft.config.ping_freq_ms,
                seconds(text, 0..=86_400_000),
            )
        },
    },
    OptionSpec {
        name: "websockets-pong-tolerance",
        aliases: &["websocket-pong-tolerance"],
        short: None,
        takes: Takes::One("SECONDS"),
        default: "3",
        group: Group::WebSocket,
        help: "a ping must be answered in this time, or the connection ends (1011)",
        set: |draft, text| {
            store(
                &mut draft.config.pong_tolerance_ms,
                seconds(text, 1..=3_600_000),
            )
        },
    },
    OptionSpec {
        name: "websockets-max-size",
        aliases: &["websocket-max-size"],
        short: None,
        takes: Takes::One("KIB"),
        default: "1024",
        group: Group::WebSocket,
        help: "largest message, compressed or not (1009)",
        set: |draft, text| {
            store(
                &mut draft.config.message_bytes_max,
                kib(text, 1..=1_048_576),
            )
        },
    },
    OptionSpec {
        name: "websockets-max-fragments",
        aliases: NONE,
        short: None,
        takes: Takes::One("N"),
        default: "131072",
        group: Group::WebSocket,
        help: "most fragments of one message (1008)",
        set: |draft, text| store(&mut draft.config.fragments_max, whole(text, 1..=16_777_216)),
    },
    OptionSpec {
        name: "websockets-deflate",
        aliases: NONE,
        short: None,
        takes: Takes::One("off|on|takeover"),
        default: "on",
        group: Group::WebSocket,
        help: "permessage-deflate: on keeps no state between messages, takeover does where a client asks (more memory, smaller messages)",
        set: deflate,
    },
    OptionSpec {
        name: "websockets-deflate-threshold",
        aliases: NONE,
        short: None,
        takes: Takes::One("BYTES"),
        default: "128",
        group: Group::WebSocket,
        help: "smaller messages are sent uncompressed",
        set: |draft, text| {
            store(
                &mut draft.config.deflate.threshold_bytes,
                whole(text, 0..=1_073_741_824),
            )
        },
    },
    OptionSpec {
        name: "outbox-max",
        aliases: NONE,
        short: None,
        takes: Takes::One("KIB"),
        default: "auto",
        group: Group::WebSocket,
        help: "most bytes waiting for one client that does not read; auto is two of the largest messages, at least 1024",
        set: |draft, text| {
            draft.outbox_bytes_max = if text == "auto" {
                None
            } else {
                Some(
                    kib(text, 16..=4_194_304)
                        .map_err(|Refused(range)| Refused::new(format!("{range}, or auto")))?,
                )
            };
            Ok(())
        },
    },
    OptionSpec {
        name: "spool-size",
        aliases: NONE,
        short: None,
        takes: Takes::One("KIB"),
        default: "16384",
        group: Group::SharedArea,
        help: "size of the spool that holds published frames until every client has them; a power of two",
        set: |draft, text| {
            draft.config.spool_bytes = u64::from(power_of_two(text, 64..=16_777_216)?) * 1024;
            Ok(())
        },
    },
    OptionSpec {
        name: "log-entries",
        aliases: NONE,
        short: None,
        takes: Takes::One("N"),
        default: "auto",
        group: Group::SharedArea,
        help: "published messages the log can hold; a power of two, or auto for one per 128 bytes of spool",
        set: |draft, text| {
            draft.log_entries = if text == "auto" {
                None
            } else {
                Some(
                    power_of_two(text, 64..=1 << 26)
                        .map_err(|Refused(range)| Refused::new(format!("{range}, or auto")))?,
                )
            };
            Ok(())
        },
    },
    OptionSpec {
        name: "channels-max",
        aliases: NONE,
        short: None,
        takes: Takes::One("N"),
        default: "16384",
        group: Group::SharedArea,
        help: "places in the shared channel table; a power of two (more channels still work, slower)",
        set: |draft, text| {
            store(
                &mut draft.config.channels_max,
                power_of_two(text, 64..=1 << 20),
            )
        },
    },
    OptionSpec {
        name: "instance",
        aliases: NONE,
        short: None,
        takes: Takes::One("NAME"),
        default: "",
        group: Group::Instance,
        help: "name by which the verbs find this server; the port of the first socket, or the file name of a unix socket, if not given",
        set: |draft, text| store(&mut draft.config.instance, instance_name(text).map(Some)),
    },
    OptionSpec {
        name: "run-dir",
        aliases: NONE,
        short: None,
        takes: Takes::One("DIR"),
        default: "",
        group: Group::Instance,
        help: "directory of the control sockets; $XDG_RUNTIME_DIR/bellwether, /run/bellwether for root, else /tmp/bellwether-UID",
        set: |draft, text| store(&mut draft.config.run_dir, run_dir(text)),
    },
    OptionSpec {
        name: "log-level",
        aliases: NONE,
        short: None,
        takes: Takes::One("LEVEL"),
        default: "",
        group: Group::Instance,
        help: "off, error, warn, info, debug or trace; without it RUST_LOG decides, else info",
        set: |draft, text| {
            let level = text
                .parse()
                .map_err(|_| Refused::new("off, error, warn, info, debug or trace"))?;
            draft.config.log_level = Some(level);
            Ok(())
        },
    },
];

/// The option of this name; None for a name that is not in the table.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

pub(super) fn socket_address(text: &str, ipv6: bool) -> Result<Address, Refused> {
    Address::parse(text, ipv6).map_err(|error| {
        Refused::new(format!(
            ":PORT, IPV4:PORT, [IPV6]:PORT, localhost:PORT or /path.sock ({error})"
        ))
    })
}

/// A name that is one component of a path.
pub(super) fn instance_name(text: &str) -> Result<String, Refused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err(Refused::new(
        "1 to 64 letters, digits, '-', '_' or '.', not starting with '.'",
    ))
}

pub(super) fn run_dir(text: &str) -> Result<std::path::PathBuf, Refused> {
    if text.is_empty() {
        return Err(Refused::new("the path of a directory"));
    }
    Ok(text.into())
}

/// Puts a value in its place, if it is one.
fn store<T>(place: &mut T, value: Result<T, Refused>) -> Result<(), Refused> {
    *place = value?;
    Ok(())
}

fn app_name(text: &str) -> Result<String, Refused> {
    if text.is_empty() {
        return Err(Refused::new("the name of a built-in application"));
    }
    Ok(text.to_owned())
}

fn mount(text: &str) -> Result<Mount, Refused> {
    let refused = || Refused::new("/PATH=app:NAME, for example /echo=app:echo");
    let (path, app) = text.split_once("=app:").ok_or_else(refused)?;
    if !path.starts_with('/') || app.is_empty() {
        return Err(refused());
    }
    Ok(Mount {
        path: path.to_owned(),
        app: app.to_owned(),
    })
}

fn origin(text: &str) -> Result<OriginRule, Refused> {
    text.parse()
        .map_err(|_| Refused::new("https://a.example[:port], *.example.com, or *"))
}

fn deflate(draft: &mut Draft<'_>, text: &str) -> Result<(), Refused> {
    let (enabled, takeover) = match text {
        "off" => (false, false),
        "on" => (true, false),
        "takeover" => (true, true),
        _ => return Err(Refused::new("off, on or takeover")),
    };
    let policy = &mut draft.config.deflate;
    policy.enabled = enabled;
    policy.server_no_context_takeover = !takeover;
    policy.client_no_context_takeover = !takeover;
    Ok(())
}

fn kib(text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, Refused> {
    Ok(whole(text, range)? * 1024)
}
