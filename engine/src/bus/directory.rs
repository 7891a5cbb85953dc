//! Which server's thread serves which client.
//!
//! Purpose: let a KILL by one of Weir's ids find the server's id, whichever worker has the session.
//! Never: be asked or told anything for an ordinary query: only when a session gets its backend
//! connection, when it ends, and for a KILL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::ConnectionId;

/// A thread of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server's address: a name could mean another server after a reload.
    pub server: Arc<str>,
    /// Its own id of the connection.
    pub thread: u32,
}

/// All sessions of this process that have a backend connection.
#[derive(Debug)]
pub struct Directory {
    /// One per worker, so that workers do not wait for each other.
    shards: Box<[Mutex<HashMap<u32, Listed>>]>,
}

#[derive(Debug)]
struct Listed {
    place: Place,
    /// Somebody was told where it is, and may send a KILL there at any time.
    is_aimed_at: bool,
}

impl Default for Directory {
    fn default() -> Self {
        let shards = (0..ConnectionId::WORKERS_MAX).map(|_| Mutex::default()).collect();
        Self { shards }
    }
}

impl Directory {
    /// A session has a backend connection.
    pub fn insert(&self, id: ConnectionId, place: Place) {
        if let Some(mut shard) = self.shard(id.get()) {
            shard.insert(id.get(), Listed { place, is_aimed_at: false });
        }
    }

    /// A session has ended, or lost its backend connection. Whether a KILL may be on its way there:
    /// then the connection must not become another session's.
    pub fn remove(&self, id: ConnectionId) -> bool {
        let listed = self.shard(id.get()).and_then(|mut shard| shard.remove(&id.get()));
        listed.is_some_and(|listed| listed.is_aimed_at)
    }

    /// Where the session with that id is.
    #[must_use]
    pub fn find(&self, id: u32) -> Option<Place> {
        Some(self.shard(id)?.get(&id)?.place.clone())
    }

    /// As [`Self::find`], to send a KILL there.
    #[must_use]
    pub fn aim_at(&self, id: u32) -> Option<Place> {
        let mut shard = self.shard(id)?;
        let listed = shard.get_mut(&id)?;
        listed.is_aimed_at = true;
        Some(listed.place.clone())
    }

    fn shard(&self, id: u32) -> Option<MutexGuard<'_, HashMap<u32, Listed>>> {
        let shard = self.shards.get(ConnectionId::worker_of(id))?;
        // A worker that panicked has left the map whole.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WorkerId;

    #[test]
    fn sessions_are_found_by_id_while_they_live() {
        let directory = Directory::default();
        let ids = [(0, 1), (1, 1), (255, 7)].map(|(w, n)| ConnectionId::new(WorkerId(w), n));
        for (id, thread) in ids.into_iter().zip(10..) {
            directory.insert(id, Place { server: "127.0.0.1:3306".into(), thread });
        }
        let found = ids.map(|id| directory.find(id.get()).unwrap().thread);
        assert_eq!(found, [10, 11, 12]);
        assert!(!directory.remove(ids[1]), "being looked up is no danger");
        assert_eq!(directory.find(ids[1].get()), None);
        assert_eq!(directory.aim_at(ids[1].get()), None);
        assert_eq!(directory.aim_at(ids[2].get()).unwrap().thread, 12);
        assert!(directory.remove(ids[2]), "a KILL may be on its way");
        assert_eq!(directory.find(ids[0].get()).unwrap().thread, 10);
        assert_eq!(directory.find(u32::MAX), None);
    }
}
