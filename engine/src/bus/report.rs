//! What a worker tells of itself when asked.
//!
//! Purpose: a copy of everything that only the worker's thread may look at.
//! Never: be made without being asked for: a copy is some tens of kilobytes.

use crate::base::WorkerId;
use crate::io::DriverStats;
use crate::observe::Figures;

/// A worker at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which worker.
    pub worker: WorkerId,
    /// Sessions open.
    pub sessions: usize,
    /// Those of them that are logging in.
    pub logging_in: usize,
    /// Its driver's figures.
    pub driver: DriverStats,
    /// Times, connections and errors since its start.
    pub figures: Figures,
}
