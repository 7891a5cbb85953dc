//! What a session's feeding came to, for the worker's accounts.
//!
//! Purpose: each answered command with its own time, each error with its number.
//! Never: read a clock; the worker says what time it is, once per turn.

use crate::base::Time;

/// Lent to a session while it is fed. Cleared by the worker, so it holds no more than one input
/// can bring about.
#[derive(Debug, Default)]
pub struct Ledger {
    now: Time,
    entries: Vec<Entry>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A command was answered, this many nanoseconds after its first byte. (A `Duration` would be
    /// divided into seconds, for each command.)
    Answered(u64),
    /// The client was sent an ERR of the backend.
    BackendError(u16),
    /// The client was sent an ERR of Weir's own.
    OwnError(u16),
}

impl Ledger {
    /// A new turn begins.
    pub const fn set_now(&mut self, now: Time) {
        self.now = now;
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

    /// What was entered since it was cleared, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
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
        self.entries.push(entry);
    }
}
