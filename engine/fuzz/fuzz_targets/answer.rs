//! Feeds libFuzzer's bytes to [`weir::fuzz::answer`]: OK, ERR, EOF, prepare answers and trackers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::answer(data));
