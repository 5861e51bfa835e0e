//! The document of the stats server: uWSGI's names in uWSGI's order, and ours behind them.
//!
//! What uWSGI counts by requests, and would only count when a WebSocket ends, is counted for plain
//! requests here; WebSockets have figures of their own. It must not know how it is written.

use std::os::fd::AsFd as _;

use nix::unistd::Pid;
use serde::Serialize;

use crate::net::Listener;
use crate::sharedarea::SharedArea;
use crate::status::{
    self, AreaStatus, ChannelStatus, LogStatus, Place, Status, Traffic, WorkerStatus,
};
use crate::sys::process::{Occupied, occupied};
use crate::sys::socket::listen_queue;

/// Channels that are listed.
const CHANNELS_MAX: usize = 100;

/// What a document is made from.
#[derive(Debug, Clone)]
pub(in crate::master) struct Facts {
    pub(in crate::master) status: Status,
    pub(in crate::master) uid: u32,
    pub(in crate::master) gid: u32,
    pub(in crate::master) cwd: String,
    pub(in crate::master) sockets: Vec<SocketFacts>,
    /// Memory of the workers, by slot.
    pub(in crate::master) memory: Vec<(u16, Occupied)>,
}

impl Facts {
    /// Collects them in the master; `workers` are the processes by slot.
    pub(in crate::master) fn collect<'l>(
        area: &SharedArea,
        place: &Place,
        workers: impl Iterator<Item = (u16, Pid)>,
        listeners: impl Iterator<Item = &'l Listener>,
        now_us: u64,
    ) -> Self {
        let socket = |listener: &Listener| {
            let (queue, queue_max) = listen_queue(listener.as_fd()).unwrap_or_default();
            let name = listener.local_address().to_string();
            SocketFacts {
                name,
                queue,
                queue_max,
            }
        };
        let cwd = nix::unistd::getcwd().unwrap_or_default();
        Self {
            status: status::collect(area, place, now_us),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            cwd: cwd.to_string_lossy().into_owned(),
            sockets: listeners.map(socket).collect(),
            memory: workers
                .filter_map(|(slot, pid)| Some((slot, occupied(pid)?)))
                .collect(),
        }
    }
}

