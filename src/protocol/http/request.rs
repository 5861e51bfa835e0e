//! A request head out of a byte buffer: limits, parse, then the rules. It must not know routes or what an upgrade leads to.

use super::rules::{self, Body, Error, Target};

/// Limits of a request head; each has an option of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the first of the request line to the empty line, inclusive; 431 beyond.
    pub head_bytes_max: usize,
    /// Header lines; 431 beyond.
    pub headers_max: usize,
    /// Bytes of the request target; 414 beyond.
    pub target_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            target_bytes_max: 8 * 1024,
        }
    }
}

/// What a parser made of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// A whole value stood in the first `consumed` bytes.
    Complete {
        /// What was parsed.
        value: T,
        /// Bytes of the input that belong to it.
        consumed: usize,
    },
    /// More bytes are needed; nothing was wrong so far.
    Partial,
}

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// One header line; the value has no blanks around it and no control characters but tabs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'b> {
    /// As it was sent; compare without case.
    pub name: &'b str,
    /// Any bytes that are not control characters.
    pub value: &'b [u8],
}

/// A request head that satisfies every rule, borrowed from the buffer that it came in.
#[derive(Clone, Debug)]
pub struct Request<'b> {
    method: &'b str,
    target: &'b str,
    parts: Target<'b>,
    version: Version,
    headers: Vec<Header<'b>>,
    host: Option<&'b str>,
    body: Body,
}

impl<'b> Request<'b> {
    /// The method, as sent: methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The request target as sent.
    #[must_use]
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The path before `?`, not decoded; an absolute URL is reduced to its path. Starts with a slash, but for `OPTIONS *` and CONNECT (empty).
    #[must_use]
    pub fn path(&self) -> &'b str {
        self.parts.path
    }

    /// What follows the first `?`, not decoded; empty without one.
    #[must_use]
    pub fn query(&self) -> &'b str {
        self.parts.query
    }

    /// The version in the request line.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The host and port that the client meant: an absolute target's, else the Host header. `None` only in HTTP/1.0.
    #[must_use]
    pub fn host(&self) -> Option<&'b str> {
        self.parts.authority.or(self.host)
    }

    /// The value of the first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// The values of every header of that name, in order.
    pub fn header_values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        rules::values(&self.headers, name)
    }

    /// All headers, in the order in which they came.
    #[must_use]
    pub fn headers(&self) -> &[Header<'b>] {
        &self.headers
    }

    /// Whether a comma-separated list header has the token `token`, in any case, on any of its lines.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        rules::list_members(rules::values(&self.headers, name))
            .any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the connection persists after this request (RFC 9112 section 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        if self.has_token("connection", "close") {
            return false;
        }
        match self.version {
            Version::Http11 => true,
            Version::Http10 => self.has_token("connection", "keep-alive"),
        }
    }

    /// The Content-Length, if there is one. See also [`Request::is_chunked`].
    #[must_use]
    pub fn body_bytes(&self) -> Option<u64> {
        match self.body {
            Body::Length(bytes) => Some(bytes),
            Body::Absent | Body::Chunked => None,
        }
    }

    /// How the end of the body is found.
    pub(super) fn body(&self) -> Body {
        self.body
    }

    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && self.has_token("expect", "100-continue")
    }

    /// Whether a chunked body follows.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.body == Body::Chunked
    }

    /// Whether any byte of a body follows the head.
    #[must_use]
    pub fn has_body(&self) -> bool {
        match self.body {
            Body::Length(bytes) => bytes > 0,
            Body::Chunked => true,
            Body::Absent => false,
        }
    }

    /// Whether the client asks for a WebSocket in any form, right or wrong: `Upgrade: websocket`, or a key without it (a proxy that
    /// drops `Upgrade`). `websocket::read_upgrade` tells which.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.has_token("upgrade", "websocket") || self.header("sec-websocket-key").is_some()
    }
}

