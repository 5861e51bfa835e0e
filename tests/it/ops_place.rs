//! The server's place in the system: pidfile, background, log files, user, service manager, inherited sockets.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::ops_reload::run;
use crate::peer::Peer;
use crate::process::{lives, signal, wait_until_gone};
use crate::server::{Server, command, folder, said, succeeded, wait_for};
use crate::status::Status;
use crate::{MASTER, PATIENCE};

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn the_pidfile_is_there_while_the_server_is() {
    let folder = folder();
    let (pidfile, socket) = (folder.path().join("pid"), folder.path().join("a.sock"));
    let (name, address) = (text(&pidfile), text(&socket));
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--socket",
        &address,
        "--pidfile",
        &name,
        "--vacuum",
        "--umask",
        "027",
    ];
    let mut server = Server::start_in(folder, &[MASTER], MASTER, &options);
    assert_eq!(
        fs::read_to_string(&pidfile).unwrap(),
        format!("{}\n", server.pid())
    );
    assert!(socket.exists());
    assert_eq!(run(&server, &["upgrade"]).0, Some(0));
    server.ask_to_end();
    assert_eq!(server.ended().code(), Some(0));
    assert!(!pidfile.exists() && !socket.exists(), "vacuum");
}

#[test]
fn a_server_in_the_background_is_ready_when_its_starter_ends() {
    let folder = folder();
    let file = folder.path().join("daemon.log");
    let start = |options: &[&str]| {
        command(MASTER, folder.path())
            .args([
                "--socket",
                "127.0.0.1:0",
                "--instance",
                "daemon",
                "--daemonize",
                "daemon.log",
            ])
            .args(options)
            .current_dir(folder.path())
            .output()
            .expect("the built program starts")
    };
    let wrong = start(&["--master-fifo", "/nowhere/pipe"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    fs::remove_file(&file).unwrap();
    succeeded(&start(&["--chdir", "/", "--die-on-term"]));
    let log = || fs::read_to_string(&file).unwrap_or_default();
    assert!(log().contains("ready: 1 worker"), "{}", log());
    // Moved away, it is opened again.
    fs::rename(&file, folder.path().join("old.log")).unwrap();
    let verb = |words: &[&str]| {
        let output = command(MASTER, folder.path()).args(words).output();
        succeeded(&output.expect("the built program starts"))
    };
    let status: serde_json::Value = serde_json::from_str(&verb(&["status", "--json"])).unwrap();
    let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    signal(pid, Signal::SIGUSR1);
    wait_for("the figures in the new log", PATIENCE, || {
        log().contains("1 worker serving").then_some(())
    });
    verb(&["stop"]);
    wait_for("the master to be gone", PATIENCE, || {
        (!lives(pid)).then_some(())
    });
}

#[test]
fn a_log_file_takes_what_standard_error_would() {
    let folder = folder();
    let file = folder.path().join("log");
    let name = text(&file);
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--logto",
        &name,
        "--cpu-affinity",
        "1",
    ];
    let server = Server::start_in(folder, &[MASTER], MASTER, &options);
    server.wait_for_log("on processors [", 1);
}

#[test]
fn root_becomes_the_user_it_is_told_and_reloads_as_that() {
    if !geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let folder = folder();
    // The other user must find the program and the way to it.
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--settle",
        "0",
        "--uid",
        "65534",
        "--gid",
        "65534",
    ];
    let server = Server::start_in(folder, &[MASTER], MASTER, &options);
    let pids = Status::of(&server).worker_pids();
    for pid in pids.iter().copied().chain([server.pid().as_raw()]) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains("Uid:\t65534\t65534\t65534\t65534"),
            "{status}"
        );
        assert!(
            status.contains("Gid:\t65534\t65534\t65534\t65534"),
            "{status}"
        );
    }
    assert!(!server.log().contains("running as root"));
    assert_eq!(run(&server, &["reload"]).0, Some(0));
    wait_until_gone(&pids);
    Peer::of(&server, "/news");
}

/// A service manager's ear.
struct Service(UnixDatagram);

