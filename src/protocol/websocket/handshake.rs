//! The opening handshake (RFC 6455 section 4.2): a request head in, an upgrade or a refusal out, and the 101. It must not know paths,
//! apps, or what the origin rules of this server are.

use std::str;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

use super::extension::{Agreed, Offer, parse_offers};
use crate::protocol::http::{
    Request, Status, Version, is_token_byte, list_members, write_header, write_status_line,
};

/// What the key is hashed with (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// 16 bytes in base64.
const KEY_CHARACTERS: usize = 24;
/// Some clients fill the last character's spare bits with anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A request for a WebSocket that can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// `Sec-WebSocket-Key` as sent; it decodes to 16 bytes.
    pub key: &'b str,
    /// The subprotocols offered, in the client's order of preference.
    pub subprotocols: Vec<&'b str>,
    /// `Origin`; browsers always send one.
    pub origin: Option<&'b str>,
    /// The host and port that the client meant.
    pub host: Option<&'b str>,
    /// The usable offers of permessage-deflate, in order, for [`negotiate`](super::negotiate).
    pub offers: Vec<Offer>,
}

/// Why a request for a WebSocket is refused. `Display` says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A method other than GET.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// A request body.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// A key, but no `Upgrade: websocket`.
    #[error("Upgrade: websocket is missing; does a proxy drop it?")]
    NotUpgraded,
    /// Several Upgrade headers that disagree.
    #[error("the Upgrade headers conflict")]
    UpgradeConflict,
    /// HTTP/1.1 that names in Connection neither `Upgrade` nor `close`.
    #[error("Connection does not name Upgrade; does a proxy drop it?")]
    Connection,
    /// Several version headers that disagree.
    #[error("the Sec-WebSocket-Version headers conflict")]
    VersionConflict,
    /// A version other than 13, or none.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// No key, several, or one that is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// A subprotocol that is no token.
    #[error("Sec-WebSocket-Protocol is malformed")]
    Subprotocol,
    /// An Origin that is no text, or several.
    #[error("the Origin header is malformed or repeated")]
    Origin,
}

impl Refusal {
    /// The status to answer with.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Method => Status::METHOD_NOT_ALLOWED,
            Self::Body => Status::CONTENT_TOO_LARGE,
            Self::NotUpgraded | Self::Version => Status::UPGRADE_REQUIRED,
            Self::UpgradeConflict
            | Self::Connection
            | Self::VersionConflict
            | Self::Key
            | Self::Subprotocol
            | Self::Origin => Status::BAD_REQUEST,
        }
    }

    /// Headers that belong to that status.
    #[must_use]
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::NotUpgraded | Self::Version => {
                &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            }
            Self::Body
            | Self::UpgradeConflict
            | Self::Connection
            | Self::VersionConflict
            | Self::Key
            | Self::Subprotocol
            | Self::Origin => &[],
        }
    }
}

/// Reads the upgrade that `request` asks for; `None` if it asks for no WebSocket.
///
/// `Connection: close`, and HTTP/1.0 with any Connection, pass where everything else is right, because uWSGI's router speaks so.
///
/// # Errors
/// See [`Refusal`]; each has a status and headers to answer with.
pub fn read_upgrade<'b>(request: &Request<'b>) -> Result<Option<Upgrade<'b>>, Refusal> {
    if !request.is_upgrade() {
        return Ok(None);
    }
    if request.method() != "GET" {
        return Err(Refusal::Method);
    }
    if request.has_body() {
        return Err(Refusal::Body);
    }
    if !request.has_token("upgrade", "websocket") {
        return Err(Refusal::NotUpgraded);
    }
    agreeing(request, "upgrade").map_err(|Disagree| Refusal::UpgradeConflict)?;
    let names_upgrade = ["upgrade", "close"]
        .iter()
        .any(|token| request.has_token("connection", token));
    if !names_upgrade && request.version() != Version::Http10 {
        return Err(Refusal::Connection);
    }
    match agreeing(request, "sec-websocket-version") {
        Ok(Some(b"13")) => {}
        Ok(_) => return Err(Refusal::Version),
        Err(Disagree) => return Err(Refusal::VersionConflict),
    }
    let key = single(request, "sec-websocket-key")
        .ok()
        .flatten()
        .filter(|key| is_key(key));
    let extensions = request.header_values("sec-websocket-extensions");
    Ok(Some(Upgrade {
        key: key.ok_or(Refusal::Key)?,
        subprotocols: read_subprotocols(request)?,
        origin: single(request, "origin").map_err(|Disagree| Refusal::Origin)?,
        host: request.host(),
        offers: extensions
            .filter_map(|value| str::from_utf8(value).ok())
            .flat_map(parse_offers)
            .collect(),
    }))
}

/// Several headers of one name that do not say the same, or one that is no text.
struct Disagree;

/// The value that all headers of a name agree on.
fn agreeing<'b>(request: &Request<'b>, name: &str) -> Result<Option<&'b [u8]>, Disagree> {
    let mut values = request.header_values(name);
    let first = values.next();
    if values.all(|value| first.is_some_and(|first| first.eq_ignore_ascii_case(value))) {
        Ok(first)
    } else {
        Err(Disagree)
    }
}

/// The one header of a name.
fn single<'b>(request: &Request<'b>, name: &str) -> Result<Option<&'b str>, Disagree> {
    let mut values = request.header_values(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(Disagree);
    }
    first.map(str::from_utf8).transpose().map_err(|_| Disagree)
}

fn is_key(key: &str) -> bool {
    let mut decoded = [0; 18];
    key.len() == KEY_CHARACTERS && BASE64.decode_slice(key, &mut decoded) == Ok(16)
}

fn read_subprotocols<'b>(request: &Request<'b>) -> Result<Vec<&'b str>, Refusal> {
    list_members(request.header_values("sec-websocket-protocol"))
        .map(|member| {
            str::from_utf8(member)
                .ok()
                .filter(|name| name.bytes().all(is_token_byte))
                .ok_or(Refusal::Subprotocol)
        })
        .collect()
}

/// Appends the 101 that accepts `upgrade`.
///
/// A `subprotocol` that the client did not offer is left out: the client would have to fail the connection (section 4.2.2).
pub fn write_accept(
    upgrade: &Upgrade<'_>,
    subprotocol: Option<&str>,
    deflate: Option<&Agreed>,
    out: &mut Vec<u8>,
) {
    out.reserve(256);
    write_status_line(Status::SWITCHING_PROTOCOLS, out);
    write_header("Upgrade", "websocket", out);
    write_header("Connection", "Upgrade", out);
    write_header("Sec-WebSocket-Accept", &accept_value(upgrade.key), out);
    if let Some(name) = subprotocol.filter(|name| upgrade.subprotocols.contains(name)) {
        write_header("Sec-WebSocket-Protocol", name, out);
    }
    if let Some(agreed) = deflate {
        out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
        agreed.write(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Section 4.2.2: the hash that proves that the key was read.
fn accept_value(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    BASE64.encode(hash.finalize())
}
