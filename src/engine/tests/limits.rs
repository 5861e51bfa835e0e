//! Limits of what one client can make a worker keep or do.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::rig::{Rig, masked};
use crate::app::{App, ClientId, Context, Message, SendError};

const ANSWER_BYTES: usize = 4000;

/// Answers every message, however small, with [`ANSWER_BYTES`].
struct Amplifier {
    refused: Rc<Cell<usize>>,
}

impl App for Amplifier {
    fn name(&self) -> &'static str {
        "amplifier"
    }

    fn message(&mut self, cx: &mut Context<'_>, client: ClientId, _: Message<'_>) {
        match cx.send(client, &Message::binary(vec![1; ANSWER_BYTES])) {
            Ok(()) => {}
            Err(SendError::Full) => self.refused.set(self.refused.get() + 1),
            Err(error) => panic!("{error}"),
        }
    }
}

fn amplifier(outbox_bytes_max: usize) -> (Rig, Rc<Cell<usize>>) {
    let refused = Rc::default();
    let app = Amplifier {
        refused: Rc::clone(&refused),
    };
    let change = |config: &mut crate::config::Config| config.outbox_bytes_max = outbox_bytes_max;
    (Rig::with_app(change, Some(Box::new(app))), refused)
}

#[test]
fn answers_to_one_read_are_bounded_by_the_outbox() {
    const OUTBOX_BYTES_MAX: usize = 64 * 1024;
    let (mut rig, refused) = amplifier(OUTBOX_BYTES_MAX);
    let mut peer = rig.websocket("/");
    peer.send(&masked(0x82, b"").repeat(1000));
    rig.turn();
    assert!(refused.get() > 0, "some are refused");
    let key = rig.engine.keys()[0];
    let waiting = rig.engine.core.clients.get(key).unwrap().outbox.len();
    assert!(
        waiting < OUTBOX_BYTES_MAX + 2 * ANSWER_BYTES,
        "{waiting} bytes wait"
    );
}

#[test]
fn answers_that_the_kernel_takes_are_not_refused() {
    let (mut rig, refused) = amplifier(16 * 1024);
    let mut peer = rig.websocket("/");
    peer.send(&masked(0x82, b"").repeat(20));
    rig.turn();
    peer.receive();
    assert_eq!((peer.frames().len(), refused.get()), (20, 0));
}

#[test]
fn who_is_far_behind_gets_its_share_of_each_turn_and_waits_for_no_event() {
    const SHARE: usize = 4096;
    const MESSAGES: usize = 3 * SHARE;
    let mut rig = Rig::new(|config| config.spool_bytes = 16 * 1024 * 1024);
    let mut peer = rig.websocket("/news");
    // A frozen client falls behind although its socket would take everything.
    let key = rig.engine.keys()[0];
    let shipment = rig.engine.freeze(key).unwrap();
    for _ in 0..MESSAGES {
        assert!(rig.publish("news", b"x"));
    }
    rig.turn();
    rig.engine.give_back(&shipment);
    let mut came = Vec::new();
    while came.iter().sum::<usize>() < MESSAGES {
        peer.receive();
        came.push(peer.frames().len());
        // Longer than a test may take: a turn that ends did not wait.
        let for_ever = Duration::from_secs(3600);
        rig.engine.turn(for_ever, &mut Vec::new()).unwrap();
    }
    assert_eq!(came, [SHARE; 3]);
}
