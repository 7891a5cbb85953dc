//! How many are here, by key, counted over all workers.
//!
//! Purpose: bounds that hold for the process: clients of one address, sessions of one user.
//! Never: be touched for a statement; somebody enters once and leaves once.

use std::array::from_fn;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of the table with a lock each, so that workers rarely meet at one.
pub(super) const SHARDS: usize = 16;

/// Who is here. A key takes memory only while somebody holds it, so that the sessions' own bound is
/// the table's too.
pub struct Census<K> {
    shards: [Mutex<HashMap<K, usize>>; SHARDS],
    hasher: RandomState,
}

impl<K> Default for Census<K> {
    fn default() -> Self {
        Self { shards: from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl<K> fmt::Debug for Census<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Census")
    }
}

impl<K: Eq + Hash> Census<K> {
    /// Counts one more of `key`, unless there are `max` already; 0 is no bound. Whoever entered has
    /// to leave. Counts also without a bound: the next configuration may have one.
    #[must_use]
    pub fn try_enter<Q>(&self, key: &Q, max: usize) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut shard = self.shard(key);
        if let Some(count) = shard.get_mut(key) {
            let room = max == 0 || *count < max;
            *count += usize::from(room);
            return room;
        }
        shard.insert(key.to_owned(), 1);
        true
    }

    /// Counts one less of `key`; the last one takes the key along.
    pub fn leave<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut shard = self.shard(key);
        let Some(count) = shard.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            shard.remove(key);
        }
    }

    /// How many of `key` are here.
    #[must_use]
    pub fn count<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.shard(key).get(key).copied().unwrap_or(0)
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, HashMap<K, usize>> {
        shard_of(&self.shards, &self.hasher, key)
    }
}

/// The part of a table that holds `key`.
pub(super) fn shard_of<'s, Q: Hash + ?Sized, T>(
    shards: &'s [Mutex<T>; SHARDS],
    hasher: &RandomState,
    key: &Q,
) -> MutexGuard<'s, T> {
    let [first, rest @ ..] = shards;
    let bytes = hasher.hash_one(key).to_le_bytes();
    let index = bytes.first().map_or(0, |byte| usize::from(*byte) % SHARDS);
    let shard = index.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first);
    // A thread that panicked has ended the process or left whole numbers behind.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;

    fn keys<K>(census: &Census<K>) -> usize {
        census.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn room_that_becomes_free_is_used_again() {
        let census: Census<Vec<u8>> = Census::default();
        assert!(census.try_enter(b"a".as_slice(), 2) && census.try_enter(b"a".as_slice(), 2));
        assert!(!census.try_enter(b"a".as_slice(), 2));
        assert!(census.try_enter(b"b".as_slice(), 2), "another key has room of its own");
        census.leave(b"a".as_slice());
        assert!(census.try_enter(b"a".as_slice(), 2));
        assert_eq!((census.count(b"a".as_slice()), census.count(b"c".as_slice())), (2, 0));
    }

    #[test]
    fn without_a_bound_it_counts_as_well() {
        let census: Census<IpAddr> = Census::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..10 {
            assert!(census.try_enter(&here, 0));
        }
        assert!(!census.try_enter(&here, 10), "a bound that comes later finds them counted");
    }

    #[test]
    fn nobody_here_takes_no_memory() {
        let census: Census<u32> = Census::default();
        for key in 0..1000 {
            assert!(census.try_enter(&key, 1));
        }
        assert_eq!(keys(&census), 1000);
        for key in 0..1000 {
            census.leave(&key);
            census.leave(&key);
        }
        assert_eq!(keys(&census), 0);
    }

    #[test]
    fn threads_together_keep_the_bound() {
        let census = Arc::new(Census::<u32>::default());
        let threads = [0, 1, 2, 3].map(|_| {
            let census = census.clone();
            std::thread::spawn(move || (0..1000).filter(|_| census.try_enter(&7, 100)).count())
        });
        let entered: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((entered, census.count(&7)), (100, 100));
    }
}
