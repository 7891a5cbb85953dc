//! Commands that wait: because of a rule, or for the primary's position.
//!
//! Purpose: keep them until their time has come, their turn, or the end of their patience.
//! Never: keep one whose client has gone.

use std::sync::Arc;

use crate::base::{Key, Time};
use crate::bus::Desk;
use crate::io::Driver;
use crate::route::{Bell, Joined, Positions, Rule, Turn};
use crate::session::{Hold, over};
use crate::worker::Worker;

/// A command that waits.
#[derive(Debug)]
pub(super) struct Held {
    /// When that is over, for good or ill.
    until: Time,
    what: What,
}

/// What a command waits for.
#[derive(Debug)]
enum What {
    /// Its time.
    Time,
    /// Its turn among others, by a rule.
    Turn(Turn, Arc<Rule>),
    /// The primary's position.
    Position(Arc<Positions>),
}

impl<D: Driver> Worker<D> {
    /// A session's command waits.
    pub(super) fn hold(&mut self, key: Key, hold: Hold) {
        let (until, what) = match hold {
            Hold::Until(until) => (until, What::Time),
            Hold::Turn(rule, until) => {
                let waiters_max = rule.limit().map_or(0, |limit| limit.waiters_max);
                let desk: Arc<Desk> = Arc::clone(&self.desk);
                match rule.gate().join(desk as Arc<dyn Bell>, key, waiters_max) {
                    Joined::Waits(turn) => {
                        rule.waits();
                        (until, What::Turn(turn, rule))
                    }
                    Joined::Inside(slot) => {
                        if let Some(entry) = self.sessions.get_mut(key) {
                            entry.session.admit(slot);
                        }
                        return self.resume(key);
                    }
                    Joined::Full => return self.turn_away_held(key, &rule),
                }
            }
        };
        self.put_on_hold(key, Held { until, what });
    }

    /// A session's command waits for the primary's position.
    pub(super) fn keep_until(&mut self, key: Key, until: Time, positions: Arc<Positions>) {
        self.put_on_hold(key, Held { until, what: What::Position(positions) });
    }

    fn put_on_hold(&mut self, key: Key, held: Held) {
        if let Some(entry) = self.sessions.get_mut(key) {
            self.holds.insert((held.until, key.index), key);
            entry.held = Some(Box::new(held));
        }
    }

    /// Whether a session keeps what its client sends.
    pub(super) fn keeps_input(&self, key: Key) -> bool {
        self.is_acquiring(key) || self.is_held(key)
    }

    /// Whether a session's command waits, by a rule or for the primary's position.
    pub(super) fn is_held(&self, key: Key) -> bool {
        self.sessions.get(key).is_some_and(|entry| entry.held.is_some())
    }

    /// When the next wait is over.
    pub(super) fn next_hold(&self) -> Time {
        self.holds.first_key_value().map_or(Time::NEVER, |((until, _), _)| *until)
    }

    /// Ends the waits whose time has come.
    pub(super) fn end_holds(&mut self, now: Time) {
        while self.next_hold() <= now
            && let Some((_, key)) = self.holds.pop_first()
        {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            match entry.held.take().map(|held| held.what) {
                None | Some(What::Time) => self.resume(key),
                Some(What::Turn(turn, rule)) => match turn.redeem() {
                    Ok(slot) => {
                        entry.session.admit(slot);
                        self.resume(key);
                    }
                    Err(_) => self.turn_away_held(key, &rule),
                },
                Some(What::Position(positions)) => {
                    self.leave_positions(key, &positions);
                    self.give_up_position(key);
                }
            }
        }
    }

    /// Sessions whose turn may have come.
    pub(super) fn on_rung(&mut self) {
        for key in self.desk.take_rung() {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let Some(held) = entry.held.take() else { continue };
            let Held { until, what } = *held;
            match what {
                What::Time => entry.held = Some(Box::new(Held { until, what })),
                What::Turn(turn, rule) => match turn.redeem() {
                    Ok(slot) => {
                        entry.session.admit(slot);
                        self.holds.remove(&(until, key.index));
                        self.resume(key);
                    }
                    Err(turn) => {
                        let what = What::Turn(turn, rule);
                        entry.held = Some(Box::new(Held { until, what }));
                    }
                },
                What::Position(_) => {
                    self.holds.remove(&(until, key.index));
                    self.acquire(key);
                }
            }
        }
    }

    /// A session is over whose command may wait.
    pub(super) fn forget_hold(&mut self, key: Key) {
        if let Some(held) = self.sessions.get_mut(key).and_then(|entry| entry.held.take()) {
            self.holds.remove(&(held.until, key.index));
            if let What::Position(positions) = &held.what {
                self.leave_positions(key, positions);
            }
        }
    }

    fn leave_positions(&self, key: Key, positions: &Positions) {
        let desk: Arc<Desk> = Arc::clone(&self.desk);
        positions.leave(&(desk as Arc<dyn Bell>), key);
    }

    fn turn_away_held(&mut self, key: Key, rule: &Rule) {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.session.deny_backend(over(rule));
            self.resume(key);
        }
    }
}
