//! Backend connections that nobody uses.
//!
//! Purpose: find one for a client that could have logged in with it itself, newest first, and say
//! which have lain there too long.
//! Never: own a connection: it knows their slots.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Address, Key, Time};
use crate::pool::login::that_matter;
use crate::share::Settings;
use crate::wire::{Capabilities, LoginRequest};

/// What makes two logins the same to the server: whoever asks for this may get any connection that
/// was made for it. Cheap to clone and to look up.
#[derive(Clone, Debug)]
pub struct PoolKey(Arc<Alike>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    server: Address,
    /// What was said first on it.
    init: Option<Arc<str>>,
    user: Vec<u8>,
    /// Of connections that change hands between two commands any; they are told apart by what they
    /// are set to.
    schema: Option<Vec<u8>>,
    is_shared: bool,
    collation: u8,
    /// What the client asked for: it changes what the server does.
    capabilities: Capabilities,
    /// With `match_client_address`.
    client: Option<IpAddr>,
    hash: u64,
}

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PoolKey {
    /// That of a login on a server with that `init_query`. Connection attributes do not count: they
    /// say who looks at the server, and change nothing there.
    #[must_use]
    pub fn new(
        server: &Address,
        init: Option<&Arc<str>>,
        login: &LoginRequest,
        client: Option<IpAddr>,
    ) -> Self {
        Self::of(Alike {
            server: server.clone(),
            init: init.cloned(),
            user: login.user.clone(),
            schema: login.database.clone(),
            is_shared: false,
            collation: login.collation,
            capabilities: that_matter(login.capabilities),
            client,
            hash: 0,
        })
    }

    /// The same for connections that change hands between two commands: their schema may change as
    /// well.
    #[must_use]
    pub fn shared(
        server: &Address,
        init: Option<&Arc<str>>,
        login: &LoginRequest,
        client: Option<IpAddr>,
    ) -> Self {
        let alike = Arc::unwrap_or_clone(Self::new(server, init, login, client).0);
        Self::of(Alike { schema: None, is_shared: true, hash: 0, ..alike })
    }

    fn of(alike: Alike) -> Self {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&alike);
        Self(Arc::new(Alike { hash, ..alike }))
    }

    /// A pool of connections that change hands.
    #[cfg(test)]
    pub(crate) fn example(server: &Address, user: &str) -> Self {
        Self::of(Alike {
            server: server.clone(),
            init: None,
            user: user.into(),
            schema: None,
            is_shared: true,
            collation: 45,
            capabilities: Capabilities::PROTOCOL_41,
            client: None,
            hash: 0,
        })
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Address {
        &self.0.server
    }

    /// What was said first on its connections.
    #[must_use]
    pub fn init(&self) -> Option<&Arc<str>> {
        self.0.init.as_ref()
    }

    /// The schema of the login.
    #[must_use]
    pub fn schema(&self) -> Option<&[u8]> {
        self.0.schema.as_deref()
    }

    /// Whether its connections change hands between two commands.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared
    }
}

/// How long connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Without being used.
    pub idle_max: Duration,
    /// So many of a pool for longer than that.
    pub idle_min: usize,
    /// Since their login.
    pub age_max: Duration,
    /// Since their login, for clients that log in.
    pub verified_max: Duration,
}

/// When things happened to a connection last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Its login.
    pub logged_in: Time,
    /// Somebody used it.
    pub used: Time,
    /// Its server said something.
    pub heard: Time,
}

#[derive(Debug)]
struct Idle {
    slot: Key,
    times: Times,
    /// What it is set to, if it changes hands between two commands.
    settings: Option<Arc<Settings>>,
}

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub struct Shelf {
    /// In the order in which they were used.
    pools: HashMap<PoolKey, Vec<Idle>>,
    count: usize,
}

impl Shelf {
    /// Those of one pool.
    #[must_use]
    pub fn len_of(&self, key: &PoolKey) -> usize {
        self.pools.get(key).map_or(0, Vec::len)
    }

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

    /// A connection is not used any more.
    pub fn put(&mut self, key: PoolKey, slot: Key, times: Times) {
        insert(self.pools.entry(key).or_default(), Idle { slot, times, settings: None });
        self.count += 1;
    }

    /// The same for one that changes hands between two commands, and is set to that.
    pub fn put_shared(&mut self, key: &PoolKey, slot: Key, settings: Arc<Settings>, times: Times) {
        let idle = Idle { slot, times, settings: Some(settings) };
        match self.pools.get_mut(key) {
            Some(pool) => insert(pool, idle),
            None => drop(self.pools.insert(key.clone(), vec![idle])),
        }
        self.count += 1;
    }

