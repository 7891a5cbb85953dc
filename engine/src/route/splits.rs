//! What an endpoint sends where.
//!
//! Purpose: from the mode of an endpoint and a text, outside of a transaction, to what the text's
//! connection has to be good for, or that it is refused.
//! Never: know of a session, or let anything but a read go to a replica of an endpoint that writes.

use crate::config::{Endpoint, EndpointMode};
use crate::route::aim::Aim;
use crate::route::why::Why;
use crate::sql::{Class, Classified, LexMode, Marks, Reason, classify};

/// Longer texts are not read: they go to the primary, and of an endpoint for reading to where nobody
/// can write.
pub const CLASSIFY_BYTES_MAX: usize = 64 << 10;

/// What an endpoint lets a session do where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Splits {
    /// What it does at all.
    pub mode: Mode,
    /// Reads of a transaction that has written nothing go to replicas.
    pub in_transactions: bool,
    /// So do reads that call functions of which nothing is known, where the replica is fenced.
    pub functions: bool,
}

/// What an endpoint does with reads and with everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything to the primary.
    #[default]
    Not,
    /// Reads to replicas.
    ReadWrite,
    /// Everything to replicas.
    ReadOnly,
}

impl Splits {
    /// As an endpoint is configured.
    #[must_use]
    pub const fn of(endpoint: &Endpoint) -> Self {
        Self {
            mode: match endpoint.mode {
                EndpointMode::Primary => Mode::Not,
                EndpointMode::ReadWrite => Mode::ReadWrite,
                EndpointMode::ReadOnly => Mode::ReadOnly,
            },
            in_transactions: endpoint.routing.transaction_split,
            functions: endpoint.routing.functions_on_replicas,
        }
    }

    /// Where a text goes, outside of a transaction, and why; `None` if it is refused.
    #[must_use]
    pub fn of_text(self, text: &[u8], mode: LexMode) -> (Option<Aim>, Why) {
        if text.len() > CLASSIFY_BYTES_MAX {
            return (Some(self.aim_unread()), Why::LONG);
        }
        let found = classify(text, mode);
        (self.aim(&found), Why::of(found.reason))
    }

    /// Where a text goes that is not read.
    #[must_use]
    pub fn aim_unread(self) -> Aim {
        match self.mode {
            Mode::Not | Mode::ReadWrite => Aim::Primary,
            Mode::ReadOnly => Aim::fenced(),
        }
    }

    fn aim(self, found: &Classified<'_>) -> Option<Aim> {
        let calls = found.reason == Reason::UnknownFunction;
        match self.mode {
            Mode::Not => Some(Aim::Primary),
            Mode::ReadWrite if calls && self.functions => Some(Aim::fenced()),
            Mode::ReadWrite => Some(Aim::of(found)),
            Mode::ReadOnly => match found.class {
                Class::Read | Class::Session | Class::Transaction => Some(Aim::Reads),
                Class::PrimaryRead if !calls => Some(Aim::Reads),
                Class::Ddl if found.marks.contains(Marks::TEMPORARY) => Some(Aim::Reads),
                // Nobody knows what these do; where the server is fenced, it says no.
                Class::PrimaryRead | Class::Unknown => Some(Aim::fenced()),
                Class::Write if found.reason == Reason::Call => Some(Aim::fenced()),
                Class::Write | Class::Ddl | Class::Admin => None,
            },
        }
    }
}
