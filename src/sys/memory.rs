//! Memory objects that processes share: sealed memfds, the bell's eventfd, and byte locks that tell
//! who is alive. It must not know what lies in the memory.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::sys::sysinfo::sysinfo;

/// The object keeps its size for ever, so a mapping of it can never fault with SIGBUS.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// The bits of [`SEALS`] that a foreign object must carry before we map it.
const SEALS_REQUIRED: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);

/// Whether this machine could have so much memory at all, swap counted in.
///
/// # Errors
/// `ENOMEM` if not, or what the kernel says.
pub fn check_bytes(bytes: u64) -> io::Result<()> {
    let machine = sysinfo()?;
    if bytes > machine.ram_total().saturating_add(machine.swap_total()) {
        return Err(Errno::ENOMEM.into());
    }
    Ok(())
}

/// Creates a memory object of `bytes` zero bytes, all of them allocated now, sealed against any
/// change of its size. The descriptor is close-on-exec.
///
/// # Errors
/// What the kernel says; `ENOSPC` or `ENOMEM` when the memory is not there.
pub fn create_sealed(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    // On its way to its error the kernel would take the memory of everybody else, and kill for it.
    check_bytes(bytes)?;
    let plain = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let never_code = plain | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let fd = match memfd_create(name, never_code) {
        // Kernels before 6.3 do not know the flag.
        Err(Errno::EINVAL) => memfd_create(name, plain)?,
        other => other?,
    };
    let length = i64::try_from(bytes).map_err(|_| Errno::EFBIG)?;
    // Allocating here fails at start, with a message; touching a hole later would end in a kill.
    loop {
        match fallocate(&fd, FallocateFlags::empty(), 0, length) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    }
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(fd)
}

/// The size of a memory object that is sealed as [`create_sealed`] does.
///
/// # Errors
/// `InvalidData` when the seals are missing, else what the kernel says.
pub fn sealed_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let seals = SealFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SEALS_REQUIRED) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "memory object is not sealed against resizing",
        ));
    }
    file_bytes(fd)
}

/// A new eventfd: non-blocking, close-on-exec, counter 0.
///
/// # Errors
/// What the kernel says.
pub fn create_bell() -> io::Result<OwnedFd> {
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    Ok(bell.into())
}

/// Adds one to the bell's counter: every edge-triggered poll on it wakes. The counter is never read,
/// and would overflow only after 2^64 rings.
///
/// # Errors
/// What the kernel says.
pub fn ring(bell: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::write(bell, &1_u64.to_ne_bytes())?;
    Ok(())
}

/// A description of its own for the same memory object. Byte locks belong to a description; one that
/// was inherited over fork would keep the lock alive in every process that has it.
///
/// # Errors
/// What the kernel says; `NotFound` where `/proc` is not mounted.
pub fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(file.into())
}

/// Takes the exclusive lock on byte `at` for this description. `false`: another description has it.
/// The kernel drops the lock when the last descriptor of the description is closed, so on any death.
///
/// # Errors
/// What the kernel says.
pub fn try_lock_byte(fd: BorrowedFd<'_>, at: u16) -> io::Result<bool> {
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&byte_lock(libc::F_WRLCK, at))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a description other than this one holds the lock on byte `at`.
///
/// # Errors
/// What the kernel says.
pub fn byte_is_locked(fd: BorrowedFd<'_>, at: u16) -> io::Result<bool> {
    let mut query = byte_lock(libc::F_WRLCK, at);
    fcntl(fd, FcntlArg::F_OFD_GETLK(&mut query))?;
    Ok(i32::from(query.l_type) != libc::F_UNLCK)
}

/// Fills `into` from byte `at` of the memory object; the kernel copies, so no reference to shared
/// bytes is made.
///
/// # Errors
/// What the kernel says; `UnexpectedEof` past the end of the object.
pub fn read_exact_at(fd: BorrowedFd<'_>, into: &mut [u8], at: u64) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let position = at
            .checked_add(filled as u64)
            .and_then(|at| i64::try_from(at).ok());
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        match nix::sys::uio::pread(fd, rest, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => filled += bytes,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes all of `bytes` from byte `at` of the object on.
///
/// # Errors
/// What the kernel says; part may be written then.
pub fn write_all_at(fd: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let position = at
            .checked_add(written as u64)
            .and_then(|at| i64::try_from(at).ok());
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        match nix::sys::uio::pwrite(fd, rest, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => written += bytes,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The length of a file now.
///
/// # Errors
/// What the kernel says.
pub fn file_bytes(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let size = fstat(fd)?.st_size;
    u64::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Bytes of a page of this system.
#[must_use]
pub fn page_bytes() -> u64 {
    let known = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    // Every system knows it; 4096 is what most would say.
    known
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the constants of fcntl fit its own fields"
)]
fn byte_lock(kind: i32, at: u16) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::from(at),
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_machine_has_is_refused_before_it_is_taken() {
        check_bytes(page_bytes()).unwrap();
        let error = check_bytes(1 << 60).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    }
}
