//! From single observations to the picture.
//!
//! Purpose: keep the latest knowledge of every backend and say when the picture changed.
//! Never: decide from silence; a missing observation changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Address, BackendId, ClusterId, Gtids};
use crate::config::{Config, Role};
use crate::topology::facts::{Facts, Follower};
use crate::topology::health::{Health, health, is_news};
use crate::topology::known::{Known, Status};
use crate::topology::role::{Member, Verdict, elect};
use crate::topology::survey::Wishes;
use crate::topology::{BackendView, Event, Snapshot};
use crate::wire::Greeting;

/// What a probe found out.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A new connection was logged in: the server's greeting.
    LoggedIn(Arc<Greeting>),
    /// The server answered what it is.
    Answered(Box<Facts>),
    /// The server could not be reached, or did not answer in time.
    Unreachable,
}

/// The current knowledge.
#[derive(Debug)]
pub struct Topology {
    snapshot: Snapshot,
    ids: BTreeMap<Arc<str>, BackendId>,
    /// In the order of the snapshot's backends.
    known: Vec<Known>,
    clusters: Vec<Cluster>,
    events: Vec<Event>,
}

/// What is known of a cluster.
#[derive(Clone, Debug)]
struct Cluster {
    name: Arc<str>,
    backends: Vec<BackendId>,
    wishes: Wishes,
    primary: Option<BackendId>,
    /// What the primary was last seen with.
    position: Option<Gtids>,
    told: Alarm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Alarm {
    #[default]
    None,
    NoPrimary,
    /// The first that takes writes beside the primary.
    Rival(BackendId),
}

impl Topology {
    /// Knows what the configuration says, and nothing of reachability.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let snapshot = Snapshot { generation: 0, backends: views(config) };
        let ids = ids(&snapshot);
        let known = config.backends.iter().map(Known::new).collect();
        let clusters = clusters(config);
        let mut topology = Self { snapshot, ids, known, clusters, events: Vec::new() };
        topology.judge_all();
        topology
    }

    /// Takes a new configuration: what is known of a backend stays as long as name and address do.
    pub fn reload(&mut self, config: &Config) {
        let mut backends = views(config);
        let mut known: Vec<_> = config.backends.iter().map(Known::new).collect();
        let mut clusters = clusters(config);
        for (view, new) in backends.iter_mut().zip(&mut known) {
            let Some(id) = self.find(&view.name, &view.address) else { continue };
            if let (Some(old_view), Some(old)) =
                (self.snapshot.backend(id), self.known.get(id.index()))
            {
                let fixed = std::mem::replace(new, old.clone()).fixed;
                new.fixed = fixed;
                // Its id and its cluster are those of the new configuration.
                *view = BackendView { id: view.id, cluster: view.cluster, ..old_view.clone() };
            }
        }
        for cluster in &mut clusters {
            let Some(old) = self.clusters.iter().find(|old| old.name == cluster.name) else {
                continue;
            };
            cluster.told = if let Alarm::Rival(_) = old.told { Alarm::None } else { old.told };
            let primary = old.primary.and_then(|id| self.snapshot.backend(id));
            cluster.primary = primary.and_then(|primary| {
                let mut views = backends.iter().filter(|it| cluster.backends.contains(&it.id));
                let same =
                    views.find(|it| it.name == primary.name && it.address == primary.address);
                same.map(|view| view.id)
            });
            if cluster.primary.is_some() {
                cluster.position.clone_from(&old.position);
            }
        }
        self.snapshot = Snapshot { generation: self.snapshot.generation + 1, backends };
        self.ids = ids(&self.snapshot);
        (self.known, self.clusters) = (known, clusters);
        self.judge_all();
    }

    /// The backend of that name, if that is where it is.
    #[must_use]
    pub fn find(&self, name: &str, address: &Address) -> Option<BackendId> {
        let id = *self.ids.get(name)?;
        self.snapshot.backend(id).filter(|view| view.address == *address).map(|_| id)
    }

    /// Takes in an observation. Returns the new picture when it differs from the last in what
    /// routing or a client's greeting depends on.
    pub fn observe(&mut self, id: BackendId, observation: Observation) -> Option<Arc<Snapshot>> {
        let view = self.snapshot.backends.get_mut(id.index())?;
        let known = self.known.get_mut(id.index())?;
        let cluster = self.clusters.get_mut(view.cluster.index())?;
        let (id, cluster_id) = (view.id, view.cluster);
        let changed = match observation {
            Observation::Answered(facts) => {
                known.on_facts(facts, &view.name, &cluster.wishes, &mut self.events);
                !std::mem::replace(&mut view.reachable, true)
            }
            Observation::Unreachable => {
                known.on_silence();
                std::mem::replace(&mut view.reachable, false)
            }
            Observation::LoggedIn(greeting) => {
                let news = !view.reachable
                    || !view.greeting.as_ref().is_some_and(|old| same_server(old, &greeting));
                view.reachable = true;
                view.greeting = Some(greeting);
                news
            }
        };
        if changed {
            let name = Arc::clone(&view.name);
            let event = if view.reachable { Event::Answers(name) } else { Event::Silent(name) };
            self.events.push(event);
        }
        let judged = self.judge(cluster_id, Some(id));
        (changed || judged).then(|| {
            self.snapshot.generation += 1;
            self.current()
        })
    }

