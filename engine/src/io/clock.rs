//! The process's one monotonic clock.
//!
//! Purpose: every driver of the process counts from the same start, so times compare across workers.
//! Never: wall-clock time.

use std::sync::OnceLock;
use std::time::Instant;

use crate::base::Time;

static START: OnceLock<Instant> = OnceLock::new();

/// Time since the first call in this process.
pub(super) fn now() -> Time {
    let elapsed = START.get_or_init(Instant::now).elapsed();
    Time::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}
