//! Backend connections that change hands between two commands (`pooling = "transaction"`).
//!
//! Purpose: lend a session the connection that fits it best, take it back when nothing needs it, and
//! give it to whoever waits.
//! Never: let a session wait while a connection that fits lies idle, or give out one of which it is
//! not known what it is set to.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;

use crate::auth::Proof;
use crate::base::{Address, Blame, EndpointId, Fault, Key, Time};
use crate::bus::{Place, Rest};
use crate::config::EndpointMode;
use crate::io::{Chunk, Driver, RecvMode};
use crate::observe::Counter;
use crate::pool::{InitQuery, Lease, PoolKey, Times};
use crate::route::{Asker, Splits};
use crate::session::{Arrival, LeaseRequest, Reached, Terms};
use crate::share::{Exchanged, Lent, Settings, StatementBudget, Traits};
use crate::sql::Server;
use crate::wire::{Capabilities, ErrPacket, LoginRequest, Side, code, fault};
use crate::worker::coded::encode;
use crate::worker::entry::{BackendLink, Holder, Parked, Restoring, Stage};
use crate::worker::idle::decode;
use crate::worker::lease::no_server;
use crate::worker::told::{Told, introduction};
use crate::worker::traffic::Input;
use crate::worker::{IDLE_CHECK, Worker};

/// Schemas of one login that are known to be there.
const SCHEMAS_MAX: usize = 256;

/// What is known of a login whose connections are shared.
#[derive(Debug)]
pub(super) struct SharedLogin {
    login: LoginRequest,
    proof: Proof,
    known: Option<Known>,
    /// Schemas that a server let it into.
    verified: HashMap<Vec<u8>, Verified>,
    sessions: usize,
    /// When a client logged in last that was not let in at once.
    asked: Time,
    /// Of clients that are logging in, of whom the server has to say whether they may.
    unproven: HashMap<Key, Proof>,
    /// Of its clients, or one of them.
    endpoint: EndpointId,
    /// No connections are made ahead of need until then.
    make_after: Time,
    /// The same login on other servers of the cluster.
    siblings: Vec<PoolKey>,
}

impl SharedLogin {
    /// What a connection is made with ahead of need, if it is to be.
    pub(super) fn wants_more(&self, now: Time) -> bool {
        self.sessions > 0 && self.known.is_some() && now >= self.make_after
    }

    /// The account, in no schema.
    pub(super) fn account(&self) -> (LoginRequest, Proof) {
        (LoginRequest { database: None, ..self.login.clone() }, self.proof.clone())
    }

    pub(super) const fn login(&self) -> &LoginRequest {
        &self.login
    }

    /// The pool of the same login on another server.
    pub(super) fn sibling(&self, server: &Address, init: Option<&Arc<str>>) -> Option<&PoolKey> {
        self.siblings.iter().find(|pool| pool.server() == server && pool.init() == init)
    }

    /// There is one more; of each server one.
    pub(super) fn add_sibling(&mut self, pool: PoolKey) {
        self.siblings.retain(|other| other.server() != pool.server());
        self.siblings.push(pool);
    }

    pub(super) const fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Making one has failed.
    pub(super) const fn rest_until(&mut self, time: Time) {
        self.make_after = time;
    }
}

/// A schema that a server let a login into.
#[derive(Debug)]
struct Verified {
    since: Time,
    /// What a connection is set to that begins there: one copy for all sessions.
    settings: Arc<Settings>,
}

/// What a server said of its last new connection.
#[derive(Clone, Debug)]
struct Known {
    capabilities: Capabilities,
    ok: BytesMut,
    traits: Arc<Traits>,
}

