//! Feeds libFuzzer's bytes to [`weir::fuzz::reply`]: replies in pieces, in every dialect.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::reply(data));
