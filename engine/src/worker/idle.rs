//! Backend connections between two clients.
//!
//! Purpose: reset a connection whose client has left, keep it, give it to the next client that logs
//! in alike, and close it when it lay there too long or somebody else needs its permit.
//! Never: give out a connection whose server did not say that it is as good as new, or keep one
//! that a session waits for.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Address, BackendId, Key, Time};
use crate::config::{Backend, Pooling, Role};
use crate::io::{Chunk, CloseMode, Driver, RecvMode};
use crate::observe::Counter;
use crate::pool::{Keep, PoolKey, Recycle, RecycleStep, Times};
use crate::topology::Snapshot;
use crate::wire::{Command, LoginRequest, frame};
use crate::worker::coded::encode;
use crate::worker::entry::{BackendLink, Entry, Holder, Parked, Stage};
use crate::worker::make::MAKE_AGAIN;
use crate::worker::transport::{Coder, PIECE_BYTES, Transport, TransportError};
use crate::worker::{FLUSH_MAX, IDLE_CHECK, Worker};

/// Clients of a unix socket are from this machine.
const LOCAL: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl<D: Driver> Worker<D> {
    /// What a session's backend connection may be shared by, if it may be.
    pub(super) fn pool_key(
        &self,
        entry: &Entry,
        server: &Address,
        login: &LoginRequest,
    ) -> Option<PoolKey> {
        let endpoint = self.config.endpoint(entry.endpoint)?;
        let init = self.view_at(entry, server).and_then(|view| self.init_of(view.id));
        // A server that is told who the client is may let in others than for another one.
        let mut backends = self.config.backends.iter();
        let tells = backends.any(|it| it.address == *server && it.proxy_protocol);
        let matches_address = endpoint.match_client_address || tells;
        let client = matches_address.then(|| entry.address.unwrap_or(LOCAL));
        match endpoint.pooling {
            // A reset would let its next session write.
            _ if self.is_read_only(entry.endpoint, &login.user) => None,
            Pooling::None => None,
            // What its user may do is looked at where a session has its connection to itself.
            Pooling::Transaction if !self.is_bounded(&login.user) => {
                Some(PoolKey::shared(server, init, login, client))
            }
            Pooling::Session | Pooling::Transaction => {
                Some(PoolKey::new(server, init, login, client))
            }
        }
    }

    /// What is said first on connections to a backend.
    pub(super) fn init_of(&self, backend: BackendId) -> Option<&Arc<str>> {
        self.config.backend(backend)?.init_query.as_ref()
    }

    /// Whether nobody else is to have a connection after those who have it.
    pub(super) fn is_outdated(&self, backend: &BackendLink) -> bool {
        self.ledger.now() >= backend.since + self.config.pool.age_max
            || drains(backend.id, &self.config.backends, &self.snapshot)
            || self.init_of(backend.id) != backend.init.as_ref()
    }

    pub(super) fn keep(&self) -> Keep {
        let pool = &self.config.pool;
        Keep {
            idle_max: pool.idle_time_max,
            idle_min: pool.idle_min,
            age_max: pool.age_max,
            verified_max: pool.auth_cache_ttl,
        }
    }

    /// Gives a session that logs in a connection that is there. False if none fits.
    pub(super) fn reuse(&mut self, key: Key, pool: &PoolKey) -> bool {
        if pool.is_shared() {
            return self.reuse_shared(key, pool);
        }
        let (keep, now) = (self.keep(), self.ledger.now());
        let Some(slot) = self.shelf.take(pool, &keep, now) else { return false };
        self.resources.shared.permits.end_idle(pool, &self.desk);
        self.lend(key, slot);
        true
    }

    /// A connection that is as good as new becomes a session's.
    pub(super) fn lend(&mut self, key: Key, slot: Key) {
        let Some(holder) = self.slots.get_mut(slot) else { return };
        let Holder::Idle(parked) = std::mem::replace(holder, Holder::Session(key)) else { return };
        let Parked { backend, ok, lent, .. } = *parked;
        self.figures.backend_idle(backend.id, false);
        if lent.is_none() {
            self.counters.increment(Counter::BackendReuses);
        }
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let lease = backend.lease().copied();
        entry.backend = Some(backend);
        if let Some(lent) = lent {
            self.attach(key, lent);
        } else if let Some(lease) = lease {
            self.hand_over(key, lease, &ok);
        }
    }

    /// Takes the backend connection of a session that is over, to make it as good as new, if that
    /// can be done.
    pub(super) fn recycle_of(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if !entry.session.leaves_backend_clean()
            || self.resources.directory.remove(entry.session.id())
        {
            return;
        }
        let backend = entry.backend.take();
        if let Some(Err(backend)) = backend.map(|backend| self.recycle(backend))
            && let Some(entry) = self.sessions.get_mut(key)
        {
            entry.backend = Some(backend);
        }
    }

    fn recycle(&mut self, mut backend: Box<BackendLink>) -> Result<(), Box<BackendLink>> {
        let now = self.ledger.now();
        let is_old = self.is_outdated(&backend);
        let is_full = self.shelf.len() + self.recycling.len() >= self.config.pool.idle_max;
        let is_gone = backend.id == BackendId::REMOVED || !backend.link.held_by.is_empty();
        let (Stage::Leased(lease), Some(pool)) = (&backend.stage, &backend.pool) else {
            return Err(backend);
        };
        if is_old || is_full || is_gone || self.draining {
            return Err(backend);
        }
        if pool.is_shared() {
            return self.restore(backend);
        }
        let Some(identity) = &backend.identity else { return Err(backend) };
        let mut out = BytesMut::new();
        let recycle = Recycle::begin(
            pool.schema(),
            identity,
            backend.init.as_deref(),
            lease.capabilities,
            &mut out,
        );
        if encode(&mut backend.link, &out, &mut self.coder, &mut self.driver, &self.counters)
            .is_err()
        {
            return Err(backend);
        }
        // The last client's large result says nothing about the next one's.
        backend.link.full_in_a_row = 0;
        if backend.link.mode != RecvMode::Small {
            backend.link.mode = RecvMode::Small;
            self.driver.set_recv(backend.link.conn, RecvMode::Small);
        }
        let slot = backend.slot;
        self.figures.backend_idle(backend.id, true);
        self.recycling.push_back((now + self.config.limits.connect_timeout, slot));
        if let Some(holder) = self.slots.get_mut(slot) {
            *holder = Holder::Recycling(Box::new(recycle), backend);
        }
        self.next_idle_check = self.next_idle_check.min(now + IDLE_CHECK);
        Ok(())
    }

    /// Bytes of a connection that no session has.
    pub(super) fn on_idle_received(&mut self, slot: Key, chunk: &Chunk) {
        self.counters.add(Counter::BytesFromBackends, chunk.len() as u64);
        let step = match self.slots.get_mut(slot) {
            Some(Holder::Recycling(recycle, backend)) => {
                let mut plain = BytesMut::new();
                let link = &mut backend.link;
                let transport = link.transport.as_deref_mut();
                let decoded = decode(transport, chunk, &mut plain, &mut self.coder);
                self.coder.flush(&mut self.driver, link.conn);
                match decoded {
                    Ok(()) => recycle.on_bytes(&plain),
                    Err(_) => RecycleStep::Spoiled,
                }
            }
            // It was not asked anything: it is being shut down, or breaks the protocol.
            Some(Holder::Idle(_) | Holder::Leaving(_)) => RecycleStep::Spoiled,
            Some(Holder::Making(_)) => return self.on_made(slot, chunk),
            Some(Holder::Pinging(..)) => return self.on_pinged(slot, chunk),
            Some(Holder::Restoring(..)) => return self.on_restoring(slot, chunk),
            // Its server has nothing to say to that but what TLS says.
            Some(Holder::Session(_) | Holder::Quitting(_)) | None => return,
        };
        match step {
            RecycleStep::Wait => {}
            RecycleStep::Clean(ok) => self.shelve(slot, ok),
            RecycleStep::Spoiled => {
                self.counters.increment(Counter::BackendSpoiled);
                self.take_off(slot);
                self.close_idle(slot);
            }
        }
    }

    /// A connection is as good as new: it goes to the first who waits for one like it, or is kept.
    fn shelve(&mut self, slot: Key, ok: BytesMut) {
        let Some(holder) = self.slots.get_mut(slot) else { return };
        let taken = std::mem::replace(holder, Holder::Session(slot));
        let Holder::Recycling(_, backend) = taken else {
            *holder = taken;
            return;
        };
        self.recycling.retain(|(_, other)| *other != slot);
        self.counters.increment(Counter::BackendRecycled);
        let used = self.ledger.now();
        *holder = Holder::Idle(Box::new(Parked { backend, ok, lent: None, used }));
        self.offer(slot);
    }

    /// Gives a connection to the first who logs in alike and waits, or keeps it.
    pub(super) fn offer(&mut self, slot: Key) {
        let Some(Holder::Idle(parked)) = self.slots.get(slot) else { return };
        let Some(pool) = parked.backend.pool.clone() else { return };
        let heard = self.ledger.now();
        let times = Times { logged_in: parked.backend.since, used: parked.used, heard };
        let is_verified = heard < times.logged_in + self.config.pool.auth_cache_ttl;
        if is_verified && let Some(key) = self.next_who_wants(&pool) {
            self.lend(key, slot);
        } else {
            match self.resources.shared.permits.keep_idle(&pool, &self.desk) {
                Ok(()) => self.shelf.put(pool, slot, times),
                Err(promise) => self.ship_or_close(slot, promise),
            }
        }
    }

    /// The server of a connection that no session has closed it.
    pub(super) fn on_idle_ended(&mut self, slot: Key) {
        match self.slots.get(slot) {
            Some(Holder::Making(_)) => {
                self.counters.increment(Counter::BackendConnectFailures);
                self.fail_making(slot, MAKE_AGAIN);
            }
            Some(
                Holder::Idle(_)
                | Holder::Pinging(..)
                | Holder::Recycling(..)
                | Holder::Restoring(..)
                | Holder::Leaving(_),
            ) => {
                self.counters.increment(Counter::BackendLostIdle);
                if let Some(Holder::Idle(parked) | Holder::Pinging(_, parked)) =
                    self.slots.get(slot)
                {
                    self.doubt(&parked.backend);
                }
                self.take_off(slot);
                self.close_idle(slot);
            }
            Some(Holder::Quitting(_)) => self.close_idle(slot),
            // It was closed in this very turn.
            Some(Holder::Session(_)) | None => {}
        }
    }

    /// Takes a connection off the shelf, if it lies there.
    pub(super) fn take_off(&mut self, slot: Key) {
        if let Some(Holder::Idle(parked) | Holder::Pinging(_, parked)) = self.slots.get(slot)
            && let Some(pool) = parked.backend.pool.as_ref()
        {
            self.shelf.remove(pool, slot);
            self.resources.shared.permits.end_idle(pool, &self.desk);
        }
    }

    /// Closes connections that were kept long enough, or are not reset in time.
    pub(super) fn tend_idle(&mut self, now: Time) {
        while let Some((until, slot)) = self.recycling.front().copied()
            && now >= until
        {
            if let Some(Holder::Making(_)) = self.slots.get(slot) {
                self.counters.increment(Counter::BackendConnectFailures);
                self.fail_making(slot, MAKE_AGAIN);
                continue;
            }
            let holder = self.slots.get(slot);
            if matches!(holder, Some(Holder::Pinging(..))) {
                self.counters.increment(Counter::BackendPingFailures);
            } else if !matches!(holder, Some(Holder::Quitting(_))) {
                self.counters.increment(Counter::BackendSpoiled);
            }
            self.take_off(slot);
            self.close_idle(slot);
        }
        let expired = self.shelf.expire(&self.keep(), now);
        self.counters.add(Counter::BackendExpired, expired.len() as u64);
        self.close_kept(&expired);
        self.make_ahead(now);
        self.ping_unheard(now);
        self.tend_logins(now);
        let nothing_left =
            self.shelf.is_empty() && self.recycling.is_empty() && self.logins.is_empty();
        self.next_idle_check = if nothing_left { Time::NEVER } else { now + IDLE_CHECK };
    }

    /// Closes idle connections to servers that the configuration does not name any more, or not with
    /// the same `init_query`.
    pub(super) fn forget_servers(&mut self) {
        let (backends, snapshot) = (&self.config.backends, &self.snapshot);
        let gone = self.shelf.forget(|key| {
            let drained = (0..).map(BackendId).zip(backends);
            let mut drained = drained.filter(|(id, _)| drains(*id, backends, snapshot));
            is_wanted(backends, key) && !drained.any(|(_, it)| it.address == *key.server())
        });
        self.close_kept(&gone);
    }

    /// Closes every connection that no session has.
    pub(super) fn end_all_idle(&mut self) {
        let kept = self.shelf.forget(|_| false);
        self.close_kept(&kept);
        while let Some((_, slot)) = self.recycling.front().copied() {
            self.fail_making(slot, MAKE_AGAIN);
            self.take_off(slot);
            self.close_idle(slot);
        }
    }

    /// Closes connections that were taken off the shelf.
    fn close_kept(&mut self, slots: &[Key]) {
        for slot in slots {
            if let Some(Holder::Idle(parked)) = self.slots.get(*slot)
                && let Some(pool) = &parked.backend.pool
            {
                self.resources.shared.permits.end_idle(pool, &self.desk);
            }
            self.quit(*slot);
        }
    }

    /// Tells the server of a connection that no session has, and that is not on the shelf, to end
    /// it. Until it has, it counts to what may be there, unless it may be dead.
    pub(super) fn quit(&mut self, slot: Key) {
        let is_doubtful = matches!(self.slots.get(slot), Some(Holder::Pinging(..)));
        let Some(mut backend) = self.take_idle(slot) else { return };
        self.figures.backend_idle(backend.id, false);
        let mut quit = BytesMut::new();
        frame(&mut quit, 0, |out| out.extend_from_slice(&[Command::Quit.as_byte()]));
        let link = &mut backend.link;
        // It is closed in any case.
        drop(encode(link, &quit, &mut self.coder, &mut self.driver, &self.counters));
        if let Some(transport) = &mut link.transport {
            transport.close(&mut self.coder.out);
            self.coder.flush(&mut self.driver, link.conn);
        }
        if self.draining || is_doubtful {
            self.close_taken(slot, &backend, CloseMode::Flush(FLUSH_MAX));
            return;
        }
        if let Some(holder) = self.slots.get_mut(slot) {
            *holder = Holder::Quitting(backend);
        }
        let now = self.ledger.now();
        self.recycling.push_back((now + self.config.limits.connect_timeout, slot));
        self.next_idle_check = self.next_idle_check.min(now + IDLE_CHECK);
    }

    /// Closes a connection that no session has, and that is not on the shelf, without a word.
    pub(super) fn close_idle(&mut self, slot: Key) {
        let was_told = matches!(self.slots.get(slot), Some(Holder::Quitting(_)));
        let Some(backend) = self.take_idle(slot) else { return };
        if !was_told {
            self.figures.backend_idle(backend.id, false);
        }
        self.close_taken(slot, &backend, CloseMode::Now);
    }

    fn close_taken(&mut self, slot: Key, backend: &BackendLink, mode: CloseMode) {
        self.slots.remove(slot);
        self.figures.backend_closed(backend.id);
        self.driver.close(backend.link.conn, mode);
        self.resources.shared.permits.give_back(&backend.address);
    }

    /// The slot stays, as nobody's.
    fn take_idle(&mut self, slot: Key) -> Option<Box<BackendLink>> {
        let holder = self.slots.get_mut(slot)?;
        if matches!(holder, Holder::Session(_) | Holder::Making(_)) {
            return None;
        }
        let backend = match std::mem::replace(holder, Holder::Session(slot)) {
            Holder::Idle(parked) | Holder::Pinging(_, parked) => parked.backend,
            Holder::Recycling(_, backend)
            | Holder::Restoring(_, backend)
            | Holder::Quitting(backend) => backend,
            Holder::Leaving(leaving) => {
                self.resources.shared.permits.withdraw(leaving.promise);
                leaving.parked.backend
            }
            Holder::Session(_) | Holder::Making(_) => return None,
        };
        self.recycling.retain(|(_, other)| *other != slot);
        Some(backend)
    }
}

