//! Feeds libFuzzer's bytes to [`weir::fuzz::proxy`]: headers of the PROXY protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::proxy(data));
