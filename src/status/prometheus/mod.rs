//! The status of a server in Prometheus' text format 0.0.4.
//!
//! Pure. Names follow Prometheus' conventions: `bellwether_` in front, base units, `_total` for counters.
//! The number of time series is bounded: a fixed set for each worker, and a fixed number of channels.
//! It must not know who asks.

use std::fmt::{Display, Write as _};

use super::{AreaStatus, LogStatus, Status, WorkerStatus};

/// The Content-Type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Channels with series of their own, the busiest; each name is a series that a monitor keeps.
const CHANNELS_MAX: usize = 100;

/// The page.
#[must_use]
pub fn exposition(status: &Status) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    server(status, &mut page);
    workers(status, &mut page);
    closes(status, &mut page);
    log(status, &mut page);
    areas(status, &mut page);
    channels(status, &mut page);
    page.0
}

/// A page in the making.
struct Page(String);

impl Page {
    /// Begins a family; `name` is without the prefix.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(
            self.0,
            "# HELP bellwether_{name} {help}\n# TYPE bellwether_{name} {kind}\n"
        );
    }

    /// One value of the family.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _infallible = write!(self.0, "bellwether_{name}");
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _infallible = write!(self.0, "{open}{label}=\"{}\"", escaped(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _infallible = writeln!(self.0, "{close} {value}");
    }

    /// A family of one value without labels.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// Label values escape the backslash, the quote and the line feed.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn server(status: &Status, page: &mut Page) {
    let name = "build_info";
    page.family(name, "gauge", "The program; the value is always 1.");
    let labels = [
        ("version", status.version.as_str()),
        ("instance_name", &status.instance),
    ];
    page.sample(name, &labels, 1);
    let seconds = Seconds {
        thousandths: status.uptime_ms,
    };
    page.single(
        "uptime_seconds",
        "gauge",
        "Since the server began.",
        seconds,
    );
    page.single(
        "config_generation",
        "gauge",
        "The latest load of the configuration.",
        status.generation,
    );
    let name = "phase";
    page.family(
        name,
        "gauge",
        "What the master is doing; the value is always 1.",
    );
    page.sample(name, &[("phase", &status.phase)], 1);
}

/// A time in seconds with three decimals.
struct Seconds {
    thousandths: u64,
}

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}.{:03}",
            self.thousandths / 1000,
            self.thousandths % 1000
        )
    }
}

/// A family with a value for each worker.
type WorkerFamily = (
    &'static str,
    &'static str,
    &'static str,
    fn(&WorkerStatus) -> u64,
);

const WORKER_FAMILIES: [WorkerFamily; 24] = [
    ("clients", "gauge", "Connected clients.", |w| {
        w.clients.into()
    }),
    ("subscriptions", "gauge", "Subscriptions of clients.", |w| {
        w.subscriptions.into()
    }),
    (
        "behind_entries",
        "gauge",
        "Entries of the log that the worker has not seen yet.",
        |w| w.behind,
    ),
    (
        "lagging_clients",
        "gauge",
        "Clients that have not got all that the worker has seen.",
        |w| w.lag.clients.into(),
    ),
    (
        "lag_entries",
        "gauge",
        "Most entries of the log that a client lags behind.",
        |w| w.lag.entries,
    ),
    (
        "lag_bytes",
        "gauge",
        "Most bytes of the spool that a client lags behind.",
        |w| w.lag.bytes,
    ),
    (
        "lag_milliseconds",
        "gauge",
        "Age of the oldest message that a client still waits for.",
        |w| w.lag.ms,
    ),
    (
        "spawns_total",
        "counter",
        "Workers started in the slot.",
        |w| w.spawns,
    ),
    (
        "spawned_timestamp_seconds",
        "gauge",
        "When the last of them was.",
        |w| w.spawned_at,
    ),
    (
        "delivered_total",
        "counter",
        "Messages of channels handed to clients.",
        |w| w.delivered,
    ),
    (
        "lapped_total",
        "counter",
        "Clients overtaken by the log.",
        |w| w.lapped,
    ),
    (
        "requests_total",
        "counter",
        "Plain HTTP requests answered.",
        |w| w.traffic.requests,
    ),
    (
        "refusals_total",
        "counter",
        "Requests refused, with a status from 400 on.",
        |w| w.traffic.refusals,
    ),
    ("handshakes_total", "counter", "WebSockets opened.", |w| {
        w.traffic.handshakes
    }),
    (
        "messages_in_total",
        "counter",
        "Messages of clients.",
        |w| w.traffic.messages_in,
    ),
    (
        "messages_out_total",
        "counter",
        "Messages to single clients.",
        |w| w.traffic.messages_out,
    ),
    (
        "bytes_in_total",
        "counter",
        "Bytes received from clients.",
        |w| w.traffic.bytes_in,
    ),
    (
        "bytes_out_total",
        "counter",
        "Bytes sent to clients.",
        |w| w.traffic.bytes_out,
    ),
    (
        "pings_total",
        "counter",
        "Pings sent to keep clients alive.",
        |w| w.traffic.pings,
    ),
    (
        "pong_timeouts_total",
        "counter",
        "Clients given up because no ping was answered.",
        |w| w.traffic.pong_timeouts,
    ),
    (
        "clients_given_total",
        "counter",
        "Clients handed over to another worker.",
        |w| w.traffic.clients_given,
    ),
    (
        "clients_taken_total",
        "counter",
        "Clients taken over from another worker.",
        |w| w.traffic.clients_taken,
    ),
    (
        "clients_returned_total",
        "counter",
        "Clients offered to another worker that stayed.",
        |w| w.traffic.clients_returned,
    ),
    ("up", "gauge", "Whether the slot has a process.", |w| {
        w.pid.is_some().into()
    }),
];

