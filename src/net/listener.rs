//! Listening sockets: TCP v4 and v6, unix paths.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr,
    bind, getsockname, listen, setsockopt, socket, sockopt,
};

use super::{Purpose, Transport};
use crate::config::Address;
use crate::sys::socket as sys_socket;

/// What can be chosen for a listening socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted; the system caps it (`net.core.somaxconn`).
    pub backlog: i32,
    /// Permission bits of a unix socket's file; by default those of the umask.
    pub unix_mode: Option<u32>,
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {problem}")]
pub struct BindError {
    address: String,
    problem: Problem,
    /// The system's answer, where it gave one.
    #[source]
    source: Option<io::Error>,
}

impl BindError {
    /// The address, if somebody else listens there.
    #[must_use]
    pub fn in_use(&self) -> Option<&str> {
        matches!(self.problem, Problem::InUse).then_some(&self.address)
    }
}

#[derive(Debug)]
enum Problem {
    InUse,
    NotAllowed,
    NotHere,
    Occupied,
    System(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "the address is already in use by another program",
            Self::NotAllowed => "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE; a unix socket needs a writable directory)",
            Self::NotHere => "no network interface of this machine has this address",
            Self::Occupied => "a file that is not a socket is in the way",
            Self::System(text) => text,
        })
    }
}

/// A bound, listening, non-blocking, close-on-exec socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    address: Address,
    purpose: Purpose,
}

impl Listener {
    /// Binds and listens.
    ///
    /// `[::]` takes IPv4 connections too, other IPv6 addresses do not. The file of a unix socket
    /// on which nobody listens any more is replaced; one that somebody listens on is in use.
    ///
    /// # Errors
    /// [`BindError`] names the address and says what is in the way.
    pub fn bind(address: &Address, options: &ListenOptions) -> Result<Self, BindError> {
        let result = match address {
            Address::Tcp(tcp) => bind_tcp(*tcp, options),
            Address::Unix(path) => bind_unix(path, options),
        };
        let fd = result.map_err(|error| describe(address, error))?;
        let address = local_address(&fd, address);
        Ok(Self {
            fd,
            address,
            purpose: Purpose::default(),
        })
    }

    /// The same for another purpose.
    #[must_use]
    pub fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// What one connects to it for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Takes over a listening socket that was made before this program; `asked` is where it was made to
    /// listen.
    pub fn inherit(fd: OwnedFd, asked: Address) -> Self {
        let address = local_address(&fd, &asked);
        Self {
            fd,
            address,
            purpose: Purpose::default(),
        }
    }

    /// The address as bound: a requested port 0 is replaced by the one that the kernel chose.
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    /// Another handle on the same socket and queue.
    ///
    /// # Errors
    /// Those of `dup(2)`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            address: self.address.clone(),
            purpose: self.purpose,
        })
    }

    /// Accepts one connection if one waits.
    ///
    /// # Errors
    /// See [`sys_socket::accept`].
    pub fn accept(&self) -> io::Result<Option<Transport>> {
        let fd = sys_socket::accept(self.as_fd())?;
        Ok(fd.map(|fd| Transport::new(fd).with_purpose(self.purpose)))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(family: AddressFamily) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None)
}

fn bind_tcp(address: SocketAddr, options: &ListenOptions) -> io::Result<OwnedFd> {
    match address {
        SocketAddr::V4(v4) => bound_tcp(AddressFamily::Inet, &SockaddrIn::from(v4), None, options),
        SocketAddr::V6(v6) => {
            let only = *v6.ip() != Ipv6Addr::UNSPECIFIED;
            bound_tcp(
                AddressFamily::Inet6,
                &SockaddrIn6::from(v6),
                Some(only),
                options,
            )
        }
    }
}

fn bound_tcp(
    family: AddressFamily,
    address: &dyn SockaddrLike,
    v6_only: Option<bool>,
    options: &ListenOptions,
) -> io::Result<OwnedFd> {
    let fd = open(family)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if let Some(only) = v6_only {
        sys_socket::set_v6_only(&fd, only)?;
    }
    bind(fd.as_raw_fd(), address)?;
    start(&fd, options)?;
    Ok(fd)
}

