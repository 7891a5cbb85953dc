//! Layouts of the maps and events that Weir's kernel programs share with the engine.
//!
//! Purpose: one definition of every byte that crosses the kernel boundary, for both sides.
//! Never: code, dependencies, or anything that needs `std`; the kernel programs link this too.
#![no_std]
#![forbid(unsafe_code)]

/// Identifies one backend address as seen from one network namespace.
///
/// ```text
/// 0        8                        24     26     28
/// | netns  | address (IPv6 or v4-mapped) | port | zero |
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// Cookie of the network namespace (`bpf_get_netns_cookie`), because two namespaces may use
    /// one address for two servers.
    pub netns_cookie: u64,
    /// IPv6 address in network order; an IPv4 address is stored v4-mapped.
    pub address: [u8; 16],
    /// TCP port in network order.
    pub port_be: u16,
    /// Always zero: map keys are compared byte by byte, padding included.
    pub zero: [u8; 6],
}

impl BackendKey {
    /// Key of an IPv4 address, stored v4-mapped (`::ffff:a.b.c.d`).
    #[must_use]
    pub const fn v4(netns_cookie: u64, address: [u8; 4], port: u16) -> Self {
        let [a, b, c, d] = address;
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
        Self::v6(netns_cookie, mapped, port)
    }

    /// Key of an IPv6 address.
    #[must_use]
    pub const fn v6(netns_cookie: u64, address: [u8; 16], port: u16) -> Self {
        Self { netns_cookie, address, port_be: port.to_be(), zero: [0; 6] }
    }
}

/// What the kernel counts per backend address, over all processes of the host.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounts {
    /// Connections in state established now.
    pub established: u64,
    /// Connects that ended without being established.
    pub connect_failures: u64,
    /// Connections ended by a reset from the peer.
    pub resets: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Retransmission timers that fired.
    pub timeouts: u64,
    /// Smoothed round-trip time of the last sample, in microseconds.
    pub smoothed_rtt_us: u64,
}

const _: () = assert!(size_of::<BackendKey>() == 32);
const _: () = assert!(size_of::<BackendCounts>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_key_is_v4_mapped_and_big_endian() {
        let key = BackendKey::v4(7, [10, 1, 2, 3], 3306);
        assert_eq!(key.address[10..], [0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(key.port_be.to_ne_bytes(), [0x0c, 0xea]);
        assert_eq!(key.zero, [0; 6]);
    }
}
