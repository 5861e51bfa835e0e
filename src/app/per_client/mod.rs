//! Applications as an `async fn` for each client, run by the worker's own loop.
//!
//! A client's future is polled when a message for it has come, when it is gone, or when its waker
//! was called; it runs until it waits again. Its calls are collected and carried out right after
//! the poll, in their order. There is no runtime and no thread: a future that waits for anything
//! but its [`WebSocket`] must be woken from within the same worker.

mod socket;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use super::{Accept, App, AreaRange, ClientId, Context, Frozen, Message};
use crate::protocol::http::{Request, Status};
use crate::protocol::websocket::{Closed, Kind};
use crate::sharedarea::AreaError;

pub use socket::{AreaSendError, WebSocket};

/// With so many messages unread by its future a client is not read from any more.
const INBOX_MESSAGES_MAX: usize = 64;

/// Makes an application of an `async fn` that serves one client.
///
/// ```no_run
/// use bellwether::app::{self, Accept, WebSocket};
/// use bellwether::protocol::websocket::Closed;
///
/// async fn echo(mut ws: WebSocket) -> Result<(), Closed> {
///     ws.handshake(Accept::default()).await?;
///     loop {
///         let message = ws.recv().await?;
///         ws.send(&message)?;
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     bellwether::main(app::per_client(echo))
/// }
/// ```
///
/// When the future ends, its client is closed with 1000, or refused with 403 if it was never
/// accepted.
pub fn per_client<F, Served>(serve: F) -> PerClient
where
    F: Fn(WebSocket) -> Served + 'static,
    Served: Future<Output = Result<(), Closed>> + 'static,
{
    PerClient {
        serve: Box::new(move |socket| Box::pin(serve(socket))),
        tasks: HashMap::new(),
        woken: Woken::default(),
    }
}

type Served = Pin<Box<dyn Future<Output = Result<(), Closed>>>>;
type Woken = Arc<Mutex<Vec<ClientId>>>;

/// An application made by [`per_client`].
pub struct PerClient {
    serve: Box<dyn Fn(WebSocket) -> Served>,
    tasks: HashMap<ClientId, Task>,
    woken: Woken,
}

impl std::fmt::Debug for PerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerClient")
            .field("clients", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

struct Task {
    future: Served,
    session: Rc<RefCell<Session>>,
    waker: Waker,
}

struct TaskWaker {
    client: ClientId,
    woken: Woken,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.client);
    }
}

/// What the future and the application share about one client.
#[derive(Debug, Default)]
struct Session {
    inbox: VecDeque<Message<'static>>,
    calls: Vec<Call>,
    accepted: bool,
    closed: Option<Closed>,
    /// It waits until this area is updated.
    waits_for: Option<u8>,
}

