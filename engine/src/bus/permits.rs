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
use crate::config::Config;
use crate::io::Waker;

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
    waiting: Line<(Arc<Desk>, Key)>,
    /// Sessions that have a permit and wait for their turn at their worker.
    turns: usize,
    /// Workers with an idle connection, once for each; no more than `used`.
    idle: Vec<Arc<Desk>>,
    /// Times in a row that the first who waits was passed over.
    passed_over: u32,
}

/// Where a worker learns that its sessions were called, or that their passwords were opened.
pub struct Desk {
    waker: Waker,
    /// No longer than the worker's sessions are many: each waits for one permit.
    called: Mutex<Vec<(Address, Key)>>,
    /// Servers for whose connections others wait: an idle one each is to be closed. No longer than
    /// the worker's idle connections are many.
    wanted: Mutex<Vec<Address>>,
    /// As long, for the same reason.
    opened: Mutex<Vec<Opened>>,
    /// Sessions that a client has killed. Each once, so no longer than the worker's sessions are
    /// many.
    killed: Mutex<Vec<u32>>,
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
            opened: Mutex::default(),
            killed: Mutex::default(),
        }
    }

    /// Sessions whose wait is over; each has a permit now.
    #[must_use]
    pub fn take_called(&self) -> Vec<(Address, Key)> {
        std::mem::take(&mut *lock(&self.called))
    }

    /// Servers an idle connection to each of which is wanted elsewhere.
    #[must_use]
    pub fn take_wanted(&self) -> Vec<Address> {
        std::mem::take(&mut *lock(&self.wanted))
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

    fn want(&self, server: &Address) {
        lock(&self.wanted).push(server.clone());
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
    /// fewer than `waiters_max` others do.
    #[must_use]
    pub fn ask(
        &self,
        address: &Address,
        desk: &Arc<Desk>,
        session: Key,
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
            if let Some(keeper) = server.idle.pop() {
                keeper.want(address);
            }
            Permit::Waits(server.waiting.join((desk.clone(), session)))
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

    /// A connection is not used at the moment: whoever waits may have it closed. False when somebody
    /// waits already: it is not to be kept.
    #[must_use]
    pub fn keep_idle(&self, address: &Address, desk: &Arc<Desk>) -> bool {
        let mut state = lock(&self.0);
        let Some(server) = state.servers.get_mut(address) else { return false };
        let keeps = server.waiting.is_empty();
        if keeps {
            server.idle.push(desk.clone());
        }
        keeps
    }

    /// Whether a connection that would serve a session has to be given up, because another one has
    /// waited longer. Not each time: a new one costs more than to wait a little.
    #[must_use]
    pub fn must_yield(&self, address: &Address, desk: &Arc<Desk>, session: Key) -> bool {
        let mut state = lock(&self.0);
        let Some(server) = state.servers.get_mut(address) else { return false };
        let is_others = server
            .waiting
            .first()
            .is_some_and(|(first, key)| !Arc::ptr_eq(first, desk) || *key != session);
        server.passed_over = if is_others { server.passed_over + 1 } else { 0 };
        let yields = server.passed_over >= PASSED_OVER_MAX;
        if yields {
            server.passed_over = 0;
        }
        yields
    }

    /// A connection that was kept idle is used again, or closed. It may be wanted already: then the
    /// next idle one goes in its place.
    pub fn end_idle(&self, address: &Address, desk: &Arc<Desk>) {
        if let Some(server) = lock(&self.0).servers.get_mut(address)
            && let Some(place) = server.idle.iter().rposition(|keeper| Arc::ptr_eq(keeper, desk))
        {
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

    fn call(&mut self, address: &Address, bound: usize) {
        while self.used < bound
            && let Some((desk, session)) = self.waiting.call()
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
        assert_eq!(permits.ask(address, &desks[0], key(0), MANY), Permit::Granted);
        let tickets = [1, 2, 3, 4].map(|n| {
            waits(permits.ask(address, &desks[usize::try_from(n % 2).unwrap()], key(n), MANY))
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
        assert!(!permits.keep_idle(address, &desks[0]), "nobody has a connection there");
        for n in 0..2 {
            assert_eq!(permits.ask(address, &desks[0], key(n), MANY), Permit::Granted);
            assert!(permits.keep_idle(address, &desks[0]));
        }
        permits.end_idle(address, &desks[0]);
        let first = waits(permits.ask(address, &desks[1], key(7), MANY));
        let second = waits(permits.ask(address, &desks[1], key(8), MANY));
        assert_eq!(desks[0].take_wanted().len(), 1, "the other one is used");
        assert!(!permits.keep_idle(address, &desks[0]), "two wait");
        permits.leave(address, first);
        permits.give_back(address);
        assert_eq!(desks[1].take_called(), [(address.clone(), key(8))]);
        permits.leave(address, second);
        assert!(permits.keep_idle(address, &desks[0]));
        assert_eq!((desks[0].take_wanted(), desks[1].take_wanted()), (vec![], vec![]));
    }

    #[test]
    fn a_higher_bound_calls_whoever_fits() {
        let (permits, desk) = (Permits::default(), desk());
        permits.adopt(&config(1));
        let address = &config(1).backends[0].address;
        assert_eq!(permits.ask(address, &desk, key(0), MANY), Permit::Granted);
        for n in 1..5 {
            waits(permits.ask(address, &desk, key(n), MANY));
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
        assert!((0..1000).all(|n| permits.ask(address, &desk, key(n), MANY) == Permit::Granted));
        assert_eq!(permits.used(address), 1000);
    }

    #[test]
    fn no_more_wait_than_may() {
        let (permits, desks) = (Permits::default(), [desk(), desk()]);
        permits.adopt(&config(1));
        let address = &config(1).backends[0].address;
        assert_eq!(permits.ask(address, &desks[0], key(0), 2), Permit::Granted);
        assert!(permits.await_turn(address, 2), "whoever has a permit may wait as well");
        let ticket = waits(permits.ask(address, &desks[1], key(1), 2));
        assert_eq!(permits.ask(address, &desks[0], key(2), 2), Permit::Full);
        assert!(!permits.await_turn(address, 2));
        permits.leave(address, ticket);
        let next = waits(permits.ask(address, &desks[0], key(3), 2));
        permits.end_turn_wait(address);
        waits(permits.ask(address, &desks[0], key(4), 2));
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
        assert_eq!(permits.ask(address, &desk, key(0), MANY), Permit::Granted);
        assert!(permits.await_turn(address, MANY));
        assert!(!permits.take_spare(address), "there are no more");
        permits.give_back(address);
        assert!(!permits.take_spare(address), "somebody waits for a turn");
        permits.end_turn_wait(address);
        assert!(permits.take_spare(address));
        waits(permits.ask(address, &desk, key(1), MANY));
        permits.adopt(&config(0));
        assert_eq!(desk.take_called().len(), 1);
        for _ in 0..3 {
            permits.give_back(address);
        }
        permits.adopt(&config(1));
        assert_eq!(permits.ask(address, &desk, key(2), MANY), Permit::Granted);
        permits.give_back(address);
        assert_eq!(permits.0.lock().unwrap().servers.len(), 0);
    }
}
