//! Identifiers of the things Weir keeps.
//!
//! Purpose: indexes that cannot be mixed up, and the layout of the connection id clients see.
//! Never: hold what they identify.

use std::fmt;

macro_rules! index_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        impl $name {
            /// Position in the configuration's or the process's list.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index_id!(
    /// A worker: one CPU, one ring, one loop.
    WorkerId
);
index_id!(
    /// A cluster, by its position in the configuration.
    ClusterId
);
index_id!(
    /// A backend, by its position among all backends of the configuration.
    BackendId
);
index_id!(
    /// An endpoint, by its position in the configuration.
    EndpointId
);

impl BackendId {
    /// A backend that is no longer configured, while connections to it go on. No configuration has
    /// so many backends that it would be the id of one.
    pub const REMOVED: Self = Self(u16::MAX);
}

/// The connection id a client is told in its greeting; unique on this node while the session lives.
///
/// ```text
/// 31     26 25      18 17               0
/// | node   | worker   | sequence         |
/// ```
///
/// The node bits are zero on a single node; `KILL` uses the worker bits to find the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// Workers one node can number.
    pub const WORKERS_MAX: u16 = 1 << Self::WORKER_BITS;
    /// Sequence numbers of one worker; they wrap, skipping those still in use.
    pub const SEQUENCES: u32 = 1 << Self::SEQUENCE_BITS;

    const WORKER_BITS: u32 = 8;
    const SEQUENCE_BITS: u32 = 18;

    /// Id number `sequence` of `worker`; both are cut to their field.
    #[must_use]
    pub const fn new(worker: WorkerId, sequence: u32) -> Self {
        let worker = (worker.0 % Self::WORKERS_MAX) as u32;
        Self((worker << Self::SEQUENCE_BITS) | (sequence % Self::SEQUENCES))
    }

    /// The worker in a number that may be an id.
    #[must_use]
    pub const fn worker_of(number: u32) -> usize {
        (number >> Self::SEQUENCE_BITS) as usize % Self::WORKERS_MAX as usize
    }

    /// The number clients see.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