    /// The picture as it is.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::new(self.snapshot.clone())
    }

    /// What changed since this was asked last.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether the first probe of a primary is still under way, or of any server that may be one.
    #[must_use]
    pub fn awaits_a_primary(&self) -> bool {
        self.clusters.iter().any(|cluster| {
            let mut known = cluster.backends.iter().filter_map(|id| self.known.get(id.index()));
            match cluster.primary.and_then(|id| self.known.get(id.index())) {
                Some(primary) => !primary.is_seen,
                None => known.any(|it| it.fixed.is_none() && !it.is_seen),
            }
        })
    }

    /// What metrics show of a backend.
    #[must_use]
    pub fn status(&self, id: BackendId) -> Status {
        self.known.get(id.index()).map(|known| known.status).unwrap_or_default()
    }

    /// What a backend said last.
    #[must_use]
    pub fn facts(&self, id: BackendId) -> Option<&Facts> {
        self.known.get(id.index())?.facts.as_deref()
    }

    /// Who replicates from the cluster's primary, if it said so.
    #[must_use]
    pub fn followers(&self, cluster: ClusterId) -> Option<&[Follower]> {
        let primary = self.clusters.get(cluster.index())?.primary?;
        let known = self.known.get(primary.index()).filter(|known| known.answers)?;
        known.facts.as_ref()?.followers.as_deref()
    }

    fn judge_all(&mut self) {
        for index in 0..self.clusters.len() {
            self.judge(ClusterId(u16::try_from(index).unwrap_or(u16::MAX)), None);
        }
    }

    /// Decides a cluster's roles and its servers' fitness anew. Whether routing has to hear of it.
    fn judge(&mut self, cluster: ClusterId, observed: Option<BackendId>) -> bool {
        let Some(cluster) = self.clusters.get_mut(cluster.index()) else { return false };
        let Snapshot { backends, .. } = &self.snapshot;
        let members: Vec<Member<'_>> = cluster
            .backends
            .iter()
            .filter_map(|id| Some(self.known.get(id.index())?.member(backends.get(id.index())?)))
            .collect();
        let place = |id: BackendId| cluster.backends.iter().position(|it| *it == id);
        let verdict = elect(&members, cluster.primary.and_then(place));
        let primary = verdict.primary.and_then(|place| cluster.backends.get(place).copied());
        let has_heartbeat = cluster.wishes.heartbeat.is_some();
        let judged: Vec<(BackendId, Role, Health)> = cluster
            .backends
            .iter()
            .enumerate()
            .map(|(at, id)| {
                let role = if primary == Some(*id) { Role::Primary } else { Role::Replica };
                let is_reachable = backends.get(id.index()).is_some_and(|view| view.reachable);
                (*id, role, health(&members, at, role, is_reachable, has_heartbeat))
            })
            .collect();
        if primary != cluster.primary {
            cluster.position = None;
        }
        cluster.primary = primary;
        if let Some(observed) = observed {
            cluster.mark_beside(&verdict, observed, &mut self.known);
            cluster.measure(observed, &mut self.known);
        }
        cluster.alarm(&verdict, backends, &mut self.events);
        let mut is_news_of_any = false;
        for (id, role, health) in judged {
            if let (Some(view), Some(known)) =
                (self.snapshot.backends.get_mut(id.index()), self.known.get_mut(id.index()))
            {
                is_news_of_any |= show(view, known, role, health, &mut self.events);
            }
        }
        is_news_of_any
    }
}

impl Cluster {
    /// Notes which servers take writes although the primary is there and does so too.
    fn mark_beside(&self, verdict: &Verdict, observed: BackendId, known: &mut [Known]) {
        let primary = self.primary.and_then(|id| known.get(id.index()));
        let is_there = primary.is_some_and(|primary| primary.answers);
        for (place, id) in self.backends.iter().enumerate() {
            let Some(known) = known.get_mut(id.index()) else { continue };
            let writable = known.facts.as_ref().and_then(|facts| facts.is_writable());
            let is_rival = verdict.rivals.contains(&place);
            if writable != Some(true) || is_there && !is_rival {
                known.was_beside = false;
            } else if is_there && Some(observed) == self.primary {
                // Only its own word tells: it may have died before the other was promoted.
                known.was_beside = true;
            }
        }
    }

