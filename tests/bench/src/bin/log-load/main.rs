//! The load on the log alone: processes that publish straight into it, and others that check what comes out; no server
//! and no sockets.
//!
//! `log-load [--publishers N] [--readers N] [--bytes N] [--warm-ms N] [--measured-ms N] [--never-sleep]` prints one line
//! of `name=value`. It makes the shared area and runs itself again for each process. All of them go through the same
//! phases: the updates of a plain area number them.

mod publisher;
mod reader;

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bellwether::sharedarea::{
    Area, AreaSize, AreaSource, AreaSpec, Descriptors, Geometry, SharedArea,
};
use bellwether_bench::load::Report;
use bellwether_bench::options::Options;
use bellwether_bench::{Failure, process};

const SPOOL_BYTES: u64 = 64 << 20;
const START_TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(1);

/// What the processes do; the number of the phase is that of the area's updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everybody joins.
    Start = 0,
    /// Publishers publish, and nothing is counted.
    Warm = 1,
    /// They publish and count.
    Measured = 2,
    /// They end. When it is over, readers end as soon as they have everything.
    Ended = 3,
}

impl Phase {
    fn is_over(self, area: &Area) -> bool {
        area.updates() > self as u64
    }
}

/// What a process of a role has to know; slot 0 stays free.
#[derive(Debug, Clone, Copy)]
struct Role {
    slot: u16,
    publishers: u16,
    readers: u16,
    payload_bytes: usize,
    never_sleeps: bool,
}

fn main() -> Result<(), Failure> {
    process::end_with_parent()?;
    let known = [
        "publishers",
        "readers",
        "bytes",
        "warm-ms",
        "measured-ms",
        "slot",
        "board",
        "log",
        "spool",
        "area",
    ];
    let options = Options::from_command_line(&known, &["never-sleep"])?;
    let role = Role {
        slot: options.value("slot", 0)?,
        publishers: options.value("publishers", 8)?,
        readers: options.value("readers", 2)?,
        payload_bytes: options.value("bytes", 128)?,
        never_sleeps: options.has("never-sleep"),
    };
    let report = match role.slot {
        0 => conduct(&options, &role)?,
        slot if slot <= role.publishers => publisher::run(&attach(&options)?, &role)?,
        _ => reader::run(&attach(&options)?, &role)?,
    };
    println!("{report}");
    Ok(())
}

/// Starts everybody, leads through the phases, and compares what they say.
fn conduct(options: &Options, role: &Role) -> Result<Report, Failure> {
    let shared = SharedArea::create(Geometry::with_spool(SPOOL_BYTES), 1, 0)?;
    shared.make_areas(&[AreaSpec {
        source: AreaSource::Memory,
        size: AreaSize::Pages(1),
        name: None,
        watch_ms: 0,
    }])?;
    let phase = shared.area(0)?;
    let mut publishers = Vec::new();
    let mut readers = Vec::new();
    for slot in 1..=role.publishers + role.readers {
        let child = start(&shared, &Role { slot, ..*role })?;
        if slot <= role.publishers {
            publishers.push(child);
        } else {
            readers.push(child);
        }
    }
    let begun = Instant::now();
    while shared.participants().count() < publishers.len() + readers.len() {
        if begun.elapsed() > START_TIMEOUT {
            return Err("a process has not joined".into());
        }
        sleep(PAUSE);
    }
    phase.update();
    sleep(Duration::from_millis(options.value("warm-ms", 600)?));
    let start = Instant::now();
    phase.update();
    sleep(Duration::from_millis(options.value("measured-ms", 2000)?));
    phase.update();
    let seconds = start.elapsed().as_secs_f64();
    let publishers = reports(publishers)?;
    phase.update();
    let readers = reports(readers)?;
    summarize(&publishers, &readers, seconds)
}

