//! Request heads (RFC 9112): what is read, and what is refused because it could be read in two ways.

use bellwether::protocol::http::{Error, Limits, Parsed, Request, Version, parse_request};

const LIMITS: Limits = Limits {
    head_bytes_max: 2000,
    headers_max: 20,
    target_bytes_max: 300,
};

/// The verdict over a whole head, which must also be the verdict when it comes byte by byte.
fn status(head: &[u8]) -> u16 {
    let whole = verdict(head);
    let by_bytes = (0..=head.len())
        .map(|end| verdict(&head[..end]))
        .find(|status| *status != 0);
    assert_eq!(
        by_bytes.unwrap_or(0),
        whole,
        "byte by byte: {}",
        head.escape_ascii()
    );
    whole
}

/// 200 if the head is complete and right, 0 if it is not complete.
fn verdict(head: &[u8]) -> u16 {
    match parse_request(head, &LIMITS) {
        Ok(Parsed::Complete { .. }) => 200,
        Ok(Parsed::Partial) => 0,
        Err(error) => error.status().code(),
    }
}

fn request(head: &str) -> Request<'_> {
    match parse_request(head.as_bytes(), &LIMITS) {
        Ok(Parsed::Complete { value, .. }) => value,
        other => panic!("{head}: {other:?}"),
    }
}

/// Heads and the status of their answer.
const HEADS: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ("GET / HTTP/1.0\r\n\r\n", 200),
    // The request line.
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("G\u{0}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET http://u@h/a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\u{16}\u{3}\u{1}\u{2}\u{0}", 400),
    // Versions.
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    // Line ends.
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
    // Header lines.
    ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{fc}\tb\r\n\r\n", 200),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", 400),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
    ("GET / HTTP/1.1\r\nHost: [::1]:3032\r\n\r\n", 200),
    // The length of the body.
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        200,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        200,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        501,
    ),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
];

#[test]
fn ambiguous_and_malformed_heads_are_refused() {
    for (head, expected) in HEADS {
        assert_eq!(
            status(head.as_bytes()),
            *expected,
            "{}",
            head.escape_debug()
        );
    }
}

#[test]
fn limits_hold_at_their_number_and_before_the_head_is_complete() {
    let target =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - 1));
    assert_eq!(status(target(300).as_bytes()), 200);
    assert_eq!(status(target(301).as_bytes()), 414);
    assert_eq!(
        status(format!("GET /{}", "a".repeat(300)).as_bytes()),
        414,
        "no end of it yet"
    );

    let headers = |lines: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(lines - 1)
        )
    };
    assert_eq!(status(headers(20).as_bytes()), 200);
    assert_eq!(status(headers(21).as_bytes()), 431);
    assert_eq!(
        status(headers(21).strip_suffix("\r\n").unwrap().as_bytes()),
        431,
        "no end of it yet"
    );

    let sized = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "y".repeat(bytes - start.len() - 4))
    };
    assert_eq!(status(sized(2000).as_bytes()), 200);
    assert_eq!(status(sized(2001).as_bytes()), 431);
    assert_eq!(status(sized(2001).trim_end().as_bytes()), 0);
    assert_eq!(
        status(&sized(3000).as_bytes()[..2000]),
        431,
        "no end of it yet"
    );
    assert_eq!(status(&b"\r\n".repeat(1000)), 431, "empty lines only");
    assert_eq!(status(&b"G".repeat(2000)), 431, "a method without end");
}

#[test]
fn a_head_is_taken_apart_without_decoding() {
    let plain = request("GET /a%20b/c?x=1?y HTTP/1.1\r\nHost: h:1\r\nX-A:  b \r\nx-a: c\r\n\r\n");
    assert_eq!((plain.method(), plain.target()), ("GET", "/a%20b/c?x=1?y"));
    assert_eq!((plain.path(), plain.query()), ("/a%20b/c", "x=1?y"));
    assert_eq!(
        (plain.version(), plain.host()),
        (Version::Http11, Some("h:1"))
    );
    assert_eq!(plain.header("X-a"), Some(&b"b"[..]));
    assert_eq!(plain.header_values("x-a").count(), 2);
    assert_eq!(plain.headers().len(), 3);
    assert_eq!(
        (plain.body_bytes(), plain.has_body(), plain.is_chunked()),
        (None, false, false)
    );
}

#[test]
fn an_absolute_target_is_reduced_and_overrules_the_host() {
    for (target, path, query) in [
        ("http://b.example:81/p?q", "/p", "q"),
        ("WS://b.example:81/p", "/p", ""),
        ("https://b.example:81", "/", ""),
        ("wss://b.example:81?q", "/", "q"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = request(&head);
        assert_eq!((request.path(), request.query()), (path, query), "{target}");
        assert_eq!(request.host(), Some("b.example:81"), "{target}");
    }
}

#[test]
fn persistence_follows_version_and_connection() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: foo, CLOSE\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(request(&head).keep_alive(), keep_alive, "{head}");
    }
}

#[test]
fn pipelined_requests_are_read_one_by_one() {
    let first = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = format!("{first}GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    let Ok(Parsed::Complete { value, consumed }) = parse_request(both.as_bytes(), &LIMITS) else {
        panic!("the first head is whole");
    };
    assert_eq!((value.path(), consumed), ("/a", first.len()));
    assert_eq!(request(&both[consumed..]).path(), "/b");
}

#[test]
fn an_error_says_what_is_wrong() {
    assert_eq!(
        Error::Host.to_string(),
        "the Host header is missing, repeated or malformed"
    );
    assert!(size_of::<Error>() <= 8);
}
