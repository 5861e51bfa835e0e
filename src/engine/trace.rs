//! The request log: a line for each plain request, and one when a WebSocket opens and one when it ends.
//!
//! What a line needs is kept in a box that only exists when requests are logged. The text is in
//! uWSGI's style; the same as fields goes along for JSON lines. It must not know where lines go.

use std::fmt;

use log::kv::{self, Source, VisitSource};
use log::{Level, Record};
use serde::{Deserialize, Serialize};

use crate::event_loop::Key;
use crate::protocol::http::{Request, Status, Version};
use crate::protocol::websocket::Closed;

use super::core::Core;

/// By this target a logger tells these lines from others.
pub const TARGET: &str = "bellwether::requests";

/// The status with which a WebSocket begins.
const SWITCHED: u16 = 101;

/// Bytes of a request target that a line shows.
const TARGET_BYTES_MAX: usize = 1024;

/// What the lines about one request or WebSocket say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trace {
    remote: String,
    app: String,
    method: String,
    target: String,
    protocol: String,
    /// Header fields of the request, and bytes of its head.
    fields: usize,
    head_bytes: usize,
    /// Unix time, microseconds.
    begun_us: u64,
    pub(super) traffic: Traffic,
}

/// What a client and the server have said to each other.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Traffic {
    pub(super) messages_in: u64,
    pub(super) bytes_in: u64,
    pub(super) messages_out: u64,
    pub(super) bytes_out: u64,
}

impl Trace {
    /// For the way to another worker.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// From another worker.
    pub(super) fn decode(bytes: &[u8]) -> Option<Box<Self>> {
        serde_json::from_slice(bytes).ok()
    }

    fn age_ms(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.begun_us) / 1000
    }

    fn of_nothing(remote: String, begun_us: u64) -> Self {
        Self {
            remote,
            app: "-".to_owned(),
            method: "-".to_owned(),
            target: "-".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            fields: 0,
            head_bytes: 0,
            begun_us,
            traffic: Traffic::default(),
        }
    }
}

impl Core {
    /// A request has come; `app` will answer.
    pub(super) fn trace(&mut self, key: Key, request: &Request<'_>, head_bytes: usize, app: &str) {
        let begun_us = self.event_loop.wall_us();
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // It is ASCII.
        let target = request.target();
        let target = target.get(..TARGET_BYTES_MAX).unwrap_or(target);
        client.trace = Some(Box::new(Trace {
            app: app.to_owned(),
            method: request.method().to_owned(),
            target: target.to_owned(),
            protocol: match request.version() {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            }
            .to_owned(),
            fields: request.headers().len(),
            head_bytes,
            ..Trace::of_nothing(client.transport.peer(), begun_us)
        }));
    }

    /// A request was answered without a WebSocket.
    pub(super) fn request_answered(
        &mut self,
        key: Key,
        status: Status,
        fields: usize,
        bytes: usize,
    ) {
        self.figures.requests += 1;
        self.figures.refusals += u64::from(status.code() >= 400);
        if !self.settings.log_requests {
            return;
        }
        let now_us = self.event_loop.wall_us();
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // What cannot be read as a request has no trace.
        let trace = client
            .trace
            .take()
            .unwrap_or_else(|| Box::new(Trace::of_nothing(client.transport.peer(), now_us)));
        let what = What::Request {
            status: status.code(),
            fields,
            bytes,
            ms: trace.age_ms(now_us),
        };
        self.log(trace.begun_us, &trace, &what);
    }

    /// A WebSocket was opened.
    pub(super) fn conversation_begun(&mut self, key: Key) {
        self.figures.handshakes += 1;
        if let Some(trace) = self.clients.get(key).and_then(|c| c.trace.as_ref()) {
            self.log(trace.begun_us, trace, &What::Open);
        }
        if let Some(trace) = self.clients.get_mut(key).and_then(|c| c.trace.as_mut()) {
            trace.traffic = Traffic::default();
        }
    }

    /// A WebSocket has ended.
    pub(super) fn conversation_ended(&mut self, key: Key, closed: &Closed) {
        let code = closed.code.0;
        self.figures.count_close(code);
        let Some(trace) = self.clients.get_mut(key).and_then(|c| c.trace.take()) else {
            return;
        };
        let now_us = self.event_loop.wall_us();
        let what = What::Close {
            code,
            clean: closed.clean,
            ms: trace.age_ms(now_us),
        };
        self.log(now_us, &trace, &what);
    }

    fn log(&self, at_us: u64, trace: &Trace, what: &What) {
        if Level::Info > log::max_level() {
            return;
        }
        let of = |slot| {
            let figures = self.area.figures(slot);
            figures.requests + figures.handshakes
        };
        let ahead = self.figures.requests + self.figures.handshakes;
        let others = self.area.participants().map(|view| of(view.slot));
        let line = Line {
            trace,
            what,
            at_us,
            requests: of(self.participant.slot()) + ahead,
            requests_of_all: others.sum::<u64>() + ahead,
        };
        log::logger().log(
            &Record::builder()
                .target(TARGET)
                .level(Level::Info)
                .args(format_args!("{line}"))
                .key_values(&line)
                .build(),
        );
    }
}

