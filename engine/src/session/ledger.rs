//! What a session's feeding came to, for the worker's accounts.
//!
//! Purpose: each answered command with its own time, each error with its number.
//! Never: read a clock; the worker says what time it is, once per turn.

use std::sync::Arc;

use crate::base::Time;
use crate::route::{Decision, Rules, Statement, Why};

/// Lent to a session while it is fed. Cleared by the worker, so it holds no more than one input
/// can bring about; and as what happens again and again is kept once, that is little, even of a
/// client that sends half a megabyte of commands that are refused.
#[derive(Debug, Default)]
pub struct Ledger {
    now: Time,
    /// Each with how often it happened.
    entries: Vec<(Entry, u32)>,
    /// What rules there are.
    rules: Option<Arc<Rules>>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A command was answered, this many nanoseconds after its first byte. (A `Duration` would be
    /// divided into seconds, for each command.)
    Answered(u64),
    /// The client was sent an ERR of the backend.
    BackendError(u16),
    /// The client was sent an ERR of Weir's own.
    OwnError(u16),
    /// A command was answered without the backend.
    Local,
    /// Reasons to keep the backend connection have begun, by [`crate::share::Pin::bit`].
    Pinned(u32),
    /// Such reasons have ended.
    Unpinned(u32),
    /// A prepared statement was prepared again, on another connection.
    Prepared,
    /// A command of an endpoint that splits went to a replica, or to the primary.
    Routed {
        /// To a replica.
        replica: bool,
        /// For that reason.
        why: Why,
    },
    /// A replica refused a read, which goes to the primary.
    Repeated,
    /// A replica was waited for, so many nanoseconds.
    Waited {
        /// It has what the read has to see.
        in_time: bool,
        /// How long.
        nanos: u64,
    },
    /// The primary lacks what was acknowledged to the session.
    PositionLost,
}

impl Ledger {
    /// A new turn begins.
    pub const fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// These rules are in force from now on.
    pub fn set_rules(&mut self, rules: Option<Arc<Rules>>) {
        self.rules = rules;
    }

    /// Whether there are any.
    #[inline]
    pub(super) const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// What they say of a statement.
    pub(super) fn decide(&self, statement: &Statement<'_>) -> Decision {
        self.rules.as_deref().map(|rules| rules.decide(statement)).unwrap_or_default()
    }

    /// The time of this turn.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// From then until this turn, in nanoseconds.
    #[must_use]
    pub const fn nanos_since(&self, then: Time) -> u64 {
        self.now.as_nanos().saturating_sub(then.as_nanos())
    }

    /// What was entered since it was cleared, and how often.
    #[must_use]
    pub fn entries(&self) -> &[(Entry, u32)] {
        &self.entries
    }

    /// Everything entered was booked.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// A command that arrived at `since` is answered.
    pub(super) fn answered(&mut self, since: Time) {
        self.enter(Entry::Answered(self.nanos_since(since)));
    }

    pub(super) fn enter(&mut self, entry: Entry) {
        if self.entries.is_empty() || !self.again(entry) {
            self.entries.push((entry, 1));
        }
    }

    /// Counts an entry that was made just before. A refusal makes two: an answer and an error.
    #[cold]
    fn again(&mut self, entry: Entry) -> bool {
        let last = self.entries.iter_mut().rev().take(2);
        match last.into_iter().find(|(known, _)| *known == entry) {
            Some((_, times)) => {
                *times += 1;
                true
            }
            None => false,
        }
    }
}
