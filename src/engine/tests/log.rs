//! From the shared log to the clients: order, slow ones, half-sent frames, laps.

use super::rig::{Peer, Rig, config_of, masked};
use crate::sharedarea::ParticipantKind;

/// Publishes, turning the loop while the log is busy.
fn publish(rig: &mut Rig, channel: &str, payload: &[u8]) {
    rig.until("the log takes a message", |rig| {
        rig.publish(channel, payload)
    });
}

fn numbered(number: u32, bytes: usize) -> Vec<u8> {
    let letter = b'a' + u8::try_from(number % 26).unwrap();
    let mut payload = format!("{number:08}").into_bytes();
    payload.resize(bytes, letter);
    payload
}

fn number_of(payload: &[u8]) -> u32 {
    let number = String::from_utf8_lossy(&payload[..8])
        .parse()
        .expect("a numbered payload");
    assert_eq!(payload, numbered(number, payload.len()), "a torn frame");
    number
}

#[test]
fn who_listens_gets_it_and_nobody_else() {
    let mut rig = Rig::new(|_| {});
    let mut first = rig.websocket("/news");
    let mut second = rig.websocket("/news?x=1");
    let mut other = rig.websocket("/sp%C3%A4ter");
    publish(&mut rig, "news", b"hello");
    publish(&mut rig, "später", b"later");
    publish(&mut rig, "nobody", b"lost");
    publish(&mut rig, "news", b"again");
    rig.expect(&mut first, b"\x81\x05hello\x81\x05again");
    rig.expect(&mut second, b"\x81\x05hello\x81\x05again");
    rig.expect(&mut other, b"\x81\x05later");
}

#[test]
fn what_waits_for_a_client_leaves_in_one_send() {
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.websocket("/news");
    rig.engine.core.report_figures();
    let before = rig.area.figures(1).sends;
    for _ in 0..3 {
        publish(&mut rig, "news", b"hello");
    }
    rig.expect(&mut peer, &b"\x81\x05hello".repeat(3));
    rig.engine.core.report_figures();
    assert_eq!(rig.area.figures(1).sends - before, 1);
}

#[test]
fn what_was_published_before_is_not_delivered_afterwards() {
    let mut rig = Rig::new(|_| {});
    publish(&mut rig, "news", b"old");
    rig.turn();
    let mut peer = rig.websocket("/news");
    publish(&mut rig, "news", b"new");
    rig.expect(&mut peer, b"\x81\x03new");
}

#[test]
fn clients_publish_only_where_it_is_allowed() {
    let mut closed = Rig::new(|_| {});
    let mut peer = closed.websocket("/news");
    peer.send(&masked(0x81, b"hi"));
    closed.until("the close comes", |_| {
        peer.receive();
        peer.received.len() > 4
    });
    assert_eq!(
        (peer.received[0], &peer.received[2..4]),
        (0x88, &1008_u16.to_be_bytes()[..])
    );
    assert!(peer.text().contains("--clients-publish"));

    let mut open = Rig::new(|config| config.clients_publish = true);
    let mut sender = open.websocket("/news");
    let mut listener = open.websocket("/news");
    sender.send(&masked(0x82, b"\xff\x00"));
    open.expect(&mut sender, b"\x82\x02\xff\x00");
    open.expect(&mut listener, b"\x82\x02\xff\x00");
}

#[test]
fn a_name_too_long_for_the_table_travels_in_front() {
    let long = "n".repeat(200);
    let mut rig = Rig::new(|_| {});
    let mut peer = rig.websocket(&format!("/{long}"));
    let mut other = rig.websocket(&format!("/{}", &long[1..]));
    publish(&mut rig, &long, b"for you");
    rig.expect(&mut peer, b"\x81\x07for you");
    rig.turn();
    other.receive();
    assert_eq!(other.received, b"");
}

