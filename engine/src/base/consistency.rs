//! How fresh a read has to be.

/// How much of what was written a read has to see; in order, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consistency {
    /// As much as a replica happens to have.
    Eventual,
    /// What its own session has written, and nothing less than the session has seen.
    Session,
    /// What was acknowledged through this Weir.
    Instance,
    /// What the primary had acknowledged, to whomever, before the read began.
    Global,
}

impl Consistency {
    /// Every level, from the least to the most.
    pub const ALL: [Self; 4] = [Self::Eventual, Self::Session, Self::Instance, Self::Global];

    /// As files, hints and pages say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Session => "session",
            Self::Instance => "instance",
            Self::Global => "global",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_go_from_the_least_to_the_most() {
        assert!(Consistency::ALL.is_sorted_by(|less, more| less < more));
        let names = Consistency::ALL.map(Consistency::name);
        assert_eq!(names, ["eventual", "session", "instance", "global"]);
    }
}
