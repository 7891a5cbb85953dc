//! What is known about the servers: observations in, a snapshot of the cluster out.
//!
//! Purpose: turn what probes saw into one immutable picture that workers route by.
//! Never: probe; the control thread owns the sockets and the clock.
#![forbid(unsafe_code)]

mod answer;
mod discovery;
mod event;
mod facts;
mod health;
mod known;
mod observation;
mod probe;
mod role;
mod snapshot;
mod survey;

pub use discovery::{Discovery, Look, Wanted};
pub use event::Event;
pub use facts::{Channel, Facts, Follower, Member, Node, Refusal, Thread};
pub use known::Status;
pub use observation::{Observation, Topology};
pub use probe::{Probe, ProbeStep};
pub use snapshot::{BackendView, Snapshot};
pub use survey::{Question, Wishes};

#[cfg(test)]
mod tests;
