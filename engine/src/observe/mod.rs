//! What Weir says about itself.
//!
//! Purpose: counters each worker keeps for itself, and log lines in bounded number.
//! Never: decide anything, or cost a relayed query a locked instruction.

mod counters;
mod limit;
mod log;
mod writer;

pub use crate::log_limited;
pub use counters::{Counter, Counters, Totals, sum};
pub use limit::{LogGate, log_lines_suppressed};
pub use log::{LogError, LogFormat, LogGuard, LogLevel, change_log, log_lines_dropped, start_log};
