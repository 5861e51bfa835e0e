//! The engine with real sockets but in one thread: the test pumps its turns.

mod alternates;
mod api;
mod areas;
mod edges;
mod handover;
mod http;
mod joining;
mod limits;
mod log;
pub(crate) mod rig;
mod scribbled;
mod wake;
mod websocket;
