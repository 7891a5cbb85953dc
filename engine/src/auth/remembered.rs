//! Passwords that clients have told and a backend has taken.
//!
//! Purpose: who has told its password once is not asked for it again, on whichever worker.
//! Never: keep one that no backend has taken, keep more than allowed or longer, or be touched but at
//! a login.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::client::is_password_of;
use crate::base::Time;
use crate::config::{Secret, User};

/// Accounts with their passwords, by cluster and name. `Debug` hides them; they are wiped from
/// memory when forgotten, and when the last session that uses them is over.
#[derive(Default)]
pub struct Remembered(Mutex<State>);

/// How many are kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Accounts at most; 0 keeps none.
    pub len_max: usize,
    /// From the last time a backend took the password.
    pub keep: Duration,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// By last use, oldest first.
    order: BTreeMap<u64, Arc<[u8]>>,
    /// Numbers uses.
    uses: u64,
    /// Accounts dropped to make room.
    evicted: u64,
}

struct Entry {
    account: Arc<User>,
    use_number: u64,
    until: Time,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(…)")
    }
}

impl Remembered {
    /// The account of that name, with its password, if it is still good at `now`.
    #[must_use]
    pub fn recall(&self, cluster: &str, name: &[u8], now: Time) -> Option<Arc<User>> {
        let key = key_of(cluster, name);
        let mut state = self.lock();
        if state.entries.get(key.as_slice())?.until <= now {
            state.remove(&key);
            return None;
        }
        state.touch(&key);
        state.entries.get(key.as_slice()).map(|entry| Arc::clone(&entry.account))
    }

    /// As [`Self::recall`], for an account of which the configuration says `secret`: a password that
    /// does not match it any more is forgotten.
    #[must_use]
    pub fn recall_for(
        &self,
        cluster: &str,
        name: &[u8],
        secret: &Secret,
        now: Time,
    ) -> Option<Arc<User>> {
        let account = self.recall(cluster, name, now)?;
        match &account.secret {
            Secret::Clear(password) if is_password_of(password, secret) => Some(account),
            Secret::Empty | Secret::Clear(_) | Secret::NativeHash(_) | Secret::Sha2Hash(_) => {
                self.forget(cluster, name, &account);
                None
            }
        }
    }

    /// A backend took the account's password.
    pub fn remember(
        &self,
        cluster: &str,
        name: &[u8],
        account: &Arc<User>,
        now: Time,
        retention: Retention,
    ) {
        let key: Arc<[u8]> = key_of(cluster, name).into();
        let mut state = self.lock();
        state.remove(&key);
        while state.entries.len() >= retention.len_max {
            let Some((_, oldest)) = state.order.pop_first() else { return };
            state.entries.remove(&oldest);
            state.evicted += 1;
        }
        state.uses += 1;
        let use_number = state.uses;
        state.order.insert(use_number, Arc::clone(&key));
        let until = now + retention.keep;
        let entry = Entry { account: Arc::clone(account), use_number, until };
        state.entries.insert(key, entry);
    }

    /// A backend did not take this account's password any more. One that was told since stays.
    pub fn forget(&self, cluster: &str, name: &[u8], account: &Arc<User>) {
        let key = key_of(cluster, name);
        let mut state = self.lock();
        let entry = state.entries.get(key.as_slice());
        if entry.is_some_and(|entry| Arc::ptr_eq(&entry.account, account)) {
            state.remove(&key);
        }
    }

    /// Accounts kept now, and how many were dropped to make room for others.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        let state = self.lock();
        (state.entries.len(), state.evicted)
    }

    /// A thread that panicked has ended the process or left whole entries behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.use_number);
        }
    }

    fn touch(&mut self, key: &[u8]) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(key) = self.order.remove(&entry.use_number) {
            self.uses += 1;
            entry.use_number = self.uses;
            self.order.insert(self.uses, key);
        }
    }
}

