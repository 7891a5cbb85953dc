//! How many statements may run: in a second, and at the same time.
//!
//! Purpose: one bound for all workers, in the order of coming.
//! Never: look at a clock, or wait: who has to wait is told until when, or is called.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::{Key, Line, Ticket, Time};

/// So many in a second.
///
/// Each statement moves the time forward by its share of a second. How far that is ahead of now
/// tells how long the next one has to wait, so that those who wait need no line: each has a time
/// of its own, behind those who came before.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// A statement that comes now: when it may begin. `None` if that is too late; it does not count
    /// then. What goes away meanwhile has counted.
    pub fn take(&self, now: Time, per_second: u32, burst: u32, wait: Duration) -> Option<Time> {
        let share = SECOND / u64::from(per_second.max(1));
        let ahead_max = share.saturating_mul(u64::from(burst.max(1) - 1));
        let now = now.as_nanos();
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let mut begins = now;
        let moved = |last: u64| {
            begins = last.saturating_sub(ahead_max).max(now);
            (begins - now <= wait).then(|| last.max(now).saturating_add(share))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved).ok()?;
        Some(Time::from_nanos(begins))
    }
}

const SECOND: u64 = 1_000_000_000;

/// Where somebody who waits is called.
pub trait Bell: Send + Sync {
    /// The session of that key has got what it waited for, or will be told that it has not.
    fn ring(&self, session: Key);
}

/// So many at the same time.
#[derive(Debug, Default)]
pub struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    inside: u32,
    max: u32,
    line: Line<Waiter>,
}

struct Waiter {
    bell: Arc<dyn Bell>,
    session: Key,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiter({:?})", self.session)
    }
}

/// What came of asking to wait.
#[derive(Debug)]
pub enum Joined {
    /// There was room meanwhile.
    Inside(Slot),
    /// It will be called.
    Waits(Turn),
    /// As many wait as may.
    Full,
}

impl Gate {
    /// So many may be inside from now on; who waits and fits is called.
    pub fn set_max(&self, max: u32) {
        self.change(|state| state.max = max);
    }

