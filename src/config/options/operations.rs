//! Supervision, and the server's place in the system.

use std::path::{Path, PathBuf};

use super::{Group, NONE, OptionSpec, Takes, store};
use crate::config::operations::Orphans;
use crate::config::resolved::Draft;
use crate::config::values::{Refused, octal_mode, seconds, switch, whole};

const MIB: u64 = 1024 * 1024;
const DAY_MS: u64 = 86_400_000;

pub(super) const CONFIGURATION: &[OptionSpec] = &[
    OptionSpec {
        name: "ini",
        aliases: NONE,
        short: None,
        takes: Takes::Each("FILE"),
        default: "",
        group: Group::Instance,
        help: "read options from this file, in uWSGI's ini syntax, section [uwsgi] or [bellwether]; a reload reads it again; the command line goes over it",
        // What is in the file has been put in its place before.
        set: |_, _| Ok(()),
    },
    OptionSpec {
        name: "check",
        aliases: NONE,
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Instance,
        help: "only say whether the configuration can be used, by message and exit code; nothing is bound",
        set: |draft, text| store(&mut draft.config.operations.check, switch(text)),
    },
];

pub(super) const SUPERVISION: &[OptionSpec] = &[
    OptionSpec {
        name: "settle",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "1",
        group: Group::Processes,
        help: "in a reload or upgrade a new worker must live this long before the next one is replaced",
        set: |draft, text| {
            store(
                &mut draft.config.operations.settle_ms,
                seconds(text, 0..=3_600_000),
            )
        },
    },
    OptionSpec {
        name: "worker-reload-mercy",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "0",
        group: Group::Processes,
        help: "clients that cannot move to a new worker are served by their old one for so long, then closed (1012); 0 closes them at once",
        set: |draft, text| {
            let place = &mut draft.config.operations.worker_reload_mercy_ms;
            store(place, seconds(text, 0..=7 * DAY_MS))
        },
    },
    OptionSpec {
        name: "harakiri",
        aliases: NONE,
        short: Some('t'),
        takes: Takes::One("SECONDS"),
        default: "0",
        group: Group::Processes,
        help: "kill and replace a worker whose loop has not turned for so long; 0 never",
        set: |draft, text| {
            store(
                &mut draft.config.operations.harakiri_ms,
                seconds(text, 0..=DAY_MS),
            )
        },
    },
    OptionSpec {
        name: "max-worker-lifetime",
        aliases: NONE,
        short: None,
        takes: Takes::One("SECONDS"),
        default: "0",
        group: Group::Processes,
        help: "replace a worker that has served for so long; its clients move; 0 never",
        set: |draft, text| {
            let place = &mut draft.config.operations.worker_lifetime_ms;
            store(place, seconds(text, 0..=366 * DAY_MS))
        },
    },
    OptionSpec {
        name: "reload-on-rss",
        aliases: NONE,
        short: None,
        takes: Takes::One("MIB"),
        default: "0",
        group: Group::Processes,
        help: "replace a worker that has so much resident memory of its own; its clients move; 0 never",
        set: |draft, text| {
            draft.config.operations.reload_on_rss_bytes = whole(text, 0..=16_777_216)? * MIB;
            Ok(())
        },
    },
    OptionSpec {
        name: "cpu-affinity",
        aliases: NONE,
        short: None,
        takes: Takes::One("N"),
        default: "0",
        group: Group::Processes,
        help: "processors for each worker, one worker after the other; 0 leaves the choice to the kernel",
        set: |draft, text| {
            store(
                &mut draft.config.operations.cpu_affinity,
                whole(text, 0..=1024),
            )
        },
    },
    OptionSpec {
        name: "orphans",
        aliases: NONE,
        short: None,
        takes: Takes::One("drain|exit"),
        default: "drain",
        group: Group::Processes,
        help: "what workers do when their master is gone: let their clients go (1001), or leave at once",
        set: orphans,
    },
];

