//! What a session needs a connection for.
//!
//! Purpose: which servers will do, in a form that is cheap to keep and to compare.
//! Never: name a server of its own accord.

use crate::base::Consistency;
use crate::sql::{Classified, Nodes, Reason};

/// Which servers will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    /// The primary.
    #[default]
    Primary,
    /// Any that is fit for reads.
    Reads,
    /// The same, and a hint asks for more. Boxed: hints are rare.
    Wished(Box<Wish>),
}

/// What a hint asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The server of that name, if it is fit.
    pub backend: Option<Box<[u8]>>,
    /// One that is no further behind, in milliseconds.
    pub max_lag_ms: Option<u64>,
    /// A replica, though the primary takes reads as well.
    pub replica: bool,
    /// One on which nobody can write.
    pub fenced: bool,
    /// How fresh the read has to be.
    pub consistency: Option<Consistency>,
}

impl Aim {
    /// Where a text goes on an endpoint that splits, outside of a transaction.
    #[must_use]
    pub fn of(found: &Classified<'_>) -> Self {
        let hints = &found.hints;
        match found.nodes() {
            Nodes::Primary => Self::Primary,
            // What a hint says that cannot be read may be that it has to be fresh.
            Nodes::Replicas if hints.odd => Self::Primary,
            Nodes::Replicas => {
                let wish = Wish {
                    backend: hints.backend.map(Into::into),
                    max_lag_ms: hints.max_lag_ms,
                    replica: hints.role.is_some() || found.reason == Reason::ReadOnlyTransaction,
                    fenced: false,
                    consistency: hints.consistency,
                };
                if wish == Wish::default() { Self::Reads } else { Self::Wished(Box::new(wish)) }
            }
        }
    }

    /// To where the server says no to what writes.
    #[must_use]
    pub fn fenced() -> Self {
        Self::Wished(Box::new(Wish { fenced: true, ..Wish::default() }))
    }

    /// Whether only the primary will do.
    #[must_use]
    pub const fn is_primary(&self) -> bool {
        matches!(self, Self::Primary)
    }

    /// What a hint asks for.
    #[must_use]
    pub fn wish(&self) -> Option<&Wish> {
        match self {
            Self::Primary | Self::Reads => None,
            Self::Wished(wish) => Some(wish),
        }
    }
}
