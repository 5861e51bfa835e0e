//! Runs the cases over several rounds, the contestants taking turns, and prints the table of medians.
//!
//! `bench [--quick] [--rounds N] [--measured-ms N] [--stall-ms N] [--only TEXT] [--without-peers] [--realtime]
//! [--list]`. It tells how things stand and never fails because of a figure; tests do that.

use std::fs;
use std::time::Duration;

use bellwether_bench::cases::{self, Case, Contestant, Peers};
use bellwether_bench::load::Report;
use bellwether_bench::options::Options;
use bellwether_bench::server::{Machine, Server};
use bellwether_bench::table::{Row, head, section};
use bellwether_bench::{Failure, process};

struct Effort {
    rounds: usize,
    warm: Duration,
    measured: Duration,
}

fn main() -> Result<(), Failure> {
    let switches = ["quick", "without-peers", "realtime", "list"];
    let known = ["rounds", "measured-ms", "stall-ms", "only"];
    let options = Options::from_command_line(&known, &switches)?;
    let quick = options.has("quick");
    let effort = Effort {
        rounds: options.value("rounds", if quick { 1 } else { 5 })?,
        warm: Duration::from_millis(if quick { 200 } else { 600 }),
        measured: Duration::from_millis(
            options.value("measured-ms", if quick { 500 } else { 2000 })?,
        ),
    };
    process::raise_descriptor_limit()?;
    let folder = std::env::temp_dir().join(format!("bellwether-bench-{}", std::process::id()));
    let machine = Machine::new(folder.clone(), options.has("realtime"))?;
    let peers = if options.has("without-peers") {
        Peers::none()
    } else {
        Peers::find()
    };
    let wanted = options.text("only").unwrap_or("");
    let stall = options.value("stall-ms", if quick { 3000 } else { 10_000 })?;
    let cases = cases::all(&machine, &peers, Duration::from_millis(stall))?
        .into_iter()
        .filter(|case| case.title.contains(wanted));
    if options.has("list") {
        cases.for_each(|case| println!("{}", case.title));
        return Ok(fs::remove_dir_all(folder)?);
    }
    println!(
        "{} rounds of {:?}; server on core {:?}, generator on core {:?}; ratios are to the first server of each case",
        effort.rounds, effort.measured, machine.server_cores, machine.load_cores
    );
    // Other work on the machine spreads the figures; whoever reads them should know.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "load average before the first round: {}\n",
        load.split(' ').next().unwrap_or("unknown")
    );
    print!("{}", head());
    for case in cases {
        let rows = run(&machine, &case, &effort);
        println!(
            "{}",
            section(&case.title, case.figure, case.scale, &rows, &case.notes)
        );
    }
    Ok(fs::remove_dir_all(folder)?)
}

fn run(machine: &Machine, case: &Case, effort: &Effort) -> Vec<Row> {
    let row = |contestant: &Contestant| Row {
        name: contestant.name.clone(),
        reports: Vec::new(),
        failure: None,
        goal: contestant.goal,
    };
    let mut rows: Vec<Row> = case.contestants.iter().map(row).collect();
    let rounds = effort.rounds.min(case.rounds_max);
    for round in 0..rounds {
        for turn in 0..rows.len() {
            // Nobody always goes first.
            let at = (turn + round) % rows.len();
            eprint!(
                "\r\x1b[K{}, round {} of {}: {}",
                case.title,
                round + 1,
                rounds,
                rows[at].name
            );
            match measure(machine, case, &case.contestants[at], effort) {
                Ok(report) => rows[at].reports.push(report),
                Err(error) => rows[at].failure = Some(error.to_string()),
            }
        }
    }
    eprint!("\r\x1b[K");
    rows
}

fn measure(
    machine: &Machine,
    case: &Case,
    contestant: &Contestant,
    effort: &Effort,
) -> Result<Report, Failure> {
    let cores = if case.all_cores {
        &machine.all_cores
    } else {
        &machine.server_cores
    };
    let start = |program| machine.start(program, cores);
    let server = contestant.server.as_ref().map(start).transpose()?;
    let mut load = case.load.clone();
    load.extend_from_slice(&contestant.load);
    let post = contestant.server.as_ref().and_then(|one| one.post.clone());
    load.extend(post.into_iter().flat_map(|path| ["--post".into(), path]));
    for (name, time) in [
        ("--warm-ms", effort.warm),
        ("--measured-ms", effort.measured),
    ] {
        load.extend([name.into(), time.as_millis().to_string()]);
    }
    let report = machine.load(
        case.generator,
        server.as_ref().map(Server::target),
        &load,
        effort.warm + 2 * effort.measured + case.extra,
    )?;
    server.map_or(Ok(()), Server::stop)?;
    Ok(report)
}
