//! Which driver this process can use, and why not the other one.
//!
//! Purpose: one decision and one line for the log at start.
//! Never: decide silently: whoever asked for io_uring gets it or an error.

use std::fmt;

use crate::io::uring::{Features, Unavailable, probe_uring};

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The ring where it can be used, else epoll.
    Auto,
    /// The ring or nothing.
    Uring,
    /// Epoll.
    Epoll,
}

/// What is used.
#[derive(Debug)]
pub enum Choice {
    /// io_uring, with these features.
    Uring(Features),
    /// Epoll, wanted or because the ring cannot be used.
    Epoll(Option<Unavailable>),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uring(features) => write!(f, "io_uring, {features}"),
            Self::Epoll(None) => f.write_str("epoll, as configured"),
            Self::Epoll(Some(why)) => write!(f, "epoll, because {why}"),
        }
    }
}

/// Tries what is preferred.
///
/// # Errors
/// When the ring is demanded and cannot be used.
pub fn choose(preference: Preference) -> Result<Choice, Unavailable> {
    match preference {
        Preference::Epoll => Ok(Choice::Epoll(None)),
        Preference::Uring => probe_uring().map(Choice::Uring),
        Preference::Auto => {
            Ok(probe_uring().map_or_else(|why| Choice::Epoll(Some(why)), Choice::Uring))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_agrees_with_the_probe_and_says_why() {
        let auto = choose(Preference::Auto).unwrap();
        match choose(Preference::Uring) {
            Ok(wanted) => assert_eq!(auto.to_string(), wanted.to_string()),
            Err(why) => assert_eq!(auto.to_string(), format!("epoll, because {why}")),
        }
        assert_eq!(choose(Preference::Epoll).unwrap().to_string(), "epoll, as configured");
    }
}
