//! Feeds libFuzzer's bytes to [`weir::config::fuzz`]: configuration files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::config::fuzz(data));
