//! What goes wrong in a reload or upgrade ends in a documented state (docs/reload.md): serving, or cleanly stopped.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::MASTER;
use crate::ops_reload::{run, with_file};
use crate::peer::{Event, Peer};
use crate::process::{kill_hard, lives, wait_until_gone};
use crate::server::{Server, folder};
use crate::status::Status;

/// A server whose program is a link, and where that is.
pub(crate) fn from_a_link(options: &[&str]) -> (Server, PathBuf) {
    let folder = folder();
    let link = folder.path().join("master");
    symlink(MASTER, &link).unwrap();
    let name = link.to_str().expect("a path in UTF-8").to_owned();
    let all = [&["--socket", "127.0.0.1:0", "--settle", "0"], options].concat();
    (Server::start_in(folder, &[&name], MASTER, &all), link)
}

/// Another program in the place of the running one, as a deployment puts it there.
///
/// A process of its own writes it: what a thread of ours holds open for writing, a child that another thread starts at
/// that moment holds too, and such a file cannot be run.
pub(crate) fn put(program: &Path, text: &str) {
    let new = program.with_extension("new");
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(&new)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = writer.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(writer.wait().unwrap().success());
    fs::rename(new, program).unwrap();
}

/// The real program in that place again.
pub(crate) fn put_the_real_one(program: &Path) {
    let new = program.with_extension("new");
    symlink(MASTER, &new).unwrap();
    fs::rename(new, program).unwrap();
}

pub(crate) fn still_serves(server: &Server, before: &Status, client: &mut Peer) {
    let after = Status::wait_for_workers(server, before.workers.len());
    assert_eq!(after.worker_pids(), before.worker_pids());
    assert_eq!(after.pid, before.pid);
    server.publish("news", "as before");
    client.expect("as before");
    Peer::of(server, "/news");
}

#[test]
fn a_program_that_cannot_start_is_found_out_before() {
    let (server, program) = from_a_link(&["--processes", "2"]);
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server);
    for (text, reason) in [
        (
            "#!/bin/sh\necho no such library >&2\nexit 127\n",
            "no such library",
        ),
        (
            "#!/bin/sh\nkill -KILL $$\n",
            "without a word (killed by SIGKILL)",
        ),
        ("#!/bin/sh\nexit 0\n", "none that can take over"),
        ("not a program", "master"),
    ] {
        put(&program, text);
        let (code, said) = run(&server, &["upgrade"]);
        assert_eq!(code, Some(5), "{said}");
        assert!(
            said.contains("nothing has changed") && said.contains(reason),
            "{said}"
        );
        still_serves(&server, &before, &mut client);
    }
    // A reload is of the program that runs, whatever is on disk.
    assert_eq!(run(&server, &["reload"]).0, Some(0));
    put_the_real_one(&program);
    assert_eq!(run(&server, &["upgrade"]).0, Some(0));
    server.publish("news", "upgraded");
    client.expect("upgraded");
}

#[test]
fn a_configuration_with_an_error_is_refused_with_its_line() {
    let (server, file) = with_file("socket = 127.0.0.1:0\nprocesses = 2");
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!(
        "[uwsgi]\nsocket = 127.0.0.1:0\nsocket = {}\n",
        taken.local_addr().unwrap()
    );
    for (text, reason) in [
        (
            "[uwsgi]\nsocket = 127.0.0.1:0\nproceses = 3\n",
            ":3: there is no option `proceses`; is `processes` meant?",
        ),
        ("[uwsgi]\nsocket = nonsense\n", "--socket \"nonsense\""),
        (
            "[uwsgi]\nsocket = 127.0.0.1:0\napp = none\n",
            "there is no app `none`",
        ),
        (taken.as_str(), "already in use"),
    ] {
        fs::write(&file, text).unwrap();
        for verb in ["reload", "upgrade"] {
            if verb == "upgrade" && reason == "already in use" {
                continue;
            }
            let (code, said) = run(&server, &[verb]);
            assert_eq!(code, Some(5), "{said}");
            assert!(said.contains(reason), "{said}");
            still_serves(&server, &before, &mut client);
        }
    }
}

#[test]
fn a_replacement_that_dies_ends_the_chain_and_mixed_generations_serve() {
    let server = Server::start(MASTER, &["--processes", "3", "--settle", "3600"]);
    let mut clients: Vec<Peer> = (0..9).map(|_| Peer::of(&server, "/news")).collect();
    let before = Status::of(&server).worker_pids();
    let waiting = server.verb(&["reload"]).stderr(Stdio::piped()).spawn();
    let chained = Status::wait(&server, "one to be replaced", |status| {
        status.workers.len() == 3
            && status.clients() == 9
            && status.serving().any(|worker| worker.slot == 4)
    });
    let new = chained
        .workers
        .iter()
        .find(|worker| worker.slot == 4)
        .expect("the replacement");
    kill_hard(new.pid.expect("a process"));
    let output = waiting
        .expect("the built program starts")
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("generation 2 failed in worker 4 (killed by SIGKILL)"),
        "{said}"
    );
    let after = Status::wait_for_workers(&server, 3);
    assert_eq!(after.phase, "running");
    let kept = before
        .iter()
        .filter(|pid| after.worker_pids().contains(pid));
    assert_eq!(kept.count(), 2, "the others have not been touched");
    server.publish("news", "who is left");
    let lost = clients
        .iter_mut()
        .map(Peer::read)
        .filter(|event| !matches!(event, Ok(Event::Text(text)) if text == "who is left"));
    assert_eq!(
        u32::try_from(lost.count()).unwrap(),
        new.clients,
        "only the clients of the one that died are lost"
    );
    Peer::of(&server, "/news");
}

#[test]
fn a_worker_that_dies_while_it_is_replaced_does_not_hold_the_chain_up() {
    let server = Server::start(MASTER, &["--processes", "2", "--settle", "0"]);
    let before = Status::of(&server).worker_pids();
    // It neither hands over nor leaves.
    crate::process::signal(before[0], nix::sys::signal::Signal::SIGSTOP);
    let waiting = server.verb(&["reload"]).stdout(Stdio::piped()).spawn();
    server.wait_for_log("replaces worker 1", 1);
    kill_hard(before[0]);
    let output = waiting
        .expect("the built program starts")
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    wait_until_gone(&before);
    Status::wait_for_workers(&server, 2);
    Peer::of(&server, "/news");
}

#[test]
fn a_master_that_is_killed_in_a_chain_leaves_nobody_behind_and_its_place_to_the_next() {
    for (orphans, code) in [("drain", Some(1001)), ("exit", None)] {
        let folder = folder();
        let options = [
            "--socket",
            "127.0.0.1:0",
            "--processes",
            "3",
            "--settle",
            "3600",
            "--orphans",
            orphans,
        ];
        let mut server = Server::start_in(folder, &[MASTER], MASTER, &options);
        let mut client = Peer::of(&server, "/news");
        server.signal(nix::sys::signal::Signal::SIGHUP);
        let chained = Status::wait(&server, "one to be replaced", |status| {
            status.workers.len() == 3 && status.serving().any(|worker| worker.slot == 4)
        });
        kill_hard(server.pid().as_raw());
        server.ended();
        match code {
            Some(_) => assert_eq!(client.close_code(), code),
            None => assert_eq!(client.read().unwrap_or(Event::Cut), Event::Ended),
        }
        wait_until_gone(&chained.worker_pids());
        assert!(chained.worker_pids().iter().all(|pid| !lives(*pid)));
        TcpListener::bind(server.address()).expect("the port is free");
    }
}
