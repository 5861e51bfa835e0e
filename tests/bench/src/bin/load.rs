//! The load generator: `load MODE --address HOST:PORT --pid PID [...]`, prints one line of `name=value`.
//!
//! Modes: `echo` (--connections --in-flight --bytes [--trace]), `fan` (--connections --window --bytes [--pace all]
//! [--post PATH] [--ask-bytes N]), `stream` (--connections --rate --bytes [--run-dir DIR] [--stalled N --stall-ms N]), `crowd`
//! (--connections --publishers --window --bytes), `idle` (--connections), `handshake` (--connections). With `--path` it speaks websocket, without it
//! sends the same bytes over bare TCP. Pin it from outside.

use std::time::Duration;

use bellwether_bench::load::{Target, crowd, echo, fan, handshake, idle, stream};
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
        "ask-bytes",
        "rate",
        "run-dir",
        "stalled",
        "stall-ms",
        "publishers",
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
    let size = Size {
        connections: options.value("connections", 64)?,
        payload_bytes: options.value("bytes", 64)?,
        warm: Duration::from_millis(options.value("warm-ms", 600)?),
        measured: Duration::from_millis(options.value("measured-ms", 2500)?),
    };
    let report = match options.word(0) {
        Some("echo") => echo::run(&target, &echo_plan(&options, &size)?)?,
        Some("fan") => fan::run(&target, &fan_plan(&options, &size)?)?,
        Some("stream") => stream::run(&target, &stream_plan(&options, &size)?)?,
        Some("crowd") => crowd::run(&target, &crowd_plan(&options, &size)?)?,
        Some("idle") => idle::run(&target, size.connections)?,
        Some("handshake") => handshake::run(&target, size.connections, size.warm, size.measured)?,
        Some(other) => return Err(format!("unknown mode {other:?}").into()),
        None => return Err("which mode: echo, fan, stream, crowd, idle or handshake?".into()),
    };
    println!("{report}");
    Ok(())
}

/// What all modes have.
struct Size {
    connections: usize,
    payload_bytes: usize,
    warm: Duration,
    measured: Duration,
}

fn echo_plan(options: &Options, size: &Size) -> Result<echo::Plan, Failure> {
    Ok(echo::Plan {
        connections: size.connections,
        in_flight: options.value("in-flight", 1)?,
        payload_bytes: size.payload_bytes,
        warm: size.warm,
        measured: size.measured,
        trace: options.has("trace"),
    })
}

fn stream_plan(options: &Options, size: &Size) -> Result<stream::Plan, Failure> {
    Ok(stream::Plan {
        subscribers: size.connections,
        stalled: options.value("stalled", 0)?,
        stall: Duration::from_millis(options.value("stall-ms", 10_000)?),
        rate: options.value("rate", 100)?,
        payload_bytes: size.payload_bytes,
        warm: size.warm,
        measured: size.measured,
        run_dir: options.text("run-dir").map(str::to_owned),
    })
}

fn crowd_plan(options: &Options, size: &Size) -> Result<crowd::Plan, Failure> {
    let publishers = options.value("publishers", 8)?;
    Ok(crowd::Plan {
        publishers,
        listeners: size.connections.saturating_sub(publishers),
        window: options.value("window", 1)?,
        payload_bytes: size.payload_bytes,
        warm: size.warm,
        measured: size.measured,
    })
}

fn fan_plan(options: &Options, size: &Size) -> Result<fan::Plan, Failure> {
    Ok(fan::Plan {
        subscribers: size.connections,
        window: options.value("window", 1)?,
        payload_bytes: size.payload_bytes,
        ask_bytes: options.text("ask-bytes").map(str::parse).transpose()?,
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
        warm: size.warm,
        measured: size.measured,
    })
}
