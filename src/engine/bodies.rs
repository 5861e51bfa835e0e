//! Plain requests: their bodies, if the app wants them, and its answers.

use crate::app::{AppId, BodyWish, Context};
use crate::event_loop::Key;
use crate::protocol::http::{BodyReader, Parsed, Request, parse_request};

use super::Engine;
use super::client::{Client, Gathering, Phase};
use super::core::Core;

/// RFC 9110 section 10.1.1: the client may send the body.
const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Engine {
    /// A plain request goes to its app, with its body if the app wants that. Returns how many bytes
    /// of `rest`, what stands behind its head, were used.
    pub(super) fn plain(
        &mut self,
        key: Key,
        request: &Request<'_>,
        head: &[u8],
        rest: &[u8],
    ) -> usize {
        let app = self.app_of(key, request);
        if !request.has_body() {
            self.answer(key, app, request, Some(&[]));
            return 0;
        }
        match self.apps.get_mut(app).body(request) {
            BodyWish::Unread => self.answer(key, app, request, None),
            BodyWish::Refused(response) => {
                let head_only = request.method() == "HEAD";
                self.core.respond(key, &response, false, head_only);
            }
            BodyWish::UpTo(bytes_max) => {
                return self.with_body(key, request, head, rest, bytes_max);
            }
        }
        0
    }

    /// Reads what has come of a body; the rest is awaited.
    fn with_body(
        &mut self,
        key: Key,
        request: &Request<'_>,
        head: &[u8],
        rest: &[u8],
        bytes_max: usize,
    ) -> usize {
        let mut body = Vec::new();
        let begun = BodyReader::new(request, bytes_max).and_then(|mut reader| {
            let read = reader.read(rest, &mut body)?;
            Ok((reader, read))
        });
        match begun {
            Ok((_, read)) if read.done => {
                let app = self.app_of(key, request);
                self.answer(key, app, request, Some(&body));
                read.consumed
            }
            Ok((reader, _)) => {
                let go_on = rest.is_empty() && request.expects_continue();
                let head = head.to_vec();
                let gathering = Box::new(Gathering { head, body, reader });
                self.core.await_body(key, gathering, go_on);
                rest.len()
            }
            Err(error) => {
                self.core
                    .refuse(key, error.status(), &error.to_string(), &[]);
                rest.len()
            }
        }
    }

    /// Takes bytes of a body that is awaited; returns how many were used.
    pub(super) fn feed_body(&mut self, key: Key, input: &[u8]) -> usize {
        let Some(Client {
            phase: Phase::Body(gathering),
            ..
        }) = self.core.clients.get_mut(key)
        else {
            return 0;
        };
        let read = match gathering.reader.read(input, &mut gathering.body) {
            Ok(read) if read.done => read,
            Ok(_) => return input.len(),
            Err(error) => {
                self.core
                    .refuse(key, error.status(), &error.to_string(), &[]);
                return input.len();
            }
        };
        let head = std::mem::take(&mut gathering.head);
        let body = std::mem::take(&mut gathering.body);
        let limits = self.core.settings.head;
        // It was parsed before, with the same limits.
        if let Ok(Parsed::Complete { value, .. }) = parse_request(&head, &limits) {
            let app = self.app_of(key, &value);
            self.answer(key, app, &value, Some(&body));
        }
        read.consumed
    }

    /// `body` is `None` when there is one that was not read: then the connection ends.
    fn answer(&mut self, key: Key, app: AppId, request: &Request<'_>, body: Option<&[u8]>) {
        let begun_us = self.core.event_loop.elapsed_us();
        let cx = &mut Context::new(&mut self.core);
        let response = self
            .apps
            .get_mut(app)
            .answer(cx, request, body.unwrap_or_default());
        let kept = self.core.settings.http_keepalive_ms > 0 && self.core.draining.is_none();
        // Requests can be much smaller than their answers: whoever does not take these gets no more.
        let takes = !self.core.is_full(key);
        let keep_alive = kept && takes && request.keep_alive() && body.is_some();
        self.core
            .respond(key, &response, keep_alive, request.method() == "HEAD");
        let ended_us = self.core.event_loop.elapsed_us();
        self.core.figures.request_us += ended_us.saturating_sub(begun_us);
    }
}

impl Core {
    /// Waits for the rest of a body, which has as much time as a head.
    fn await_body(&mut self, key: Key, gathering: Box<Gathering>, go_on: bool) {
        let deadline_ms = self.now_ms + self.settings.handshake_timeout_ms;
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if go_on {
            let out = self.output.sink(key, &mut client.outbox);
            out.extend_from_slice(GO_ON);
        }
        client.phase = Phase::Body(gathering);
        client.deadline_ms = deadline_ms;
        self.arm(key);
    }
}
