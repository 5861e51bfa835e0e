//! Opening handshakes (RFC 6455 section 4): heads as real clients and proxies send them, and heads that must be refused.

use bellwether::protocol::http::{Limits, Parsed, parse_request};
use bellwether::protocol::websocket::{DeflatePolicy, negotiate, read_upgrade, write_accept};

/// The status that `head` is answered with, and the whole answer if it is 101; 200 stands for "no upgrade asked".
fn answer(head: &str, subprotocol: Option<&str>) -> (u16, String) {
    let bytes = head.as_bytes();
    let request = match parse_request(bytes, &Limits::default()) {
        Ok(Parsed::Complete { value, consumed }) => {
            assert_eq!(consumed, bytes.len());
            value
        }
        Ok(Parsed::Partial) => panic!("the head is whole: {head}"),
        Err(error) => return (error.status().code(), error.to_string()),
    };
    match read_upgrade(&request) {
        Ok(None) => (200, String::new()),
        Ok(Some(upgrade)) => {
            let agreed = negotiate(&upgrade.offers, &DeflatePolicy::default());
            let mut out = Vec::new();
            write_accept(&upgrade, subprotocol, agreed.as_ref(), &mut out);
            (101, String::from_utf8(out).unwrap())
        }
        Err(refusal) => {
            let headers: Vec<String> = refusal
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            (refusal.status().code(), headers.join("\n"))
        }
    }
}

/// A head from lines that are easier to read.
fn head(lines: &str) -> String {
    let lines: Vec<&str> = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    format!("{}\r\n\r\n", lines.join("\r\n"))
}

const CHROMIUM: &str = "
    GET /news HTTP/1.1
    Host: localhost:3032
    Connection: Upgrade
    Pragma: no-cache
    Cache-Control: no-cache
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36
    Upgrade: websocket
    Origin: http://localhost:3032
    Sec-WebSocket-Version: 13
    Accept-Encoding: gzip, deflate, br, zstd
    Accept-Language: en-US,en;q=0.9
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

const FIREFOX: &str = "
    GET /news HTTP/1.1
    Host: localhost:3032
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0
    Accept: */*
    Accept-Language: en-US,en;q=0.5
    Accept-Encoding: gzip, deflate, br, zstd
    Sec-WebSocket-Version: 13
    Origin: http://localhost:3032
    Sec-WebSocket-Extensions: permessage-deflate
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    Connection: keep-alive, Upgrade
    Sec-Fetch-Dest: empty
    Sec-Fetch-Mode: websocket
    Sec-Fetch-Site: same-origin
    Pragma: no-cache
    Cache-Control: no-cache
    Upgrade: websocket";

const UNDICI: &str = "
    GET /news HTTP/1.1
    host: localhost:3032
    connection: upgrade
    upgrade: websocket
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==
    sec-websocket-version: 13
    sec-websocket-extensions: permessage-deflate; client_max_window_bits
    accept: */*
    accept-language: *
    sec-fetch-mode: websocket
    user-agent: undici
    pragma: no-cache
    cache-control: no-cache
    accept-encoding: gzip, deflate";

