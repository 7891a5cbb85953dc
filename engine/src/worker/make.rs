//! Backend connections made ahead of need (`idle_min`).
//!
//! Purpose: a login, as for a session, on a connection that is nobody's; then it lies idle.
//! Never: take a permit or a turn that anybody waits for, or try an account again that its server
//! has refused, before a client of it was let in.

use std::time::Duration;

use bytes::BytesMut;

use crate::base::{Key, Time};
use crate::bus::Place;
use crate::io::{Chunk, CloseMode, Driver};
use crate::observe::Counter;
use crate::pool::{Established, InitQuery, Lease, LoginStep, PoolKey};
use crate::share::Exchanged;
use crate::sql::Server;
use crate::tls::Stream;
use crate::worker::Worker;
use crate::worker::coded::{begin_tls, compress_backend, encode};
use crate::worker::entry::{Fresh, Holder, Stage};
use crate::worker::idle::{decode, is_wanted};
use crate::worker::told::{Told, introduction};

/// How long after a failure the next one is made.
pub(super) const MAKE_AGAIN: Duration = Duration::from_secs(5);

/// What bytes of a server came to.
enum Next {
    Wait,
    LoggedIn(Box<Established>),
    Greet,
    Done(Told),
    /// And how long to make none of the kind.
    Fail(Duration),
}

/// Until a client of the account is let in.
const REFUSED: Duration = Duration::MAX;

impl<D: Driver> Worker<D> {
    /// Makes as many as are missing, of pools whose clients are here.
    pub(super) fn make_ahead(&mut self, now: Time) {
        let min = self.config.pool.idle_min;
        if min == 0 || self.draining {
            return;
        }
        let wanting = self.logins.iter().filter(|(_, shared)| shared.wants_more(now));
        let pools: Vec<PoolKey> = wanting.map(|(pool, _)| pool.clone()).collect();
        for pool in pools {
            let there = self.shelf.len_of(&pool) + self.under_way(&pool);
            for _ in there..min {
                if !self.make(&pool) {
                    break;
                }
            }
        }
    }

    /// Connections of a pool that will be idle soon.
    fn under_way(&self, pool: &PoolKey) -> usize {
        let holders = self.recycling.iter().filter_map(|(_, slot)| self.slots.get(*slot));
        let backends = holders.filter_map(|holder| match holder {
            Holder::Making(backend)
            | Holder::Recycling(_, backend)
            | Holder::Restoring(_, backend) => Some(backend),
            Holder::Idle(parked) | Holder::Pinging(_, parked) => Some(&parked.backend),
            Holder::Session(_) | Holder::Leaving(_) | Holder::Quitting(_) => None,
        });
        backends.filter(|backend| backend.pool.as_ref() == Some(pool)).count()
    }

    /// Begins one. False if there is no room for it.
    fn make(&mut self, pool: &PoolKey) -> bool {
        let Some(shared) = self.logins.get(pool) else { return false };
        let endpoint = self.config.endpoint(shared.endpoint());
        let primary = endpoint.and_then(|endpoint| self.snapshot.primary(endpoint.cluster));
        let server = pool.server();
        let Some(primary) = primary.filter(|primary| primary.address == *server) else {
            return false;
        };
        let of = shared.endpoint();
        let (id, name, account) = (primary.id, primary.name.clone(), shared.account());
        let config = self.config.backend(id);
        // Whom a server is told of there is nobody.
        let names_client = config.is_none_or(|backend| backend.proxy_protocol);
        let is_full = self.shelf.len() + self.recycling.len() >= self.config.pool.idle_max;
        if names_client || is_full || self.init_of(id) != pool.init() {
            return false;
        }
        if !self.resources.shared.permits.take_spare(server) {
            return false;
        }
        if !self.take_spare_turn(server) {
            self.resources.shared.permits.give_back(server);
            return false;
        }
        let nobody = Key { index: u32::MAX, generation: 0 };
        // There are no 2³² connections.
        let Some(slot) = self.slots.insert(Holder::Session(nobody)) else { return false };
        let backend = self.connect_slot(slot, (id, name), server, account, Some(pool.clone()), of);
        if let Some(holder) = self.slots.get_mut(slot) {
            *holder = Holder::Making(backend);
        }
        self.expect_by(slot);
        true
    }

