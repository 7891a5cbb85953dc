//! New clients.
//!
//! Purpose: greet a client, or tell it why not, within the worker's limits.
//! Never: open a backend connection; that waits until the client has proven who it is.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::{Blame, ConnectionId, EndpointId, Fault, Key};
use crate::bus::Bound;
use crate::config::{Endpoint, EndpointAuth, EndpointMode, TlsMode};
use crate::io::{CloseMode, ConnId, Driver, RecvMode};
use crate::observe::Counter;
use crate::session::{LoginContext, Session};
use crate::topology::Snapshot;
use crate::wire::proxy::Origin;
use crate::wire::{Edit, ErrPacket, Greeting, Side};
use crate::wire::{code, fault};
use crate::worker::entry::{Entry, Link};
use crate::worker::seat::Seats;
use crate::worker::traffic::{Ending, Input};
use crate::worker::{FLUSH_MAX, LOGIN_CHECK, Worker, pack};

impl<D: Driver> Worker<D> {
    pub(super) fn on_accepted(&mut self, endpoint: EndpointId, conn: ConnId) {
        self.counters.increment(Counter::ClientsAccepted);
        let address = self.client_address(conn);
        if self.is_balancer(endpoint, address) {
            self.await_header(endpoint, conn);
            return;
        }
        let context = self.admit(address).and_then(|()| {
            let id = self.next_id();
            let context = self.login_context(endpoint, address, id);
            context.inspect_err(|_| self.resources.shared.dismiss(address))
        });
        match context {
            Ok(context) => {
                self.edits.clear();
                let session = Session::new(context, &mut self.edits);
                self.open_session(endpoint, session, address, conn);
            }
            Err(fault) => self.refuse(endpoint, conn, &fault),
        }
    }

    /// Whether who connects from there has to name the client.
    fn is_balancer(&self, endpoint: EndpointId, address: Option<IpAddr>) -> bool {
        let networks = self.config.endpoint(endpoint).map(|it| &it.proxy_protocol_networks);
        let Some(networks) = networks.filter(|networks| !networks.is_empty()) else { return false };
        address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    }

    /// A client who has to be named first counts as one that logs in, but for no address.
    fn await_header(&mut self, endpoint: EndpointId, conn: ConnId) {
        if let Err(fault) = self.admit(None) {
            self.refuse(endpoint, conn, &fault);
            return;
        }
        let deadline = self.driver.now() + self.config.limits.login_timeout;
        let session = Session::unnamed(self.next_id(), deadline);
        self.edits.clear();
        self.open_session(endpoint, session, None, conn);
    }

