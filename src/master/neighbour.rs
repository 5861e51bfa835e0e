//! Who of this run directory listens where we cannot: a server that is started twice, most of the time.
//!
//! It must not know why that is asked.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::control::{Answer, Frames, Request};
use super::instance;
use crate::status::Status;

/// One that has not answered by then is not waited for: it is asked for a better message only.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 1 << 24;

/// What the instance shows of itself that listens on this address or on one that covers it.
pub(super) fn on(address: &str, run_dir: &Path) -> Option<Status> {
    let instances = instance::live(run_dir).ok()?.into_iter();
    let mut told = instances.filter_map(|(_, stream)| ask(stream).ok());
    told.find(|status| status.listeners.iter().any(|it| excludes(it, address)))
}

fn ask(mut stream: UnixStream) -> io::Result<Status> {
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    let mut request = Vec::new();
    Request::Status.write(&mut request);
    stream.write_all(&request)?;
    let mut frames = Frames::new(ANSWER_BYTES_MAX);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match frames.answer().map_err(io::Error::other)? {
            Some(Answer::Status { json }) => return Ok(serde_json::from_slice(&json)?),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => match stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => frames.push(&chunk[..bytes]),
            },
        }
    }
}

/// Whether who listens on `one` keeps others from listening on `other`.
fn excludes(one: &str, other: &str) -> bool {
    match (one.parse::<SocketAddr>(), other.parse::<SocketAddr>()) {
        (Ok(one), Ok(other)) => {
            let covers = |a: SocketAddr, b: SocketAddr| {
                a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4())
            };
            one.port() == other.port()
                && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_excludes_those_of_one() {
        for (one, other, excluded) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("[::]:80", "[::]:81", false),
            ("/run/a.sock", "/run/a.sock", true),
            ("/run/a.sock", "[::]:80", false),
        ] {
            assert_eq!(excludes(one, other), excluded, "{one} {other}");
        }
    }
}
