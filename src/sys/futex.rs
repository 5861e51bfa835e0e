//! Sleeping on a word of shared memory. Futexes are keyed by the memory object, not by the address,
//! so the two sides may live in different processes. It must not know what the word means.
#![expect(unsafe_code, reason = "neither std nor nix has futexes")]

use std::ptr;
use std::sync::atomic::AtomicU32;

/// Sleeps while `word` is `expected`, at most `timeout_ms`. Returns on a wake, on a signal, on the
/// timeout and when the word differs; the caller looks again in every case.
pub fn wait(word: &AtomicU32, expected: u32, timeout_ms: u32) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
    };
    // SAFETY: the word outlives the call, the timeout is a valid timespec on this stack, and FUTEX_WAIT
    // reads nothing else.
    let _woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            ptr::from_ref(&timeout),
        )
    };
}

/// Wakes one sleeper of `word`.
pub fn wake_one(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE takes the address as a key only; the word outlives the call.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