    /// Greets a client that was named, or tells it why not.
    pub(super) fn on_named(&mut self, key: Key, origin: Origin) {
        self.counters.increment(Counter::ProxyHeaders);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        entry.header = Some(Box::new(origin));
        let (endpoint, conn) = (entry.endpoint, entry.client.conn);
        let (id, deadline) = (entry.session.id(), entry.session.deadline());
        let address = match origin {
            Origin::Tcp { source, .. } => Some(source.ip().to_canonical()),
            Origin::Itself | Origin::Unix => self.client_address(conn),
        };
        let named = self.check_host(address).and_then(|()| {
            let named = self.resources.shared.name(address, &self.config.limits);
            named.map_err(|bound| is_full(bound, address))
        });
        let context = named.and_then(|()| {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.address = address;
            }
            self.login_context(endpoint, address, id)
        });
        match context {
            Ok(context) => {
                let Some(entry) = self.sessions.get_mut(key) else { return };
                self.edits.clear();
                let context = LoginContext { deadline, ..context };
                let mut rest = entry.session.on_named(context, &mut self.edits);
                self.send_edits(key);
                tracing::debug!(
                    session = id.get(),
                    client = address.map(tracing::field::display),
                    "client named"
                );
                if !rest.is_empty() {
                    self.feed(key, Side::Client, Input::Decoded(&mut rest));
                }
            }
            Err(fault) => self.turn_away(key, &fault),
        }
    }

    pub(super) fn on_accept_failed(&mut self, errno: i32) {
        let error = std::io::Error::from_raw_os_error(errno);
        crate::observe::log_limited!(
            self.driver.now(),
            warn,
            "cannot accept a client: {error}; raise the limit of open files"
        );
    }

    fn client_address(&self, conn: ConnId) -> Option<IpAddr> {
        peer(&self.driver, conn)
    }

    /// Counts a client in, or says which limit is reached. Whoever was counted in is counted out by
    /// `dismiss`, with the same address.
    fn admit(&self, address: Option<IpAddr>) -> Result<(), Fault> {
        let limits = &self.config.limits;
        self.check_host(address)?;
        if self.sessions.len() >= limits.clients_max
            || self.logging_in.len() >= limits.handshakes_max
        {
            return Err(too_many("Too many connections".into()));
        }
        let admitted = self.resources.shared.admit(address, limits);
        admitted.map_err(|bound| is_full(bound, address))
    }

    /// Turns away who comes from an address that is blocked.
    fn check_host(&self, address: Option<IpAddr>) -> Result<(), Fault> {
        let hosts = &self.resources.shared.hosts;
        match address {
            Some(address)
                if self.config.limits.host_errors_max > 0
                    && hosts.is_blocked(address, self.driver.now()) =>
            {
                let text = format!("Host '{address}' is blocked because of many connection errors");
                Err(fault(Blame::Limit, code::HOST_IS_BLOCKED, text))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers a handshake that was aborted, broken or too slow against its address.
    pub(super) fn handshake_failed(&self, address: Option<IpAddr>) {
        let (limits, now) = (&self.config.limits, self.driver.now());
        let Some(address) = address else { return };
        let hosts = &self.resources.shared.hosts;
        if hosts.failed(address, now, limits.host_errors_max, limits.host_block) {
            self.counters.increment(Counter::HostsBlocked);
            crate::observe::log_limited!(
                now,
                warn,
                %address,
                for_ms = limits.host_block.as_millis(),
                "address blocked: too many failed handshakes in a row"
            );
        }
    }

    /// What a client from `address` is judged by now.
    pub(super) fn login_context(
        &mut self,
        endpoint: EndpointId,
        address: Option<IpAddr>,
        id: ConnectionId,
    ) -> Result<LoginContext, Fault> {
        let offers_tls = self.resources.tls.endpoint(endpoint).is_some();
        let server = self
            .config
            .endpoint(endpoint)
            .and_then(|endpoint| Some((shown_to_clients(endpoint, &self.snapshot)?, endpoint)));
        let Some((server, endpoint)) = server else {
            return Err(fault(
                Blame::Backend,
                code::UNKNOWN_ERROR,
                "weir: the primary has not been reached yet; check its address and the \
                          monitor account",
            ));
        };
        let is_local = endpoint.listen.is_unix();
        // To servers a unix socket is as good as TLS, as long as no certificate is asked for.
        let is_good_enough = is_local && endpoint.tls.mode == TlsMode::Required;
        Ok(LoginContext {
            config: self.config.clone(),
            id,
            server,
            nonce: self.nonces.next(),
            client: address,
            is_local,
            is_secure: is_local,
            cluster: endpoint.cluster,
            remembered: Arc::clone(&self.resources.remembered),
            pass_through: endpoint.auth == EndpointAuth::PassThrough,
            rsa_key: self.resources.rsa_key.clone(),
            now: self.driver.now(),
            deadline: self.driver.now() + self.config.limits.login_timeout,
            offers_tls,
            accounts: None,
            pooling: endpoint.pooling,
            reads_only: endpoint.mode == EndpointMode::ReadOnly,
            requires_tls: endpoint.tls.mode.is_required() && !is_good_enough,
            compression: endpoint.compression,
        })
    }

    /// The next connection id that no session has.
    fn next_id(&mut self) -> ConnectionId {
        loop {
            self.next_sequence = self.next_sequence % (ConnectionId::SEQUENCES - 1) + 1;
            let id = ConnectionId::new(self.id, self.next_sequence);
            if !self.ids.contains_key(&id.get()) {
                return id;
            }
        }
    }

    /// Keeps a session and sends what it has written so far.
    fn open_session(
        &mut self,
        endpoint: EndpointId,
        session: Session,
        address: Option<IpAddr>,
        conn: ConnId,
    ) {
        let id = session.id();
        let login_slot = Some(self.logging_in.len());
        let entry = Entry {
            session,
            endpoint,
            accepted: self.ledger.now(),
            client: Link::new(conn),
            address,
            header: None,
            backend: None,
            waiting: None,
            seats: Seats::default(),
            shares: None,
            wanted: None,
            held: None,
            avoids: None,
            login_slot,
        };
        let Some(key) = self.sessions.insert(entry) else {
            self.resources.shared.dismiss(address);
            self.driver.close(conn, CloseMode::Now);
            return;
        };
        self.ids.insert(id.get(), key);
        self.watch_list(key);
        self.driver.set_token(conn, pack(key, Side::Client));
        self.driver.set_recv(conn, RecvMode::Small);
        self.send_edits(key);
        tracing::debug!(
            session = id.get(),
            client = address.map(tracing::field::display),
            "client connected"
        );
    }

    /// Puts a session on the list of those with a deadline, if it is not there.
    pub(super) fn watch(&mut self, key: Key) {
        let slot = self.logging_in.len();
        if let Some(entry) = self.sessions.get_mut(key)
            && entry.login_slot.is_none()
        {
            entry.login_slot = Some(slot);
            self.watch_list(key);
        }
    }

    fn watch_list(&mut self, key: Key) {
        if self.logging_in.is_empty() {
            self.next_login_check = self.driver.now() + LOGIN_CHECK;
        }
        self.logging_in.push(key);
    }

    /// Ends a session whose client was named and may not come in.
    fn turn_away(&mut self, key: Key, fault: &Fault) {
        let Some(entry) = self.sessions.get(key) else { return };
        self.note_refusal(entry.endpoint, entry.client.conn, fault);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        self.edits.clear();
        entry.session.fail(fault, self.ledger.now(), &mut self.edits);
        self.send_edits(key);
        self.close_session(key, Ending::InOrder);
    }

    fn note_refusal(&mut self, endpoint: EndpointId, conn: ConnId, fault: &Fault) {
        self.counters.increment(Counter::ClientsRefused);
        self.figures.own_errors.count(fault.code, 1);
        let endpoint = self.config.endpoint(endpoint).map_or("?", |endpoint| &endpoint.name);
        crate::observe::log_limited!(
            self.ledger.now(),
            warn,
            endpoint,
            from = self.client_address(conn).map(tracing::field::display),
            code = fault.code,
            "client refused: {}",
            fault.message
        );
    }

    fn refuse(&mut self, endpoint: EndpointId, conn: ConnId, fault: &Fault) {
        self.note_refusal(endpoint, conn, fault);
        self.edits.clear();
        self.edits.send(Side::Client, |out| {
            ErrPacket {
                code: fault.code,
                sqlstate: fault.sqlstate,
                message: fault.message.as_bytes(),
            }
            .encode_as_greeting(out);
        });
        if let [Edit::Send(_, range)] = self.edits.list() {
            self.driver.send_copy(conn, self.edits.bytes(range));
        }
        self.driver.close(conn, CloseMode::Flush(FLUSH_MAX));
    }
}

/// A dual-stack listener sees IPv4 clients under mapped addresses; they are the same clients.
pub(super) fn peer(driver: &impl Driver, conn: ConnId) -> Option<IpAddr> {
    driver.peer_address(conn).map(|address| address.ip().to_canonical())
}

/// What a client is told that would break a bound.
fn is_full(bound: Bound, address: Option<IpAddr>) -> Fault {
    match (bound, address) {
        // Servers bound users (1203), never addresses; nobody has said yet who the user is.
        (Bound::Address, Some(address)) => {
            too_many(format!("Too many connections from '{address}'").into())
        }
        (Bound::Address | Bound::Process, _) => too_many("Too many connections".into()),
    }
}

fn too_many(message: Cow<'static, str>) -> Fault {
    fault(Blame::Limit, code::CON_COUNT_ERROR, message)
}

/// What clients are told of the server: what the primary says of itself, and, where they may get to
/// others, only of what all of them can do. Where they write nothing, any will do.
fn shown_to_clients(endpoint: &Endpoint, snapshot: &Snapshot) -> Option<Arc<Greeting>> {
    let of_cluster = || snapshot.backends.iter().filter(|view| view.cluster == endpoint.cluster);
    let primary = snapshot.primary(endpoint.cluster).and_then(|view| view.greeting.as_ref());
    let mut others = of_cluster().filter_map(|view| view.greeting.as_ref());
    let shown = match endpoint.mode {
        EndpointMode::Primary | EndpointMode::ReadWrite => primary,
        EndpointMode::ReadOnly => primary.or_else(|| others.next()),
    }?;
    let common = match endpoint.mode {
        EndpointMode::Primary => shown.capabilities,
        EndpointMode::ReadWrite | EndpointMode::ReadOnly => of_cluster()
            .filter_map(|view| view.greeting.as_ref())
            .fold(shown.capabilities, |common, other| common.intersection(other.capabilities)),
    };
    if common == shown.capabilities {
        return Some(Arc::clone(shown));
    }
    Some(Arc::new(Greeting { capabilities: common, ..Greeting::clone(shown) }))
}
