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

/// Whether parsing may tell something new of a head whose first `before` bytes were [`Parsed::Partial`]: it has ended since, a
/// limit is reached, or its length has got another binary digit, so that what is no HTTP is refused soon.
///
/// So a head that comes byte by byte is parsed a few times, and not once a byte.
#[must_use]
pub fn is_worth_parsing(input: &[u8], before: usize, limits: &Limits) -> bool {
    let since = |overlap| {
        input
            .get(before.saturating_sub(overlap)..)
            .unwrap_or_default()
    };
    // Empty lines in front of a head do not end it.
    let is_end = |bytes: &[u8]| bytes[0] != b'\n' && bytes.ends_with(b"\r\n\r\n");
    let is_fault = |bytes: &[u8]| bytes[0] != b'\r' && bytes[1] == b'\n';
    before.checked_ilog2() != input.len().checked_ilog2()
        || input.len() >= limits.head_bytes_max
        || since(4).windows(5).any(is_end)
        || since(1).windows(2).any(is_fault)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of a head that comes in these pieces: the verdict, after how many bytes, and how often it was parsed.
    fn piecewise<'b>(input: &[u8], pieces: impl Iterator<Item = &'b [u8]>) -> (String, usize, u32) {
        let limits = Limits::default();
        let (mut end, mut parsed) = (0, 0);
        for piece in pieces {
            let before = end;
            end += piece.len();
            if !is_worth_parsing(&input[..end], before, &limits) {
                continue;
            }
            parsed += 1;
            match parse_request(&input[..end], &limits) {
                Ok(Parsed::Partial) => {}
                Ok(Parsed::Complete { value, consumed }) => {
                    return (format!("{value:?} in {consumed}"), end, parsed);
                }
                Err(error) => return (format!("{error:?}"), end, parsed),
            }
        }
        ("partial".to_owned(), end, parsed)
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_parsed_a_few_times() {
        let host = "GET / HTTP/1.1\r\nHost: x\r\n";
        let many = "A: b\r\n".repeat(90);
        let long = "x".repeat(10_000);
        for (input, verdict) in [
            (format!("{host}{many}\r\n"), "Request"),
            (format!("{host}A: {long}\r\n\r\n"), "Request"),
            (format!("\r\n\r\n\r\n{host}\r\n"), "Request"),
            ("\r\n".repeat(10_000), "HeadTooLong"),
            (format!("{host}A: {long}{long}"), "HeadTooLong"),
            (format!("GET /{long}{long}"), "TargetTooLong"),
        ] {
            let (said, _, parsed) = piecewise(input.as_bytes(), input.as_bytes().chunks(1));
            assert!(said.starts_with(verdict), "{said}");
            assert!(parsed <= 16, "parsed {parsed} times");
        }
    }

    #[test]
    fn what_is_no_http_is_refused_soon() {
        for (input, within) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00"[..], 1),
            (b"GET\x00 / HTTP/1.1\r\n", 4),
            (b"GET / HTTP/1.1\nHost: x\n\n", 15),
            (b"GET / HTTP/1.1\r\nHost x\r\nmore and more", 32),
        ] {
            let (said, end, _) = piecewise(input, input.chunks(1));
            assert_ne!(said, "partial");
            assert!(end <= within, "{said} only after {end} bytes");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_missed_however_a_head_is_cut(
            empty_lines in 0_usize..3,
            headers in prop::collection::vec("[a-c]{1,3}: {0,2}[ -~]{0,20}", 0..5),
            behind in prop::collection::vec(any::<u8>(), 0..10),
            cuts in prop::collection::vec(1_usize..40, 1..40),
        ) {
            let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let head = format!("{}GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n", "\r\n".repeat(empty_lines));
            let input = [head.as_bytes(), &behind].concat();
            let mut rest = &input[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                let (piece, next) = rest.split_at(rest.len().min(*cut));
                pieces.push(piece);
                rest = next;
                if rest.is_empty() {
                    break;
                }
            }
            // As soon as the head is there, and not later.
            let mut end = 0;
            let first = pieces.iter().find(|piece| { end += piece.len(); end >= head.len() });
            prop_assert!(first.is_some());
            let (said, at, _) = piecewise(&input, pieces.into_iter());
            let (whole, _, _) = piecewise(&input, [&input[..]].into_iter());
            prop_assert_eq!((said, at), (whole, end));
        }
    }
}
