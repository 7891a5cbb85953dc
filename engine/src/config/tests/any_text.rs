//! Texts nobody wrote by hand: random, shuffled, damaged.
//!
//! Purpose: run the body of the fuzz target `config` on them.
//! Never: expect a certain judgement, only that there is one.

use proptest::prelude::*;

use crate::config::{fuzz, sample};

/// Words that get random text past the first few branches.
const TOKENS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    ".",
    ",",
    "#",
    "\\",
    "${",
    "}",
    "$${",
    "limits",
    "weir",
    "workers",
    "cluster",
    "backend",
    "monitor",
    "user",
    "name",
    "password",
    "address",
    "endpoint",
    "1",
    "-1",
    "0x",
    "1e9",
    "true",
    "1979-05-27",
    "\"a\"",
    "\u{7f}",
    "é",
    "\0",
];

proptest! {
    #[test]
    fn any_bytes_are_judged(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&data);
    }

    #[test]
    fn any_tokens_are_judged(
        tokens in proptest::collection::vec(proptest::sample::select(TOKENS), 0..60),
    ) {
        fuzz(tokens.concat().as_bytes());
        fuzz(tokens.join(" ").as_bytes());
    }

    #[test]
    fn any_damage_to_the_sample_is_judged(
        at in any::<proptest::sample::Index>(),
        removed in 0_usize..40,
        token in proptest::sample::select(TOKENS),
    ) {
        let sample: Vec<char> = sample().lines()
            .filter(|line| !line.starts_with("# "))
            .flat_map(|line| line.chars().chain(['\n']))
            .collect();
        let at = at.index(sample.len());
        let (before, from) = sample.split_at(at);
        let after = from.iter().skip(removed);
        let text: String = before.iter().copied().chain(token.chars()).chain(after.copied()).collect();
        fuzz(text.as_bytes());
    }
}
