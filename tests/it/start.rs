//! From a command line to a server, or to an exit code and a sentence that names what is wrong.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use crate::peer::{Peer, dial, http};
use crate::server::{self, INSTANCE, Server, said, wait_for};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Starts what cannot start, and returns its exit code and what it says.
fn refused_in(folder: &Path, options: &[&str]) -> (Option<i32>, String) {
    let mut child = server::command(MASTER, folder)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built master starts");
    wait_for("the end of what cannot start", PATIENCE, || {
        child.try_wait().expect("our own child")
    });
    let output = child.wait_with_output().expect("our own child");
    (output.status.code(), said(&output))
}

fn refused(options: &[&str]) -> (Option<i32>, String) {
    refused_in(server::folder().path(), options)
}

#[track_caller]
fn is_refused(options: &[&str], code: i32, words: &[&str]) {
    let (ended, text) = refused(options);
    assert_eq!(ended, Some(code), "{options:?}: {text}");
    for word in words {
        assert!(
            text.contains(word),
            "{options:?}: {word:?} is not in: {text}"
        );
    }
}

#[test]
fn a_taken_port_ends_the_start_with_2_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    is_refused(&["--socket", &address], 2, &[&address, "already in use"]);
}

#[test]
fn a_server_that_is_started_twice_is_told_which_one_is_there() {
    let folder = server::folder();
    let path = folder.path().join("a.sock");
    let path = path.to_str().unwrap();
    let server = Server::start(MASTER, &["--socket", path]);
    let port = format!(":{}", server.address().port());
    let there = format!("in use by instance {INSTANCE} (pid {})", server.pid());
    for address in [&server.address().to_string(), &port, path] {
        let options = ["--socket", address, "--instance", "second"];
        let (code, text) = refused_in(server.folder(), &options);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(&there), "{text}");
    }
    // Who looks elsewhere knows less.
    let (code, text) = refused(&["--socket", path]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("in use by another program"), "{text}");
}

#[test]
fn an_address_of_another_machine_ends_the_start_with_2() {
    is_refused(&["--socket", "192.0.2.1:0"], 2, &["192.0.2.1:0"]);
}

#[test]
fn a_unix_socket_in_a_missing_directory_ends_the_start_with_2_and_names_the_path() {
    let folder = server::folder();
    let path = folder.path().join("missing").join("a.sock");
    let path = path.to_str().unwrap();
    is_refused(&["--socket", path], 2, &[path, "No such file"]);
}

#[test]
fn what_is_no_address_is_named_with_what_would_be_one() {
    for address in [
        "3032",
        "127.0.0.1",
        "300.1.1.1:80",
        "example.com:80",
        "127.0.0.1:99999",
        ":",
    ] {
        is_refused(
            &["--socket", address],
            1,
            &["--socket", address, "[IPV6]:PORT"],
        );
    }
    is_refused(&[], 1, &["--socket"]);
}

#[test]
fn an_unknown_option_is_answered_with_the_one_that_was_meant() {
    is_refused(&["--proceses", "2"], 1, &["--proceses", "--processes"]);
    is_refused(
        &["--socket", ":0", "--websockets-max-siz", "2"],
        1,
        &["--websockets-max-size"],
    );
    is_refused(&["pubish", "news", "hello"], 1, &["publish"]);
}

#[test]
fn a_bad_value_is_named_with_its_option_and_what_is_allowed() {
    for (option, value, allowed) in [
        ("--processes", "0", "62"),
        ("--processes", "many", "auto"),
        ("--spool-size", "1000", "power of two"),
        ("--drain-timeout", "soon", "0"),
        ("--mount", "echo=app:echo", "/PATH=app:NAME"),
        ("--origin", "a b", "*.example.com"),
        ("--websockets-deflate", "yes", "takeover"),
        ("--instance", "../x", "letters"),
        ("--log-level", "loud", "debug"),
    ] {
        is_refused(
            &["--socket", "127.0.0.1:0", option, value],
            1,
            &[option, value, allowed],
        );
    }
}

#[test]
fn an_unknown_app_is_named_with_those_that_there_are() {
    is_refused(
        &["--socket", "127.0.0.1:0", "--app", "ecko"],
        1,
        &["ecko", "channels", "echo"],
    );
    is_refused(
        &["--socket", "127.0.0.1:0", "--mount", "/a=app:b"],
        1,
        &["/a", "`b`", "echo"],
    );
}

