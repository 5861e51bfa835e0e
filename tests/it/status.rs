//! What `master status --json` says, read as a user's program would.

use serde::Deserialize;

use crate::PATIENCE;
use crate::server::{Server, succeeded, wait_for};

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: i32,
    pub(crate) phase: String,
    pub(crate) listeners: Vec<String>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) log: Log,
    pub(crate) channels: Vec<Channel>,
    pub(crate) laggards: Vec<Laggard>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Worker {
    pub(crate) slot: u16,
    pub(crate) pid: Option<i32>,
    pub(crate) state: String,
    pub(crate) clients: u32,
    pub(crate) subscriptions: u32,
    pub(crate) lag: Lag,
    pub(crate) clients_given: u64,
    pub(crate) clients_taken: u64,
    pub(crate) clients_returned: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Lag {
    pub(crate) clients: u32,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Laggard {
    pub(crate) worker: u16,
    pub(crate) address: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Log {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) lapped: u64,
    pub(crate) spool_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) messages: u64,
    pub(crate) subscribers: u64,
}

impl Status {
    /// Asks a server.
    pub(crate) fn of(server: &Server) -> Self {
        let output = server.verb(&["status", "--json"]).output();
        let json = succeeded(&output.expect("the built program starts"));
        serde_json::from_str(&json).expect("JSON as documented")
    }

    /// Asks until it is so.
    pub(crate) fn wait(server: &Server, what: &str, is: impl Fn(&Self) -> bool) -> Self {
        wait_for(what, PATIENCE, || Some(Self::of(server)).filter(&is))
    }

    /// Asks until this many workers serve.
    pub(crate) fn wait_for_workers(server: &Server, workers: usize) -> Self {
        Self::wait(server, &format!("{workers} workers to serve"), |status| {
            status.workers.len() == workers && status.serving().count() == workers
        })
    }

    /// Asks until there are so many subscriptions.
    pub(crate) fn wait_for_subscriptions(server: &Server, subscriptions: u32) -> Self {
        Self::wait(
            server,
            &format!("{subscriptions} subscriptions"),
            |status| status.subscriptions() == subscriptions,
        )
    }

    pub(crate) fn serving(&self) -> impl Iterator<Item = &Worker> {
        self.workers
            .iter()
            .filter(|worker| worker.state == "serving")
    }

    pub(crate) fn clients(&self) -> u32 {
        self.workers.iter().map(|worker| worker.clients).sum()
    }

    pub(crate) fn subscriptions(&self) -> u32 {
        self.workers.iter().map(|worker| worker.subscriptions).sum()
    }

    /// Process ids of the workers there are, in order of their slots.
    pub(crate) fn worker_pids(&self) -> Vec<i32> {
        self.workers
            .iter()
            .filter_map(|worker| worker.pid)
            .collect()
    }
}
