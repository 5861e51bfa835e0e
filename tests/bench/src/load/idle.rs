//! Mode `idle`: what a connection costs in memory once it has said something and is quiet.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{MASK, Moment, Report, Target};
use crate::frames::{Checker, Template};
use crate::sockets::Sources;
use crate::{Failure, histogram::Histogram, process};

/// What each connection has echoed once.
const PAYLOAD_BYTES: usize = 512;

/// How long the server may tidy up before it is looked at, and how long it is watched for idle CPU.
const QUIET: Duration = Duration::from_secs(1);

/// Opens `connections`, has each echo a message, and compares the server's memory with what it had before.
///
/// # Errors
/// A connection is refused or answers wrongly.
pub fn run(target: &Target, connections: usize) -> Result<Report, Failure> {
    let before = process::pss_bytes(&process::tree(target.pid)?)?;
    let mut sources = Sources::new();
    let outgoing = Template::client(PAYLOAD_BYTES, MASK);
    let expected = target.answer(PAYLOAD_BYTES);
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = target.connect(&mut sources)?;
        echo_once(&mut stream, &outgoing, &expected)?;
        open.push(stream);
    }
    std::thread::sleep(QUIET);
    let pids = process::tree(target.pid)?;
    let start = Moment::now(&pids)?;
    std::thread::sleep(QUIET);
    let end = Moment::now(&pids)?;
    let after = process::pss_bytes(&pids)?;
    let mut report = start.report(&end, connections as u64, &Histogram::default());
    report.add("pss_before", before as f64);
    report.add("pss_after", after as f64);
    report.add(
        "pss_per_connection",
        after.saturating_sub(before) as f64 / connections.max(1) as f64,
    );
    Ok(report)
}

fn echo_once(
    stream: &mut TcpStream,
    outgoing: &Template,
    expected: &Template,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    outgoing.append(0, &mut bytes);
    stream.write_all(&bytes)?;
    let mut checker = Checker::default();
    let mut part = [0; 2 * PAYLOAD_BYTES];
    while checker.received() == 0 {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("the server closed a connection".into());
        }
        checker.check(&part[..read], expected)?;
    }
    Ok(())
}
