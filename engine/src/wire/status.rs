//! A server's status flags.
//!
//! Purpose: the two bytes that end OK and EOF packets under their names.
//! Never: remember a status: that is the session's.

use std::fmt;

/// A set of status flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $bits:expr;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($bits);)*

            /// Every named flag, lowest first.
            const NAMES: &'static [(Self, &'static str)] =
                &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

statuses! {
    /// A transaction is open.
    IN_TRANS = 0x0001;
    /// `autocommit` is on.
    AUTOCOMMIT = 0x0002;
    /// Another result follows this one.
    MORE_RESULTS = 0x0008;
    /// The statement used a bad index.
    NO_GOOD_INDEX_USED = 0x0010;
    /// The statement used no index.
    NO_INDEX_USED = 0x0020;
    /// A cursor is open and may have more rows.
    CURSOR_EXISTS = 0x0040;
    /// The cursor has no more rows.
    LAST_ROW_SENT = 0x0080;
    /// A database was dropped.
    DB_DROPPED = 0x0100;
    /// `sql_mode` has NO_BACKSLASH_ESCAPES.
    NO_BACKSLASH_ESCAPES = 0x0200;
    /// A statement's metadata changed since it was prepared.
    METADATA_CHANGED = 0x0400;
    /// The statement was slow.
    QUERY_WAS_SLOW = 0x0800;
    /// This result set holds the OUT parameters of a procedure.
    PS_OUT_PARAMS = 0x1000;
    /// The open transaction is read-only.
    IN_TRANS_READONLY = 0x2000;
    /// In OK packets: session trackers follow. In EOF packets it says nothing (MariaDB 10.11
    /// leaves stale ones there).
    SESSION_STATE_CHANGED = 0x4000;
}

impl Status {
    /// Whether all of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that say how the session is, and not what the last statement did.
    #[must_use]
    pub const fn of_the_session(self) -> Self {
        let flags = Self::IN_TRANS
            .with(Self::AUTOCOMMIT)
            .with(Self::NO_BACKSLASH_ESCAPES)
            .with(Self::IN_TRANS_READONLY);
        self.common(flags)
    }

    /// Those that are also in `other`.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for (flag, name) in Self::NAMES {
            if self.contains(*flag) {
                list.entry(&format_args!("{name}"));
            }
        }
        list.finish()
    }
}
