//! The engine's limits, as plain data.

use crate::config::{ChannelRule, Config};
use crate::protocol::http;
use crate::protocol::websocket::{DeflatePolicy, Limits, OriginRule};
use crate::status::Place;

use super::RECEIVE_BYTES;

/// Limits and policies of an engine. Times are in milliseconds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits of request heads.
    pub head: http::Limits,
    /// A request head must be complete after this time.
    pub handshake_timeout_ms: u64,
    /// A kept-alive HTTP connection may be idle for this time.
    pub http_keepalive_ms: u64,
    /// A client that was silent for this time is sent a ping; 0 for never.
    pub ping_freq_ms: u64,
    /// After a ping it must be heard of within this time.
    pub pong_tolerance_ms: u64,
    /// Limits of messages.
    pub message: Limits,
    /// How compression is negotiated and used.
    pub deflate: DeflatePolicy,
    /// Foreign origins that may connect.
    pub origins: Vec<OriginRule>,
    /// What holds for slow clients, by channel.
    pub channel_rules: Vec<ChannelRule>,
    /// With so many bytes waiting for one client it takes no more.
    pub outbox_bytes_max: usize,
    /// What the server shows of itself besides its figures; the owner knows where it listens.
    pub place: Place,
    /// Requests and conversations are logged.
    pub log_requests: bool,
}

impl Settings {
    /// With so many bytes waiting for one client it is not read from. The answers to what one read
    /// can bring, a largest message and a buffer of small ones, still find room in its outbox then.
    pub(super) fn outbox_bytes_unread(&self) -> usize {
        // At least 1: an empty outbox never stops the reading.
        let half = self.outbox_bytes_max / 2;
        half.saturating_sub(RECEIVE_BYTES).max(1)
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            head: http::Limits {
                head_bytes_max: config.head_bytes_max,
                headers_max: config.headers_max,
                target_bytes_max: config.target_bytes_max,
            },
            handshake_timeout_ms: config.handshake_timeout_ms,
            http_keepalive_ms: config.http_keepalive_ms,
            ping_freq_ms: config.ping_freq_ms,
            pong_tolerance_ms: config.pong_tolerance_ms,
            message: Limits {
                message_bytes_max: config.message_bytes_max,
                fragments_max: config.fragments_max,
            },
            deflate: config.deflate,
            origins: config.origins.clone(),
            channel_rules: config.channel_rules.clone(),
            outbox_bytes_max: config.outbox_bytes_max,
            log_requests: config.log_requests,
            place: Place {
                instance: config.instance.clone().unwrap_or_default(),
                listeners: Vec::new(),
            },
        }
    }
}
