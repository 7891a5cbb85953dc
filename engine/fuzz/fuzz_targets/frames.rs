//! Feeds libFuzzer's bytes to [`weir::fuzz::frames`]: packets and commands in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::frames(data));
