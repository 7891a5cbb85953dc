//! Clients of shared connections that have been silent for too long.
//!
//! Purpose: keep `wait_timeout` where no server does: between two connections.
//! Never: look at all sessions more often than once in [`SPACING`].

use std::time::Duration;

use crate::base::{Key, Time};
use crate::io::Driver;
use crate::observe::Counter;
use crate::worker::Worker;
use crate::worker::traffic::Ending;

/// `wait_timeout` counts in seconds.
const SPACING: Duration = Duration::from_millis(500);

impl<D: Driver> Worker<D> {
    /// A session has no backend connection from now on.
    pub(super) fn falls_silent(&mut self, key: Key) {
        let now = self.ledger.now();
        if let Some(entry) = self.sessions.get_mut(key) {
            let until = entry.session.set_silent_since(now);
            self.next_silence_check = self.next_silence_check.min(until);
        }
    }

    /// Ends sessions whose clients have been silent for too long.
    pub(super) fn check_silence(&mut self, now: Time) {
        let mut next = Time::NEVER;
        let mut over = Vec::new();
        for (key, entry) in self.sessions.iter() {
            let until = entry.session.silent_until(now);
            let client = &entry.client;
            let is_read = client.held_by.is_empty() && self.driver.unsent_bytes(client.conn) == 0;
            if !is_read {
                next = next.min(now + SPACING);
            } else if until <= now {
                over.push(key);
            } else {
                next = next.min(until);
            }
        }
        for key in over {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            self.counters.increment(Counter::SessionsSilent);
            self.edits.clear();
            entry.session.end_silent(&mut self.edits);
            self.send_edits(key);
            self.close_session(key, Ending::InOrder);
        }
        self.next_silence_check = next.max(now + SPACING);
        if next == Time::NEVER {
            self.next_silence_check = Time::NEVER;
        }
    }
}
