//! Sessions that wait until they may connect to their backend.
//!
//! Purpose: a storm of clients is none for the server: first a permit (`connections_max`, over all
//! workers), then a turn (`backend_handshakes_max`, this worker's), each in the order of coming.
//! Never: let a session wait longer than `lease_wait` or behind more than `lease_waiters_max`, or
//! keep a permit or a turn that nobody uses.

use crate::base::{Address, Blame, Fault, Key, Line, Ticket, Time};
use crate::bus::Permit;
use crate::io::Driver;
use crate::observe::Counter;
use crate::pool::PoolKey;
use crate::session::LeaseRequest;
use crate::wire::{code, fault};
use crate::worker::Worker;
use crate::worker::entry::{BackendLink, Stage};

/// A session that has proven who it is and has no backend connection yet.
#[derive(Debug)]
pub(super) struct Waiting {
    request: LeaseRequest,
    server: Address,
    /// When it has waited long enough.
    pub(super) until: Time,
    place: Place,
    /// Its place among those that a connection of this pool would serve as well.
    pool: Option<(PoolKey, Ticket)>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// For a permit.
    Permit(Ticket),
    /// Has a permit, for its turn.
    Turn(Ticket),
}

/// Logins of this worker on one server.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In progress.
    busy: usize,
    line: Line<Key>,
}

impl Waiting {
    pub(super) const fn server(&self) -> &Address {
        &self.server
    }
}

impl<D: Driver> Worker<D> {
    /// Connects a session to a server as soon as it may.
    pub(super) fn enqueue(
        &mut self,
        key: Key,
        request: LeaseRequest,
        server: Address,
        until: Time,
    ) {
        let (permits, max) = (&self.resources.shared.permits, self.waiters_max());
        let wish = self.wish_of(key, &server);
        match permits.ask(&server, &self.desk, key, wish, max) {
            Permit::Granted => self.await_turn(key, request, server, until, max),
            Permit::Waits(ticket) => {
                self.wait_in_line(key, request, server, until, Place::Permit(ticket));
            }
            Permit::Full => self.refuse_wait(key, &server),
        }
    }

    fn waiters_max(&self) -> usize {
        self.config.limits.lease_waiters_max
    }

    /// Has a permit; connects when fewer than `backend_handshakes_max` others are logging in there.
    /// Or waits, if fewer than `max` others do.
    fn await_turn(
        &mut self,
        key: Key,
        request: LeaseRequest,
        server: Address,
        until: Time,
        max: usize,
    ) {
        let lane = self.lanes.entry(server.clone()).or_default();
        if lane.busy >= self.config.limits.backend_handshakes_max {
            if !self.resources.shared.permits.await_turn(&server, max) {
                self.resources.shared.permits.give_back(&server);
                self.refuse_wait(key, &server);
                return;
            }
            let ticket = lane.line.join(key);
            self.wait_in_line(key, request, server, until, Place::Turn(ticket));
            return;
        }
        lane.busy += 1;
        if !self.connect_backend(key, request, &server, until) {
            self.turn_over(&server);
        }
    }

