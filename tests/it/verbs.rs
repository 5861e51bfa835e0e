//! `publish`, `tail` and `status` as a user types them, and what they say when they cannot.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::Signal;

use crate::peer::{Event, Peer};
use crate::server::{self, Server, said, succeeded};
use crate::{MASTER, PATIENCE};

/// Runs a verb with this on its standard input.
fn fed(server: &Server, words: &[&str], input: &[u8]) -> Output {
    let mut child = server
        .verb(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built master starts");
    // It may refuse before it has read all.
    let _refused = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("our own child")
}

/// A tail whose lines come in as they are printed.
pub(crate) struct Tail {
    child: Child,
    lines: Receiver<String>,
}

impl Tail {
    pub(crate) fn start(server: &Server, words: &[&str]) -> Self {
        let mut command = server.verb(&[&["tail"], words].concat());
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the built master starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The test may have seen enough.
            out.lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Self { child, lines }
    }

    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// Publishes until the tail is there to see it.
    pub(crate) fn wait(&self, server: &Server, channel: &str) {
        server::wait_for("the tail to show something", PATIENCE, || {
            server.publish(channel, "begin");
            self.lines.try_recv().ok()
        });
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn text_and_binary_come_from_the_command_line_or_from_standard_input() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let mut client = Peer::of(&server, "/news");
    succeeded(&fed(
        &server,
        &["publish", "news", "-", "--binary"],
        &[0, 255, 10],
    ));
    succeeded(&fed(
        &server,
        &["publish", "news", "-"],
        "from a pipe\n".as_bytes(),
    ));
    succeeded(&fed(&server, &["publish", "news"], b"and without the dash"));
    succeeded(&fed(
        &server,
        &["publish", "--binary", "news", "letters"],
        b"",
    ));
    succeeded(&fed(
        &server,
        &["publish", "news", "--", "--not-an-option"],
        b"",
    ));
    assert_eq!(client.read().unwrap(), Event::Binary(vec![0, 255, 10]));
    client.expect("from a pipe\n");
    client.expect("and without the dash");
    assert_eq!(client.read().unwrap(), Event::Binary(b"letters".to_vec()));
    client.expect("--not-an-option");
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_the_way_out() {
    let server = Server::start(MASTER, &[]);
    let output = fed(&server, &["publish", "news", "-"], &[0xff, 0xfe]);
    assert_eq!(output.status.code(), Some(5));
    assert!(said(&output).contains("--binary"), "{}", said(&output));
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_limit_named() {
    let server = Server::start(
        MASTER,
        &["--spool-size", "64", "--websockets-max-size", "16"],
    );
    for (bytes, option) in [
        (10_000, "--spool-size"),
        (20_000, "--websockets-max-size"),
        (2 * 1024 * 1024, "--websockets-max-size"),
    ] {
        let output = fed(&server, &["publish", "news", "-"], &vec![b'x'; bytes]);
        assert_eq!(output.status.code(), Some(5));
        let text = said(&output);
        assert!(
            text.contains("refused") && text.contains(option),
            "{bytes}: {text}"
        );
    }
    // And the server goes on.
    succeeded(&fed(&server, &["publish", "news", "-"], b"small"));
}

#[test]
fn a_channel_name_that_is_none_is_refused() {
    let server = Server::start(MASTER, &[]);
    for name in ["", "a\nb", &"x".repeat(201)] {
        for output in [
            fed(&server, &["publish", name, "hello"], b""),
            fed(&server, &["tail", name], b""),
        ] {
            assert_eq!(output.status.code(), Some(5), "{name:?}");
            assert!(said(&output).contains("a channel"), "{}", said(&output));
        }
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = Server::start(MASTER, &[]);
    server.signal(Signal::SIGSTOP);
    let verbs = [
        &["status"][..],
        &["publish", "news", "x"],
        &["tail", "news"],
        &["area", "read", "0"],
    ];
    let asked = verbs.map(|words| {
        let mut verb = server.verb(words);
        verb.stdout(Stdio::null()).stderr(Stdio::piped());
        verb.spawn().expect("the built master starts")
    });
    let told = asked.map(|verb| verb.wait_with_output().expect("our own child"));
    server.signal(Signal::SIGCONT);
    for output in told {
        assert_eq!(output.status.code(), Some(5));
        let said = said(&output);
        assert!(said.contains("has not answered for 10 s"), "{said}");
    }
}

#[test]
fn without_a_server_every_verb_ends_with_5_and_says_where_it_looked() {
    let folder = server::folder();
    for words in [
        &["publish", "news", "hello"][..],
        &["tail", "news"],
        &["status"],
    ] {
        let output = server::command(MASTER, folder.path())
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(5));
        let text = said(&output);
        assert!(text.contains("no server is running"), "{text}");
        assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_wrong_instance_is_answered_with_those_that_there_are() {
    let server = Server::start(MASTER, &[]);
    // Of an option that is given twice the last one counts; the first one is the harness's.
    let output = server
        .verb(&["status", "--instance", "other"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(
        said(&output).contains(server::INSTANCE),
        "{}",
        said(&output)
    );
}

#[test]
fn a_tail_prints_what_is_published_from_then_on() {
    let server = Server::start(MASTER, &["--processes", "2", "--clients-publish"]);
    let plain = Tail::start(&server, &["news"]);
    let json = Tail::start(&server, &["news", "--json"]);
    plain.wait(&server, "news");
    json.wait(&server, "news");
    server.publish("news", "both are there");
    while plain.line() != "both are there" {}
    while !json.line().contains("both are there") {}
    server.publish("other", "not this");
    server.publish("news", "hello");
    Peer::of(&server, "/news").send("from a client").unwrap();
    succeeded(&fed(
        &server,
        &["publish", "news", "-", "--binary"],
        &[0, 255],
    ));
    assert_eq!(plain.line(), "hello");
    assert_eq!(plain.line(), "from a client");
    assert_eq!(plain.line(), "(binary, 2 bytes)");
    let read = |line: String| -> serde_json::Value { serde_json::from_str(&line).unwrap() };
    let first = read(json.line());
    assert_eq!(
        (&first["kind"], &first["text"]),
        (&"text".into(), &"hello".into())
    );
    assert_eq!(read(json.line())["text"], "from a client");
    assert_eq!(read(json.line())["hex"], "00ff");
}

#[test]
fn a_tail_ends_with_the_server() {
    let mut server = Server::start(MASTER, &[]);
    let mut tail = Tail::start(&server, &["news"]);
    tail.wait(&server, "news");
    server.ask_to_end();
    assert!(server.ended().success());
    let status = server::wait_for("the tail to end", PATIENCE, || {
        tail.child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(5));
}

#[test]
fn a_status_is_a_table_for_people() {
    let server = Server::start(MASTER, &["--processes", "2"]);
    let _client = Peer::of(&server, "/news");
    server.publish("news", "hello");
    let table = succeeded(&server.verb(&["status"]).output().unwrap());
    for word in [
        "serving",
        "news",
        &server.address().to_string(),
        &server.pid().to_string(),
    ] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
}
