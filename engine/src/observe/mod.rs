//! What Weir says about itself.
//!
//! Purpose: counters and histograms each worker keeps for itself, the pages made of them, and log
//! lines in bounded number.
//! Never: decide anything, or cost a relayed query a locked instruction.
//!
//! Reading order: `counters`, `latency`, `errors`, `figures` (all that a worker owns), `catalog`
//! (every metric), `text` and `interval_log` (the pages), `log`, `limit`, `writer`.

mod catalog;
mod counters;
mod errors;
mod figures;
mod interval_log;
mod latency;
mod limit;
mod log;
mod text;
mod writer;

pub use crate::log_limited;
pub use catalog::{Metric, MetricKind, reference};
pub use counters::{Counter, Counters, Totals, sum};
pub use errors::ErrorCodes;
pub use figures::{BackendFigures, EndpointFigures, Figures, PinFigures, ROUTES_MAX, ReadOutcome};
pub use interval_log::{INTERVAL_LOG_TYPE, interval_log};
pub use latency::{BUCKETS, Latency};
pub use limit::{LogGate, log_lines_suppressed};
pub use log::{LogError, LogFormat, LogGuard, LogLevel, change_log, log_lines_dropped, start_log};
pub use text::{MetricsPage, Seconds};
