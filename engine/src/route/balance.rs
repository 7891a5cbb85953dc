//! One of several servers that are fit.
//!
//! Purpose: the policies. All of them go by weight: half the weight, half the share.
//! Never: allocate, or look at more than the servers of one endpoint.

use std::time::Duration;

use crate::base::{BackendId, Time};
use crate::config::Policy;
use crate::route::aim::Aim;
use crate::route::draw::{Able, Among, Draw};
use crate::route::field::{Candidate, Field};

/// How fast what is known of a server's answers is forgotten.
const MEMORY: Duration = Duration::from_secs(10);

/// What a worker knows of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Statements under way.
    pub outstanding: u32,
    /// Connections, of all workers where they tell each other.
    pub connections: u32,
    /// How long answers take, in nanoseconds: at once when they take longer, slowly when less.
    answer_nanos: f32,
    answered: Option<Time>,
}

impl Load {
    /// The same, with so many statements under way and so many connections.
    #[must_use]
    pub const fn with(self, outstanding: u32, connections: u32) -> Self {
        Self { outstanding, connections, ..self }
    }

    /// An answer took so long.
    pub fn on_answer(&mut self, took: Duration, now: Time) {
        let took = took.as_secs_f32() * 1e9;
        let before = self.answer_nanos_at(now);
        self.answer_nanos = if took > before { took } else { before + (took - before) / 8.0 };
        self.answered = Some(now);
    }

    /// How long answers take, as far as that is remembered: who was slow once is tried again.
    fn answer_nanos_at(&self, now: Time) -> f32 {
        let Some(answered) = self.answered else { return 0.0 };
        let silent = Duration::from_nanos(now.as_nanos().saturating_sub(answered.as_nanos()));
        self.answer_nanos * (-silent.as_secs_f32() / MEMORY.as_secs_f32()).exp()
    }
}

/// Why there is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// The cluster has no primary.
    Primary,
    /// No replica is fit, and the primary takes no reads.
    Replica,
}

/// What a server is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What it has to be good for.
    pub aim: &'a Aim,
    /// One that has just failed.
    pub avoids: Option<BackendId>,
    /// What else it has to be.
    pub able: Able<'a>,
}

/// How an endpoint's reads were dealt out so far.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    /// What each candidate is owed, by its place in the field.
    credit: Vec<i64>,
    /// For chance.
    seed: u64,
    /// Where the last search began: of equals not always the first is taken.
    turn: usize,
}

impl Balance {
    /// A server for what is `asked`. `load` tells what is known of each.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(
        &mut self,
        field: &Field,
        asked: Asked<'_>,
        policy: Policy,
        now: Time,
        load: impl Fn(BackendId) -> Load,
    ) -> Result<BackendId, NoServer> {
        match field.draw(asked.aim, asked.avoids, asked.able) {
            Draw::Primary(one) | Draw::Named(one) | Draw::Fallback(one) => Ok(one.backend),
            Draw::Nobody(nobody) => Err(nobody),
            Draw::Among(among) => {
                let place = self.place(field, &among, policy, now, load);
                let chosen = place.and_then(|place| field.candidates.get(place));
                chosen.map(|it| it.backend).ok_or(NoServer::Replica)
            }
        }
    }

    /// Of the candidates that would do, the place of the one that is due.
    fn place(
        &mut self,
        field: &Field,
        among: &Among<'_>,
        policy: Policy,
        now: Time,
        load: impl Fn(BackendId) -> Load,
    ) -> Option<usize> {
        let count = field.candidates.len();
        let weight_of = |it: &Candidate| among.weight_of(it);
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let all = field.candidates.iter().enumerate().filter(|(_, it)| among.takes(it));
        let fit_count = all.clone().count();
        let turned = turn.checked_rem(fit_count)?;
        let mut fit = all.clone().chain(all).skip(turned).take(fit_count);
        // What counts first, and what counts among equals; less is better.
        let cost = |it: &Candidate| -> (f32, f32) {
            let load = load(it.backend);
            let share = |of: f32| of / float(weight_of(it));
            let busy = share(float(load.outstanding) + 1.0);
            match policy {
                Policy::LeastConnections => (share(float(load.connections) + 1.0), busy),
                Policy::Fastest => (load.answer_nanos_at(now) * busy, busy),
                Policy::LeastLag => (float(it.lag_ms.unwrap_or(u32::MAX)), busy),
                Policy::LeastOutstanding | Policy::WeightedRandom | Policy::RoundRobin => {
                    (busy, 0.0)
                }
            }
        };
        match policy {
            Policy::WeightedRandom => {
                let total: u64 = fit.clone().map(|(_, it)| u64::from(weight_of(it))).sum();
                let mut left = self.chance() % total.max(1);
                fit.find(|(_, it)| {
                    let weight = u64::from(weight_of(it));
                    let is_it = left < weight;
                    left = left.saturating_sub(weight);
                    is_it
                })
                .map(|(place, _)| place)
            }
            Policy::RoundRobin => {
                self.credit.resize(count, 0);
                let mut total = 0;
                let mut due: Option<(i64, usize)> = None;
                for (place, it) in fit {
                    let weight = i64::from(weight_of(it));
                    total += weight;
                    let Some(credit) = self.credit.get_mut(place) else { continue };
                    *credit += weight;
                    if due.is_none_or(|(most, _)| *credit > most) {
                        due = Some((*credit, place));
                    }
                }
                let (_, place) = due?;
                if let Some(credit) = self.credit.get_mut(place) {
                    *credit -= total;
                }
                Some(place)
            }
            Policy::LeastOutstanding
            | Policy::LeastConnections
            | Policy::Fastest
            | Policy::LeastLag => {
                let mut best: Option<((f32, f32), usize)> = None;
                for (place, it) in fit {
                    let cost = cost(it);
                    if best.is_none_or(|(least, _)| cost < least) {
                        best = Some((cost, place));
                    }
                }
                best.map(|(_, place)| place)
            }
        }
    }

    /// The next number by chance (splitmix64).
    const fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Exact up to 16 million, and close enough above.
#[expect(clippy::cast_precision_loss, reason = "costs are compared, not added up")]
const fn float(number: u32) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests;
