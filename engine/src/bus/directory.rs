//! Which server's thread serves which client.
//!
//! Purpose: let a KILL by one of Weir's ids find the server's id, whichever worker has the session.
//! Never: be asked or told anything for an ordinary query: only when a session gets its backend
//! connection, when it ends, and for a KILL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::ConnectionId;
use crate::bus::Desk;

/// A thread of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The server's address: a name could mean another server after a reload.
    pub server: Arc<str>,
    /// Its own id of the connection.
    pub thread: u32,
}

/// What a KILL of a session comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It has a connection there.
    At(Place),
    /// It has none at the moment; it is of the same account as the one that asks, or of another.
    Apart {
        /// The same.
        is_own: bool,
    },
}

/// A session that has a backend connection only while it needs one.
#[derive(Debug)]
struct Member {
    desk: Arc<Desk>,
    user: Box<[u8]>,
}

/// All sessions of this process that have a backend connection, or share some.
#[derive(Debug)]
pub struct Directory {
    /// One per worker, so that workers do not wait for each other.
    shards: Box<[Mutex<HashMap<u32, Listed>>]>,
}

#[derive(Debug, Default)]
struct Listed {
    place: Option<Place>,
    member: Option<Member>,
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
            let listed = shard.entry(id.get()).or_default();
            (listed.place, listed.is_aimed_at) = (Some(place), false);
        }
    }

    /// A session shares backend connections from now on. `desk` is where its worker learns that it
    /// was killed.
    pub fn join(&self, id: ConnectionId, desk: Arc<Desk>, user: &[u8]) {
        if let Some(mut shard) = self.shard(id.get()) {
            shard.entry(id.get()).or_default().member = Some(Member { desk, user: user.into() });
        }
    }

    /// A session that shares backend connections has given one back. Returns as [`Self::remove`].
    pub fn leave(&self, id: ConnectionId) -> bool {
        let mut shard = self.shard(id.get());
        let Some(listed) = shard.as_mut().and_then(|shard| shard.get_mut(&id.get())) else {
            return false;
        };
        listed.place = None;
        std::mem::take(&mut listed.is_aimed_at)
    }

    /// Ends a session that has no backend connection, on whichever worker it is.
    pub fn kill(&self, id: u32) {
        let shard = self.shard(id);
        let member = shard.as_ref().and_then(|shard| shard.get(&id)?.member.as_ref());
        if let Some(member) = member {
            member.desk.kill(id);
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
        self.shard(id)?.get(&id)?.place.clone()
    }

    /// As [`Self::find`], for `asker` to send a KILL there.
    #[must_use]
    pub fn aim_at(&self, id: u32, asker: &[u8]) -> Option<Target> {
        let mut shard = self.shard(id)?;
        let listed = shard.get_mut(&id)?;
        if let Some(place) = &listed.place {
            listed.is_aimed_at = true;
            return Some(Target::At(place.clone()));
        }
        let member = listed.member.as_ref()?;
        Some(Target::Apart { is_own: *member.user == *asker })
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
    use crate::io::{BufferSizes, Driver, Fake, Faults};

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
        assert_eq!(directory.aim_at(ids[1].get(), b"app"), None);
        let Some(Target::At(place)) = directory.aim_at(ids[2].get(), b"app") else {
            unreachable!("not found");
        };
        assert_eq!(place.thread, 12);
        assert!(directory.remove(ids[2]), "a KILL may be on its way");
        assert_eq!(directory.find(ids[0].get()).unwrap().thread, 10);
        assert_eq!(directory.find(u32::MAX), None);
    }

    #[test]
    fn a_session_between_two_connections_is_its_workers_to_end() {
        let (directory, id) = (Directory::default(), ConnectionId::new(WorkerId(3), 5));
        let (driver, _) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        let desk = Arc::new(Desk::new(driver.waker()));
        directory.join(id, Arc::clone(&desk), b"app");
        let place = Place { server: "127.0.0.1:3306".into(), thread: 7 };
        directory.insert(id, place.clone());
        assert_eq!(directory.aim_at(id.get(), b"app"), Some(Target::At(place)));
        assert!(directory.leave(id), "a KILL may be on its way");
        assert!(!directory.leave(id));
        let apart = |is_own| Some(Target::Apart { is_own });
        assert_eq!(directory.aim_at(id.get(), b"app"), apart(true));
        assert_eq!(directory.aim_at(id.get(), b"other"), apart(false));
        directory.kill(id.get());
        assert_eq!(desk.take_killed(), [id.get()]);
        directory.remove(id);
        assert_eq!(directory.aim_at(id.get(), b"app"), None);
    }
}