const AIOHTTP: &str = "
    GET /news HTTP/1.1
    Host: localhost:3032
    Upgrade: websocket
    Connection: Upgrade
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    Accept: */*
    Accept-Encoding: gzip, deflate
    User-Agent: Python/3.11 aiohttp/3.14.5";

const NODE_WS: &str = "
    GET /news HTTP/1.1
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
    Host: localhost:3032";

const NGINX: &str = "
    GET /news HTTP/1.1
    Upgrade: websocket
    Connection: upgrade
    Host: backend
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

const HAPROXY: &str = "
    GET /news HTTP/1.1
    host: localhost:3032
    sec-websocket-version: 13
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==
    upgrade: websocket
    connection: upgrade";

const UWSGI_ROUTER: &str = "
    GET /news HTTP/1.0
    Host: 127.0.0.1:50857
    Upgrade: websocket
    Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==
    Sec-Websocket-Version: 13
    Origin: http://127.0.0.1:50857
    Connection: close
    X-Forwarded-For: 127.0.0.1";

#[test]
fn real_clients_and_proxies_are_accepted() {
    let no_takeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (name, lines, extensions) in [
        ("Chromium", CHROMIUM, Some(no_takeover)),
        ("Firefox", FIREFOX, Some(no_takeover)),
        ("undici", UNDICI, Some(no_takeover)),
        ("aiohttp", AIOHTTP, None),
        ("node ws", NODE_WS, Some(no_takeover)),
        ("nginx", NGINX, None),
        ("HAProxy", HAPROXY, None),
        ("uWSGI's router", UWSGI_ROUTER, None),
    ] {
        let (status, out) = answer(&head(lines), None);
        assert_eq!(status, 101, "{name}: {out}");
        let mut expected = vec![
            "HTTP/1.1 101 Switching Protocols".to_owned(),
            "Upgrade: websocket".to_owned(),
            "Connection: Upgrade".to_owned(),
            // The answer to the key of RFC 6455 section 1.3.
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned(),
        ];
        expected.extend(extensions.map(|value| format!("Sec-WebSocket-Extensions: {value}")));
        assert_eq!(out, format!("{}\r\n\r\n", expected.join("\r\n")), "{name}");
    }
}

/// Chromium's head with one line replaced, or with lines added where nothing is replaced.
fn changed(from: &str, to: &str) -> String {
    if from.is_empty() {
        return head(&format!("{CHROMIUM}\n{to}"));
    }
    assert!(CHROMIUM.contains(from), "{from}");
    head(&CHROMIUM.replace(from, to))
}

#[test]
fn wrong_handshakes_are_refused_with_the_right_status() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    const VERSION: &str = "Sec-WebSocket-Version: 13";
    const CONNECTION: &str = "Connection: Upgrade";
    const UPGRADE: &str = "Upgrade: websocket";
    for (from, to, status) in [
        (KEY, "", 400),
        (KEY, "Sec-WebSocket-Key:", 400),
        (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==", 400),
        (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=", 400),
        (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", 400),
        (KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==", 400),
        (
            KEY,
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            400,
        ),
        ("", KEY, 400),
        ("", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", 400),
        (VERSION, "", 426),
        (VERSION, "Sec-WebSocket-Version: 8", 426),
        (VERSION, "Sec-WebSocket-Version: 013", 426),
        (VERSION, "Sec-WebSocket-Version: 13, 8", 426),
        ("", "Sec-WebSocket-Version: 8", 400),
        ("", VERSION, 101),
        (CONNECTION, "", 400),
        (CONNECTION, "Connection: keep-alive", 400),
        (CONNECTION, "Connection: keep-alive, UPGRADE", 101),
        (CONNECTION, "Connection: close", 101),
        (UPGRADE, "", 426),
        (UPGRADE, "Upgrade: h2c", 426),
        (UPGRADE, "Upgrade: WebSocket", 101),
        (UPGRADE, "Upgrade: h2c, websocket", 101),
        ("", "Upgrade: h2c", 400),
        ("", UPGRADE, 101),
        ("", "Content-Length: 5", 413),
        ("", "Content-Length: 0", 101),
        ("", "Transfer-Encoding: chunked", 413),
        ("", "Origin: http://other.example", 400),
        ("", "Sec-WebSocket-Protocol: chat, superchat", 101),
        ("", "Sec-WebSocket-Protocol: chat room", 400),
        ("", "Sec-WebSocket-Extensions: no-such; thing=\"a,b\"", 101),
        ("GET /news", "POST /news", 405),
        ("GET /news", "HEAD /news", 405),
        ("HTTP/1.1", "HTTP/1.0", 101),
        ("HTTP/1.1", "HTTP/2.0", 505),
    ] {
        let (answered, out) = answer(&changed(from, to), None);
        assert_eq!(answered, status, "'{from}' became '{to}': {out}");
        match answered {
            426 => assert!(out.contains("Sec-WebSocket-Version: 13"), "{out}"),
            405 => assert_eq!(out, "Allow: GET"),
            _ => {}
        }
    }
}

#[test]
fn a_page_request_is_no_upgrade() {
    let page = "GET / HTTP/1.1\nHost: localhost:3032\nConnection: keep-alive\nUpgrade-Insecure-Requests: 1";
    assert_eq!(answer(&head(page), None).0, 200);
    let h2c = "GET / HTTP/1.1\nHost: localhost:3032\nConnection: Upgrade\nUpgrade: h2c";
    assert_eq!(answer(&head(h2c), None).0, 200);
}

#[test]
fn exactly_one_offered_subprotocol_or_none_is_answered() {
    let offering = changed(
        "",
        "Sec-WebSocket-Protocol: chat, superchat\nSec-WebSocket-Protocol: v2",
    );
    for (chosen, answered) in [
        (Some("superchat"), Some("superchat")),
        (Some("v2"), Some("v2")),
        (Some("Chat"), None),
        (Some("other"), None),
        (None, None),
    ] {
        let (status, out) = answer(&offering, chosen);
        assert_eq!(status, 101);
        let line = out
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(line, answered, "{chosen:?}");
    }
    let (_, silent) = answer(&head(CHROMIUM), Some("chat"));
    assert!(!silent.contains("Sec-WebSocket-Protocol"), "{silent}");
}

#[test]
fn frames_behind_the_head_are_not_part_of_it() {
    let mut bytes = head(CHROMIUM).into_bytes();
    let head_bytes = bytes.len();
    bytes.extend(crate::peer::client_frame(0x81, b"early"));
    let Ok(Parsed::Complete { consumed, .. }) = parse_request(&bytes, &Limits::default()) else {
        panic!("the head is whole");
    };
    assert_eq!(consumed, head_bytes);
}
