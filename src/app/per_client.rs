//! Applications as an `async fn` for each client, run by the worker's own loop.
//!
//! A client's future is polled when a message for it has come, when it is gone, or when its waker
//! was called; it runs until it waits again. Its calls are collected and carried out right after
//! the poll, in their order. There is no runtime and no thread: a future that waits for anything
//! but its [`WebSocket`] must be woken from within the same worker.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};

use super::{Accept, App, ClientId, Context, Frozen, Message};
use crate::protocol::http::{Request, Status};
use crate::protocol::websocket::Closed;

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
}

/// One client, in the hands of its future.
#[derive(Debug)]
pub struct WebSocket {
    session: Rc<RefCell<Session>>,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl WebSocket {
    /// The path of the request, still percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands behind the `?`.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The first header of that name (in any case) in the request.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let named = |(other, _): &&(String, Vec<u8>)| other.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(named)
            .map(|(_, value)| value.as_slice())
    }

    /// Completes the opening handshake.
    ///
    /// # Errors
    /// [`Closed`] if the client has gone.
    #[expect(
        clippy::unused_async,
        reason = "an application may have to wait here one day"
    )]
    pub async fn handshake(&mut self, accept: Accept) -> Result<(), Closed> {
        self.call(Call::Accept(accept))?;
        self.session.borrow_mut().accepted = true;
        Ok(())
    }

    /// Refuses the opening handshake with an HTTP status and a line of text.
    ///
    /// # Errors
    /// [`Closed`] if the client has gone.
    pub fn reject(&mut self, status: Status, reason: &str) -> Result<(), Closed> {
        self.call(Call::Reject(status, reason.to_owned()))
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Closed`] when the connection is closing or gone, after all messages before that.
    pub async fn recv(&mut self) -> Result<Message<'static>, Closed> {
        poll_fn(|_| match self.recv_nb() {
            Ok(Some(message)) => Poll::Ready(Ok(message)),
            Ok(None) => Poll::Pending,
            Err(closed) => Poll::Ready(Err(closed)),
        })
        .await
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// See [`Self::recv`].
    pub fn recv_nb(&mut self) -> Result<Option<Message<'static>>, Closed> {
        let mut session = self.session.borrow_mut();
        match (session.inbox.pop_front(), &session.closed) {
            (Some(message), _) => Ok(Some(message)),
            (None, Some(closed)) => Err(closed.clone()),
            (None, None) => Ok(None),
        }
    }

    /// Sends a message, as text or binary by its kind. A client whose outbox is full is closed
    /// with 1013.
    ///
    /// # Errors
    /// [`Closed`] if the client has gone.
    pub fn send(&mut self, message: &Message<'_>) -> Result<(), Closed> {
        self.call(Call::Send(message.clone().into_owned()))
    }

    /// Starts the closing handshake; [`Self::recv`] still gives what comes before its end.
    ///
    /// # Errors
    /// [`Closed`] if the client has gone.
    pub fn close(&mut self, code: u16, reason: &str) -> Result<(), Closed> {
        self.call(Call::Close(code, reason.to_owned()))
    }

    /// From now on the client gets what is published in `channel`. A name that is none closes it
    /// with 1011.
    ///
    /// # Errors
    /// [`Closed`] if the client has gone.
    pub fn subscribe(&mut self, channel: &str) -> Result<(), Closed> {
        self.call(Call::Subscribe(channel.to_owned()))
    }

    /// From now on it does not.
    ///
    /// # Errors
    /// [`Closed`] if the client has gone.
    pub fn unsubscribe(&mut self, channel: &str) -> Result<(), Closed> {
        self.call(Call::Unsubscribe(channel.to_owned()))
    }

    /// Sends a message to every client of every worker that listens to `channel`; also once this
    /// client has gone. When the log does not take it, this client is closed with 1013 (1009 if it
    /// is too large).
    ///
    /// # Errors
    /// None so far: what is wrong closes the client.
    pub fn publish(&mut self, channel: &str, message: &Message<'_>) -> Result<(), Closed> {
        let call = Call::Publish(channel.to_owned(), message.clone().into_owned());
        self.session.borrow_mut().calls.push(call);
        Ok(())
    }

    fn call(&self, call: Call) -> Result<(), Closed> {
        let mut session = self.session.borrow_mut();
        match &session.closed {
            Some(closed) => Err(closed.clone()),
            None => {
                session.calls.push(call);
                Ok(())
            }
        }
    }
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
        } else if room {
            cx.resume(client);
        } else {
            cx.pause(client);
        }
    }
}

fn carry_out(cx: &mut Context<'_>, client: ClientId, call: Call) {
    use super::{PublishError, SendError};
    match call {
        Call::Accept(accept) => cx.accept(client, &accept),
        Call::Reject(status, reason) => cx.reject(client, status, &reason),
        Call::Send(message) => match cx.send(client, &message) {
            Ok(()) | Err(SendError::NotOpen) => {}
            Err(error @ SendError::Full) => cx.close(client, 1013, &error.to_string()),
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
        Call::Publish(channel, message) => match cx.publish(&channel, &message) {
            Ok(()) => {}
            Err(error @ PublishError::TooLarge { .. }) => {
                cx.close(client, 1009, &error.to_string());
            }
            Err(error @ (PublishError::Full | PublishError::WouldBlock)) => {
                cx.close(client, 1013, &error.to_string());
            }
            Err(error @ PublishError::Name(_)) => cx.close(client, 1011, &error.to_string()),
        },
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