    /// Lets one in, if there is room and nobody waits.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.state();
        if state.inside >= state.max || !state.line.is_empty() {
            return None;
        }
        state.inside += 1;
        Some(Slot(Arc::clone(self)))
    }

    /// The same, or it waits, unless `waiters_max` others do.
    #[must_use]
    pub fn join(self: &Arc<Self>, bell: Arc<dyn Bell>, session: Key, waiters_max: usize) -> Joined {
        if let Some(slot) = self.enter() {
            return Joined::Inside(slot);
        }
        let mut state = self.state();
        if state.line.len() >= waiters_max {
            return Joined::Full;
        }
        let ticket = state.line.join(Waiter { bell, session });
        drop(state);
        // Whoever was inside may have left between the two looks.
        self.change(|_| {});
        Joined::Waits(Turn { gate: Arc::clone(self), ticket: Some(ticket) })
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> u32 {
        self.state().inside
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().line.len()
    }

    fn leave(&self) {
        self.change(|state| state.inside -= 1);
    }

    /// Calls those who fit after a change.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut called = Vec::new();
        let mut state = self.state();
        change(&mut state);
        while state.inside < state.max
            && let Some(waiter) = state.line.call()
        {
            state.inside += 1;
            called.push(waiter);
        }
        drop(state);
        for waiter in called {
            waiter.bell.ring(waiter.session);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in between leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody inside. Leaves when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Gate>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Somebody's place in the line. Goes away when it is dropped.
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    ticket: Option<Ticket>,
}

impl Turn {
    /// In, if it was called.
    ///
    /// # Errors
    /// It was not, and still waits.
    pub fn redeem(mut self) -> Result<Slot, Self> {
        let waits = self.ticket.is_some_and(|ticket| self.gate.state().line.get(ticket).is_some());
        if waits {
            return Err(self);
        }
        self.ticket = None;
        Ok(Slot(Arc::clone(&self.gate)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let left = self.gate.state().line.leave(ticket);
        if left.is_none() {
            // It was called and does not come.
            self.gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u32) -> Time {
        Time::ZERO + MS * 10_000 + MS * ms
    }

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_so_many_in_a_second() {
        let bucket = Bucket::default();
        let take = |now, wait_ms| bucket.take(at(now), 10, 3, MS * wait_ms);
        for _ in 0..3 {
            assert_eq!(take(0, 0), Some(at(0)));
        }
        assert_eq!(take(0, 0), None, "over");
        assert_eq!(take(99, 0), None);
        assert_eq!(take(100, 0), Some(at(100)));
        assert_eq!(take(100, 0), None, "what is refused does not count");
        assert_eq!(take(100, 250), Some(at(200)), "in order");
        assert_eq!(take(100, 250), Some(at(300)));
        assert_eq!(take(100, 250), None, "too late");
        assert_eq!(take(5_000, 0), Some(at(5_000)), "a pause gives a burst and no more");
        assert_eq!((take(5_000, 0), take(5_000, 0)), (Some(at(5_000)), Some(at(5_000))));
        assert_eq!(take(5_000, 0), None);
    }

    #[derive(Default)]
    struct Rung(Mutex<Vec<u32>>);

    impl Bell for Rung {
        fn ring(&self, session: Key) {
            self.0.lock().unwrap().push(session.index);
        }
    }

    struct Scene {
        gate: Arc<Gate>,
        rung: Arc<Rung>,
    }

    impl Scene {
        fn new(max: u32) -> Self {
            let gate = Arc::new(Gate::default());
            gate.set_max(max);
            Self { gate, rung: Arc::default() }
        }

        fn waits(&self, index: u32) -> Turn {
            let key = Key { index, generation: 0 };
            let bell: Arc<dyn Bell> = self.rung.clone();
            match self.gate.join(bell, key, 3) {
                Joined::Waits(turn) => turn,
                other @ (Joined::Inside(_) | Joined::Full) => panic!("{other:?}"),
            }
        }

        fn rung(&self) -> Vec<u32> {
            std::mem::take(&mut *self.rung.0.lock().unwrap())
        }
    }

    #[test]
    fn a_gate_calls_in_order_and_has_no_more_inside_than_it_may() {
        let scene = Scene::new(2);
        let (a, b) = (scene.gate.enter().unwrap(), scene.gate.enter().unwrap());
        assert!(scene.gate.enter().is_none());
        let [one, two, three] = [1, 2, 3].map(|index| scene.waits(index));
        let bell: Arc<dyn Bell> = scene.rung.clone();
        let full = scene.gate.join(bell, Key { index: 4, generation: 0 }, 3);
        assert!(matches!(full, Joined::Full));
        let one = one.redeem().unwrap_err();
        drop(a);
        assert_eq!(scene.rung(), [1]);
        assert!(scene.gate.enter().is_none(), "nobody comes in between");
        let one = one.redeem().unwrap();
        drop(two);
        drop((one, b));
        assert_eq!(scene.rung(), [3]);
        assert_eq!((scene.gate.inside(), scene.gate.waiting()), (1, 0));
        drop(three);
        assert_eq!(scene.gate.inside(), 0, "called, and gone");
    }

    #[test]
    fn a_higher_bound_calls_and_a_lower_one_waits_until_they_leave() {
        let scene = Scene::new(1);
        let first = scene.gate.enter().unwrap();
        let turns = [scene.waits(1), scene.waits(2)];
        scene.gate.set_max(3);
        assert_eq!(scene.rung(), [1, 2]);
        let slots = turns.map(|turn| turn.redeem().unwrap());
        scene.gate.set_max(1);
        drop(slots);
        assert!(scene.gate.enter().is_none());
        drop(first);
        assert!(scene.gate.enter().is_some());
    }
}
