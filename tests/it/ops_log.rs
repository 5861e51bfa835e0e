//! A log that nobody reads: the server serves and obeys all the same, and later says how much is missing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use crate::ops_reload::run;
use crate::peer::{Peer, dial, http};
use crate::server::{Server, command, folder, succeeded, wait_for};
use crate::{MASTER, PATIENCE};

const PAGE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const REQUESTS: usize = 50;
const LOST: &str = "of the log lost";
/// So often a reader looks whether it is to go on.
const LOOK_AGAIN_MS: u16 = 20;

/// Somebody who reads what comes and puts it into a file, until this value goes.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn of(end: &impl AsFd, log: &Path) -> Self {
        let end = File::from(end.as_fd().try_clone_to_owned().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped) = (log.to_path_buf(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || copy(end, &log, &stopped));
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()), "it could read");
    }
}

fn copy(mut end: File, log: &Path, stopped: &AtomicBool) {
    let mut chunk = vec![0; 1 << 20];
    while !stopped.load(Ordering::Relaxed) {
        let mut set = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        if poll(&mut set, PollTimeout::from(LOOK_AGAIN_MS)).unwrap() == 0 {
            continue;
        }
        let count = end.read(&mut chunk).unwrap();
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        log.write_all(&chunk[..count]).unwrap();
    }
}

/// A named pipe that holds one page, open at both ends.
fn pipe(folder: &Path) -> (PathBuf, File) {
    let path = folder.join("pipe");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK);
    let file = options.open(&path).unwrap();
    fcntl(&file, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    (path, file)
}

/// Fills a pipe to its last byte, with lines that say nothing.
fn fill(mut pipe: &File) {
    while pipe.write(b"\n").is_ok() {}
}

/// What is asked of a server whose log nobody reads.
fn serves_and_obeys(server: &Server, client: &mut Peer) {
    for number in 0..REQUESTS {
        let page = dial(server.address()).unwrap();
        page.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = http(page, PAGE);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        client.send(&number.to_string()).unwrap();
        client.expect(&number.to_string());
    }
    assert_eq!(run(server, &["status"]).0, Some(0));
    for verb in ["reload", "upgrade"] {
        assert_eq!(run(server, &[verb]).0, Some(0));
    }
    client.send("moved").unwrap();
    client.expect("moved");
}

const OPTIONS: [&str; 10] = [
    "--socket",
    "127.0.0.1:0",
    "--processes",
    "2",
    "--settle",
    "0",
    "--mount",
    "/echo=app:echo",
    "--log-requests",
    "--log-format=json",
];

/// Waits until the lines of all those requests are told of as lost, those of workers that have ended too.
fn tells_of_the_loss(server: &Server) {
    wait_for("word of all lost lines", PATIENCE, || {
        let lines = whole_lines(server);
        let messages = lines.iter().filter_map(|line| line["message"].as_str());
        let counts = messages.filter_map(|message| message.split_once(LOST)?.0.split(' ').next());
        let lost: usize = counts.map(|count| count.parse::<usize>().unwrap()).sum();
        (lost >= REQUESTS).then_some(())
    });
}

/// Every line there is, and none of them in part.
fn whole_lines(server: &Server) -> Vec<serde_json::Value> {
    let log = server.log();
    let lines = log.lines().filter(|line| !line.is_empty());
    let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("half a line: {line}"));
    lines.map(read).collect()
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let folder = folder();
    let log = folder.path().join("log");
    let (path, pipe) = pipe(folder.path());
    let reader = Reader::of(&pipe, &log);
    let script = format!("exec \"$0\" \"$@\" 2>'{}'", path.display());
    let mut server = Server::start_in(folder, &["sh", "-c", &script, MASTER], MASTER, &OPTIONS);
    let mut client = Peer::of(&server, "/echo");
    drop(reader);
    fill(&pipe);
    serves_and_obeys(&server, &mut client);
    let reader = Reader::of(&pipe, &log);
    tells_of_the_loss(&server);
    drop(reader);
    fill(&pipe);
    assert_eq!(run(&server, &["stop"]), (Some(0), "stopped\n".to_owned()));
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_socket_that_nobody_reads_holds_nobody_up() {
    let folder = folder();
    let log = folder.path().join("log");
    let (end, theirs) = UnixStream::pair().unwrap();
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let number = theirs.as_raw_fd();
    let reader = Reader::of(&end, &log);
    let script = format!("exec \"$0\" \"$@\" 2>&{number}");
    let mut server = Server::start_in(folder, &["sh", "-c", &script, MASTER], MASTER, &OPTIONS);
    let mut client = Peer::of(&server, "/echo");
    drop(reader);
    // Whether a write blocks is the same for everybody who has this socket, so it is said with each.
    while send(number, b"\n", MsgFlags::MSG_DONTWAIT).is_ok() {}
    let flags = OFlag::from_bits_retain(fcntl(&theirs, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    serves_and_obeys(&server, &mut client);
    let _reader = Reader::of(&end, &log);
    tells_of_the_loss(&server);
    assert_eq!(run(&server, &["stop"]).0, Some(0));
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_log_pipe_without_a_reader_does_not_hold_the_start_up() {
    let folder = folder();
    let path = folder.path().join("pipe");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let started = command(MASTER, folder.path())
        .args(["--socket", "127.0.0.1:0", "--instance", "piped"])
        .args(["--daemonize", path.to_str().unwrap()])
        .output();
    succeeded(&started.expect("the built program starts"));
    let verb = |word: &str| {
        let output = command(MASTER, folder.path()).arg(word).output();
        succeeded(&output.expect("the built program starts"))
    };
    verb("upgrade");
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut text = [0; 64 * 1024];
    let count = options.open(&path).unwrap().read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..count]).into_owned();
    for waited in ["ready: 1 worker", "generation 2 serves"] {
        assert!(text.contains(waited), "{text}");
    }
    verb("stop");
}

#[test]
fn a_user_who_could_not_open_the_pipe_is_not_held_up_either() {
    if !geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let folder = folder();
    let log = folder.path().join("log");
    let (path, pipe) = pipe(folder.path());
    let reader = Reader::of(&pipe, &log);
    let script = format!("exec \"$0\" \"$@\" 2>'{}'", path.display());
    let options = [&OPTIONS[..], &["--uid", "65534", "--gid", "65534"]].concat();
    let mut server = Server::start_in(folder, &["sh", "-c", &script, MASTER], MASTER, &options);
    let (code, said) = run(&server, &["upgrade"]);
    assert_eq!(code, Some(0), "{said}");
    let mut client = Peer::of(&server, "/echo");
    drop(reader);
    fill(&pipe);
    serves_and_obeys(&server, &mut client);
    let _reader = Reader::of(&pipe, &log);
    tells_of_the_loss(&server);
    assert_eq!(run(&server, &["stop"]).0, Some(0));
    assert_eq!(server.ended().code(), Some(0));
}
