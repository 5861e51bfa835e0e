//! The documented layout is the one of the code.

use super::super::algorithm::board::*;

const DOCUMENT: &str = include_str!("../../../docs/sharedarea.md");

/// The value that the document's tables give for `name`: rows are `| offset | name | ...`.
fn documented(section: &str, name: &str) -> usize {
    let (_, rest) = DOCUMENT
        .split_once(&format!("## {section}\n"))
        .expect(section);
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let row = section
        .lines()
        .find(|line| {
            line.split('|')
                .nth(2)
                .is_some_and(|cell| cell.trim() == format!("`{name}`"))
        })
        .unwrap_or_else(|| panic!("`{name}` is not documented"));
    row.split('|').nth(1).unwrap().trim().parse().unwrap()
}

fn check(section: &str, rows: &[(&str, usize)]) {
    for (name, value) in rows {
        assert_eq!(documented(section, name), *value, "{section}: {name}");
    }
    let (_, rest) = DOCUMENT.split_once(&format!("## {section}\n")).unwrap();
    let section_text = rest.split("\n## ").next().unwrap();
    let documented_rows = section_text
        .lines()
        .filter(|line| {
            line.split('|')
                .nth(1)
                .is_some_and(|cell| cell.trim().parse::<usize>().is_ok())
        })
        .count();
    assert_eq!(documented_rows, rows.len(), "{section}: rows");
}

#[test]
fn the_superblock_is_documented() {
    check(
        "Superblock",
        &[
            ("magic", SUPER_MAGIC),
            ("layout", SUPER_LAYOUT),
            ("boot_low", SUPER_BOOT_LOW),
            ("boot_high", SUPER_BOOT_HIGH),
            ("created_us", SUPER_CREATED_US),
            ("spool_bytes", SUPER_SPOOL_BYTES),
            ("entries", SUPER_ENTRIES),
            ("channels", SUPER_CHANNELS),
        ],
    );
    assert!(DOCUMENT.contains(&format!("layout {}", LAYOUT)));
}

#[test]
fn the_log_control_is_documented() {
    check(
        "Log control",
        &[
            ("lock", LOCK),
            ("head", HEAD),
            ("end", END),
            ("horizon", HORIZON),
            ("safe", SAFE),
            ("parked", PARKED),
            ("wild", WILD),
            ("joined", JOINED),
            ("deflating", DEFLATING),
            ("would_block", WOULD_BLOCK),
            ("recoveries", RECOVERIES),
            ("bad", BAD),
            ("reclaimed", RECLAIMED),
            ("named", NAMED),
            ("edition", EDITION),
            ("editing", EDITING),
        ],
    );
}

#[test]
fn participants_are_documented() {
    assert!(DOCUMENT.contains(&format!(
        "{PARTICIPANT_COUNT} slots of {PARTICIPANT_STRIDE} bytes at {PARTICIPANTS}"
    )));
    check(
        "Participants",
        &[
            ("generation", PARTICIPANT_GENERATION),
            ("pid", PARTICIPANT_PID),
            ("kind", PARTICIPANT_KIND),
            ("state", PARTICIPANT_STATE),
            ("pin", PARTICIPANT_PIN),
            ("visiting", PARTICIPANT_VISITING),
            ("beat_us", PARTICIPANT_BEAT_US),
            ("cursor", PARTICIPANT_CURSOR),
            ("delivered", PARTICIPANT_DELIVERED),
            ("lapped", PARTICIPANT_LAPPED),
            ("clients", PARTICIPANT_CLIENTS),
            ("reserved", PARTICIPANT_RESERVED),
            ("subscriptions", PARTICIPANT_SUBSCRIPTIONS),
            ("stale", PARTICIPANT_STALE),
        ],
    );
}

#[test]
fn the_server_is_documented() {
    check(
        "Server",
        &[("phase", SERVER_PHASE), ("generation", SERVER_GENERATION)],
    );
}

#[test]
fn figures_are_documented() {
    assert!(DOCUMENT.contains(&format!(
        "{PARTICIPANT_COUNT} slots of {FIGURE_STRIDE} bytes at {FIGURES}"
    )));
    assert_eq!(AREAS + AREA_COUNT * AREA_STRIDE, FIGURES);
    assert_eq!(
        FIGURES + usize::from(PARTICIPANT_COUNT) * FIGURE_STRIDE,
        LAGGARDS
    );
    check(
        "Figures",
        &[
            ("requests", FIGURE_REQUESTS),
            ("request_us", FIGURE_REQUEST_US),
            ("refusals", FIGURE_REFUSALS),
            ("handshakes", FIGURE_HANDSHAKES),
            ("messages_in", FIGURE_MESSAGES_IN),
            ("messages_out", FIGURE_MESSAGES_OUT),
            ("bytes_in", FIGURE_BYTES_IN),
            ("bytes_out", FIGURE_BYTES_OUT),
            ("pings", FIGURE_PINGS),
            ("pong_timeouts", FIGURE_PONG_TIMEOUTS),
            ("closes_other", FIGURE_CLOSES_OTHER),
            ("clients_given", FIGURE_CLIENTS_GIVEN),
            ("clients_taken", FIGURE_CLIENTS_TAKEN),
            ("clients_returned", FIGURE_CLIENTS_RETURNED),
            ("closes", FIGURE_CLOSES),
            ("state", NOTE_STATE),
            ("generation", NOTE_GENERATION),
            ("spawns", NOTE_SPAWNS),
            ("spawned_us", NOTE_SPAWNED_US),
        ],
    );
}

