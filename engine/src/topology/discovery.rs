//! Servers that replicate from a primary and are no backends yet, and found ones that are gone.
//!
//! Purpose: decide from the primary's list who is to be resolved, who stays and who goes.
//! Never: resolve a name, or forget a server that answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Address, BackendId, ClusterId, Time};
use crate::config::{Cluster, Config, Found, with_found};
use crate::topology::Topology;
use crate::topology::facts::Follower;

/// Remarks that are remembered, so that each is made once.
const REMARKS_MAX: usize = 1024;
/// Servers whose last try is remembered.
const TRIED_MAX: usize = 1024;
/// Between two tries to make a backend of a server.
const RETRY: Duration = Duration::from_secs(30);

/// A server whose address has to be found out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its cluster.
    pub cluster: String,
    /// The primary whose settings it will have.
    pub like: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What looking at the primaries' lists came to.
#[derive(Debug, Default)]
pub struct Look {
    /// Who has to be resolved, to be handed to [`Discovery::add`].
    pub wanted: Vec<Wanted>,
    /// Names of those that are forgotten.
    pub forgotten: Vec<String>,
    /// Lines for the log, each once.
    pub remarks: Vec<String>,
}

/// The servers found so far.
#[derive(Debug, Default)]
pub struct Discovery {
    found: Vec<Entry>,
    remarks: BTreeSet<String>,
    tried: BTreeMap<Wanted, Time>,
}

#[derive(Debug)]
struct Entry {
    found: Found,
    /// Since when the primary's list is without it.
    missing: Option<Time>,
}

impl Discovery {
    /// Those found, oldest first.
    #[must_use]
    pub fn found(&self) -> Vec<Found> {
        self.found.iter().map(|entry| entry.found.clone()).collect()
    }

    /// Compares the primaries' lists with the backends there are.
    pub fn look(&mut self, config: &Config, topology: &Topology, now: Time) -> Look {
        let mut look = Look::default();
        for (cluster, id) in config.clusters.iter().zip((0..).map(ClusterId)) {
            if cluster.discover
                && let Some(followers) = topology.followers(id)
            {
                self.look_at(config, cluster, topology, (id, followers, now), &mut look);
            }
        }
        self.found.retain(|entry| !look.forgotten.contains(&entry.found.name()));
        look.remarks.retain(|remark| self.is_new(remark));
        self.tried.retain(|_, tried| now - *tried < RETRY);
        look.wanted.retain(|wanted| {
            let is_due = !self.tried.contains_key(wanted) && self.tried.len() < TRIED_MAX;
            if is_due {
                self.tried.insert(wanted.clone(), now);
            }
            is_due
        });
        look
    }

    /// Whether a line was not logged yet.
    pub fn is_new(&mut self, remark: &str) -> bool {
        self.remarks.len() < REMARKS_MAX && self.remarks.insert(remark.to_owned())
    }

    fn look_at(
        &mut self,
        config: &Config,
        cluster: &Cluster,
        topology: &Topology,
        (id, followers, now): (ClusterId, &[Follower], Time),
        look: &mut Look,
    ) {
        let snapshot = topology.current();
        let Some(primary) = snapshot.primary(id) else { return };
        let backend_of = |follower: &Follower| {
            cluster.backends.iter().copied().find(|id| is_it(config, topology, *id, follower))
        };
        let mut listed = BTreeSet::new();
        for follower in followers {
            if let Some(backend) = backend_of(follower).and_then(|id| config.backend(id)) {
                listed.insert(backend.name.clone());
            } else if follower.host.is_empty() || follower.port == 0 {
                let id = follower.server_id.unwrap_or_default();
                look.remarks.push(format!(
                    "the replica with server_id {id} of cluster '{}' does not say where it is: set \
                     its report_host",
                    cluster.name
                ));
            } else {
                look.wanted.push(Wanted {
                    cluster: cluster.name.clone(),
                    like: self.like(&primary.name),
                    host: follower.host.to_string(),
                    port: follower.port,
                });
            }
        }
        for entry in self.found.iter_mut().filter(|it| it.found.cluster == cluster.name) {
            let name = entry.found.name();
            if listed.contains(&name) || *name == *primary.name {
                entry.missing = None;
                continue;
            }
            let since = *entry.missing.get_or_insert(now);
            let backend = topology.find(&name, &Address::Tcp(entry.found.address));
            let view = backend.and_then(|id| snapshot.backend(id));
            if view.is_none_or(|view| !view.reachable) && now - since >= cluster.discover_forget {
                look.forgotten.push(name);
            }
        }
    }

    /// The file's backend that a primary has its settings from.
    fn like(&self, primary: &str) -> String {
        let found = self.found.iter().find(|entry| entry.found.name() == primary);
        found.map_or_else(|| primary.to_owned(), |entry| entry.found.like.clone())
    }

    /// Takes in a server whose address is known now. False when there is no room for it, or it is
    /// a backend already. `file` is the configuration without any that was found.
    pub fn add(&mut self, file: &Config, wanted: Wanted, address: SocketAddr) -> bool {
        let Wanted { cluster, like, host, .. } = wanted;
        let mut all = self.found();
        let before = with_found(file, &all).backends.len();
        let found = Found { cluster, like, host, address };
        all.push(found.clone());
        let fits = with_found(file, &all).backends.len() > before;
        if fits {
            self.found.push(Entry { found, missing: None });
        }
        fits
    }

    /// Drops those that a new file has no place for, as with `discover` off or when it names them.
    pub fn settle(&mut self, file: &Config) {
        let config = with_found(file, &self.found());
        let is_there = |entry: &Entry| {
            let name = entry.found.name();
            let mut found = config.backends.iter().skip(file.backends.len());
            found.any(|backend| backend.name == name)
        };
        self.found.retain(is_there);
    }
}

/// Whether a backend is the server of a list: by its identity, or by where it is.
fn is_it(config: &Config, topology: &Topology, id: BackendId, follower: &Follower) -> bool {
    let facts = topology.facts(id);
    if let (Some(listed), Some(own)) = (&follower.uuid, facts.and_then(|it| it.uuid.as_ref())) {
        return listed.eq_ignore_ascii_case(own);
    }
    if let (Some(listed), Some(own)) = (follower.server_id, facts.and_then(|it| it.server_id)) {
        return listed == own;
    }
    let address = config.backend(id).and_then(|backend| backend.address.tcp());
    address.is_some_and(|address| {
        address.port() == follower.port
            && follower.host.parse().is_ok_and(|host: std::net::IpAddr| host == address.ip())
    })
}
