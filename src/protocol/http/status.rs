//! Status codes and their reason phrases (RFC 9110 section 15), no more of them than the server answers with.

use std::fmt;

/// An HTTP status code; the constants are those that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// 100: the body may come.
    pub const CONTINUE: Self = Self(100);
    /// 101: the opening handshake succeeded.
    pub const SWITCHING_PROTOCOLS: Self = Self(101);
    /// 200
    pub const OK: Self = Self(200);
    /// 202: taken, not yet done.
    pub const ACCEPTED: Self = Self(202);
    /// 204: done, nothing to show.
    pub const NO_CONTENT: Self = Self(204);
    /// 304
    pub const NOT_MODIFIED: Self = Self(304);
    /// 400: the head is malformed or ambiguous.
    pub const BAD_REQUEST: Self = Self(400);
    /// 401: goes with a `WWW-Authenticate` header.
    pub const UNAUTHORIZED: Self = Self(401);
    /// 403: among others, an origin that is not allowed.
    pub const FORBIDDEN: Self = Self(403);
    /// 404
    pub const NOT_FOUND: Self = Self(404);
    /// 405: goes with an `Allow` header.
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 408: the head was not complete in time.
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 413: a body where none is taken, or a too long one.
    pub const CONTENT_TOO_LARGE: Self = Self(413);
    /// 414: the request target is too long.
    pub const URI_TOO_LONG: Self = Self(414);
    /// 426: another version of the WebSocket protocol, or no upgrade where one is needed.
    pub const UPGRADE_REQUIRED: Self = Self(426);
    /// 429
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    /// 431: the head has too many bytes or too many headers.
    pub const HEADER_FIELDS_TOO_LARGE: Self = Self(431);
    /// 500
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 501: a transfer coding that is not known.
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 502
    pub const BAD_GATEWAY: Self = Self(502);
    /// 503: draining or full.
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 504
    pub const GATEWAY_TIMEOUT: Self = Self(504);
    /// 505: neither HTTP/1.0 nor HTTP/1.1.
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);

    /// A status that has no constant, such as one that an app chose. `None` outside 100..=999.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        if code >= 100 && code <= 999 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The three digits.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The reason phrase; empty for a code that has no constant here (RFC 9112 section 4 allows that).
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            200 => "OK",
            202 => "Accepted",
            204 => "No Content",
            304 => "Not Modified",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }

    /// Whether a response with this status never has a body nor a `Content-Length` (RFC 9110 section 8.6).
    #[must_use]
    pub const fn is_bodiless(self) -> bool {
        self.0 < 200 || self.0 == 204 || self.0 == 304
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.reason())
    }
}
