//! At most so many lines a second from one place in the code.
//!
//! Purpose: a flood of failing clients must not become a flood of writes to the log.
//! Never: stay silent about silence: the next line says how many were left out.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Time;

/// Lines all gates together did not let through.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Log lines of this process that were left out because too many came from one place.
#[must_use]
pub fn log_lines_suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// Lets a bounded number of lines per second through, over all threads.
///
/// ```text
/// 63        32 31         0
/// | second     | lines    |    of that second, suppressed ones included
/// ```
#[derive(Debug)]
pub struct LogGate {
    state: AtomicU64,
    lines_max: u32,
}

impl LogGate {
    /// Lines per second and call site that [`log_limited!`](crate::log_limited) lets through.
    pub const LINES_MAX: u32 = 10;

    /// A gate for at most `lines_max` lines a second.
    #[must_use]
    pub const fn new(lines_max: u32) -> Self {
        Self { state: AtomicU64::new(0), lines_max }
    }

    /// Whether a line may be written now, and if so how many were suppressed since the last one.
    pub fn admit(&self, now: Time) -> Option<u32> {
        let second = now.as_nanos() / NANOS_PER_SECOND;
        let mut verdict = None;
        let update = |state: u64| {
            let (of, lines) = (state >> COUNT_BITS, state & COUNT_MASK);
            // Workers' clocks may be a turn apart: time that goes back stays in the same second.
            let (next, admitted) = if second > of {
                let suppressed = lines.saturating_sub(u64::from(self.lines_max));
                ((second << COUNT_BITS) | 1, (self.lines_max > 0).then_some(suppressed))
            } else {
                let admitted = (lines < u64::from(self.lines_max)).then_some(0);
                ((of << COUNT_BITS) | (lines + 1).min(COUNT_MASK), admitted)
            };
            verdict = admitted;
            Some(next)
        };
        // Always stores, so it cannot fail.
        let stored = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        if verdict.is_none() {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        }
        stored.ok().and(verdict).map(|suppressed| u32::try_from(suppressed).unwrap_or(u32::MAX))
    }
}

/// Logs like `tracing`'s macro of the named level, at most [`LogGate::LINES_MAX`] lines a second
/// from this place: `log_limited!(now, warn, backend = %name, "connection refused")`. A line after
/// suppressed ones carries their number as `suppressed`.
#[macro_export]
macro_rules! log_limited {
    ($now:expr, $level:ident, $($line:tt)+) => {{
        static GATE: $crate::observe::LogGate =
            $crate::observe::LogGate::new($crate::observe::LogGate::LINES_MAX);
        match GATE.admit($now) {
            None => {}
            Some(0) => ::tracing::$level!($($line)+),
            Some(suppressed) => ::tracing::$level!(suppressed, $($line)+),
        }
    }};
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(milliseconds: u64) -> Time {
        Time::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn admits_a_bounded_number_and_says_how_many_it_did_not() {
        let gate = LogGate::new(2);
        let table = [
            (0, Some(0)),
            (1, Some(0)),
            (2, None),
            (999, None),
            (1_000, Some(2)),
            (1_001, Some(0)),
            (1_002, None),
            // A clock that lags behind opens no second window.
            (500, None),
            (5_000, Some(2)),
            (6_000, Some(0)),
        ];
        for (milliseconds, expected) in table {
            assert_eq!(gate.admit(at_ms(milliseconds)), expected, "at {milliseconds} ms");
        }
    }

    #[test]
    fn bounds_all_threads_together() {
        const THREADS: usize = 4;
        static GATE: LogGate = LogGate::new(10);
        let admit = || (0..1_000).filter(|_| GATE.admit(at_ms(1)).is_some()).count();
        let threads: Vec<_> = (0..THREADS).map(|_| std::thread::spawn(admit)).collect();
        let admitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(admitted, 10);
        assert_eq!(GATE.admit(at_ms(1_000)), Some(1_000 * 4 - 10));
        // Other tests suppress lines at the same time.
        assert!(log_lines_suppressed() >= 1_000 * 4 - 10);
    }

    #[test]
    fn a_gate_for_nothing_admits_nothing() {
        let gate = LogGate::new(0);
        assert_eq!([0, 1, 1_000].map(|ms| gate.admit(at_ms(ms))), [None; 3]);
    }
}