fn workers(status: &Status, page: &mut Page) {
    for (name, kind, help, read) in WORKER_FAMILIES {
        let name = format!("worker_{name}");
        page.family(&name, kind, help);
        for worker in &status.workers {
            page.sample(&name, &[("worker", &worker.slot.to_string())], read(worker));
        }
    }
    let name = "worker_request_seconds_total";
    page.family(name, "counter", "Time spent on plain HTTP requests.");
    for worker in &status.workers {
        let micros = worker.traffic.request_us;
        let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        page.sample(name, &[("worker", &worker.slot.to_string())], seconds);
    }
    let name = "worker_state";
    page.family(name, "gauge", "State of the slot; the value is always 1.");
    for worker in &status.workers {
        let labels = [
            ("worker", worker.slot.to_string()),
            ("state", worker.state.clone()),
        ];
        page.sample(
            name,
            &labels
                .each_ref()
                .map(|(label, text)| (*label, text.as_str())),
            1,
        );
    }
}

fn closes(status: &Status, page: &mut Page) {
    let name = "worker_closes_total";
    page.family(name, "counter", "WebSockets that ended, by close code.");
    for worker in &status.workers {
        for (code, count) in &worker.traffic.closes {
            let slot = worker.slot.to_string();
            page.sample(name, &[("worker", &slot), ("code", code)], count);
        }
    }
}

/// A family with a value for each plain area; there are at most 256.
type AreaFamily = (
    &'static str,
    &'static str,
    &'static str,
    fn(&AreaStatus) -> u64,
);

/// A family of the log.
type LogFamily = (
    &'static str,
    &'static str,
    &'static str,
    fn(&LogStatus) -> u64,
);

const LOG_FAMILIES: [LogFamily; 15] = [
    ("published_total", "counter", "Messages published.", |log| {
        log.published
    }),
    (
        "published_bytes_total",
        "counter",
        "Bytes of the spool used by them.",
        |log| log.bytes,
    ),
    (
        "delivered_total",
        "counter",
        "Published messages handed to clients.",
        |log| log.delivered,
    ),
    (
        "lapped_total",
        "counter",
        "Clients overtaken by the log.",
        |log| log.lapped,
    ),
    (
        "stale_total",
        "counter",
        "Messages not handed to clients because their range of an area had changed.",
        |log| log.stale,
    ),
    (
        "would_block_total",
        "counter",
        "Publications refused because the log was busy.",
        |log| log.would_block,
    ),
    (
        "lock_recoveries_total",
        "counter",
        "Writer locks taken over from dead owners.",
        |log| log.recoveries,
    ),
    (
        "log_bad_entries_total",
        "counter",
        "Entries of the log that made no sense.",
        |log| log.bad,
    ),
    (
        "channels_reclaimed_total",
        "counter",
        "Places in the channel table given to another name.",
        |log| log.reclaimed,
    ),
    (
        "named_total",
        "counter",
        "Messages whose channel had no place in the table.",
        |log| log.named,
    ),
    (
        "log_head",
        "gauge",
        "Number of the newest entry of the log.",
        |log| log.head,
    ),
    (
        "log_entries",
        "gauge",
        "Entries that the log holds.",
        |log| log.entries.into(),
    ),
    ("spool_bytes", "gauge", "Size of the spool.", |log| {
        log.spool_bytes
    }),
    (
        "spool_end",
        "gauge",
        "Position behind the newest byte of the spool.",
        |log| log.bytes,
    ),
    (
        "spool_horizon",
        "gauge",
        "Position below which the spool may have been overwritten.",
        |log| log.horizon,
    ),
];

fn log(status: &Status, page: &mut Page) {
    for (name, kind, help, read) in LOG_FAMILIES {
        page.single(name, kind, help, read(&status.log));
    }
}

fn areas(status: &Status, page: &mut Page) {
    let families: [AreaFamily; 3] = [
        ("area_bytes", "gauge", "Size of the area.", |area| {
            area.bytes
        }),
        (
            "area_updates_total",
            "counter",
            "Updates of the area.",
            |area| area.updates,
        ),
        (
            "area_reads_total",
            "counter",
            "Reads of the area.",
            |area| area.hits,
        ),
    ];
    for (name, kind, help, read) in families {
        page.family(name, kind, help);
        for area in &status.areas {
            let id = area.id.to_string();
            let labels = [
                ("area", id.as_str()),
                ("name", area.name.as_deref().unwrap_or("")),
            ];
            page.sample(name, &labels, read(area));
        }
    }
}

fn channels(status: &Status, page: &mut Page) {
    let all = status.channels.len() as u64 + status.channels_more;
    page.single("channels", "gauge", "Channels in the table.", all);
    let shown = status.channels.iter().take(CHANNELS_MAX);
    let name = "channel_messages_total";
    let help = "Messages published in the busiest channels.";
    page.family(name, "counter", help);
    for channel in shown.clone() {
        page.sample(name, &[("channel", &channel.name)], channel.messages);
    }
    let name = "channel_subscribers";
    page.family(
        name,
        "gauge",
        "Clients that listen to the busiest channels.",
    );
    for channel in shown {
        page.sample(name, &[("channel", &channel.name)], channel.subscribers);
    }
}

#[cfg(test)]
mod tests;
