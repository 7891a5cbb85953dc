//! Simulated connections that no driver has.
//!
//! Purpose: let one change drivers, as a descriptor does.
//! Never: leave one open whose owner is gone.

use std::sync::{Arc, Weak};

use super::net::Net;
use crate::base::Key;

/// A connection that no driver has; closed by the network once this is gone.
pub(in crate::io) struct Loose {
    link: Key,
    owner: Arc<()>,
}

impl Net {
    /// Takes a connection from its driver, if nothing has arrived on it.
    pub(super) fn let_loose(&mut self, key: Key) -> Option<Loose> {
        if !self.is_quiet(key) {
            return None;
        }
        self.links.get_mut(key)?.conn = None;
        let owner = Arc::new(());
        self.loose.push((key, Arc::downgrade(&owner)));
        Some(Loose { link: key, owner })
    }

    /// Gives a connection to a driver, or closes it if anything has arrived on it.
    pub(super) fn take_loose(&mut self, loose: &Loose) -> Option<Key> {
        let owner = Arc::downgrade(&loose.owner);
        self.loose.retain(|(_, other)| !Weak::ptr_eq(other, &owner));
        if self.is_quiet(loose.link) {
            return Some(loose.link);
        }
        self.driver_close(loose.link);
        None
    }

    /// Closes those that were dropped.
    pub(super) fn close_lost(&mut self) {
        while let Some(place) = self.loose.iter().position(|(_, owner)| owner.strong_count() == 0) {
            let (link, _) = self.loose.swap_remove(place);
            self.driver_close(link);
        }
    }

    fn is_quiet(&mut self, key: Key) -> bool {
        let now = self.now;
        self.links
            .get_mut(key)
            .is_some_and(|link| link.inbound.visible(now) == 0 && !link.inbound.is_over(now))
    }
}