/// Whether a server gets nothing new. The primary does: nobody else can do its work.
fn drains(id: BackendId, backends: &[Backend], snapshot: &Snapshot) -> bool {
    let is_primary = snapshot.backend(id).is_some_and(|view| view.role == Role::Primary);
    backends.get(id.index()).is_some_and(|backend| backend.drain) && !is_primary
}

/// Whether connections like that are made at present.
pub(super) fn is_wanted(backends: &[Backend], key: &PoolKey) -> bool {
    let mut backends = backends.iter();
    backends.any(|it| it.address == *key.server() && it.init_query.as_ref() == key.init())
}

/// What a server says on a connection that no session has, decoded: a few packets. What TLS says to
/// that is in the coder's `out` then, to leave on this connection and no other.
pub(super) fn decode(
    transport: Option<&mut Transport>,
    bytes: &[u8],
    plain: &mut BytesMut,
    coder: &mut Coder,
) -> Result<(), TransportError> {
    let Some(transport) = transport else {
        plain.extend_from_slice(bytes);
        return Ok(());
    };
    transport.receive(bytes, plain, &mut coder.out)?;
    if transport.is_compressed() {
        while transport.next_piece(&mut coder.engines, plain)? && plain.len() < PIECE_BYTES {}
    }
    Ok(())
}
