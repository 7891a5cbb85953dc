//! Permission to have one more connection to a server, over all workers.
//!
//! Purpose: `connections_max` holds for the process, and whoever waits for a free connection is
//! called in order, on whichever worker that is.
//! Never: be asked for a statement; a permit lasts as long as a backend connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::base::{Address, Key, Line, Ticket};
use crate::bus::{Parcel, Promise, Wish};
use crate::config::Config;
use crate::io::Waker;
use crate::pool::PoolKey;
use crate::route::Bell;

/// Permits of all servers, counted by address: two backends of one address share its bound.
#[derive(Debug, Default)]
pub struct Permits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bounds: HashMap<Address, usize>,
    servers: HashMap<Address, Server>,
}

/// Kept only while somebody has or wants a permit.
#[derive(Debug, Default)]
struct Server {
    used: usize,
    waiting: Line<Waiter>,
    /// Sessions that have a permit and wait for their turn at their worker.
    turns: usize,
    /// Workers with an idle connection, once for each, and what it serves; no more than `used`.
    idle: Vec<(Arc<Desk>, PoolKey)>,
    /// Times in a row that the first who waits was passed over.
    passed_over: u32,
}

/// A session that waits for a permit, or for a connection that somebody has.
#[derive(Debug)]
struct Waiter {
    desk: Arc<Desk>,
    session: Key,
    wish: Option<Wish>,
    /// A [`Promise`] stands.
    is_promised: bool,
}

/// Where a worker learns that its sessions were called, or that their passwords were opened.
pub struct Desk {
    waker: Waker,
    /// No longer than the worker's sessions are many: each waits for one permit.
    called: Mutex<Vec<(Address, Key)>>,
    /// Sessions that wait, each of which an idle connection was promised to. No longer than the
    /// worker's idle connections are many.
    wanted: Mutex<Vec<Promise>>,
    /// Connections that came for sessions of the worker; no longer than those who wait are many.
    /// `None` once it takes no more.
    parcels: Mutex<Option<Vec<Parcel>>>,
    /// As long, for the same reason.
    opened: Mutex<Vec<Opened>>,
    /// Sessions that a client has killed. Each once, so no longer than the worker's sessions are
    /// many.
    killed: Mutex<Vec<u32>>,
    /// Sessions whose turn has come by a rule. Each waits for one.
    rung: Mutex<Vec<Key>>,
}

impl Bell for Desk {
    fn ring(&self, session: Key) {
        lock(&self.rung).push(session);
        self.waker.wake();
    }
}

/// A session, and its client's password with a NUL, or that it could not be opened.
pub type Opened = (Key, Option<Zeroizing<Vec<u8>>>);

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Granted. Has to be given back.
    Granted,
    /// The session waits and will be called at its worker's desk, or leaves with the ticket.
    Waits(Ticket),
    /// As many wait as may.
    Full,
}

impl Desk {
    /// The desk of the worker that `waker` wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            waker,
            called: Mutex::default(),
            wanted: Mutex::default(),
            parcels: Mutex::new(Some(Vec::new())),
            opened: Mutex::default(),
            killed: Mutex::default(),
            rung: Mutex::default(),
        }
    }

    /// Sessions whose wait is over; each has a permit now.
    #[must_use]
    pub fn take_called(&self) -> Vec<(Address, Key)> {
        std::mem::take(&mut *lock(&self.called))
    }

    /// What was promised in this worker's name: each is to be kept or given up.
    #[must_use]
    pub fn take_wanted(&self) -> Vec<Promise> {
        std::mem::take(&mut *lock(&self.wanted))
    }

    /// Connections that other workers gave up for sessions of this one.
    #[must_use]
    pub fn take_parcels(&self) -> Vec<Parcel> {
        lock(&self.parcels).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The worker has ended: it opens no more parcels.
    pub fn close(&self) {
        // Dropped when the lock is free again: that gives permits back.
        let unopened = lock(&self.parcels).take();
        drop(unopened);
    }

    pub(super) fn receive(&self, parcel: Parcel) {
        let refused = match &mut *lock(&self.parcels) {
            Some(parcels) => {
                parcels.push(parcel);
                None
            }
            None => Some(parcel),
        };
        drop(refused);
        self.waker.wake();
    }

    /// Passwords that were opened.
    #[must_use]
    pub fn take_opened(&self) -> Vec<Opened> {
        std::mem::take(&mut *lock(&self.opened))
    }

    /// Ids of sessions that are to end.
    #[must_use]
    pub fn take_killed(&self) -> Vec<u32> {
        std::mem::take(&mut *lock(&self.killed))
    }

    /// Sessions whose turn has come by a rule.
    #[must_use]
    pub fn take_rung(&self) -> Vec<Key> {
        std::mem::take(&mut *lock(&self.rung))
    }

    pub(super) fn kill(&self, id: u32) {
        let mut killed = lock(&self.killed);
        if !killed.contains(&id) {
            killed.push(id);
        }
        drop(killed);
        self.waker.wake();
    }

    pub(super) fn put_opened(&self, key: Key, password: Option<Zeroizing<Vec<u8>>>) {
        lock(&self.opened).push((key, password));
        self.waker.wake();
    }

    fn call(&self, server: &Address, key: Key) {
        lock(&self.called).push((server.clone(), key));
        self.waker.wake();
    }

    fn want(&self, promise: Promise) {
        lock(&self.wanted).push(promise);
        self.waker.wake();
    }
}

