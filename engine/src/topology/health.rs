//! Whether a server is fit to be read from, and how far behind it is.
//!
//! Purpose: what routing asks, from what a probe found out.
//! Never: take a number for the truth that the server reports while its threads stand still.

use crate::config::Role;
use crate::topology::facts::{Channel, Facts, Thread};
use crate::topology::role::{Member, source};

/// What routing is told of a server, besides its role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) serves_reads: bool,
    pub(super) lag_ms: Option<u32>,
    pub(super) is_fenced: bool,
    /// Whether replication is set up, and runs.
    pub(super) replicates: Option<bool>,
}

/// How a server is. `is_reachable` covers one that logged a probe in and was not asked yet.
pub(super) fn health(
    members: &[Member<'_>],
    at: usize,
    role: Role,
    is_reachable: bool,
    has_heartbeat: bool,
) -> Health {
    let Some(member) = members.get(at) else { return Health::default() };
    let facts = member.facts;
    let channels: Vec<&Channel> = facts.map(|it| relevant(members, at, it)).unwrap_or_default();
    let replicates =
        (!channels.is_empty()).then(|| channels.iter().all(|channel| channel.is_running()));
    let lag_ms = match (role, facts) {
        (Role::Primary, _) => Some(0),
        (Role::Replica, Some(facts)) if member.answers => lag(facts, &channels, has_heartbeat),
        (Role::Replica, _) => None,
    };
    let serves_reads = match (role, facts) {
        (Role::Primary, _) => is_reachable,
        (Role::Replica, Some(facts)) => {
            let is_fit = match (&facts.group, facts.galera) {
                (Some(group), _) => group.is_online,
                (None, Some(node)) => node.is_current(),
                // Somebody says that it is one, and keeps it up to date in a way of his own.
                (None, None) => replicates.unwrap_or(member.fixed == Some(Role::Replica)),
            };
            member.answers && is_fit
        }
        (Role::Replica, None) => false,
    };
    let is_fenced = facts.is_some_and(Facts::is_fenced);
    Health { serves_reads, lag_ms, is_fenced, replicates }
}

/// The channels that come from this cluster; all of them if none is known to.
fn relevant<'t>(members: &[Member<'_>], at: usize, facts: &'t Facts) -> Vec<&'t Channel> {
    let all: Vec<_> = facts.channels.iter().flatten().collect();
    let ours: Vec<_> =
        all.iter().copied().filter(|channel| source(members, at, channel).is_some()).collect();
    if ours.is_empty() { all } else { ours }
}

fn lag(facts: &Facts, channels: &[&Channel], has_heartbeat: bool) -> Option<u32> {
    if let Some(group) = &facts.group {
        let lag = if has_heartbeat { facts.heartbeat_ms } else { group.lag_ms };
        return lag.filter(|_| group.is_online);
    }
    if let Some(node) = facts.galera {
        let lag = if has_heartbeat { facts.heartbeat_ms } else { Some(0) };
        return lag.filter(|_| node.is_current());
    }
    let stand_still = |it: &&&Channel| it.io != Thread::Running || it.sql != Thread::Running;
    if channels.is_empty() || channels.iter().any(|channel| stand_still(&channel)) {
        return None;
    }
    if has_heartbeat {
        return facts.heartbeat_ms;
    }
    let seconds = channels.iter().map(|channel| channel.behind_s).collect::<Option<Vec<_>>>()?;
    seconds.into_iter().max().map(|seconds| seconds.saturating_mul(1000))
}

/// Whether routing has to hear of another lag: of its loss and its return, of having caught up, and
/// of a change by 100 ms that is a tenth of it too.
pub(super) fn is_news(told: Option<u32>, now: Option<u32>) -> bool {
    match (told, now) {
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
        (Some(told), Some(now)) => {
            let change = told.abs_diff(now);
            now == 0 && told > 0 || change >= LAG_STEP_MS.max(told / 10)
        }
    }
}

const LAG_STEP_MS: u32 = 100;
