//! Free TCP ports.
//!
//! Purpose: a loopback port nobody listens on now and nobody is likely to take in the next second.
//! Never: a port of the ephemeral range, where an outgoing connection could take it meanwhile.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the kernel's default ephemeral range (32768 and up).
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A loopback port that was free a moment ago; the next call gives another one.
///
/// # Errors
/// When no port of the range can be bound.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes start at different places, so that two test runs rarely want the same port.
    let start = u16::try_from(process::id().wrapping_mul(131) % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_skip_one_in_use() {
        let first = free_port().unwrap();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        for _ in 0..50 {
            assert_ne!(free_port().unwrap(), first);
        }
    }
}