    /// How far the observed one is behind, or from where the others are.
    fn measure(&mut self, observed: BackendId, known: &mut [Known]) {
        let Some(known) = known.get_mut(observed.index()).filter(|it| it.answers) else { return };
        let gtids = known.facts.as_ref().and_then(|facts| facts.gtids.as_ref());
        if Some(observed) == self.primary {
            self.position = gtids.cloned();
        }
        known.status.behind = match (gtids, &self.position) {
            (Some(gtids), Some(position)) => gtids.missing(position),
            (None, _) | (_, None) => None,
        };
    }

    fn alarm(&mut self, verdict: &Verdict, views: &[BackendView], events: &mut Vec<Event>) {
        let rival = verdict.rivals.first().and_then(|place| self.backends.get(*place).copied());
        let now = match (self.primary, rival) {
            (None, _) if verdict.is_early => return,
            (None, _) => Alarm::NoPrimary,
            (Some(_), Some(rival)) => Alarm::Rival(rival),
            (Some(_), None) => Alarm::None,
        };
        if std::mem::replace(&mut self.told, now) == now {
            return;
        }
        let name = |id: BackendId| views.get(id.index()).map(|view| Arc::clone(&view.name));
        match (now, self.primary.and_then(name)) {
            (Alarm::NoPrimary, _) => events.push(Event::NoPrimary(Arc::clone(&self.name))),
            (Alarm::Rival(rival), Some(primary)) => {
                if let Some(other) = name(rival) {
                    let cluster = Arc::clone(&self.name);
                    events.push(Event::TwoPrimaries { cluster, primary, other });
                }
            }
            (Alarm::Rival(_), None) | (Alarm::None, _) => {}
        }
    }
}

/// Takes over what was decided of a backend. Whether routing has to hear of it.
fn show(
    view: &mut BackendView,
    known: &mut Known,
    role: Role,
    health: Health,
    events: &mut Vec<Event>,
) -> bool {
    let Health { serves_reads, lag_ms, is_fenced, replicates } = health;
    let mut is_news_of_it = view.serves_reads != serves_reads || view.is_fenced != is_fenced;
    (view.serves_reads, view.is_fenced) = (serves_reads, is_fenced);
    if view.role != role {
        view.role = role;
        known.status.role_changes += 1;
        events.push(Event::Role(Arc::clone(&view.name), role));
        is_news_of_it = true;
    }
    if is_news(view.lag_ms, lag_ms) {
        view.lag_ms = lag_ms;
        is_news_of_it = true;
    }
    known.status.lag_ms = lag_ms;
    // Of what nobody asks, nothing is known; it neither stopped nor began again.
    if known.answers && known.status.replicates != replicates {
        let before = std::mem::replace(&mut known.status.replicates, replicates);
        let name = Arc::clone(&view.name);
        match (before, replicates) {
            (_, Some(false)) => events.push(Event::Stopped(name, error(known))),
            (Some(false), Some(true)) => events.push(Event::Replicates(name)),
            (_, None) | (None | Some(true), Some(true)) => {}
        }
    }
    is_news_of_it
}

/// What the server says of its threads.
fn error(known: &Known) -> Box<str> {
    let channels = known.facts.iter().flat_map(|facts| facts.channels.iter().flatten());
    let mut errors = channels.map(|channel| &channel.error).filter(|error| !error.is_empty());
    errors.next().cloned().unwrap_or_default()
}

/// What the configuration says, and nothing of reachability.
fn views(config: &Config) -> Vec<BackendView> {
    let views = config.backends.iter().zip(0..).map(|(backend, index)| BackendView {
        id: BackendId(index),
        name: Arc::from(backend.name.as_str()),
        cluster: backend.cluster,
        address: backend.address.clone(),
        role: backend.role.unwrap_or(Role::Replica),
        reachable: false,
        serves_reads: false,
        lag_ms: None,
        is_fenced: false,
        greeting: None,
    });
    views.collect()
}

fn clusters(config: &Config) -> Vec<Cluster> {
    let clusters = config.clusters.iter().map(|cluster| Cluster {
        name: Arc::from(cluster.name.as_str()),
        backends: cluster.backends.clone(),
        wishes: Wishes::of(cluster),
        primary: None,
        position: None,
        told: Alarm::None,
    });
    clusters.collect()
}

fn ids(snapshot: &Snapshot) -> BTreeMap<Arc<str>, BackendId> {
    snapshot.backends.iter().map(|view| (view.name.clone(), view.id)).collect()
}

/// Greetings differ in connection id and nonce every time; clients are shown the rest.
fn same_server(old: &Greeting, new: &Greeting) -> bool {
    old.version == new.version
        && old.capabilities == new.capabilities
        && old.collation == new.collation
        && old.plugin == new.plugin
}
