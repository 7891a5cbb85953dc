//! From single observations to the picture.
//!
//! Purpose: keep the latest knowledge of every backend and say when the picture changed.
//! Never: decide from silence; a missing observation changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Address, BackendId};
use crate::config::Config;
use crate::topology::{BackendView, Snapshot};
use crate::wire::Greeting;

/// What a probe found out.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A new connection was logged in: the server's greeting.
    LoggedIn(Arc<Greeting>),
    /// The server answered on a known connection.
    Answered,
    /// The server could not be reached, or did not answer in time.
    Unreachable,
}

/// The current knowledge.
#[derive(Debug)]
pub struct Topology {
    snapshot: Snapshot,
    ids: BTreeMap<Arc<str>, BackendId>,
}

impl Topology {
    /// Knows what the configuration says, and nothing of reachability.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let snapshot = Snapshot { generation: 0, backends: views(config) };
        let ids = ids(&snapshot);
        Self { snapshot, ids }
    }

    /// Takes a new configuration: what is known of a backend stays as long as name and address do.
    pub fn reload(&mut self, config: &Config) {
        let mut backends = views(config);
        for view in &mut backends {
            if let Some(known) = self.find(&view.name, &view.address)
                && let Some(known) = self.snapshot.backend(known)
            {
                view.reachable = known.reachable;
                view.greeting.clone_from(&known.greeting);
            }
        }
        self.snapshot = Snapshot { generation: self.snapshot.generation + 1, backends };
        self.ids = ids(&self.snapshot);
    }

    /// The backend of that name, if that is where it is.
    #[must_use]
    pub fn find(&self, name: &str, address: &Address) -> Option<BackendId> {
        let id = *self.ids.get(name)?;
        self.snapshot.backend(id).filter(|view| view.address == *address).map(|_| id)
    }

    /// Takes in an observation. Returns the new picture when it differs from the last.
    pub fn observe(&mut self, id: BackendId, observation: Observation) -> Option<Arc<Snapshot>> {
        let view = self.snapshot.backends.get_mut(id.index())?;
        let changed = match observation {
            Observation::Answered => !std::mem::replace(&mut view.reachable, true),
            Observation::Unreachable => std::mem::replace(&mut view.reachable, false),
            Observation::LoggedIn(greeting) => {
                let news = !view.reachable
                    || !view.greeting.as_ref().is_some_and(|old| same_server(old, &greeting));
                view.reachable = true;
                view.greeting = Some(greeting);
                news
            }
        };
        changed.then(|| {
            self.snapshot.generation += 1;
            self.current()
        })
    }

    /// The picture as it is.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::new(self.snapshot.clone())
    }
}

/// What the configuration says, and nothing of reachability.
fn views(config: &Config) -> Vec<BackendView> {
    let views = config.backends.iter().zip(0..).map(|(backend, index)| BackendView {
        id: BackendId(index),
        name: Arc::from(backend.name.as_str()),
        cluster: backend.cluster,
        address: backend.address.clone(),
        role: backend.role,
        reachable: false,
        serves_reads: true,
        lag_ms: None,
        is_fenced: false,
        greeting: None,
    });
    views.collect()
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
