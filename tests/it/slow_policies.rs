//! What `--channel` makes of a client that stops reading: close, gap, latest, and the two limits of lag.
//!
//! In every test some clients read and miss nothing, and one reads only when all is published. It must not know how
//! the server finds out who is slow.

use crate::MASTER;
use crate::numbered;
use crate::peer::{Event, Peer};
use crate::server::{Server, succeeded};
use crate::status::Status;

const MESSAGE_BYTES: usize = 16 * 1024;
/// Messages on the way at a time.
const WINDOW: u64 = 8;
/// More than the kernel takes for a client that does not read, and than the small spool holds.
const FAR_BYTES: u64 = 8 << 20;
const SMALL_SPOOL: [&str; 2] = ["--spool-size", "1024"];

/// A server, clients that read (the first one publishes), and one that does not.
struct Scene {
    server: Server,
    readers: Vec<Peer>,
    stalled: Peer,
    published: u64,
}

impl Scene {
    fn set(rule: &str, options: &[&str]) -> Self {
        Self::start(rule, &[&["--websockets-ping-freq", "0"], options].concat())
    }

    fn start(rule: &str, options: &[&str]) -> Self {
        let common = ["--processes", "2", "--clients-publish", "--channel", rule];
        let server = Server::start(MASTER, &[&common, options].concat());
        let readers: Vec<Peer> = (0..5).map(|_| Peer::of(&server, "/ticks")).collect();
        let stalled = Peer::of(&server, "/ticks");
        Status::wait_for_subscriptions(&server, 6);
        Self {
            server,
            readers,
            stalled,
            published: 0,
        }
    }

    /// Publishes some messages; all who read get each of them, in order.
    fn publish(&mut self) {
        let messages: Vec<String> = (0..WINDOW)
            .map(|more| numbered::message("t", self.published + more, MESSAGE_BYTES))
            .collect();
        for message in &messages {
            self.readers[0].send(message).expect("nobody holds it up");
        }
        for reader in &mut self.readers {
            for message in &messages {
                // Not assert_eq: that would print both.
                let event = reader.read().expect("in time");
                assert!(
                    matches!(event, Event::Text(text) if text == *message),
                    "a reader missed something after message {}",
                    self.published
                );
            }
        }
        self.published += WINDOW;
    }

    fn publish_bytes(&mut self, bytes: u64) {
        let until = self.published + bytes.div_ceil(MESSAGE_BYTES as u64);
        while self.published < until {
            self.publish();
        }
    }

    /// Waits until the server has noticed that somebody is too slow.
    fn wait_for_lapped(&self) {
        Status::wait(&self.server, "a client to be found too slow", |status| {
            status.log.lapped > 0
        });
    }

    /// Reads what the stalled client gets, which is whole; its numbers, and what came behind them. With `last` it
    /// stops at that message.
    fn read_stalled(&mut self, last: Option<u64>) -> (Vec<u64>, Option<Event>) {
        let mut numbers = Vec::new();
        while last.is_none() || numbers.last().copied() != last {
            match self.stalled.read().expect("in time") {
                Event::Text(text) => numbers.push(numbered::check(&text).1),
                other @ (Event::Binary(_) | Event::Close(_) | Event::Ended | Event::Cut) => {
                    return (numbers, Some(other));
                }
            }
        }
        (numbers, None)
    }

    /// The stalled client is one like the others again.
    fn all_are_served(&mut self) {
        let first = self.published;
        self.publish();
        let (numbers, end) = self.read_stalled(Some(self.published - 1));
        assert_eq!(end, None);
        assert_eq!(numbers, (first..self.published).collect::<Vec<_>>());
    }
}

/// How many numbers at the start are 0, 1, 2 and so on.
fn unbroken(numbers: &[u64]) -> usize {
    (0..)
        .zip(numbers)
        .take_while(|(wanted, number)| wanted == *number)
        .count()
}

/// How many numbers at the end are those before `next`, one after the other.
fn unbroken_to(numbers: &[u64], next: u64) -> usize {
    (0..next)
        .rev()
        .zip(numbers.iter().rev())
        .take_while(|(wanted, number)| wanted == *number)
        .count()
}

#[test]
fn a_gap_is_all_that_a_client_notices_that_the_log_has_overtaken() {
    let mut scene = Scene::set("ticks,slow=gap", &SMALL_SPOOL);
    scene.publish_bytes(FAR_BYTES);
    scene.wait_for_lapped();
    // Nothing is published any more: it gets what the log still has of the rest.
    let (numbers, end) = scene.read_stalled(Some(scene.published - 1));
    assert_eq!(end, None);
    let start = unbroken(&numbers);
    assert!(start > 0 && start < numbers.len(), "{numbers:?}");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    // At least what a quarter of the spool holds.
    let after_gap = unbroken_to(&numbers, scene.published);
    assert!(after_gap * MESSAGE_BYTES >= 256 * 1024, "{numbers:?}");
    scene.all_are_served();
}

#[test]
fn a_client_of_a_latest_channel_gets_the_newest_message_and_none_in_between() {
    // The log has overtaken it in the one case, and in the other has everything still.
    for spool in ["1024", "65536"] {
        let mut scene = Scene::set("ticks,slow=latest", &["--spool-size", spool]);
        scene.publish_bytes(FAR_BYTES);
        let (numbers, end) = scene.read_stalled(Some(scene.published - 1));
        assert_eq!(end, None);
        let start = unbroken(&numbers);
        assert!(start > 0, "{numbers:?}");
        assert_eq!(numbers[start..], [scene.published - 1], "{numbers:?}");
        scene.all_are_served();
    }
}

