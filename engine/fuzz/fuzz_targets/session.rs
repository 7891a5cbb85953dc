//! Feeds libFuzzer's bytes to [`weir::fuzz::session`]: whole sessions, both sides, in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::session(data));
