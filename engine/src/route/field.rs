//! The servers of one endpoint, as they are now.
//!
//! Purpose: who is fit for reads, and of the others why they are not.
//! Never: keep what only one worker knows; that is `balance`'s.

use std::fmt;
use std::time::Duration;

use crate::base::BackendId;
use crate::config::{Config, Endpoint, EndpointMode, PrimaryReads, Role};
use crate::topology::{BackendView, Snapshot};

/// Why a server gets no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The endpoint does not list it.
    NotListed,
    /// It is the primary, and the endpoint reads from replicas only.
    Primary,
    /// It is only for when no replica is fit.
    Fallback,
    /// It cannot be reached.
    Unreachable,
    /// It does not replicate, or its replication does not run.
    NotReplicating,
    /// It is being drained.
    Draining,
    /// How far it is behind is not known.
    LagUnknown,
    /// It is too far behind.
    Lags,
}

impl Unfit {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NotListed,
        Self::Primary,
        Self::Fallback,
        Self::Unreachable,
        Self::NotReplicating,
        Self::Draining,
        Self::LagUnknown,
        Self::Lags,
    ];

    /// For labels and people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotListed => "not-listed",
            Self::Primary => "primary",
            Self::Fallback => "fallback",
            Self::Unreachable => "unreachable",
            Self::NotReplicating => "not-replicating",
            Self::Draining => "draining",
            Self::LagUnknown => "lag-unknown",
            Self::Lags => "lags",
        }
    }
}

impl Unfit {
    /// The same in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotListed => "the endpoint's `backends` do not list it",
            Self::Primary => "it is the primary, and the endpoint reads from replicas only",
            Self::Fallback => "it is the primary, which takes reads when no replica is fit",
            Self::Unreachable => "it cannot be reached",
            Self::NotReplicating => "it does not replicate, or its replication does not run",
            Self::Draining => "it is being drained",
            Self::LagUnknown => "how far it is behind is not known",
            Self::Lags => "it is further behind than max_lag_ms",
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A server of the endpoint's cluster.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub backend: BackendId,
    /// Its name.
    pub name: Box<str>,
    /// Its share of reads.
    pub weight: u32,
    /// How far it is behind, in milliseconds, if that is known.
    pub lag_ms: Option<u32>,
    /// Whether it is the primary.
    pub is_primary: bool,
    /// Whether it takes no writes from anybody.
    pub is_fenced: bool,
    /// Why it gets no reads, if it gets none.
    pub unfit: Option<Unfit>,
}

/// The servers of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// All of its cluster.
    pub candidates: Vec<Candidate>,
    /// The primary takes reads when nobody else can.
    pub falls_back: bool,
}

impl Field {
    /// Those of an endpoint.
    #[must_use]
    pub fn of(endpoint: &Endpoint, config: &Config, snapshot: &Snapshot) -> Self {
        let own = snapshot.backends.iter().filter(|view| view.cluster == endpoint.cluster);
        let primary = snapshot.primary(endpoint.cluster);
        let is_led = primary.is_some_and(|view| view.reachable);
        let primary = primary.map(|view| view.id);
        let candidates = own.map(|view| {
            let backend = config.backend(view.id);
            let is_primary = primary == Some(view.id);
            let drains = backend.is_some_and(|backend| backend.drain);
            Candidate {
                backend: view.id,
                name: view.name.as_ref().into(),
                weight: backend.map_or(0, |backend| backend.weight),
                lag_ms: view.lag_ms,
                is_primary,
                is_fenced: view.is_fenced,
                unfit: unfit(endpoint, view, is_primary, drains, is_led),
            }
        });
        let reads_only = endpoint.mode == EndpointMode::ReadOnly;
        let falls_back = !reads_only && endpoint.routing.primary_reads != PrimaryReads::Never;
        Self { candidates: candidates.collect(), falls_back }
    }

    /// The primary, if there is one.
    #[must_use]
    pub fn primary(&self) -> Option<BackendId> {
        self.candidates.iter().find(|it| it.is_primary).map(|it| it.backend)
    }
}

fn unfit(
    endpoint: &Endpoint,
    view: &BackendView,
    is_primary: bool,
    drains: bool,
    is_led: bool,
) -> Option<Unfit> {
    let routing = &endpoint.routing;
    let is_listed =
        routing.backends.as_ref().is_none_or(|names| names.iter().any(|it| **it == *view.name));
    if !is_listed {
        return Some(Unfit::NotListed);
    }
    if is_primary || view.role == Role::Primary {
        return match (endpoint.mode, routing.primary_reads) {
            (EndpointMode::ReadOnly, _) | (_, PrimaryReads::Never) => Some(Unfit::Primary),
            (_, PrimaryReads::Fallback) => Some(Unfit::Fallback),
            (_, PrimaryReads::Always) if drains => Some(Unfit::Draining),
            (_, PrimaryReads::Always) => (!view.reachable).then_some(Unfit::Unreachable),
        };
    }
    if !view.reachable {
        return Some(Unfit::Unreachable);
    }
    if !view.serves_reads {
        return Some(Unfit::NotReplicating);
    }
    if drains {
        return Some(Unfit::Draining);
    }
    match (routing.max_lag, view.lag_ms) {
        (Duration::ZERO, _) => None,
        // Without a primary no replica knows how far it is behind, and nobody else can answer.
        (_, None) => is_led.then_some(Unfit::LagUnknown),
        (max, Some(lag)) => (Duration::from_millis(u64::from(lag)) > max).then_some(Unfit::Lags),
    }
}
