//! The one epoll operation that mio does not offer: an exclusive wake-up.

#![expect(unsafe_code, reason = "a face on system calls")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Registers `fd` for level-triggered read readiness with `EPOLLEXCLUSIVE`, so that of all
/// processes that wait for the same listening socket the kernel wakes about one.
///
/// `token` comes back as the event's token. mio itself only reads the token and the flags of an
/// event, so descriptors registered here and through mio can share one poll.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
pub fn add_exclusive(poll: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32,
        u64: token,
    };
    // SAFETY: both descriptors are open for the duration of the call and `event` is a live local.
    let result = unsafe {
        libc::epoll_ctl(
            poll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            &raw mut event,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes `fd` out of the poll again.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
pub fn remove(poll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open; the event argument may be null for a removal.
    let result = unsafe {
        libc::epoll_ctl(
            poll.as_raw_fd(),
            libc::EPOLL_CTL_DEL,
            fd.as_raw_fd(),
            std::ptr::null_mut(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
