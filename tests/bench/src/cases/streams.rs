//! Cases of a fixed rate, of clients that stop reading, of areas, and of many publishers, with a server or without.

use std::time::Duration;

use super::{Case, Contestant, FAN, FAN_TWO, Peers, bellwether, case, run_dir, served_by, words};
use crate::Failure;
use crate::server::Machine;
use crate::table::{Goal, Note};

const MIB: f64 = 1024.0 * 1024.0;

fn note(label: &'static str, figure: &'static str, scale: f64, most: Option<f64>) -> Note {
    Note {
        label,
        figure,
        scale,
        most,
    }
}

/// nchan is the base here; it never gathers, so the more wait, the further apart the two are.
pub(super) fn beside_nchan(machine: &Machine, peers: &Peers) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    for (window, goal) in [(8, Some(Goal::Ratio(0.45))), (1, None)] {
        let Some(nchan) = peers.nchan(machine)? else {
            break;
        };
        let ours = bellwether(machine, "bellwether", FAN, goal)?;
        cases.push(case(
            &format!("beside nchan, 1000, {window} waiting, 128 B: us/delivery"),
            &format!("fan --bytes 128 --connections 1000 --window {window}"),
            "cpu_ns_per_message",
            1e3,
            vec![nchan, ours],
        ));
    }
    Ok(cases)
}

/// Both workers and the generator share all cores.
pub(super) fn fast(machine: &Machine) -> Result<Case, Failure> {
    let mut case = case(
        "1000 clients x 5000/s, 128 B: CPU us/delivery",
        &format!(
            "stream --bytes 128 --connections 1000 --rate 5000 --run-dir {}",
            run_dir(machine)
        ),
        "cpu_ns_per_message",
        1e3,
        vec![bellwether(machine, "bellwether 2 workers", FAN_TWO, None)?],
    );
    case.all_cores = true;
    case.notes = vec![
        note("lost", "lost", 1.0, Some(0.0)),
        note("published/s", "published_per_second", 1.0, None),
        note("sends/delivery", "sends_per_delivery", 1.0, Some(0.05)),
        note("publisher blocked ms", "publisher_blocked_ms", 1.0, None),
    ];
    Ok(case)
}

/// One client in five stops reading, for longer than the log keeps what it misses.
pub(super) fn stalled(machine: &Machine, stall: Duration) -> Result<Case, Failure> {
    let contestant = |name, rule: &str| -> Result<Contestant, Failure> {
        let options = format!("{FAN} --spool-size 1024 --websockets-ping-freq 0{rule}");
        bellwether(machine, name, &options, Some(Goal::Value(2.0)))
    };
    let contestants = vec![
        contestant("slow=close", "")?,
        contestant("slow=gap", " --channel bench,slow=gap")?,
        contestant("slow=latest", " --channel bench,slow=latest")?,
    ];
    let ms = stall.as_millis();
    let mut case = case(
        "200 of 1000 stop reading, 100/s, 4 KiB: MiB growth",
        &format!("stream --bytes 4096 --connections 1000 --rate 100 --stalled 200 --stall-ms {ms}"),
        "pss_growth",
        MIB,
        contestants,
    );
    case.notes = vec![
        note("MiB PSS before", "pss_before", MIB, None),
        note("during", "pss_stalled", MIB, None),
        note("after", "pss_after", MIB, None),
        note("publisher blocked ms", "publisher_blocked_ms", 1.0, None),
        note("others' p99 ms before", "p99_before_us", 1e3, None),
        note("during", "p99_with_us", 1e3, None),
        note("that is times", "p99_change", 1.0, Some(1.5)),
        note("others' lost", "lost", 1.0, Some(0.0)),
        note(
            "stalled: share closed with 1013",
            "stalled_closed",
            1.0,
            None,
        ),
        note("gaps each", "stalled_gaps", 1.0, None),
        note("missed each", "stalled_missed", 1.0, None),
        note("got each", "stalled_received", 1.0, None),
    ];
    case.rounds_max = 3;
    case.extra = 2 * stall + Duration::from_secs(5);
    Ok(case)
}

/// A message is one range of an area and an announcement in the log; half-sent it is copied once in a worker.
pub(super) fn area(machine: &Machine) -> Result<Case, Failure> {
    let contestant = |name, processes| {
        let options = format!("--processes {processes} --sharedarea size=1048576");
        let goal = Goal::Value(2.0 * f64::from(processes));
        served_by("area-server", machine, name, &options, Some(goal))
    };
    let mut case = case(
        "1 MiB of an area to 1000: MiB growth of the workers",
        "fan --bytes 1048576 --ask-bytes 8 --connections 1000 --pace all",
        "private_growth",
        MIB,
        vec![
            contestant("area, 1 worker", 1)?,
            contestant("area, 2 workers", 2)?,
        ],
    );
    case.notes = vec![note("CPU us/delivery", "cpu_ns_per_message", 1e3, None)];
    case.rounds_max = 2;
    Ok(case)
}

/// Eight publish as fast as their own messages come back, and sixteen connections get everything.
pub(super) fn crowd(machine: &Machine) -> Result<Case, Failure> {
    let contestant = |name, processes: u16| {
        let options = format!("--processes {processes} --clients-publish");
        bellwether(machine, name, &options, None)
    };
    let mut case = case(
        "8 publish at once to 16, 128 B: CPU us/publish",
        "crowd --bytes 128 --connections 16 --publishers 8 --window 64",
        "cpu_ns_per_message",
        1e3,
        vec![
            contestant("bellwether 1 worker", 1)?,
            contestant("bellwether 8 workers", 8)?,
        ],
    );
    case.all_cores = true;
    case.notes = vec![
        note("lost", "lost", 1.0, Some(0.0)),
        note(
            "one order for all: checked, connections",
            "connections",
            1.0,
            None,
        ),
    ];
    Ok(case)
}

/// No server and no sockets: processes that publish straight into the log, and two that read and check everything.
pub(super) fn log() -> Case {
    let contestant = |name: &str, load| Contestant {
        name: name.into(),
        server: None,
        load: words(load),
        goal: None,
    };
    let mut case = case(
        "straight into the log, 128 B: CPU ns/publish",
        "--bytes 128 --readers 2",
        "cpu_ns_per_message",
        1.0,
        vec![
            contestant("1 process", "--publishers 1"),
            contestant("8 processes", "--publishers 8"),
            contestant("8 that never sleep", "--publishers 8 --never-sleep"),
        ],
    );
    case.generator = "log-load";
    case.notes = vec![
        note("lost", "lost", 1.0, Some(0.0)),
        note("one order for all: checked, readers", "readers", 1.0, None),
        note("would block, times/publish", "would_block", 1.0, None),
    ];
    case
}
