//! Stream sockets: receive, send, accept and the options that a server sets on them.

#![expect(unsafe_code, reason = "a face on system calls")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, SockFlag, sendmsg, setsockopt, sockopt};

/// How a non-blocking transfer went. Blocked and ended are not errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// That many bytes moved, at least one.
    Moved(usize),
    /// The kernel takes or has nothing now; readiness will be reported.
    Blocked,
    /// The peer's side of the stream is over.
    Ended,
}

/// Receives into `buffer` (not empty) without blocking.
///
/// # Errors
/// Those of `recv(2)` but for `EAGAIN` and `EINTR`; a reset peer is [`Progress::Ended`].
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Progress> {
    loop {
        return match nix::sys::socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET | Errno::EPIPE | Errno::ETIMEDOUT) => Ok(Progress::Ended),
            Ok(bytes) => Ok(Progress::Moved(bytes)),
            Err(Errno::EAGAIN) => Ok(Progress::Blocked),
            Err(Errno::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Sends from `bytes` (not empty) without blocking and without `SIGPIPE`.
///
/// # Errors
/// Those of `send(2)` but for `EAGAIN` and `EINTR`; a peer that is gone is [`Progress::Ended`].
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Progress> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match nix::sys::socket::send(socket.as_raw_fd(), bytes, flags) {
            Err(Errno::EINTR) => {}
            Err(error) => return progress_of(Err(error.into())),
            Ok(moved) => return progress_of(Ok(moved)),
        }
    }
}

/// Sends several pieces as one, in order, as [`send`] does.
///
/// # Errors
/// See [`send`].
pub fn send_pieces(socket: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<Progress> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), pieces, &[], flags, None) {
            Err(Errno::EINTR) => {}
            Err(error) => return progress_of(Err(error.into())),
            Ok(moved) => return progress_of(Ok(moved)),
        }
    }
}

/// Sorts the result of a send: a blocked or vanished peer is progress, not an error.
///
/// # Errors
/// Whatever else `result` holds.
pub fn progress_of(result: io::Result<usize>) -> io::Result<Progress> {
    match result {
        Ok(bytes) => Ok(Progress::Moved(bytes)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAGAIN) => Ok(Progress::Blocked),
            Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ETIMEDOUT | Errno::ENOTCONN) => {
                Ok(Progress::Ended)
            }
            _ => Err(error),
        },
    }
}

/// Accepts one connection, non-blocking and close-on-exec; `None` when nobody waits (or the one
/// that waited has gone).
///
/// # Errors
/// Those of `accept4(2)`; `EMFILE` and `ENFILE` among them.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    match nix::sys::socket::accept4(listener, flags) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ends our direction of the stream; the peer reads to the end and then sees it.
pub fn shutdown_write(socket: BorrowedFd<'_>) {
    // A peer that is gone already has nothing left to be told.
    let _gone: nix::Result<()> = nix::sys::socket::shutdown(socket.as_raw_fd(), Shutdown::Write);
}

/// Sends small segments at once.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn set_nodelay(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setsockopt(&socket, sockopt::TcpNoDelay, &true)?)
}

/// Limits how much unsent data the kernel takes from us for this socket (`TCP_NOTSENT_LOWAT`), so
/// that what a slow client has not taken stays in the shared log instead of in kernel buffers.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn set_unsent_bytes_max(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    const OPTION_BYTES: libc::socklen_t = 4;
    // SAFETY: the option takes an unsigned int; the pointer and the length describe a live local.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            OPTION_BYTES,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Connections that wait at a listening TCP socket, and how many may; `None` for other sockets.
pub fn listen_queue(socket: BorrowedFd<'_>) -> Option<(u32, u32)> {
    // SAFETY: the structure is plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: pointer and length describe a live local, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut bytes,
        )
    };
    // Of a listening socket these two are the length of its queue and the longest it may be.
    (result == 0).then_some((info.tcpi_unacked, info.tcpi_sacked))
}

/// Lets an IPv6 listener take IPv4 connections too, whatever the system's default is.
///
/// # Errors
/// Those of `setsockopt(2)`.
pub fn set_v6_only(socket: &impl AsFd, only: bool) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::Ipv6V6Only, &only)?)
}
