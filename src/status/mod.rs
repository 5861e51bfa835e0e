//! What a server shows of itself: plain data, collected from the board by master or worker, shown by
//! `master status`, by `/status` and `/metrics` of the API, and by the stats server.
//!
//! It must not know where it is shown.

mod collect;
mod counted;
mod prometheus;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use collect::{Place, collect};
pub use counted::counted;
pub use prometheus::{CONTENT_TYPE as PROMETHEUS_TYPE, exposition};

/// Channels that are listed; of more, the busiest.
pub const CHANNELS_MAX: usize = 1_000;

/// A server at one moment. Counters count since the server began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// Name of the instance.
    pub instance: String,
    /// Version of the program.
    pub version: String,
    /// Process id of the master.
    pub pid: u32,
    /// What the master is doing: starting, running, reloading, draining, stopping.
    pub phase: String,
    /// The latest load of the configuration.
    pub generation: u32,
    /// Milliseconds since it began.
    pub uptime_ms: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Slots with a worker, or with one to come.
    pub workers: Vec<WorkerStatus>,
    /// The shared log.
    pub log: LogStatus,
    /// Plain areas, by number.
    pub areas: Vec<AreaStatus>,
    /// Clients that lag furthest, a few of each worker; the furthest first.
    pub laggards: Vec<LaggardStatus>,
    /// Channels, the busiest first; at most [`CHANNELS_MAX`].
    pub channels: Vec<ChannelStatus>,
    /// Channels that are not listed.
    pub channels_more: u64,
}

impl Status {
    /// The figures in a line, for the log.
    pub fn figures(&self) -> String {
        let sum = |count: fn(&WorkerStatus) -> u32| {
            self.workers
                .iter()
                .map(|worker| u64::from(count(worker)))
                .sum::<u64>()
        };
        let serving = self
            .workers
            .iter()
            .filter(|worker| worker.state == "serving")
            .count();
        format!(
            "{} serving, {}, {}, {}, {} published ({} bytes), {} delivered, {} lapped, {} stale, \
             {} would block",
            counted(serving, "worker"),
            counted(sum(|worker| worker.clients), "client"),
            counted(sum(|worker| worker.subscriptions), "subscription"),
            counted(self.channels.len() as u64 + self.channels_more, "channel"),
            counted(self.log.published, "message"),
            self.log.bytes,
            self.log.delivered,
            self.log.lapped,
            self.log.stale,
            self.log.would_block,
        )
    }
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its slot.
    pub slot: u16,
    /// Its process id; None while there is no process.
    pub pid: Option<i32>,
    /// The load of the configuration that it serves.
    pub generation: Option<u32>,
    /// booting, serving, draining, leftover, stopping, killed, paused or abandoned.
    pub state: String,
    /// Connected clients.
    pub clients: u32,
    /// Subscriptions of its clients.
    pub subscriptions: u32,
    /// Entries of the log that it has not seen yet.
    pub behind: u64,
    /// Its clients that have not got all that it has seen.
    pub lag: LagStatus,
    /// Messages handed to clients, by all workers of this slot.
    pub delivered: u64,
    /// Clients that were overtaken by the log, likewise.
    pub lapped: u64,
    /// Messages not handed to clients because their range of an area had changed, likewise.
    pub stale: u64,
    /// Processes that were started in this slot.
    pub spawns: u64,
    /// When the last of them was, seconds of Unix time; 0 for never.
    pub spawned_at: u64,
    /// What the workers of this slot have done.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Clients of a worker that lag behind the log, and the largest figures of any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LagStatus {
    /// How many there are.
    pub clients: u32,
    /// Entries of the log, of all channels.
    pub entries: u64,
    /// Bytes of the spool.
    pub bytes: u64,
    /// Age of the first message that is missing, milliseconds.
    pub ms: u64,
}

/// A client that lags.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LaggardStatus {
    /// The slot of its worker.
    pub worker: u16,
    /// Where it connects from, with the port; None for a unix socket.
    pub address: Option<String>,
    /// Its channel, the first of several; None for one that is not in the table.
    pub channel: Option<String>,
    /// Entries of the log, of all channels.
    pub entries: u64,
    /// Bytes of the spool.
    pub bytes: u64,
    /// Age of the first message that is missing, milliseconds.
    pub ms: u64,
}

/// What clients and server have said to each other, since the server began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Plain HTTP requests answered.
    pub requests: u64,
    /// Microseconds spent on them.
    pub request_us: u64,
    /// Requests refused, with a status from 400 on.
    pub refusals: u64,
    /// WebSockets opened.
    pub handshakes: u64,
    /// Messages of clients.
    pub messages_in: u64,
    /// Messages to single clients; those of channels are `delivered`.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// System calls with which they were: one may carry many messages.
    pub sends: u64,
    /// Pings sent to keep clients alive.
    pub pings: u64,
    /// Clients given up because none was answered.
    pub pong_timeouts: u64,
    /// Clients handed over to another worker.
    pub clients_given: u64,
    /// Clients taken over from another worker.
    pub clients_taken: u64,
    /// Clients offered to another worker that stayed.
    pub clients_returned: u64,
    /// WebSockets that ended, by close code; `other` are 3000 to 4999.
    pub closes: BTreeMap<String, u64>,
}

/// The shared log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogStatus {
    /// Messages published.
    pub published: u64,
    /// Bytes published.
    pub bytes: u64,
    /// Messages handed to clients.
    pub delivered: u64,
    /// Publications refused because lock or space was busy.
    pub would_block: u64,
    /// Clients that were overtaken.
    pub lapped: u64,
    /// Messages not handed to clients because their range of an area had changed.
    pub stale: u64,
    /// Locks taken over from dead owners.
    pub recoveries: u64,
    /// Entries that made no sense.
    pub bad: u64,
    /// Places in the channel table given to another name.
    pub reclaimed: u64,
    /// Messages whose channel had no place in the table.
    pub named: u64,
    /// Size of the spool.
    pub spool_bytes: u64,
    /// Entries that the log holds.
    pub entries: u32,
    /// The newest entry.
    pub head: u64,
    /// Bytes of the spool below this position may have been overwritten.
    pub horizon: u64,
}

/// A plain area.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AreaStatus {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: Option<String>,
    /// What it is made of: memory, file or fd.
    pub kind: String,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes that mean something, if somebody said so.
    pub used: Option<u64>,
    /// Updates so far.
    pub updates: u64,
    /// Reads so far.
    pub hits: u64,
    /// Slots that hold its read lock.
    pub readers: Vec<u16>,
    /// The slot that holds its write lock.
    pub writer: Option<u16>,
    /// The master looks at its head so often, milliseconds; 0 = never.
    pub watch_ms: u32,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its name.
    pub name: String,
    /// Messages published there.
    pub messages: u64,
    /// Subscribers of all workers.
    pub subscribers: u64,
}
