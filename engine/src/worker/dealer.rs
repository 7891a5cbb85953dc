//! Which server a session's next connection leads to.
//!
//! Purpose: keep the picture of every endpoint's servers as `route` wants it, and tell it what this
//! worker knows of them.
//! Never: look at a clock, or keep what a reload has made untrue.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Address, BackendId, EndpointId, Key, Time};
use crate::config::{Config, EndpointMode};
use crate::io::{CloseMode, Driver};
use crate::observe::Figures;
use crate::pool::PoolKey;
use crate::route::{Able, Aim, Asked, Balance, Field, Load, NoServer};
use crate::topology::{BackendView, Snapshot};
use crate::worker::Worker;
use crate::worker::entry::Entry;

/// The servers of each endpoint, and how its reads were dealt out to them.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    fields: Vec<Field>,
    balances: Vec<Balance>,
    /// How long their answers take, by name.
    loads: Vec<(Arc<str>, Load)>,
}

impl Dealer {
    /// There is a new configuration, or a new picture.
    pub(super) fn adopt(&mut self, config: &Config, snapshot: &Snapshot) {
        let endpoints = config.endpoints.iter();
        self.fields = endpoints.map(|it| Field::of(it, config, snapshot)).collect();
        self.balances.resize(self.fields.len(), Balance::default());
        let mut before = std::mem::take(&mut self.loads);
        let loads = snapshot.backends.iter().map(|view| {
            let known = before.iter().position(|(name, _)| *name == view.name);
            known.map_or_else(
                || (Arc::clone(&view.name), Load::default()),
                |place| before.swap_remove(place),
            )
        });
        self.loads = loads.collect();
    }

    /// The servers of an endpoint.
    pub(super) fn field(&self, endpoint: EndpointId) -> Option<&Field> {
        self.fields.get(endpoint.index())
    }

    fn choose(
        &mut self,
        endpoint: EndpointId,
        asked: Asked<'_>,
        config: &Config,
        figures: &Figures,
        now: Time,
    ) -> Result<BackendId, NoServer> {
        let Self { fields, balances, loads } = self;
        let index = endpoint.index();
        let (Some(settings), Some(field), Some(balance)) =
            (config.endpoint(endpoint), fields.get(index), balances.get_mut(index))
        else {
            return Err(NoServer::Primary);
        };
        let aim = match settings.mode {
            EndpointMode::Primary => &Aim::Primary,
            EndpointMode::ReadWrite => asked.aim,
            // Whoever logs in has said nothing yet.
            EndpointMode::ReadOnly if asked.aim.is_primary() => &Aim::Reads,
            EndpointMode::ReadOnly => asked.aim,
        };
        let load = |backend: BackendId| {
            let of = figures.backends.get(backend.index());
            let connections = of.map_or(0, |it| it.connections);
            let idle = of.map_or(0, |it| it.idle);
            let known = loads.get(backend.index()).map(|(_, load)| *load).unwrap_or_default();
            known.with(count(connections.saturating_sub(idle)), count(connections))
        };
        balance.choose(field, Asked { aim, ..asked }, settings.routing.policy, now, load)
    }

