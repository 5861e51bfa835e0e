//! The request log, as text and as JSON lines.

use crate::MASTER;
use crate::peer::{Peer, dial, http};
use crate::server::Server;

const ECHO: [&str; 3] = ["--app", "echo", "--log-requests"];

/// A conversation and a plain request; both have ended.
fn talk(server: &Server) {
    let mut client = Peer::of(server, "/room?x=1");
    client.send("hello").unwrap();
    client.expect("hello");
    client.send_close(1000).unwrap();
    assert_eq!(client.close_code(), Some(1000));
    let request = "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    http(dial(server.address()).unwrap(), request);
}

#[test]
fn requests_are_logged_in_the_style_of_uwsgi() {
    let server = Server::start(MASTER, &ECHO);
    talk(&server);
    server.wait_for_log("GET /page => generated", 1);
    let log = server.log();
    let line = |what: &str| {
        let found = log.lines().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what} in {log}"))
    };
    let open = line("=> opened websocket (HTTP/1.1 101)");
    assert!(open.starts_with("[pid: "), "{open}");
    assert!(
        open.contains("|app: echo|req: 1/1] 127.0.0.1 () {5 vars in "),
        "{open}"
    );
    assert!(open.contains("] GET /room?x=1 =>"), "{open}");
    let close = line("closed 1000, 1 messages in ");
    assert!(
        close.ends_with(" bytes received, 1 messages sent"),
        "{close}"
    );
    let plain = line("GET /page =>");
    assert!(
        plain.contains("|req: 2/2]") && plain.contains("(HTTP/1.1 426)"),
        "{plain}"
    );
}

#[test]
fn nothing_is_logged_of_requests_unless_asked_for() {
    let server = Server::start(MASTER, &[&ECHO[..], &["--disable-logging"]].concat());
    talk(&server);
    assert!(!server.log().contains("/room"), "{}", server.log());
}

#[test]
fn every_line_is_an_object_when_json_is_asked_for() {
    let mut server = Server::start(MASTER, &[&ECHO[..], &["--log-format=json"]].concat());
    talk(&server);
    server.wait_for_log("\"event\":\"request\"", 1);
    server.ask_to_end();
    assert!(server.ended().success());
    let log = server.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let of = |event: &str| {
        let line = lines.iter().find(|line| line["event"] == event);
        line.unwrap_or_else(|| panic!("no {event} in {log}"))
            .clone()
    };
    let (open, close, request) = (of("open"), of("close"), of("request"));
    assert_eq!(
        (&open["uri"], &open["slot"]),
        (&"/room?x=1".into(), &1.into())
    );
    assert_eq!(
        (&close["code"], &close["clean"]),
        (&1000.into(), &true.into())
    );
    assert_eq!(
        (&close["messages_in"], &close["messages_out"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&request["status"], &request["method"]),
        (&426.into(), &"GET".into())
    );
    assert!(
        lines
            .iter()
            .all(|line| line["time"].is_string() && line["level"].is_string())
    );
}
