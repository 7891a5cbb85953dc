//! Measures proxies.

fn main() {}
