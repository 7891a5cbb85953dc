//! Reads that have to see what was written.
//!
//! Purpose: for each of them a server that is known to have it, or one that is waited for, or the
//! primary.
//! Never: wait longer than the endpoint allows, or let a read go where nobody knows what it sees.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Address, BackendId, Consistency, EndpointId, Gtids, Key, Time};
use crate::bus::Desk;
use crate::config::EndpointMode;
use crate::io::Driver;
use crate::observe::ReadOutcome;
use crate::route::{Able, Aim, Bell, Candidate, Field, NoServer, Positions};
use crate::session::{Awaited, Demand};
use crate::worker::Worker;
use crate::worker::entry::BackendLink;

/// What the command that waits has to see, while it waits.
#[derive(Debug)]
pub(super) struct Wanted {
    gtids: Option<Arc<Gtids>>,
    /// Until when servers are waited for.
    until: Time,
}

impl<D: Driver> Worker<D> {
    /// A server for what a session needs now. `None` if it waits for the primary's position.
    pub(super) fn choose(&mut self, key: Key) -> Result<Option<(BackendId, Address)>, NoServer> {
        let Some(entry) = self.sessions.get_mut(key) else { return Err(NoServer::Primary) };
        let endpoint = self.config.endpoint(entry.endpoint).ok_or(NoServer::Primary)?;
        if endpoint.mode != EndpointMode::ReadWrite || !entry.session.demands() {
            entry.wanted = None;
            return self.pick(key, Able::ANY).map(Some);
        }
        let patience = endpoint.routing.causal_wait;
        let Some(positions) = self.resources.positions(endpoint.cluster).cloned() else {
            return self.fall_back(key);
        };
        let field = self.dealer.field(entry.endpoint).ok_or(NoServer::Primary)?;
        let primary = field.candidates.iter().find(|it| it.is_primary).map(|it| &*it.name);
        let (aim, avoids) = (entry.session.aim().clone(), entry.avoids);
        let fits = |name: &str| fits(field, &aim, avoids, name);
        let now = self.ledger.now();
        let until = entry.wanted.as_ref().map_or(now + patience, |wanted| wanted.until);
        match entry.session.demand(primary, fits, &mut self.ledger) {
            Demand::Primary => self.fall_back(key),
            Demand::Fresh(_) if now >= until => self.fall_back(key),
            Demand::Fresh(after) => {
                let Some(primary) = primary.map(Arc::from) else { return self.fall_back(key) };
                entry.wanted = Some(Box::new(Wanted { gtids: None, until }));
                self.keep_until(key, until, Arc::clone(&positions));
                let desk: Arc<Desk> = Arc::clone(&self.desk);
                positions.wait(&primary, after, desk as Arc<dyn Bell>, key);
                Ok(None)
            }
            Demand::Have { on, gtids } => {
                let is_named = aim.wish().is_some_and(|wish| wish.backend.is_some());
                entry.wanted = Some(Box::new(Wanted { gtids: gtids.clone(), until }));
                if let Some(on) = on {
                    let same = |it: &Candidate| *it.name == *on;
                    return self.pick_able(key, &positions, gtids.as_deref(), &same);
                }
                let Some(gtids) = gtids else { return self.pick(key, Able::ANY).map(Some) };
                let has = |it: &Candidate| it.is_primary || positions.has(&it.name, &gtids);
                let anybody = |_: &Candidate| true;
                let known = if is_named { None } else { self.pick_if(key, Able(&has)) };
                match known {
                    Some(chosen) => Ok(Some(chosen)),
                    None => self.pick_able(key, &positions, Some(&gtids), &anybody),
                }
            }
        }
    }

    /// One of several, if it has what is wanted or can be waited for.
    fn pick_able(
        &mut self,
        key: Key,
        positions: &Positions,
        gtids: Option<&Gtids>,
        of: &dyn Fn(&Candidate) -> bool,
    ) -> Result<Option<(BackendId, Address)>, NoServer> {
        let is_over = self.is_out_of_patience(key);
        let able = |it: &Candidate| {
            of(it)
                && gtids.is_none_or(|gtids| {
                    it.is_primary
                        || positions.has(&it.name, gtids)
                        || !is_over && positions.tells(&it.name)
                })
        };
        match self.pick_if(key, Able(&able)) {
            Some(chosen) => Ok(Some(chosen)),
            None => self.fall_back(key),
        }
    }

    fn is_out_of_patience(&self, key: Key) -> bool {
        let wanted = self.sessions.get(key).and_then(|entry| entry.wanted.as_ref());
        wanted.is_none_or(|wanted| self.ledger.now() >= wanted.until)
    }