#[test]
fn a_rule_is_for_the_channels_that_it_names_alone() {
    let mut scene = Scene::set("other.*,slow=gap", &SMALL_SPOOL);
    while Status::of(&scene.server).log.lapped == 0 {
        scene.publish();
    }
    let (numbers, end) = scene.read_stalled(None);
    assert!(unbroken(&numbers) == numbers.len() && !numbers.is_empty());
    assert_eq!(end, Some(Event::Close(Some(1013))));
}

#[test]
fn a_client_that_is_more_than_close_bytes_behind_is_closed_with_1013() {
    let mut scene = Scene::set("ticks,close-bytes=1000000", &["--spool-size", "65536"]);
    scene.publish_bytes(FAR_BYTES);
    scene.wait_for_lapped();
    let (numbers, end) = scene.read_stalled(None);
    assert!(unbroken(&numbers) == numbers.len() && !numbers.is_empty());
    assert!((numbers.len() as u64) < scene.published);
    assert_eq!(end, Some(Event::Close(Some(1013))));
    scene.publish();
}

#[test]
fn a_client_that_is_longer_than_close_lag_behind_is_closed_with_1013_whatever_else_its_policy() {
    for slow in ["close", "gap", "latest"] {
        let rule = format!("ticks,slow={slow},close-lag=0.2");
        let mut scene = Scene::set(&rule, &["--spool-size", "65536"]);
        scene.publish_bytes(FAR_BYTES);
        // Nothing is published any more: time alone does it.
        scene.wait_for_lapped();
        let (numbers, end) = scene.read_stalled(None);
        assert!(unbroken(&numbers) == numbers.len() && !numbers.is_empty());
        assert_eq!(end, Some(Event::Close(Some(1013))), "slow={slow}");
        scene.publish();
    }
}

#[test]
fn a_client_far_behind_gets_its_pong_before_the_messages_that_wait_for_it() {
    for slow in ["close", "gap", "latest"] {
        let mut scene = Scene::set(&format!("ticks,slow={slow}"), &["--spool-size", "65536"]);
        scene.publish_bytes(FAR_BYTES);
        scene.stalled.ping(b"still there?").expect("it leaves");
        // When these have arrived, its worker has read the ping.
        scene.publish();
        let mut behind_pong = 0;
        let last = scene.published - 1;
        loop {
            let event = scene.stalled.read().expect("in time");
            let Event::Text(text) = event else {
                panic!("slow={slow}: {event:?}");
            };
            behind_pong += usize::from(!scene.stalled.pongs().is_empty());
            if numbered::check(&text).1 == last {
                break;
            }
        }
        assert_eq!(scene.stalled.pongs(), [b"still there?".to_vec()]);
        let waiting = if slow == "latest" { 1 } else { 100 };
        assert!(behind_pong >= waiting, "slow={slow}: {behind_pong}");
    }
}

#[test]
fn a_client_that_is_dismissed_and_never_reads_is_gone_soon() {
    let pings = [
        "--spool-size",
        "65536",
        "--websockets-ping-freq",
        "1",
        "--websockets-pong-tolerance",
        "5",
    ];
    let mut scene = Scene::start("ticks,close-bytes=1000000", &pings);
    scene.publish_bytes(FAR_BYTES);
    while Status::of(&scene.server).clients() == 6 {
        // The readers answer their pings meanwhile.
        scene.publish();
    }
    let (numbers, end) = scene.read_stalled(None);
    assert!(unbroken(&numbers) == numbers.len() && !numbers.is_empty());
    // The close frame is there if the kernel had room for it.
    let ends = [Event::Close(Some(1013)), Event::Ended, Event::Cut];
    assert!(end.is_some_and(|end| ends.contains(&end)));
    scene.publish();
}

#[test]
fn how_far_a_client_lags_is_shown_until_it_has_caught_up() {
    let mut scene = Scene::set("ticks,slow=gap", &["--spool-size", "65536"]);
    scene.publish_bytes(FAR_BYTES);
    let address = scene.stalled.stream().local_addr().expect("it is bound");
    let lagging = |status: &Status| {
        status
            .workers
            .iter()
            .map(|one| one.lag.clients)
            .sum::<u32>()
    };
    // The readers have got everything, but perhaps the board has not been told yet.
    let status = Status::wait(&scene.server, "one client to lag", |status| {
        lagging(status) == 1 && status.laggards.len() == 1
    });
    let laggard = &status.laggards[0];
    assert_eq!(laggard.address, Some(address.to_string()));
    assert_eq!(laggard.channel.as_deref(), Some("ticks"));
    let of_worker = status
        .workers
        .iter()
        .find(|worker| worker.slot == laggard.worker)
        .expect("it has a worker");
    assert_eq!(
        (of_worker.lag.entries, of_worker.lag.bytes),
        (laggard.entries, laggard.bytes)
    );
    assert!(laggard.entries > 100 && laggard.entries < scene.published);
    assert!(laggard.bytes > 100 * MESSAGE_BYTES as u64);
    let page = scene.server.verb(&["status"]).output();
    let page = succeeded(&page.expect("the built program starts"));
    assert!(page.contains(&address.to_string()), "{page}");
    // It grows older without more being published.
    let before = of_worker.lag.ms;
    Status::wait(&scene.server, "the lag to grow older", |status| {
        status.workers.iter().any(|worker| worker.lag.ms > before)
    });
    let (_, end) = scene.read_stalled(Some(scene.published - 1));
    assert_eq!(end, None);
    Status::wait(&scene.server, "nobody to lag", |status| {
        lagging(status) == 0 && status.laggards.is_empty()
    });
}
