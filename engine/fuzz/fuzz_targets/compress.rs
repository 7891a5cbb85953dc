//! Feeds libFuzzer's bytes to [`weir::fuzz::compress`]: envelopes of the compressed protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::compress(data));
