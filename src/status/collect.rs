//! Collects what a server shows of itself from the board.
//!
//! Master and workers see the same board, so each can answer for all. It must not know who asks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::{
    AreaStatus, CHANNELS_MAX, ChannelStatus, LagStatus, LaggardStatus, LogStatus, Status, Traffic,
    WorkerStatus,
};
use crate::sharedarea::{
    Area, Figures, Laggard, ParticipantKind, ParticipantView, SLOT_MAX, SharedArea,
};

/// The slot of the master.
const MASTER: u16 = 0;
/// The first registered close code.
const FIRST_CLOSE_CODE: u64 = 1000;

/// What the board does not say about a server.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Name of the instance.
    pub instance: String,
    /// Where it listens.
    pub listeners: Vec<String>,
}

/// The server at this moment; `now_us` is the time, microseconds of Unix time. Walks the whole
/// channel table: for a question, not for a turn.
pub fn collect(area: &SharedArea, place: &Place, now_us: u64) -> Status {
    let counters = area.counters();
    let mut channels = channels(area);
    let channels_more = channels.len().saturating_sub(CHANNELS_MAX) as u64;
    channels.truncate(CHANNELS_MAX);
    let geometry = area.geometry();
    let note = area.server_note();
    let head = area.head();
    Status {
        instance: place.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: area.participant(MASTER).map_or(0, |master| master.pid),
        phase: note.phase,
        generation: note.generation,
        uptime_ms: now_us.saturating_sub(area.created_us()) / 1000,
        listeners: place.listeners.clone(),
        workers: workers(area, head),
        laggards: laggards(area),
        log: LogStatus {
            published: counters.published,
            bytes: counters.bytes,
            delivered: counters.delivered,
            would_block: counters.would_block,
            lapped: counters.lapped,
            stale: counters.stale,
            recoveries: counters.recoveries,
            bad: counters.bad,
            reclaimed: counters.reclaimed,
            named: counters.named,
            spool_bytes: geometry.spool_bytes,
            entries: geometry.entries,
            head,
            horizon: area.horizon(),
        },
        areas: area.areas().map(|area| plain(&area)).collect(),
        channels,
        channels_more,
    }
}

/// The slots with a worker, or with one to come.
fn workers(area: &SharedArea, head: u64) -> Vec<WorkerStatus> {
    let slots = 1..=SLOT_MAX;
    slots
        .filter_map(|slot| {
            let view = area
                .participant(slot)
                .filter(|view| view.kind == ParticipantKind::Worker);
            let note = area.slot_note(slot);
            let is_empty = matches!(note.state.as_str(), "" | "empty");
            (view.is_some() || !is_empty).then(|| {
                let figure = |read: fn(&ParticipantView) -> u64| view.as_ref().map_or(0, read);
                WorkerStatus {
                    slot,
                    pid: view.as_ref().and_then(|view| i32::try_from(view.pid).ok()),
                    generation: (note.generation > 0).then_some(note.generation),
                    state: note.state,
                    clients: view.map_or(0, |view| view.clients),
                    subscriptions: view.map_or(0, |view| view.subscriptions),
                    behind: view.map_or(0, |view| head.saturating_sub(view.cursor)),
                    lag: lag(area, slot),
                    delivered: figure(|view| view.delivered),
                    lapped: figure(|view| view.lapped),
                    stale: figure(|view| view.stale),
                    spawns: note.spawns,
                    spawned_at: note.spawned_us / 1_000_000,
                    traffic: Traffic::from(&area.figures(slot)),
                }
            })
        })
        .collect()
}

fn lag(area: &SharedArea, slot: u16) -> LagStatus {
    let laggards = area.laggards(slot);
    LagStatus {
        clients: laggards.clients,
        entries: laggards.largest.entries,
        bytes: laggards.largest.bytes,
        ms: laggards.largest.ms,
    }
}

/// Those of all workers, the furthest first.
fn laggards(area: &SharedArea) -> Vec<LaggardStatus> {
    let mut shown: Vec<(u16, Laggard)> = (1..=SLOT_MAX)
        .flat_map(|slot| {
            let furthest = area.laggards(slot).furthest;
            furthest.into_iter().map(move |laggard| (slot, laggard))
        })
        .collect();
    if shown.is_empty() {
        return Vec::new();
    }
    shown.sort_by_key(|(_, laggard)| Reverse(laggard.lag.entries));
    let mut names = HashMap::new();
    area.channels(&mut |view| {
        names.insert(view.index, view.name);
    });
    let plain = |(worker, laggard): (u16, Laggard)| LaggardStatus {
        worker,
        address: laggard.address.map(|address| address.to_string()),
        channel: laggard.channel.and_then(|index| names.get(&index).cloned()),
        entries: laggard.lag.entries,
        bytes: laggard.lag.bytes,
        ms: laggard.lag.ms,
    };
    shown.into_iter().map(plain).collect()
}

