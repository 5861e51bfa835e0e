//! What a request head must satisfy beyond its grammar (RFC 9112 sections 3.2, 6.1, 6.3), and the errors with their statuses.
//!
//! Two readings of one head are how requests are smuggled past a proxy, so whatever can be read twice is refused, never repaired.

use super::Status;
use super::request::{Header, Version};

/// Why a request head is refused. `Display` says what is wrong, [`Error::status`] what to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request line is not `METHOD SP target SP version CRLF`.
    #[error("the request line is malformed")]
    RequestLine,
    /// A header line is not `name: value`, is folded, or has a byte that must not be in it.
    #[error("a header line is malformed")]
    HeaderLine,
    /// A line ends in LF without CR, or a CR stands alone.
    #[error("a line of the head does not end in CR LF")]
    LineEnd,
    /// The target is neither a path, nor an http or ws URL, nor the form that OPTIONS and CONNECT have for themselves.
    #[error("the request target is malformed")]
    Target,
    /// HTTP/1.1 without Host, or two of them, or one that is no host.
    #[error("the Host header is missing, repeated or malformed")]
    Host,
    /// A Content-Length that is no number, or more than one.
    #[error("the Content-Length header is malformed or repeated")]
    ContentLength,
    /// Content-Length beside Transfer-Encoding, or Transfer-Encoding in HTTP/1.0 or repeated.
    #[error("the length of the body is ambiguous")]
    AmbiguousBody,
    /// A transfer coding other than `chunked` alone.
    #[error("the transfer coding is not supported")]
    TransferCoding,
    /// The target has more bytes than `target_bytes_max`.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head has more bytes than `head_bytes_max`.
    #[error("the request head is too long")]
    HeadTooLong,
    /// The head has more header lines than `headers_max`.
    #[error("the request head has too many headers")]
    TooManyHeaders,
    /// A version of HTTP other than 1.0 and 1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
}

impl Error {
    /// The status to answer with. The connection cannot be used for another request after it.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::RequestLine
            | Self::HeaderLine
            | Self::LineEnd
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::AmbiguousBody => Status::BAD_REQUEST,
            Self::TransferCoding => Status::NOT_IMPLEMENTED,
            Self::TargetTooLong => Status::URI_TOO_LONG,
            Self::HeadTooLong | Self::TooManyHeaders => Status::HEADER_FIELDS_TOO_LARGE,
            Self::Version => Status::VERSION_NOT_SUPPORTED,
        }
    }
}

/// How the body's end is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Absent,
    Length(u64),
    Chunked,
}

/// The target, taken apart without decoding anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'b> {
    pub(super) path: &'b str,
    pub(super) query: &'b str,
    /// Of the absolute form; it overrules the Host header (RFC 9112 section 3.2.2).
    pub(super) authority: Option<&'b str>,
}

pub(super) fn split_target<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Error> {
    // Browsers and proxies escape everything else; raw bytes are read differently by different parsers.
    if !target.is_ascii() || target.contains('#') {
        return Err(Error::Target);
    }
    if method == "CONNECT" {
        return Ok(Target {
            path: "",
            query: "",
            authority: Some(target),
        });
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(Target {
            path: target,
            query: "",
            authority: None,
        });
    }
    let (authority, rest) = match strip_scheme(target) {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            if authority.is_empty() || !is_host(authority) {
                return Err(Error::Target);
            }
            (Some(authority), rest)
        }
        None if target.starts_with('/') => (None, target),
        None => return Err(Error::Target),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Target {
        path: if path.is_empty() { "/" } else { path },
        query,
        authority,
    })
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://", "ws://", "wss://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
}

/// The one Host that a head may have; `None` only in HTTP/1.0.
pub(super) fn single_host<'b>(
    version: Version,
    headers: &[Header<'b>],
) -> Result<Option<&'b str>, Error> {
    let mut hosts = values(headers, "host");
    let host = match (hosts.next(), version) {
        (Some(host), _) => host,
        (None, Version::Http10) => return Ok(None),
        (None, Version::Http11) => return Err(Error::Host),
    };
    if hosts.next().is_some() {
        return Err(Error::Host);
    }
    let host = std::str::from_utf8(host).map_err(|_| Error::Host)?;
    if is_host(host) {
        Ok(Some(host))
    } else {
        Err(Error::Host)
    }
}

/// `uri-host [":" port]` without being exact: no character that would end or change an authority. Empty is allowed.
fn is_host(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&byte))
}

pub(super) fn body(version: Version, headers: &[Header<'_>]) -> Result<Body, Error> {
    let mut lengths = values(headers, "content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Error::ContentLength);
    }
    let mut codings = values(headers, "transfer-encoding");
    let coding = codings.next();
    if codings.next().is_some() {
        return Err(Error::AmbiguousBody);
    }
    match (length, coding, version) {
        (None, None, _) => Ok(Body::Absent),
        (Some(length), None, _) => content_length(length).map(Body::Length),
        (None, Some(coding), Version::Http11) if coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Body::Chunked)
        }
        (None, Some(_), Version::Http11) => Err(Error::TransferCoding),
        (Some(_), Some(_), _) | (None, Some(_), Version::Http10) => Err(Error::AmbiguousBody),
    }
}

/// `1*DIGIT`: no sign, no list, no blanks; what does not fit 64 bits is malformed too.
fn content_length(value: &[u8]) -> Result<u64, Error> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Error::ContentLength);
    }
    let digits = std::str::from_utf8(value).map_err(|_| Error::ContentLength)?;
    digits.parse().map_err(|_| Error::ContentLength)
}

/// The values of every header of that name, in order.
pub(super) fn values<'h, 'b>(
    headers: &'h [Header<'b>],
    name: &'h str,
) -> impl Iterator<Item = &'b [u8]> + 'h {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// The members of comma-separated lists over all `values`, blanks cut, empty members left out (RFC 9110 section 5.6.1).
pub(crate) fn list_members<'b>(
    values: impl Iterator<Item = &'b [u8]>,
) -> impl Iterator<Item = &'b [u8]> {
    values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
