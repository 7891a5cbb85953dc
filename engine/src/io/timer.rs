//! Deadlines of a driver: connects, flushes before close, pauses after a failed accept.
//!
//! Purpose: the earliest deadline in constant time, any number of cancellations.
//! Never: read a clock, or keep more than twice the live deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::{Key, Slab, Time};

/// Address of one deadline.
pub(super) type TimerId = Key;

/// Heap entries a cancelled deadline may leave behind before the heap is rebuilt.
const SLACK: usize = 64;

/// Deadlines that each carry a value. A cancelled one stays in the heap until it is due or the heap
/// is rebuilt; its id is stale at once.
#[derive(Debug)]
pub(super) struct Timers<T> {
    live: Slab<T>,
    heap: BinaryHeap<Reverse<(Time, u32, u32)>>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { live: Slab::default(), heap: BinaryHeap::new() }
    }
}

impl<T> Timers<T> {
    /// Adds a deadline. `None` for [`Time::NEVER`], which needs no watching.
    pub(super) fn add(&mut self, at: Time, value: T) -> Option<TimerId> {
        if at == Time::NEVER {
            return None;
        }
        let id = self.live.insert(value)?;
        self.heap.push(Reverse((at, id.index, id.generation)));
        Some(id)
    }

    /// Forgets a deadline; nothing happens when it has passed.
    pub(super) fn cancel(&mut self, id: TimerId) {
        self.live.remove(id);
        if self.heap.len() > 2 * self.live.len() + SLACK {
            let live = &self.live;
            self.heap.retain(|Reverse((_, index, generation))| {
                live.get(Key { index: *index, generation: *generation }).is_some()
            });
        }
    }

    /// The earliest deadline, or [`Time::NEVER`].
    pub(super) fn first(&mut self) -> Time {
        while let Some(&Reverse((at, index, generation))) = self.heap.peek() {
            if self.live.get(Key { index, generation }).is_some() {
                return at;
            }
            self.heap.pop();
        }
        Time::NEVER
    }

    /// Takes one deadline that is due at `now`; call until `None`.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<T> {
        if self.first() > now {
            return None;
        }
        let Reverse((_, index, generation)) = self.heap.pop()?;
        self.live.remove(Key { index, generation })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn due_in_order_and_cancelled_ones_never() {
        let mut timers = Timers::default();
        timers.add(at(30), 'c');
        let b = timers.add(at(20), 'b').unwrap();
        timers.add(at(10), 'a');
        timers.cancel(b);
        assert_eq!(timers.first(), at(10));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(40)), Some('a'));
        assert_eq!(timers.pop_due(at(40)), Some('c'));
        assert_eq!((timers.pop_due(at(40)), timers.first()), (None, Time::NEVER));
    }

    #[test]
    fn cancelled_deadlines_do_not_pile_up() {
        let mut timers = Timers::default();
        let kept = timers.add(at(5), 0).unwrap();
        for n in 1..10_000 {
            let id = timers.add(at(n), 1).unwrap();
            timers.cancel(id);
        }
        assert!(timers.heap.len() <= 2 + SLACK, "{}", timers.heap.len());
        assert_eq!(timers.pop_due(at(5)), Some(0));
        timers.cancel(kept);
        assert_eq!(timers.add(Time::NEVER, 2), None);
    }
}
