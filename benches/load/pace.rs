//! When the next query is due.
//!
//! Purpose: a closed loop (as fast as answers come) or an open one (a fixed rate, whatever the
//! answers do), with latencies counted from the time a query was due.
//! Never: skip a query because the server was slow; that would hide the slowness.

use std::time::{Duration, Instant};

/// How queries follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each client sends its next query when its answer has come.
    Saturated,
    /// That many queries per second over all clients.
    PerSecond(u32),
}

/// The schedule of one run.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    interval: Option<Duration>,
    issued: u32,
}

impl Schedule {
    /// A schedule beginning at `start`.
    #[must_use]
    pub fn new(pace: Pace, start: Instant) -> Self {
        let interval = match pace {
            Pace::Saturated => None,
            Pace::PerSecond(rate) => Some(Duration::from_secs(1) / rate.max(1)),
        };
        Self { start, interval, issued: 0 }
    }

    /// Time between queries; `None` if saturated.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Takes the next query if it is due at `now`; returns when it was due.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let Some(interval) = self.interval else { return Some(now) };
        let due = self.start + interval * self.issued;
        if due > now {
            return None;
        }
        self.issued += 1;
        Some(due)
    }

    /// Queries due at `now` and not taken: the clients were all waiting.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> u64 {
        let Some(interval) = self.interval else { return 0 };
        let due = (now - self.start).as_nanos() / interval.as_nanos().max(1) + 1;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(u64::from(self.issued))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_queries_keep_their_due_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::PerSecond(1000), start);
        assert_eq!(schedule.take(start), Some(start));
        assert_eq!(schedule.take(start), None);
        let late = start + Duration::from_millis(5);
        assert_eq!(schedule.overdue(late), 5);
        let dues: Vec<_> = std::iter::from_fn(|| schedule.take(late)).collect();
        let expected: Vec<_> = (1..=5).map(|k| start + Duration::from_millis(k)).collect();
        assert_eq!(dues, expected);
        assert_eq!(schedule.overdue(late), 0);
    }

    #[test]
    fn saturated_is_always_due() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::Saturated, start);
        assert_eq!(schedule.take(start), Some(start));
        assert_eq!(schedule.take(start), Some(start));
        assert_eq!(schedule.overdue(start), 0);
    }
}