/// All readers have got everything, in one order.
fn summarize(publishers: &[Report], readers: &[Report], seconds: f64) -> Result<Report, Failure> {
    let of = |report: &Report, figure| report.get(figure).unwrap_or(f64::NAN);
    let sum = |figure| -> f64 { publishers.iter().map(|report| of(report, figure)).sum() };
    let published = sum("published");
    let first = readers.first().ok_or("nobody has read")?;
    for reader in readers {
        if of(reader, "received") != published {
            let received = of(reader, "received");
            return Err(format!("{received} of {published} messages came").into());
        }
        if of(reader, "order") != of(first, "order") {
            return Err("two readers see another order".into());
        }
    }
    let messages = sum("messages");
    let mut report = Report::default();
    report.add("messages", messages);
    report.add("seconds", seconds);
    report.add("cpu_ns_per_message", sum("cpu_ns") / messages.max(1.0));
    report.add("messages_per_second", messages / seconds);
    report.add("would_block", sum("would_block") / messages.max(1.0));
    report.add("lost", 0.0);
    report.add("readers", readers.len() as f64);
    Ok(report)
}

/// A process that is ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Starts this program again. Memory is opened through this process's `/proc` entry; the bell, which cannot be, is the
/// child's standard input.
fn start(shared: &SharedArea, role: &Role) -> Result<Running, Failure> {
    let fds = shared.fds();
    let mut command = Command::new(std::env::current_exe()?);
    for (name, value) in [
        ("--slot", role.slot.to_string()),
        ("--publishers", role.publishers.to_string()),
        ("--readers", role.readers.to_string()),
        ("--bytes", role.payload_bytes.to_string()),
        ("--board", path(fds.board)),
        ("--log", path(fds.log)),
        ("--spool", path(fds.spool)),
        ("--area", shared.area_fds().map(path).collect()),
    ] {
        command.args([name, &value]);
    }
    if role.never_sleeps {
        command.arg("--never-sleep");
    }
    let child = command
        .stdin(Stdio::from(fds.bell.try_clone_to_owned()?))
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(Running(child))
}

fn path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
}

/// What each says at its end.
fn reports(children: Vec<Running>) -> Result<Vec<Report>, Failure> {
    children.into_iter().map(report).collect()
}

fn report(mut child: Running) -> Result<Report, Failure> {
    let mut out = child.0.stdout.take().ok_or("no standard output")?;
    let said = std::io::read_to_string(&mut out)?;
    let status = child.0.wait()?;
    Report::parse(&said).ok_or_else(|| format!("a process found a fault: {status}").into())
}

/// The child's side of [`start`].
fn attach(options: &Options) -> Result<SharedArea, Failure> {
    let open = |name| -> Result<_, Failure> {
        let path = options.text(name).ok_or("a descriptor is missing")?;
        Ok(OpenOptions::new().read(true).write(true).open(path)?.into())
    };
    let shared = SharedArea::attach(Descriptors {
        board: open("board")?,
        log: open("log")?,
        spool: open("spool")?,
        bell: std::io::stdin().as_fd().try_clone_to_owned()?,
    })?;
    shared.attach_areas(vec![open("area")?])?;
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figures: &str) -> Report {
        Report::parse(figures).unwrap()
    }

    #[test]
    fn a_loss_and_another_order_are_found() {
        let publishers = ["10", "20"].map(|published| {
            report(&format!(
                "published={published} messages=5 cpu_ns=500 would_block=1"
            ))
        });
        let whole = report("received=30 order=7");
        let summary = summarize(&publishers, &[whole.clone(), whole.clone()], 0.5).unwrap();
        assert_eq!(summary.get("cpu_ns_per_message"), Some(100.0));
        assert_eq!(summary.get("messages_per_second"), Some(20.0));
        for wrong in ["received=29 order=7", "received=30 order=8", "order=7"] {
            assert!(summarize(&publishers, &[whole.clone(), report(wrong)], 0.5).is_err());
        }
        assert!(summarize(&publishers, &[], 0.5).is_err());
    }
}
