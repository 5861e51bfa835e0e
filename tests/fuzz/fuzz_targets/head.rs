//! The fuzzer's way into `bellwether_fuzz::head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bellwether_fuzz::head(data));
