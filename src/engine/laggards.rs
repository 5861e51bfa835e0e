//! Clients that are behind: what their channels' policies make of them, and what is kept for them.

use std::cmp::Reverse;

use log::debug;

use crate::channel::{ChannelId, Memberships};
use crate::config::Slow;
use crate::event_loop::Key;
use crate::protocol::websocket::{CloseCode, State};
use crate::sharedarea::{Entry, LAGGARDS_SHOWN_MAX, Lag, Laggard, Laggards};

use super::client::Marks;
use super::core::{CLOSING_MS, Core};
use super::half::NOTHING;

/// Clients that are behind are looked at this often.
const LOOK_MS: u64 = 100;

/// How long a dismissed client may not read its close frame where no pings tell who is dead.
const UNTOLD_MS: u64 = 60_000;

const OVERTAKEN: &str = "too slow: the log has moved past what you have not received";
const TOO_FAR: &str = "too slow: further behind than the channel allows";

impl Core {
    /// Whether an entry still is for a client that catches up. Of a channel that wants only the
    /// newest it is, if it is that.
    pub(super) fn is_due(&self, channel: ChannelId, seq: u64) -> bool {
        match self.subscriptions.policy(channel).slow {
            Slow::Close | Slow::Gap => true,
            Slow::Latest => match self.subscriptions.table_index(channel) {
                Some(index) => self.area.newest_of(index) <= seq,
                None => true,
            },
        }
    }

    /// Finds clients that the log has overtaken or that are too far behind, even if they never
    /// take anything again, and shows how far the others are.
    pub(super) fn tend_laggards(&mut self) {
        let nobody = self.laggards.is_empty() && !self.laggards_shown;
        if nobody || self.now_ms < self.laggards_due_ms {
            return;
        }
        self.laggards_due_ms = self.now_ms + LOOK_MS;
        let head = self.area.head();
        let newest = self.area.entry(head).map_or(0, |entry| entry.position);
        let wall_us = self.event_loop.wall_us();
        let mut behind_by = Vec::new();
        for key in self.laggards.take() {
            let Some(client) = self.clients.get(key) else {
                continue;
            };
            let Some(behind) = &client.behind else {
                continue;
            };
            self.laggards.push(key);
            if behind.next > head || client.marks.contains(Marks::FROZEN) {
                continue;
            }
            let next = behind.next;
            match self.area.entry(next) {
                Ok(entry) => {
                    let lag = Lag {
                        entries: head - next + 1,
                        bytes: newest.saturating_sub(entry.position),
                        ms: wall_us.saturating_sub(entry.time_us) / 1000,
                    };
                    if self.is_too_far(&client.memberships, &lag) {
                        self.lapped += 1;
                        self.dismiss(key, TOO_FAR);
                    } else {
                        behind_by.push((lag, key));
                    }
                }
                Err(_) => self.lag(key),
            }
        }
        self.show_laggards(behind_by);
    }

    /// Tells the board who is behind.
    fn show_laggards(&mut self, mut behind_by: Vec<(Lag, Key)>) {
        self.laggards_shown = !behind_by.is_empty();
        let shown = behind_by.len().min(LAGGARDS_SHOWN_MAX);
        let furthest_first = |(lag, _): &(Lag, Key)| Reverse(lag.entries);
        if behind_by.len() > shown {
            behind_by.select_nth_unstable_by_key(shown, furthest_first);
        }
        behind_by[..shown].sort_by_key(furthest_first);
        let largest = behind_by
            .iter()
            .fold(Lag::default(), |largest, (lag, _)| largest.max(*lag));
        let furthest = behind_by[..shown].iter().filter_map(|(lag, key)| {
            let client = self.clients.get(*key)?;
            let listened = client.memberships.as_slice().first();
            Some(Laggard {
                lag: *lag,
                channel: listened.and_then(|one| self.subscriptions.table_index(one.channel)),
                address: client.transport.address().ok().flatten(),
            })
        });
        self.participant.show_laggards(&Laggards {
            clients: u32::try_from(behind_by.len()).unwrap_or(u32::MAX),
            largest,
            furthest: furthest.collect(),
        });
    }

