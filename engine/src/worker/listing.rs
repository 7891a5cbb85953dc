//! Whose the threads of a server are, for SHOW PROCESSLIST.
//!
//! Purpose: one picture of all sessions of this process, taken when a server's list is there.
//! Never: be made for anything else.

use bytes::BytesMut;

use crate::base::Key;
use crate::bus::Sight;
use crate::io::Driver;
use crate::session::{Apart, Seated, Threads};
use crate::wire::Side;
use crate::worker::Worker;
use crate::worker::traffic::Input;

impl<D: Driver> Worker<D> {
    /// Tells a session whose the threads of its server are.
    pub(super) fn list_threads(&mut self, key: Key) {
        let Some(entry) = self.sessions.get(key) else { return };
        let Some(backend) = &entry.backend else { return };
        let cluster = self.config.endpoint(entry.endpoint).map(|endpoint| endpoint.cluster);
        let (now, directory) = (self.ledger.now(), &self.resources.directory);
        let asker = entry.seats.user().unwrap_or_default().to_vec();
        let mut threads = Threads { asker, ..Threads::default() };
        directory.visit(|sight| {
            let place = sight.place.filter(|place| place.server == backend.named);
            let thread = place.map(|place| place.thread);
            let seated = Seated { id: sight.id, host: host_of(sight) };
            let endpoint = self.config.endpoint(sight.client.endpoint);
            // Sessions that are elsewhere now are on no list of this server.
            let is_here = place.is_some() || sight.place.is_none();
            if let Some(rest) = sight.rest.filter(|_| is_here)
                && endpoint.map(|endpoint| endpoint.cluster) == cluster
            {
                threads.apart.push(Apart {
                    seated: seated.clone(),
                    thread,
                    user: sight.client.user.to_vec(),
                    schema: rest.schema.to_vec(),
                    seconds: now.since(rest.since).as_secs(),
                });
            }
            if let Some(thread) = thread {
                threads.seated.insert(thread, seated);
            }
        });
        threads.own = directory.threads_of(&backend.named);
        self.edits.clear();
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let mut behind = BytesMut::new();
        let listed = entry.session.on_list(&threads, &mut self.edits, &mut self.ledger);
        let rest = listed.map(|(rest, unasked)| {
            behind = unasked;
            rest
        });
        self.go_on(key, rest);
        let has_backend = self.sessions.get(key).is_some_and(|entry| entry.backend.is_some());
        if has_backend && !behind.is_empty() {
            self.feed(key, Side::Backend, Input::Decoded(&mut behind));
        }
    }
}

/// The client's address as servers write it, but for names: Weir asks nobody for those.
fn host_of(sight: Sight<'_>) -> String {
    sight.client.address.map_or_else(
        || "localhost".to_owned(),
        |address| format!("{}:{}", address.ip().to_canonical(), address.port()),
    )
}
