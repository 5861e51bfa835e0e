//! The status of a server as a page for people.
//!
//! Pure. It must not know where the status comes from.

use std::fmt::Write as _;

use crate::status::{AreaStatus, LaggardStatus, Status, counted};

/// Headings and rows as aligned columns.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| (*heading).to_owned())
                    .collect(),
            ],
        }
    }

    fn write(&self, out: &mut String) {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a String cannot fail.
                let _infallible = write!(line, " {cell:<width$} ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// The page.
pub(super) fn table(status: &Status) -> String {
    let mut page = format!(
        "instance {}, {}, master pid {}, bellwether {}, up {}\nlistening on {}\n\n",
        status.instance,
        status.phase,
        status.pid,
        status.version,
        duration(status.uptime_ms),
        status.listeners.join(", ")
    );
    workers(status, &mut page);
    let log = &status.log;
    // Writing to a String cannot fail.
    let _infallible = write!(
        page,
        "\nlog: {} published ({} bytes, spool {} KiB), {} delivered, {} lapped, \
         {} stale, {} would block, {} recoveries\n\n",
        counted(log.published, "message"),
        log.bytes,
        log.spool_bytes / 1024,
        log.delivered,
        counted(log.lapped, "client"),
        log.stale,
        log.would_block,
        log.recoveries
    );
    if !status.laggards.is_empty() {
        page.push_str(&laggards(&status.laggards));
        page.push('\n');
    }
    if !status.areas.is_empty() {
        page.push_str(&areas(&status.areas));
        page.push('\n');
    }
    channels(status, &mut page);
    page
}

fn workers(status: &Status, page: &mut String) {
    let mut table = Table::new(&[
        "worker",
        "pid",
        "generation",
        "state",
        "clients",
        "subscriptions",
        "behind",
        "lagging",
        "delivered",
        "lapped",
        "stale",
        "given",
        "taken",
        "returned",
    ]);
    for worker in &status.workers {
        let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        table.rows.push(vec![
            worker.slot.to_string(),
            or_dash(worker.pid.map(|pid| pid.to_string())),
            or_dash(worker.generation.map(|generation| generation.to_string())),
            worker.state.clone(),
            worker.clients.to_string(),
            worker.subscriptions.to_string(),
            worker.behind.to_string(),
            worker.lag.clients.to_string(),
            worker.delivered.to_string(),
            worker.lapped.to_string(),
            worker.stale.to_string(),
            worker.traffic.clients_given.to_string(),
            worker.traffic.clients_taken.to_string(),
            worker.traffic.clients_returned.to_string(),
        ]);
    }
    table.write(page);
}

/// The table of clients that lag furthest.
fn laggards(laggards: &[LaggardStatus]) -> String {
    let mut table = Table::new(&[
        "slow client",
        "worker",
        "channel",
        "messages behind",
        "bytes",
        "seconds",
    ]);
    for laggard in laggards {
        table.rows.push(vec![
            laggard.address.clone().unwrap_or_else(|| "unix".to_owned()),
            laggard.worker.to_string(),
            laggard.channel.clone().unwrap_or_else(|| "-".to_owned()),
            laggard.entries.to_string(),
            laggard.bytes.to_string(),
            format!("{}.{}", laggard.ms / 1000, laggard.ms % 1000 / 100),
        ]);
    }
    let mut page = String::new();
    table.write(&mut page);
    page
}

/// The table of plain areas.
pub(super) fn areas(areas: &[AreaStatus]) -> String {
    let mut table = Table::new(&[
        "area", "name", "kind", "bytes", "used", "updates", "hits", "lock",
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for area in areas {
        let lock = match (area.writer, area.readers.len()) {
            (Some(slot), _) => format!("written by slot {slot}"),
            (None, 0) => "free".to_owned(),
            (None, readers) => format!("{readers} reading"),
        };
        table.rows.push(vec![
            area.id.to_string(),
            or_dash(area.name.clone()),
            area.kind.clone(),
            area.bytes.to_string(),
            or_dash(area.used.map(|used| used.to_string())),
            area.updates.to_string(),
            area.hits.to_string(),
            lock,
        ]);
    }
    let mut page = String::new();
    table.write(&mut page);
    page
}

fn channels(status: &Status, page: &mut String) {
    if status.channels.is_empty() {
        page.push_str("no channels\n");
        return;
    }
    let mut table = Table::new(&["channel", "messages", "subscribers"]);
    for channel in &status.channels {
        table.rows.push(vec![
            channel.name.clone(),
            channel.messages.to_string(),
            channel.subscribers.to_string(),
        ]);
    }
    table.write(page);
    if status.channels_more > 0 {
        page.push_str(&format!("  ... and {} more\n", status.channels_more));
    }
}

/// The two largest units.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A status for tests.
#[cfg(test)]
pub(super) fn example() -> Status {
    use crate::status::{ChannelStatus, LagStatus, LogStatus, Traffic, WorkerStatus};

    let worker = |slot, pid: Option<i32>, state: &str| WorkerStatus {
        slot,
        pid,
        generation: pid.map(|_| 1),
        state: state.into(),
        clients: 12,
        subscriptions: 12,
        delivered: 120,
        ..WorkerStatus::default()
    };
    Status {
        instance: "3032".into(),
        version: "0.1.0".into(),
        pid: 4711,
        phase: "running".into(),
        generation: 1,
        uptime_ms: 3_725_000,
        listeners: vec!["[::]:3032".into()],
        workers: vec![
            WorkerStatus {
                lag: LagStatus {
                    clients: 1,
                    ..LagStatus::default()
                },
                traffic: Traffic {
                    clients_given: 3,
                    clients_taken: 15,
                    clients_returned: 2,
                    ..Traffic::default()
                },
                ..worker(1, Some(4712), "serving")
            },
            worker(2, None, "abandoned"),
        ],
        log: LogStatus {
            published: 10,
            bytes: 1000,
            delivered: 240,
            stale: 3,
            spool_bytes: 16 << 20,
            ..LogStatus::default()
        },
        laggards: vec![LaggardStatus {
            worker: 1,
            address: Some("192.0.2.7:50000".into()),
            channel: Some("news".into()),
            entries: 250,
            bytes: 25_000,
            ms: 1_250,
        }],
        areas: vec![AreaStatus {
            id: 0,
            name: Some("frames".into()),
            kind: "memory".into(),
            bytes: 4096,
            used: None,
            updates: 7,
            hits: 0,
            readers: vec![1, 2],
            writer: None,
            watch_ms: 0,
        }],
        channels: vec![ChannelStatus {
            name: "news".into(),
            messages: 10,
            subscribers: 24,
        }],
        channels_more: 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_aligned() {
        let expected = "\
instance 3032, running, master pid 4711, bellwether 0.1.0, up 1 h 2 min
listening on [::]:3032

  worker  pid   generation  state      clients  subscriptions  behind  lagging  delivered  lapped  stale  given  taken  returned
  1       4712  1           serving    12       12             0       1        120        0       0      3      15     2
  2       -     -           abandoned  12       12             0       0        120        0       0      0      0      0

log: 10 messages published (1000 bytes, spool 16384 KiB), 240 delivered, 0 clients lapped, 3 stale, 0 would block, 0 recoveries

  slow client      worker  channel  messages behind  bytes  seconds
  192.0.2.7:50000  1       news     250              25000  1.2

  area  name    kind    bytes  used  updates  hits  lock
  0     frames  memory  4096   -     7        0     2 reading

  channel  messages  subscribers
  news     10        24
  ... and 2 more
";
        assert_eq!(table(&example()), expected);
    }

    #[test]
    fn durations_have_two_units() {
        for (ms, text) in [
            (999, "0 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