impl Permits {
    /// Takes the bounds of a configuration; those who fit under a higher one are called.
    pub(super) fn adopt(&self, config: &Config) {
        let mut state = lock(&self.0);
        state.bounds.clear();
        for backend in config.backends.iter().filter(|backend| backend.connections_max > 0) {
            let bound = state.bounds.entry(backend.address.clone()).or_insert(usize::MAX);
            *bound = backend.connections_max.min(*bound);
        }
        let State { bounds, servers } = &mut *state;
        for (address, server) in servers {
            server.call(address, bound_of(bounds, address));
        }
    }

    /// Asks for one more connection to a server, for a session, which waits if there is none and
    /// fewer than `waiters_max` others do: a worker with an idle connection, at best one that the
    /// session wishes for, is to make room then.
    #[must_use]
    pub fn ask(
        &self,
        address: &Address,
        desk: &Arc<Desk>,
        session: Key,
        wish: Option<Wish>,
        waiters_max: usize,
    ) -> Permit {
        let mut state = lock(&self.0);
        let bound = bound_of(&state.bounds, address);
        let server = state.servers.entry(address.clone()).or_default();
        if server.used < bound {
            server.used += 1;
            Permit::Granted
        } else if server.waiters() >= waiters_max {
            Permit::Full
        } else {
            let waiter = Waiter { desk: desk.clone(), session, wish, is_promised: false };
            let ticket = server.waiting.join(waiter);
            server.seek(address, ticket);
            Permit::Waits(ticket)
        }
    }

    /// One more connection to a server for nobody yet, unless somebody waits. Has to be given back.
    #[must_use]
    pub fn take_spare(&self, address: &Address) -> bool {
        let mut state = lock(&self.0);
        let bound = bound_of(&state.bounds, address);
        let server = state.servers.entry(address.clone()).or_default();
        let is_spare = server.used < bound && server.waiters() == 0;
        server.used += usize::from(is_spare);
        if server.used == 0 {
            state.servers.remove(address);
        }
        is_spare
    }

    /// A session with a permit waits for its turn. False if `waiters_max` others wait for one or the
    /// other.
    #[must_use]
    pub fn await_turn(&self, address: &Address, waiters_max: usize) -> bool {
        let mut state = lock(&self.0);
        let Some(server) = state.servers.get_mut(address) else { return false };
        let waits = server.waiters() < waiters_max;
        server.turns += usize::from(waits);
        waits
    }

    /// It waits no longer.
    pub fn end_turn_wait(&self, address: &Address) {
        if let Some(server) = lock(&self.0).servers.get_mut(address) {
            server.turns -= 1;
        }
    }

    /// A connection of that pool is not used at the moment: whoever waits later may have it.
    ///
    /// # Errors
    /// It is not to be kept. Mostly because somebody waits already, whom it is promised to.
    pub fn keep_idle(&self, pool: &PoolKey, desk: &Arc<Desk>) -> Result<(), Option<Promise>> {
        let address = pool.server();
        let mut state = lock(&self.0);
        let Some(server) = state.servers.get_mut(address) else { return Err(None) };
        match server.first() {
            Some(ticket) => Err(server.promise(address, ticket)),
            None => {
                server.idle.push((desk.clone(), pool.clone()));
                Ok(())
            }
        }
    }

