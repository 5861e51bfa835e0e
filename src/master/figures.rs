//! Collects what `master status` shows from the supervisor and the board.
//!
//! It must not know how it is sent or printed.

use super::status::{AreaStatus, CHANNELS_MAX, ChannelStatus, LogStatus, Status, WorkerStatus};
use super::supervisor::{SlotState, Supervisor};
use crate::sharedarea::{Area, SharedArea};

/// Where it is collected from.
pub(super) struct Facts<'m> {
    pub(super) supervisor: &'m Supervisor,
    pub(super) area: &'m SharedArea,
    pub(super) instance: &'m str,
    pub(super) listeners: &'m [String],
    pub(super) now_ms: u64,
}

/// The server at this moment. Walks the whole channel table: for a person's question, not for a turn.
pub(super) fn collect(facts: &Facts<'_>) -> Status {
    let counters = facts.area.counters();
    let mut channels = channels(facts.area);
    let channels_more = channels.len().saturating_sub(CHANNELS_MAX) as u64;
    channels.truncate(CHANNELS_MAX);
    Status {
        instance: facts.instance.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        phase: facts.supervisor.phase_name().to_owned(),
        uptime_ms: facts.now_ms,
        listeners: facts.listeners.to_vec(),
        workers: facts
            .supervisor
            .slots()
            .filter(|(_, state)| *state != SlotState::Empty)
            .map(|(slot, state)| worker(slot, state, facts.area))
            .collect(),
        log: LogStatus {
            published: counters.published,
            bytes: counters.bytes,
            delivered: counters.delivered,
            would_block: counters.would_block,
            lapped: counters.lapped,
            stale: counters.stale,
            recoveries: counters.recoveries,
            spool_bytes: facts.area.spool_bytes(),
        },
        areas: facts.area.areas().map(|area| plain(&area)).collect(),
        channels,
        channels_more,
    }
}

fn worker(slot: u16, state: SlotState, area: &SharedArea) -> WorkerStatus {
    let view = area.participant(slot);
    let figure =
        |read: fn(&crate::sharedarea::ParticipantView) -> u32| view.as_ref().map_or(0, read);
    WorkerStatus {
        slot,
        pid: state.pid().map(nix::unistd::Pid::as_raw),
        generation: state.generation(),
        state: state.name().to_owned(),
        clients: figure(|view| view.clients),
        subscriptions: figure(|view| view.subscriptions),
        behind: view
            .as_ref()
            .map_or(0, |view| area.head().saturating_sub(view.cursor)),
        delivered: view.as_ref().map_or(0, |view| view.delivered),
        lapped: view.as_ref().map_or(0, |view| view.lapped),
        stale: view.as_ref().map_or(0, |view| view.stale),
    }
}

fn plain(area: &Area) -> AreaStatus {
    let info = area.info();
    AreaStatus {
        id: info.id,
        name: info.name,
        kind: info.kind.name().to_owned(),
        bytes: info.bytes,
        used: info.used,
        updates: info.updates,
        hits: info.hits,
        readers: info.readers,
        writer: info.writer,
        watch_ms: info.watch_ms,
    }
}

/// All channels, the busiest first.
fn channels(area: &SharedArea) -> Vec<ChannelStatus> {
    let mut channels = Vec::new();
    area.channels(&mut |view| {
        channels.push(ChannelStatus {
            subscribers: view.subscribers.iter().copied().map(u64::from).sum(),
            messages: view.messages,
            name: view.name,
        });
    });
    channels.sort_by(|a, b| {
        (b.messages, b.subscribers)
            .cmp(&(a.messages, a.subscribers))
            .then_with(|| a.name.cmp(&b.name))
    });
    channels
}
