//! The answers a client waits for.
//!
//! Purpose: their order, and since when each is waited for.
//! Never: know what an answer looks like.

use crate::base::{BoundedQueue, Full, Time};
use crate::session::ledger::Ledger;
use crate::session::text::Refusal;
use crate::wire::reply::Expect;

/// An answer the client is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// By the backend; its first packet has this sequence id.
    Reply { expect: Expect, seq: u8 },
    /// By Weir.
    Refusal { seq: u8, why: Refusal },
    /// By Weir, which has done it.
    Done { seq: u8 },
}

/// Answers owed, oldest first, each with the time its command's first byte came.
#[derive(Debug)]
pub(super) struct OwedQueue(BoundedQueue<(Owed, Time)>);

impl OwedQueue {
    pub(super) const fn new(len_max: usize) -> Self {
        Self(BoundedQueue::new(len_max))
    }

    pub(super) fn push(&mut self, owed: Owed, since: Time) -> Result<(), Full<(Owed, Time)>> {
        self.0.push((owed, since))
    }

    /// The oldest answer is complete.
    pub(super) fn pop(&mut self, ledger: &mut Ledger) {
        if let Some((_, since)) = self.0.pop() {
            ledger.answered(since);
        }
    }

    /// The newest answer is not owed after all: its command comes again.
    pub(super) fn take_back(&mut self) {
        self.0.pop();
    }

    pub(super) fn front(&self) -> Option<&Owed> {
        self.0.front().map(|(owed, _)| owed)
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Owed> {
        self.0.back_mut().map(|(owed, _)| owed)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
