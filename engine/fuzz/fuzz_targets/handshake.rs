//! Feeds libFuzzer's bytes to [`weir::fuzz::handshake`]: greetings, login requests and both authentication machines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::handshake(data));
