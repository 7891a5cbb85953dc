//! Sessions of a user, bounded over all workers.
//!
//! Purpose: a user that has proven who it is takes a seat, and another one when it changes its
//! account; both are given back.
//! Never: count who has proven nothing.

use crate::base::{Blame, EndpointId, Fault, Key};
use crate::config::{EndpointMode, Pooling};
use crate::io::Driver;
use crate::wire::{code, fault};
use crate::worker::Worker;
use crate::worker::entry::Entry;

/// The users a session counts for.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// Whose session it is.
    user: Option<Box<[u8]>>,
    /// Whose it is about to become.
    next: Option<Box<[u8]>>,
}

impl Seats {
    /// Whose session it is, once that is known.
    pub(super) fn user(&self) -> Option<&[u8]> {
        self.user.as_deref()
    }
}

impl<D: Driver> Worker<D> {
    /// Whether that user's sessions there may only read: the user, or where each has a connection to a
    /// replica to itself.
    pub(super) fn is_read_only(&self, endpoint: EndpointId, name: &[u8]) -> bool {
        self.config.user(name).is_some_and(|user| user.rules.read_only)
            || self.reads_unshared(endpoint, name)
    }

    /// Whether a user's sessions have connections to replicas, each to itself.
    pub(super) fn reads_unshared(&self, endpoint: EndpointId, name: &[u8]) -> bool {
        self.config.endpoint(endpoint).is_some_and(|endpoint| {
            let shares = endpoint.pooling == Pooling::Transaction && !self.is_bounded(name);
            endpoint.mode == EndpointMode::ReadOnly && !shares
        })
    }

    /// Whether anything of that user's statements is looked at before the server sees it.
    pub(super) fn is_bounded(&self, name: &[u8]) -> bool {
        let rules = self.config.user(name).map(|user| &user.rules);
        rules.is_some_and(|rules| rules.read_only || rules.schemas.is_some())
    }

    /// Takes a seat for the user a session is about to belong to.
    pub(super) fn take_seat(&mut self, key: Key, name: &[u8]) -> Result<(), Fault> {
        let Some(entry) = self.sessions.get_mut(key) else { return Ok(()) };
        if entry.seats.user.as_deref() == Some(name) {
            return Ok(());
        }
        let max = self.config.user(name).map_or(0, |user| user.rules.connections_max);
        if !self.resources.shared.users.try_enter(name, max) {
            return Err(too_many(name, max));
        }
        entry.seats.next = Some(name.into());
        Ok(())
    }

    /// The session belongs to the user now, or will not.
    pub(super) fn settle_seat(&mut self, key: Key, taken: bool) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(next) = entry.seats.next.take() else { return };
        let left = if taken { entry.seats.user.replace(next) } else { Some(next) };
        if let Some(name) = left {
            self.resources.shared.users.leave(&*name);
        }
    }

    /// The session is over.
    pub(super) fn leave_seats(&self, entry: &mut Entry) {
        for name in [entry.seats.user.take(), entry.seats.next.take()].into_iter().flatten() {
            self.resources.shared.users.leave(&*name);
        }
    }
}

/// The server's own words.
fn too_many(name: &[u8], max: usize) -> Fault {
    let name = String::from_utf8_lossy(name);
    let text = format!(
        "User '{name}' has exceeded the 'max_user_connections' resource (current value: {max})"
    );
    fault(Blame::Limit, code::USER_LIMIT_REACHED, text)
}
