//! One peer's byte stream: TCP or a unix socket.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrStorage, getpeername};

use crate::sys::socket::{self, Progress};

/// How much unsent data the kernel may take from us for one TCP client. Enough to keep a
/// fast peer's pipe full between two turns; what a slow one does not take stays with us, where it
/// is shared.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// What somebody has connected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// The applications.
    #[default]
    Clients,
    /// The HTTP API, and nothing else.
    Api,
}

/// A connected, non-blocking stream.
#[derive(Debug)]
pub struct Transport {
    fd: OwnedFd,
    purpose: Purpose,
}

impl Transport {
    /// Takes over a connected descriptor of a TCP or unix stream socket.
    pub fn new(fd: OwnedFd) -> Self {
        // A unix socket has neither option; that they fail there is as it should be.
        drop(socket::set_nodelay(fd.as_fd()));
        drop(socket::set_unsent_bytes_max(fd.as_fd(), UNSENT_BYTES_MAX));
        let purpose = Purpose::default();
        Self { fd, purpose }
    }

    /// The same for another purpose.
    #[must_use]
    pub fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// What the peer has connected for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Who the peer is, for people: its IP address without the port, or `unix`.
    pub fn peer(&self) -> String {
        match self.address() {
            Ok(Some(address)) => address.ip().to_string(),
            Ok(None) => "unix".to_owned(),
            Err(_) => "-".to_owned(),
        }
    }

    /// Where the connection comes from; `None` for a unix socket.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        let address = getpeername::<SockaddrStorage>(self.fd.as_raw_fd())?;
        let v6 = |address: &SockaddrIn6| (address.ip().to_canonical(), address.port());
        let v4 = |address: &SockaddrIn| (IpAddr::V4(address.ip()), address.port());
        let of_v4 = address.as_sockaddr_in().map(v4);
        let found = of_v4.or_else(|| address.as_sockaddr_in6().map(v6));
        Ok(found.map(SocketAddr::from))
    }

    /// Receives what is there.
    ///
    /// # Errors
    /// See [`socket::receive`].
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Progress> {
        socket::receive(self.as_fd(), buffer)
    }

    /// Sends what the kernel takes.
    ///
    /// # Errors
    /// See [`socket::send`].
    pub fn send(&self, bytes: &[u8]) -> io::Result<Progress> {
        socket::send(self.as_fd(), bytes)
    }

    /// Sends several pieces as one.
    ///
    /// # Errors
    /// See [`socket::send_pieces`].
    pub fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<Progress> {
        socket::send_pieces(self.as_fd(), pieces)
    }

    /// Ends our direction; see [`socket::shutdown_write`].
    pub fn shutdown_write(&self) {
        socket::shutdown_write(self.as_fd());
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Transport> for OwnedFd {
    fn from(transport: Transport) -> Self {
        transport.fd
    }
}
