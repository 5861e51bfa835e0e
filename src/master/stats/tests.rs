//! The stats server with real sockets, without a master around it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollTimeout, poll};

use super::document::SocketFacts;
use super::*;
use crate::config::{Address, Environment};
use crate::status::{Status as ServerStatus, Traffic, WorkerStatus};
use crate::sys::process::Occupied;

struct Bench {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    server: StatsServer,
    now_ms: u64,
}

fn facts() -> Facts {
    let traffic = Traffic {
        requests: 4,
        request_us: 400,
        handshakes: 6,
        bytes_out: 77,
        clients_given: 3,
        clients_taken: 4,
        clients_returned: 5,
        closes: [("1000".to_owned(), 5)].into(),
        ..Traffic::default()
    };
    let worker = WorkerStatus {
        slot: 1,
        pid: Some(9),
        state: "serving".into(),
        clients: 1,
        spawns: 2,
        traffic,
        ..WorkerStatus::default()
    };
    let memory = Occupied {
        resident_bytes: 11,
        virtual_bytes: 22,
    };
    Facts {
        status: ServerStatus {
            version: "1.2.3".into(),
            workers: vec![worker],
            ..ServerStatus::default()
        },
        uid: 5,
        gid: 6,
        cwd: "/here".into(),
        sockets: vec![SocketFacts {
            name: ":1".into(),
            queue: 3,
            queue_max: 100,
        }],
        memory: vec![(1, memory)],
    }
}

impl Bench {
    fn new(style: StatsStyle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.sock");
        let mut config = Config::new(&Environment::read());
        config.stats = vec![Address::Unix(path.clone())];
        config.stats_style = style;
        Self {
            server: StatsServer::bind(&config).unwrap(),
            _folder: folder,
            path,
            now_ms: 0,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Turns that do not wait, until nothing is ready.
    fn settle(&mut self) {
        loop {
            let (names, mut set): (Vec<_>, Vec<_>) = self
                .server
                .sources()
                .into_iter()
                .map(|(source, fd, flags)| (source, PollFd::new(fd, flags)))
                .unzip();
            poll(&mut set, PollTimeout::ZERO).unwrap();
            let ready: Vec<Source> = names
                .into_iter()
                .zip(set.iter().map(|fd| fd.revents().unwrap()))
                .filter_map(|(name, flags)| (!flags.is_empty()).then_some(name))
                .collect();
            for source in &ready {
                self.server.ready(*source, self.now_ms, &facts);
            }
            self.server.turn(self.now_ms);
            if ready.is_empty() {
                return;
            }
        }
    }

    /// What a reader gets until the end of the stream.
    fn read(&mut self, stream: &mut UnixStream) -> String {
        self.settle();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

const PLAIN: StatsStyle = StatsStyle {
    http: false,
    minified: false,
};

#[test]
fn a_reader_gets_uwsgis_names_and_ours_and_then_the_end() {
    let mut bench = Bench::new(PLAIN);
    let mut reader = bench.connect();
    let text = bench.read(&mut reader);
    assert!(
        text.starts_with("{\n\t\"version\": \"1.2.3\",\n\t\"listen_queue\": 3,"),
        "{text}"
    );
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let worker = &document["workers"][0];
    assert_eq!(
        (&worker["requests"], &worker["avg_rt"]),
        (&10.into(), &100.into())
    );
    assert_eq!((&worker["rss"], &worker["vsz"]), (&11.into(), &22.into()));
    assert_eq!(
        (&worker["tx"], &worker["status"]),
        (&77.into(), &"busy".into())
    );
    assert_eq!(worker["cores"][0]["in_request"], 1);
    for (name, count) in [("given", 3), ("taken", 4), ("returned", 5)] {
        assert_eq!(worker[format!("clients_{name}")], count);
    }
    assert_eq!(
        (&worker["websockets"]["open"], &document["uid"]),
        (&1.into(), &5.into())
    );
    assert_eq!(document["websockets"]["close_codes"]["1000"], 5);
    assert_eq!(document["sockets"][0]["max_queue"], 100);
    drop(reader);
    bench.settle();
    assert!(bench.server.connections.is_empty());
}

#[test]
fn over_http_the_request_comes_first() {
    let mut bench = Bench::new(StatsStyle {
        http: true,
        minified: true,
    });
    let mut reader = bench.connect();
    reader.write_all(b"GET / HTTP/1.0\r\nHo").unwrap();
    bench.settle();
    assert_eq!(
        reader.read(&mut [0; 1]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    reader.write_all(b"st: x\r\n\r\n").unwrap();
    let text = bench.read(&mut reader);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Connection: close") && head.contains("application/json"),
        "{head}"
    );
    assert!(
        body.starts_with("{\"version\":\"1.2.3\",\"listen_queue\":3,"),
        "{body}"
    );
}

#[test]
fn readers_that_do_not_read_or_ask_are_few_and_go() {
    let mut bench = Bench::new(StatsStyle {
        http: true,
        ..PLAIN
    });
    let silent: Vec<UnixStream> = (0..CONNECTIONS_MAX + 3).map(|_| bench.connect()).collect();
    bench.settle();
    assert_eq!(bench.server.connections.len(), CONNECTIONS_MAX);
    assert_eq!(bench.server.next_timeout_ms(), Some(DEADLINE_MS));
    bench.now_ms = DEADLINE_MS;
    bench.settle();
    bench.settle();
    assert_eq!(
        bench.server.connections.len(),
        3,
        "the next ones have their turn"
    );
    drop(silent);
    bench.settle();
    assert!(bench.server.connections.is_empty());
}
