//! A new configuration.
//!
//! Purpose: swap configuration, picture and resources between two turns, with every session still
//! meaning the backend it is connected to.
//! Never: end a session because of it.

use std::collections::HashMap;

use crate::base::BackendId;
use crate::bus::NewConfig;
use crate::config::Backend;
use crate::io::Driver;
use crate::worker::Worker;
use crate::worker::entry::Holder;

impl<D: Driver> Worker<D> {
    /// Endpoints keep their order until a restart, so that listeners and sessions keep their
    /// endpoint ids. A backend's id is its position, which may be another one now.
    pub(super) fn on_config(&mut self, new: NewConfig) {
        let NewConfig { config, snapshot, resources } = new;
        let ids = ids_of(&config.backends);
        for entry in self.sessions.iter_mut() {
            if let Some(backend) = &mut entry.backend {
                backend.rename(&ids);
            }
        }
        for holder in self.slots.iter_mut() {
            if let Holder::Making(backend)
            | Holder::Recycling(_, backend)
            | Holder::Restoring(_, backend)
            | Holder::Quitting(backend) = holder
            {
                backend.rename(&ids);
            } else if let Holder::Idle(parked) | Holder::Pinging(_, parked) = holder {
                parked.backend.rename(&ids);
            } else if let Holder::Leaving(leaving) = holder {
                leaving.parked.backend.rename(&ids);
            }
        }
        self.config = config;
        self.snapshot = snapshot;
        self.tell_consistency();
        self.dealer.adopt(&self.config, &self.snapshot);
        self.forget_servers();
        self.figures.adopt(
            self.config.endpoints.iter().map(|endpoint| endpoint.name.as_str()),
            self.config.backends.iter().map(|backend| backend.name.as_str()),
        );
        self.resources = resources;
        self.ledger.set_rules(self.resources.rules.clone());
        // There may be room for more logins at once.
        let servers: Vec<_> = self.lanes.keys().cloned().collect();
        for server in servers {
            self.next_turns(&server);
        }
    }
}

/// The backends' ids, by name.
pub(super) fn ids_of(backends: &[Backend]) -> HashMap<&str, BackendId> {
    let names = backends.iter().map(|backend| backend.name.as_str());
    names.zip((0..).map(BackendId)).collect()
}
