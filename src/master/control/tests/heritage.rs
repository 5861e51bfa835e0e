//! Verbs that are connected while another program takes the server's place.

use super::*;
use crate::master::control::Errand;

impl Bench {
    /// Goes on as another program would: with descriptors and texts, and as a new participant.
    fn become_another(&mut self) {
        let verbs = self.server.verbs().map(|(fd, state)| {
            let fd = fd.try_clone_to_owned().unwrap();
            (fd, serde_json::to_string(&state).unwrap())
        });
        let verbs: Vec<_> = verbs.collect();
        let listener = self.server.listener().try_clone_to_owned().unwrap();
        self.server = ControlServer::new(listener.into(), MESSAGE_BYTES_MAX);
        // The old one leaves its slot before the new one takes it.
        self.participant = self.area.join(ParticipantKind::External, 9).unwrap();
        self.participant = self.area.join(ParticipantKind::Master, 0).unwrap();
        for (fd, state) in verbs {
            let state = serde_json::from_str(&state).unwrap();
            (self.server).adopt(fd.into(), state, &mut self.participant);
        }
    }
}

#[test]
fn a_slow_tail_misses_no_more_than_it_is_told() {
    let mut bench = Bench::new();
    let mut slow = bench.connect();
    let channel = "news".into();
    bench.ask(&mut slow, &Request::Tail { channel });
    let text = "x".repeat(4000);
    let count = 300;
    for number in 1..=count {
        bench.publish(&text);
        if number % 100 == 0 {
            bench.become_another();
        }
    }
    let (mut messages, mut lapped) = (0, 0);
    loop {
        let new = slow.answers();
        if new.is_empty() {
            break;
        }
        for answer in new {
            if let Answer::Lapped { entries } = answer {
                lapped += entries;
            } else if let Answer::Message { payload, .. } = answer {
                assert_eq!(payload, text.as_bytes());
                messages += 1;
            }
        }
        bench.settle();
    }
    assert!(messages > 64 && lapped > 0, "{messages} {lapped}");
    assert_eq!(messages + lapped, count);
}

#[test]
fn requests_that_have_come_in_part_or_wait_are_served_by_the_other_program() {
    let mut bench = Bench::new();
    let mut tail = bench.connect();
    let channel = "news".into();
    bench.ask(&mut tail, &Request::Tail { channel });
    let (mut half, mut waiting) = (bench.connect(), bench.connect());
    let mut request = Vec::new();
    publication("news", "hello").write(&mut request);
    let (begun, rest) = request.split_at(10);
    half.stream.write_all(begun).unwrap();
    let errand = Errand::Scale { processes: 3 };
    bench.ask(&mut waiting, &Request::Errand(errand));
    bench.become_another();
    half.stream.write_all(rest).unwrap();
    bench.settle();
    assert!(matches!(half.answers()[..], [Answer::Published { .. }]));
    let taken = bench.server.take_errand().map(|(_, errand)| errand);
    assert_eq!(taken, Some(errand));
    let shown = tail.answers();
    assert!(matches!(
        shown[..],
        [Answer::Tailing, Answer::Message { .. }]
    ));
    let index = bench.participant.channel("news").unwrap();
    assert_eq!(bench.area.channel(index).unwrap().subscribers[0], 1);
}