    fn is_too_far(&self, memberships: &Memberships, lag: &Lag) -> bool {
        memberships.as_slice().iter().any(|membership| {
            let policy = self.subscriptions.policy(membership.channel);
            policy.close_bytes.is_some_and(|max| lag.bytes > max)
                || policy.close_lag_ms.is_some_and(|max| lag.ms > max)
        })
    }

    /// The log has overtaken a client: it cannot have what it missed.
    pub(super) fn lag(&mut self, key: Key) {
        self.lapped += 1;
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let memberships = client.memberships.as_slice();
        let policy = |channel| self.subscriptions.policy(channel);
        // Whoever is overtaken is behind by all that the spool holds.
        let spool_bytes = self.area.spool_bytes();
        let too_far = |max| max < spool_bytes;
        if memberships.iter().any(|membership| {
            let policy = policy(membership.channel);
            policy.slow == Slow::Close || policy.close_bytes.is_some_and(too_far)
        }) {
            return self.dismiss(key, OVERTAKEN);
        }
        // The newest message of a channel may well be there still, however far behind the client is.
        let resumed = memberships.iter().map(|membership| {
            let latest = policy(membership.channel).slow == Slow::Latest;
            match self.subscriptions.table_index(membership.channel) {
                Some(index) if latest => self.area.newest_of(index),
                Some(_) | None => self.newer_half(),
            }
        });
        let there = |seq: &u64| self.area.entry(*seq).is_ok();
        let next = resumed.filter(there).min();
        if let Some(client) = self.clients.get_mut(key)
            && let Some(behind) = &mut client.behind
        {
            // Never back: an entry that makes no sense is no lap.
            let onward = behind.next.saturating_add(1);
            behind.next = next.map_or(NOTHING, |next| next.max(onward));
        }
    }

    /// The first entry of the newer half of the log: who goes on from there is not overtaken again at once.
    fn newer_half(&self) -> u64 {
        let head = self.area.head();
        let newest = self.area.entry(head).map_or(0, |entry| entry.position);
        let half = newest.saturating_sub(self.area.spool_bytes() / 2);
        let entries = u64::from(self.area.geometry().entries);
        let (mut low, mut high) = (head.saturating_sub(entries / 2).max(1), head);
        while low < high {
            let middle = low.midpoint(high);
            let is_newer = |entry: Entry| entry.position >= half;
            if self.area.entry(middle).is_ok_and(is_newer) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    fn dismiss(&mut self, key: Key, reason: &str) {
        if let Some(client) = self.clients.get_mut(key)
            && let Some(behind) = &mut client.behind
        {
            behind.next = NOTHING;
        }
        let closing = self.with_connection(key, |connection, _, out| {
            let open = connection.state() == State::Open;
            connection.close(Some(CloseCode::TRY_AGAIN_LATER), reason, out);
            open
        });
        if closing == Some(true) {
            self.leave_all_channels(key);
            self.await_closing_for(key, self.untold_ms());
        }
    }

    /// Who does not read cannot be told why it is closed before it reads again. It has as much time for that as any
    /// other client may be silent.
    fn untold_ms(&self) -> u64 {
        match self.settings.ping_freq_ms {
            0 => UNTOLD_MS,
            freq_ms => CLOSING_MS.max(freq_ms + self.settings.pong_tolerance_ms),
        }
    }

    /// Copies out half-sent frames that grow old or stand in a writer's way, and pins the rest.
    pub(super) fn tend_halves(&mut self) {
        if self.halves.is_empty() {
            return;
        }
        let horizon = self.area.horizon();
        let newest = self
            .area
            .entry(self.area.head())
            .map_or(u64::MAX, |entry| entry.position);
        let old = newest
            .saturating_sub(self.area.spool_bytes() / 2)
            .max(horizon);
        let mut oldest = u64::MAX;
        for key in self.halves.take() {
            let half = self
                .clients
                .get_mut(key)
                .and_then(|client| client.behind.as_mut()?.half.as_mut());
            let Some(half) = half.filter(|half| half.rescued.is_none()) else {
                continue;
            };
            if half.frame.position >= old {
                oldest = oldest.min(half.frame.position);
                self.halves.push(key);
                continue;
            }
            half.rescued = self.rescued.copy(&self.area, half.frame);
            if half.rescued.is_none() {
                debug!("no room to keep a half-sent frame for a slow client, it is dropped");
                self.lost(key);
            }
        }
        self.oldest_half = oldest;
        self.repin();
    }
}