fn bind_unix(path: &Path, options: &ListenOptions) -> io::Result<OwnedFd> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(Errno::EEXIST.into());
        }
        if UnixStream::connect(path).is_ok() {
            return Err(Errno::EADDRINUSE.into());
        }
        fs::remove_file(path)?;
    }
    let fd = open(AddressFamily::Unix)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    if let Some(mode) = options.unix_mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    start(&fd, options)?;
    Ok(fd)
}

fn start(fd: &OwnedFd, options: &ListenOptions) -> io::Result<()> {
    let backlog = Backlog::new(options.backlog).unwrap_or(Backlog::MAXCONN);
    Ok(listen(fd, backlog)?)
}

fn local_address(fd: &OwnedFd, asked: &Address) -> Address {
    match asked {
        Address::Unix(_) => asked.clone(),
        Address::Tcp(SocketAddr::V4(_)) => getsockname::<SockaddrIn>(fd.as_raw_fd()).map_or_else(
            |_| asked.clone(),
            |bound| Address::Tcp(SocketAddr::V4(bound.into())),
        ),
        Address::Tcp(SocketAddr::V6(_)) => getsockname::<SockaddrIn6>(fd.as_raw_fd()).map_or_else(
            |_| asked.clone(),
            |bound| Address::Tcp(SocketAddr::V6(bound.into())),
        ),
    }
}

fn describe(address: &Address, error: io::Error) -> BindError {
    let problem = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EADDRINUSE) => Problem::InUse,
        Some(Errno::EACCES | Errno::EPERM) => Problem::NotAllowed,
        Some(Errno::EADDRNOTAVAIL) => Problem::NotHere,
        Some(Errno::EEXIST) => Problem::Occupied,
        _ => Problem::System(error.to_string()),
    };
    BindError {
        address: address.to_string(),
        problem,
        source: Some(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    fn bind_here(address: &Address) -> Result<Listener, BindError> {
        Listener::bind(
            address,
            &ListenOptions {
                backlog: 16,
                unix_mode: Some(0o600),
            },
        )
    }

    fn loopback(port: u16) -> Address {
        Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    #[test]
    fn the_chosen_port_is_told_and_accepts() {
        let listener = bind_here(&loopback(0)).unwrap();
        let Address::Tcp(address) = listener.local_address().clone() else {
            panic!("asked for TCP");
        };
        assert_ne!(address.port(), 0);
        assert!(
            listener.accept().unwrap().is_none(),
            "nobody waits, and it does not block"
        );
        let _peer = TcpStream::connect(address).unwrap();
        assert!(listener.accept().unwrap().is_some());
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = bind_here(&loopback(0)).unwrap();
        let error = bind_here(listener.local_address()).unwrap_err().to_string();
        assert!(
            error.contains(&listener.local_address().to_string()),
            "{error}"
        );
        assert!(error.contains("already in use"), "{error}");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0)));
        let error = bind_here(&address).unwrap_err().to_string();
        assert!(
            error.contains("192.0.2.1") && error.contains("interface"),
            "{error}"
        );
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_a_live_one_and_a_file_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("live.sock");
        let address = Address::Unix(path.clone());
        let live = bind_here(&address).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(
            bind_here(&address)
                .unwrap_err()
                .to_string()
                .contains("already in use")
        );
        drop(live);
        bind_here(&address).unwrap();

        let file = folder.path().join("file");
        fs::write(&file, "keep me").unwrap();
        assert!(
            bind_here(&Address::Unix(file.clone()))
                .unwrap_err()
                .to_string()
                .contains("not a socket")
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "keep me");
    }

    #[test]
    fn the_unspecified_v6_address_takes_v4_too() {
        let any = Address::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let Ok(listener) = bind_here(&any) else {
            return; // a kernel without IPv6
        };
        let Address::Tcp(address) = listener.local_address() else {
            panic!("asked for TCP");
        };
        let _peer = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
        assert!(listener.accept().unwrap().is_some());
    }
}
