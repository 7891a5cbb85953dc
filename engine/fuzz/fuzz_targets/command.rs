//! Feeds libFuzzer's bytes to [`weir::fuzz::command`]: the first bytes of commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::command(data));