#[test]
fn laggards_are_documented() {
    assert!(DOCUMENT.contains(&format!(
        "{PARTICIPANT_COUNT} slots of {LAGGARDS_STRIDE} bytes at {LAGGARDS}"
    )));
    assert_eq!(
        LAGGARDS + usize::from(PARTICIPANT_COUNT) * LAGGARDS_STRIDE,
        CHANNELS
    );
    let rows = crate::sharedarea::LAGGARDS_SHOWN_MAX;
    assert!(laggard(rows, 0) <= LAGGARDS_STRIDE);
    assert!(DOCUMENT.contains(&format!("{rows} rows of {} bytes", 8 * LAGGARD_WORDS)));
    check(
        "Laggards",
        &[
            ("edition", LAGGARDS_EDITION),
            ("clients", LAGGARDS_CLIENTS),
            ("entries", LAGGARDS_ENTRIES),
            ("bytes", LAGGARDS_BYTES),
            ("ms", LAGGARDS_MS),
            ("furthest", LAGGARDS_FURTHEST),
        ],
    );
}

#[test]
fn areas_are_documented() {
    assert!(DOCUMENT.contains(&format!(
        "{AREA_COUNT} records of {AREA_STRIDE} bytes at {AREAS}"
    )));
    check(
        "Areas",
        &[
            ("kind", AREA_KIND),
            ("flags", AREA_FLAGS),
            ("bytes", AREA_BYTES),
            ("offset", AREA_OFFSET),
            ("used", AREA_USED),
            ("updates", AREA_UPDATES),
            ("hits", AREA_HITS),
            ("waiting", AREA_WAITING),
            ("turn", AREA_TURN),
            ("writer", AREA_WRITER),
            ("readers", AREA_READERS),
            ("watchers", AREA_WATCHERS),
            ("name_bytes", AREA_NAME_BYTES),
            ("watch_ms", AREA_WATCH_MS),
            ("name", AREA_NAME),
        ],
    );
    assert_eq!(AREA_NAME + AREA_NAME_BYTES_MAX, AREA_STRIDE);
    assert_eq!(
        AREAS,
        PARTICIPANTS + usize::from(PARTICIPANT_COUNT) * PARTICIPANT_STRIDE
    );
}

#[test]
fn channels_are_documented() {
    assert!(DOCUMENT.contains(&format!("slots of {CHANNEL_STRIDE} bytes at {CHANNELS}")));
    check(
        "Channels",
        &[
            ("hash", CHANNEL_HASH),
            ("generation", CHANNEL_GENERATION),
            ("epoch", CHANNEL_EPOCH),
            ("messages", CHANNEL_MESSAGES),
            ("last", CHANNEL_LAST),
            ("interest", CHANNEL_INTEREST),
            ("touched", CHANNEL_TOUCHED),
            ("name_bytes", CHANNEL_NAME_BYTES),
            ("name", CHANNEL_NAME),
            ("subscribers", CHANNEL_SUBSCRIBERS),
        ],
    );
    assert_eq!(CHANNEL_NAME + CHANNEL_NAME_BYTES_MAX, CHANNEL_SUBSCRIBERS);
    assert_eq!(
        CHANNEL_SUBSCRIBERS + 2 * usize::from(PARTICIPANT_COUNT),
        CHANNEL_STRIDE
    );
}

#[test]
fn entries_are_documented() {
    check(
        "Log entries",
        &[
            ("seq", ENTRY_SEQ * 8),
            ("position", ENTRY_POSITION * 8),
            ("frame_bytes", ENTRY_FRAME * 8),
            ("channel", ENTRY_FRAME * 8 + 4),
            ("offset", ENTRY_OFFSET * 8),
            ("prev", ENTRY_PREV * 8),
            ("time_us", ENTRY_TIME * 8),
            ("name_bytes", ENTRY_TIME * 8 + 7),
            ("alternate_bytes", ENTRY_ALTERNATE * 8),
            ("flags", ENTRY_ALTERNATE * 8 + 4),
            ("area", ENTRY_ALTERNATE * 8 + 5),
            ("channel_generation", ENTRY_ALTERNATE * 8 + 6),
            ("origin", ENTRY_ORIGIN * 8),
        ],
    );
    assert_eq!(ENTRY_STRIDE, 8 * ENTRY_WORDS);
}
