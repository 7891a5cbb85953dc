//! Feeds libFuzzer's bytes to [`weir::fuzz::classify`]: where statement texts may run.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::classify(data));