    /// Takes the connection that fits those settings best, of several the one that was used last.
    #[must_use]
    pub fn take_shared(&mut self, key: &PoolKey, wanted: &Arc<Settings>) -> Option<Key> {
        let idle = self.pools.get_mut(key)?;
        let mut best: Option<(u8, usize)> = None;
        for (place, idle) in idle.iter().enumerate().rev() {
            let distance = idle.settings.as_ref().and_then(|own| own.distance_to(wanted));
            let Some(distance) = distance else { continue };
            if best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, place));
            }
            if distance == 0 {
                break;
            }
        }
        let taken = idle.remove(best?.1);
        self.count -= 1;
        Some(taken.slot)
    }

    /// Takes the connection that can be set to that and has not been used for the longest time.
    #[must_use]
    pub fn oldest_that_fits(&mut self, key: &PoolKey, wanted: &Arc<Settings>) -> Option<Key> {
        let fits = |own: &Arc<Settings>| own.distance_to(wanted).is_some();
        let idle = self.pools.get_mut(key)?;
        let place = idle.iter().position(|idle| idle.settings.as_ref().is_some_and(fits))?;
        let taken = idle.remove(place);
        self.count -= 1;
        Some(taken.slot)
    }

    /// Takes the connection that was used last, if its account was verified lately enough.
    #[must_use]
    pub fn take(&mut self, key: &PoolKey, keep: &Keep, now: Time) -> Option<Key> {
        let idle = self.pools.get_mut(key)?;
        let place = idle.iter().rposition(|idle| now < idle.times.logged_in + keep.verified_max)?;
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
        let is_old = |idle: &Idle| now >= idle.times.logged_in + keep.age_max;
        let mut over = Vec::new();
        for pool in self.pools.values() {
            let young = pool.iter().filter(|idle| !is_old(idle));
            let spare = young.clone().count().saturating_sub(keep.idle_min);
            let is_spare = |idle: &&Idle| now >= idle.times.used + keep.idle_max;
            over.extend(young.take(spare).filter(is_spare).map(|idle| idle.slot));
        }
        let over: HashSet<Key> = over.into_iter().collect();
        self.take_off(|_, idle| is_old(idle) || over.contains(&idle.slot))
    }

    /// Takes off those whose server has said nothing for so long.
    #[must_use]
    pub fn unheard(&mut self, silent_max: Duration, now: Time) -> Vec<Key> {
        self.take_off(|_, idle| now >= idle.times.heard + silent_max)
    }

    /// Takes off all connections that are not wanted any more.
    #[must_use]
    pub fn forget(&mut self, is_wanted: impl Fn(&PoolKey) -> bool) -> Vec<Key> {
        self.take_off(|key, _| !is_wanted(key))
    }

    /// Takes off the connection to that server which has not been used for the longest time.
    #[must_use]
    pub fn oldest_of(&mut self, server: &Address) -> Option<Key> {
        let of_server = self.pools.iter().filter(|(key, _)| key.server() == server);
        let oldest = of_server.filter_map(|(key, idle)| Some((key, idle.first()?)));
        let (key, idle) = oldest.min_by_key(|(_, idle)| idle.times.used)?;
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
                    over.push((idle.times.used, idle.slot));
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

/// Its place is behind those that were used before it: at the end, unless it was only asked whether
/// it is still there.
fn insert(pool: &mut Vec<Idle>, idle: Idle) {
    let before = pool.iter().rposition(|other| other.times.used <= idle.times.used);
    pool.insert(before.map_or(0, |place| place + 1), idle);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep {
        idle_max: Duration::from_secs(60),
        idle_min: 0,
        age_max: Duration::from_secs(600),
        verified_max: Duration::from_secs(300),
    };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn times(logged_in: u64, used: u64) -> Times {
        Times { logged_in: at(logged_in), used: at(used), heard: at(used) }
    }

    fn slot(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    fn server(port: u16) -> Address {
        Address::Tcp(([127, 0, 0, 1], port).into())
    }

    fn key(port: u16, user: &str) -> PoolKey {
        PoolKey::of(alike(port, user))
    }

    fn alike(port: u16, user: &str) -> Alike {
        Alike {
            server: server(port),
            init: None,
            user: user.into(),
            schema: Some(b"shop".to_vec()),
            is_shared: false,
            collation: 45,
            capabilities: Capabilities::PROTOCOL_41,
            client: None,
            hash: 0,
        }
    }

    #[test]
    fn the_newest_of_the_same_login_is_taken_first() {
        let mut shelf = Shelf::default();
        for (user, index) in [("a", 0), ("b", 1), ("a", 2), ("a", 3)] {
            shelf.put(key(1, user), slot(index), times(0, u64::from(index)));
        }
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(9)), Some(slot(3)));
        shelf.remove(&key(1, "a"), slot(0));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(9)), Some(slot(2)));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(9)), None);
        assert_eq!(shelf.take(&key(2, "b"), &KEEP, at(9)), None, "another server");
        assert_eq!(shelf.len(), 1);
        let others = [
            Alike { init: Some("DO 1".into()), ..alike(1, "b") },
            Alike { is_shared: true, ..alike(1, "b") },
            Alike { schema: None, ..alike(1, "b") },
            Alike { collation: 8, ..alike(1, "b") },
            Alike { capabilities: Capabilities::FOUND_ROWS, ..alike(1, "b") },
            Alike { client: Some([127, 0, 0, 1].into()), ..alike(1, "b") },
        ];
        for other in others {
            let other = PoolKey::of(other);
            assert_eq!(shelf.take(&other, &KEEP, at(9)), None, "{other:?}");
        }
    }

    #[test]
    fn who_logs_in_gets_no_connection_whose_account_was_verified_too_long_ago() {
        let mut shelf = Shelf::default();
        shelf.put(key(1, "a"), slot(0), times(200, 280));
        shelf.put(key(1, "a"), slot(1), times(0, 299));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(300)), Some(slot(0)));
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(300)), None);
        assert_eq!(shelf.take(&key(1, "a"), &KEEP, at(299)), Some(slot(1)));
        assert!(shelf.is_empty());
    }

    #[test]
    fn what_lay_or_lived_too_long_goes() {
        let mut shelf = Shelf::default();
        shelf.put(key(1, "a"), slot(0), times(560, 561));
        shelf.put(key(1, "a"), slot(1), times(0, 590));
        shelf.put(key(1, "b"), slot(2), times(560, 562));
        shelf.put(key(1, "b"), slot(3), times(560, 599));
        assert_eq!(shelf.expire(&KEEP, at(599)), []);
        assert_eq!(shelf.expire(&KEEP, at(600)), [slot(1)], "as old as connections get");
        assert_eq!(shelf.expire(&KEEP, at(622)), [slot(0), slot(2)]);
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn the_oldest_makes_room_on_its_own_server_only() {
        let mut shelf = Shelf::default();
        for (port, user, index) in [(1, "a", 4), (2, "a", 1), (1, "b", 3), (1, "a", 5)] {
            shelf.put(key(port, user), slot(index), times(0, u64::from(index)));
        }
        assert_eq!(shelf.oldest_of(&server(1)), Some(slot(3)));
        assert_eq!(shelf.oldest_of(&server(1)), Some(slot(4)));
        assert_eq!(shelf.forget(|key| *key.server() == server(2)), [slot(5)]);
        assert_eq!(shelf.oldest_of(&server(1)), None);
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn who_waits_elsewhere_gets_the_oldest_that_fits() {
        let mut shelf = Shelf::default();
        let pool = PoolKey::example(&server(1), "a");
        let [none, shop] =
            ["", "shop"].map(|it| Arc::new(Settings::new(it.as_bytes(), std::iter::empty())));
        for (index, settings) in [(2, &shop), (0, &shop), (1, &none)] {
            shelf.put_shared(&pool, slot(index), settings.clone(), times(0, u64::from(index)));
        }
        let other = PoolKey::example(&server(1), "b");
        assert_eq!(shelf.oldest_that_fits(&other, &none), None);
        assert_eq!(shelf.oldest_that_fits(&pool, &none), Some(slot(1)), "no way out of a schema");
        assert_eq!(shelf.oldest_that_fits(&pool, &shop), Some(slot(0)));
        assert_eq!(shelf.oldest_that_fits(&pool, &none), None);
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn who_has_said_nothing_for_long_is_asked_and_stays_as_old_as_it_is() {
        let mut shelf = Shelf::default();
        for index in 0..3 {
            shelf.put(key(1, "a"), slot(index), times(0, u64::from(index)));
        }
        let silent_max = Duration::from_secs(30);
        assert_eq!(shelf.unheard(silent_max, at(29)), []);
        assert_eq!(shelf.unheard(silent_max, at(31)), [slot(0), slot(1)]);
        assert_eq!(shelf.len(), 1);
        // They have answered.
        for index in [1, 0] {
            let times = Times { heard: at(31), ..times(0, u64::from(index)) };
            shelf.put(key(1, "a"), slot(index), times);
        }
        assert_eq!(shelf.unheard(silent_max, at(60)), [slot(2)], "the others were asked before");
        shelf.put(key(1, "a"), slot(2), times(0, 2));
        assert_eq!(shelf.expire(&KEEP, at(61)), [slot(0), slot(1)], "to answer is no use");
        assert_eq!(shelf.oldest_of(&server(1)), Some(slot(2)));
        assert!(shelf.is_empty());
    }

    #[test]
    fn some_of_a_pool_stay_but_not_for_ever() {
        let keep = Keep { idle_min: 2, ..KEEP };
        let mut shelf = Shelf::default();
        for index in 0..4 {
            shelf.put(key(1, "a"), slot(index), times(u64::from(index), u64::from(index)));
        }
        shelf.put(key(1, "b"), slot(9), times(0, 0));
        assert_eq!(shelf.expire(&keep, at(60)), [slot(0)], "the one that was used first");
        assert_eq!(shelf.expire(&keep, at(600)), [slot(9), slot(1)], "one pool's are no other's");
        assert_eq!(shelf.len_of(&key(1, "a")), 2);
        assert_eq!(shelf.expire(&keep, at(601)), []);
        assert_eq!(shelf.expire(&keep, at(603)), [slot(2), slot(3)], "as old as they get");
    }
}
