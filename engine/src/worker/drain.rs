//! Stopping without losing work.
//!
//! Purpose: end each session at the first moment nothing is lost by it, and all at a deadline.
//! Never: cut a statement or a transaction before the deadline.

use std::time::Duration;

use crate::base::{Blame, Key, Time};
use crate::io::Driver;
use crate::observe::Counter;
use crate::wire::{self, code};
use crate::worker::Worker;
use crate::worker::entry::Entry;
use crate::worker::traffic::Ending;

impl<D: Driver> Worker<D> {
    pub(super) fn begin_drain(&mut self, within: Duration) {
        self.driver.stop_listening();
        let deadline = self.driver.now() + within;
        self.drain_deadline = self.drain_deadline.min(deadline);
        self.draining = true;
        self.end_all_idle();
        for key in self.session_keys() {
            self.end_if_at_rest(key);
        }
    }

    /// No session is left, and what was queued for clients has left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.sessions.is_empty() && self.driver.is_flushed()
    }

    pub(super) fn end_if_at_rest(&mut self, key: Key) {
        let at_rest =
            |entry: &Entry| entry.session.is_at_rest() && !entry.client.held_by.is_by_input();
        if self.sessions.get(key).is_some_and(at_rest) {
            self.counters.increment(Counter::DrainClosed);
            self.close_session(key, Ending::InOrder);
        }
    }

    /// The drain's deadline has come: what still runs is cut, with the server's own error.
    pub(super) fn end_all_sessions(&mut self) {
        self.drain_deadline = Time::NEVER;
        let fault = wire::fault(Blame::Limit, code::SERVER_SHUTDOWN, "Server shutdown in progress");
        for key in self.session_keys() {
            self.fail(key, &fault);
        }
    }

    fn session_keys(&self) -> Vec<Key> {
        self.sessions.iter().map(|(key, _)| key).collect()
    }
}
