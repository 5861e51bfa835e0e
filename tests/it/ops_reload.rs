//! Reload and upgrade from the outside: by signal, verb and touched file; what a configuration file changes; clients
//! that are served all the time.

use std::fs;
use std::net::TcpStream;

use nix::sys::signal::Signal;

use crate::peer::Peer;
use crate::process::{lives, wait_until_gone};
use crate::server::{Server, command, folder, said, succeeded};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

/// A server whose options are in a file, and the path of that file.
pub(crate) fn with_file(text: &str) -> (Server, std::path::PathBuf) {
    let folder = folder();
    let file = folder.path().join("server.ini");
    fs::write(&file, format!("[uwsgi]\nsettle = 0\n{text}\n")).unwrap();
    let path = file.to_str().expect("a path in UTF-8").to_owned();
    (
        Server::start_in(folder, &[MASTER], MASTER, &["--ini", &path]),
        file,
    )
}

/// Runs a verb to its end; its exit code and what it says.
pub(crate) fn run(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let output = server
        .verb(words)
        .output()
        .expect("the built program starts");
    (output.status.code(), said(&output))
}

fn done(server: &Server, words: &[&str]) -> String {
    succeeded(
        &server
            .verb(words)
            .output()
            .expect("the built program starts"),
    )
}

fn all_hear(server: &Server, clients: &mut [Peer], text: &str) {
    server.publish("news", text);
    for client in clients {
        client.expect(text);
    }
}

#[test]
fn the_verb_returns_when_everybody_is_replaced() {
    let server = Server::start(MASTER, &["--processes", "2", "--settle", "0.1"]);
    let before = Status::of(&server).worker_pids();
    let mut clients: Vec<Peer> = (0..6).map(|_| Peer::of(&server, "/news")).collect();
    assert_eq!(done(&server, &["reload"]), "reload: generation 2 serves\n");
    assert!(before.iter().all(|pid| !lives(*pid)), "all have left");
    all_hear(&server, &mut clients, "still here");
}

#[test]
fn an_upgrade_keeps_process_id_port_clients_and_counters() {
    let server = Server::start(
        MASTER,
        &[
            "--processes",
            "2",
            "--settle",
            "0.1",
            "--sharedarea",
            "name=a,size=65536",
        ],
    );
    let before = Status::of(&server);
    let mut clients: Vec<Peer> = (0..6).map(|_| Peer::of(&server, "/news")).collect();
    all_hear(&server, &mut clients, "before");
    for generation in 2..5 {
        let expected = format!("upgrade: generation {generation} serves\n");
        assert_eq!(done(&server, &["upgrade"]), expected);
        all_hear(&server, &mut clients, &expected);
    }
    let after = Status::wait_for_workers(&server, 2);
    assert_eq!(after.pid, before.pid);
    assert_eq!(after.listeners, before.listeners);
    assert_eq!(after.log.published, 4, "the log is the same memory");
    clients.push(Peer::of(&server, "/news"));
    server.signal(Signal::SIGUSR2);
    server.wait_for_log("upgrade: generation 5 serves", 1);
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload: generation 6 serves", 1);
    all_hear(&server, &mut clients, "after");
    wait_until_gone(&before.worker_pids());
}

#[test]
fn a_link_to_a_newer_program_is_followed() {
    let folder = folder();
    let link = folder.path().join("current");
    std::os::unix::fs::symlink(MASTER, &link).unwrap();
    let name = link.to_str().expect("a path in UTF-8").to_owned();
    let options = ["--socket", "127.0.0.1:0", "--settle", "0"];
    let server = Server::start_in(folder, &[&name], MASTER, &options);
    fs::remove_file(&link).unwrap();
    let (code, text) = run(&server, &["upgrade"]);
    assert_eq!(code, Some(5), "{text}");
    std::os::unix::fs::symlink(MASTER, &link).unwrap();
    done(&server, &["upgrade"]);
}

#[test]
fn a_file_that_is_read_again_changes_listeners_workers_and_apps() {
    let (server, file) = with_file("socket = 127.0.0.1:0\nprocesses = 1");
    let first = server.address();
    let mut old = Peer::of(&server, "/news");
    let unix = server.folder().join("more.sock");
    let text = format!(
        "[uwsgi]\nsettle = 0\nvacuum\nsocket = 127.0.0.1:0\nsocket = {}\nprocesses = 3\nmount = /e=app:echo\n",
        unix.display()
    );
    fs::write(&file, &text).unwrap();
    done(&server, &["reload"]);
    Status::wait_for_workers(&server, 3);
    let mut echo = Peer::connect(first, "/e").expect("the same port");
    echo.send("hello").unwrap();
    echo.expect("hello");
    let stream = std::os::unix::net::UnixStream::connect(&unix).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut new = Peer::on(stream, "/news").expect("the handshake is accepted");
    server.publish("news", "both");
    old.expect("both");
    new.expect("both");
    let text = text.replace(&format!("socket = {}\n", unix.display()), "");
    fs::write(
        &file,
        text.replace("socket = 127.0.0.1:0", "socket = 127.0.0.2:0"),
    )
    .unwrap();
    done(&server, &["reload"]);
    assert!(!unix.exists(), "nobody listens there any more");
    assert!(TcpStream::connect(first).is_err(), "nor there");
    assert_eq!(Status::of(&server).listeners.len(), 1);
    server.publish("news", "still served");
    new.expect("still served");
    old.expect("still served");
}

#[test]
fn a_touched_file_reloads() {
    let folder = folder();
    let file = folder.path().join("touch");
    let name = file.to_str().expect("a path in UTF-8").to_owned();
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--settle",
        "0",
        "--touch-reload",
        &name,
    ];
    let server = Server::start_in(folder, &[MASTER], MASTER, &options);
    fs::write(&file, "").unwrap();
    server.wait_for_log("reload: generation 2 serves", 1);
    fs::write(file.with_extension("new"), "").unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    server.wait_for_log("reload: generation 3 serves", 1);
}

#[test]
fn a_check_says_what_a_start_would_and_binds_nothing() {
    let folder = folder();
    let check = |options: &[&str]| {
        let output = command(MASTER, folder.path())
            .args(["--socket", "127.0.0.1:1", "--check"])
            .args(options)
            .output()
            .expect("the built program starts");
        (output.status.code(), said(&output))
    };
    assert_eq!(
        check(&[]),
        (Some(0), "the configuration can be used\n".to_owned())
    );
    for (options, expected) in [
        (["--app", "nothing"], "there is no app `nothing`"),
        (["--uid", "no-such-user-here"], "--uid no-such-user-here"),
        (["--gid", "no-such-group-here"], "--gid no-such-group-here"),
        (["--ini", "/nowhere/x.ini"], "/nowhere/x.ini"),
        (["--chdir", "/nowhere"], "--chdir /nowhere: No such file"),
        (["--logto", "/nowhere/log"], "--logto /nowhere/log: No such"),
        (["--daemonize", "/"], "--daemonize /: is a directory"),
        (["--pidfile", "/nowhere/p"], "--pidfile /nowhere/p: No such"),
        (["--master-fifo", "/nowhere/f"], "--master-fifo /nowhere/f"),
        (["--socket", "/nowhere/s"], "--socket /nowhere/s: No such"),
        (["--stats", "/dev/null/s"], "--stats /dev/null/s"),
        (["--sharedarea", "file=/nowhere/a,size=4096"], "/nowhere/a"),
        (["--sharedarea", "size=1000000000000000"], "allocate memory"),
    ] {
        let (code, text) = check(&options);
        assert_eq!(code, Some(1));
        assert!(text.contains(expected), "{text}");
    }
}
