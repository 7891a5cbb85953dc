//! What new backend connections are told first (`init_query`).
//!
//! Purpose: say it when a login is over, and let nobody use a connection on which it failed.
//! Never: judge it: that is the server's.

use bytes::BytesMut;

use crate::base::Key;
use crate::io::Driver;
use crate::observe::Counter;
use crate::pool::{InitError, InitQuery, PoolKey};
use crate::sql::Server;
use crate::wire::code;
use crate::worker::Worker;
use crate::worker::entry::{BackendLink, Fresh, Stage};

impl<D: Driver> Worker<D> {
    /// Tells a connection that has just logged in what its backend's sessions begin with.
    pub(super) fn initialize(&mut self, key: Key, fresh: Fresh) {
        let deadline = self.driver.now() + self.config.limits.connect_timeout;
        let backend = self.sessions.get_mut(key).and_then(|entry| entry.backend.as_deref_mut());
        let Some(BackendLink { init: Some(text), pool, stage, .. }) = backend else { return };
        let version = String::from_utf8_lossy(&fresh.version);
        let is_mariadb = matches!(Server::from_version(&version), Server::MariaDb(_));
        let tracks = pool.as_ref().is_some_and(PoolKey::is_shared).then_some(is_mariadb);
        let mut out = BytesMut::new();
        let init = InitQuery::begin(text, false, tracks, fresh.lease.capabilities, &mut out);
        *stage = Stage::Init(Box::new(init), Box::new(fresh), deadline);
        self.send_to_backend(key, &out);
    }

    /// What the server says to it.
    pub(super) fn on_backend_init(&mut self, key: Key, bytes: &[u8]) {
        let backend = self.sessions.get_mut(key).and_then(|entry| entry.backend.as_deref_mut());
        let Some(BackendLink { stage, initial, .. }) = backend else { return };
        let Stage::Init(init, fresh, _) = stage else { return };
        match init.on_bytes(bytes) {
            Ok(false) => {}
            Ok(true) => {
                *initial = init.take_trackers();
                let lease = fresh.lease;
                let (ok, version) =
                    (std::mem::take(&mut fresh.ok), std::mem::take(&mut fresh.version));
                self.open(key, Fresh { lease, ok, version });
            }
            Err(error) => {
                self.counters.increment(Counter::BackendInitFailures);
                self.counters.increment(Counter::BackendLoginFailures);
                self.note_init(&error);
                self.fail_backend(key, code::UNKNOWN_ERROR, &error.to_string());
            }
        }
    }

    /// An operator has to mend it, whether a client was told or not.
    pub(super) fn note_init(&self, error: &InitError) {
        crate::observe::log_limited!(self.ledger.now(), warn, "connection not used: {error}");
    }
}