    fn wait_in_line(
        &mut self,
        key: Key,
        request: LeaseRequest,
        server: Address,
        until: Time,
        place: Place,
    ) {
        let Some(entry) = self.sessions.get(key) else { return };
        let pool = self
            .pool_key(entry, &server, &request.login)
            .filter(|pool| request.is_proven && (entry.shares.is_some() || !pool.is_shared()));
        let pool = pool.map(|pool| {
            let ticket = self.wanting.entry(pool.clone()).or_default().join(key);
            (pool, ticket)
        });
        self.counters.increment(Counter::BackendWaits);
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.waiting = Some(Box::new(Waiting { request, server, until, place, pool }));
        }
    }

    /// Takes a session out of the lines it waits in, but for the one it is called from.
    fn stop_waiting(&mut self, key: Key) -> Option<Waiting> {
        let waiting = *self.sessions.get_mut(key)?.waiting.take()?;
        if let Place::Turn(_) = waiting.place {
            self.resources.shared.permits.end_turn_wait(&waiting.server);
        }
        if let Some((pool, ticket)) = &waiting.pool
            && let Some(line) = self.wanting.get_mut(pool)
        {
            line.leave(*ticket);
            if line.is_empty() {
                self.wanting.remove(pool);
            }
        }
        Some(waiting)
    }

    /// The first session that waits and that a connection of `pool` serves; it waits no longer.
    pub(super) fn next_who_wants(&mut self, pool: &PoolKey) -> Option<Key> {
        let key = self.wanting.get_mut(pool)?.call()?;
        let waiting = self.stop_waiting(key)?;
        self.leave_place(&waiting);
        Some(key)
    }

    /// The first session that waits and that a connection of `pool` would serve.
    pub(super) fn first_who_wants(&self, pool: &PoolKey) -> Option<Key> {
        self.wanting.get(pool)?.first().copied()
    }

    /// Takes in what permits became free for sessions of this worker.
    pub(super) fn on_called(&mut self) {
        for (server, key) in self.desk.take_called() {
            match self.stop_waiting(key) {
                Some(waiting) => {
                    // Who has waited before is not turned away now.
                    self.await_turn(key, waiting.request, server, waiting.until, usize::MAX);
                }
                // It went away between the call and now.
                None => self.resources.shared.permits.give_back(&server),
            }
        }
        self.on_rung();
        self.open_parcels();
        self.yield_idle();
        for id in self.desk.take_killed() {
            if let Some(key) = self.ids.get(&id).copied() {
                let killed = fault(Blame::Client, code::CONNECTION_KILLED, "Connection was killed");
                self.fail(key, &killed);
            }
        }
    }

    /// Takes a turn for a login that no session waits for. False if anybody does, or none is free.
    pub(super) fn take_spare_turn(&mut self, server: &Address) -> bool {
        let max = self.config.limits.backend_handshakes_max;
        let lane = self.lanes.entry(server.clone()).or_default();
        let is_spare = lane.busy < max && lane.line.is_empty();
        lane.busy += usize::from(is_spare);
        is_spare
    }

    /// A login on a server is over, for good or ill: the next one may begin.
    pub(super) fn turn_over(&mut self, server: &Address) {
        let Some(lane) = self.lanes.get_mut(server) else { return };
        lane.busy -= 1;
        self.next_turns(server);
    }

    /// Begins logins for which there is room.
    pub(super) fn next_turns(&mut self, server: &Address) {
        while let Some(lane) = self.lanes.get_mut(server)
            && lane.busy < self.config.limits.backend_handshakes_max
        {
            let Some(key) = lane.line.call() else {
                if lane.busy == 0 {
                    self.lanes.remove(server);
                }
                return;
            };
            let Some(waiting) = self.stop_waiting(key) else { continue };
            if let Some(lane) = self.lanes.get_mut(server) {
                lane.busy += 1;
            }
            // A loop and no recursion: thousands may wait for a server that is no longer wanted.
            if !self.connect_backend(key, waiting.request, server, waiting.until)
                && let Some(lane) = self.lanes.get_mut(server)
            {
                lane.busy -= 1;
            }
        }
    }

    /// Gives back what a session that will be over holds of its backend: its place in a line, its
    /// turn, its permit.
    pub(super) fn leave_backend(&mut self, key: Key) {
        if let Some(waiting) = self.stop_waiting(key) {
            self.leave_place(&waiting);
        }
        let backend = self.sessions.get(key).and_then(|entry| entry.backend.as_deref());
        let Some(BackendLink { stage, address, .. }) = backend else { return };
        let (logs_in, server) = (matches!(stage, Stage::Login(..)), address.clone());
        self.resources.shared.permits.give_back(&server);
        if logs_in {
            self.turn_over(&server);
        }
    }

    fn leave_place(&mut self, waiting: &Waiting) {
        let permits = &self.resources.shared.permits;
        match waiting.place {
            Place::Permit(ticket) => permits.leave(&waiting.server, ticket),
            Place::Turn(ticket) => {
                if let Some(lane) = self.lanes.get_mut(&waiting.server) {
                    lane.line.leave(ticket);
                }
                permits.give_back(&waiting.server);
            }
        }
    }

    /// As many wait as may: a session is told so at once.
    fn refuse_wait(&mut self, key: Key, server: &Address) {
        let max = self.waiters_max();
        let text = format!(
            "weir: backend {server}: {max} others wait for a connection (lease_waiters_max); try again"
        );
        self.counters.increment(Counter::BackendWaitsRefused);
        self.turn_down(key, text);
    }

    /// The end of a session that has waited long enough.
    pub(super) fn fail_waiting(&mut self, key: Key) {
        let waiting = self.sessions.get(key).and_then(|entry| entry.waiting.as_ref());
        let Some(Waiting { server, place, .. }) = waiting.map(AsRef::as_ref) else { return };
        let what = match place {
            Place::Permit(_) => "no connection of connections_max became free",
            Place::Turn(_) => "too many logins are in progress (backend_handshakes_max)",
        };
        let waited_ms = self.config.limits.lease_wait.as_millis();
        let text = format!("weir: backend {server}: {what} within {waited_ms} ms; try again");
        self.counters.increment(Counter::BackendWaitTimeouts);
        self.turn_down(key, text);
    }

    /// Ends a session that cannot have a connection, or its command if it shares them.
    fn turn_down(&mut self, key: Key, text: String) {
        let fault = Fault {
            blame: Blame::Limit,
            code: code::CON_COUNT_ERROR,
            sqlstate: *b"08004",
            message: text.into(),
        };
        if self.sessions.get(key).is_some_and(|entry| entry.shares.is_some()) {
            self.deny(key, fault);
        } else {
            self.fail(key, &fault);
        }
    }
}
