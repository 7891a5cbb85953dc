//! What is known about the servers: observations in, a snapshot of the cluster out.
//!
//! Purpose: turn what probes saw into one immutable picture that workers route by.
//! Never: probe; the control thread owns the sockets and the clock.
#![forbid(unsafe_code)]

mod observation;
mod probe;
mod snapshot;

pub use observation::{Observation, Topology};
pub use probe::{Probe, ProbeStep};
pub use snapshot::{BackendView, Snapshot};

#[cfg(test)]
mod tests;
