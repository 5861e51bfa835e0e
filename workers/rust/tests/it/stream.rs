//! The stream as a browser and a plain client see it.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tungstenite::{Message, WebSocket};

use crate::foreign::{CHROMIUM, NODE_MODULES, named_by, run};
use crate::server::{Server, succeeded};

const STREAM: &str = env!("CARGO_BIN_EXE_stream");
const AREA: [&str; 2] = ["--sharedarea", "size=20752,name=frames"];
const TIMEOUT: Duration = Duration::from_secs(60);
const FRAME_BYTES: usize = 20_752;

fn connect(server: &Server) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a timeout can be set");
    let (client, _) =
        tungstenite::client(server.websocket("/"), stream).expect("the handshake is accepted");
    client
}

/// The number of the next frame, which is one.
fn frame(client: &mut WebSocket<TcpStream>) -> u32 {
    let Message::Binary(frame) = client.read().expect("a frame") else {
        panic!("something else than a frame came");
    };
    assert_eq!(frame.len(), FRAME_BYTES);
    assert!(frame[16..].contains(&255), "nobody lives");
    u32::from_le_bytes(*frame.first_chunk().expect("its number"))
}

fn worker_pids(server: &Server) -> Vec<i32> {
    let output = server.verb(&["status", "--json"]).output();
    let status: serde_json::Value =
        serde_json::from_str(&succeeded(&output.expect("it starts"))).expect("JSON");
    let workers = status["workers"].as_array().expect("a list");
    let pids = workers.iter().filter_map(|worker| worker["pid"].as_i64());
    pids.map(|pid| i32::try_from(pid).expect("a process id"))
        .collect()
}

#[test]
fn all_workers_send_one_stream_and_it_goes_on_when_one_of_them_is_killed() {
    let server = Server::start(STREAM, &[&AREA[..], &["--processes", "2"]].concat());
    let mut clients: Vec<_> = (0..6).map(|_| connect(&server)).collect();
    for client in &mut clients {
        let first = frame(client);
        let numbers: Vec<u32> = (0..10).map(|_| frame(client)).collect();
        assert!(
            first < numbers[0] && numbers.is_sorted_by(|a, b| a < b),
            "{numbers:?}"
        );
        // One stream: two that draw against each other would leave out every other frame.
        assert!(numbers[9] - numbers[0] < 60, "{numbers:?}");
    }
    let last = frame(&mut clients[0]);
    let victim = worker_pids(&server)[0];
    kill(Pid::from_raw(victim), Signal::SIGKILL).expect("our own worker");
    let reached = clients.iter_mut().filter_map(|client| {
        (0..10).try_fold(0, |_, _| match client.read().ok()? {
            Message::Binary(frame) => Some(u32::from_le_bytes(*frame.first_chunk()?)),
            _ => None,
        })
    });
    let reached: Vec<u32> = reached.collect();
    assert!(!reached.is_empty(), "the other worker has clients");
    assert!(reached.iter().all(|number| *number > last));
    // It is the same stream, not a new one.
    assert!(frame(&mut connect(&server)) > last);
}

#[test]
fn without_the_area_who_comes_is_told() {
    let server = Server::start(STREAM, &[]);
    let mut client = connect(&server);
    let Message::Close(Some(close)) = client.read().expect("a close frame") else {
        panic!("a close frame with a code was expected");
    };
    assert_eq!(u16::from(close.code), 1011);
    assert!(close.reason.contains("--sharedarea"));
}

#[test]
fn a_browser_shows_the_frames() {
    let (Some(chromium), Some(modules)) = (named_by(CHROMIUM), named_by(NODE_MODULES)) else {
        return;
    };
    let server = Server::start(STREAM, &[&AREA[..], &["--processes", "2"]].concat());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stream.cjs");
    run(Command::new("node")
        .arg(script)
        .arg(format!("http://{}/", server.address()))
        .args(["stream-light.png", "stream-dark.png"].map(|name| folder.join(name)))
        .env("NODE_PATH", modules)
        .env(CHROMIUM, chromium));
}
