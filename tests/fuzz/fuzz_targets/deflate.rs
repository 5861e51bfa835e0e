//! The fuzzer's way into `bellwether_fuzz::deflate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bellwether_fuzz::deflate(data));