impl From<&Figures> for Traffic {
    fn from(figures: &Figures) -> Self {
        let registered = (FIRST_CLOSE_CODE..).zip(figures.closes);
        let mut closes: BTreeMap<String, u64> = registered
            .filter(|(_, count)| *count > 0)
            .map(|(code, count)| (code.to_string(), count))
            .collect();
        if figures.closes_other > 0 {
            closes.insert("other".to_owned(), figures.closes_other);
        }
        Self {
            requests: figures.requests,
            request_us: figures.request_us,
            refusals: figures.refusals,
            handshakes: figures.handshakes,
            messages_in: figures.messages_in,
            messages_out: figures.messages_out,
            bytes_in: figures.bytes_in,
            bytes_out: figures.bytes_out,
            pings: figures.pings,
            pong_timeouts: figures.pong_timeouts,
            clients_given: figures.clients_given,
            clients_taken: figures.clients_taken,
            clients_returned: figures.clients_returned,
            closes,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharedarea::{Geometry, Lag, Laggards, ServerNote, SlotNote};

    #[test]
    fn a_worker_can_answer_for_all() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 2_000_000).unwrap();
        let master = area.join(ParticipantKind::Master, 0).unwrap();
        let worker = area.join(ParticipantKind::Worker, 2).unwrap();
        worker.set_clients(7);
        master.note_server(&ServerNote {
            phase: "running".into(),
            generation: 1,
        });
        for (slot, state) in [(1, "paused"), (2, "serving"), (3, "empty")] {
            master.note_slot(
                slot,
                &SlotNote {
                    state: state.into(),
                    generation: 1,
                    spawns: 1,
                    spawned_us: 3_000_000,
                },
            );
        }
        let mut listener = area.join(ParticipantKind::Worker, 4).unwrap();
        let far = Lag {
            entries: 30,
            bytes: 4000,
            ms: 200,
        };
        let channel = listener.channel("news");
        let laggard = |entries, address: &str| Laggard {
            lag: Lag { entries, ..far },
            channel,
            address: address.parse().ok(),
        };
        for (worker, entries) in [(&worker, 20), (&listener, 30)] {
            worker.show_laggards(&Laggards {
                clients: 2,
                largest: far,
                furthest: vec![laggard(entries, "127.0.0.1:9"), laggard(1, "")],
            });
        }
        let status = collect(&area, &Place::default(), 5_000_000);
        let furthest: Vec<(u16, u64)> = status
            .laggards
            .iter()
            .map(|l| (l.worker, l.entries))
            .collect();
        assert_eq!(furthest, [(4, 30), (2, 20), (2, 1), (4, 1)]);
        assert_eq!(status.laggards[0].address.as_deref(), Some("127.0.0.1:9"));
        assert_eq!(status.laggards[2].address, None);
        assert_eq!(status.laggards[0].channel.as_deref(), Some("news"));
        assert_eq!(
            (status.pid, status.phase.as_str()),
            (std::process::id(), "running")
        );
        assert_eq!(status.uptime_ms, 3_000);
        let states: Vec<&str> = status.workers.iter().map(|w| w.state.as_str()).collect();
        assert_eq!(states, ["paused", "serving", ""]);
        let lag = &status.workers[1].lag;
        assert_eq!(
            (lag.clients, lag.entries, lag.bytes, lag.ms),
            (2, 30, 4000, 200)
        );
        assert_eq!(
            (status.workers[0].pid, status.workers[1].clients),
            (None, 7)
        );
    }

    #[test]
    fn what_workers_have_done_is_shown() {
        let area = SharedArea::create(Geometry::with_spool(64 * 1024), 1, 0).unwrap();
        let worker = area.join(ParticipantKind::Worker, 2).unwrap();
        let mut more = Figures {
            clients_given: 5,
            clients_taken: 6,
            clients_returned: 7,
            ..Figures::default()
        };
        more.count_close(1001);
        more.count_close(4711);
        worker.count_figures(&mut more);
        let status = collect(&area, &Place::default(), 0);
        let traffic = &status.workers[0].traffic;
        assert_eq!((traffic.clients_given, traffic.clients_taken), (5, 6));
        assert_eq!(traffic.clients_returned, 7);
        let closes = &traffic.closes;
        assert_eq!((closes["1001"], closes["other"], closes.len()), (1, 1, 2));
    }
}