/// Names of clusters have no NUL in them.
fn key_of(cluster: &str, name: &[u8]) -> Vec<u8> {
    [cluster.as_bytes(), &[0], name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scramble::{native_stage1, native_stage2};

    const HOUR: Duration = Duration::from_secs(3600);

    fn account(password: &str) -> Arc<User> {
        Arc::new(User::new("app".into(), Secret::Clear(password.into())))
    }

    fn keep(len_max: usize) -> Retention {
        Retention { len_max, keep: HOUR }
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_remembered_is_recalled_until_it_is_too_old() {
        let remembered = Remembered::default();
        assert_eq!(remembered.recall("main", b"app", at(0)), None);
        let app = account("s");
        remembered.remember("main", b"app", &app, at(10), keep(10));
        assert!(Arc::ptr_eq(&remembered.recall("main", b"app", at(3609)).unwrap(), &app));
        assert_eq!(remembered.recall("other", b"app", at(10)), None, "another cluster's account");
        assert_eq!(remembered.recall("main", b"app2", at(10)), None);
        assert_eq!(remembered.recall("main", b"app", at(3610)), None);
        assert_eq!(remembered.counts(), (0, 0), "nothing is kept of it");
        // Taken again, it is good for as long again.
        remembered.remember("main", b"app", &app, at(0), keep(10));
        remembered.remember("main", b"app", &app, at(3000), keep(10));
        assert!(remembered.recall("main", b"app", at(6000)).is_some());
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let remembered = Remembered::default();
        for name in [b"a", b"b", b"c"] {
            remembered.remember("main", name, &account("s"), at(0), keep(3));
        }
        assert!(remembered.recall("main", b"a", at(1)).is_some());
        remembered.remember("main", b"d", &account("s"), at(1), keep(3));
        assert_eq!(remembered.counts(), (3, 1));
        let known = |name: &[u8]| remembered.recall("main", name, at(1)).is_some();
        assert_eq!([known(b"a"), known(b"b"), known(b"c"), known(b"d")], [true, false, true, true]);
        // The same one again needs no room; a lower bound holds from the next one on.
        remembered.remember("main", b"a", &account("t"), at(1), keep(3));
        assert_eq!(remembered.counts(), (3, 1));
        remembered.remember("main", b"e", &account("s"), at(1), keep(1));
        assert_eq!(remembered.counts(), (1, 4));
        remembered.remember("main", b"f", &account("s"), at(1), keep(0));
        assert_eq!(remembered.counts().0, 0, "0 keeps none");
    }

    #[test]
    fn a_refusal_forgets_what_was_refused_and_nothing_newer() {
        let remembered = Remembered::default();
        let (old, new) = (account("old"), account("new"));
        remembered.remember("main", b"app", &old, at(0), keep(3));
        remembered.remember("main", b"app", &new, at(0), keep(3));
        remembered.forget("main", b"app", &old);
        assert!(remembered.recall("main", b"app", at(0)).is_some());
        remembered.forget("main", b"app", &new);
        assert_eq!(remembered.recall("main", b"app", at(0)), None);
    }

    #[test]
    fn a_password_that_the_configuration_does_not_have_any_more_is_forgotten() {
        let remembered = Remembered::default();
        let hash =
            |password: &str| Secret::NativeHash(native_stage2(&native_stage1(password.as_bytes())));
        remembered.remember("main", b"app", &account("s"), at(0), keep(3));
        assert!(remembered.recall_for("main", b"app", &hash("s"), at(0)).is_some());
        assert!(remembered.recall_for("main", b"app", &hash("t"), at(0)).is_none());
        assert_eq!(remembered.counts(), (0, 0));
    }

    #[test]
    fn passwords_are_not_printed() {
        let remembered = Remembered::default();
        remembered.remember("main", b"app", &account("hunter2"), at(0), keep(3));
        assert_eq!(format!("{remembered:?}"), "Remembered(…)");
    }
}