#[test]
fn a_second_server_of_the_same_name_is_told_the_first_ones_pid() {
    let server = Server::start(MASTER, &[]);
    let options = ["--socket", "127.0.0.1:0", "--instance", INSTANCE];
    let (code, text) = refused_in(server.folder(), &options);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains(INSTANCE) && text.contains("--instance"),
        "{text}"
    );
    assert!(text.contains(&format!("pid {}", server.pid())), "{text}");
    // The first one has not noticed.
    server.publish("news", "hello");
    Peer::of(&server, "/news");
}

#[test]
fn what_a_dead_master_left_behind_is_reused() {
    let folder = server::folder();
    let place = folder.path().join("bellwether").join(INSTANCE);
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700).create(&place).unwrap();
    fs::write(place.join("master.pid"), "1\n").unwrap();
    drop(std::os::unix::net::UnixListener::bind(place.join("control.sock")).unwrap());
    let options = ["--socket", "127.0.0.1:0"];
    let server = Server::start_in(folder, &[MASTER], MASTER, &options);
    assert_eq!(Status::of(&server).pid, server.pid().as_raw());
}

#[test]
fn a_run_directory_that_others_can_enter_is_refused() {
    let folder = server::folder();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let open = open.to_str().unwrap();
    is_refused(
        &["--socket", "127.0.0.1:0", "--run-dir", open],
        1,
        &[open, "755", "--run-dir"],
    );
}

#[test]
fn several_sockets_at_once_all_serve() {
    let folder = server::folder();
    let path = folder.path().join("web.sock");
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let mut options = vec!["--processes", "2", "--chmod-socket", "600"];
    options.extend([
        "--socket",
        "127.0.0.1:0",
        "--socket",
        path.to_str().unwrap(),
    ]);
    if has_ipv6 {
        options.extend(["--socket", "[::1]:0"]);
    }
    let server = Server::start_by(&[MASTER], MASTER, &options);
    let addresses: Vec<SocketAddr> = server.addresses().to_vec();
    assert_eq!(addresses.len(), if has_ipv6 { 2 } else { 1 });
    assert!(
        server
            .log()
            .contains(&format!("listening on {}", path.display()))
    );
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    let mut clients: Vec<Peer> = Vec::new();
    for address in &addresses {
        let page = http(dial(*address).unwrap(), GET);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        clients.push(Peer::connect(*address, "/news").unwrap());
    }
    let page = http(UnixStream::connect(&path).unwrap(), GET);
    assert!(page.contains("<html") && page.contains("200 OK"), "{page}");
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut unix = Peer::on(stream, "/news").unwrap();
    assert_eq!(server.publish("news", "to all"), "reached 2 of 2 workers\n");
    for client in &mut clients {
        client.expect("to all");
    }
    unix.expect("to all");
    assert_eq!(Status::of(&server).listeners.len(), addresses.len() + 1);
}

#[test]
fn the_start_tells_sizes_addresses_and_that_all_workers_are_ready() {
    let server = Server::start(MASTER, &["--processes", "3", "--spool-size", "2048"]);
    let log = server.log();
    let has = |words: &[&str]| {
        let found = log
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?} in {log}");
    };
    has(&["spool 2048 KiB", "messages up to"]);
    has(&[&format!("listening on {}", server.address())]);
    has(&["ready: 3 workers"]);
    has(&[
        &format!("pid {}", server.pid()),
        &format!("instance {INSTANCE}"),
    ]);
    assert_eq!(Status::of(&server).log.spool_bytes, 2048 * 1024);
}

#[test]
fn processes_auto_is_one_worker_a_processor() {
    let server = Server::start(MASTER, &["--processes", "auto"]);
    let processors = std::thread::available_parallelism().unwrap();
    assert!(
        server
            .log()
            .contains(&format!("ready: {processors} worker")),
        "{}",
        server.log()
    );
    assert_eq!(Status::of(&server).workers.len(), processors.get());
}

#[test]
fn two_servers_share_a_run_directory_and_the_verbs_ask_which_one() {
    let first = Server::start(MASTER, &[]);
    let run_dir = first.folder().join("bellwether");
    let run_dir = run_dir.to_str().unwrap();
    let second = Server::start(MASTER, &["--run-dir", run_dir, "--instance", "second"]);
    let status = |more: &[&str]| {
        let words = [&["status", "--json", "--run-dir", run_dir], more].concat();
        server::command(MASTER, first.folder())
            .args(words)
            .output()
            .unwrap()
    };
    let unclear = status(&[]);
    assert_eq!(unclear.status.code(), Some(5));
    let text = said(&unclear);
    assert!(text.contains(INSTANCE) && text.contains("second"), "{text}");
    for server in [&first, &second] {
        let port = format!(":{}", server.address().port());
        let found = said(&status(&["--socket", &port]));
        assert!(
            found.contains(&format!("\"pid\": {}", server.pid())),
            "{found}"
        );
    }
}
