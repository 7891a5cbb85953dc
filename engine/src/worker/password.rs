//! Passwords that clients seal.
//!
//! Purpose: have them opened elsewhere, and let the session go on when they come back.
//! Never: wait for one.

use crate::auth::Sealed;
use crate::base::{Blame, Key};
use crate::bus::NotOpened;
use crate::io::Driver;
use crate::observe::Counter;
use crate::wire::{code, fault};
use crate::worker::Worker;

impl<D: Driver> Worker<D> {
    /// Sends a session's sealed password to be opened.
    pub(super) fn open_password(&mut self, key: Key, sealed: Box<Sealed>) {
        let seed = self.nonces.seed();
        let waiting_max = self.config.limits.sealed_passwords_max;
        let opener = &self.resources.opener;
        let why = match opener.open(sealed, seed, &self.desk, key, waiting_max) {
            Ok(()) => return,
            Err(NotOpened::Busy) => "too many wait already (limits.sealed_passwords_max)".into(),
            Err(NotOpened::NoThread(error)) => error.to_string(),
        };
        self.counters.increment(Counter::SealedPasswordsRefused);
        let text = format!("weir: the sealed password cannot be opened: {why}; use TLS");
        self.fail(key, &fault(Blame::Limit, code::CON_COUNT_ERROR, text));
    }

    /// Takes in what was opened for sessions of this worker.
    pub(super) fn on_opened(&mut self) {
        for (key, password) in self.desk.take_opened() {
            // It may have gone away between.
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            self.counters.increment(Counter::SealedPasswordsOpened);
            match entry.session.on_opened(password.as_ref()) {
                Ok(()) => self.act(key),
                Err(fault) => self.fail(key, &fault),
            }
        }
    }
}
