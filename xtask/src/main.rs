//! `cargo xtask`: everything people and CI call.
//!
//! Purpose: one program for the repository's chores.
//! Never: link the engine's unsafe parts or guess silently when a tool is missing.

fn main() {}
