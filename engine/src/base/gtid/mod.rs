//! What a server has committed, as both families write it.
//!
//! Purpose: sets and positions of global transaction ids as values that are compared, merged and
//! counted.
//! Never: ask a server, or hold more than a bounded number of intervals.
//!
//! MySQL keeps a *set* of ids per source, with holes. MariaDB keeps a *position*: in each domain the
//! last id, which stands for all before it.

mod mariadb;
mod mysql;

use std::fmt;

pub use mariadb::MariaDbPosition;
pub use mysql::MySqlGtids;

/// Why a text is no set or position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    /// It is written otherwise.
    #[error("it is no GTID set")]
    Malformed,
    /// It has more parts than are kept.
    #[error("it has more than {GTID_PARTS_MAX} parts")]
    TooMany,
}

/// Intervals of a set, or domains of a position. A healthy server has a few; holes make more.
pub const GTID_PARTS_MAX: usize = 16_384;

/// What a server has, of either family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtids {
    /// MySQL's `gtid_executed`.
    MySql(MySqlGtids),
    /// MariaDB's `gtid_binlog_pos` and the like.
    MariaDb(MariaDbPosition),
}

impl Gtids {
    /// How many transactions of `other` are not in here; `None` across families, which do not know
    /// each other's ids.
    #[must_use]
    pub fn missing(&self, other: &Self) -> Option<u64> {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => Some(this.missing(other)),
            (Self::MariaDb(this), Self::MariaDb(other)) => Some(this.missing(other)),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => None,
        }
    }

    /// Whether everything of `other` is in here. Never across families.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.contains(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.contains(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => false,
        }
    }

    /// Takes in everything of another set of the same family.
    ///
    /// # Errors
    /// [`GtidError`]; nothing was taken in then.
    pub fn merge(&mut self, other: &Self) -> Result<(), GtidError> {
        match (self, other) {
            (Self::MySql(this), Self::MySql(other)) => this.merge(other),
            (Self::MariaDb(this), Self::MariaDb(other)) => this.merge(other),
            (Self::MySql(_), Self::MariaDb(_)) | (Self::MariaDb(_), Self::MySql(_)) => {
                Err(GtidError::Malformed)
            }
        }
    }

    /// Intervals of a set, or domains of a position.
    #[must_use]
    pub fn parts(&self) -> usize {
        match self {
            Self::MySql(set) => set.parts(),
            Self::MariaDb(position) => position.parts(),
        }
    }

    /// Takes in what came before, of each source that has numbered its transactions without a hole
    /// so far, as far as `known` has them: whoever sees the later ones has seen those.
    pub fn fill(&mut self, known: &Self) {
        if let (Self::MySql(this), Self::MySql(known)) = (self, known) {
            this.fill(known);
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(position) => position.is_empty(),
        }
    }
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(position) => position.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