impl<D: Driver> Worker<D> {
    /// Logs a client in without asking a server, if one was asked the same lately.
    pub(super) fn log_in_known(
        &mut self,
        key: Key,
        request: &LeaseRequest,
        pool: &PoolKey,
    ) -> bool {
        let ttl = self.config.pool.auth_cache_ttl;
        let schema = request.login.database.as_deref().unwrap_or_default();
        let Some(shared) = self.logins.get_mut(pool).filter(|_| request.is_proven) else {
            return false;
        };
        let now = self.ledger.now();
        let verified = shared.verified.get(schema).filter(|it| now < it.since + ttl);
        let Some((known, verified)) = shared.known.clone().zip(verified) else { return false };
        let settings = Arc::clone(&verified.settings);
        shared.proof = request.proof.clone();
        self.counters.increment(Counter::BackendReuses);
        self.log_in(key, pool, settings, known);
        true
    }

    fn log_in(&mut self, key: Key, pool: &PoolKey, settings: Arc<Settings>, known: Known) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        self.figures.login(entry.endpoint, self.ledger.nanos_since(entry.accepted));
        let rest = Rest { schema: settings.schema().into(), since: self.ledger.now() };
        let splits = self.config.endpoint(entry.endpoint).map(Splits::of).unwrap_or_default();
        self.edits.clear();
        let Known { capabilities, ok, traits, .. } = known;
        let statements_max = self.config.pool.statements_per_session_max;
        let who = entry.described(&self.driver);
        let mode = self.config.endpoint(entry.endpoint).map(|endpoint| endpoint.mode);
        let asker = Asker {
            user: who.user.clone(),
            address: who.address.map(|it| it.ip().to_canonical()),
            endpoint: entry.endpoint,
            may_route: mode == Some(EndpointMode::ReadWrite),
        };
        let terms = Terms { settings, traits, statements_max, splits, asker };
        let early = entry.session.on_shared_login(capabilities, &ok, terms, &mut self.edits);
        self.tell_positions(key);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        entry.shares = Some(pool.clone());
        let id = entry.session.id();
        self.resources.directory.enter(id, who);
        self.resources.directory.join(id, Arc::clone(&self.desk), rest);
        if let Some(shared) = self.logins.get_mut(pool) {
            shared.sessions += 1;
        }
        self.falls_silent(key);
        self.after_login(key, early);
    }

    /// What a login needs for further connections like it.
    pub(super) fn remember_login(
        &mut self,
        key: Key,
        pool: &PoolKey,
        request: &LeaseRequest,
        endpoint: EndpointId,
    ) {
        let asked = self.ledger.now();
        if let Some(shared) = self.logins.get_mut(pool) {
            shared.asked = asked;
            if request.is_proven {
                shared.proof = request.proof.clone();
            } else {
                shared.unproven.insert(key, request.proof.clone());
            }
            return;
        }
        let login = LoginRequest { connect_attrs: None, ..request.login.clone() };
        let proof = request.proof.clone();
        let (known, verified) = (None, HashMap::new());
        let shared = SharedLogin {
            login,
            proof,
            known,
            verified,
            sessions: 0,
            asked,
            unproven: HashMap::from_iter([(key, request.proof.clone())]),
            endpoint,
            make_after: Time::ZERO,
            siblings: Vec::new(),
        };
        self.logins.insert(pool.clone(), shared);
    }

    /// A session is over that shared connections.
    pub(super) fn leave_login(&mut self, pool: &PoolKey) {
        if let Some(shared) = self.logins.get_mut(pool) {
            shared.sessions = shared.sessions.saturating_sub(1);
        }
    }

    /// Forgets logins that nobody uses.
    pub(super) fn tend_logins(&mut self, now: Time) {
        let ttl = self.config.pool.auth_cache_ttl;
        let limits = &self.config.limits;
        // Its connection, and what is said on it first, take as long as that.
        let login_max = limits.lease_wait + 3 * limits.connect_timeout;
        self.logins.retain(|_, shared| {
            shared.verified.retain(|_, it| now < it.since + ttl);
            shared.unproven.retain(|key, _| self.sessions.get(*key).is_some());
            let is_logging_in = now < shared.asked + login_max;
            shared.sessions > 0 || !shared.verified.is_empty() || is_logging_in
        });
    }

    /// A new connection is logged in: makes its server report all that sessions set, and asks what
    /// it is set to.
    pub(super) fn greet(&mut self, key: Key, lease: Lease, ok: BytesMut, version: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let version = String::from_utf8_lossy(version);
        let server = Server::from_version(&version);
        backend.server = server;
        let has_init = backend.init.is_some();
        let mut out = BytesMut::new();
        let exchange = introduction(server, lease.capabilities, false, has_init, &mut out);
        let deadline = self.driver.now() + self.config.limits.connect_timeout;
        backend.stage = Stage::Greeting(Box::new(exchange), lease, ok, deadline);
        self.send_to_backend(key, &out);
    }

    /// The answers of a new connection.
    pub(super) fn on_backend_greeting(&mut self, key: Key, bytes: &[u8]) {
        let backend = self.sessions.get_mut(key).and_then(|entry| entry.backend.as_deref_mut());
        let Some(backend) = backend else { return };
        let Stage::Greeting(exchange, lease, ok, _) = &mut backend.stage else { return };
        match exchange.on_bytes(bytes) {
            Ok(Exchanged::Wait) => {}
            Ok(Exchanged::Done) => {
                let (lease, ok) = (*lease, std::mem::take(ok));
                let mut told = Told::of(backend.server, exchange, &backend.initial);
                backend.roles = told.roles.take();
                backend.stage = Stage::Leased(lease);
                self.on_greeted(key, lease, ok, told);
            }
            Ok(Exchanged::Refused(_)) | Err(_) => {
                self.counters.increment(Counter::BackendLoginFailures);
                let text = "it does not report what sessions set (session_track_*), or not what \
                            they are set to";
                self.fail_backend(key, code::UNKNOWN_ERROR, text);
            }
        }
    }

    fn on_greeted(&mut self, key: Key, lease: Lease, ok: BytesMut, told: Told) {
        let Told { settings, traits, last_insert_id, .. } = told;
        let Some(entry) = self.sessions.get(key) else { return };
        let Some(backend) = &entry.backend else { return };
        let Some(pool) = backend.pool.clone() else { return };
        let is_login = entry.session.is_logging_in();
        let schema = settings.schema().to_vec();
        let mut settings = Arc::new(settings);
        let known = Known { capabilities: lease.capabilities, ok, traits };
        if let Some(shared) = self.logins.get_mut(&pool) {
            shared.known = Some(known.clone());
            if let Some(proof) = shared.unproven.remove(&key).filter(|_| is_login) {
                shared.proof = proof;
            }
            shared.make_after = Time::ZERO;
            if shared.verified.len() >= SCHEMAS_MAX {
                shared.verified.clear();
            }
            if let Some(before) = shared.verified.get(&schema).filter(|it| it.settings == settings)
            {
                settings = Arc::clone(&before.settings);
            }
            let since = self.ledger.now();
            let verified = Verified { since, settings: Arc::clone(&settings) };
            shared.verified.insert(schema, verified);
        }
        self.next_idle_check = self.next_idle_check.min(self.ledger.now() + IDLE_CHECK);
        let own = Arc::clone(&settings);
        let lent = Lent::new(own, lease.capabilities, self.statement_budget());
        let lent = Box::new(Lent { last_insert_id: Some(last_insert_id), ..lent });
        if !is_login {
            self.attach(key, lent);
            return;
        }
        if let Some(backend) = self.sessions.get_mut(key).and_then(|entry| entry.backend.take()) {
            self.put_down(backend, lent);
        }
        self.log_in(key, &pool, settings, known);
    }

    /// A session needs a connection.
    pub(super) fn acquire(&mut self, key: Key) {
        let Some(home) = self.sessions.get(key).and_then(|entry| entry.shares.clone()) else {
            return;
        };
        let (id, server) = match self.choose(key) {
            Ok(Some(chosen)) => chosen,
            Ok(None) => return,
            Err(none) => return self.deny(key, no_server(none)),
        };
        let is_home = *home.server() == server && home.init() == self.init_of(id);
        let found = if is_home {
            Some((home.clone(), home))
        } else if self.sessions.get(key).is_some_and(|entry| self.is_its_primary(entry, id)) {
            self.move_login(key, &home, &server).map(|moved| (moved.clone(), moved))
        } else {
            self.sibling(key, &home, &server).map(|pool| (home, pool))
        };
        let Some((home, pool)) = found else { return self.deny_forgotten(key) };
        if self.reuse_shared(key, &pool) {
            return;
        }
        let Some(shared) = self.logins.get(&home) else { return self.deny_forgotten(key) };
        let schema = self.sessions.get(key).and_then(|entry| entry.session.settings());
        let database = schema.map(|it| it.schema().to_vec()).filter(|it| !it.is_empty());
        let login = LoginRequest { database, ..shared.login.clone() };
        let request = LeaseRequest { login, proof: shared.proof.clone(), is_proven: true };
        self.watch(key);
        let until = self.driver.now() + self.config.limits.lease_wait;
        self.enqueue(key, request, server, until);
    }

    /// There is no login by which connections could be made for a session, since a reload.
    fn deny_forgotten(&mut self, key: Key) {
        let text = "weir: the configuration of this account has changed; connect again";
        self.deny(key, fault(Blame::Backend, code::UNKNOWN_ERROR, text));
    }

    /// The primary is another server now, or has another `init_query`.
    fn move_login(&mut self, key: Key, pool: &PoolKey, server: &Address) -> Option<PoolKey> {
        let shared = self.logins.get(pool)?;
        let request = LeaseRequest {
            login: shared.login.clone(),
            proof: shared.proof.clone(),
            is_proven: true,
        };
        let entry = self.sessions.get(key)?;
        let endpoint = entry.endpoint;
        let next = self.pool_key(entry, server, &request.login).filter(PoolKey::is_shared)?;
        self.remember_login(key, &next, &request, endpoint);
        self.leave_login(pool);
        self.logins.get_mut(&next)?.sessions += 1;
        self.sessions.get_mut(key)?.shares = Some(next.clone());
        Some(next)
    }

    /// Lends a session the idle connection that fits best. False if none does.
    pub(super) fn reuse_shared(&mut self, key: Key, pool: &PoolKey) -> bool {
        let Some(entry) = self.sessions.get(key) else { return false };
        let Some(settings) = entry.session.settings() else { return false };
        let Some(slot) = self.shelf.take_shared(pool, settings) else { return false };
        self.resources.shared.permits.end_idle(pool, &self.desk);
        self.lend(key, slot);
        true
    }

    /// A session has its connection.
    pub(super) fn attach(&mut self, key: Key, lent: Box<Lent>) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &entry.backend else { return };
        if let Some(lease) = backend.lease() {
            let place = Place { server: backend.named.clone(), thread: lease.server_thread_id };
            self.resources.directory.insert(entry.session.id(), place);
        }
        let field = self.dealer.field(entry.endpoint);
        let candidate =
            field.and_then(|it| it.candidates.iter().find(|it| it.backend == backend.id));
        let reached = Reached {
            is_replica: candidate.is_none_or(|it| !it.is_primary),
            is_fenced: candidate.is_some_and(|it| it.is_fenced),
        };
        let server = Arc::clone(&backend.name);
        self.figures.backend_lent(backend.id);
        entry.avoids = None;
        let awaited = self.awaited(key, reached.is_replica);
        let arrival = Arrival { lent, reached, server, awaited };
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &entry.backend else { return };
        self.edits.clear();
        entry.session.set_initialized(backend.init.is_some());
        if let Some(backend) = &mut entry.backend {
            backend.lent_at = self.ledger.now();
        }
        if entry.session.on_attached(arrival, &mut self.edits) {
            self.counters.increment(Counter::BackendTunings);
        }
        if !self.edits.list().is_empty() {
            self.send_edits(key);
        }
        self.login_over(key);
        self.resume(key);
    }

    /// Feeds a session what its client sent ahead.
    pub(super) fn resume(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let mut ahead = entry.session.take_ahead();
        if entry.client.held_by.is_ahead() {
            entry.client.held_by.set_ahead(false);
            if entry.client.held_by.is_empty() {
                self.driver.set_recv(entry.client.conn, entry.client.mode);
            }
        }
        self.feed(key, Side::Client, Input::Decoded(&mut ahead));
        let Some(entry) = self.sessions.get_mut(key) else { return };
        self.edits.clear();
        entry.session.after_ahead(&mut self.edits);
        if !self.edits.list().is_empty() {
            self.send_edits(key);
        }
        self.act(key);
    }

    /// Keeps what a session left of its input, and stops reading its client when that is much.
    pub(super) fn set_ahead(&mut self, key: Key, input: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let kept = entry.session.set_ahead(input);
        self.hold_far_ahead(key);
        if let Err(fault) = kept {
            self.fail(key, &fault);
        }
    }

    pub(super) fn hold_far_ahead(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let held_by = &mut entry.client.held_by;
        if !entry.session.is_far_ahead() || held_by.is_ahead() {
            return;
        }
        if held_by.is_empty() {
            self.driver.set_recv(entry.client.conn, RecvMode::Paused);
        }
        held_by.set_ahead(true);
    }

    /// A session gives its connection back.
    pub(super) fn release(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let id = entry.session.id();
        let (Some(lent), Some(backend)) = (entry.session.release(), entry.backend.take()) else {
            return;
        };
        // A KILL that is on its way there must not hit the next session.
        let schema = entry.session.settings().map_or(&b""[..], |settings| settings.schema());
        let now = self.ledger.now();
        let is_aimed_at = self.resources.directory.leave(id, schema, now);
        self.dealer.on_answer(backend.id, now - backend.lent_at, now);
        self.falls_silent(key);
        let is_old = self.is_outdated(&backend);
        let slot = backend.slot;
        if lent.is_unknown && !is_aimed_at && !is_old && !self.draining {
            if let Err(backend) = self.restore(backend) {
                self.park(backend, None);
                self.close_idle(slot);
            }
            return;
        }
        if is_aimed_at || is_old || lent.is_unknown || self.draining {
            self.park(backend, Some(lent));
            self.quit(slot);
            return;
        }
        self.put_down(backend, lent);
    }

    /// A connection belongs to nobody: it goes to whoever waits, when this event is over.
    pub(super) fn put_down(&mut self, backend: Box<BackendLink>, lent: Box<Lent>) {
        let slot = backend.slot;
        self.park(backend, Some(lent));
        self.freed.push_back(slot);
    }

    fn park(&mut self, mut backend: Box<BackendLink>, lent: Option<Box<Lent>>) {
        let link = &mut backend.link;
        let was_held = !link.held_by.is_empty();
        link.held_by = Default::default();
        link.full_in_a_row = 0;
        if was_held || link.mode != RecvMode::Small {
            link.mode = RecvMode::Small;
            self.driver.set_recv(link.conn, RecvMode::Small);
        }
        self.figures.backend_idle(backend.id, true);
        if let Some(holder) = self.slots.get_mut(backend.slot) {
            let used = self.ledger.now();
            let ok = BytesMut::new();
            *holder = Holder::Idle(Box::new(Parked { backend, ok, lent, used }));
        }
    }

    /// Gives connections that were let go to whoever waits, or keeps them. A loop and no recursion:
    /// thousands may wait.
    pub(super) fn pass_on(&mut self) {
        while let Some(slot) = self.freed.pop_front() {
            let Some(Holder::Idle(parked)) = self.slots.get(slot) else { continue };
            let (Some(pool), Some(lent)) = (&parked.backend.pool, &parked.lent) else { continue };
            let (pool, settings) = (pool.clone(), Arc::clone(&lent.settings));
            let (logged_in, used) = (parked.backend.since, parked.used);
            if let Some(key) = self.first_who_wants(&pool) {
                let wanted = self.sessions.get(key).and_then(|entry| entry.session.settings());
                let fits = wanted.is_some_and(|it| settings.distance_to(it).is_some());
                let permits = &self.resources.shared.permits;
                let must_yield = || permits.must_yield(pool.server(), &self.desk, key);
                match fits.then(must_yield) {
                    Some(None) => {
                        self.next_who_wants(&pool);
                        self.lend(key, slot);
                    }
                    // Whoever waits is elsewhere; or has no schema, which this one cannot get rid of.
                    promise => self.ship_or_close(slot, promise.flatten()),
                }
                continue;
            }
            let is_full = self.shelf.len() >= self.config.pool.idle_max;
            let permits = &self.resources.shared.permits;
            if is_full {
                self.ship_or_close(slot, None);
            } else if let Err(promise) = permits.keep_idle(&pool, &self.desk) {
                self.ship_or_close(slot, promise);
            } else {
                let now = self.ledger.now();
                let times = Times { logged_in, used, heard: now };
                self.shelf.put_shared(&pool, slot, settings, times);
                self.next_idle_check = self.next_idle_check.min(now + IDLE_CHECK);
            }
        }
    }

    /// Makes a connection as good as new whose session has left it in any state.
    pub(super) fn restore(
        &mut self,
        mut backend: Box<BackendLink>,
    ) -> Result<(), Box<BackendLink>> {
        let Some(lease) = backend.lease().copied() else { return Err(backend) };
        let capabilities = lease.capabilities;
        let mut out = BytesMut::new();
        let restoring = if let Some(text) = &backend.init {
            let tracks = Some(matches!(backend.server, Server::MariaDb(_)));
            let init = InitQuery::begin(text, true, tracks, capabilities, &mut out);
            Restoring::Init(Box::new(init))
        } else {
            let exchange = introduction(backend.server, capabilities, true, false, &mut out);
            Restoring::Greeting(Box::new(exchange))
        };
        let (link, coder) = (&mut backend.link, &mut self.coder);
        if encode(link, &out, coder, &mut self.driver, &self.counters).is_err() {
            return Err(backend);
        }
        let slot = backend.slot;
        let until = self.ledger.now() + self.config.limits.connect_timeout;
        self.recycling.push_back((until, slot));
        self.figures.backend_idle(backend.id, true);
        if let Some(holder) = self.slots.get_mut(slot) {
            *holder = Holder::Restoring(restoring, backend);
        }
        self.next_idle_check = self.next_idle_check.min(self.ledger.now() + IDLE_CHECK);
        Ok(())
    }

    fn statement_budget(&self) -> StatementBudget {
        let pool = &self.config.pool;
        StatementBudget {
            used: Arc::clone(&self.resources.shared.statements),
            max: pool.statements_max,
            per_connection_max: pool.statements_per_connection_max,
        }
    }

    /// Bytes of a connection that is being made as good as new.
    pub(super) fn on_restoring(&mut self, slot: Key, chunk: &Chunk) {
        let Some(Holder::Restoring(restoring, backend)) = self.slots.get_mut(slot) else { return };
        let mut plain = BytesMut::new();
        let link = &mut backend.link;
        let decoded = decode(link.transport.as_deref_mut(), chunk, &mut plain, &mut self.coder);
        self.coder.flush(&mut self.driver, link.conn);
        let restored = match restoring {
            _ if decoded.is_err() => None,
            Restoring::Init(init) => match init.on_bytes(&plain) {
                Ok(false) => return,
                Ok(true) => {
                    backend.initial = init.take_trackers();
                    return self.greet_again(slot);
                }
                Err(error) => {
                    self.counters.increment(Counter::BackendInitFailures);
                    self.note_init(&error);
                    None
                }
            },
            Restoring::Greeting(exchange) => match exchange.on_bytes(&plain) {
                Ok(Exchanged::Wait) => return,
                Ok(Exchanged::Done) => {
                    let told = Told::of(backend.server, exchange, &backend.initial);
                    Some(told).filter(|told| told.roles == backend.roles)
                }
                Ok(Exchanged::Refused(_)) | Err(_) => None,
            },
        };
        let Some(told) = restored else {
            self.counters.increment(Counter::BackendSpoiled);
            self.close_idle(slot);
            return;
        };
        self.recycling.retain(|(_, other)| *other != slot);
        self.counters.increment(Counter::BackendRecycled);
        let Some(holder) = self.slots.get_mut(slot) else { return };
        if let Holder::Restoring(_, backend) = std::mem::replace(holder, Holder::Session(slot)) {
            self.figures.backend_idle(backend.id, false);
            let capabilities = backend.lease().map_or(Capabilities::NONE, |it| it.capabilities);
            self.put_down(backend, self.lent_of(told, capabilities));
        }
    }

    /// A connection that was reset is as its `init_query` makes it: it is asked what that is.
    fn greet_again(&mut self, slot: Key) {
        let Some(Holder::Restoring(restoring, backend)) = self.slots.get_mut(slot) else { return };
        let capabilities = backend.lease().map_or(Capabilities::NONE, |it| it.capabilities);
        let mut out = BytesMut::new();
        let exchange = introduction(backend.server, capabilities, false, true, &mut out);
        *restoring = Restoring::Greeting(Box::new(exchange));
        let (link, coder) = (&mut backend.link, &mut self.coder);
        if encode(link, &out, coder, &mut self.driver, &self.counters).is_err() {
            self.counters.increment(Counter::BackendSpoiled);
            self.close_idle(slot);
        }
    }

    pub(super) fn lent_of(&self, told: Told, capabilities: Capabilities) -> Box<Lent> {
        let lent = Lent::new(Arc::new(told.settings), capabilities, self.statement_budget());
        Box::new(Lent { last_insert_id: Some(told.last_insert_id), ..lent })
    }

    /// Tells a session that shares connections that it cannot have one now: its command is answered
    /// with the error, and it goes on.
    pub(super) fn deny(&mut self, key: Key, fault: Fault) {
        let failed = self.asked_server(key);
        self.drop_backend(key);
        if self.tries_elsewhere(key, failed) {
            return self.acquire(key);
        }
        self.login_over(key);
        if let Some(entry) = self.sessions.get_mut(key) {
            self.counters.increment(Counter::BackendDenials);
            entry.avoids = None;
            entry.session.deny_backend(fault);
            self.falls_silent(key);
            self.resume(key);
        }
    }

    /// Whether a session is past its login and waits for one of the connections it shares.
    pub(super) fn is_acquiring(&self, key: Key) -> bool {
        self.sessions.get(key).is_some_and(|entry| {
            let connects = || entry.backend.as_ref().is_some_and(|it| it.is_logging_in());
            entry.shares.is_some() && (entry.waiting.is_some() || connects())
        })
    }

    /// A server refuses a session another connection, in its own words.
    pub(super) fn deny_refused(&mut self, key: Key, err: &[u8]) {
        let fault = match ErrPacket::parse(err) {
            Ok(packet) => packet.to_fault(Blame::Backend),
            Err(malformed) => {
                let text = format!("weir: the backend sent a {malformed}");
                fault(Blame::Backend, code::MALFORMED_PACKET, text)
            }
        };
        self.deny(key, fault);
    }
}
