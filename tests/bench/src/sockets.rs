//! Listening and connecting on loopback, readiness, and the opening handshake.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::Failure;

const BACKLOG: i32 = 4096;
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a blocking step (connect, handshake, greeting) may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// A non-blocking listener on a free port of 127.0.0.1.
///
/// # Errors
/// The system refuses.
pub fn listener() -> Result<(TcpListener, SocketAddrV4), Failure> {
    let fd = bound(Ipv4Addr::LOCALHOST, SockFlag::SOCK_NONBLOCK)?;
    let address: SockaddrIn = getsockname(fd.as_raw_fd())?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok((TcpListener::from(fd), address.into()))
}

/// A socket on a free port of this address.
fn bound(address: Ipv4Addr, flags: SockFlag) -> Result<OwnedFd, Failure> {
    let flags = SockFlag::SOCK_CLOEXEC | flags;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    let address = SockaddrIn::from(SocketAddrV4::new(address, 0));
    bind(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Source addresses of connections in turn, so that ports last for any number of them.
#[derive(Debug, Default)]
pub struct Sources {
    next: u32,
}

impl Sources {
    /// 127.0.0.2 and upwards, one after the other, starting at a place that depends on the process.
    pub fn new() -> Self {
        Self {
            next: std::process::id(),
        }
    }

    fn next(&mut self) -> Ipv4Addr {
        self.next = self.next.wrapping_add(1);
        Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 2)) + self.next % 250)
    }

    /// A blocking connection with `TCP_NODELAY`.
    ///
    /// # Errors
    /// The system or the server refuses.
    pub fn connect(&mut self, server: SocketAddrV4) -> Result<TcpStream, Failure> {
        let fd = bound(self.next(), SockFlag::empty())?;
        connect(fd.as_raw_fd(), &SockaddrIn::from(server))
            .map_err(|error| format!("connecting to {server}: {error}"))?;
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_TIMEOUT))?;
        Ok(stream)
    }

    /// A connection that is on its way: non-blocking, writable when it is there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn begin_connect(&mut self, server: SocketAddrV4) -> Result<TcpStream, Failure> {
        let fd = bound(self.next(), SockFlag::SOCK_NONBLOCK)?;
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        match connect(fd.as_raw_fd(), &SockaddrIn::from(server)) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
            Err(error) => Err(format!("connecting to {server}: {error}").into()),
        }
    }
}

/// The request of an opening handshake (RFC 6455 section 4.1). The key is the RFC's; nobody keeps it.
pub fn upgrade_request(server: SocketAddrV4, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// What answers [`upgrade_request`]'s key.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where the answer's head ends, once all of it is there, if it accepts the handshake.
///
/// # Errors
/// Any other answer.
pub fn upgrade_answer(head: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if head.len() > HEAD_BYTES_MAX {
            Err("the answer's head is too long".into())
        } else {
            Ok(None)
        };
    };
    let text = String::from_utf8_lossy(&head[..end]);
    if !text.starts_with("HTTP/1.1 101 ") || !text.contains(ACCEPT) {
        return Err(format!(
            "the handshake was refused: {}",
            text.lines().next().unwrap_or("")
        )
        .into());
    }
    Ok(Some(end + 4))
}

/// Opens the websocket on a blocking connection; returns the bytes that came behind the head.
///
/// # Errors
/// The connection fails or the server refuses.
pub fn upgrade(
    stream: &mut TcpStream,
    server: SocketAddrV4,
    path: &str,
) -> Result<Vec<u8>, Failure> {
    stream.write_all(upgrade_request(server, path).as_bytes())?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("the server closed during the handshake".into());
        }
        head.extend_from_slice(&part[..read]);
        if let Some(end) = upgrade_answer(&head)? {
            return Ok(head.split_off(end));
        }
    }
}

/// Edge-triggered readiness of sockets that are known by a number.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poll {
    /// Room for `events_max` events a turn.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(events_max: usize) -> Result<Self, Failure> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); events_max],
        })
    }

    /// Watches a socket for both directions, edges only.
    ///
    /// # Errors
    /// The system refuses.
    pub fn add(&self, socket: impl AsFd, number: usize) -> Result<(), Failure> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        Ok(self
            .epoll
            .add(socket, EpollEvent::new(flags, number as u64))?)
    }

    /// Watches a listener for as long as connections wait.
    ///
    /// # Errors
    /// The system refuses.
    pub fn add_listener(&self, listener: impl AsFd, number: usize) -> Result<(), Failure> {
        Ok(self.epoll.add(
            listener,
            EpollEvent::new(EpollFlags::EPOLLIN, number as u64),
        )?)
    }

    /// Waits and gives the numbers that are ready, with whether they can be read and written; `None` waits for ever.
    ///
    /// # Errors
    /// The system refuses; an interrupted wait is none.
    pub fn wait(
        &mut self,
        timeout_ms: Option<u16>,
    ) -> Result<impl Iterator<Item = Ready> + use<'_>, Failure> {
        let timeout = timeout_ms.map_or(EpollTimeout::NONE, EpollTimeout::from);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.events[..count].iter().map(|event| {
            let flags = event.events();
            Ready {
                number: event.data() as usize,
                readable: flags.intersects(
                    EpollFlags::EPOLLIN
                        | EpollFlags::EPOLLRDHUP
                        | EpollFlags::EPOLLHUP
                        | EpollFlags::EPOLLERR,
                ),
                writable: flags.contains(EpollFlags::EPOLLOUT),
            }
        }))
    }
}

/// What a wait has found.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The number it was added with.
    pub number: usize,
    /// There are bytes, or an end, or an error to be read.
    pub readable: bool,
    /// There is room.
    pub writable: bool,
}

/// `None` where a non-blocking call would have to wait.
///
/// # Errors
/// Every other error.
pub fn nonblocking<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_and_right_answer_opens() {
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\nrest"
        );
        assert_eq!(
            upgrade_answer(good.as_bytes()).unwrap(),
            Some(good.len() - 4)
        );
        assert_eq!(upgrade_answer(&good.as_bytes()[..40]).unwrap(), None);
        assert!(upgrade_answer(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
        assert!(
            upgrade_answer(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n")
                .is_err()
        );
    }

    #[test]
    fn a_connection_from_each_source_reaches_the_listener() {
        let (listener, address) = listener().unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut sources = Sources::new();
        let (first, second) = (
            sources.connect(address).unwrap(),
            sources.connect(address).unwrap(),
        );
        assert_ne!(
            first.local_addr().unwrap().ip(),
            second.local_addr().unwrap().ip()
        );
        assert_eq!(listener.accept().unwrap().1, first.local_addr().unwrap());
    }
}
