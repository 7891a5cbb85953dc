//! Which servers an endpoint's statements may go to, and how one of them is chosen.
//!
//! Purpose: the values of an endpoint's routing keys, and what has to hold between them.
//! Never: choose.

use std::time::Duration;

use super::check::milliseconds;
use super::problem::Place;
use super::raw::{At, Document, Table};
use super::types::{EndpointMode, Pooling};
use crate::base::Consistency;

/// How an endpoint's statements find their servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// How fresh reads are, where they may go to replicas; with `mode = "read-only"` always
    /// `Eventual`.
    pub consistency: Consistency,
    /// How long a read waits for a replica to have what it has to see.
    pub causal_wait: Duration,
    /// Names of the servers that reads may go to; `None` is all of the cluster.
    pub backends: Option<Vec<String>>,
    /// Which of those that are fit.
    pub policy: Policy,
    /// Whether the primary takes reads.
    pub primary_reads: PrimaryReads,
    /// How far behind a replica may be; zero is no bound.
    pub max_lag: Duration,
    /// Reads of a transaction that has written nothing go to replicas.
    pub transaction_split: bool,
    /// Reads that call functions of which nothing is known go to replicas that are fenced.
    pub functions_on_replicas: bool,
}

/// How one of several servers is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Fewest statements sent and not answered.
    LeastOutstanding,
    /// Fewest connections.
    LeastConnections,
    /// Shortest time of an answer, at its peaks.
    Fastest,
    /// Least behind the primary.
    LeastLag,
    /// By chance.
    WeightedRandom,
    /// One after the other.
    RoundRobin,
}

/// Whether the primary takes reads that could go to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryReads {
    /// No.
    Never,
    /// When no replica is fit.
    Fallback,
    /// As one among them.
    Always,
}

/// The routing keys of an endpoint that reads from these backends.
pub(super) fn of_endpoint(
    document: &Document<'_>,
    table: &Table<'_>,
    mode: EndpointMode,
    pooling: Pooling,
    backends: Option<Vec<String>>,
) -> Routing {
    if mode == EndpointMode::ReadWrite && pooling != Pooling::Transaction {
        let message = "must be \"transaction\" with mode = \"read-write\"";
        let place = table.mixed("pooling").map(|it| it.place);
        document.reject(&place.unwrap_or_else(|| table.place_of("pooling")), message);
    }
    Routing {
        consistency: consistency(document, table, mode),
        causal_wait: milliseconds(table, "causal_wait_ms"),
        backends,
        policy: table.word("policy").unwrap_or(Policy::LeastOutstanding),
        primary_reads: table.word("primary_reads").unwrap_or(PrimaryReads::Fallback),
        max_lag: milliseconds(table, "max_lag_ms"),
        transaction_split: table.flag("transaction_split"),
        functions_on_replicas: table.flag("functions_on_replicas"),
    }
}

/// The level that reads are held to.
fn consistency(document: &Document<'_>, table: &Table<'_>, mode: EndpointMode) -> Consistency {
    // Where nothing is said, the mode decides.
    let said: Option<Consistency> = table.word("consistency").flatten();
    match (mode, said) {
        (EndpointMode::ReadOnly, None | Some(Consistency::Eventual)) => Consistency::Eventual,
        (EndpointMode::ReadOnly, Some(_)) => {
            let message = "must be \"eventual\" with mode = \"read-only\", which has no primary \
                           to fall back on";
            let place = table.mixed("consistency").map(|it| it.place);
            document.reject(&place.unwrap_or_else(|| table.place_of("consistency")), message);
            Consistency::Eventual
        }
        (EndpointMode::Primary | EndpointMode::ReadWrite, said) => {
            said.unwrap_or(Consistency::Session)
        }
    }
}

/// The names that an endpoint lists, with their place.
pub(super) fn names(table: &Table<'_>) -> Option<Vec<At<String>>> {
    let At { value, place } = table.texts("backends", |texts| !texts.is_empty())?;
    let named = value.into_iter().filter_map(|text| {
        table.expanded(text, Place { found: format!("\"{text}\""), ..place.clone() })
    });
    Some(named.collect())
}
