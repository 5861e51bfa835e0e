//! What an upgrade cannot have: new sockets are tried before and the upgrade is refused; a log file or a directory that
//! is gone is told and gone on without. Clients stay in any case, and the next upgrade works.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::MASTER;
use crate::ops_failures::still_serves;
use crate::ops_reload::{run, with_file};
use crate::peer::Peer;
use crate::server::{Server, folder};
use crate::status::Status;

const GOOD: &str = "[uwsgi]\nsettle = 0\nsocket = 127.0.0.1:0\nprocesses = 2\n";

fn upgrade(server: &Server, client: &mut Peer) {
    let (code, said) = run(server, &["upgrade"]);
    assert_eq!(code, Some(0), "{said}");
    server.publish("news", &said);
    client.expect(&said);
    Peer::of(server, "/news");
}

#[test]
fn an_upgrade_that_cannot_bind_is_refused_and_leaves_no_trace() {
    let (server, file) = with_file("socket = 127.0.0.1:0\nprocesses = 2");
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let (new, in_the_way) = (server.folder().join("new"), server.folder().join("file"));
    fs::write(&in_the_way, "keep me").unwrap();
    let own_port = server.address().port();
    for (more, reason) in [
        (format!("socket = {taken}"), "already in use"),
        (format!("api = {taken}"), "already in use"),
        (format!("stats = {taken}"), "already in use"),
        (format!("socket = 0.0.0.0:{own_port}"), "already in use"),
        ("socket = /nonexistent/a.sock".to_owned(), "No such file"),
        ("api = /nonexistent/a.sock".to_owned(), "No such file"),
        ("stats = /nonexistent/a.sock".to_owned(), "No such file"),
        (format!("socket = {}", in_the_way.display()), "in the way"),
        ("socket = 192.0.2.1:0".to_owned(), "no network interface"),
    ] {
        let text = format!("{GOOD}socket = {}\n{more}\n", new.display());
        fs::write(&file, text).unwrap();
        let (code, said) = run(&server, &["upgrade"]);
        assert_eq!(code, Some(5), "{more}: {said}");
        for words in ["nothing has changed", "cannot listen on", reason] {
            assert!(said.contains(words), "{more}: {said}");
        }
        still_serves(&server, &before, &mut client);
        assert!(!new.exists(), "{more}");
    }
    assert_eq!(fs::read_to_string(&in_the_way).unwrap(), "keep me");
    let stats = server.folder().join("stats");
    let (there, shown) = (new.display(), stats.display());
    let text = format!("{GOOD}socket = {there}\nstats = {shown}\napi = 127.0.0.1:0\n");
    fs::write(&file, text).unwrap();
    upgrade(&server, &mut client);
    // What is inherited need not be tried.
    upgrade(&server, &mut client);
    UnixStream::connect(&stats).unwrap();
    Peer::on(UnixStream::connect(&new).unwrap(), "/news").expect("the handshake is accepted");
}

#[test]
fn a_reload_that_cannot_bind_leaves_no_trace_of_what_it_could() {
    let (server, file) = with_file("socket = 127.0.0.1:0\nprocesses = 2");
    let new = server.folder().join("new");
    let socket = new.display();
    let text = format!("{GOOD}socket = {socket}\nsocket = /nonexistent/a.sock\n");
    fs::write(&file, text).unwrap();
    let (code, said) = run(&server, &["reload"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(!new.exists(), "{said}");
}

#[test]
fn a_log_file_that_cannot_be_opened_again_is_gone_on_without() {
    let folder = folder();
    let log = folder.path().join("log");
    let name = log.to_str().expect("a path in UTF-8").to_owned();
    let options = ["--socket", "127.0.0.1:0", "--settle", "0", "--logto", &name];
    let server = Server::start_in(folder, &[MASTER], MASTER, &options);
    let mut client = Peer::of(&server, "/news");
    let moved = server.folder().join("moved");
    fs::rename(&log, &moved).unwrap();
    fs::create_dir(&log).unwrap();
    upgrade(&server, &mut client);
    let told = fs::read_to_string(&moved).unwrap();
    assert!(
        told.contains(&format!("--logto {name}: Is a directory")),
        "{told}"
    );
    assert!(told.contains("upgrade: generation 2 serves"), "{told}");
    fs::remove_dir(&log).unwrap();
    upgrade(&server, &mut client);
    server.wait_for_log("upgrade: generation 3 serves", 1);
}

#[test]
fn a_working_directory_that_cannot_be_found_again_is_stayed_in() {
    let folder = folder();
    let there = folder.path().join("there");
    fs::create_dir(&there).unwrap();
    let name = there.to_str().expect("a path in UTF-8").to_owned();
    let options = ["--socket", "127.0.0.1:0", "--settle", "0", "--chdir", &name];
    let server = Server::start_in(folder, &[MASTER], MASTER, &options);
    let place = |server: &Server| -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", server.pid())).unwrap()
    };
    assert_eq!(place(&server), fs::canonicalize(&there).unwrap());
    let mut client = Peer::of(&server, "/news");
    let moved = there.with_file_name("moved");
    fs::rename(&there, &moved).unwrap();
    for times in 1..3 {
        upgrade(&server, &mut client);
        server.wait_for_log(&format!("--chdir {name}: No such file"), times);
        assert_eq!(place(&server), fs::canonicalize(&moved).unwrap());
    }
    fs::remove_dir(&moved).unwrap();
    upgrade(&server, &mut client);
    fs::create_dir(&there).unwrap();
    upgrade(&server, &mut client);
    assert_eq!(place(&server), fs::canonicalize(&there).unwrap());
}

#[test]
fn what_a_file_has_gained_and_cannot_be_had_is_told() {
    let (server, file) = with_file("socket = 127.0.0.1:0\nprocesses = 2");
    let mut client = Peer::of(&server, "/news");
    for (more, at_reload, at_upgrade) in [
        (
            "chdir = /nonexistent",
            "--chdir has changed: that takes an upgrade",
            "--chdir /nonexistent: No such file",
        ),
        (
            "logto = /nonexistent/log",
            "--logto has changed: that takes an upgrade",
            "--logto /nonexistent/log: No such file",
        ),
        (
            "run-dir = /nonexistent",
            "--run-dir has changed: that takes a restart",
            "--run-dir has changed: that takes a restart",
        ),
    ] {
        fs::write(&file, format!("{GOOD}{more}\n")).unwrap();
        let (code, said) = run(&server, &["reload"]);
        assert_eq!(code, Some(0), "{said}");
        let times = server.log().matches(at_upgrade).count();
        server.wait_for_log(at_reload, 1);
        upgrade(&server, &mut client);
        server.wait_for_log(at_upgrade, times + 1);
    }
    fs::write(&file, GOOD).unwrap();
    upgrade(&server, &mut client);
}

#[test]
fn a_file_that_says_check_ends_no_server() {
    let (server, file) = with_file("socket = 127.0.0.1:0\nprocesses = 2");
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server);
    fs::write(&file, format!("{GOOD}check\n")).unwrap();
    for verb in ["reload", "upgrade"] {
        let (code, said) = run(&server, &[verb]);
        assert_eq!(code, Some(5), "{said}");
        let reason = format!("{}:5: `check` belongs on the command line", file.display());
        assert!(said.contains(&reason), "{said}");
        still_serves(&server, &before, &mut client);
    }
}
