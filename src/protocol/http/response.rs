//! Writes a response head and body (RFC 9112 section 4); it must not know what is answered or why.

use std::io::Write as _;

use super::Status;

/// One response, as the caller has it; nothing is copied before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The status line's code.
    pub status: Status,
    /// Headers besides `Content-Length` and `Connection`, which are written here.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; its length is announced even when only the head is written.
    pub body: &'a [u8],
    /// Whether the connection stays open for another request.
    pub keep_alive: bool,
    /// The answer to HEAD: everything but the body.
    pub head_only: bool,
}

/// Appends `response` to `out`.
///
/// `Content-Length` is always written, except where the status forbids a body. `Connection` is always named, because an HTTP/1.0
/// client closes unless told `keep-alive` and an HTTP/1.1 client keeps unless told `close`; it names `upgrade`
/// as well beside an `Upgrade` (RFC 9110 section 7.8). There is no `Date`: this layer
/// has no clock. Control characters in header values become spaces, so no value can start another header.
pub fn encode_response(response: &Response<'_>, out: &mut Vec<u8>) {
    let Response {
        status,
        headers,
        body,
        keep_alive,
        head_only,
    } = *response;
    out.reserve(128 + body.len());
    write_status_line(status, out);
    for (name, value) in headers {
        write_header(name, value, out);
    }
    if !status.is_bodiless() {
        // Writing to a vector cannot fail.
        let _written = write!(out, "Content-Length: {}\r\n", body.len());
    }
    let upgrades = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("Upgrade"));
    let connection = match (upgrades, keep_alive) {
        (true, true) => "upgrade, keep-alive",
        (true, false) => "upgrade, close",
        (false, true) => "keep-alive",
        (false, false) => "close",
    };
    write_header("Connection", connection, out);
    out.extend_from_slice(b"\r\n");
    if !head_only && !status.is_bodiless() {
        out.extend_from_slice(body);
    }
}

/// Appends `HTTP/1.1 <code> <reason>`.
pub(crate) fn write_status_line(status: Status, out: &mut Vec<u8>) {
    let _written = write!(out, "HTTP/1.1 {} {}\r\n", status.code(), status.reason());
}

/// Appends one header line; control characters of the value become spaces.
pub(crate) fn write_header(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(
        value
            .bytes()
            .map(|byte| if byte.is_ascii_control() { b' ' } else { byte }),
    );
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(response: &Response<'_>) -> String {
        let mut out = Vec::new();
        encode_response(response, &mut out);
        String::from_utf8(out).unwrap()
    }

    const PAGE: Response<'_> = Response {
        status: Status::OK,
        headers: &[("Content-Type", "text/plain")],
        body: b"hello",
        keep_alive: true,
        head_only: false,
    };

    #[test]
    fn a_page_names_its_length_and_what_happens_to_the_connection() {
        assert_eq!(
            encode(&PAGE),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
        );
        assert_eq!(
            encode(&Response {
                keep_alive: false,
                head_only: true,
                ..PAGE
            }),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn an_upgrade_that_is_offered_is_named_in_the_one_connection_header() {
        for (keep_alive, line) in [
            (true, "\r\nConnection: upgrade, keep-alive\r\n"),
            (false, "\r\nConnection: upgrade, close\r\n"),
        ] {
            let text = encode(&Response {
                headers: &[("Upgrade", "websocket")],
                keep_alive,
                ..PAGE
            });
            assert!(text.contains(line), "{text}");
            assert_eq!(text.matches("Connection").count(), 1, "{text}");
        }
    }

    #[test]
    fn an_empty_body_has_a_length_and_no_content_has_none() {
        let empty = Response {
            body: b"",
            headers: &[],
            ..PAGE
        };
        assert!(encode(&empty).contains("Content-Length: 0\r\n"));
        let none = encode(&Response {
            status: Status::NO_CONTENT,
            ..PAGE
        });
        assert!(!none.contains("Content-Length"), "{none}");
        assert!(none.ends_with("\r\n\r\n"), "{none}");
    }

    #[test]
    fn a_header_value_cannot_start_another_header() {
        let text = encode(&Response {
            headers: &[("Location", "/a\r\nSet-Cookie: x")],
            ..PAGE
        });
        assert!(text.contains("Location: /a  Set-Cookie: x\r\n"), "{text}");
    }
}
