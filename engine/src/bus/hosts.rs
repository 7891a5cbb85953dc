//! Addresses whose clients keep failing their handshakes.
//!
//! Purpose: turn an address away that only breaks handshakes, as servers do with
//! `max_connect_errors`, and let it come again after a while.
//! Never: count wrong passwords, or grow with the number of addresses there are.

use std::array::from_fn;
use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::Time;
use crate::bus::census::{SHARDS, shard_of};

/// Addresses one part of the table remembers; all parts together 4,096.
const SHARD_LEN_MAX: usize = 256;

/// Failed handshakes in a row, by address.
pub struct Hosts {
    shards: [Mutex<HashMap<IpAddr, Record>>; SHARDS],
    hasher: RandomState,
    /// Addresses remembered: while there are none, a new client costs one load.
    known: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    errors: u32,
    /// [`Time::ZERO`] while not blocked.
    blocked_until: Time,
}

impl Default for Hosts {
    fn default() -> Self {
        let shards = from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), known: AtomicUsize::new(0) }
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hosts")
    }
}

impl Hosts {
    /// Whether clients of this address are turned away now.
    #[must_use]
    pub fn is_blocked(&self, host: IpAddr, now: Time) -> bool {
        if self.known.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut shard = shard_of(&self.shards, &self.hasher, &host);
        match shard.get(&host) {
            Some(record) if record.blocked_until > now => true,
            Some(record) if record.blocked_until > Time::ZERO => {
                // It begins anew.
                shard.remove(&host);
                self.known.fetch_sub(1, Ordering::Relaxed);
                false
            }
            Some(_) | None => false,
        }
    }

    /// A handshake failed. True when that blocks the address.
    pub fn failed(&self, host: IpAddr, now: Time, errors_max: u32, block: Duration) -> bool {
        if errors_max == 0 {
            return false;
        }
        let mut shard = shard_of(&self.shards, &self.hasher, &host);
        if shard.len() >= SHARD_LEN_MAX && !shard.contains_key(&host) {
            // Whoever is nearest to being forgotten anyway: not blocked and with the fewest errors,
            // or blocked for the shortest time.
            let nearest = shard.iter().min_by_key(|(_, it)| (it.blocked_until, it.errors));
            if let Some(nearest) = nearest.map(|(host, _)| *host) {
                shard.remove(&nearest);
                self.known.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let record = shard.entry(host).or_insert_with(|| {
            self.known.fetch_add(1, Ordering::Relaxed);
            Record { errors: 0, blocked_until: Time::ZERO }
        });
        record.errors = record.errors.saturating_add(1);
        let blocks = record.errors >= errors_max && record.blocked_until <= now;
        if blocks {
            record.blocked_until = now + block;
        }
        blocks
    }

    /// A client of this address has logged in.
    pub fn succeeded(&self, host: IpAddr) {
        if self.known.load(Ordering::Relaxed) > 0
            && shard_of(&self.shards, &self.hasher, &host).remove(&host).is_some()
        {
            self.known.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn host(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn blocks_after_so_many_in_a_row_and_for_so_long() {
        let hosts = Hosts::default();
        let fail = |now| hosts.failed(host(1), at(now), 3, BLOCK);
        assert!(!fail(1) && !fail(2));
        hosts.succeeded(host(1));
        assert!(!fail(3) && !fail(4));
        assert!(!hosts.is_blocked(host(1), at(4)));
        assert!(fail(5), "the third in a row");
        assert!(!fail(6), "those under way then do not block it again");
        assert!(hosts.is_blocked(host(1), at(64)) && !hosts.is_blocked(host(2), at(64)));
        assert!(!hosts.is_blocked(host(1), at(65)));
        assert!(!fail(66) && !fail(67) && fail(68), "it began anew");
        hosts.succeeded(host(1));
        assert!(!hosts.is_blocked(host(1), at(69)), "it was let in, so it may come");
        assert_eq!(hosts.known.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn zero_is_never() {
        let hosts = Hosts::default();
        assert!((0..1000).all(|_| !hosts.failed(host(1), at(1), 0, BLOCK)));
        assert_eq!(hosts.known.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn remembers_a_bounded_number_and_forgets_the_least_guilty() {
        let hosts = Hosts::default();
        assert!(hosts.failed(host(0), at(1), 1, BLOCK));
        for n in 1..20_000 {
            assert!(!hosts.failed(host(n), at(1), 2, BLOCK));
        }
        let kept: usize = hosts.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * SHARD_LEN_MAX);
        assert_eq!(kept, hosts.known.load(Ordering::Relaxed));
        assert!(hosts.is_blocked(host(0), at(2)), "a blocked address is not crowded out");
    }
}