/// A line of the log, which is written as text and as fields.
struct Line<'t> {
    trace: &'t Trace,
    what: &'t What,
    /// The time that its text shows.
    at_us: u64,
    /// Requests of this worker's slot, and of all.
    requests: u64,
    requests_of_all: u64,
}

/// What a line is about, and what only such a line says. Times are those since the request came.
enum What {
    /// A plain request was answered.
    Request {
        status: u16,
        fields: usize,
        bytes: usize,
        ms: u64,
    },
    /// A WebSocket was opened.
    Open,
    /// A WebSocket has ended.
    Close { code: u16, clean: bool, ms: u64 },
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = self.trace;
        write!(
            f,
            "[pid: {}|app: {}|req: {}/{}] {} () {{{} vars in {} bytes}} [{}] {} {} => ",
            std::process::id(),
            trace.app,
            self.requests,
            self.requests_of_all,
            trace.remote,
            trace.fields,
            trace.head_bytes,
            CTime(self.at_us / 1_000_000),
            trace.method,
            trace.target,
        )?;
        let protocol = &trace.protocol;
        match self.what {
            What::Request {
                status,
                fields,
                bytes,
                ms,
            } => write!(
                f,
                "generated {bytes} bytes in {ms} msecs ({protocol} {status}) \
                 {fields} headers (1 switches on core 0)",
            ),
            What::Open => write!(f, "opened websocket ({protocol} {SWITCHED})"),
            What::Close { code, ms, .. } => {
                let Traffic {
                    messages_in,
                    bytes_in,
                    messages_out,
                    bytes_out,
                } = trace.traffic;
                write!(
                    f,
                    "generated {bytes_out} bytes in {ms} msecs ({protocol} {SWITCHED}) \
                     closed {code}, {messages_in} messages in {bytes_in} bytes received, \
                     {messages_out} messages sent",
                )
            }
        }
    }
}

impl Source for Line<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let trace = self.trace;
        let mut say = |name, value| visitor.visit_pair(kv::Key::from_str(name), value);
        say("event", self.what.event().into())?;
        say("remote", trace.remote.as_str().into())?;
        say("app", trace.app.as_str().into())?;
        say("method", trace.method.as_str().into())?;
        say("uri", trace.target.as_str().into())?;
        say("protocol", trace.protocol.as_str().into())?;
        match self.what {
            What::Request {
                status, bytes, ms, ..
            } => {
                say("status", (*status).into())?;
                say("bytes", (*bytes).into())?;
                say("ms", (*ms).into())
            }
            What::Open => say("status", SWITCHED.into()),
            What::Close { code, clean, ms } => {
                say("code", (*code).into())?;
                say("clean", (*clean).into())?;
                say("ms", (*ms).into())?;
                say("messages_in", trace.traffic.messages_in.into())?;
                say("bytes_in", trace.traffic.bytes_in.into())?;
                say("messages_out", trace.traffic.messages_out.into())?;
                say("bytes_out", trace.traffic.bytes_out.into())
            }
        }
    }
}

impl What {
    fn event(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::Open => "open",
            Self::Close { .. } => "close",
        }
    }
}

/// A time of day as ctime(3) writes it, in UTC.
struct CTime(u64);

impl fmt::Display for CTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Years begin in March here, so that the day that may not be is the last one.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let year = era * 400 + year + u64::from(month >= 10);
        let name = |names: &[&'static str], at: u64| {
            let at = usize::try_from(at).unwrap_or(0) % names.len();
            names.get(at).copied().unwrap_or_default()
        };
        write!(
            f,
            "{} {} {day:>2} {:02}:{:02}:{:02} {year}",
            name(&DAYS, days % 7),
            name(&MONTHS, (month + 2) % 12),
            second / 3600,
            second / 60 % 60,
            second % 60,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_ctime() {
        for (seconds, text) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (951_868_799, "Tue Feb 29 23:59:59 2000"),
            (1_709_164_800, "Thu Feb 29 00:00:00 2024"),
            (4_107_542_400, "Mon Mar  1 00:00:00 2100"),
            (1_795_673_189, "Thu Nov 26 06:06:29 2026"),
            (1_798_761_599, "Thu Dec 31 23:59:59 2026"),
        ] {
            assert_eq!(CTime(seconds).to_string(), text);
        }
    }

    #[test]
    fn a_trace_travels() {
        let mut trace = Trace::of_nothing("1.2.3.4".to_owned(), 5);
        trace.traffic.bytes_in = 7;
        let there = Trace::decode(&trace.encode().unwrap()).unwrap();
        assert_eq!(
            (there.remote.as_str(), there.traffic.bytes_in),
            ("1.2.3.4", 7)
        );
        assert!(Trace::decode(b"{}").is_none());
    }
}
