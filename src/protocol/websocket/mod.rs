//! RFC 6455 and RFC 7692 for the server side: the opening handshake, and a connection as a pure state machine.
//!
//! It must not know sockets, clocks, channels or apps. Bytes that were read go into [`Connection::receive`], events come out, and what has to be
//! sent is appended to a vector that the caller owns. Timers (handshake, idle, close) belong to the caller.
//!
//! The one [`Codec`] of a worker holds what connections share: limits, scratch memory, and the deflate state of every client that agreed to
//! `no_context_takeover`. An idle [`Connection`] is a few words.
//!
//! ```
//! use bellwether::protocol::websocket::{Codec, Connection, DeflatePolicy, Event, Limits};
//!
//! let mut codec = Codec::new(Limits::default(), DeflatePolicy::default());
//! let mut connection = Connection::new(None);
//! let mut out = Vec::new();
//! // "hi" as a client sends it: masked, here with a mask of zeros.
//! let mut input = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
//! let step = connection.receive(&mut input, &mut codec, &mut out);
//! if let Some(Event::Message { kind, payload }) = step.event {
//!     connection.send(kind, &payload, &mut codec, &mut out)?;
//! }
//! assert_eq!(out, [0x81, 2, b'h', b'i']);
//! # Ok::<(), bellwether::protocol::websocket::Closing>(())
//! ```

mod assembly;
mod close;
mod codec;
mod connection;
mod deflate;
mod extension;
mod frame;
mod handshake;
mod inbound;
mod mask;
mod origin;
mod replay;
mod utf8;
mod violation;
mod window;

pub use close::{CloseCode, Closed};
pub use codec::{Codec, Limits};
pub use connection::{Closing, Connection, State};
pub use extension::{Agreed, DeflatePolicy, Offer, negotiate};
pub use frame::{FrameHeader, Kind, encode_frame, frame_header};
pub use handshake::{Refusal, Upgrade, read_upgrade, write_accept};
pub use inbound::{Event, Step};
pub use mask::apply_mask;
pub use origin::{OriginRule, OriginRuleError, origin_allowed};
pub use violation::Violation;
