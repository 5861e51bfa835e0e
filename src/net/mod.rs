//! Listening sockets and the transports that come out of them.
//!
//! Blocked and ended are not errors here (see [`Progress`]). Nothing above the byte stream is
//! known: no HTTP, no WebSocket.

mod activation;
mod listener;
mod transport;

pub use crate::sys::socket::Progress;
pub use activation::{ActivationError, listeners as activated_listeners};
pub use listener::{BindError, ListenOptions, Listener};
pub use transport::{Purpose, Transport};