pub(super) const PLACE: &[OptionSpec] = &[
    OptionSpec {
        name: "master-fifo",
        aliases: NONE,
        short: None,
        takes: Takes::One("PATH"),
        default: "",
        group: Group::Instance,
        help: "make a named pipe there (mode 600) that takes commands as letters; docs/signals.md has them",
        set: |draft, text| {
            let path = path(text, &draft.folder).map(Some);
            store(&mut draft.config.operations.master_fifo, path)
        },
    },
    OptionSpec {
        name: "touch-reload",
        aliases: NONE,
        short: None,
        takes: Takes::Each("FILE"),
        default: "",
        group: Group::Instance,
        help: "reload when this file is touched, replaced or made; looked at once a second",
        set: |draft, text| {
            let file = path(text, &draft.folder)?;
            draft.config.operations.touch_reload.push(file);
            Ok(())
        },
    },
    OptionSpec {
        name: "pidfile",
        aliases: NONE,
        short: None,
        takes: Takes::One("FILE"),
        default: "",
        group: Group::Instance,
        help: "write the master's process id there",
        set: |draft, text| {
            let path = path(text, &draft.folder).map(Some);
            store(&mut draft.config.operations.pidfile, path)
        },
    },
    OptionSpec {
        name: "daemonize",
        aliases: NONE,
        short: Some('d'),
        takes: Takes::One("LOG"),
        default: "",
        group: Group::Instance,
        help: "go to the background when the workers are ready, and log into this file",
        set: |draft, text| {
            let path = path(text, &draft.environment.start_dir).map(Some);
            store(&mut draft.config.operations.daemonize, path)
        },
    },
    OptionSpec {
        name: "logto",
        aliases: NONE,
        short: None,
        takes: Takes::One("FILE"),
        default: "",
        group: Group::Instance,
        help: "log into this file instead of standard error; USR1 opens it again after it was moved",
        set: |draft, text| {
            let path = path(text, &draft.environment.start_dir).map(Some);
            store(&mut draft.config.operations.logto, path)
        },
    },
    OptionSpec {
        name: "vacuum",
        aliases: NONE,
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Instance,
        help: "remove unix sockets, pidfile and named pipe at the end",
        set: |draft, text| store(&mut draft.config.operations.vacuum, switch(text)),
    },
    OptionSpec {
        name: "uid",
        aliases: NONE,
        short: None,
        takes: Takes::One("USER"),
        default: "",
        group: Group::Instance,
        help: "become this user, by name or number, when the sockets are bound",
        set: |draft, text| store(&mut draft.config.operations.uid, name(text).map(Some)),
    },
    OptionSpec {
        name: "gid",
        aliases: NONE,
        short: None,
        takes: Takes::One("GROUP"),
        default: "",
        group: Group::Instance,
        help: "and this group; the user's own, if not given",
        set: |draft, text| store(&mut draft.config.operations.gid, name(text).map(Some)),
    },
    OptionSpec {
        name: "chdir",
        aliases: NONE,
        short: None,
        takes: Takes::One("DIR"),
        default: "",
        group: Group::Instance,
        help: "go to this directory before anything is opened or bound; relative paths begin there, but those of --ini, --logto, --daemonize and --api-token-file where the server was started",
        set: |draft, text| {
            let path = path(text, &draft.environment.start_dir).map(Some);
            store(&mut draft.config.operations.chdir, path)
        },
    },
    OptionSpec {
        name: "umask",
        aliases: NONE,
        short: None,
        takes: Takes::One("MODE"),
        default: "",
        group: Group::Instance,
        help: "octal mask of permissions that new files and sockets do not get",
        set: |draft, text| {
            store(
                &mut draft.config.operations.umask,
                octal_mode(text).map(Some),
            )
        },
    },
    OptionSpec {
        name: "master",
        aliases: NONE,
        short: Some('M'),
        takes: Takes::Flag,
        default: "true",
        group: Group::Instance,
        help: "accepted for uWSGI's sake: there is a master with and without it",
        set: |_, text| match switch(text)? {
            true => Ok(()),
            false => Err(Refused::new("true: there always is a master")),
        },
    },
    OptionSpec {
        name: "die-on-term",
        aliases: NONE,
        short: None,
        takes: Takes::Flag,
        default: "false",
        group: Group::Instance,
        help: "accepted for uWSGI's sake: TERM stops the server with and without it",
        set: |_, text| switch(text).map(drop),
    },
];

fn orphans(draft: &mut Draft<'_>, text: &str) -> Result<(), Refused> {
    draft.config.operations.orphans = match text {
        "drain" => Orphans::Drain,
        "exit" => Orphans::Exit,
        _ => return Err(Refused::new("drain or exit")),
    };
    Ok(())
}

/// A path; a relative one begins in `folder`.
fn path(text: &str, folder: &Path) -> Result<PathBuf, Refused> {
    if text.is_empty() || text.contains('\0') {
        return Err(Refused::new("a path"));
    }
    Ok(folder.join(text))
}

fn name(text: &str) -> Result<String, Refused> {
    if text.is_empty() || text.contains('\0') {
        return Err(Refused::new("a name or a number"));
    }
    Ok(text.to_owned())
}
