//! The load generator: `load MODE --address HOST:PORT --pid PID [...]`, prints one line of `name=value`.
//!
//! Modes: `echo` (--connections --in-flight --bytes [--trace]), `fan` (--connections --window --bytes [--pace all]
//! [--post PATH]), `idle` (--connections), `handshake` (--connections). With `--path` it speaks websocket, without it
//! sends the same bytes over bare TCP. Pin it from outside.

use std::time::Duration;

use bellwether_bench::load::{Target, echo, fan, handshake, idle};
use bellwether_bench::options::Options;
use bellwether_bench::{Failure, process};

fn main() -> Result<(), Failure> {
    process::end_with_parent()?;
    process::raise_descriptor_limit()?;
    let known = [
        "address",
        "path",
        "pid",
        "connections",
        "in-flight",
        "window",
        "bytes",
        "pace",
        "post",
        "warm-ms",
        "measured-ms",
    ];
    let options = Options::from_command_line(&known, &["trace"])?;
    let target = Target {
        address: options
            .text("address")
            .ok_or("--address is missing")?
            .parse()?,
        path: options.text("path").map(str::to_owned),
        pid: options.text("pid").ok_or("--pid is missing")?.parse()?,
    };
    let connections = options.value("connections", 64)?;
    let payload_bytes = options.value("bytes", 64)?;
    let warm = Duration::from_millis(options.value("warm-ms", 600)?);
    let measured = Duration::from_millis(options.value("measured-ms", 2500)?);
    let report = match options.word(0) {
        Some("echo") => {
            let in_flight = options.value("in-flight", 1)?;
            let trace = options.has("trace");
            echo::run(
                &target,
                &echo::Plan {
                    connections,
                    in_flight,
                    payload_bytes,
                    warm,
                    measured,
                    trace,
                },
            )?
        }
        Some("fan") => {
            let plan = fan_plan(&options, connections, payload_bytes, (warm, measured))?;
            fan::run(&target, &plan)?
        }
        Some("idle") => idle::run(&target, connections)?,
        Some("handshake") => handshake::run(&target, connections, warm, measured)?,
        Some(other) => return Err(format!("unknown mode {other:?}").into()),
        None => return Err("which mode: echo, fan, idle or handshake?".into()),
    };
    println!("{report}");
    Ok(())
}

fn fan_plan(
    options: &Options,
    subscribers: usize,
    payload_bytes: usize,
    times: (Duration, Duration),
) -> Result<fan::Plan, Failure> {
    Ok(fan::Plan {
        subscribers,
        window: options.value("window", 1)?,
        payload_bytes,
        pace: match options.text("pace") {
            None | Some("first") => fan::Pace::First,
            Some("all") => fan::Pace::All,
            Some(other) => {
                return Err(format!("--pace is first or all, not {other:?}").into());
            }
        },
        publisher: options.text("post").map_or(fan::Publisher::Frames, |path| {
            fan::Publisher::Post(path.to_owned())
        }),
        warm: times.0,
        measured: times.1,
    })
}
