//! The `weir` program: flags, start, exit code.
//!
//! Purpose: turn a command line into a running proxy or a clear error.
//! Never: hold logic that a test would want to call.

fn main() {}
