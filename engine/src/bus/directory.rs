//! Which server's thread serves which client.
//!
//! Purpose: let a KILL by one of Weir's ids find the server's id, whichever worker has the session,
//! and SHOW PROCESSLIST name all sessions by Weir's ids.
//! Never: be asked or told anything for an ordinary query: only when a session gets its backend
//! connection or gives it back, when it ends, and for a KILL or SHOW PROCESSLIST.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{ConnectionId, EndpointId, Time};
use crate::bus::Desk;

/// A thread of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The account it logged in as.
    pub user: Box<[u8]>,
    /// Where it comes from; `None` for a unix socket.
    pub address: Option<SocketAddr>,
    /// What it connected to.
    pub endpoint: EndpointId,
}

/// How a session was when it had no backend connection last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Its schema; empty if none.
    pub schema: Box<[u8]>,
    /// Since when it has none.
    pub since: Time,
}

/// A session as [`Directory::visit`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The id its client knows.
    pub id: u32,
    /// Whose it is.
    pub client: &'a Client,
    /// Its backend connection.
    pub place: Option<&'a Place>,
    /// It has one only while it needs one.
    pub rest: Option<&'a Rest>,
}

/// A session that has a backend connection only while it needs one.
#[derive(Debug)]
struct Member {
    desk: Arc<Desk>,
    rest: Rest,
}

/// All sessions of this process that are logged in, and all its backend connections that are.
#[derive(Debug)]
pub struct Directory {
    /// One per worker, so that workers do not wait for each other.
    shards: Box<[Mutex<HashMap<u32, Listed>>]>,
    /// Whoever has them.
    connections: Mutex<HashSet<Place>>,
}

/// A backend connection, listed for as long as this lives.
#[derive(Debug)]
pub struct Connection {
    directory: Arc<Directory>,
    place: Place,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.directory.connections().remove(&self.place);
    }
}

#[derive(Debug)]
struct Listed {
    client: Client,
    place: Option<Place>,
    member: Option<Member>,
    /// Somebody was told where it is, and may send a KILL there at any time.
    is_aimed_at: bool,
}

impl Default for Directory {
    fn default() -> Self {
        let shards = (0..ConnectionId::WORKERS_MAX).map(|_| Mutex::default()).collect();
        Self { shards, connections: Mutex::default() }
    }
}

impl Directory {
    /// A session is logged in.
    pub fn enter(&self, id: ConnectionId, client: Client) {
        if let Some(mut shard) = self.shard(id.get()) {
            let listed = Listed { client, place: None, member: None, is_aimed_at: false };
            shard.insert(id.get(), listed);
        }
    }

    /// A session has a backend connection.
    pub fn insert(&self, id: ConnectionId, place: Place) {
        let mut shard = self.shard(id.get());
        if let Some(listed) = shard.as_mut().and_then(|shard| shard.get_mut(&id.get())) {
            (listed.place, listed.is_aimed_at) = (Some(place), false);
        }
    }

    /// A session shares backend connections from now on. `desk` is where its worker learns that it
    /// was killed.
    pub fn join(&self, id: ConnectionId, desk: Arc<Desk>, rest: Rest) {
        let mut shard = self.shard(id.get());
        if let Some(listed) = shard.as_mut().and_then(|shard| shard.get_mut(&id.get())) {
            listed.member = Some(Member { desk, rest });
        }
    }

    /// A session that shares backend connections has given one back, and is in that schema now.
    /// Returns as [`Self::remove`].
    pub fn leave(&self, id: ConnectionId, schema: &[u8], now: Time) -> bool {
        let mut shard = self.shard(id.get());
        let Some(listed) = shard.as_mut().and_then(|shard| shard.get_mut(&id.get())) else {
            return false;
        };
        listed.place = None;
        if let Some(member) = &mut listed.member {
            member.rest.since = now;
            if *member.rest.schema != *schema {
                member.rest.schema = schema.into();
            }
        }
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
        listed.member.as_ref()?;
        Some(Target::Apart { is_own: *listed.client.user == *asker })
    }

    /// A backend connection is logged in.
    #[must_use]
    pub fn connection(self: &Arc<Self>, place: Place) -> Connection {
        self.connections().insert(place.clone());
        Connection { directory: Arc::clone(self), place }
    }

