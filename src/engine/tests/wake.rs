//! Apps that want to be called at a time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::rig::Rig;
use crate::app::{App, ClientId, Context, Message};

/// Longer than a test may take: a turn that ends was woken.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Notes when it is called, and asks for the next time.
struct Clockwork {
    calls: Rc<RefCell<Vec<u64>>>,
    wishes_ms: Vec<u64>,
}

impl App for Clockwork {
    fn name(&self) -> &'static str {
        "clockwork"
    }

    fn message(&mut self, _: &mut Context<'_>, _: ClientId, _: Message<'_>) {}

    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        self.calls.borrow_mut().push(cx.now_ms());
        for wish_ms in self.wishes_ms.drain(..) {
            cx.wake_at(cx.now_ms() + wish_ms);
        }
        false
    }
}

fn turned_at(wishes_ms: &[u64], turns: usize) -> Vec<u64> {
    let calls = Rc::default();
    let app = Clockwork {
        calls: Rc::clone(&calls),
        wishes_ms: wishes_ms.to_vec(),
    };
    let mut rig = Rig::with_app(|_| {}, Some(Box::new(app)));
    rig.turn();
    while calls.borrow().len() <= turns {
        rig.engine.turn(FOR_EVER, &mut Vec::new()).unwrap();
    }
    calls.take()
}

#[test]
fn the_loop_turns_when_an_app_wants_to_be_called() {
    let calls = turned_at(&[30], 1);
    // The clocks of loop and poll may differ by the last millisecond.
    assert!(calls[1] + 1 >= calls[0] + 30, "{calls:?}");
}

#[test]
fn of_several_wishes_the_earliest_counts_however_they_come() {
    for wishes_ms in [[20, 3_600_000], [3_600_000, 20]] {
        let calls = turned_at(&wishes_ms, 1);
        assert!(calls[1] + 1 >= calls[0] + 20, "{calls:?}");
    }
}
