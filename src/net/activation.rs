//! Listening sockets that a service manager has made for us (`sd_listen_fds(3)`).
//!
//! The variables come as arguments; the first descriptor is 3. It must not know where the variables come
//! from.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use super::Listener;
use crate::config::Address;
use crate::sys::descriptors;

/// `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// More are a mistake.
const DESCRIPTORS_MAX: u16 = 256;

/// Why what we were given cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// A variable is no number.
    #[error("LISTEN_FDS={0} is not a number from 0 to {DESCRIPTORS_MAX}")]
    Count(String),
    /// A descriptor is no listening stream socket.
    #[error("descriptor {number} ({name}) from the service manager: {problem}")]
    Descriptor {
        /// Its number.
        number: RawFd,
        /// Its name, if it has one.
        name: String,
        /// What it is not.
        problem: String,
    },
}

/// The listeners with their names, if the variables are meant for process `pid`. Takes the
/// descriptors: call it once, before anything else is opened.
///
/// # Errors
/// [`ActivationError`]; nothing is listened on then.
pub fn listeners(
    variables: (&str, &str, &str),
    pid: u32,
) -> Result<Vec<(String, Listener)>, ActivationError> {
    let (listen_pid, listen_fds, names) = variables;
    if listen_pid.parse() != Ok(pid) {
        return Ok(Vec::new());
    }
    let count: u16 = listen_fds
        .parse()
        .ok()
        .filter(|count| *count <= DESCRIPTORS_MAX)
        .ok_or_else(|| ActivationError::Count(listen_fds.to_owned()))?;
    let mut names = names.split(':');
    let mut found = Vec::new();
    for number in FIRST..FIRST + RawFd::from(count) {
        let name = names.next().unwrap_or_default().to_owned();
        let listener = descriptors::inherited(number)
            .and_then(listener)
            .map_err(|error| ActivationError::Descriptor {
                number,
                name: name.clone(),
                problem: error.to_string(),
            })?;
        found.push((name, listener));
    }
    Ok(found)
}

fn listener(fd: OwnedFd) -> io::Result<Listener> {
    let listens = getsockopt(&fd, sockopt::AcceptConn)?;
    let stream = getsockopt(&fd, sockopt::SockType)? == SockType::Stream;
    if !listens || !stream {
        return Err(io::Error::other("it is no listening stream socket"));
    }
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let asked = address(&fd)?;
    Ok(Listener::inherit(fd, asked))
}

fn address(fd: &OwnedFd) -> io::Result<Address> {
    let family = getsockname::<SockaddrStorage>(fd.as_raw_fd())?.family();
    let twin = fd.try_clone()?;
    match family {
        Some(AddressFamily::Inet | AddressFamily::Inet6) => {
            let address: SocketAddr = TcpListener::from(twin).local_addr()?;
            Ok(Address::Tcp(address))
        }
        Some(AddressFamily::Unix) => {
            let address = UnixListener::from(twin).local_addr()?;
            let path = address.as_pathname();
            let path = path.ok_or_else(|| io::Error::other("its unix socket has no path"))?;
            Ok(Address::Unix(path.to_path_buf()))
        }
        Some(_) | None => Err(io::Error::other("it is neither TCP nor a unix socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_another_process_are_not_ours() {
        assert!(listeners(("1", "2", "web:ws"), 7).unwrap().is_empty());
        assert!(listeners(("", "2", ""), 7).unwrap().is_empty());
        assert!(listeners(("7", "0", ""), 7).unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_named() {
        for count in ["x", "-1", "257"] {
            let error = listeners(("7", count, ""), 7).unwrap_err();
            assert!(error.to_string().contains(count), "{error}");
        }
    }

    #[test]
    fn a_listening_socket_is_known_by_its_address() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = listener(socket.into()).unwrap();
        assert_eq!(*listener.local_address(), Address::Tcp(address));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = super::listener(UnixListener::bind(&path).unwrap().into()).unwrap();
        assert_eq!(*listener.local_address(), Address::Unix(path));
    }

    #[test]
    fn anything_else_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(listener(file.into()).is_err());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(listener(one.into()).is_err(), "it does not listen");
    }
}