    /// Whether the session of a promise still waits.
    #[must_use]
    pub fn stands(&self, promise: &Promise) -> bool {
        let state = lock(&self.0);
        let server = state.servers.get(&promise.server);
        server.is_some_and(|server| server.waiting.get(promise.ticket).is_some())
    }

    /// A promise is not kept, but a permit is given back, or was.
    pub fn withdraw(&self, promise: Promise) {
        self.give_up(&promise, false);
    }

    /// A promise is not kept, or its parcel was for somebody else who came first: the session, if it
    /// still waits, is promised another connection that lies idle.
    pub fn seek(&self, promise: Promise) {
        self.give_up(&promise, true);
    }

    fn give_up(&self, promise: &Promise, seeks: bool) {
        let mut state = lock(&self.0);
        let address = &promise.server;
        let bound = bound_of(&state.bounds, address);
        let Some(server) = state.servers.get_mut(address) else { return };
        let Some(waiter) = server.waiting.get_mut(promise.ticket) else { return };
        waiter.is_promised = false;
        server.call(address, bound);
        if seeks {
            server.seek(address, promise.ticket);
        }
    }

    /// Whether a connection that would serve a session has to be given up, because another one has
    /// waited longer, whom it is promised to. Not each time: a new one costs more than to wait a
    /// little.
    #[must_use]
    pub fn must_yield(&self, address: &Address, desk: &Arc<Desk>, session: Key) -> Option<Promise> {
        let mut state = lock(&self.0);
        let server = state.servers.get_mut(address)?;
        let first = server.first().and_then(|ticket| Some((ticket, server.waiting.get(ticket)?)));
        let others = first
            .filter(|(_, it)| !Arc::ptr_eq(&it.desk, desk) || it.session != session)
            .map(|(ticket, _)| ticket);
        server.passed_over = if others.is_some() { server.passed_over + 1 } else { 0 };
        if server.passed_over < PASSED_OVER_MAX {
            return None;
        }
        server.passed_over = 0;
        server.promise(address, others?)
    }

    /// A connection that was kept idle is used again, or closed. It may be wanted already: then the
    /// next idle one goes in its place.
    pub fn end_idle(&self, pool: &PoolKey, desk: &Arc<Desk>) {
        let mut state = lock(&self.0);
        let Some(server) = state.servers.get_mut(pool.server()) else { return };
        let is_own = |keeper: &Arc<Desk>| Arc::ptr_eq(keeper, desk);
        let same = server.idle.iter().rposition(|(keeper, of)| is_own(keeper) && of == pool);
        let any = || server.idle.iter().rposition(|(keeper, _)| is_own(keeper));
        if let Some(place) = same.or_else(any) {
            server.idle.swap_remove(place);
        }
    }

    /// A connection is over; the first who waits is called.
    pub fn give_back(&self, address: &Address) {
        let mut state = lock(&self.0);
        let bound = bound_of(&state.bounds, address);
        let Entry::Occupied(mut server) = state.servers.entry(address.clone()) else { return };
        server.get_mut().used -= 1;
        server.get_mut().call(address, bound);
        if server.get().used == 0 && server.get().waiting.is_empty() {
            server.remove();
        }
    }

    /// A session waits no longer. One that was called already finds its permit at the desk, where
    /// its worker sees that nobody needs it and gives it back.
    pub fn leave(&self, address: &Address, ticket: Ticket) {
        if let Some(server) = lock(&self.0).servers.get_mut(address) {
            server.waiting.leave(ticket);
        }
    }

    /// Connections to a server now.
    #[must_use]
    pub fn used(&self, address: &Address) -> usize {
        lock(&self.0).servers.get(address).map_or(0, |server| server.used)
    }
}

/// Times the first who waits is passed over, for one whom a connection serves that is there.
const PASSED_OVER_MAX: u32 = 64;

impl Server {
    fn waiters(&self) -> usize {
        self.waiting.len() + self.turns
    }

    /// The first who waits and was not promised anything. As many have been, at most, as there are
    /// connections.
    fn first(&self) -> Option<Ticket> {
        self.waiting.iter().find(|(_, waiter)| !waiter.is_promised).map(|(ticket, _)| ticket)
    }

