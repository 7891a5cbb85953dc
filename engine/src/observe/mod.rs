//! What Weir says about itself.
//!
//! Purpose: counters each worker keeps for itself, and log lines in bounded number.
//! Never: decide anything, or cost a relayed query a locked instruction.

mod counters;
mod limit;
mod log;

pub use crate::log_limited;
pub use counters::{Counter, Counters, Totals, sum};
pub use limit::LogGate;
pub use log::{LogError, LogFormat, LogLevel, change_log, start_log};
