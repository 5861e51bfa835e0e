//! What an application is, and the built-in ones.
//!
//! An [`App`] is told what happens to its clients and answers through a [`Context`], at once or in
//! a later call. It keeps no stack between calls. [`per_client`] turns an `async fn` that serves
//! one client into an `App`. Nothing here knows sockets, the log or the loop: the engine stands
//! behind [`Operations`].

mod api;
mod apps;
mod channels;
mod context;
mod echo;
mod per_client;

use std::borrow::Cow;

use crate::protocol::http::{Request, Status};
use crate::protocol::websocket::{Closed, Kind};

pub use crate::event_loop::Key as ClientId;
pub use crate::sharedarea::Published;
pub use api::Api;
pub use apps::{AppId, Apps, UnknownApp};
pub use channels::Channels;
pub use context::{Accept, AreaRange, Context, Operations, PublishError, SendError};
pub use echo::Echo;
pub use per_client::{AreaSendError, PerClient, WebSocket, per_client};

/// A whole text or binary message. The payload of a text message is UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: Kind,
    /// The bytes, unmasked and inflated.
    pub payload: Cow<'a, [u8]>,
}

impl<'a> Message<'a> {
    /// A text message.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        let payload = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self {
            kind: Kind::Text,
            payload,
        }
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            kind: Kind::Binary,
            payload: bytes.into(),
        }
    }

    /// The text of a text message; `None` for a binary one.
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => std::str::from_utf8(&self.payload).ok(),
            Kind::Binary => None,
        }
    }

    /// The same message with bytes of its own.
    pub fn into_owned(self) -> Message<'static> {
        Message {
            kind: self.kind,
            payload: Cow::Owned(self.payload.into_owned()),
        }
    }
}

/// The answer to a plain HTTP request.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// Headers besides Content-Length and Connection.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; left out by the engine when the request was HEAD.
    pub body: Cow<'static, [u8]>,
}

impl Response {
    /// A status with a line of text that says what is the matter.
    pub fn text(status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        let body = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        let headers = vec![("Content-Type", Cow::Borrowed("text/plain; charset=utf-8"))];
        Self {
            status,
            headers,
            body,
        }
    }

    /// A JSON document, with a line feed behind it.
    pub fn json(status: Status, document: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", Cow::Borrowed("application/json"))],
            body: format!("{document}\n").into_bytes().into(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What is done with the body of a plain request before the app answers.
#[derive(Debug, Clone)]
pub enum BodyWish {
    /// It is not read: the app answers at once, and the connection ends with the answer.
    Unread,
    /// It is read whole if it has at most so many bytes (413 if more), and given to the app.
    UpTo(usize),
    /// This is the answer, whatever the body is.
    Refused(Response),
}

/// What an application keeps of a client that is to move to another worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frozen {
    /// Nothing: it can move.
    Stateless,
    /// This, which the other worker's instance will be given by [`App::thaw`].
    State(Vec<u8>),
    /// More than can be written down: it stays, and is closed when its worker leaves.
    Stays,
}

/// An application: callbacks for what happens to its clients.
///
/// Every worker has an instance of its own, made by `fork`; instances share nothing but what they
/// publish. A panic ends the worker.
pub trait App {
    /// The name by which `--app` and `--mount` choose it.
    fn name(&self) -> &'static str;

    /// A client asks for a WebSocket. Answer with [`Context::accept`] or [`Context::reject`], now
    /// or later; until then nothing more is read from it.
    fn upgrade(&mut self, cx: &mut Context<'_>, client: ClientId, request: &Request<'_>) {
        let _: &Request<'_> = request;
        cx.accept(client, &Accept::default());
    }

    /// The opening handshake is done.
    fn open(&mut self, cx: &mut Context<'_>, client: ClientId) {
        let _: (&Context<'_>, ClientId) = (cx, client);
    }

    /// A message has come.
    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, message: Message<'_>);

    /// The worker is to be left. The default closes with `code`, which is 1001 when the server
    /// stops and 1012 when it restarts. A client that is still open when a stop overtakes a restart
    /// is told of again.
    fn drain(&mut self, cx: &mut Context<'_>, client: ClientId, code: u16) {
        cx.close(client, code, "");
    }

    /// The connection is closing or gone, for whatever reason: told once for every client that
    /// [`Self::open`] was told about, and for those that went while their upgrade was undecided.
    fn close(&mut self, cx: &mut Context<'_>, client: ClientId, closed: &Closed) {
        let _: (&Context<'_>, ClientId, &Closed) = (cx, client, closed);
    }

    /// A client is about to move to another worker, at a reload say; it may still come back. The
    /// default has nothing to keep.
    fn freeze(&mut self, client: ClientId) -> Frozen {
        let _: ClientId = client;
        Frozen::Stateless
    }

    /// A client has come from another worker's instance, which kept this of it. It may still have
    /// to go back ([`Self::moved`]), so nothing must be said to it yet.
    fn thaw(&mut self, cx: &mut Context<'_>, client: ClientId, state: &[u8]) {
        let _: (&Context<'_>, ClientId, &[u8]) = (cx, client, state);
    }

    /// A client has moved to another worker, or back to where it came from: forget it.
    fn moved(&mut self, client: ClientId) {
        let _: ClientId = client;
    }

    /// A plain HTTP request, whose body is of no interest. The default says that there is nothing but a WebSocket here.
    fn request(&mut self, request: &Request<'_>) -> Response {
        let _: &Request<'_> = request;
        Response::text(
            Status::UPGRADE_REQUIRED,
            "this address speaks WebSocket only\n",
        )
        .with("Upgrade", "websocket")
    }

    /// A plain HTTP request has a body. The default does not read it.
    fn body(&mut self, request: &Request<'_>) -> BodyWish {
        let _: &Request<'_> = request;
        BodyWish::Unread
    }

    /// A plain HTTP request with its body, which is empty where [`Self::body`] did not ask for it.
    /// The default has no use for bodies and asks [`Self::request`].
    fn answer(&mut self, cx: &mut Context<'_>, request: &Request<'_>, body: &[u8]) -> Response {
        let _: (&Context<'_>, &[u8]) = (cx, body);
        self.request(request)
    }

    /// An area that [`Context::watch_area`] was called for has been updated; several updates may be told
    /// as one.
    fn area_updated(&mut self, cx: &mut Context<'_>, area: u8, updates: u64) {
        let _: (&Context<'_>, u8, u64) = (cx, area, updates);
    }

    /// A turn of the loop is about to end. `true` asks for another one without waiting;
    /// [`Context::wake_at`] asks for one at a time.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let _: &Context<'_> = cx;
        false
    }
}
