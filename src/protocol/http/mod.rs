//! HTTP/1 request heads and responses (RFC 9110, RFC 9112), as far as a WebSocket server needs them.
//!
//! A head is parsed by `httparse` and then judged: whatever two parsers on the same path could read in two ways is refused, because a
//! proxy in front of us is the second parser. Routing and time limits are not known here.
//!
//! ```
//! use bellwether::protocol::http::{Limits, Parsed, parse_request};
//!
//! let input = b"GET /news?since=1 HTTP/1.1\r\nHost: a.example\r\n\r\n";
//! let Parsed::Complete { value, consumed } = parse_request(input, &Limits::default())? else {
//!     unreachable!("the head is whole");
//! };
//! assert_eq!((value.path(), value.query(), consumed), ("/news", "since=1", input.len()));
//! # Ok::<(), bellwether::protocol::http::Error>(())
//! ```

mod body;
mod path;
mod request;
mod response;
mod rules;
mod status;

pub use body::{BodyError, BodyRead, BodyReader};
pub use path::{PathError, decode_path};
pub use request::{Header, Limits, Parsed, Request, Version, is_worth_parsing, parse_request};
pub use response::{Response, encode_response};
pub(crate) use response::{write_header, write_status_line};
pub use rules::Error;
pub(crate) use rules::{is_token_byte, list_members};
pub use status::Status;
