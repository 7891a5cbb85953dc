//! Feeds libFuzzer's bytes to [`weir::fuzz::probe`]: a server's answers to probes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::probe(data));
