//! Passing open descriptors and small records between processes over `SOCK_SEQPACKET` pairs.
//!
//! One record is one packet: it arrives whole or not at all, so neither side needs a buffer.

#![expect(unsafe_code, reason = "a face on system calls")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};

/// Most descriptors in one packet that [`receive`] takes; more are closed by the kernel, as are those
/// for which this process has no room (`EMFILE`).
pub const DESCRIPTORS_PER_PACKET_MAX: usize = 64;

/// What came out of a packet socket.
#[derive(Debug)]
pub enum Received {
    /// One packet: `bytes` of the caller's buffer are filled.
    Packet {
        /// Length of the packet, at most the buffer's length.
        bytes: usize,
        /// The descriptors that came with it, close-on-exec.
        descriptors: Vec<OwnedFd>,
    },
    /// Nothing is there now.
    Blocked,
    /// The other end is closed, and nothing will ever come.
    Ended,
}

/// A connected pair of non-blocking, close-on-exec packet sockets.
///
/// # Errors
/// Those of `socketpair(2)`.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?)
}

/// Sends one packet with descriptors attached; never blocks. The descriptors are duplicated into
/// the packet: the caller's own may be closed at once.
///
/// # Errors
/// `WouldBlock` when the socket's buffer is full; otherwise those of `sendmsg(2)`.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )?;
    Ok(())
}

/// Whether what could not be sent now may be sent later: a buffer is full, too many descriptors are on
/// their way (unix(7), `ETOOMANYREFS`), or the system or this process is short of something.
#[must_use]
pub fn may_pass(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(
            errno,
            Some(
                Errno::EINTR
                    | Errno::ETOOMANYREFS
                    | Errno::ENOBUFS
                    | Errno::ENOMEM
                    | Errno::EMFILE
                    | Errno::ENFILE
            )
        )
}

/// Takes one packet, if there is one; never blocks.
///
/// # Errors
/// Those of `recvmsg(2)`, but not `EAGAIN`, which is [`Received::Blocked`].
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_PER_PACKET_MAX]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a message header is numbers and pointers; all zero is one that has nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = length(space.capacity())?;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to the buffer and the space, which outlive the call, with their sizes.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let bytes = match Errno::result(result) {
        Ok(bytes) => usize::try_from(bytes).unwrap_or(0),
        Err(Errno::EAGAIN) => return Ok(Received::Blocked),
        Err(Errno::ECONNRESET) => return Ok(Received::Ended),
        Err(error) => return Err(error.into()),
    };
    let descriptors = descriptors_of(&message);
    if bytes == 0 && descriptors.is_empty() {
        return Ok(Received::Ended);
    }
    Ok(Received::Packet { bytes, descriptors })
}

/// A length in the type that the C library at hand has for it.
fn length<N, T: TryFrom<N>>(bytes: N) -> io::Result<T> {
    T::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Owns the descriptors that came with a message. The kernel may have cut their list (too many, or no
/// more fit into this process); nix gives up on such a message and leaks those that did arrive.
fn descriptors_of(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled in the header, whose control buffer is alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: not null, so it points to a header inside the control buffer.
        let control = unsafe { next.read_unaligned() };
        if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: the header is inside the control buffer, and its data behind it.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<RawFd>();
            // SAFETY: only computes a size.
            let header_bytes = unsafe { libc::CMSG_LEN(0) };
            let bytes: usize = length(control.cmsg_len).unwrap_or(0);
            let data_bytes = bytes.saturating_sub(header_bytes as usize);
            for at in 0..data_bytes / size_of::<RawFd>() {
                // SAFETY: `at` is below the number of descriptors that the kernel has written.
                let raw = unsafe { data.wrapping_add(at).read_unaligned() };
                // SAFETY: the kernel has just installed this descriptor for us; nobody else owns it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: both are parts of the message that the kernel has filled in.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    descriptors
}

/// Says whether a descriptor stays open when this process becomes another program.
///
/// # Errors
/// Those of `fcntl(2)`.
pub fn keep_over_exec(fd: BorrowedFd<'_>, keep: bool) -> io::Result<()> {
    let flags = if keep {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// Takes over a descriptor that this program was started with, by its number; it is close-on-exec
/// from here on.
///
/// The number must come from whoever started this program, and each is taken once.
///
/// # Errors
/// `InvalidInput` for one of the standard streams, else those of `fcntl(2)`: it is not open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not one of ours yet: the caller has the number from whoever started this program.
    // If it is not open, the next call says so and the value is forgotten.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match keep_over_exec(fd.as_fd(), false) {
        Ok(()) => Ok(fd),
        Err(error) => {
            // There is nothing to close.
            let _number: RawFd = fd.into_raw_fd();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_descriptor_crosses_with_its_bytes() {
        let (left, right) = packet_pair().unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        send(left.as_fd(), b"new", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let Received::Packet {
            bytes,
            mut descriptors,
        } = receive(right.as_fd(), &mut buffer).unwrap()
        else {
            panic!("a packet was sent");
        };
        assert_eq!(&buffer[..bytes], b"new");
        File::from(descriptors.remove(0))
            .write_all(b"through")
            .unwrap();
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn blocked_and_ended_are_told_apart() {
        let (left, right) = packet_pair().unwrap();
        let mut buffer = [0; 4];
        assert!(matches!(
            receive(right.as_fd(), &mut buffer).unwrap(),
            Received::Blocked
        ));
        drop(left);
        assert!(matches!(
            receive(right.as_fd(), &mut buffer).unwrap(),
            Received::Ended
        ));
    }

    #[test]
    fn a_full_socket_blocks_instead_of_waiting() {
        let (left, _right) = packet_pair().unwrap();
        let error = loop {
            if let Err(error) = send(left.as_fd(), &[0; 1024], &[]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(may_pass(&error));
    }

    #[test]
    fn what_the_system_is_short_of_may_pass_and_what_is_wrong_does_not() {
        for (errno, passes) in [
            (Errno::ETOOMANYREFS, true),
            (Errno::ENOBUFS, true),
            (Errno::EMFILE, true),
            (Errno::EMSGSIZE, false),
            (Errno::EPIPE, false),
            (Errno::EBADF, false),
        ] {
            assert_eq!(may_pass(&errno.into()), passes, "{errno}");
        }
        assert!(!may_pass(&io::ErrorKind::NotFound.into()));
    }

    #[test]
    fn of_too_many_descriptors_those_that_fit_arrive() {
        let (left, right) = packet_pair().unwrap();
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        let many = [reader.as_fd(); DESCRIPTORS_PER_PACKET_MAX + 10];
        send(left.as_fd(), b"many", &many).unwrap();
        let mut buffer = [0; 16];
        let Received::Packet { bytes, descriptors } =
            receive(right.as_fd(), &mut buffer).expect("it is no error of the system")
        else {
            panic!("a packet was sent");
        };
        assert_eq!(&buffer[..bytes], b"many");
        assert_eq!(descriptors.len(), DESCRIPTORS_PER_PACKET_MAX);
    }
}
