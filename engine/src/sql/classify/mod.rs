//! Where a statement may run.
//!
//! Purpose: the class of a text, whether a replica may run it, the reason in one word, and the wishes
//! in its comments.
//! Never: be hopeful. Doubt means the primary, and each doubt has a name so that routing may know
//! better: a function nobody knows is harmless where a replica refuses to write.
//!
//! What a text cannot tell is the caller's: temporary tables, the schema a session is in, views that
//! call functions, whether a transaction is open.

mod functions;
mod glance;
mod hints;
mod judge;
mod kinds;

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::sql::mode::LexMode;

pub use hints::{Hints, Role};

/// What kind of statement a text is; of several statements, the one that asks for most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A read that any server with the data can answer.
    Read,
    /// A read that has to stay on the primary.
    PrimaryRead,
    /// SET, USE, PREPARE: the state of a session.
    Session,
    /// Transaction control and table locks.
    Transaction,
    /// Data manipulation: INSERT, UPDATE, DELETE, CALL, LOAD and the like.
    Write,
    /// Data definition.
    Ddl,
    /// Accounts, the server, its tables' upkeep, replication.
    Admin,
    /// None of these for sure.
    Unknown,
}

impl Class {
    /// For labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::PrimaryRead => "primary-read",
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Write => "write",
            Self::Ddl => "ddl",
            Self::Admin => "admin",
            Self::Unknown => "unknown",
        }
    }
}

/// Which servers of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// The primary.
    Primary,
    /// A replica, if the endpoint has one that is fit.
    Replicas,
}

/// Defines the reasons, with their names and what they mean.
macro_rules! reasons {
    ($($name:ident, $label:literal, $text:literal;)*) => {
        /// Why a statement goes where it goes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $(#[doc = $text] $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// For labels.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// For people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    PlainRead, "plain-read", "it reads, and nothing in it writes, locks or depends on a server";
    Schema, "schema", "it shows schema";
    Explain, "explain", "it explains a read";
    Checksum, "checksum", "it reads a table for its checksum";
    ReadOnlyTransaction, "read-only-transaction", "it begins a transaction that only reads";
    LockingRead, "locking-read", "it locks what it reads";
    Into, "into", "it selects into variables or a file";
    Assignment, "assignment", "it assigns to a user variable";
    UnknownFunction, "unknown-function", "it calls a function that may write";
    NamedLock, "named-lock", "it takes, asks for or releases a named lock";
    Connection, "connection", "it depends on its connection";
    PreviousStatement, "previous-statement", "it depends on the statement before";
    CalcFoundRows, "calc-found-rows", "FOUND_ROWS() may follow on the same connection";
    Sequence, "sequence", "it takes or asks for a sequence's value";
    SystemVariable, "system-variable", "it reads a variable of the server or the session";
    ServerFunction, "server-function", "it calls a function that depends on the server";
    ServerTable, "server-table", "it reads a table of the server itself";
    ServerShow, "server-show", "it shows the state of a server";
    ExplainedWrite, "explained-write", "it explains a write";
    Do, "do", "DO may do anything";
    Handler, "handler", "HANDLER keeps a table open";
    Session, "session", "it changes the session";
    Transaction, "transaction", "it begins or ends a transaction or a part of one";
    TableLock, "table-lock", "it locks or unlocks tables";
    Write, "write", "it writes";
    Call, "call", "a procedure may do anything";
    Ddl, "ddl", "it defines or changes an object";
    Admin, "admin", "it administers a server or accounts";
    Prepared, "prepared", "it runs a text that is not here";
    Block, "block", "it is a block of statements";
    UnknownStatement, "unknown-statement", "no statement begins like this";
    Empty, "empty", "there is no statement";
    Unreadable, "unreadable", "it cannot be read for sure";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Facts about a text, all its statements together. Those of reads are complete; of other
/// statements only the ones that are said to be theirs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(u32);

/// Defines the marks and their names.
macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $label:literal;)*) => {
        impl Marks {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// All of them, by name.
            pub const ALL: &[(&str, Self)] = &[$(($label, Self::$name)),*];
        }
    };
}

