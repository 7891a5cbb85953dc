//! Backend connections of sessions.
//!
//! Purpose: connect, log in, hand over, and notice when a backend connection ends.
//! Never: let two sessions have one backend connection at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;

use crate::auth::{AuthError, Proof};
use crate::base::{Address, BackendId, Blame, EndpointId, Fault, Key, Time};
use crate::bus::Place;
use crate::config::BackendCompression;
use crate::io::{Driver, EndReason, RecvMode};
use crate::observe::Counter;
use crate::pool::{
    BackendLogin, Established, Lease, LoginError, LoginStep, NoAnswer, Opening, PoolKey, TlsWish,
};
use crate::route::{Able, NoServer};
use crate::session::LeaseRequest;
use crate::sql::Server;
use crate::wire::proxy::{self, Origin};
use crate::wire::{self, ErrPacket, LoginRequest, Side, code};
use crate::worker::entry::{BackendLink, Entry, Fresh, Holder, Link, Stage};
use crate::worker::traffic::Ending;
use crate::worker::{LOGIN_CHECK, Worker, pack};

impl<D: Driver> Worker<D> {
    /// Opens a backend connection for a session whose client has proven who it is.
    pub(super) fn open_lease(&mut self, key: Key, request: LeaseRequest) {
        let Some(entry) = self.sessions.get(key) else { return };
        if let Some(address) = entry.address {
            self.resources.shared.hosts.succeeded(address);
        }
        self.counters.increment(Counter::LoginsOk);
        if let Err(fault) = self.take_seat(key, &request.login.user) {
            self.fail(key, &fault);
            return;
        }
        self.settle_seat(key, true);
        let until = self.driver.now() + self.config.limits.lease_wait;
        self.find_backend(key, request, until);
    }

    fn find_backend(&mut self, key: Key, request: LeaseRequest, until: Time) {
        let Some(entry) = self.sessions.get(key) else { return };
        if entry.shares.is_some() {
            self.acquire(key);
            return;
        }
        let server = match self.pick(key, Able::ANY) {
            Ok((_, server)) => server,
            Err(none) => return self.fail(key, &no_server(none)),
        };
        let Some(entry) = self.sessions.get(key) else { return };
        let endpoint = entry.endpoint;
        let pool = self.pool_key(entry, &server, &request.login);
        if let Some(pool) = pool.as_ref().filter(|pool| pool.is_shared()) {
            if self.log_in_known(key, &request, pool) {
                return;
            }
            self.remember_login(key, pool, &request, endpoint);
        }
        let pool = pool.filter(|_| request.is_proven);
        if pool.as_ref().is_none_or(|pool| !self.reuse(key, pool)) {
            self.enqueue(key, request, server, until);
        }
    }