#[derive(Debug)]
enum Call {
    Accept(Accept),
    Reject(Status, String),
    Send(Message<'static>),
    Close(u16, String),
    Subscribe(String),
    Unsubscribe(String),
    Publish(String, Message<'static>),
    SendFromArea(AreaRange, Kind),
    BroadcastFromArea(AreaRange, String, Kind),
    WatchArea(u8),
}

impl PerClient {
    /// Lets a client's future go on, carries out what it asks for, and ends it when it is over.
    fn poll(&mut self, cx: &mut Context<'_>, client: ClientId) {
        let Some(task) = self.tasks.get_mut(&client) else {
            return;
        };
        let mut waiting = std::task::Context::from_waker(&task.waker);
        let over = task.future.as_mut().poll(&mut waiting).is_ready();
        let (calls, accepted, room) = {
            let mut session = task.session.borrow_mut();
            let room = session.inbox.len() < INBOX_MESSAGES_MAX;
            (std::mem::take(&mut session.calls), session.accepted, room)
        };
        let rejected = calls.iter().any(|call| matches!(call, Call::Reject(..)));
        for call in calls {
            carry_out(cx, client, call);
        }
        if over {
            self.tasks.remove(&client);
            if accepted {
                cx.close(client, 1000, "");
            } else if !rejected {
                cx.reject(client, Status::FORBIDDEN, "the application did not accept");
            }
        } else if rejected && !accepted {
            // Nothing more will be told about it, so its future would wait for ever.
            self.tasks.remove(&client);
        } else if room {
            cx.resume(client);
        } else {
            cx.pause(client);
        }
    }
}

fn carry_out(cx: &mut Context<'_>, client: ClientId, call: Call) {
    use super::SendError;
    match call {
        Call::Accept(accept) => cx.accept(client, &accept),
        Call::Reject(status, reason) => cx.reject(client, status, &reason),
        Call::Send(message) => match cx.send(client, &message) {
            Ok(()) | Err(SendError::NotOpen) => {}
            Err(error @ SendError::Full) => cx.close(client, 1013, &error.to_string()),
            Err(error @ SendError::Area(_)) => cx.close(client, 1011, &error.to_string()),
        },
        Call::Close(code, reason) => cx.close(client, code, &reason),
        Call::Subscribe(channel) => {
            if let Err(error) = cx.subscribe(client, &channel) {
                cx.close(client, 1011, &error.to_string());
            }
        }
        Call::Unsubscribe(channel) => {
            if let Err(error) = cx.unsubscribe(client, &channel) {
                cx.close(client, 1011, &error.to_string());
            }
        }
        Call::Publish(channel, message) => {
            let published = cx.publish(&channel, &message);
            published.unwrap_or_else(|error| not_published(cx, client, &error));
        }
        Call::SendFromArea(range, kind) => {
            let AreaRange {
                area,
                position,
                bytes,
            } = range;
            match cx.send_from_area(client, area, position, bytes, kind) {
                Ok(()) | Err(SendError::NotOpen) => {}
                Err(error @ SendError::Full) => cx.close(client, 1013, &error.to_string()),
                // It was right when it was asked for, and no harm is done.
                Err(SendError::Area(error)) => log::warn!("area {area} was not sent: {error}"),
            }
        }
        Call::BroadcastFromArea(range, channel, kind) => {
            let AreaRange {
                area,
                position,
                bytes,
            } = range;
            let published = cx.broadcast_from_area(area, position, bytes, &channel, kind);
            published.unwrap_or_else(|error| not_published(cx, client, &error));
        }
        Call::WatchArea(area) => {
            if let Err(error) = cx.watch_area(area, true) {
                log::warn!("area {area} cannot be watched: {error}");
            }
        }
    }
}

fn not_published(cx: &mut Context<'_>, client: ClientId, error: &super::PublishError) {
    use super::PublishError;
    match error {
        PublishError::TooLarge { .. } => cx.close(client, 1009, &error.to_string()),
        PublishError::Full | PublishError::WouldBlock => {
            cx.close(client, 1013, &error.to_string());
        }
        PublishError::Name(_) => cx.close(client, 1011, &error.to_string()),
        PublishError::Area(error) => log::warn!("a range was not announced: {error}"),
    }
}

impl App for PerClient {
    fn name(&self) -> &'static str {
        "per-client"
    }

    fn upgrade(&mut self, cx: &mut Context<'_>, client: ClientId, request: &Request<'_>) {
        let session = Rc::new(RefCell::new(Session::default()));
        let header = |header: &crate::protocol::http::Header<'_>| {
            (header.name.to_owned(), header.value.to_vec())
        };
        let socket = WebSocket {
            session: Rc::clone(&session),
            path: request.path().to_owned(),
            query: request.query().to_owned(),
            headers: request.headers().iter().map(header).collect(),
            shared: cx.shared_area().clone(),
        };
        let waker = Waker::from(Arc::new(TaskWaker {
            client,
            woken: Arc::clone(&self.woken),
        }));
        let task = Task {
            future: (self.serve)(socket),
            session,
            waker,
        };
        self.tasks.insert(client, task);
        self.poll(cx, client);
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, message: Message<'_>) {
        if let Some(task) = self.tasks.get(&client) {
            task.session
                .borrow_mut()
                .inbox
                .push_back(message.into_owned());
            self.poll(cx, client);
        }
    }

    fn close(&mut self, cx: &mut Context<'_>, client: ClientId, closed: &Closed) {
        if let Some(task) = self.tasks.get(&client) {
            task.session.borrow_mut().closed = Some(closed.clone());
            self.poll(cx, client);
            // A future that does not listen is over all the same: its client is gone.
            self.tasks.remove(&client);
        }
    }

    /// Its state is on the stack of its future.
    fn freeze(&mut self, _: ClientId) -> Frozen {
        Frozen::Stays
    }

    fn area_updated(&mut self, cx: &mut Context<'_>, area: u8, _: u64) {
        let waits = |task: &Task| task.session.borrow().waits_for == Some(area);
        let waiting: Vec<ClientId> = self
            .tasks
            .iter()
            .filter_map(|(client, task)| waits(task).then_some(*client))
            .collect();
        for client in waiting {
            self.poll(cx, client);
        }
        if !self.tasks.values().any(waits) {
            // Known to exist, since it was watched.
            let _known: Result<(), AreaError> = cx.watch_area(area, false);
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let woken = std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
        for client in woken {
            self.poll(cx, client);
        }
        !self
            .woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}
