//! Limits of what one client can make a worker keep or do.

use std::cell::Cell;
use std::rc::Rc;

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