    /// It fails unless it gets on within `connect_timeout`.
    fn expect_by(&mut self, slot: Key) {
        self.recycling.retain(|(_, other)| *other != slot);
        let until = self.driver.now() + self.config.limits.connect_timeout;
        self.recycling.push_back((until, slot));
    }

    /// Bytes of a server on which one is made.
    pub(super) fn on_made(&mut self, slot: Key, chunk: &Chunk) {
        match self.feed_made(slot, chunk) {
            Next::Wait => {}
            Next::LoggedIn(established) => self.on_made_login(slot, *established),
            Next::Greet => self.greet_made(slot),
            Next::Done(told) => self.finish_made(slot, told),
            Next::Fail(rest) => {
                self.counters.increment(Counter::BackendLoginFailures);
                self.fail_making(slot, rest);
            }
        }
    }

    fn feed_made(&mut self, slot: Key, chunk: &Chunk) -> Next {
        let Some(Holder::Making(backend)) = self.slots.get_mut(slot) else { return Next::Wait };
        let (link, coder) = (&mut backend.link, &mut self.coder);
        let (mut plain, mut out) = (BytesMut::new(), BytesMut::new());
        let decoded = decode(link.transport.as_deref_mut(), chunk, &mut plain, coder);
        coder.flush(&mut self.driver, link.conn);
        if decoded.is_err() {
            return Next::Fail(MAKE_AGAIN);
        }
        if plain.is_empty() {
            return Next::Wait;
        }
        match &mut backend.stage {
            Stage::Login(login, _) => {
                let step = login.on_bytes(&plain, &mut out);
                let sent = encode(link, &out, coder, &mut self.driver, &self.counters);
                match step {
                    _ if sent.is_err() => Next::Fail(MAKE_AGAIN),
                    LoginStep::Wait => Next::Wait,
                    LoginStep::StartTls => {
                        let mut words = BytesMut::new();
                        login.on_tls(&mut words);
                        let context = self.resources.tls.backend(backend.id);
                        let stream = context.and_then(|context| Stream::client(context).ok());
                        let begun = stream.map(|stream| begin_tls(link, stream, &words, coder));
                        coder.flush(&mut self.driver, link.conn);
                        if let Some(Ok(())) = begun { Next::Wait } else { Next::Fail(MAKE_AGAIN) }
                    }
                    LoginStep::Ready(established) => Next::LoggedIn(established),
                    LoginStep::Refused(_) => Next::Fail(REFUSED),
                    LoginStep::Failed(_) => Next::Fail(MAKE_AGAIN),
                }
            }
            Stage::Init(init, ..) => match init.on_bytes(&plain) {
                Ok(false) => Next::Wait,
                Ok(true) => {
                    backend.initial = init.take_trackers();
                    Next::Greet
                }
                Err(error) => {
                    self.counters.increment(Counter::BackendInitFailures);
                    self.note_init(&error);
                    Next::Fail(REFUSED)
                }
            },
            Stage::Greeting(exchange, ..) => match exchange.on_bytes(&plain) {
                Ok(Exchanged::Wait) => Next::Wait,
                Ok(Exchanged::Done) => {
                    Next::Done(Told::of(backend.server, exchange, &backend.initial))
                }
                Ok(Exchanged::Refused(_)) | Err(_) => Next::Fail(MAKE_AGAIN),
            },
            Stage::Opening(..) | Stage::Leased(_) | Stage::Changing(..) => Next::Fail(MAKE_AGAIN),
        }
    }