marks! {
    /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
    LOCKING = 0, "locking-read";
    /// SELECT … INTO.
    INTO = 1, "into";
    /// CREATE or DROP TEMPORARY.
    TEMPORARY = 2, "temporary-table";
    /// `@a` is read.
    USER_VARIABLE = 3, "user-variable";
    /// `@a := 1`.
    ASSIGNMENT = 4, "user-variable-assignment";
    /// `@@a` is read.
    SYSTEM_VARIABLE = 5, "system-variable";
    /// CONNECTION_ID(), LAST_INSERT_ID() and the like.
    CONNECTION = 6, "connection-dependent";
    /// FOUND_ROWS(), ROW_COUNT(), SHOW WARNINGS, GET DIAGNOSTICS.
    PREVIOUS = 7, "previous-statement";
    /// SQL_CALC_FOUND_ROWS.
    CALC_FOUND_ROWS = 8, "calc-found-rows";
    /// A function outside of the list of built-in ones.
    UNKNOWN_FUNCTION = 9, "unknown-function";
    /// GET_LOCK() and the like.
    NAMED_LOCK = 10, "named-lock";
    /// NEXTVAL, LASTVAL, SETVAL.
    SEQUENCE = 11, "sequence";
    /// A function, a table or a SHOW about one server.
    SERVER = 12, "server-dependent";
    /// Several statements. Not told behind the body of a stored program.
    MULTI = 13, "multi-statement";
    /// START TRANSACTION READ ONLY.
    READ_ONLY = 14, "read-only";
    /// START TRANSACTION READ WRITE.
    READ_WRITE = 15, "read-write";
    /// START TRANSACTION WITH CONSISTENT SNAPSHOT.
    SNAPSHOT = 16, "consistent-snapshot";
    /// EXPLAIN, DESCRIBE or ANALYZE of a statement.
    EXPLAIN = 17, "explain";
    /// SET STATEMENT … FOR.
    SET_STATEMENT = 18, "set-statement";
    /// XA.
    XA = 19, "xa";
    /// Not all of it could be read.
    UNREADABLE = 20, "unreadable";
    /// sqlparser was asked.
    PARSED = 21, "parsed";
}

impl Marks {
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether all of these are set.
    #[must_use]
    pub const fn contains(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, marks: Self) -> Self {
        Self(self.0 & !marks.0)
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().filter(move |(_, mark)| self.contains(*mark)).map(|(name, _)| *name)
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// What is said of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified<'a> {
    /// What kind of statement it is.
    pub class: Class,
    /// Why. [`Reason::UnknownFunction`] is the reason only where there is no other.
    pub reason: Reason,
    /// What was found in it.
    pub marks: Marks,
    /// What its comments ask for.
    pub hints: Hints<'a>,
}

impl Classified<'_> {
    /// Where it goes on an endpoint that splits, outside of a transaction. A hint takes a read to the
    /// primary; none takes anything else to a replica.
    #[must_use]
    pub fn nodes(&self) -> Nodes {
        let reads = match self.class {
            Class::Read => true,
            // A whole transaction on one replica, if this is but its beginning.
            Class::Transaction => {
                self.reason == Reason::ReadOnlyTransaction && !self.marks.contains(Marks::MULTI)
            }
            Class::PrimaryRead
            | Class::Session
            | Class::Write
            | Class::Ddl
            | Class::Admin
            | Class::Unknown => false,
        };
        if reads && self.hints.role != Some(Role::Primary) {
            Nodes::Replicas
        } else {
            Nodes::Primary
        }
    }
}

/// Classifies a text, of a COM_QUERY or to be prepared. Allocates only where sqlparser is asked.
#[must_use]
#[inline]
pub fn classify(text: &[u8], mode: LexMode) -> Classified<'_> {
    match glance::decided(text, mode.server) {
        Some((class, reason)) => {
            Classified { class, reason, marks: Marks::NONE, hints: Hints::NONE }
        }
        None => classify_fully(text, mode),
    }
}

/// The same without the first glance, which leaves out what a write has of [`Marks`].
#[must_use]
pub fn classify_fully(text: &[u8], mode: LexMode) -> Classified<'_> {
    judge::judged(text, mode)
}

/// Whether the first glance decides.
#[cfg(test)]
pub(super) fn decides(text: &[u8], mode: LexMode) -> bool {
    glance::decided(text, mode.server).is_some()
}
