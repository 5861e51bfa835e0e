//! Conformance to RFC 6455, RFC 7692 and RFC 9112, in process: bytes in, bytes out. No sockets, no foreign programs.
//!
//! The ground of Autobahn's sections 1 to 7, 9, 10, 12 and 13 is covered with Autobahn's numbers; the data is in `cases/`. Each case runs as it is
//! written, octet by octet, and in one piece, with the same result.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code outside of test functions: a panic is how a case fails"
)]

mod compression;
mod deflate;
mod handshake;
mod http;
mod lifecycle;
mod peer;
mod replay;
mod script;
mod sizes;
mod splits;
mod utf8;

use script::check_file;

#[test]
fn frames_pings_and_reserved_bits() {
    check_file(include_str!("cases/frames.txt"), 55);
}

#[test]
fn fragmentation() {
    check_file(include_str!("cases/fragments.txt"), 25);
}

#[test]
fn text_is_utf8() {
    check_file(include_str!("cases/text.txt"), 21);
}

#[test]
fn closing() {
    check_file(include_str!("cases/close.txt"), 46);
}

#[test]
fn limits() {
    check_file(include_str!("cases/limits.txt"), 11);
}
