//! Commands that a rule makes wait.
//!
//! Purpose: keep them until their time has come, their turn, or the end of their patience.
//! Never: keep one whose client has gone.

use std::sync::Arc;

use crate::base::{Key, Time};
use crate::bus::Desk;
use crate::io::Driver;
use crate::route::{Bell, Joined, Rule, Turn};
use crate::session::{Hold, over};
use crate::worker::Worker;

/// A command that waits.
#[derive(Debug)]
pub(super) struct Held {
    /// When that is over, for good or ill.
    until: Time,
    /// Its place among those who wait for their turn.
    turn: Option<(Turn, Arc<Rule>)>,
}

impl<D: Driver> Worker<D> {
    /// A session's command waits.
    pub(super) fn hold(&mut self, key: Key, hold: Hold) {
        let (until, turn) = match hold {
            Hold::Until(until) => (until, None),
            Hold::Turn(rule, until) => {
                let waiters_max = rule.limit().map_or(0, |limit| limit.waiters_max);
                let desk: Arc<Desk> = Arc::clone(&self.desk);
                match rule.gate().join(desk as Arc<dyn Bell>, key, waiters_max) {
                    Joined::Waits(turn) => {
                        rule.waits();
                        (until, Some((turn, rule)))
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
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.held = Some(Box::new(Held { until, turn }));
            self.holds.insert((until, key.index), key);
        }
    }

    /// Whether a session keeps what its client sends.
    pub(super) fn keeps_input(&self, key: Key) -> bool {
        self.is_acquiring(key) || self.is_held(key)
    }

    /// Whether a session's command waits because of a rule.
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
            match entry.held.take().and_then(|held| held.turn) {
                None => self.resume(key),
                Some((turn, rule)) => match turn.redeem() {
                    Ok(slot) => {
                        entry.session.admit(slot);
                        self.resume(key);
                    }
                    Err(_) => self.turn_away_held(key, &rule),
                },
            }
        }
    }

    /// Sessions whose turn may have come.
    pub(super) fn on_rung(&mut self) {
        for key in self.desk.take_rung() {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let Some(held) = entry.held.take() else { continue };
            let Held { until, turn } = *held;
            let Some((turn, rule)) = turn else {
                entry.held = Some(Box::new(Held { until, turn: None }));
                continue;
            };
            match turn.redeem() {
                Ok(slot) => {
                    entry.session.admit(slot);
                    self.holds.remove(&(until, key.index));
                    self.resume(key);
                }
                Err(turn) => {
                    entry.held = Some(Box::new(Held { until, turn: Some((turn, rule)) }));
                }
            }
        }
    }

    /// A session is over whose command may wait.
    pub(super) fn forget_hold(&mut self, key: Key) {
        if let Some(held) = self.sessions.get_mut(key).and_then(|entry| entry.held.take()) {
            self.holds.remove(&(held.until, key.index));
        }
    }

    fn turn_away_held(&mut self, key: Key, rule: &Rule) {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.session.deny_backend(over(rule));
            self.resume(key);
        }
    }
}