    fn on_made_login(&mut self, slot: Key, established: Established) {
        self.counters.increment(Counter::BackendLogins);
        let Some(Holder::Making(backend)) = self.slots.get_mut(slot) else { return };
        self.figures.backend_login(backend.id, self.ledger.nanos_since(backend.since));
        let Established { greeting, capabilities, ok } = established;
        let lease =
            Lease { backend: backend.id, server_thread_id: greeting.connection_id, capabilities };
        let place = Place { server: backend.named.clone(), thread: lease.server_thread_id };
        backend.listed = Some(self.resources.directory.connection(place));
        if let Some(transport) = &backend.link.transport {
            self.counters.increment(Counter::TlsBackendHandshakes);
            let resumed = u64::from(transport.is_resumed());
            self.counters.add(Counter::TlsBackendResumptions, resumed);
        }
        compress_backend(&mut backend.link, capabilities);
        backend.server = Server::from_version(&String::from_utf8_lossy(&greeting.version));
        let deadline = self.driver.now() + self.config.limits.connect_timeout;
        let address = backend.address.clone();
        let mut out = BytesMut::new();
        let has_init = if let Some(text) = &backend.init {
            let tracks = Some(matches!(backend.server, Server::MariaDb(_)));
            let init = InitQuery::begin(text, false, tracks, capabilities, &mut out);
            let fresh = Fresh { lease, ok, version: greeting.version };
            backend.stage = Stage::Init(Box::new(init), Box::new(fresh), deadline);
            true
        } else {
            let exchange = introduction(backend.server, capabilities, false, false, &mut out);
            backend.stage = Stage::Greeting(Box::new(exchange), lease, ok, deadline);
            false
        };
        tracing::trace!(has_init, "logged in ahead of need");
        self.say_made(slot, &out);
        self.turn_over(&address);
    }

    /// Behind its `init_query`.
    fn greet_made(&mut self, slot: Key) {
        let Some(Holder::Making(backend)) = self.slots.get_mut(slot) else { return };
        let Stage::Init(_, fresh, deadline) = &mut backend.stage else { return };
        let (lease, deadline, ok) = (fresh.lease, *deadline, std::mem::take(&mut fresh.ok));
        let mut out = BytesMut::new();
        let exchange = introduction(backend.server, lease.capabilities, false, true, &mut out);
        backend.stage = Stage::Greeting(Box::new(exchange), lease, ok, deadline);
        self.say_made(slot, &out);
    }

    fn say_made(&mut self, slot: Key, out: &[u8]) {
        let Some(Holder::Making(backend)) = self.slots.get_mut(slot) else { return };
        let link = &mut backend.link;
        if encode(link, out, &mut self.coder, &mut self.driver, &self.counters).is_err() {
            self.fail_making(slot, MAKE_AGAIN);
            return;
        }
        self.expect_by(slot);
    }

    /// It is as a session's would be: whoever waits gets it, or nobody does yet.
    fn finish_made(&mut self, slot: Key, told: Told) {
        self.recycling.retain(|(_, other)| *other != slot);
        let Some(holder) = self.slots.get_mut(slot) else { return };
        let taken = std::mem::replace(holder, Holder::Session(slot));
        let Holder::Making(mut backend) = taken else {
            *holder = taken;
            return;
        };
        let Stage::Greeting(_, lease, ..) = &backend.stage else { return };
        let lease = *lease;
        backend.roles.clone_from(&told.roles);
        backend.connected = true;
        backend.stage = Stage::Leased(lease);
        self.counters.increment(Counter::BackendMadeAhead);
        let pool = backend.pool.as_ref();
        let is_wanted = pool.is_some_and(|pool| is_wanted(&self.config.backends, pool));
        let lent = self.lent_of(told, lease.capabilities);
        self.put_down(backend, lent);
        if !is_wanted {
            self.close_idle(slot);
        }
    }

    /// One that was being made is given up, and none is made for a while. Any other is left alone.
    pub(super) fn fail_making(&mut self, slot: Key, rest: Duration) {
        let Some(Holder::Making(_)) = self.slots.get(slot) else { return };
        self.recycling.retain(|(_, other)| *other != slot);
        let Some(Holder::Making(backend)) = self.slots.remove(slot) else { return };
        if let Some(shared) = backend.pool.as_ref().and_then(|pool| self.logins.get_mut(pool)) {
            let forever = rest == REFUSED;
            shared.rest_until(if forever { Time::NEVER } else { self.ledger.now() + rest });
        }
        self.figures.backend_closed(backend.id);
        self.driver.close(backend.link.conn, CloseMode::Now);
        self.resources.shared.permits.give_back(&backend.address);
        if let Stage::Login(..) = backend.stage {
            self.turn_over(&backend.address);
        }
    }
}
