//! What the servers of a cluster have committed and applied, as far as Weir knows.
//!
//! ```text
//! answers with GTIDs ─► written (through this Weir)        polls ─► has, applied (of each server)
//! waits that ended well ───────────────────────────────────────────► applied
//! ```
//!
//! Purpose: one table per cluster, over all workers, and those who wait for the primary's position.
//! Never: be asked on the way of a read that has nothing to see, or say that a server has what it
//! did not say itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{Gtids, Key};
use crate::route::limit::Bell;

/// More parts of a position than that are not kept of what was written: a whole position of the
/// primary takes their place.
pub const WRITTEN_PARTS_MAX: usize = 64;

/// When something happened, in polls that had begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

/// Asks a server for its position, soon.
pub trait Poll: Send + Sync + fmt::Debug {
    /// Somebody waits for an answer to a question that is yet to be sent.
    fn poll(&self);
}

/// The table of one cluster.
#[derive(Debug, Default)]
pub struct Positions {
    /// Polls that have begun.
    clock: AtomicU64,
    /// One more than the stamp of the last write of which no position was told; 0 if all were.
    untold: AtomicU64,
    /// Times that what a server was known to have was doubted.
    doubts: AtomicU64,
    /// Every server says what it has.
    all_tell: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was written through this Weir.
    written: Option<Arc<Gtids>>,
    /// By name.
    servers: BTreeMap<Arc<str>, Server>,
    waiting: Vec<Waiter>,
}

#[derive(Debug, Default)]
struct Server {
    /// Everything it has, by its last poll.
    has: Option<Arc<Gtids>>,
    /// What reads see on it.
    applied: Option<Arc<Gtids>>,
    /// When that poll began.
    begun: Option<Stamp>,
    poll: Option<Arc<dyn Poll>>,
}

struct Waiter {
    server: Arc<str>,
    after: Stamp,
    bell: Arc<dyn Bell>,
    session: Key,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What a server says when it is polled.
#[derive(Clone, Debug, Default)]
pub struct Polled {
    /// Everything it has; `None` without GTIDs.
    pub has: Option<Gtids>,
    /// Of that, what reads see.
    pub applied: Option<Gtids>,
}

/// The primary's position, if it is fresh enough.
#[derive(Clone, Debug)]
pub enum Fresh {
    /// It is.
    Known(Arc<Gtids>),
    /// It has to be asked for.
    Stale,
    /// The server has none.
    Never,
}

impl Positions {
    /// The time, for what has happened until now.
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp(self.clock.load(Ordering::SeqCst))
    }