    fn promise(&mut self, address: &Address, ticket: Ticket) -> Option<Promise> {
        let waiter = self.waiting.get_mut(ticket)?;
        waiter.is_promised = true;
        let (desk, wish) = (waiter.desk.clone(), waiter.wish.clone());
        Some(Promise { server: address.clone(), desk, ticket, wish })
    }

    /// Has a worker with an idle connection promise it to somebody who waits, unless that was done
    /// already: one that is wished for, if there is one.
    fn seek(&mut self, address: &Address, ticket: Ticket) {
        let Some(waiter) = self.waiting.get_mut(ticket).filter(|it| !it.is_promised) else {
            return;
        };
        let wished = waiter.wish.as_ref().and_then(|wish| {
            let is_others = |keeper: &Arc<Desk>| !Arc::ptr_eq(keeper, &waiter.desk);
            self.idle.iter().rposition(|(keeper, of)| is_others(keeper) && *of == wish.pool)
        });
        let Some(place) = wished.or_else(|| self.idle.len().checked_sub(1)) else { return };
        let (keeper, _) = self.idle.swap_remove(place);
        if let Some(promise) = self.promise(address, ticket) {
            keeper.want(promise);
        }
    }

    fn call(&mut self, address: &Address, bound: usize) {
        while self.used < bound
            && let Some(ticket) = self.first()
            && let Some(Waiter { desk, session, .. }) = self.waiting.leave(ticket)
        {
            self.used += 1;
            desk.call(address, session);
        }
    }
}

fn bound_of(bounds: &HashMap<Address, usize>, address: &Address) -> usize {
    bounds.get(address).copied().unwrap_or(usize::MAX)
}

