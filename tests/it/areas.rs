//! Areas and writers from outside: the option, the verbs, the FIFO, and the documented examples as they stand in the
//! document.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::peer::{Event, Peer};
use crate::process;
use crate::server::{self, Server, said, succeeded};
use crate::{MASTER, PATIENCE};

const DOCUMENT: &str = include_str!("../../docs/areas.md");

/// The example in this language.
fn example(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT
        .split_once(&format!("```{language}\n"))
        .expect("the example");
    rest.split("```").next().expect("its end")
}

/// The server's place in its run directory.
pub(crate) fn place(server: &Server) -> PathBuf {
    let found = fs::read_dir(server.folder()).expect("its folder");
    found
        .map(|entry| entry.expect("an entry").path().join(server::INSTANCE))
        .find(|path| path.join("fifo").exists())
        .expect("an instance")
}

fn verb(server: &Server, words: &[&str]) -> Output {
    let words = [&["area"], words].concat();
    server
        .verb(&words)
        .output()
        .expect("the built master starts")
}

fn shell(server: &Server, script: &str) {
    let output = Command::new("sh")
        .args(["-euc", script])
        .env("RUN", place(server))
        .output();
    succeeded(&output.expect("a shell"));
}

#[test]
fn areas_are_written_read_and_sent_by_verbs() {
    let server = Server::start(
        MASTER,
        &["-p", "2", "-A", "1", "-A", "size=3000000,name=big"],
    );
    let mut client = Peer::of(&server, "/news");
    succeeded(&verb(&server, &["write", "0", "64", "hello"]));
    assert_eq!(
        succeeded(&verb(&server, &["read", "0", "64", "5"])),
        "hello"
    );
    let sent = succeeded(&verb(&server, &["send", "0", "news", "64", "5"]));
    assert_eq!(sent, "reached 2 of 2 workers\n");
    client.expect("hello");
    succeeded(&verb(
        &server,
        &["send", "big", "news", "10", "2999990", "--binary"],
    ));
    let Event::Binary(message) = client.read().expect("in time") else {
        panic!("it is binary");
    };
    assert_eq!(message.len(), 2_999_990);
    let output = verb(&server, &["read", "big"]);
    assert_eq!(
        output.stdout.len(),
        3_002_368,
        "whole pages, in several answers"
    );
    let refused = verb(&server, &["write", "0", "4095", "hello"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(said(&refused).contains("do not lie inside the 4096 bytes"));
    let info = succeeded(&verb(&server, &["info"]));
    assert!(info.contains("big") && info.contains("memory"), "{info}");
    let json = succeeded(&verb(&server, &["info", "big", "--json"]));
    assert!(json.contains("\"id\": 1"), "{json}");
    assert!(
        server
            .log()
            .contains("sharedarea 1 (big): 3002368 bytes of memory")
    );
}

#[test]
fn a_wrong_area_ends_the_start_with_a_reason_and_leaves_nothing() {
    let folder = server::folder();
    let file = folder.path().join("short");
    fs::write(&file, [0; 100]).expect("a file");
    let short = format!("file={},size=101", file.display());
    let missing = format!("file={}/no,size=1", folder.path().display());
    for (value, words) in [
        (&*short, "has 100 bytes, 101 are needed"),
        (&*missing, "it must exist"),
        ("name=x", "pages=N or size=BYTES is missing"),
        ("fd=987,size=1", "cannot be opened"),
    ] {
        let output = server::command(MASTER, folder.path())
            .args(["--socket", "127.0.0.1:0", "--sharedarea", value])
            .output()
            .expect("the built master starts");
        assert_eq!(output.status.code(), Some(1), "{value}");
        assert!(said(&output).contains(words), "{value}: {}", said(&output));
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_served_ends_nobody() {
    let folder = server::folder();
    let path = folder.path().join("area");
    fs::write(&path, [b'a'; 100_000]).expect("a file");
    let option = format!("file={},size=100000", path.display());
    let server = Server::start(MASTER, &["--sharedarea", &option]);
    let mut client = Peer::of(&server, "/0");
    succeeded(&verb(&server, &["send", "0", "0", "99990"]));
    client.expect("aaaaaaaaaa");
    let file = OpenOptions::new().write(true).open(&path).expect("it");
    file.set_len(10).expect("shorter");
    shell(&server, "echo 'A 0 99990 10' > $RUN/fifo");
    for words in [&["read", "0"][..], &["write", "0", "500", "x"]] {
        assert_eq!(verb(&server, words).status.code(), Some(5));
    }
    server.publish("0", "alive");
    client.expect("alive");
    assert!(process::lives(server.pid().as_raw()));
}

#[test]
fn lines_in_the_fifo_publish_and_bad_ones_harm_nothing() {
    let server = Server::start(MASTER, &["-p", "2", "-A", "1", "-A", "pages=1,name=frames"]);
    let mut news = Peer::of(&server, "/news");
    let mut frames = Peer::of(&server, "/frames");
    shell(
        &server,
        "printf 'hello' | dd of=\"$RUN/areas/frames\" bs=1 seek=64 conv=notrunc status=none
         printf 'nonsense\\nA 9 0 1 news\\nP news first\\nT 1 64 5 news\\n' > $RUN/fifo
         echo 'A frames 66 2' > $RUN/fifo",
    );
    news.expect("first");
    news.expect("hello");
    assert_eq!(
        frames.read().expect("in time"),
        Event::Binary(b"ll".to_vec())
    );
    server.wait_for_log("is no command; allowed is P CHANNEL TEXT", 1);
    server.wait_for_log("there is no such area", 1);
    // Told once a second, like the line before.
    server::wait_for("word of the range", PATIENCE, || {
        shell(&server, "echo 'A 0 4096 1 news' > $RUN/fifo");
        server.log().contains("do not lie inside").then_some(())
    });
}

#[test]
fn nonsense_without_end_is_told_once_a_second_and_counted() {
    const LINES: usize = 20_000;
    let server = Server::start(MASTER, &[]);
    shell(
        &server,
        &format!("yes nonsense | head -n {LINES} > $RUN/fifo"),
    );
    let written = server::wait_for("all of it to be told", PATIENCE, || {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains("is no command"));
        let counts: Vec<usize> = lines.map(left_out).collect();
        // A count by itself is told behind a line that was written before.
        let told: usize = counts.iter().sum();
        (told + counts.len() >= LINES).then_some(counts.len())
    });
    assert!(written < LINES / 100, "{written} lines");
}

/// How many others a line of the log stands for.
fn left_out(line: &str) -> usize {
    let count = line.split_once(" (and ").map(|(_, rest)| rest);
    count.map_or(0, |rest| rest.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn the_shell_example_broadcasts_by_writing_to_memory() {
    let server = Server::start(MASTER, &["-p", "2", "-A", "pages=1,watch=60000"]);
    let mut client = Peer::of(&server, "/news");
    // Only the FIFO can bring the message in time.
    shell(&server, example("sh"));
    client.expect("hello");
}

#[test]
fn the_python_example_broadcasts_by_writing_to_memory() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return;
    }
    let server = Server::start(MASTER, &["-p", "2", "-A", "pages=1,watch=5"]);
    let mut client = Peer::of(&server, "/r%C3%A4ume");
    let area = place(&server).join("areas/0");
    for text in ["hello", "w\u{f6}rld"] {
        let output = Command::new("python3")
            .args(["-c", example("python")])
            .arg(&area)
            .args(["r\u{e4}ume", text])
            .output();
        succeeded(&output.expect("python3 starts"));
        client.expect(text);
    }
}

#[test]
fn a_head_that_makes_no_sense_is_told_and_the_next_one_counts() {
    let server = Server::start(MASTER, &["-A", "pages=1,name=frames,watch=5"]);
    let mut client = Peer::of(&server, "/frames");
    let area = OpenOptions::new()
        .write(true)
        .open(place(&server).join("areas/frames"))
        .expect("the area");
    let write = |bytes: &[u8], at| area.write_all_at(bytes, at).expect("it is written");
    let head = |len: u32, kind: u8, seq: u64| {
        write(&len.to_le_bytes(), 0);
        write(&[kind], 4);
        write(&seq.to_le_bytes(), 8);
    };
    let mut seq = 0;
    // Nonsense of one place is told once a second.
    let mut until_told = |len, kind, text: &str| {
        server::wait_for(text, PATIENCE, || {
            seq += 1;
            head(len, kind, seq);
            server.log().contains(text).then_some(())
        });
        seq
    };
    until_told(4033, 1, "len is 4033, and 4032 bytes follow the head");
    until_told(3, 9, "kind is 9");
    write(b"\xff\xff\xff", 64);
    let seq = until_told(3, 1, "not UTF-8");
    // Somebody is writing: nothing is sent before the end.
    write(&(seq + 2).to_le_bytes(), 16);
    head(3, 1, seq + 1);
    write(b"abc", 64);
    head(3, 1, seq + 2);
    client.expect("abc");
}

#[test]
fn one_large_range_to_many_clients_takes_no_more_than_a_copy() {
    const CLIENTS: usize = 200;
    const BYTES: usize = 1 << 20;
    process::raise_own_limit();
    let server = Server::start(MASTER, &["-A", "size=1048576"]);
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| Peer::of(&server, "/news")).collect();
    server.publish("news", "warm");
    clients.iter_mut().for_each(|client| client.expect("warm"));
    let status = server.verb(&["status", "--json"]).output();
    let status = succeeded(&status.expect("the built master starts"));
    let workers = status
        .split("\"pid\": ")
        .nth(2)
        .or(status.split("\"pid\": ").nth(1));
    let worker: i32 = workers
        .and_then(|rest| rest.split([',', '\n']).next())
        .and_then(|pid| pid.trim().parse().ok())
        .expect("a worker's pid");
    assert_ne!(worker, server.pid().as_raw());
    let before = process::private_bytes(worker);
    succeeded(&verb(&server, &["send", "0", "news", "--binary"]));
    let after = process::private_bytes(worker);
    for client in &mut clients {
        let Event::Binary(message) = client.read().expect("in time") else {
            panic!("it is binary");
        };
        assert!(message == vec![0; BYTES]);
    }
    let grown = after.saturating_sub(before);
    println!("{CLIENTS} clients, one range of {BYTES} bytes: the worker grew by {grown} bytes");
    assert!(grown < 2 * BYTES as u64, "{grown}");
}

#[test]
fn the_end_of_the_server_clears_the_place() {
    let mut server = Server::start(MASTER, &["-p", "2", "-A", "1"]);
    let place = place(&server);
    assert!(fs::read(place.join("areas/0")).expect("it opens").len() == 4096);
    let mut fifo = OpenOptions::new()
        .write(true)
        .open(place.join("fifo"))
        .expect("it");
    fifo.write_all(b"P news hello").expect("half a line");
    server.ask_to_end();
    assert!(server.ended().success());
    server::wait_for("the place to be cleared", PATIENCE, || {
        (!place.exists()).then_some(())
    });
}
