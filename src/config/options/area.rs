//! The shared area and its channels.

use super::{Group, NONE, OptionSpec, Takes, store};
use crate::config::area_option;
use crate::config::channel_rule::ChannelRule;
use crate::config::values::{Refused, power_of_two};

pub(super) const SHARED_AREA: &[OptionSpec] = &[
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
        name: "sharedarea",
        aliases: NONE,
        short: Some('A'),
        takes: Takes::Each("AREA"),
        default: "",
        group: Group::SharedArea,
        help: "plain shared memory, numbered from 0: N pages, or pages=N|size=BYTES[,file=PATH|fd=N][,offset=BYTES][,name=NAME][,watch=MS]",
        set: |draft, text| {
            draft.config.areas.push(area_option::parse(text)?);
            Ok(())
        },
    },
    OptionSpec {
        name: "channel",
        aliases: NONE,
        short: None,
        takes: Takes::Each("RULE"),
        default: "",
        group: Group::SharedArea,
        help: "what becomes of slow clients: PATTERN,slow=close|gap|latest[,close-bytes=N][,close-lag=SECONDS]",
        set: |draft, text| {
            draft.config.channel_rules.push(ChannelRule::parse(text)?);
            Ok(())
        },
    },
];
