//! What stands behind the proxies.
//!
//! Purpose: where the load ends, and what it may find there.
//! Never: start or end a server.

use std::net::SocketAddr;

use crate::database::Database;

/// The servers behind the proxies.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// The processes of all of them.
    pub(crate) pids: Vec<u32>,
    /// Where the only one, or the primary, listens.
    pub(crate) address: SocketAddr,
    /// Where its replicas do.
    pub(crate) replicas: Vec<SocketAddr>,
}

impl Backend {
    /// Only one.
    pub(crate) fn one(pid: u32, address: SocketAddr) -> Self {
        Self { pids: vec![pid], address, replicas: Vec::new() }
    }

    /// A primary and what follows it.
    pub(crate) fn replicated(primary: &Database, replicas: &[Database]) -> Self {
        Self {
            pids: std::iter::once(primary).chain(replicas).map(Database::pid).collect(),
            address: primary.address,
            replicas: replicas.iter().map(|replica| replica.address).collect(),
        }
    }
}