#[test]
fn a_client_that_stops_reading_delays_nobody_and_gets_no_torn_frame() {
    let mut rig = Rig::new(|_| {});
    let mut slow = rig.websocket("/news");
    let mut fast = rig.websocket("/news");
    let mut seen = 0;
    // Far more than the sockets' buffers and many laps of the 64 KiB spool.
    for number in 0..2000 {
        publish(&mut rig, "news", &numbered(number, 1000));
        rig.turn();
        fast.receive();
        for (_, payload) in fast.frames() {
            assert_eq!(number_of(&payload), seen);
            seen += 1;
        }
    }
    rig.until("the fast client has everything", |_| {
        fast.receive();
        for (_, payload) in fast.frames() {
            assert_eq!(number_of(&payload), seen);
            seen += 1;
        }
        seen == 2000
    });
    let mut got = 0;
    let mut close = None;
    rig.until("the slow client gets its close frame", |_| {
        slow.receive();
        for (first, payload) in slow.frames() {
            match first {
                0x81 => {
                    assert_eq!(number_of(&payload), got, "a gap without a word");
                    got += 1;
                }
                0x88 => close = Some(payload),
                other => panic!("an unexpected frame {other:#x}"),
            }
        }
        close.is_some()
    });
    assert!(got > 0 && got < 2000);
    assert_eq!(close.unwrap()[..2], 1013_u16.to_be_bytes());
}

#[test]
fn a_channel_that_gets_its_place_in_the_table_later_loses_nothing() {
    let mut rig = Rig::new(|config| config.channels_max = 64);
    // Fills the table with channels that somebody listens to.
    let mut others: Vec<Peer> = (0..64)
        .map(|n| rig.websocket(&format!("/other{n}")))
        .collect();
    let mut peer = rig.websocket("/late");
    publish(&mut rig, "late", b"by name");
    rig.expect(&mut peer, b"\x81\x07by name");
    others.clear();
    rig.until("the others have gone", |rig| rig.engine.clients() == 1);
    for number in 0..200 {
        let text = format!("message {number:04}");
        publish(&mut rig, "late", text.as_bytes());
        rig.expect(&mut peer, &[b"\x81\x0c", text.as_bytes()].concat());
    }
}

/// A server whose channels have these rules.
fn rig_of(rule: &str, spool_bytes: u64) -> Rig {
    let rules = config_of(&["--channel", rule]).channel_rules;
    Rig::new(|config| {
        config.channel_rules = rules;
        config.spool_bytes = spool_bytes;
    })
}

/// A client of a channel with this rule that reads nothing while 2000 messages go through a spool
/// of 64, and the numbers that it then finds, with the payload of the close frame if there is one.
fn stalled(rule: &str) -> (Vec<u32>, Option<Vec<u8>>) {
    let mut rig = rig_of(rule, 64 * 1024);
    let mut slow = rig.websocket("/news");
    for number in 0..2000 {
        publish(&mut rig, "news", &numbered(number, 1000));
        rig.turn();
    }
    let mut numbers = Vec::new();
    let mut close = None;
    rig.until("the newest message or a close has come", |rig| {
        slow.receive();
        for (first, payload) in slow.frames() {
            match first {
                0x81 => numbers.push(number_of(&payload)),
                _ => close = Some(payload),
            }
        }
        rig.turn();
        close.is_some() || numbers.contains(&2000) || {
            if numbers.len() > 10 {
                // Whoever is live again gets what is new.
                rig.publish("news", &numbered(2000, 1000));
            }
            false
        }
    });
    (numbers, close)
}

#[test]
fn with_gap_what_is_gone_is_left_out() {
    let (numbers, close) = stalled("news,slow=gap");
    assert_eq!(close, None);
    assert!(
        numbers.windows(2).all(|pair| pair[0] <= pair[1]),
        "{numbers:?}"
    );
    assert!(numbers.len() < 1000, "something was left out");
}

#[test]
fn after_a_gap_comes_what_the_log_still_has_even_if_nothing_more_is_published() {
    let mut rig = rig_of("news,slow=gap", 1024 * 1024);
    let mut slow = rig.websocket("/news");
    let last = 3999;
    for number in 0..=last {
        publish(&mut rig, "news", &numbered(number, 1000));
        if number % 16 == 0 {
            rig.turn();
        }
    }
    rig.until("it is found overtaken", |rig| {
        rig.area.counters().lapped > 0
    });
    let mut seen = Vec::new();
    rig.until("the last message comes", |_| {
        slow.receive();
        seen.extend(slow.frames().iter().map(|(_, payload)| number_of(payload)));
        seen.last() == Some(&last)
    });
    assert!(seen.is_sorted() && seen.len() < 4000);
    // Half of what the log has, at least.
    let rest = (0..=last).rev().zip(seen.iter().rev());
    let unbroken = rest.take_while(|(wanted, number)| wanted == *number);
    assert!(unbroken.count() >= 500, "{seen:?}");
}

