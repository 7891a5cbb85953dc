//! Why a command went where it went.
//!
//! Purpose: names for metrics and for people.
//! Never: decide.

use crate::sql::Reason;

/// A reason; of a text, or another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Why(u8);

/// Reasons that are no text's.
const OTHERS: [&str; 9] = [
    "kept-connection",
    "implicit-transaction",
    "begun-transaction",
    "refused-by-replica",
    "command",
    "cursor",
    "tied-statement",
    "long-text",
    "replica-behind",
];

impl Why {
    /// It stays where its session is.
    pub const KEPT: Self = Self::other(0);
    /// `autocommit` is off.
    pub const IMPLICIT_TRANSACTION: Self = Self::other(1);
    /// It is the first of a transaction.
    pub const TRANSACTION: Self = Self::other(2);
    /// A replica could not, or would not.
    pub const REFUSED: Self = Self::other(3);
    /// It is no statement.
    pub const COMMAND: Self = Self::other(4);
    /// It opens a cursor.
    pub const CURSOR: Self = Self::other(5);
    /// A prepared statement that has to stay on one connection.
    pub const TIED: Self = Self::other(6);
    /// A text too long to be read first.
    pub const LONG: Self = Self::other(7);

    /// No replica has, in time, what it has to see.
    pub const BEHIND: Self = Self::other(8);

    /// How many there are.
    pub const COUNT: usize = Reason::ALL.len() + OTHERS.len();

    const fn other(index: u8) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "there are a few dozen")]
        Self(Reason::ALL.len() as u8 + index)
    }

    /// That of a text.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        Self(reason as u8)
    }

    /// That of a text that reads, and nothing else.
    #[must_use]
    pub fn is_read(self) -> bool {
        let reads = [Reason::PlainRead, Reason::Schema, Reason::Explain, Reason::Checksum];
        reads.into_iter().any(|reason| self == Self::of(reason))
    }

    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The name of the one in that place.
    #[must_use]
    pub fn name_of(index: usize) -> &'static str {
        match Reason::ALL.get(index) {
            Some(reason) => reason.name(),
            None => OTHERS.get(index - Reason::ALL.len()).copied().unwrap_or(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Miss, Unfit};

    #[test]
    fn every_reason_has_its_own_name() {
        for reason in Reason::ALL {
            assert_eq!(Why::name_of(Why::of(*reason).index()), reason.name());
        }
        let mut names: Vec<_> = (0..Why::COUNT).map(Why::name_of).collect();
        assert_eq!(Why::name_of(Why::LONG.index()), "long-text");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Why::COUNT);
        assert!(names.iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn the_page_explains_every_reason_and_why_a_server_is_left_out() {
        let page = include_str!("../../../docs/routing.md");
        let misses = [Miss::HintedLag, Miss::NoReplica, Miss::NotFenced].map(Miss::name);
        let unfit = Unfit::ALL.iter().map(|unfit| unfit.name());
        for name in (0..Why::COUNT).map(Why::name_of).chain(unfit).chain(misses) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
        for reason in Reason::ALL {
            let row = format!("| `{}` | {}", reason.name(), reason.text());
            assert!(page.contains(&row), "{row}");
        }
    }
}
