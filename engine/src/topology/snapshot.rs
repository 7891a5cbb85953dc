//! The picture of all backends that workers route by.
//!
//! Purpose: one immutable value, replaced as a whole.
//! Never: change after it was published.

use std::sync::Arc;

use crate::base::{Address, BackendId, ClusterId};
use crate::config::Role;
use crate::wire::Greeting;

/// All backends of all clusters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows by one with every published change.
    pub generation: u64,
    /// In the configuration's order, so a [`BackendId`] is an index.
    pub backends: Vec<BackendView>,
}

impl Snapshot {
    /// The cluster's primary.
    #[must_use]
    pub fn primary(&self, cluster: ClusterId) -> Option<&BackendView> {
        self.backends.iter().find(|view| view.cluster == cluster && view.role == Role::Primary)
    }

    /// The backend with that id.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&BackendView> {
        self.backends.get(id.index())
    }
}

/// One backend in a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct BackendView {
    /// Its id.
    pub id: BackendId,
    /// Its name.
    pub name: Arc<str>,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Where it listens.
    pub address: Address,
    /// What it is in its cluster, as observed or as the configuration says.
    pub role: Role,
    /// Whether the last probe reached it.
    pub reachable: bool,
    /// Whether reads may go there: it is reachable and, unless it is the primary, up to date by way
    /// of replication that runs, Group Replication or Galera.
    pub serves_reads: bool,
    /// How far it is behind the primary; `None` if nobody knows. It is told again when it changes by
    /// 100 ms and a tenth.
    pub lag_ms: Option<u32>,
    /// Whether nobody's writes are taken: `super_read_only` or `innodb_read_only`, MariaDB's
    /// `read_only`, as last observed.
    pub is_fenced: bool,
    /// What it said of itself when it was last reached: version, capabilities, default plugin.
    pub greeting: Option<Arc<Greeting>>,
}
