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
    /// Times that what it was known to have was doubted.
    doubts: u64,
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
        let server = state.servers.entry(Arc::clone(server)).or_default();
        server.forget();
        server.poll = Some(poll);
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
        if let Some(server) = state.servers.get_mut(name) {
            server.forget();
        }
        self.count(&state);
    }

    fn count(&self, state: &State) {
        let all_tell = state.servers.values().all(|server| server.has.is_some());
        self.all_tell.store(all_tell && !state.servers.is_empty(), Ordering::SeqCst);
    }

    /// How often what a server had was doubted.
    #[must_use]
    pub fn doubts(&self, name: &str) -> u64 {
        self.lock().servers.get(name).map_or(0, |server| server.doubts)
    }

    /// Whether each of the servers says what it has: what is written there is told, too.
    #[must_use]
    pub fn all_tell(&self) -> bool {
        self.all_tell.load(Ordering::SeqCst)
    }

    /// A server has that much, as a wait there has shown that began after so many doubts.
    pub fn learn(&self, name: &str, gtids: &Arc<Gtids>, doubts: u64) {
        let mut state = self.lock();
        let Some(server) = state.servers.get_mut(name).filter(|it| it.doubts == doubts) else {
            return;
        };
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

impl Server {
    fn forget(&mut self) {
        let was_known = self.has.is_some() || self.applied.is_some() || self.begun.is_some();
        (self.has, self.applied, self.begun) = (None, None, None);
        self.doubts += u64::from(was_known);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::base::{MariaDbPosition, MySqlGtids};

    #[derive(Debug, Default)]
    struct Counted {
        polls: AtomicUsize,
        rung: Mutex<Vec<Key>>,
    }

    impl Poll for Counted {
        fn poll(&self) {
            self.polls.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Bell for Counted {
        fn ring(&self, session: Key) {
            self.rung.lock().unwrap().push(session);
        }
    }

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    fn at(number: u64) -> Gtids {
        Gtids::MariaDb(MariaDbPosition::parse(&format!("0-1-{number}")).unwrap())
    }

    fn said(has: u64, applied: u64) -> Polled {
        Polled { has: Some(at(has)), applied: Some(at(applied)) }
    }

    fn table() -> (Positions, Arc<str>, Arc<Counted>) {
        let (table, name, counted) = (Positions::default(), Arc::from("db1"), Arc::default());
        table.set_poll(&name, Arc::clone(&counted) as Arc<dyn Poll>);
        (table, name, counted)
    }

    #[test]
    fn one_poll_answers_all_that_came_before_it() {
        let (table, name, counted) = table();
        let bell: Arc<dyn Bell> = Arc::clone(&counted) as Arc<dyn Bell>;
        let rung = || std::mem::take(&mut *counted.rung.lock().unwrap());
        table.wait(&name, table.now(), Arc::clone(&bell), key(1));
        table.wait(&name, table.now(), Arc::clone(&bell), key(2));
        let begun = table.begin();
        table.wait(&name, table.now(), Arc::clone(&bell), key(3));
        table.wait(&name, table.now(), Arc::clone(&bell), key(4));
        table.leave(&bell, key(4));
        assert_eq!(counted.polls.swap(0, Ordering::SeqCst), 4);
        table.polled(&name, said(5, 5), begun);
        assert_eq!(rung(), [key(1), key(2)], "the third came too late for it");
        assert_eq!(counted.polls.swap(0, Ordering::SeqCst), 1, "so there has to be another one");
        let begun = table.begin();
        table.polled(&name, said(6, 6), begun);
        assert_eq!((rung(), counted.polls.load(Ordering::SeqCst)), (vec![key(3)], 0));
    }

    #[test]
    fn a_position_is_fresh_only_behind_the_moment() {
        let (table, name, _) = table();
        let before = table.now();
        assert!(matches!(table.fresh(&name, before), Fresh::Stale));
        let begun = table.begin();
        table.polled(&name, said(5, 4), begun);
        let Fresh::Known(has) = table.fresh(&name, before) else { unreachable!() };
        assert_eq!(*has, at(5));
        assert!(matches!(table.fresh(&name, table.now()), Fresh::Stale));
        let begun = table.begin();
        table.polled(&name, Polled::default(), begun);
        assert!(matches!(table.fresh(&name, table.now()), Fresh::Never), "it has none");
        assert!(matches!(table.fresh("db2", before), Fresh::Never), "nobody polls it");
    }

    #[test]
    fn what_a_server_has_is_known_until_it_is_doubted() {
        let (table, name, _) = table();
        assert!(!table.has(&name, &at(1)) && !table.tells(&name) && !table.all_tell());
        let begun = table.begin();
        table.polled(&name, said(9, 4), begun);
        assert!(table.has(&name, &at(4)) && !table.has(&name, &at(5)), "what reads see counts");
        assert!(table.all_tell());
        let doubts = table.doubts(&name);
        table.learn(&name, &Arc::new(at(6)), doubts);
        assert!(table.has(&name, &at(6)));
        table.doubt(&name);
        assert!(!table.has(&name, &at(1)) && !table.all_tell() && table.last(&name).is_none());
        table.learn(&name, &Arc::new(at(6)), doubts);
        assert!(!table.has(&name, &at(1)), "that was before");
        table.doubt(&name);
        assert_eq!(table.doubts(&name), doubts + 1, "nothing was known");
        let begun = table.begin();
        table.polled(&name, said(9, 9), begun);
        table.adopt(["db2"].into_iter());
        assert!(!table.tells(&name), "it is gone");
    }

    #[test]
    fn what_is_written_is_kept_or_asked_for() {
        let table = Positions::default();
        assert!(matches!(table.written(), (None, None)));
        table.on_written(&at(3));
        table.on_written(&at(2));
        let (written, untold) = table.written();
        assert_eq!((written.as_deref(), untold), (Some(&at(3)), None));
        let begun = table.begin();
        table.on_untold();
        assert_eq!(table.written().1, Some(begun), "a poll that begins from now on knows");
        let holes = |count: u64| {
            let text = (1..=count).map(|it| format!(":{}", 2 * it)).collect::<String>();
            let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
            Gtids::MySql(MySqlGtids::parse(&format!("{uuid}{text}")).unwrap())
        };
        let table = Positions::default();
        table.on_written(&holes(64));
        assert!(matches!(table.written(), (Some(_), None)));
        table.on_written(&holes(65));
        assert!(matches!(table.written(), (None, Some(_))), "the primary's takes its place");
    }
}