    /// A connection was in a session's hands for so long.
    pub(super) fn on_answer(&mut self, backend: BackendId, took: Duration, now: Time) {
        if let Some((_, load)) = self.loads.get_mut(backend.index()) {
            load.on_answer(took, now);
        }
    }
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl<D: Driver> Worker<D> {
    /// A server for what a session needs, by its endpoint's policy.
    pub(super) fn pick(
        &mut self,
        key: Key,
        able: Able<'_>,
    ) -> Result<(BackendId, Address), NoServer> {
        let entry = self.sessions.get(key).ok_or(NoServer::Primary)?;
        let asked = Asked { aim: entry.session.aim(), avoids: entry.avoids, able };
        let now = self.ledger.now();
        let chosen = self.dealer.choose(entry.endpoint, asked, &self.config, &self.figures, now)?;
        let view = self.snapshot.backend(chosen).ok_or(NoServer::Primary)?;
        Ok((view.id, view.address.clone()))
    }

    /// Whether that is the primary of a session that may write.
    pub(super) fn is_its_primary(&self, entry: &Entry, backend: BackendId) -> bool {
        let mode = self.config.endpoint(entry.endpoint).map(|endpoint| endpoint.mode);
        let field = self.dealer.field(entry.endpoint);
        mode != Some(EndpointMode::ReadOnly) && field.and_then(Field::primary) == Some(backend)
    }

    /// The server of an entry's cluster that is there.
    pub(super) fn view_at(&self, entry: &Entry, server: &Address) -> Option<&BackendView> {
        let cluster = self.config.endpoint(entry.endpoint)?.cluster;
        let mut views = self.snapshot.backends.iter();
        views.find(|view| view.cluster == cluster && view.address == *server)
    }

    /// The same, if it is still good for what the session needs.
    pub(super) fn serving(&self, entry: &Entry, server: &Address) -> Option<&BackendView> {
        let view = self.view_at(entry, server)?;
        let field = self.dealer.field(entry.endpoint)?;
        let is_primary = field.primary() == Some(view.id);
        let mode = self.config.endpoint(entry.endpoint)?.mode;
        let needs_primary = mode == EndpointMode::Primary
            || mode == EndpointMode::ReadWrite && entry.session.aim().is_primary();
        let mut fit = field.candidates.iter().filter(|it| it.unfit.is_none());
        let is_good = is_primary && mode != EndpointMode::ReadOnly
            || !needs_primary && fit.any(|it| it.backend == view.id);
        is_good.then_some(view)
    }

    /// The pool of a session's login on another server than that where it logged in.
    pub(super) fn sibling(
        &mut self,
        key: Key,
        home: &PoolKey,
        server: &Address,
    ) -> Option<PoolKey> {
        let entry = self.sessions.get(key)?;
        let init = self.view_at(entry, server).and_then(|view| self.init_of(view.id));
        let shared = self.logins.get(home)?;
        if let Some(known) = shared.sibling(server, init) {
            return Some(known.clone());
        }
        let pool = self.pool_key(entry, server, shared.login()).filter(PoolKey::is_shared)?;
        self.logins.get_mut(home)?.add_sibling(pool.clone());
        Some(pool)
    }

    /// Whether a session that could not have a connection to one server is to try another. Each
    /// command tries one other, and then the primary, if that takes reads.
    pub(super) fn tries_elsewhere(&mut self, key: Key, failed: Option<BackendId>) -> bool {
        let Some(entry) = self.sessions.get_mut(key) else { return false };
        let (Some(failed), false) = (failed, entry.session.aim().is_primary()) else {
            return false;
        };
        if entry.avoids.replace(failed).is_none() {
            return true;
        }
        let falls_back = self.dealer.field(entry.endpoint).is_some_and(|it| it.falls_back);
        if falls_back {
            entry.session.aim_at_primary();
        }
        falls_back
    }

    /// A session's connection to a replica has ended. Whether the session goes on without.
    pub(super) fn lose_backend(&mut self, key: Key) -> bool {
        let Some(entry) = self.sessions.get_mut(key) else { return false };
        if !entry.session.survives_end(&mut self.ledger) {
            return false;
        }
        let (id, endpoint) = (entry.session.id(), entry.endpoint);
        let schema = entry.session.settings().map_or(&b""[..], |settings| settings.schema());
        self.resources.directory.leave(id, schema, self.ledger.now());
        self.book(endpoint);
        let failed = self.asked_server(key);
        self.drop_backend(key);
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.avoids = failed;
        }
        self.falls_silent(key);
        self.resume(key);
        true
    }

    /// The server on which a session waits for a connection, or is given one.
    pub(super) fn asked_server(&self, key: Key) -> Option<BackendId> {
        let entry = self.sessions.get(key)?;
        if let Some(backend) = &entry.backend {
            return Some(backend.id);
        }
        let server = entry.waiting.as_ref()?.server();
        Some(self.view_at(entry, server)?.id)
    }

    /// Closes a session's connection to its server; the session stays.
    pub(super) fn drop_backend(&mut self, key: Key) {
        self.leave_backend(key);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if let Some(backend) = entry.backend.take() {
            self.slots.remove(backend.slot);
            self.figures.backend_closed(backend.id);
            self.driver.close(backend.link.conn, CloseMode::Now);
        }
    }
}
