//! Feeds libFuzzer's bytes to [`weir::fuzz::lex`]: statement texts in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir::fuzz::lex(data));
