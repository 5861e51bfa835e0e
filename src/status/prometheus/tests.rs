//! What the page looks like to a scraper.

use super::*;
use crate::status::{ChannelStatus, Traffic};

fn example() -> Status {
    let channel = |name: &str| ChannelStatus {
        name: name.into(),
        messages: 3,
        subscribers: 2,
    };
    Status {
        version: "1.2.3".into(),
        uptime_ms: 61_002,
        workers: vec![WorkerStatus {
            slot: 4,
            clients: 9,
            state: "serving".into(),
            traffic: Traffic {
                clients_given: 11,
                clients_taken: 12,
                clients_returned: 13,
                ..Traffic::default()
            },
            ..WorkerStatus::default()
        }],
        channels: vec![channel("a\"b\\c"); 200],
        channels_more: 5,
        ..Status::default()
    }
}

#[test]
fn every_sample_follows_its_family() {
    let page = exposition(&example());
    let mut family = "";
    let mut families = Vec::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(!families.contains(&name), "{name} twice");
            families.push(name);
            family = name;
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(name, family, "{line}");
        }
    }
    for (name, value) in [
        ("clients", 9),
        ("clients_given_total", 11),
        ("clients_taken_total", 12),
        ("clients_returned_total", 13),
    ] {
        let sample = format!("bellwether_worker_{name}{{worker=\"4\"}} {value}\n");
        assert!(page.contains(&sample), "{page}");
    }
    assert!(
        page.contains("bellwether_uptime_seconds 61.002\n"),
        "{page}"
    );
}

#[test]
fn channels_are_bounded_and_their_names_escaped() {
    let page = exposition(&example());
    let series = page.matches("bellwether_channel_messages_total{").count();
    assert_eq!(series, CHANNELS_MAX);
    assert!(page.contains(r#"{channel="a\"b\\c"} 3"#), "{page}");
    assert!(page.contains("bellwether_channels 205\n"));
}
