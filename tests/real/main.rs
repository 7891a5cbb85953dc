//! Real MariaDB through a real Weir.
fn main() {}
