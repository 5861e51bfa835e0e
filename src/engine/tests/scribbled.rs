//! Shared memory that somebody has scribbled over: nothing in it may panic or occupy a worker.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use super::rig::{Rig, config_of};

fn scribble(object: BorrowedFd<'_>, bytes: &[u8], at: u64) {
    let path = format!("/proc/self/fd/{}", object.as_raw_fd());
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[test]
fn an_entry_that_makes_no_sense_sends_nobody_back() {
    let rules = config_of(&["--channel", "news,slow=gap"]).channel_rules;
    let mut rig = Rig::new(|config| config.channel_rules = rules);
    let mut peer = rig.websocket("/news");
    let key = rig.engine.keys()[0];
    for n in 0..3 {
        assert!(rig.publish("news", format!("got{n}").as_bytes()));
    }
    rig.until("three come", |_| {
        peer.receive();
        peer.received.ends_with(b"got2")
    });
    peer.received.clear();
    let shipment = rig.engine.freeze(key).unwrap();
    for n in 0..6 {
        assert!(rig.publish("news", format!("msg{n}").as_bytes()));
    }
    rig.turn();
    // The `frame_bytes` of entry 7.
    scribble(rig.area.fds().log, &u32::MAX.to_le_bytes(), 64 * 7 + 16);
    rig.engine.give_back(&shipment);
    for _ in 0..50 {
        rig.turn();
    }
    peer.receive();
    let got: Vec<_> = peer.frames().into_iter().map(|(_, text)| text).collect();
    assert!(got.is_sorted_by(|one, next| one < next), "some came twice");
    assert_eq!(got.last().unwrap(), b"msg5");
    assert!(rig.engine.core.catching_up.is_empty(), "it never ends");
}

#[test]
fn a_head_that_makes_no_sense_is_survived() {
    let mut rig = Rig::new(|_| {});
    let _peer = rig.websocket("/news");
    scribble(rig.area.fds().board, &u64::MAX.to_le_bytes(), 4224);
    rig.turn();
}