/// A thread that panicked has ended the process or left whole numbers behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Offline};
    use crate::io::{BufferSizes, Driver, Fake, Faults};

    fn config(connections_max: usize) -> Config {
        let mut config = config::parse(&config::sample(), &Offline).unwrap();
        config.backends.truncate(1);
        config.backends[0].connections_max = connections_max;
        config
    }

    fn desk() -> Arc<Desk> {
        let (driver, _) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        Arc::new(Desk::new(driver.waker()))
    }

    const MANY: usize = usize::MAX;

    fn ask(
        permits: &Permits,
        address: &Address,
        desk: &Arc<Desk>,
        session: Key,
        waiters_max: usize,
    ) -> Permit {
        permits.ask(address, desk, session, None, waiters_max)
    }

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    fn waits(permit: Permit) -> Ticket {
        match permit {
            Permit::Waits(ticket) => ticket,
            Permit::Granted | Permit::Full => unreachable!("{permit:?}"),
        }
    }

    #[test]
    fn those_who_wait_are_called_in_order_at_their_own_desk() {
        let (permits, desks) = (Permits::default(), [desk(), desk()]);
        permits.adopt(&config(1));
        let address = &config(1).backends[0].address;
        assert_eq!(ask(&permits, address, &desks[0], key(0), MANY), Permit::Granted);
        let tickets = [1, 2, 3, 4].map(|n| {
            waits(ask(&permits, address, &desks[usize::try_from(n % 2).unwrap()], key(n), MANY))
        });
        permits.leave(address, tickets[1]);
        permits.give_back(address);
        assert_eq!(desks[1].take_called(), [(address.clone(), key(1))]);
        permits.give_back(address);
        assert_eq!(desks[1].take_called(), [(address.clone(), key(3))]);
        assert_eq!(desks[0].take_called(), [], "the second one had left");
        permits.give_back(address);
        // Too late to leave: the permit lies at the desk.
        permits.leave(address, tickets[3]);
        assert_eq!(desks[0].take_called(), [(address.clone(), key(4))]);
        assert_eq!(permits.used(address), 1);
        permits.give_back(address);
        assert_eq!(permits.0.lock().unwrap().servers.len(), 0, "nothing is kept for nobody");
    }

    #[test]
    fn who_waits_gets_an_idle_connection_closed() {
        let (permits, desks) = (Permits::default(), [desk(), desk()]);
        permits.adopt(&config(2));
        let address = &config(2).backends[0].address;
        let pool = &PoolKey::example(address, "a");
        assert!(matches!(permits.keep_idle(pool, &desks[0]), Err(None)), "nobody has one there");
        for n in 0..2 {
            assert_eq!(ask(&permits, address, &desks[0], key(n), MANY), Permit::Granted);
            assert!(permits.keep_idle(pool, &desks[0]).is_ok());
        }
        permits.end_idle(pool, &desks[0]);
        let first = waits(ask(&permits, address, &desks[1], key(7), MANY));
        let second = waits(ask(&permits, address, &desks[1], key(8), MANY));
        let wanted = desks[0].take_wanted().pop().unwrap();
        assert_eq!(wanted.ticket, first, "the other one is used");
        let promise = permits.keep_idle(pool, &desks[0]).unwrap_err().unwrap();
        assert_eq!(promise.ticket, second, "one for each of those who wait");
        assert!(permits.keep_idle(pool, &desks[0]).is_ok(), "there are no more of them");
        permits.end_idle(pool, &desks[0]);
        permits.leave(address, first);
        assert!(!permits.stands(&wanted) && permits.stands(&promise));
        permits.withdraw(wanted);
        permits.withdraw(promise);
        permits.give_back(address);
        assert_eq!(desks[1].take_called(), [(address.clone(), key(8))]);
        permits.leave(address, second);
        assert!(permits.keep_idle(pool, &desks[0]).is_ok());
        assert!(desks.iter().all(|desk| desk.take_wanted().is_empty()));
    }

    fn wish(pool: &PoolKey) -> Option<Wish> {
        Some(Wish { pool: pool.clone(), settings: Arc::default() })
    }

    #[test]
    fn who_is_promised_a_connection_gets_no_permit_and_no_second_one() {
        let (permits, desks) = (Permits::default(), [desk(), desk(), desk()]);
        permits.adopt(&config(3));
        let address = &config(3).backends[0].address;
        let [pool, other] = &["a", "b"].map(|user| PoolKey::example(address, user));
        for (n, pool) in [(0, pool), (1, pool), (2, other)] {
            assert_eq!(ask(&permits, address, &desks[n], key(0), MANY), Permit::Granted);
            assert!(permits.keep_idle(pool, &desks[n]).is_ok());
        }
        let (desk, settings) = (&desks[0], wish(pool));
        let wishing = waits(permits.ask(address, desk, key(9), settings, MANY));
        let promise = desks[1].take_wanted().pop().unwrap();
        assert_eq!(
            (promise.ticket, promise.is_at(desk)),
            (wishing, true),
            "at its own, and not of \
                    another pool, only if there is nothing better"
        );
        // A permit that becomes free is for somebody else.
        let later = waits(permits.ask(address, &desks[1], key(5), None, MANY));
        assert_eq!(desks[2].take_wanted().pop().unwrap().ticket, later);
        let last = waits(permits.ask(address, &desks[1], key(6), None, MANY));
        permits.leave(address, last);
        permits.give_back(address);
        assert!(desks.iter().all(|desk| desk.take_called().is_empty()));
        // Its keeper has none any more: the next one is asked, or there is a permit.
        permits.seek(promise);
        assert_eq!(desk.take_called(), [(address.clone(), key(9))]);
    }

    #[test]
    fn a_broken_promise_is_made_again_by_whoever_has_one() {
        let (permits, desks) = (Permits::default(), [desk(), desk(), desk()]);
        permits.adopt(&config(2));
        let address = &config(2).backends[0].address;
        let pool = &PoolKey::example(address, "a");
        for desk in &desks[..2] {
            assert_eq!(ask(&permits, address, desk, key(0), MANY), Permit::Granted);
            assert!(permits.keep_idle(pool, desk).is_ok());
        }
        let ticket = waits(permits.ask(address, &desks[2], key(1), wish(pool), MANY));
        let promise = desks[1].take_wanted().pop().unwrap();
        permits.seek(promise);
        let promise = desks[0].take_wanted().pop().unwrap();
        assert_eq!(promise.ticket, ticket);
        permits.seek(promise);
        assert!(desks.iter().all(|desk| desk.take_wanted().is_empty()), "nobody has one");
        let promise = permits.keep_idle(pool, &desks[0]).unwrap_err().unwrap();
        assert_eq!(promise.ticket, ticket, "it is not forgotten");
        assert_eq!(permits.used(address), 2);
    }

    #[test]
    fn who_was_passed_over_often_is_promised_a_connection() {
        let (permits, desks) = (Permits::default(), [desk(), desk()]);
        permits.adopt(&config(1));
        let address = &config(1).backends[0].address;
        assert_eq!(ask(&permits, address, &desks[0], key(0), MANY), Permit::Granted);
        let first = waits(ask(&permits, address, &desks[1], key(1), MANY));
        waits(ask(&permits, address, &desks[0], key(2), MANY));
        let mut passed_over = 0;
        let promise = loop {
            match permits.must_yield(address, &desks[0], key(2)) {
                Some(promise) => break promise,
                None => passed_over += 1,
            }
        };
        assert_eq!((promise.ticket, passed_over), (first, PASSED_OVER_MAX - 1));
        assert!(permits.must_yield(address, &desks[0], key(2)).is_none(), "it is first now");
    }

    #[test]
    fn a_higher_bound_calls_whoever_fits() {
        let (permits, desk) = (Permits::default(), desk());
        permits.adopt(&config(1));
        let address = &config(1).backends[0].address;
        assert_eq!(ask(&permits, address, &desk, key(0), MANY), Permit::Granted);
        for n in 1..5 {
            waits(ask(&permits, address, &desk, key(n), MANY));
        }
        permits.adopt(&config(3));
        assert_eq!(desk.take_called(), [(address.clone(), key(1)), (address.clone(), key(2))]);
        // A lower one lets nobody in until enough have left.
        permits.adopt(&config(1));
        permits.give_back(address);
        permits.give_back(address);
        assert_eq!(desk.take_called(), []);
        permits.adopt(&config(0));
        assert_eq!(desk.take_called(), [(address.clone(), key(3)), (address.clone(), key(4))]);
        assert_eq!(permits.used(address), 3);
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        let (permits, desk) = (Permits::default(), desk());
        let address = &config(0).backends[0].address;
        assert!((0..1000).all(|n| ask(&permits, address, &desk, key(n), MANY) == Permit::Granted));
        assert_eq!(permits.used(address), 1000);
    }

    #[test]
    fn no_more_wait_than_may() {
        let (permits, desks) = (Permits::default(), [desk(), desk()]);
        permits.adopt(&config(1));
        let address = &config(1).backends[0].address;
        assert_eq!(ask(&permits, address, &desks[0], key(0), 2), Permit::Granted);
        assert!(permits.await_turn(address, 2), "whoever has a permit may wait as well");
        let ticket = waits(ask(&permits, address, &desks[1], key(1), 2));
        assert_eq!(ask(&permits, address, &desks[0], key(2), 2), Permit::Full);
        assert!(!permits.await_turn(address, 2));
        permits.leave(address, ticket);
        let next = waits(ask(&permits, address, &desks[0], key(3), 2));
        permits.end_turn_wait(address);
        waits(ask(&permits, address, &desks[0], key(4), 2));
        permits.give_back(address);
        assert_eq!(desks[0].take_called(), [(address.clone(), key(3))]);
        permits.leave(address, next);
        assert!(permits.await_turn(address, 2), "who was called makes room");
    }

    #[test]
    fn a_spare_permit_is_one_that_nobody_waits_for() {
        let (permits, desk) = (Permits::default(), desk());
        permits.adopt(&config(2));
        let address = &config(2).backends[0].address;
        assert!(permits.take_spare(address));
        assert_eq!(ask(&permits, address, &desk, key(0), MANY), Permit::Granted);
        assert!(permits.await_turn(address, MANY));
        assert!(!permits.take_spare(address), "there are no more");
        permits.give_back(address);
        assert!(!permits.take_spare(address), "somebody waits for a turn");
        permits.end_turn_wait(address);
        assert!(permits.take_spare(address));
        waits(ask(&permits, address, &desk, key(1), MANY));
        permits.adopt(&config(0));
        assert_eq!(desk.take_called().len(), 1);
        for _ in 0..3 {
            permits.give_back(address);
        }
        permits.adopt(&config(1));
        assert_eq!(ask(&permits, address, &desk, key(2), MANY), Permit::Granted);
        permits.give_back(address);
        assert_eq!(permits.0.lock().unwrap().servers.len(), 0);
    }
}
