//! Where the server listens, its processes, and how it is found.

use std::path::{Path, PathBuf};

use super::{Group, NONE, OptionSpec, Takes, store};
use crate::config::address::Address;
use crate::config::resolved::PROCESSES_MAX;
use crate::config::values::{Refused, octal_mode, seconds, whole};

pub(super) const SOCKETS: &[OptionSpec] = &[
    OptionSpec {
        name: "socket",
        aliases: NONE,
        short: Some('s'),
        takes: Takes::Each("ADDRESS"),
        default: "",
        group: Group::Sockets,
        help: "listen here: :3032, 127.0.0.1:3032, [::1]:3032, localhost:3032 or /path.sock",
        set: |draft, text| {
            let address = socket_address(text, draft.environment.ipv6, &draft.folder)?;
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
];

pub(super) const PROCESSES: &[OptionSpec] = &[
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
        name: "drain-spread",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "2",
        group: Group::Processes,
        help: "clients that a reload must close (1012) are told one after the other over this time, at most half of --drain-timeout",
        set: |draft, text| {
            store(
                &mut draft.config.drain_spread_ms,
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
];

pub(super) const INSTANCE: &[OptionSpec] = &[
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
        set: |draft, text| store(&mut draft.config.run_dir, run_dir(text, &draft.folder)),
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

/// An address; a relative path begins in `folder`.
pub(in crate::config) fn socket_address(
    text: &str,
    ipv6: bool,
    folder: &Path,
) -> Result<Address, Refused> {
    let address = Address::parse(text, ipv6).and_then(|address| address.seen_from(folder));
    address.map_err(|error| {
        Refused::new(format!(
            ":PORT, IPV4:PORT, [IPV6]:PORT, localhost:PORT or /path.sock ({error})"
        ))
    })
}

/// A name that is one component of a path.
pub(in crate::config) fn instance_name(text: &str) -> Result<String, Refused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err(Refused::new(
        "1 to 64 letters, digits, '-', '_' or '.', not starting with '.'",
    ))
}

/// A directory; a relative path begins in `folder`.
pub(in crate::config) fn run_dir(text: &str, folder: &Path) -> Result<PathBuf, Refused> {
    if text.is_empty() {
        return Err(Refused::new("the path of a directory"));
    }
    Ok(folder.join(text))
}
