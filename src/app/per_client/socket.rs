//! One client in the hands of its future: what the future may do, collected as calls. It must not
//! know when futures are polled.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::task::Poll;

use super::{Call, Session};
use crate::app::{Accept, AreaRange, Message};
use crate::protocol::http::Status;
use crate::protocol::websocket::{Closed, Kind};
use crate::sharedarea::{Area, AreaError, SharedArea};

/// Why a range of an area was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AreaSendError {
    /// The client has gone.
    #[error("the client has gone")]
    Closed(Closed),
    /// The area or the range does not work.
    #[error(transparent)]
    Area(#[from] AreaError),
}

/// One client, in the hands of its future.
#[derive(Debug)]
pub struct WebSocket {
    pub(super) session: Rc<RefCell<Session>>,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) shared: SharedArea,
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

    /// The area of this number.
    ///
    /// # Errors
    /// [`AreaError::NoArea`].
    pub fn area(&self, area: u8) -> Result<Area, AreaError> {
        self.shared.area(area)
    }

    /// Sends a range of an area as a text message; an open end is the end of the area, or of what
    /// [`Area::used`] says.
    ///
    /// # Errors
    /// [`AreaSendError`]; nothing was sent then.
    pub fn send_from_area(
        &mut self,
        area: u8,
        range: impl RangeBounds<u64>,
    ) -> Result<(), AreaSendError> {
        self.send_range(area, &range, Kind::Text)
    }

    /// The same as a binary message.
    ///
    /// # Errors
    /// [`AreaSendError`]; nothing was sent then.
    pub fn send_binary_from_area(
        &mut self,
        area: u8,
        range: impl RangeBounds<u64>,
    ) -> Result<(), AreaSendError> {
        self.send_range(area, &range, Kind::Binary)
    }

    fn send_range(
        &self,
        area: u8,
        range: &impl RangeBounds<u64>,
        kind: Kind,
    ) -> Result<(), AreaSendError> {
        let range = self.check_range(area, range)?;
        self.call(Call::SendFromArea(range, kind))
            .map_err(AreaSendError::Closed)
    }

    /// Sends a range of an area to every client of every worker that listens to `channel`; see
    /// [`crate::app::Context::broadcast_from_area`].
    ///
    /// # Errors
    /// [`AreaError`]; nothing was sent then.
    pub fn broadcast_from_area(
        &mut self,
        area: u8,
        range: impl RangeBounds<u64>,
        channel: &str,
        kind: Kind,
    ) -> Result<(), AreaError> {
        let range = self.check_range(area, &range)?;
        let call = Call::BroadcastFromArea(range, channel.to_owned(), kind);
        self.session.borrow_mut().calls.push(call);
        Ok(())
    }

    /// Waits until an area has had an update that `last_seen` does not count; returns
    /// [`Area::updates`]. Nothing is missed by a caller that hands in what it got.
    ///
    /// # Errors
    /// [`AreaSendError`].
    pub async fn wait_area(&mut self, area: u8, last_seen: u64) -> Result<u64, AreaSendError> {
        let handle = self.shared.area(area)?;
        let updates = poll_fn(|_| {
            let mut session = self.session.borrow_mut();
            session.waits_for = None;
            if let Some(closed) = &session.closed {
                return Poll::Ready(Err(AreaSendError::Closed(closed.clone())));
            }
            let updates = handle.updates();
            if updates != last_seen {
                return Poll::Ready(Ok(updates));
            }
            session.waits_for = Some(area);
            session.calls.push(Call::WatchArea(area));
            Poll::Pending
        });
        updates.await
    }

    fn check_range(&self, area: u8, range: &impl RangeBounds<u64>) -> Result<AreaRange, AreaError> {
        let handle = self.shared.area(area)?;
        let position = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => Some(last.saturating_add(1)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        // A range that ends before it begins has no bytes.
        let bytes = end.map(|end| end.saturating_sub(position));
        handle.message_bytes(position, bytes)?;
        Ok(AreaRange {
            area,
            position,
            bytes,
        })
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
