//! Request heads: plain requests answered, upgrades put before the app.

use crate::app::{AppId, Context, Response};
use crate::event_loop::Key;
use crate::net::Purpose;
use crate::protocol::http::{
    self, Parsed, Request, Status, encode_response, is_worth_parsing, parse_request,
};
use crate::protocol::websocket::{CloseCode, Upgrade, negotiate, origin_allowed, read_upgrade};

use super::Engine;
use super::client::{Client, Deciding, Marks, Phase};
use super::core::Core;

impl Engine {
    /// Takes bytes of a request head; returns how many were used.
    pub(super) fn feed_head(&mut self, key: Key, input: &[u8]) -> usize {
        let Some(Client {
            phase: Phase::Head(head),
            ..
        }) = self.core.clients.get_mut(key)
        else {
            return 0;
        };
        // What came before is put in front; mostly nothing did, and nothing is copied.
        let mut gathered = std::mem::take(head);
        let before = gathered.len();
        let bytes: &[u8] = if before == 0 {
            input
        } else {
            gathered.extend_from_slice(input);
            &gathered
        };
        let limits = self.core.settings.head;
        let parsed = if is_worth_parsing(bytes, before, &limits) {
            parse_request(bytes, &limits)
        } else {
            Ok(Parsed::Partial)
        };
        match parsed {
            Ok(Parsed::Complete { value, consumed }) => {
                let (head, rest) = bytes.split_at(consumed);
                let of_body = self.request(key, &value, head, rest);
                return (consumed + of_body).saturating_sub(before);
            }
            Ok(Parsed::Partial) => {}
            Err(error) => {
                self.core
                    .refuse(key, error.status(), &error.to_string(), &[]);
                return input.len();
            }
        }
        if before == 0 {
            gathered.extend_from_slice(input);
        }
        self.core.await_head(key, gathered, before == 0);
        input.len()
    }

    /// Acts on a request; returns how many bytes of `rest`, what stands behind its head, were used.
    fn request(&mut self, key: Key, request: &Request<'_>, head: &[u8], rest: &[u8]) -> usize {
        if self.core.settings.log_requests {
            let app = self.apps.name(self.app_of(key, request));
            self.core.trace(key, request, head.len(), app);
        }
        let draining = self.core.draining;
        if draining.is_some_and(|code| code != CloseCode::SERVICE_RESTART) {
            let headers = [("Retry-After", "1")];
            let text = "this server is going away";
            self.core
                .refuse(key, Status::SERVICE_UNAVAILABLE, text, &headers);
            return 0;
        }
        match read_upgrade(request) {
            Ok(Some(upgrade)) => self.upgrade(key, request, &upgrade),
            Ok(None) => return self.plain(key, request, head, rest),
            Err(refusal) => {
                let headers = refusal.headers();
                self.core
                    .refuse(key, refusal.status(), &refusal.to_string(), headers);
            }
        }
        0
    }

    /// The app of a request: that of its path, or the API for those who came to it.
    pub(super) fn app_of(&self, key: Key, request: &Request<'_>) -> AppId {
        let client = self.core.clients.get(key);
        if client.is_some_and(|client| client.transport.purpose() == Purpose::Api) {
            self.apps.api()
        } else {
            self.apps.route(request.path())
        }
    }

    fn upgrade(&mut self, key: Key, request: &Request<'_>, upgrade: &Upgrade<'_>) {
        let app = self.app_of(key, request);
        let core = &mut self.core;
        if !origin_allowed(upgrade.origin, upgrade.host, &core.settings.origins) {
            let text = "this origin may not connect (--origin)";
            return core.refuse(key, Status::FORBIDDEN, text, &[]);
        }
        let deciding = Deciding {
            key: upgrade.key.to_owned(),
            subprotocols: upgrade
                .subprotocols
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            deflate: negotiate(&upgrade.offers, &core.settings.deflate),
            unread: Vec::new(),
        };
        if let Some(client) = core.clients.get_mut(key) {
            client.phase = Phase::Deciding(Box::new(deciding));
            client.app = Some(app);
            self.apps
                .get_mut(app)
                .upgrade(&mut Context::new(core), key, request);
            self.settle();
        }
    }
}

impl Core {
    /// Keeps the beginning of a head. The next request of a kept-alive connection has its own time.
    fn await_head(&mut self, key: Key, kept: Vec<u8>, first: bool) {
        let deadline_ms = self.now_ms + self.settings.handshake_timeout_ms;
        if let Some(client) = self.clients.get_mut(key)
            && let Phase::Head(head) = &mut client.phase
        {
            *head = kept;
            if first && client.marks.contains(Marks::SERVED) {
                client.deadline_ms = deadline_ms;
                self.arm(key);
            }
        }
    }

    /// Answers with an error and ends the connection.
    pub(super) fn refuse(
        &mut self,
        key: Key,
        status: Status,
        text: &str,
        headers: &[(&'static str, &'static str)],
    ) {
        let mut response = Response::text(status, format!("{text}\n"));
        for (name, value) in headers {
            response = response.with(name, *value);
        }
        self.respond(key, &response, false, false);
    }

    /// Writes a response; the connection goes on with the next head, or ends after it.
    pub(super) fn respond(
        &mut self,
        key: Key,
        response: &Response,
        keep_alive: bool,
        head_only: bool,
    ) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let headers: Vec<(&str, &str)> = response
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_ref()))
            .collect();
        let out = self.output.sink(key, &mut client.outbox);
        let response = http::Response {
            status: response.status,
            headers: &headers,
            body: &response.body,
            keep_alive,
            head_only,
        };
        let before = out.len();
        encode_response(&response, out);
        let bytes = out.len() - before;
        client.marks.insert(Marks::SERVED);
        let status = response.status;
        self.request_answered(key, status, headers.len(), bytes);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if keep_alive {
            client.phase = Phase::Head(Vec::new());
            client.deadline_ms = self.now_ms + self.settings.http_keepalive_ms;
            self.arm(key);
        } else {
            self.linger(key);
        }
    }
}
