//! What is served, and the limits of HTTP.

use super::{Group, NONE, OptionSpec, Takes, store};
use crate::config::resolved::Mount;
use crate::config::values::{Refused, seconds, switch, whole};
use crate::protocol::websocket::OriginRule;

pub(super) const APPLICATIONS: &[OptionSpec] = &[
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
];

pub(super) const HTTP: &[OptionSpec] = &[
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
];

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