/// A listening socket.
#[derive(Debug, Clone)]
pub(in crate::master) struct SocketFacts {
    pub(in crate::master) name: String,
    /// Connections that nobody has accepted yet, where the system says it.
    pub(in crate::master) queue: u32,
    pub(in crate::master) queue_max: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Document {
    version: String,
    listen_queue: u32,
    listen_queue_errors: u32,
    signal_queue: u32,
    load: u32,
    pid: u32,
    uid: u32,
    gid: u32,
    cwd: String,
    locks: [(); 0],
    sockets: Vec<Socket>,
    workers: Vec<Worker>,
    // Ours from here on.
    instance: String,
    phase: String,
    generation: u32,
    uptime_ms: u64,
    clients: u64,
    subscriptions: u64,
    websockets: WebSockets,
    log: LogStatus,
    sharedareas: Vec<Area>,
    channels: Vec<ChannelStatus>,
    channels_more: u64,
}

#[derive(Debug, Serialize)]
struct Socket {
    name: String,
    proto: &'static str,
    queue: u32,
    max_queue: u32,
    shared: u8,
    can_offload: u8,
}

#[derive(Debug, Serialize)]
struct Worker {
    id: u16,
    pid: i32,
    accepting: u8,
    requests: u64,
    delta_requests: u64,
    exceptions: u64,
    harakiri_count: u64,
    signals: u64,
    signal_queue: u64,
    status: &'static str,
    rss: u64,
    vsz: u64,
    running_time: u64,
    last_spawn: u64,
    respawn_count: u64,
    tx: u64,
    avg_rt: u64,
    apps: [App; 1],
    cores: [Core; 1],
    // Ours from here on.
    generation: Option<u32>,
    state: String,
    clients: u32,
    subscriptions: u32,
    behind: u64,
    delivered: u64,
    lapped: u64,
    clients_given: u64,
    clients_taken: u64,
    clients_returned: u64,
    websockets: WebSockets,
}

#[derive(Debug, Serialize)]
struct App {
    id: u8,
    modifier1: u8,
    mountpoint: &'static str,
    startup_time: u64,
    requests: u64,
    exceptions: u64,
    chdir: &'static str,
}

/// uWSGI's place where a request runs. A worker of ours has one loop, and so one core.
#[derive(Debug, Serialize)]
struct Core {
    id: u8,
    requests: u64,
    static_requests: u64,
    routed_requests: u64,
    offloaded_requests: u64,
    write_errors: u64,
    read_errors: u64,
    in_request: u8,
    vars: [&'static str; 0],
    req_info: ReqInfo,
}

#[derive(Debug, Serialize)]
struct ReqInfo {}

#[derive(Debug, Default, Serialize)]
struct WebSockets {
    open: u64,
    opened: u64,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    pings: u64,
    pong_timeouts: u64,
    close_codes: std::collections::BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Area {
    id: u8,
    name: Option<String>,
    size: u64,
    used: Option<u64>,
    updates: u64,
    hits: u64,
}

/// The document.
pub(super) fn document(facts: &Facts) -> Document {
    let status = &facts.status;
    let sum = |read: fn(&WorkerStatus) -> u64| status.workers.iter().map(read).sum::<u64>();
    let mut websockets = WebSockets::default();
    for worker in &status.workers {
        websockets.add(&worker.traffic);
    }
    let listen_queue = facts.sockets.iter().map(|socket| socket.queue).sum();
    let channels = status.channels.iter().take(CHANNELS_MAX);
    let channels: Vec<ChannelStatus> = channels.cloned().collect();
    let unlisted = (status.channels.len() - channels.len()) as u64;
    Document {
        version: status.version.clone(),
        listen_queue,
        listen_queue_errors: 0,
        signal_queue: 0,
        load: listen_queue,
        pid: status.pid,
        uid: facts.uid,
        gid: facts.gid,
        cwd: facts.cwd.clone(),
        locks: [],
        sockets: facts.sockets.iter().map(socket).collect(),
        workers: status
            .workers
            .iter()
            .map(|one| worker(one, memory_of(facts, one.slot)))
            .collect(),
        instance: status.instance.clone(),
        phase: status.phase.clone(),
        generation: status.generation,
        uptime_ms: status.uptime_ms,
        clients: sum(|worker| worker.clients.into()),
        subscriptions: sum(|worker| worker.subscriptions.into()),
        websockets,
        log: status.log.clone(),
        sharedareas: status.areas.iter().map(area).collect(),
        channels,
        channels_more: status.channels_more + unlisted,
    }
}

fn memory_of(facts: &Facts, slot: u16) -> Occupied {
    let found = facts.memory.iter().find(|(of, _)| *of == slot);
    found.map_or_else(Occupied::default, |(_, memory)| *memory)
}

fn socket(facts: &SocketFacts) -> Socket {
    Socket {
        name: facts.name.clone(),
        proto: "http",
        queue: facts.queue,
        max_queue: facts.queue_max,
        shared: 1,
        can_offload: 0,
    }
}

fn area(area: &AreaStatus) -> Area {
    Area {
        id: area.id,
        name: area.name.clone(),
        size: area.bytes,
        used: area.used,
        updates: area.updates,
        hits: area.hits,
    }
}

fn worker(worker: &WorkerStatus, memory: Occupied) -> Worker {
    let traffic = &worker.traffic;
    let requests = traffic.requests + traffic.handshakes;
    let in_request = worker.clients > 0;
    let mut websockets = WebSockets::default();
    websockets.add(traffic);
    Worker {
        id: worker.slot,
        pid: worker.pid.unwrap_or(0),
        accepting: u8::from(worker.state == "serving"),
        requests,
        delta_requests: requests,
        exceptions: 0,
        harakiri_count: 0,
        signals: 0,
        signal_queue: 0,
        status: status_word(worker),
        rss: memory.resident_bytes,
        vsz: memory.virtual_bytes,
        running_time: traffic.request_us,
        last_spawn: worker.spawned_at,
        respawn_count: worker.spawns,
        tx: traffic.bytes_out,
        avg_rt: traffic
            .request_us
            .checked_div(traffic.requests)
            .unwrap_or(0),
        apps: [App {
            id: 0,
            modifier1: 0,
            mountpoint: "",
            startup_time: 0,
            requests,
            exceptions: 0,
            chdir: "",
        }],
        cores: [Core {
            id: 0,
            requests,
            static_requests: 0,
            routed_requests: 0,
            offloaded_requests: 0,
            write_errors: 0,
            read_errors: 0,
            in_request: u8::from(in_request),
            vars: [],
            req_info: ReqInfo {},
        }],
        generation: worker.generation,
        state: worker.state.clone(),
        clients: worker.clients,
        subscriptions: worker.subscriptions,
        behind: worker.behind,
        delivered: worker.delivered,
        lapped: worker.lapped,
        clients_given: traffic.clients_given,
        clients_taken: traffic.clients_taken,
        clients_returned: traffic.clients_returned,
        websockets,
    }
}

/// uWSGI's words: idle, busy, pause, cheap.
fn status_word(worker: &WorkerStatus) -> &'static str {
    match worker.state.as_str() {
        "paused" => "pause",
        "abandoned" | "empty" => "cheap",
        _ if worker.clients > 0 => "busy",
        _ => "idle",
    }
}

impl WebSockets {
    fn add(&mut self, traffic: &Traffic) {
        let ended: u64 = traffic.closes.values().sum();
        self.open += traffic.handshakes.saturating_sub(ended);
        self.opened += traffic.handshakes;
        self.messages_in += traffic.messages_in;
        self.messages_out += traffic.messages_out;
        self.bytes_in += traffic.bytes_in;
        self.bytes_out += traffic.bytes_out;
        self.pings += traffic.pings;
        self.pong_timeouts += traffic.pong_timeouts;
        for (code, count) in &traffic.closes {
            *self.close_codes.entry(code.clone()).or_default() += count;
        }
    }
}
