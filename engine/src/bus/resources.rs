//! What all workers share besides the configuration.
//!
//! Purpose: one value that control makes, at the start and at every reload, and hands to workers.
//! Never: hold what a worker could have for itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::auth::{Remembered, RsaKey};
use crate::base::ClusterId;
use crate::bus::{Census, Directory, Hosts, Opener, Permits};
use crate::config::{Config, Limits};
use crate::route::{Positions, Rules};
use crate::tls::Contexts;

/// Things that cannot be in a configuration: made from it, or kept across reloads.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Counts over all workers; the same across reloads.
    pub shared: Arc<Shared>,
    /// Which server's thread serves which client; the same across reloads.
    pub directory: Arc<Directory>,
    /// Certificates and keys, per endpoint and backend.
    pub tls: Arc<Contexts>,
    /// Passwords that clients have told; the same across reloads.
    pub remembered: Arc<Remembered>,
    /// Opens passwords that clients have sealed; the same across reloads.
    pub opener: Arc<Opener>,
    /// What clients seal them for, if any may have to.
    pub rsa_key: Option<Arc<RsaKey>>,
    /// What becomes of certain statements; counts and those who wait are the same across reloads.
    pub rules: Option<Arc<Rules>>,
    /// What the servers of each cluster have, by its name, in the configuration's order; the same
    /// across reloads.
    positions: Vec<(String, Arc<Positions>)>,
}

/// Counts over all workers. Touched when a client comes, logs in or goes.
#[derive(Debug, Default)]
pub struct Shared {
    clients: AtomicUsize,
    addresses: Census<IpAddr>,
    /// Sessions by user name.
    pub users: Census<Vec<u8>>,
    /// Addresses that break handshakes.
    pub hosts: Hosts,
    /// Connections to backends.
    pub permits: Permits,
    /// Prepared statements that shared connections keep.
    pub statements: Arc<AtomicUsize>,
}

/// Which bound a new client would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `limits.clients_total_max`.
    Process,
    /// `limits.clients_per_address_max`.
    Address,
}

impl Resources {
    /// What a configuration starts with.
    #[must_use]
    pub fn new(config: &Config, tls: Contexts, rsa_key: Option<Arc<RsaKey>>) -> Self {
        Self::default().renewed(config, tls, rsa_key)
    }

    /// What a new configuration needs; the counts go on.
    #[must_use]
    pub fn renewed(&self, config: &Config, tls: Contexts, rsa_key: Option<Arc<RsaKey>>) -> Self {
        self.shared.permits.adopt(config);
        let rules = Rules::renewed(self.rules.as_deref(), config);
        let positions = config.clusters.iter().zip((0..).map(ClusterId)).map(|(cluster, id)| {
            let known = self.positions.iter().find(|(name, _)| *name == cluster.name);
            let positions = known.map(|(_, known)| Arc::clone(known)).unwrap_or_default();
            let own = config.backends.iter().filter(move |backend| backend.cluster == id);
            positions.adopt(own.map(|backend| backend.name.as_str()));
            (cluster.name.clone(), positions)
        });
        let positions = positions.collect();
        Self { tls: tls.into(), rsa_key, rules, positions, ..self.clone() }
    }

    /// What the servers of a cluster have.
    #[must_use]
    pub fn positions(&self, cluster: ClusterId) -> Option<&Arc<Positions>> {
        self.positions.get(cluster.index()).map(|(_, positions)| positions)
    }
}

impl Shared {
    /// Counts a client in. It has to be [dismissed](Self::dismiss) when it goes, with the same
    /// address; a client without one (its peer is gone already, or is local) counts in the whole
    /// only.
    ///
    /// # Errors
    /// The bound that is reached; nothing is counted then.
    pub fn admit(&self, address: Option<IpAddr>, limits: &Limits) -> Result<(), Bound> {
        let max = if limits.clients_total_max == 0 { usize::MAX } else { limits.clients_total_max };
        let one_more = |count: usize| (count < max).then(|| count + 1);
        self.clients
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Bound::Process)?;
        self.name(address, limits).inspect_err(|_| {
            self.clients.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Counts a client that was admitted without an address with those of the one that is known now,
    /// with which it has to be dismissed.
    ///
    /// # Errors
    /// The address has as many as it may.
    pub fn name(&self, address: Option<IpAddr>, limits: &Limits) -> Result<(), Bound> {
        let max = limits.clients_per_address_max;
        let is_in = address.is_none_or(|address| self.addresses.try_enter(&address, max));
        if is_in { Ok(()) } else { Err(Bound::Address) }
    }

    /// Counts a client out.
    pub fn dismiss(&self, address: Option<IpAddr>) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = address {
            self.addresses.leave(&address);
        }
    }

    /// Clients of all workers.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Offline};

    fn limits(total: usize, per_address: usize) -> Limits {
        let mut limits = config::parse(&config::sample(), &Offline).unwrap().limits;
        limits.clients_total_max = total;
        limits.clients_per_address_max = per_address;
        limits
    }

    #[test]
    fn a_refused_client_is_not_counted() {
        let (one, two) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let shared = Shared::default();
        let limits = limits(3, 2);
        assert_eq!(shared.admit(one, &limits), Ok(()));
        assert_eq!(shared.admit(one, &limits), Ok(()));
        assert_eq!(shared.admit(one, &limits), Err(Bound::Address));
        assert_eq!(shared.admit(two, &limits), Ok(()));
        assert_eq!(shared.admit(None, &limits), Err(Bound::Process));
        shared.dismiss(one);
        assert_eq!(shared.admit(None, &limits), Ok(()), "room that became free");
        assert_eq!(shared.clients(), 3);
        for address in [one, two, None] {
            shared.dismiss(address);
        }
        assert_eq!(
            (shared.clients(), shared.addresses.count(&IpAddr::from([10, 0, 0, 1]))),
            (0, 0)
        );
    }

    #[test]
    fn zero_is_no_bound() {
        let shared = Shared::default();
        let limits = limits(0, 0);
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        assert!((0..1000).all(|_| shared.admit(here, &limits) == Ok(())));
        assert_eq!(shared.clients(), 1000);
    }
}
