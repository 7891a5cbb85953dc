//! Networks of clients, as `ADDRESS/BITS`.
//!
//! Purpose: read a list of networks, and tell whether an address is in one of them.
//! Never: take a text for a network that cannot mean what it says.

use std::fmt;
use std::net::IpAddr;

use super::problem::Place;
use super::raw::{At, Document, Table};

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address: everything behind the prefix is zero.
    first: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether an address is in it. IPv4 clients of an IPv6 listener are asked about as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (first, first_bits) = bits(self.first);
        let (address, address_bits) = bits(address);
        first_bits == address_bits && (first ^ address) & mask(self.prefix_bits) == 0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| WANTED.to_owned())?;
        if first.to_canonical() != first {
            return Err("must be written as a network of IPv4".to_owned());
        }
        let (value, bits_max) = bits(first);
        let prefix_bits = match prefix {
            None => bits_max,
            // Not `parse` alone: it takes "+8".
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|bits| *bits <= bits_max && prefix.bytes().all(|it| it.is_ascii_digit()))
                .ok_or_else(|| format!("must have a prefix of 0 to {bits_max} bits"))?,
        };
        if value & !mask(prefix_bits) != 0 {
            return Err(format!("has bits set behind its prefix of {prefix_bits}"));
        }
        Ok(Self { first, prefix_bits })
    }
}

/// As the configuration writes it.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

/// The address at the upper end of 128 bits, and how many of them it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

/// The upper `count` bits.
fn mask(count: u32) -> u128 {
    u128::MAX.checked_shl(128 - count).unwrap_or(0)
}

/// The networks a key lists; every one that is none is a problem of its own.
pub(super) fn list(document: &Document<'_>, table: &Table<'_>, name: &str) -> Vec<Network> {
    let Some(At { value, place }) = table.texts(name, |_| true) else { return Vec::new() };
    let mut networks = Vec::new();
    for text in value {
        let place = Place { found: format!("\"{text}\""), ..place.clone() };
        let Some(text) = table.expanded(text, place) else { continue };
        match Network::parse(&text.value) {
            Ok(network) => networks.push(network),
            Err(message) => document.reject(&text.place, message),
        }
    }
    networks
}

const WANTED: &str = "must be a network such as 10.0.0.0/8, 192.0.2.7 or fd00::/8";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, inside: &[&str], outside: &[&str]) {
        let network = Network::parse(text).unwrap();
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                let address: IpAddr = address.parse().unwrap();
                assert_eq!(network.contains(address), expected, "{address} in {text}");
            }
        }
    }

    #[test]
    fn an_address_is_in_or_out() {
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0", "::"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.5", "192.0.2.8"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]);
        check("::/0", &["::", "fd00::1"], &["0.0.0.0", "127.0.0.1"]);
        check("fd00::/9", &["fd00::", "fd7f::1"], &["fd80::", "fc00::", "253.0.0.0"]);
        check("::1", &["::1"], &["::", "::2", "127.0.0.1"]);
        check("fd00::4/127", &["fd00::4", "fd00::5"], &["fd00::6", "fd00::3"]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("", WANTED),
            ("localhost", WANTED),
            ("10.0.0/8", WANTED),
            ("/8", WANTED),
            ("10.0.0.0/33", "must have a prefix of 0 to 32 bits"),
            ("10.0.0.0/", "must have a prefix of 0 to 32 bits"),
            ("10.0.0.0/+8", "must have a prefix of 0 to 32 bits"),
            ("10.0.0.0/8/8", "must have a prefix of 0 to 32 bits"),
            ("fd00::/129", "must have a prefix of 0 to 128 bits"),
            ("10.0.0.1/8", "has bits set behind its prefix of 8"),
            ("fd00::1/64", "has bits set behind its prefix of 64"),
            ("0.0.0.1/0", "has bits set behind its prefix of 0"),
            ("::ffff:10.0.0.0/104", "must be written as a network of IPv4"),
        ] {
            assert_eq!(Network::parse(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn is_shown_as_it_is_written() {
        for (text, shown) in [("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128")] {
            assert_eq!(Network::parse(text).unwrap().to_string(), shown);
        }
    }
}