impl Service {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Hears until something begins so.
    fn wait_for(&self, start: &str) -> String {
        let mut bytes = [0; 1024];
        loop {
            let count = self.0.recv(&mut bytes).expect("word from the server");
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.starts_with(start) {
                return text;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_how_we_are() {
    let folder = folder();
    let path = folder.path().join("notify");
    let manager = Service::at(&path);
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let words = ["env", &variable, "WATCHDOG_USEC=600000", MASTER];
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--settle",
        "0",
        "--processes",
        "2",
    ];
    let mut server = Server::start_in(folder, &words, MASTER, &options);
    let ready = manager.wait_for("READY=1");
    assert!(
        ready.contains(&format!("MAINPID={}\n", server.pid())),
        "{ready}"
    );
    assert!(ready.contains("STATUS=ready: 2 workers"), "{ready}");
    manager.wait_for("WATCHDOG=1");
    for verb in ["reload", "upgrade"] {
        assert_eq!(run(&server, &[verb]).0, Some(0));
        let begins = manager.wait_for("RELOADING=1");
        let usec = begins
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(
            usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)),
            "{begins}"
        );
        manager.wait_for("READY=1");
    }
    manager.wait_for("WATCHDOG=1");
    server.ask_to_end();
    manager.wait_for("STOPPING=1");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_watchdog_is_not_fed_while_a_worker_stands_still() {
    let folder = folder();
    let path = folder.path().join("notify");
    let manager = Service::at(&path);
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let words = ["env", &variable, "WATCHDOG_USEC=600000", MASTER];
    let server = Server::start_in(folder, &words, MASTER, &["--socket", "127.0.0.1:0"]);
    manager.wait_for("WATCHDOG=1");
    let worker = Status::of(&server).worker_pids()[0];
    signal(worker, Signal::SIGSTOP);
    manager
        .0
        .set_read_timeout(Some(std::time::Duration::from_secs(2)))
        .unwrap();
    let mut fed = 0;
    while manager.0.recv(&mut [0; 1024]).is_ok() {
        fed += 1;
        assert!(fed < 100, "it is fed on and on");
    }
    signal(worker, Signal::SIGCONT);
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn relative_paths_are_the_same_places_after_a_reload_and_an_upgrade() {
    let folder = folder();
    let start = folder.path().to_path_buf();
    let app = start.join("app");
    fs::create_dir(&app).unwrap();
    fs::write(start.join("token"), "secret\n").unwrap();
    let ini = "[uwsgi]\nchdir = app\nsocket = 127.0.0.1:0\nsocket = ./a.sock\nsettle = 0\nvacuum\npidfile = pid\n\
               master-fifo = pipe\ntouch-reload = touch\nstats = ./stats.sock\nlogto = log\nrun-dir = ../bellwether\n\
               api = ./api.sock\napi-token-file = token\n";
    fs::write(start.join("server.ini"), ini).unwrap();
    let script = format!("cd '{}' && exec \"$0\" \"$@\"", start.display());
    let words = ["sh", "-c", &script, MASTER];
    let mut server = Server::start_in(folder, &words, MASTER, &["--ini", "server.ini"]);
    let connect = |name| UnixStream::connect(app.join(name)).expect("it listens");
    let stream = connect("a.sock");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Peer::on(stream, "/news").expect("the handshake is accepted");
    let mut generation = 1;
    for verb in ["reload", "upgrade", "upgrade", "reload"] {
        let (code, said) = run(&server, &[verb]);
        assert_eq!(code, Some(0), "{said}");
        generation += 1;
        for socket in ["./a.sock", &text(&app.join("a.sock"))] {
            let mut status = server.verb(&["status", "--socket", socket]);
            succeeded(&status.current_dir(&app).output().unwrap());
        }
        server.publish("news", verb);
        client.expect(verb);
        for name in ["a.sock", "stats.sock", "api.sock"] {
            connect(name);
        }
    }
    fs::write(app.join("pipe"), "r").unwrap();
    server.wait_for_log(&format!("reload: generation {} serves", generation + 1), 1);
    fs::write(app.join("touch"), "").unwrap();
    server.wait_for_log(&format!("reload: generation {} serves", generation + 2), 1);
    let without_stats = ini.replace("stats = ./stats.sock\n", "");
    fs::write(start.join("server.ini"), without_stats).unwrap();
    let (code, said) = run(&server, &["upgrade"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!app.join("stats.sock").exists(), "nobody wants it any more");
    let pid = fs::read_to_string(app.join("pid")).unwrap();
    assert_eq!(pid.trim(), server.pid().to_string());
    server.ask_to_end();
    assert_eq!(server.ended().code(), Some(0));
    for name in ["a.sock", "api.sock", "pid", "pipe"] {
        assert!(!app.join(name).exists(), "vacuum: {name}");
    }
}

#[test]
fn a_socket_of_the_service_manager_is_known_by_a_relative_path() {
    let folder = folder();
    let path = folder.path().join("a.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let number = socket.as_raw_fd();
    let keep = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
    nix::fcntl::fcntl(&socket, keep).unwrap();
    let script = format!(
        "cd '{}'; exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"",
        folder.path().display()
    );
    let words = ["sh", "-c", &script, MASTER];
    let options = [
        "--socket",
        "127.0.0.1:0",
        "--socket",
        "./a.sock",
        "--settle",
        "0",
    ];
    let server = Server::start_in(folder, &words, MASTER, &options);
    drop(socket);
    for verb in ["reload", "upgrade"] {
        assert_eq!(run(&server, &[verb]).0, Some(0));
        assert_eq!(Status::of(&server).listeners.len(), 2);
        UnixStream::connect(&path).expect("it is served");
    }
}

#[test]
fn a_socket_of_the_service_manager_is_listened_on_and_kept() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let number = socket.as_raw_fd();
    nix::fcntl::fcntl(
        &socket,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let script = format!(
        "exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" \"$@\""
    );
    let words = ["sh", "-c", &script, MASTER];
    let server = Server::start_in(folder(), &words, MASTER, &["--settle", "0"]);
    server.wait_for_log(&format!("listening on {address}"), 1);
    server.wait_for_log("\"web\"", 1);
    drop(socket);
    let mut client = Peer::connect(address, "/news").expect("it is served");
    for verb in ["reload", "upgrade", "reload"] {
        assert_eq!(run(&server, &[verb]).0, Some(0));
        server.publish("news", verb);
        client.expect(verb);
        Peer::connect(address, "/news").expect("it is served");
    }
    let worker = Status::of(&server).worker_pids()[0];
    for pid in [worker, server.pid().as_raw()] {
        assert!(lives(pid));
    }
}