    /// Connects a session that has a permit and a turn for `server`. False when that is not its
    /// server any more, or a connection that was there serves it: its permit is given back and its
    /// turn is free.
    pub(super) fn connect_backend(
        &mut self,
        key: Key,
        request: LeaseRequest,
        server: &Address,
        until: Time,
    ) -> bool {
        let entry = self.sessions.get(key);
        let serving = entry.and_then(|entry| self.serving(entry, server));
        let Some(serving) = serving else {
            self.resources.shared.permits.give_back(server);
            self.find_backend(key, request, until);
            return false;
        };
        let (id, name) = (serving.id, serving.name.clone());
        let endpoint = entry.map_or(EndpointId(0), |entry| entry.endpoint);
        let pool = entry.and_then(|entry| self.pool_key(entry, server, &request.login));
        if let Some(pool) = pool.as_ref().filter(|pool| pool.is_shared()) {
            // It may be another one than when the session began to wait.
            self.remember_login(key, pool, &request, endpoint);
        }
        if request.is_proven && pool.as_ref().is_some_and(|pool| self.reuse(key, pool)) {
            self.resources.shared.permits.give_back(server);
            return false;
        }
        // There are no 2³² connections.
        let Some(slot) = self.slots.insert(Holder::Session(key)) else { return true };
        let LeaseRequest { login, proof, .. } = request;
        let backend = self.connect_slot(slot, (id, name), server, (login, proof), pool, endpoint);
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.backend = Some(backend);
        }
        true
    }

    /// Begins a connection to a backend.
    pub(super) fn connect_slot(
        &mut self,
        slot: Key,
        (id, name): (BackendId, Arc<str>),
        server: &Address,
        (login, proof): (LoginRequest, Proof),
        pool: Option<PoolKey>,
        endpoint: EndpointId,
    ) -> Box<BackendLink> {
        let read_only = self.is_read_only(endpoint, &login.user);
        self.counters.increment(Counter::BackendConnects);
        let deadline = self.driver.now() + self.config.limits.connect_timeout;
        let conn = self.driver.connect(server, pack(slot, Side::Backend), deadline);
        self.driver.set_recv(conn, RecvMode::Small);
        let seed = self.nonces.seed();
        let tls = self.resources.tls.backend(id);
        let tls = tls.map_or(TlsWish::No, |context| TlsWish::of(context.mode()));
        let config = self.config.backend(id);
        let compression = config.map(|backend| backend.compression);
        let names_client = config.is_some_and(|backend| backend.proxy_protocol);
        let init = config.and_then(|backend| backend.init_query.clone());
        let login = BackendLogin::new(login, proof, tls, seed)
            .with_secure_link(server.is_unix())
            .with_compression(compression.unwrap_or(BackendCompression::None));
        self.figures.backend_opened(id);
        Box::new(BackendLink {
            slot,
            link: Link::new(conn),
            id,
            name,
            address: server.clone(),
            named: server.to_string().into(),
            server: Server::Unknown,
            pool,
            init,
            initial: BytesMut::new(),
            read_only,
            identity: None,
            roles: None,
            since: self.ledger.now(),
            lent_at: Time::ZERO,
            listed: None,
            connected: false,
            names_client,
            stage: Stage::Login(Box::new(login), deadline),
        })
    }

    pub(super) fn on_connected(&mut self, key: Key) {
        let Some(backend) = self.sessions.get_mut(key).and_then(|entry| entry.backend.as_mut())
        else {
            return;
        };
        backend.connected = true;
        if backend.names_client {
            self.name_client(key);
        }
    }

    /// Says to a server whom the connection is for, before anything else.
    fn name_client(&mut self, key: Key) {
        let Some(entry) = self.sessions.get(key) else { return };
        let Some(backend) = &entry.backend else { return };
        let Some(origin) = self.origin_of(entry) else {
            // It is gone already. Without a name it would be what Weir itself may be.
            self.close_session(key, Ending::Broken);
            return;
        };
        let mut header = BytesMut::new();
        proxy::encode(origin, &mut header);
        self.driver.send_copy(backend.link.conn, &header);
    }

    /// Where a session's client came from, and to; `None` when the kernel does not know any more.
    fn origin_of(&self, entry: &Entry) -> Option<Origin> {
        if self.config.endpoint(entry.endpoint)?.listen.is_unix() {
            return Some(Origin::Itself);
        }
        let (source, destination) = match entry.header.as_deref() {
            Some(Origin::Tcp { source, destination }) => (*source, *destination),
            Some(Origin::Itself | Origin::Unix) | None => {
                let conn = entry.client.conn;
                (self.driver.peer_address(conn)?, self.driver.local_address(conn)?)
            }
        };
        Some(Origin::Tcp { source: canonical(source), destination: canonical(destination) })
    }

    pub(super) fn on_backend_login(&mut self, key: Key, bytes: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let Stage::Login(login, _) = &mut backend.stage else { return };
        let mut out = BytesMut::new();
        let step = login.on_bytes(bytes, &mut out);
        let mut in_tls = BytesMut::new();
        if matches!(step, LoginStep::StartTls) {
            login.on_tls(&mut in_tls);
        }
        self.send_to_backend(key, &out);
        match step {
            LoginStep::Wait => {}
            LoginStep::StartTls => self.start_backend_tls(key, &in_tls),
            LoginStep::Ready(established) => self.grant(key, *established),
            LoginStep::Refused(err) if self.is_acquiring(key) => {
                self.counters.increment(Counter::BackendLoginFailures);
                self.deny_refused(key, &err);
            }
            LoginStep::Refused(err) => {
                let Some(entry) = self.sessions.get_mut(key) else { return };
                self.counters.increment(Counter::BackendLoginFailures);
                let code = ErrPacket::parse(&err).map_or(0, |error| error.code);
                self.figures.backend_errors.count(code, 1);
                self.edits.clear();
                entry.session.on_lease_refused(&err, &mut self.edits);
                self.send_edits(key);
                self.act(key);
            }
            LoginStep::Failed(error) => {
                self.counters.increment(Counter::BackendLoginFailures);
                if self.deny_stranger(key, &error) {
                    return;
                }
                let text = format!("cannot log in to it: {error}");
                self.fail_backend(key, code::UNKNOWN_ERROR, &text);
            }
        }
    }

    /// Ends a session whose account, if there is one, only the backend knows, and cannot be proven
    /// there. The reason is for the log.
    pub(super) fn deny_stranger(&mut self, key: Key, error: &LoginError) -> bool {
        let LoginError::Auth(AuthError::UnsupportedPlugin(_)) = error else { return false };
        let denial = self.sessions.get(key).and_then(|entry| entry.session.denial());
        let Some(denial) = denial else { return false };
        crate::observe::log_limited!(
            self.ledger.now(),
            info,
            "denied, as an account that does not exist: {error}"
        );
        self.fail(key, &denial);
        true
    }

    /// Hands a logged-in backend connection to its session.
    fn grant(&mut self, key: Key, established: Established) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        self.counters.increment(Counter::BackendLogins);
        self.figures.backend_login(backend.id, self.ledger.nanos_since(backend.since));
        let lease = Lease {
            backend: backend.id,
            server_thread_id: established.greeting.connection_id,
            capabilities: established.capabilities,
        };
        let place = Place { server: backend.named.clone(), thread: lease.server_thread_id };
        backend.listed = Some(self.resources.directory.connection(place));
        let server = backend.address.clone();
        let has_init = backend.init.is_some();
        let Established { greeting, ok, .. } = established;
        let fresh = Fresh { lease, ok, version: greeting.version };
        self.start_backend_compression(key, lease.capabilities);
        if has_init {
            self.initialize(key, fresh);
        } else {
            self.open(key, fresh);
        }
        self.turn_over(&server);
    }

    /// Goes on with a connection whose login is over, and that was told its `init_query`.
    pub(super) fn open(&mut self, key: Key, fresh: Fresh) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let Fresh { lease, ok, version } = fresh;
        if backend.pool.as_ref().is_some_and(PoolKey::is_shared) {
            self.greet(key, lease, ok, &version);
            return;
        }
        let version = backend.pool.as_ref().map(|_| version.as_slice());
        if version.is_none() && !backend.read_only {
            backend.stage = Stage::Leased(lease);
            self.hand_over(key, lease, &ok);
            return;
        }
        let mut words = BytesMut::new();
        let opening = Opening::begin(backend.read_only, version, lease.capabilities, &mut words);
        let deadline = self.driver.now() + self.config.limits.connect_timeout;
        backend.stage = Stage::Opening(Box::new(opening), lease, ok, deadline);
        self.send_to_backend(key, &words);
    }

    /// A new connection is prepared for its client.
    pub(super) fn on_backend_opening(&mut self, key: Key, bytes: &[u8]) {
        let backend = self.sessions.get_mut(key).and_then(|entry| entry.backend.as_deref_mut());
        let Some(BackendLink { stage, identity, .. }) = backend else { return };
        let Stage::Opening(opening, lease, ok, _) = stage else { return };
        match opening.on_bytes(bytes) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                let (lease, ok) = (*lease, std::mem::take(ok));
                *identity = answer;
                *stage = Stage::Leased(lease);
                self.hand_over(key, lease, &ok);
            }
            Err(NoAnswer) => {
                self.counters.increment(Counter::BackendLoginFailures);
                let text = "it does not do SET SESSION TRANSACTION READ ONLY, or does not answer \
                            SELECT DATABASE(), CURRENT_ROLE() after the login";
                self.fail_backend(key, code::UNKNOWN_ERROR, text);
            }
        }
    }

    /// A session has its backend connection: its client is told that it is logged in.
    pub(super) fn hand_over(&mut self, key: Key, lease: Lease, ok: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &entry.backend else { return };
        self.figures.login(entry.endpoint, self.ledger.nanos_since(entry.accepted));
        let place = Place { server: backend.named.clone(), thread: lease.server_thread_id };
        let (id, client) = (entry.session.id(), entry.described(&self.driver));
        self.resources.directory.enter(id, client);
        self.resources.directory.insert(id, place);
        self.edits.clear();
        let has_init = backend.init.is_some();
        let early = entry.session.on_lease(lease.capabilities, ok, &mut self.edits);
        entry.session.set_initialized(has_init);
        let id = entry.session.id();
        self.tell_positions(key);
        tracing::debug!(
            session = id.get(),
            backend = lease.backend.0,
            thread = lease.server_thread_id,
            "logged in"
        );
        self.after_login(key, early);
    }

    /// A client was told that it is logged in; `early` is what it sent ahead of that.
    pub(super) fn after_login(&mut self, key: Key, early: Result<BytesMut, Fault>) {
        self.send_edits(key);
        self.start_client_compression(key);
        self.login_over(key);
        match early {
            Ok(early) if early.is_empty() => {}
            Ok(early) => self.feed_early(key, early),
            Err(fault) => self.fail(key, &fault),
        }
        if self.draining {
            self.end_if_at_rest(key);
        }
    }

    pub(super) fn on_backend_ended(&mut self, key: Key, reason: EndReason) {
        let Some(entry) = self.sessions.get(key) else { return };
        let Some(backend) = &entry.backend else { return };
        if backend.is_logging_in() {
            self.counters.increment(Counter::BackendConnectFailures);
            let text = match reason {
                EndReason::Refused => "cannot connect to it: connection refused".to_owned(),
                EndReason::ConnectTimeout => "cannot connect to it: timed out".to_owned(),
                EndReason::Eof | EndReason::Reset => "it closed the connection".to_owned(),
                EndReason::Os(errno) => {
                    let error = std::io::Error::from_raw_os_error(errno);
                    format!("cannot connect to it: {error}")
                }
            };
            self.fail_backend(key, code::UNKNOWN_ERROR, &text);
            return;
        }
        self.doubt(backend);
        if self.lose_backend(key) {
            return;
        }
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &entry.backend else { return };
        match entry.session.on_backend_end(&backend.name) {
            Ok(()) => self.act(key),
            Err(fault) => self.fail(key, &fault),
        }
    }

    /// Ends a session because its backend cannot be had.
    pub(super) fn fail_backend(&mut self, key: Key, code: u16, text: &str) {
        let backend = self.sessions.get(key).and_then(|entry| entry.backend.as_deref());
        let Some(BackendLink { name, address, .. }) = backend else { return };
        let message = format!("weir: backend '{name}' ({address}): {text}");
        let fault =
            Fault { blame: Blame::Backend, code, sqlstate: *b"HY000", message: message.into() };
        if self.is_acquiring(key) {
            self.deny(key, fault);
        } else {
            self.fail(key, &fault);
        }
    }

    /// Ends logins that took too long, on the client's side or the backend's.
    pub(super) fn check_logins(&mut self, now: Time) {
        let late: Vec<Key> = self
            .logging_in
            .iter()
            .copied()
            .filter(|key| self.login_deadline(*key).is_some_and(|deadline| now >= deadline))
            .collect();
        for key in late {
            if self.sessions.get(key).is_some_and(|entry| entry.waiting.is_some()) {
                self.fail_waiting(key);
                continue;
            }
            self.counters.increment(Counter::LoginTimeouts);
            let Some(entry) = self.sessions.get(key) else { continue };
            if entry.session.is_parting() {
                self.close_session(key, Ending::Broken);
                continue;
            }
            let stage = entry.backend.as_ref().map(|backend| &backend.stage);
            if matches!(
                stage,
                Some(
                    Stage::Login(..)
                        | Stage::Init(..)
                        | Stage::Opening(..)
                        | Stage::Greeting(..)
                        | Stage::Changing(..)
                )
            ) {
                self.fail_backend(key, code::UNKNOWN_ERROR, "its login took too long");
                continue;
            }
            let text = if entry.session.awaits_header() {
                "weir: no PROXY header came in time, which is expected of your address here: see \
                 proxy_protocol_networks"
            } else {
                "Got timeout reading communication packets"
            };
            let fault = wire::fault(Blame::Client, code::NET_READ_INTERRUPTED, text);
            self.fail(key, &fault);
        }
        self.next_login_check =
            if self.logging_in.is_empty() { Time::NEVER } else { now + LOGIN_CHECK };
    }

    fn login_deadline(&self, key: Key) -> Option<Time> {
        let entry = self.sessions.get(key)?;
        if let Some(waiting) = &entry.waiting {
            return Some(waiting.until);
        }
        match entry.backend.as_deref() {
            // The driver itself ends a connect that takes too long, and says that it was that.
            Some(BackendLink { connected: false, .. }) => None,
            Some(BackendLink {
                stage:
                    Stage::Login(_, deadline)
                    | Stage::Init(.., deadline)
                    | Stage::Opening(.., deadline)
                    | Stage::Greeting(.., deadline),
                ..
            }) => Some(*deadline),
            Some(_) | None => Some(entry.session.deadline()),
        }
    }

    /// Takes a session off the list of logins in progress.
    pub(super) fn login_over(&mut self, key: Key) {
        let Some(slot) = self.sessions.get_mut(key).and_then(|entry| entry.login_slot.take())
        else {
            return;
        };
        self.logging_in.swap_remove(slot);
        if let Some(moved) = self.logging_in.get(slot)
            && let Some(entry) = self.sessions.get_mut(*moved)
        {
            entry.login_slot = Some(slot);
        }
    }
}

/// Why a session cannot have a connection.
pub(super) fn no_server(none: NoServer) -> Fault {
    let text = match none {
        NoServer::Primary => "weir: the cluster has no primary",
        NoServer::Replica => {
            "weir: no replica is fit for this statement, and the primary does not take it \
             (primary_reads); see `weir explain`"
        }
    };
    wire::fault(Blame::Backend, code::UNKNOWN_ERROR, text)
}

/// A dual-stack listener sees IPv4 clients under mapped addresses.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