    /// One that is able, and no other.
    fn pick_if(&mut self, key: Key, able: Able<'_>) -> Option<(BackendId, Address)> {
        let (id, address) = self.pick(key, able).ok()?;
        let field = self.dealer.field(self.sessions.get(key)?.endpoint)?;
        let chosen = field.candidates.iter().find(|it| it.backend == id)?;
        // It may be the primary, which is asked when there is no other.
        (chosen.unfit.is_none() && (able.0)(chosen)).then_some((id, address))
    }

    /// The primary, as no replica has in time what the command has to see.
    fn fall_back(&mut self, key: Key) -> Result<Option<(BackendId, Address)>, NoServer> {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.session.fall_back();
            entry.wanted = None;
            self.figures.consistent_read(entry.endpoint, ReadOutcome::Primary);
        }
        self.pick(key, Able::ANY).map(Some)
    }

    /// The primary's position did not come in time.
    pub(super) fn give_up_position(&mut self, key: Key) {
        if let Some(entry) = self.sessions.get_mut(key)
            && let Some(wanted) = &mut entry.wanted
        {
            wanted.until = Time::ZERO;
        }
        self.acquire(key);
    }

    /// What a session's connection, which is there, has to have before it is used.
    pub(super) fn awaited(&mut self, key: Key, is_replica: bool) -> Option<Awaited> {
        const SHORTEST: Duration = Duration::from_millis(1);
        let entry = self.sessions.get_mut(key)?;
        let wanted = entry.wanted.take()?;
        let endpoint = entry.endpoint;
        let BackendLink { name, .. } = &**entry.backend.as_ref()?;
        let cluster = self.config.endpoint(endpoint)?.cluster;
        let positions = self.resources.positions(cluster)?;
        let gtids = wanted.gtids.filter(|gtids| is_replica && !positions.has(name, gtids));
        let Some(gtids) = gtids else {
            let outcome = if is_replica { ReadOutcome::Current } else { ReadOutcome::Primary };
            self.figures.consistent_read(endpoint, outcome);
            return None;
        };
        let since = self.ledger.now();
        let left = wanted.until.as_nanos().saturating_sub(since.as_nanos());
        // MySQL takes 0 for ever.
        let wait = Duration::from_nanos(left).max(SHORTEST);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Some(Awaited { gtids, wait_ms, since })
    }

    /// Tells a session that has logged in what its reads have to see.
    pub(super) fn tell_positions(&mut self, key: Key) {
        let Some(level) = self.consistency_of(key) else { return };
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(endpoint) = self.config.endpoint(entry.endpoint) else { return };
        if let Some(positions) = self.resources.positions(endpoint.cluster) {
            entry.session.set_positions(positions, level);
        }
    }

    /// The configuration may say otherwise now.
    pub(super) fn tell_consistency(&mut self) {
        let keys: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(level) = self.consistency_of(key)
                && let Some(entry) = self.sessions.get_mut(key)
            {
                entry.session.set_consistency(level);
            }
        }
    }

    /// How fresh a session's reads are, unless its client says otherwise.
    pub(super) fn consistency_of(&self, key: Key) -> Option<Consistency> {
        let entry = self.sessions.get(key)?;
        let endpoint = self.config.endpoint(entry.endpoint)?;
        let routing = &endpoint.routing;
        if endpoint.mode == EndpointMode::ReadOnly {
            // It has nowhere to go where a read surely sees anything.
            return Some(routing.consistency);
        }
        let user = entry.seats.user().and_then(|name| self.config.user(name));
        Some(user.and_then(|user| user.rules.consistency).unwrap_or(routing.consistency))
    }

    /// A primary lacks what the one before it has acknowledged.
    pub(super) fn note_lost(&self, endpoint: EndpointId) {
        let name = self.config.endpoint(endpoint).map_or("", |endpoint| &endpoint.name);
        crate::observe::log_limited!(
            self.ledger.now(),
            error,
            endpoint = name,
            "the primary lacks writes that were acknowledged to a session before it became the \
             primary: they are lost"
        );
    }

    /// A server has broken off a connection: what it was known to have may be gone with it.
    pub(super) fn doubt(&self, backend: &BackendLink) {
        let cluster = self.snapshot.backend(backend.id).map(|view| view.cluster);
        if let Some(positions) = cluster.and_then(|cluster| self.resources.positions(cluster)) {
            positions.doubt(&backend.name);
        }
    }
}

/// Whether a replica may be asked for what a session needs.
fn fits(field: &Field, aim: &Aim, avoids: Option<BackendId>, name: &str) -> bool {
    let candidate = field.candidates.iter().find(|it| *it.name == *name);
    candidate.is_some_and(|it| avoids != Some(it.backend) && it.misses(aim.wish()).is_none())
}