    /// The threads of a server that serve this process, whether a session has them or not.
    #[must_use]
    pub fn threads_of(&self, server: &str) -> HashSet<u32> {
        let connections = self.connections();
        connections.iter().filter(|it| *it.server == *server).map(|it| it.thread).collect()
    }

    /// Shows all sessions, of one worker after the other.
    pub fn visit(&self, mut show: impl FnMut(Sight<'_>)) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, listed) in shard.iter() {
                show(Sight {
                    id: *id,
                    client: &listed.client,
                    place: listed.place.as_ref(),
                    rest: listed.member.as_ref().map(|member| &member.rest),
                });
            }
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn client() -> Client {
        Client { user: (*b"app").into(), address: None, endpoint: EndpointId(0) }
    }

    fn rest(schema: &[u8], seconds: u64) -> Rest {
        Rest { schema: schema.into(), since: Time::from_nanos(seconds * 1_000_000_000) }
    }

    #[test]
    fn sessions_are_found_by_id_while_they_live() {
        let directory = Directory::default();
        let ids = [(0, 1), (1, 1), (255, 7)].map(|(w, n)| ConnectionId::new(WorkerId(w), n));
        for (id, thread) in ids.into_iter().zip(10..) {
            directory.enter(id, client());
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
        directory.enter(id, client());
        directory.join(id, Arc::clone(&desk), rest(b"", 0));
        let place = Place { server: "127.0.0.1:3306".into(), thread: 7 };
        directory.insert(id, place.clone());
        assert_eq!(directory.aim_at(id.get(), b"app"), Some(Target::At(place)));
        assert!(directory.leave(id, b"", Time::ZERO), "a KILL may be on its way");
        assert!(!directory.leave(id, b"", Time::ZERO));
        let apart = |is_own| Some(Target::Apart { is_own });
        assert_eq!(directory.aim_at(id.get(), b"app"), apart(true));
        assert_eq!(directory.aim_at(id.get(), b"other"), apart(false));
        directory.kill(id.get());
        assert_eq!(desk.take_killed(), [id.get()]);
        directory.remove(id);
        assert_eq!(directory.aim_at(id.get(), b"app"), None);
    }

    #[test]
    fn sessions_are_shown_as_they_are() {
        let directory = Directory::default();
        let (driver, _) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
        let desk = Arc::new(Desk::new(driver.waker()));
        let seen = |directory: &Directory| {
            let mut all = Vec::new();
            directory.visit(|it| all.push((it.id, it.place.cloned(), it.rest.cloned())));
            all.sort_by_key(|it| it.0);
            all
        };
        let [one, two] = [0, 1].map(|worker| ConnectionId::new(WorkerId(worker), 9));
        let place = Place { server: "127.0.0.1:3306".into(), thread: 7 };
        for id in [one, two] {
            directory.enter(id, client());
        }
        directory.insert(one, place.clone());
        directory.join(two, desk, rest(b"a", 1));
        let own = (one.get(), Some(place.clone()), None);
        assert_eq!(seen(&directory), [own.clone(), (two.get(), None, Some(rest(b"a", 1)))]);
        directory.insert(two, place.clone());
        directory.leave(two, b"b", rest(b"", 3).since);
        assert_eq!(seen(&directory), [own, (two.get(), None, Some(rest(b"b", 3)))]);
        directory.remove(one);
        directory.remove(two);
        directory.insert(one, place);
        assert_eq!(seen(&directory), [], "it is not logged in");
    }

    #[test]
    fn connections_are_listed_while_they_live() {
        let directory = Arc::new(Directory::default());
        let at = |server: &str, thread| Place { server: server.into(), thread };
        let one = directory.connection(at("a", 1));
        let two = directory.connection(at("a", 2));
        let other = directory.connection(at("b", 1));
        assert_eq!(directory.threads_of("a"), [1, 2].into());
        drop((two, other));
        assert_eq!((directory.threads_of("a"), directory.threads_of("b")), ([1].into(), [].into()));
        drop(one);
        assert_eq!(directory.threads_of("a"), [].into());
    }
}