    /// A poll begins: what it finds is later than all that has happened.
    #[must_use]
    pub fn begin(&self) -> Stamp {
        Stamp(self.clock.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The servers are these.
    pub fn adopt<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) {
        let mut state = self.lock();
        state.servers.retain(|name, _| names.clone().any(|other| *other == **name));
        self.count(&state);
    }

    /// Who polls a server.
    pub fn set_poll(&self, server: &Arc<str>, poll: Arc<dyn Poll>) {
        let mut state = self.lock();
        // It may be another one of that name.
        self.forget(&mut state, server);
        state.servers.entry(Arc::clone(server)).or_default().poll = Some(poll);
        self.count(&state);
    }

    /// What a server said to a poll that began then. Whoever waits for that is called.
    pub fn polled(&self, name: &str, polled: Polled, begun: Stamp) {
        let mut state = self.lock();
        let Some(server) = state.servers.get_mut(name) else { return };
        server.has = polled.has.map(Arc::new);
        server.applied = polled.applied.map(Arc::new);
        server.begun = Some(begun);
        let poll = server.poll.clone();
        self.count(&state);
        let mut called = Vec::new();
        state.waiting.retain(|waiter| {
            let is_served = *waiter.server == *name && waiter.after < begun;
            if is_served {
                called.push((Arc::clone(&waiter.bell), waiter.session));
            }
            !is_served
        });
        let is_wanted = state.waiting.iter().any(|waiter| *waiter.server == *name);
        drop(state);
        for (bell, session) in called {
            bell.ring(session);
        }
        if let Some(poll) = poll.filter(|_| is_wanted) {
            poll.poll();
        }
    }

    /// A server does not answer, or has broken off: what it had may be gone.
    pub fn doubt(&self, name: &str) {
        let mut state = self.lock();
        self.forget(&mut state, name);
        self.count(&state);
    }

    fn forget(&self, state: &mut State, name: &str) {
        let Some(server) = state.servers.get_mut(name) else { return };
        let is_known = server.has.is_some() || server.applied.is_some() || server.begun.is_some();
        (server.has, server.applied, server.begun) = (None, None, None);
        if is_known {
            self.doubts.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self, state: &State) {
        let all_tell = state.servers.values().all(|server| server.has.is_some());
        self.all_tell.store(all_tell && !state.servers.is_empty(), Ordering::SeqCst);
    }

    /// How often what a server had was doubted.
    #[must_use]
    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// Whether each of the servers says what it has: what is written there is told, too.
    #[must_use]
    pub fn all_tell(&self) -> bool {
        self.all_tell.load(Ordering::SeqCst)
    }

    /// A server has that much, as a wait there has shown that began after so many doubts.
    pub fn learn(&self, name: &str, gtids: &Arc<Gtids>, doubts: u64) {
        let mut state = self.lock();
        if self.doubts() != doubts {
            return;
        }
        let Some(server) = state.servers.get_mut(name) else { return };
        match &mut server.applied {
            None => server.applied = Some(Arc::clone(gtids)),
            // Past its bound it is less than it could be.
            Some(applied) => drop(Arc::make_mut(applied).merge(gtids)),
        }
    }

    /// Whether a server is known to have that much.
    #[must_use]
    pub fn has(&self, name: &str, gtids: &Gtids) -> bool {
        let state = self.lock();
        let applied = state.servers.get(name).and_then(|server| server.applied.as_deref());
        applied.is_some_and(|applied| applied.contains(gtids))
    }

    /// Whether a server says what it has applied, so that it can be waited for.
    #[must_use]
    pub fn tells(&self, name: &str) -> bool {
        self.lock().servers.get(name).is_some_and(|server| server.applied.is_some())
    }

    /// Everything a server has, if it was polled after that.
    #[must_use]
    pub fn fresh(&self, name: &str, after: Stamp) -> Fresh {
        let state = self.lock();
        let Some(server) = state.servers.get(name) else { return Fresh::Never };
        match (&server.has, server.begun) {
            (Some(has), Some(begun)) if begun > after => Fresh::Known(Arc::clone(has)),
            (None, Some(_)) => Fresh::Never,
            (_, None) if server.poll.is_none() => Fresh::Never,
            (Some(_) | None, _) => Fresh::Stale,
        }
    }

    /// Everything a server had at the last poll.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<Arc<Gtids>> {
        self.lock().servers.get(name)?.has.clone()
    }

    /// A session waits until a server was polled after that. It is rung for, or
    /// [leaves](Self::leave).
    pub fn wait(&self, name: &Arc<str>, after: Stamp, bell: Arc<dyn Bell>, session: Key) {
        let mut state = self.lock();
        // Sessions wait for one each, so there are no more than sessions.
        state.waiting.push(Waiter { server: Arc::clone(name), after, bell, session });
        let poll = state.servers.get(name).and_then(|server| server.poll.clone());
        drop(state);
        if let Some(poll) = poll {
            poll.poll();
        }
    }

    /// A session waits no longer.
    pub fn leave(&self, bell: &Arc<dyn Bell>, session: Key) {
        let is_it = |waiter: &Waiter| waiter.session == session && Arc::ptr_eq(&waiter.bell, bell);
        self.lock().waiting.retain(|waiter| !is_it(waiter));
    }

    /// Something was written through this Weir: before its client hears of it.
    pub fn on_written(&self, gtids: &Gtids) {
        let mut state = self.lock();
        let is_kept = match &mut state.written {
            None => {
                state.written = Some(Arc::new(gtids.clone()));
                true
            }
            Some(written) => {
                let is_merged = Arc::make_mut(written).merge(gtids).is_ok();
                is_merged && written.parts() <= WRITTEN_PARTS_MAX
            }
        };
        if !is_kept {
            // Before it is gone.
            self.on_untold();
            state.written = None;
        }
    }

    /// Something may have been written through this Weir of which no position was told.
    #[inline]
    pub fn on_untold(&self) {
        let now = self.clock.load(Ordering::SeqCst) + 1;
        // Whoever reads the line does not take it from others.
        if self.untold.load(Ordering::SeqCst) < now {
            self.untold.fetch_max(now, Ordering::SeqCst);
        }
    }

    /// What was written through this Weir, and after which moment a poll of the primary knows what
    /// that leaves out.
    #[must_use]
    pub fn written(&self) -> (Option<Arc<Gtids>>, Option<Stamp>) {
        let written = self.lock().written.clone();
        let untold = self.untold.load(Ordering::SeqCst);
        (written, untold.checked_sub(1).map(Stamp))
    }

    /// A thread that panicked has ended the process or left whole values behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
