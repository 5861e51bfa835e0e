//! The WebSocket protocol and its limits.

use super::{Group, NONE, OptionSpec, Takes, store};
use crate::config::resolved::Draft;
use crate::config::values::{Refused, seconds, whole};

pub(super) const WEBSOCKET: &[OptionSpec] = &[
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
        help: "permessage-deflate: on keeps no state between messages and compresses a broadcast once for all who agreed to it; takeover keeps state where a client asks (more memory, smaller messages, broadcasts uncompressed)",
        set: deflate,
    },
    OptionSpec {
        name: "websockets-deflate-threshold",
        aliases: NONE,
        short: None,
        takes: Takes::One("BYTES"),
        default: "128",
        group: Group::WebSocket,
        help: "smaller messages are sent uncompressed, broadcasts too",
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
];

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
