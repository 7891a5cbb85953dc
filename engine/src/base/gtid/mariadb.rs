//! MariaDB's GTID positions: `domain-server-number`, one per domain.
//!
//! Purpose: parse, print, merge, compare and count them.
//! Never: hold two ids of one domain.

use std::collections::BTreeMap;
use std::fmt;

use super::{GTID_PARTS_MAX, GtidError};

/// In each domain the last transaction, which stands for all before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbPosition {
    domains: BTreeMap<u32, Last>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    server: u32,
    number: u64,
}

impl MariaDbPosition {
    /// Reads a position. Of two ids of one domain, as a binary log's state has them, the later one
    /// counts.
    ///
    /// # Errors
    /// [`GtidError`].
    pub fn parse(text: &str) -> Result<Self, GtidError> {
        let mut position = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let mut words = item.split('-');
            let mut word = || words.next().filter(|word| word.bytes().all(|b| b.is_ascii_digit()));
            let domain = word().and_then(|word| word.parse().ok());
            let server = word().and_then(|word| word.parse().ok());
            let number = word().and_then(|word| word.parse().ok());
            let (Some(domain), Some(server), Some(number), None) =
                (domain, server, number, words.next())
            else {
                return Err(GtidError::Malformed);
            };
            position.take(domain, Last { server, number });
            if position.domains.len() > GTID_PARTS_MAX {
                return Err(GtidError::TooMany);
            }
        }
        Ok(position)
    }

    /// Whether nothing was committed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Goes on to another position in every domain where that is later.
    ///
    /// # Errors
    /// [`GtidError::TooMany`]; it stays where it was then.
    pub fn merge(&mut self, other: &Self) -> Result<(), GtidError> {
        let is_new = |domain: &&u32| !self.domains.contains_key(domain);
        if self.parts() + other.domains.keys().filter(is_new).count() > GTID_PARTS_MAX {
            return Err(GtidError::TooMany);
        }
        for (domain, last) in &other.domains {
            self.take(*domain, *last);
        }
        Ok(())
    }

    /// How many domains.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.domains.len()
    }

    /// How many transactions lie between this position and the other, where that is later. Servers
    /// may leave numbers out, so there are no more than that.
    #[must_use]
    pub fn missing(&self, other: &Self) -> u64 {
        let missing = other.domains.iter().map(|(domain, last)| {
            last.number.saturating_sub(self.domains.get(domain).map_or(0, |had| had.number))
        });
        missing.fold(0, u64::saturating_add)
    }

    /// Whether this position is at the other, or later, in all its domains.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.missing(other) == 0
    }

    fn take(&mut self, domain: u32, last: Last) {
        let known = self.domains.entry(domain).or_insert(last);
        if last.number > known.number {
            *known = last;
        }
    }
}

/// As servers print it.
impl fmt::Display for MariaDbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (domain, Last { server, number }) in &self.domains {
            write!(f, "{before}{domain}-{server}-{number}")?;
            before = ",";
        }
        Ok(())
    }
}
