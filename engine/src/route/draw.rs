//! Who of an endpoint's servers an aim leaves.
//!
//! Purpose: the part of a choice that is not a policy's: the same for routing, which takes one, and
//! for people, who are told of all.
//! Never: allocate, or know how busy a server is.

use std::fmt;

use crate::base::BackendId;
use crate::route::aim::{Aim, Wish};
use crate::route::balance::NoServer;
use crate::route::field::{Candidate, Field, Unfit};

/// Why a server does not answer a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It gets no reads of this endpoint at all.
    Unfit(Unfit),
    /// It is further behind than a hint allows, or nobody knows how far.
    HintedLag,
    /// A replica is asked for, and it is the primary.
    NoReplica,
    /// It might take what writes, and the statement might write.
    NotFenced,
}

impl Miss {
    /// For people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unfit(unfit) => unfit.name(),
            Self::HintedLag => "hinted-lag",
            Self::NoReplica => "no-replica",
            Self::NotFenced => "not-fenced",
        }
    }

    /// The same in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unfit(unfit) => unfit.text(),
            Self::HintedLag => "it is further behind than the hint allows, or nobody knows how far",
            Self::NoReplica => "a replica is asked for",
            Self::NotFenced => "it is not read-only for everybody, and the statement may write",
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What else a server has to be, besides fit and wished for.
#[derive(Clone, Copy)]
pub struct Able<'f>(pub &'f dyn Fn(&Candidate) -> bool);

impl Able<'_> {
    /// Nothing.
    pub const ANY: Able<'static> = Able(&|_| true);
}

impl fmt::Debug for Able<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Able")
    }
}

/// Who is left.
#[derive(Clone, Copy, Debug)]
pub enum Draw<'f> {
    /// The primary.
    Primary(&'f Candidate),
    /// The one that a hint names.
    Named(&'f Candidate),
    /// One of several, as the policy has it.
    Among(Among<'f>),
    /// The primary, as nobody else is fit.
    Fallback(&'f Candidate),
    /// Nobody.
    Nobody(NoServer),
}

/// Several servers that would do, one at least.
#[derive(Clone, Copy, Debug)]
pub struct Among<'f> {
    wish: Option<&'f Wish>,
    avoids: Option<BackendId>,
    able: Able<'f>,
    /// Without any weight all are alike.
    has_weight: bool,
}

impl Among<'_> {
    /// Whether a server is one of them.
    #[must_use]
    pub fn takes(&self, candidate: &Candidate) -> bool {
        is_left(candidate, self.wish, self.avoids, self.able) && self.weight_of(candidate) > 0
    }

    /// Its share.
    #[must_use]
    pub const fn weight_of(&self, candidate: &Candidate) -> u32 {
        if self.has_weight { candidate.weight } else { 1 }
    }
}

impl Field {
    /// Who is left for `aim`. `avoids`: one that has just failed.
    #[must_use]
    pub fn draw<'f>(&'f self, aim: &'f Aim, avoids: Option<BackendId>, able: Able<'f>) -> Draw<'f> {
        let primary = || self.candidates.iter().find(|it| it.is_primary);
        if aim.is_primary() {
            return primary().map_or(Draw::Nobody(NoServer::Primary), Draw::Primary);
        }
        let wish = aim.wish();
        let mut left = self.candidates.iter().filter(|it| is_left(it, wish, avoids, able));
        if let Some(name) = wish.and_then(|wish| wish.backend.as_deref())
            && let Some(named) = left.clone().find(|it| it.name.as_bytes() == name)
        {
            return Draw::Named(named);
        }
        if left.clone().next().is_none() {
            let fallback = primary().filter(|_| self.falls_back);
            return fallback.map_or(Draw::Nobody(NoServer::Replica), Draw::Fallback);
        }
        Draw::Among(Among { wish, avoids, able, has_weight: left.any(|it| it.weight > 0) })
    }
}

fn is_left(
    candidate: &Candidate,
    wish: Option<&Wish>,
    avoids: Option<BackendId>,
    Able(able): Able<'_>,
) -> bool {
    avoids != Some(candidate.backend) && candidate.misses(wish).is_none() && able(candidate)
}

impl Candidate {
    /// Why it does not do for a statement that may go to a replica, if it does not.
    #[must_use]
    pub fn misses(&self, wish: Option<&Wish>) -> Option<Miss> {
        if let Some(unfit) = self.unfit {
            return Some(Miss::Unfit(unfit));
        }
        let wish = wish?;
        let is_fresh = match (wish.max_lag_ms, self.lag_ms) {
            (None, _) => true,
            (Some(max), Some(lag)) => u64::from(lag) <= max,
            (Some(_), None) => false,
        };
        if !is_fresh {
            return Some(Miss::HintedLag);
        }
        if wish.replica && self.is_primary {
            return Some(Miss::NoReplica);
        }
        (wish.fenced && !self.is_fenced).then_some(Miss::NotFenced)
    }
}