#[test]
fn with_latest_only_the_newest_comes_after_the_stall() {
    let (numbers, close) = stalled("n*,slow=latest");
    assert_eq!(close, None);
    let stall = numbers.iter().position(|number| *number >= 1999).unwrap();
    // Before it stands what was on its way when the client stalled: a row without gaps.
    let before: Vec<u32> = (0..u32::try_from(stall).unwrap()).collect();
    assert_eq!(numbers[..stall], before);
}

#[test]
fn with_a_threshold_it_is_closed_before_the_log_has_gone_around() {
    let (_, close) = stalled("*,slow=gap,close-bytes=20000");
    let close = close.unwrap();
    assert_eq!(close[..2], 1013_u16.to_be_bytes());
}

#[test]
fn a_slow_client_catches_up_while_the_log_still_has_it() {
    let mut rig = Rig::new(|config| config.spool_bytes = 16 * 1024 * 1024);
    let mut slow = rig.websocket("/news");
    for number in 0..4000 {
        publish(&mut rig, "news", &numbered(number, 1000));
        if number % 64 == 0 {
            rig.turn();
        }
    }
    let mut seen = 0;
    rig.until("everything has come", |_| {
        slow.receive();
        for (_, payload) in slow.frames() {
            assert_eq!(number_of(&payload), seen);
            seen += 1;
        }
        seen == 4000
    });
    publish(&mut rig, "news", b"live again");
    rig.expect(&mut slow, b"\x81\x0alive again");
}

#[test]
fn a_half_sent_frame_is_finished_after_its_place_was_overwritten() {
    let mut rig = Rig::new(|_| {});
    let mut slow = rig.websocket("/news");
    rig.narrow();
    for number in 0..200 {
        publish(&mut rig, "news", &numbered(number, 8000));
        rig.turn();
    }
    let key = rig.engine.keys()[0];
    let behind = rig.engine.core.clients.get(key).unwrap().behind.as_ref();
    let half = behind.and_then(|behind| behind.half.as_ref());
    assert!(half.is_some_and(|half| half.rescued.is_some()), "{half:?}");
    assert!(rig.area.horizon() > 64 * 1024, "the spool has gone around");
    let mut got = Vec::new();
    rig.until("the close comes", |_| {
        slow.receive();
        for (first, payload) in slow.frames() {
            if first == 0x88 {
                return true;
            }
            got.push(number_of(&payload));
        }
        false
    });
    assert_eq!(
        got,
        (0..u32::try_from(got.len()).unwrap()).collect::<Vec<_>>()
    );
}

#[test]
fn pings_are_answered_between_frames_of_the_log() {
    let mut rig = Rig::new(|_| {});
    let mut peer: Peer = rig.websocket("/news");
    publish(&mut rig, "news", b"one");
    peer.send(&masked(0x89, b"?"));
    publish(&mut rig, "news", b"two");
    let mut frames = Vec::new();
    rig.until("three frames come", |_| {
        peer.receive();
        frames.extend(peer.frames());
        frames.len() == 3
    });
    assert!(frames.contains(&(0x8a, b"?".to_vec())));
    let texts: Vec<_> = frames.iter().filter(|(first, _)| *first == 0x81).collect();
    assert_eq!(
        (&texts[0].1[..], &texts[1].1[..]),
        (&b"one"[..], &b"two"[..])
    );
}

#[test]
fn what_still_carries_the_name_when_its_channel_gets_a_place_is_not_lost() {
    let mut rig = Rig::new(|config| config.channels_max = 64);
    let mut holder = rig.area.join(ParticipantKind::External, 2).unwrap();
    let mut places = Vec::new();
    for n in 0..64 {
        let index = holder.channel(&format!("other{n}")).unwrap();
        holder.set_interest(index, 1);
        places.push(index);
    }
    let mut peer = rig.websocket("/late");
    // Both in one turn.
    assert!(rig.publish("late", b"one"));
    for index in places {
        holder.set_interest(index, 0);
    }
    assert!(rig.publish("late", b"two"));
    rig.expect(&mut peer, b"\x81\x03one\x81\x03two");
}
