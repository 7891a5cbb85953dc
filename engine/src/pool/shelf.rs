//! Backend connections that nobody uses.
//!
//! Purpose: find one for a client that could have logged in with it itself, newest first, and say
//! which have lain there too long.
//! Never: own a connection: it knows their slots.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::{Address, Key, Time};
use crate::pool::login::that_matter;
use crate::wire::{Capabilities, LoginRequest};

/// What makes two logins the same to the server: whoever asks for this may get any connection that
/// was made for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    server: Address,
    user: Vec<u8>,
    schema: Option<Vec<u8>>,
    collation: u8,
    /// What the client asked for: it changes what the server does.
    capabilities: Capabilities,
    /// With `match_client_address`.
    client: Option<IpAddr>,
}

impl PoolKey {
    /// That of a login on a server. Connection attributes do not count: they say who looks at the
    /// server, and change nothing there.
    #[must_use]
    pub fn new(server: &Address, login: &LoginRequest, client: Option<IpAddr>) -> Self {
        Self {
            server: server.clone(),
            user: login.user.clone(),
            schema: login.database.clone(),
            collation: login.collation,
            capabilities: that_matter(login.capabilities),
            client,
        }
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> &Address {
        &self.server
    }

    /// The schema of the login.
    #[must_use]
    pub fn schema(&self) -> Option<&[u8]> {
        self.schema.as_deref()
    }
}

/// How long connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Without being used.
    pub idle_max: Duration,
    /// Since their login.
    pub age_max: Duration,
    /// Since their login, for clients that log in.
    pub verified_max: Duration,
}

#[derive(Debug)]
struct Idle {
    slot: Key,
    since: Time,
    logged_in: Time,
}

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub struct Shelf {
    pools: HashMap<PoolKey, Vec<Idle>>,
    count: usize,
}

impl Shelf {
    /// Connections that lie here.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether none does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A connection that logged in at `logged_in` is not used any more.
    pub fn put(&mut self, key: PoolKey, slot: Key, logged_in: Time, now: Time) {
        self.pools.entry(key).or_default().push(Idle { slot, since: now, logged_in });
        self.count += 1;
    }

    /// Takes the connection that was used last, if its account was verified lately enough.
    #[must_use]
    pub fn take(&mut self, key: &PoolKey, keep: &Keep, now: Time) -> Option<Key> {
        let idle = self.pools.get_mut(key)?;
        let place = idle.iter().rposition(|idle| now < idle.logged_in + keep.verified_max)?;
        let taken = idle.remove(place);
        if idle.is_empty() {
            self.pools.remove(key);
        }
        self.count -= 1;
        Some(taken.slot)
    }

    /// Takes a connection off because it has ended.
    pub fn remove(&mut self, key: &PoolKey, slot: Key) {
        let Some(idle) = self.pools.get_mut(key) else { return };
        let before = idle.len();
        idle.retain(|idle| idle.slot != slot);
        self.count -= before - idle.len();
        if idle.is_empty() {
            self.pools.remove(key);
        }
    }

    /// Takes off those that have been kept long enough, oldest use first.
    #[must_use]
    pub fn expire(&mut self, keep: &Keep, now: Time) -> Vec<Key> {
        self.take_off(|_, idle| {
            now >= idle.since + keep.idle_max || now >= idle.logged_in + keep.age_max
        })
    }

    /// Takes off all connections to servers that are not wanted any more.
    #[must_use]
    pub fn forget(&mut self, is_wanted: impl Fn(&Address) -> bool) -> Vec<Key> {
        self.take_off(|key, _| !is_wanted(&key.server))
    }

    /// Takes off the connection to that server which has not been used for the longest time.
    #[must_use]
    pub fn oldest_of(&mut self, server: &Address) -> Option<Key> {
        let of_server = self.pools.iter().filter(|(key, _)| key.server == *server);
        let oldest = of_server.filter_map(|(key, idle)| Some((key, idle.first()?)));
        let (key, idle) = oldest.min_by_key(|(_, idle)| idle.since)?;
        let (key, slot) = (key.clone(), idle.slot);
        self.remove(&key, slot);
        Some(slot)
    }