/// Parses the request head at the start of `input`; empty lines before it are skipped (RFC 9112 section 2.2).
///
/// A head that is not complete is checked as far as it goes: one that exceeds a limit or is malformed fails at once, however
/// its bytes were cut.
///
/// # Errors
/// See [`Error`]; each has a status to answer with.
pub fn parse_request<'b>(input: &'b [u8], limits: &Limits) -> Result<Parsed<Request<'b>>, Error> {
    // Bytes beyond the limit are never looked at, so that the verdict does not depend on how many came at once.
    let window = input.get(..limits.head_bytes_max).unwrap_or(input);
    check_target_length(window, limits)?;
    // The parser takes a bare LF for a line end; a proxy in front may not. Nothing behind one is read.
    let bare_line_feed = find_bare_line_feed(window);
    let window = bare_line_feed
        .and_then(|end| window.get(..end))
        .unwrap_or(window);

    let mut storage = Vec::with_capacity(limits.headers_max);
    let mut head = httparse::Request::new(&mut []);
    let parsed = head.parse_with_uninit_headers(window, storage.spare_capacity_mut());
    let consumed = match parsed {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) if bare_line_feed.is_some() => return Err(Error::LineEnd),
        Ok(httparse::Status::Partial) if input.len() >= limits.head_bytes_max => {
            return Err(Error::HeadTooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(grammar_error(error, window)),
    };
    let (Some(method), Some(target)) = (head.method, head.path) else {
        return Err(Error::RequestLine);
    };
    let version = match head.version {
        Some(0) => Version::Http10,
        Some(1) => Version::Http11,
        Some(_) | None => return Err(Error::Version),
    };
    let headers: Vec<Header<'b>> = head
        .headers
        .iter()
        .map(|header| Header {
            name: header.name,
            value: header.value,
        })
        .collect();
    let value = Request {
        method,
        target,
        parts: rules::split_target(method, target)?,
        version,
        host: rules::single_host(version, &headers)?,
        body: rules::body(version, &headers)?,
        headers,
    };
    Ok(Parsed::Complete { value, consumed })
}

/// Before the parser proper, so that a long target is 414 whatever follows it. A fault in front of it is left to the parser.
fn check_target_length(window: &[u8], limits: &Limits) -> Result<(), Error> {
    let line = skip_empty_lines(window);
    let Some(method_bytes) = line.iter().position(|byte| !rules::is_token_byte(*byte)) else {
        return Ok(());
    };
    let Some([b' ', rest @ ..]) = line.get(method_bytes..) else {
        return Ok(());
    };
    let is_end = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    let target_bytes = rest.iter().position(is_end).unwrap_or(rest.len());
    if method_bytes > 0 && target_bytes > limits.target_bytes_max {
        return Err(Error::TargetTooLong);
    }
    Ok(())
}

fn skip_empty_lines(mut window: &[u8]) -> &[u8] {
    while let Some(rest) = window.strip_prefix(b"\r\n") {
        window = rest;
    }
    window
}

fn find_bare_line_feed(window: &[u8]) -> Option<usize> {
    let mut previous = 0;
    window.iter().position(|&byte| {
        let is_bare = byte == b'\n' && previous != b'\r';
        previous = byte;
        is_bare
    })
}

fn grammar_error(error: httparse::Error, window: &[u8]) -> Error {
    match error {
        httparse::Error::TooManyHeaders => Error::TooManyHeaders,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Error::HeaderLine,
        httparse::Error::NewLine => Error::LineEnd,
        httparse::Error::Version if names_other_version(window) => Error::Version,
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => {
            Error::RequestLine
        }
    }
}

/// Whether the third word of the request line is `HTTP/` and a digit: another version rather than garbage.
fn names_other_version(window: &[u8]) -> bool {
    let line = skip_empty_lines(window);
    let version = line.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
    version
        .strip_prefix(b"HTTP/")
        .and_then(<[u8]>::first)
        .is_some_and(u8::is_ascii_digit)
}
