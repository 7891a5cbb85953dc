//! Who is the primary.
//!
//! Purpose: from what every server of a cluster says, the one that takes writes, or none.
//! Never: decide from silence: a primary that does not answer stays the primary until another
//! server shows that it was made one.

use crate::base::Address;
use crate::config::Role;
use crate::topology::facts::{Channel, Facts, Thread};

/// A server as the decision sees it. The cluster's are in the configuration's order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'t> {
    /// What the configuration says it is, whatever it says itself.
    pub(super) fixed: Option<Role>,
    pub(super) address: &'t Address,
    /// It was probed, with whatever result.
    pub(super) is_seen: bool,
    /// It answered the last probe.
    pub(super) answers: bool,
    /// What it said last.
    pub(super) facts: Option<&'t Facts>,
    /// It took writes while the primary was there too, so that this is no sign of a promotion.
    pub(super) was_beside: bool,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The primary's place.
    pub(super) primary: Option<usize>,
    /// Places of others that take writes and replicate from nobody here.
    pub(super) rivals: Vec<usize>,
    /// Not all have been probed once; there is no primary yet, and that is no alarm.
    pub(super) is_early: bool,
}

/// What speaks for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A primary by its group's word.
    Group,
    /// A synced node.
    Galera,
    /// It takes writes and replicates from nobody here.
    Plain,
    /// It takes writes, and replicates from one here that replicates from it.
    Ring,
    /// It takes writes, and is set up to replicate from one here but does not, or does not say.
    Doubtful,
}

impl Standing {
    fn at_most_a_ring(self) -> Self {
        if self == Self::Plain { Self::Ring } else { self }
    }
}

/// Decides. `known` is the primary so far.
pub(super) fn elect(members: &[Member<'_>], known: Option<usize>) -> Verdict {
    let one = |primary| Verdict { primary, ..Verdict::default() };
    if let Some(fixed) = members.iter().position(|it| it.fixed == Some(Role::Primary)) {
        return one(Some(fixed));
    }
    let awaited = members.iter().any(|it| it.fixed.is_none() && !it.is_seen);
    if known.is_none() && awaited {
        return Verdict { is_early: true, ..Verdict::default() };
    }
    let standings: Vec<_> = (0..members.len()).map(|at| standing(members, at)).collect();
    let all = |wanted: Standing| {
        let places = standings.iter().enumerate();
        places.filter(move |(_, it)| **it == Some(wanted)).map(|(place, _)| place)
    };
    for word in [Standing::Group, Standing::Galera] {
        // Any of several does; moving writes between them for nothing makes conflicts.
        let kept = known.filter(|known| all(word).any(|it| it == *known));
        if let Some(primary) = kept.or_else(|| all(word).next()) {
            return one(Some(primary));
        }
    }
    let but = |primary: usize| all(Standing::Plain).filter(|it| *it != primary).collect();
    if let Some(known) = known
        && let Some(member) = members.get(known)
    {
        let stands = standings.get(known).copied().flatten().is_some();
        let is_unsure = member.facts.is_none_or(|facts| facts.is_writable().is_none());
        if stands || member.answers && is_unsure {
            return Verdict { primary: Some(known), rivals: but(known), is_early: false };
        }
        if !member.answers {
            let promoted = all(Standing::Plain).find(|it| {
                members.get(*it).is_some_and(|it| !it.was_beside || is_ahead(it, member))
            });
            return one(Some(promoted.unwrap_or(known)));
        }
    }
    if let Some(primary) = all(Standing::Plain).next().or_else(|| all(Standing::Ring).next()) {
        return Verdict { primary: Some(primary), rivals: but(primary), is_early: false };
    }
    let mut doubtful = all(Standing::Doubtful);
    let all_answer = members.iter().all(|it| it.answers);
    match (doubtful.next(), doubtful.next()) {
        // Nobody else can be meant.
        (Some(only), None) if all_answer => one(Some(only)),
        _ => one(None),
    }
}

/// Whether a server has everything that the other was last seen with.
fn is_ahead(member: &Member<'_>, other: &Member<'_>) -> bool {
    let gtids = |it: &Member<'_>| it.facts.and_then(|facts| facts.gtids.clone());
    match (gtids(member), gtids(other)) {
        (Some(has), Some(had)) => has.contains(&had),
        (None, _) | (_, None) => false,
    }
}

fn standing(members: &[Member<'_>], at: usize) -> Option<Standing> {
    let member = members.get(at).filter(|it| it.answers && it.fixed.is_none())?;
    let facts = member.facts?;
    let is_alone = members.len() == 1;
    if !facts.is_writable().unwrap_or(is_alone) {
        return None;
    }
    if let Some(group) = &facts.group {
        let leads = group.is_online && group.is_primary && group.has_quorum;
        return leads.then_some(Standing::Group);
    }
    if let Some(node) = facts.galera {
        return node.is_current().then_some(Standing::Galera);
    }
    let Some(channels) = &facts.channels else {
        return Some(if is_alone { Standing::Plain } else { Standing::Doubtful });
    };
    let mut standing = Standing::Plain;
    for channel in channels {
        let is_idle = channel.io == Thread::Stopped && channel.sql == Thread::Stopped;
        match source(members, at, channel) {
            Some(_) if is_idle => standing = Standing::Doubtful,
            Some(source) if follows(members, source, at) => standing = standing.at_most_a_ring(),
            Some(_) => return None,
            // It may be the one that has never answered.
            None if !is_idle && members.iter().any(|it| it.facts.is_none()) => return None,
            None => {}
        }
    }
    Some(standing)
}

/// The place of the server a channel comes from, if it is another one of these.
pub(super) fn source(members: &[Member<'_>], at: usize, channel: &Channel) -> Option<usize> {
    let mut others = members.iter().enumerate().filter(|(place, _)| *place != at);
    others.find(|(_, other)| is_source(other, channel)).map(|(place, _)| place)
}

fn is_source(member: &Member<'_>, channel: &Channel) -> bool {
    let facts = member.facts;
    // Names of hosts are not resolved here; a source that was reached once is known by its id.
    if let (Some(uuid), Some(known)) = (&channel.uuid, facts.and_then(|it| it.uuid.as_ref())) {
        return uuid.eq_ignore_ascii_case(known);
    }
    if let (Some(id), Some(known)) = (channel.server_id, facts.and_then(|it| it.server_id)) {
        return id == known;
    }
    let Some(address) = member.address.tcp() else { return false };
    Some(address.port()) == channel.port
        && channel.host.parse().is_ok_and(|host: std::net::IpAddr| host == address.ip())
}

/// Whether one is set up to replicate from the other.
fn follows(members: &[Member<'_>], follower: usize, of: usize) -> bool {
    let facts = members.get(follower).and_then(|it| it.facts);
    let channels = facts.and_then(|facts| facts.channels.as_ref());
    channels.into_iter().flatten().any(|it| source(members, follower, it) == Some(of))
}
