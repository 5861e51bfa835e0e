//! Upgrades to programs that know another state or another layout of the shared area: scripts in the place of the
//! program, which change what they inherit and then become the real one.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::MASTER;
use crate::ops_failures::{from_a_link, put, put_the_real_one, still_serves};
use crate::ops_reload::run;
use crate::peer::Peer;
use crate::server::Server;
use crate::status::Status;

/// Becomes the real program after `change` was made to the state, which is a text of this program's own. What it made of
/// it is left in a file beside it.
fn with_state(change: &str) -> String {
    format!(
        "#!/usr/bin/env bash\nset -e\nstate=/proc/self/fd/$BELLWETHER_STATE\ntext=$(sed '{change}' \"$state\")\n\
         printf %s \"$text\" >\"$state\"\nprintf %s \"$text\" >\"$0.state\"\nexec -a \"$0\" '{MASTER}' \"$@\"\n"
    )
}

/// The same with another object in the place of the board.
fn with_board(board: &File) -> String {
    let path = format!("/proc/{}/fd/{}", std::process::id(), board.as_raw_fd());
    format!(
        "#!/usr/bin/env bash\nset -e\n\
         number=$(sed 's/.*\"area\":\\[\\([0-9]*\\),.*/\\1/' \"/proc/self/fd/$BELLWETHER_STATE\")\n\
         eval \"exec $number<>{path}\"\nexec '{MASTER}' \"$@\"\n"
    )
}

/// A copy of the server's board with another number of its layout.
fn board_of_layout(server: &Server, layout: u32) -> (File, Vec<u8>) {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let board = descriptors.map(|entry| entry.unwrap().path()).find(|path| {
        let target = fs::read_link(path).unwrap_or_default();
        target.starts_with("/memfd:bellwether-board (deleted)")
    });
    let mut bytes = fs::read(board.expect("a board")).unwrap();
    bytes[8..12].copy_from_slice(&layout.to_le_bytes());
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut copy = File::from(memfd_create("copy", flags).unwrap());
    copy.write_all(&bytes).unwrap();
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    (copy, bytes)
}

fn upgrade_to_the_real_one(server: &Server, program: &Path, client: &mut Peer) {
    put_the_real_one(program);
    let (code, said) = run(server, &["upgrade"]);
    assert_eq!(code, Some(0), "{said}");
    server.publish("news", "upgraded");
    client.expect("upgraded");
}

#[test]
fn a_program_that_knows_another_version_of_the_state_is_refused() {
    let (server, program) = from_a_link(&["--processes", "2"]);
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server);
    put(
        &program,
        &with_state("s/\"version\":[0-9]*/\"version\":99/"),
    );
    let (code, said) = run(&server, &["upgrade"]);
    assert_eq!(code, Some(5), "{said}");
    for words in ["nothing has changed", "state of version 99", "restart"] {
        assert!(said.contains(words), "{said}");
    }
    still_serves(&server, &before, &mut client);
    upgrade_to_the_real_one(&server, &program, &mut client);
}

#[test]
fn a_program_that_knows_another_layout_is_refused_and_writes_nothing() {
    let (server, program) = from_a_link(&["--processes", "2"]);
    let mut client = Peer::of(&server, "/news");
    let before = Status::of(&server);
    let (board, bytes) = board_of_layout(&server, 99);
    put(&program, &with_board(&board));
    let (code, said) = run(&server, &["upgrade"]);
    assert_eq!(code, Some(5), "{said}");
    for words in ["nothing has changed", "layout 99", "restart"] {
        assert!(said.contains(words), "{said}");
    }
    let path = format!("/proc/self/fd/{}", board.as_raw_fd());
    assert!(fs::read(path).unwrap() == bytes, "it was only looked at");
    still_serves(&server, &before, &mut client);
    upgrade_to_the_real_one(&server, &program, &mut client);
}

#[test]
fn what_a_state_has_more_or_less_within_its_version_is_no_obstacle() {
    let (server, program) = from_a_link(&["--processes", "2"]);
    let mut client = Peer::of(&server, "/news");
    let pid = Status::of(&server).pid;
    for (change, more) in [
        ("s/^{/{\"novelty\":{\"of\":[1,2]},/", true),
        ("s/,\"lines\":{[^}]*}//", false),
    ] {
        put(&program, &with_state(change));
        let (code, said) = run(&server, &["upgrade"]);
        assert_eq!(code, Some(0), "{said}");
        let state = fs::read_to_string(program.with_extension("state")).unwrap();
        assert_eq!(state.contains("\"novelty\""), more, "{state}");
        assert_eq!(state.contains("\"lines\""), more, "{state}");
        server.publish("news", change);
        client.expect(change);
        assert_eq!(Status::of(&server).pid, pid);
    }
}
