//! Python's websockets and node's ws go through the same list: text, binary, empty, fragments, ping, a large message,
//! close codes, with and without permessage-deflate. And they listen to broadcasts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::MASTER;
use crate::foreign::{NODE_MODULES, PYTHON, named_by, run, script};
use crate::server::Server;

/// Enough for the large message of the scripts, 16 MiB; the option counts KiB.
const LARGE: [&str; 2] = ["--websockets-max-size", "20480"];

fn echo_server(more: &[&str]) -> Server {
    Server::start(
        MASTER,
        &[&["--processes", "2", "--app", "echo"], &LARGE[..], more].concat(),
    )
}

#[test]
fn python_websockets_passes_everything() {
    let Some(python) = named_by(PYTHON) else {
        return;
    };
    let server = echo_server(&[]);
    run(Command::new(python)
        .arg(script("matrix.py"))
        .arg(server.websocket("/echo")));
}

#[test]
fn node_ws_passes_everything() {
    let Some(modules) = named_by(NODE_MODULES) else {
        return;
    };
    let server = echo_server(&[]);
    run(Command::new("node")
        .arg(script("matrix.cjs"))
        .arg(server.websocket("/echo"))
        .env("NODE_PATH", modules));
}

#[test]
fn both_pass_everything_with_context_takeover() {
    let server = echo_server(&["--websockets-deflate", "takeover"]);
    if let Some(python) = named_by(PYTHON) {
        run(Command::new(python)
            .arg(script("matrix.py"))
            .arg(server.websocket("/echo")));
    }
    if let Some(modules) = named_by(NODE_MODULES) {
        run(Command::new("node")
            .arg(script("matrix.cjs"))
            .arg(server.websocket("/echo"))
            .env("NODE_PATH", modules));
    }
}

#[test]
fn broadcasts_come_compressed_to_those_who_want_that() {
    let Some(python) = named_by(PYTHON) else {
        return;
    };
    let server = Server::start(MASTER, &["--processes", "2", "--clients-publish"]);
    let mut child = Command::new(python)
        .arg(script("broadcast.py"))
        .arg(server.websocket("/news"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the named Python starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("stdout is a pipe");
    BufReader::new(out).read_line(&mut line).expect("a line");
    if line.trim() == "connected" {
        let long = "long enough to be worth it ".repeat(20);
        for message in ["short", &long, &long[..100]] {
            server.publish("news", message);
        }
    }
    // The script keeps its own deadline.
    assert!(child.wait().expect("our own child").success(), "{line:?}");
}
