//! The built-in app of the API's listeners: publishing by HTTP, status, metrics and health.
//!
//! Errors that it finds are JSON, `{"error": ".."}`; those of the request itself are the engine's and
//! plain text. It must not know which listeners are the API's.

use std::borrow::Cow;

use serde_json::json;

use super::{App, BodyWish, ClientId, Context, Message, PublishError, Published, Response};
use crate::channel::ChannelName;
use crate::config::{Config, Secret};
use crate::protocol::http::{Request, Status, decode_path};
use crate::status::{PROMETHEUS_TYPE, exposition};

/// A busy log is free again in microseconds, or when a slow client's frame has been copied.
const RETRY_AFTER_SECONDS: &str = "1";

/// Serves the API.
#[derive(Debug)]
pub struct Api {
    token: Option<Secret>,
    message_bytes_max: usize,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// A message for this channel.
    Publish(String),
    Status,
    Metrics,
    Health,
}

impl Api {
    /// The app as configured.
    pub fn new(config: &Config) -> Self {
        Self {
            token: config.api_token.clone(),
            message_bytes_max: config.message_bytes_max,
        }
    }

    /// What is asked for, by somebody who may.
    fn route(&self, request: &Request<'_>) -> Result<Route, Response> {
        // A page that a browser has loaded from anywhere reaches loopback addresses, too, but it
        // cannot know the token.
        if self.token.is_none() && request.header("origin").is_some() {
            let text = "pages in browsers may not ask here without a token (--api-token-file)";
            return Err(refusal(Status::FORBIDDEN, text));
        }
        let route = find(request);
        if !matches!(route, Ok(Route::Health)) && !self.is_authorized(request) {
            let refused = refusal(Status::UNAUTHORIZED, "the right bearer token is needed");
            return Err(refused.with("WWW-Authenticate", "Bearer realm=\"bellwether\""));
        }
        route
    }

    fn is_authorized(&self, request: &Request<'_>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = request.header("authorization").unwrap_or_default();
        let (scheme, credentials) = given.split_at_checked(7).unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"bearer ") && token.matches(credentials.trim_ascii())
    }
}

impl App for Api {
    fn name(&self) -> &'static str {
        "api"
    }

    fn upgrade(&mut self, cx: &mut Context<'_>, client: ClientId, _: &Request<'_>) {
        cx.reject(
            client,
            Status::NOT_FOUND,
            "there is no WebSocket on the API",
        );
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, _: Message<'_>) {
        cx.close(client, 1008, "there is no WebSocket on the API");
    }

    fn body(&mut self, request: &Request<'_>) -> BodyWish {
        match self.route(request) {
            Ok(Route::Publish(_)) => BodyWish::UpTo(self.message_bytes_max),
            Ok(Route::Status | Route::Metrics | Route::Health) => BodyWish::Unread,
            Err(refused) => BodyWish::Refused(refused),
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>, request: &Request<'_>, body: &[u8]) -> Response {
        match self.route(request) {
            Ok(Route::Publish(channel)) => publish(cx, &channel, request, body),
            Ok(Route::Status) => match serde_json::to_value(cx.status()) {
                Ok(status) => fresh(Response::json(Status::OK, &status)),
                Err(error) => refusal(Status::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
            Ok(Route::Metrics) => fresh(Response {
                status: Status::OK,
                headers: vec![("Content-Type", Cow::Borrowed(PROMETHEUS_TYPE))],
                body: exposition(&cx.status()).into_bytes().into(),
            }),
            Ok(Route::Health) => fresh(Response::json(Status::OK, &json!({"status": "ok"}))),
            Err(refused) => refused,
        }
    }
}

/// What the path leads to.
fn find(request: &Request<'_>) -> Result<Route, Response> {
    if let Some(name) = request.path().strip_prefix("/publish/") {
        if request.method() != "POST" {
            return Err(other_method("POST"));
        }
        let bad = |text: String| refusal(Status::BAD_REQUEST, &text);
        let name = decode_path(name).map_err(|error| bad(error.to_string()))?;
        let channel = ChannelName::parse(&name).map_err(|error| bad(error.to_string()))?;
        return Ok(Route::Publish(channel.as_str().to_owned()));
    }
    let route = match request.path() {
        "/status" => Route::Status,
        "/metrics" => Route::Metrics,
        "/healthz" => Route::Health,
        _ => {
            let text = "there are /publish/CHANNEL, /status, /metrics and /healthz";
            return Err(refusal(Status::NOT_FOUND, text));
        }
    };
    if matches!(request.method(), "GET" | "HEAD") {
        Ok(route)
    } else {
        Err(other_method("GET, HEAD"))
    }
}

fn publish(cx: &mut Context<'_>, channel: &str, request: &Request<'_>, body: &[u8]) -> Response {
    let message = if is_binary(request) {
        Message::binary(body)
    } else {
        match std::str::from_utf8(body) {
            Ok(text) => Message::text(text),
            Err(_) => {
                let text = "the message is not UTF-8; `?binary` or Content-Type: \
                            application/octet-stream publish it as it is";
                return refusal(Status::BAD_REQUEST, text);
            }
        }
    };
    match cx.publish_now(channel, &message) {
        Ok(published) => Response::json(Status::OK, &receipt(channel, published)),
        Err(error) => {
            let text = error.to_string();
            match error {
                PublishError::Name(_) | PublishError::Area(_) => {
                    refusal(Status::BAD_REQUEST, &text)
                }
                PublishError::TooLarge { .. } => refusal(Status::CONTENT_TOO_LARGE, &text),
                PublishError::WouldBlock | PublishError::Full => {
                    refusal(Status::TOO_MANY_REQUESTS, &text)
                        .with("Retry-After", RETRY_AFTER_SECONDS)
                }
            }
        }
    }
}

/// Where a message stands. The epoch is a name, not a number: programs that read numbers of JSON
/// as floating point would change it. A channel without a place in the table counts no offsets.
fn receipt(channel: &str, published: Published) -> serde_json::Value {
    let counted = published.offset > 0;
    json!({
        "channel": channel,
        "epoch": counted.then(|| format!("{:016x}", published.epoch)),
        "offset": counted.then_some(published.offset),
        "seq": published.seq,
    })
}

fn is_binary(request: &Request<'_>) -> bool {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    let asked = |pair: &str| matches!(pair, "binary" | "binary=1" | "binary=true");
    kind.trim_ascii()
        .eq_ignore_ascii_case(b"application/octet-stream")
        || request.query().split('&').any(asked)
}

fn refusal(status: Status, text: &str) -> Response {
    Response::json(status, &json!({ "error": text }))
}

fn other_method(allowed: &'static str) -> Response {
    refusal(
        Status::METHOD_NOT_ALLOWED,
        &format!("only {allowed} is understood here"),
    )
    .with("Allow", allowed)
}

/// Figures are old at once.
fn fresh(response: Response) -> Response {
    response.with("Cache-Control", "no-store")
}
