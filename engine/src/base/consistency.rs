//! How fresh a read has to be.

/// How much of what was written a read has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// As much as a replica happens to have.
    Eventual,
    /// What its own session has written.
    Session,
    /// What was written through this Weir.
    Instance,
    /// Everything.
    Global,
}
