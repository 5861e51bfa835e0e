//! Sleeping on a word of shared memory. Futexes are keyed by the memory object, not by the address,
//! so the two sides may live in different processes. It must not know what the word means.
#![expect(unsafe_code, reason = "neither std nor nix has futexes")]

use std::ptr;
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;

/// Sleeps while `word` is `expected`, at most `timeout_ms`. Returns on a wake, on a signal, on the
/// timeout (`false`) and when the word differs; the caller looks again in every case.
pub fn wait(word: &AtomicU32, expected: u32, timeout_ms: u32) -> bool {
    let timeout = libc::timespec {
        tv_sec: (timeout_ms / 1000).into(),
        tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
    };
    // SAFETY: the word outlives the call, the timeout is a valid timespec on this stack, and FUTEX_WAIT
    // reads nothing else.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            ptr::from_ref(&timeout),
        )
    };
    result == 0 || Errno::last() != Errno::ETIMEDOUT
}

/// Wakes one sleeper of `word`.
pub fn wake_one(word: &AtomicU32) {
    wake(word, 1);
}

/// Wakes all sleepers of `word`.
pub fn wake_all(word: &AtomicU32) {
    wake(word, libc::c_int::MAX);
}

fn wake(word: &AtomicU32, sleepers_max: libc::c_int) {
    // SAFETY: FUTEX_WAKE takes the address as a key only; the word outlives the call.
    let _woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            sleepers_max,
        )
    };
}