    fn take_off(&mut self, is_over: impl Fn(&PoolKey, &Idle) -> bool) -> Vec<Key> {
        let mut over = Vec::new();
        self.pools.retain(|key, idle| {
            idle.retain(|idle| {
                let ends = is_over(key, idle);
                if ends {
                    over.push((idle.since, idle.slot));
                }
                !ends
            });
            !idle.is_empty()
        });
        self.count -= over.len();
        over.sort_unstable_by_key(|(since, _)| *since);
        over.into_iter().map(|(_, slot)| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep {
        idle_max: Duration::from_secs(60),
        age_max: Duration::from_secs(600),
        verified_max: Duration::from_secs(300),
    };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn slot(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    fn server(port: u16) -> Address {
        Address::Tcp(([127, 0, 0, 1], port).into())
    }

    fn key(port: u16, user: &str) -> PoolKey {
        PoolKey {
            server: server(port),
            user: user.into(),
            schema: Some(b"shop".to_vec()),
            collation: 45,
            capabilities: Capabilities::PROTOCOL_41,
            client: None,
        }
    }

    #[test]
    fn the_newest_of_the_same_login_is_taken_first() {
        let mut shelf = Shelf::default();
        for (user, index) in [("a", 0), ("b", 1), ("a", 2), ("a", 3)] {
            shelf.put(key(1, user), slot(index), at(0), at(u64::from(index)));
        }
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(9)), Some(slot(3)));
        shelf.remove(&key(1, "a"), slot(0));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(9)), Some(slot(2)));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(9)), None);
        assert_eq!(shelf.take(&key(2, "b"), &KEEP, at(9)), None, "another server");
        assert_eq!(shelf.len(), 1);
        let others = [
            PoolKey { schema: None, ..key(1, "b") },
            PoolKey { collation: 8, ..key(1, "b") },
            PoolKey { capabilities: Capabilities::FOUND_ROWS, ..key(1, "b") },
            PoolKey { client: Some([127, 0, 0, 1].into()), ..key(1, "b") },
        ];
        for other in others {
            assert_eq!(shelf.take(&other, &KEEP, at(9)), None, "{other:?}");
        }
    }

    #[test]
    fn who_logs_in_gets_no_connection_whose_account_was_verified_too_long_ago() {
        let mut shelf = Shelf::default();
        shelf.put(key(1, "a"), slot(0), at(200), at(280));
        shelf.put(key(1, "a"), slot(1), at(0), at(299));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(300)), Some(slot(0)));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(300)), None);
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(299)), Some(slot(1)));
        assert!(shelf.is_empty());
    }

    #[test]
    fn what_lay_or_lived_too_long_goes() {
        let mut shelf = Shelf::default();
        shelf.put(key(1, "a"), slot(0), at(560), at(561));
        shelf.put(key(1, "a"), slot(1), at(0), at(590));
        shelf.put(key(1, "b"), slot(2), at(560), at(562));
        shelf.put(key(1, "b"), slot(3), at(560), at(599));
        assert_eq!(shelf.expire(&KEEP, at(599)), []);
        assert_eq!(shelf.expire(&KEEP, at(600)), [slot(1)], "as old as connections get");
        assert_eq!(shelf.expire(&KEEP, at(622)), [slot(0), slot(2)]);
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn the_oldest_makes_room_on_its_own_server_only() {
        let mut shelf = Shelf::default();
        for (port, user, index) in [(1, "a", 4), (2, "a", 1), (1, "b", 3), (1, "a", 5)] {
            shelf.put(key(port, user), slot(index), at(0), at(u64::from(index)));
        }
        assert_eq!(shelf.oldest_of(&server(1)), Some(slot(3)));
        assert_eq!(shelf.oldest_of(&server(1)), Some(slot(4)));
        assert_eq!(shelf.forget(|server| server.tcp().is_some_and(|it| it.port() == 2)), [slot(5)]);
        assert_eq!(shelf.oldest_of(&server(1)), None);
        assert_eq!(shelf.len(), 1);
    }
}
