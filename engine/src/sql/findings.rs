//! What a connection pool must know of a statement that the server's trackers do not report.
//!
//! Purpose: the facts, and what they say of a statement's effects on its connection.
//! Never: be hopeful: doubt sets a flag, and [`Flags::UNSURE`] is one of its own.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::sql::glance::may_matter;
use crate::sql::lex::Unsure;
use crate::sql::mode::LexMode;
use crate::sql::pieces::{Pieces, whole};
use crate::sql::state::Scan;

/// Facts about a text, all its statements together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u64);

/// Defines the flags and their names.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// All of them, by name.
            pub const ALL: &[(&str, Self)] = &[$((stringify!($name), Self::$name)),*];
        }
    };
}

flags! {
    /// It could not be told what the text does. An answer of ERR 1064 says that it did nothing.
    UNSURE = 0;
    /// User variables are read: [`Item::Read`].
    USER_READ = 1;
    /// User variables get literals by SET: [`Item::Assigned`].
    USER_SET = 2;
    /// User variables get values that cannot be told from the text.
    USER_UNKNOWN = 3;
    /// GET_LOCK and functions like it: a named lock may be held now.
    NAMED_LOCK = 4;
    /// RELEASE_LOCK, RELEASE_ALL_LOCKS and functions like them.
    NAMED_UNLOCK = 5;
    /// IS_FREE_LOCK, IS_USED_LOCK.
    NAMED_LOCK_ASKED = 6;
    /// SQL_CALC_FOUND_ROWS: FOUND_ROWS() may follow.
    CALC_FOUND_ROWS = 7;
    /// FOUND_ROWS() depends on the previous SELECT.
    FOUND_ROWS = 8;
    /// ROW_COUNT() depends on the previous statement.
    ROW_COUNT = 9;
    /// LAST_INSERT_ID(), `@@last_insert_id` or `@@identity` is read.
    LAST_INSERT_ID = 10;
    /// LAST_INSERT_ID(expr), or SET of it: its value changes without an INSERT.
    LAST_INSERT_ID_SET = 11;
    /// `insert_id` is set for the next INSERT, or read.
    INSERT_ID = 12;
    /// SHOW WARNINGS depends on the previous statement.
    SHOW_WARNINGS = 13;
    /// SHOW ERRORS depends on the previous statement.
    SHOW_ERRORS = 14;
    /// `@@warning_count` or SHOW COUNT(*) WARNINGS depends on the previous statement.
    WARNING_COUNT = 15;
    /// `@@error_count` or SHOW COUNT(*) ERRORS depends on the previous statement.
    ERROR_COUNT = 16;
    /// GET DIAGNOSTICS or RESIGNAL depends on the previous statement.
    DIAGNOSTICS = 17;
    /// LOCK TABLES.
    LOCK_TABLES = 18;
    /// UNLOCK TABLES, which ends FLUSH TABLES WITH READ LOCK as well.
    UNLOCK_TABLES = 19;
    /// FLUSH TABLES … WITH READ LOCK or FOR EXPORT.
    FLUSH_LOCK = 20;
    /// LOCK INSTANCE FOR BACKUP.
    LOCK_INSTANCE = 21;
    /// UNLOCK INSTANCE.
    UNLOCK_INSTANCE = 22;
    /// BACKUP STAGE, BACKUP LOCK, BACKUP UNLOCK.
    BACKUP = 23;
    /// HANDLER … OPEN or READ.
    HANDLER_OPEN = 24;
    /// HANDLER … CLOSE.
    HANDLER_CLOSE = 25;
    /// CREATE TEMPORARY: [`Item::Created`] where the name is plain.
    TEMPORARY_CREATED = 26;
    /// DROP TEMPORARY TABLE: [`Item::Dropped`].
    TEMPORARY_DROPPED = 27;
    /// DROP TABLE, which drops temporary ones of that name first: [`Item::Dropped`].
    TABLE_DROPPED = 28;
    /// ALTER … RENAME or RENAME TABLE: a temporary table may have another name now.
    RENAMED = 29;
    /// PREPARE: [`Item::Prepared`].
    PREPARE = 30;
    /// EXECUTE: runs a text that was not looked at, [`Item::Executed`].
    EXECUTE = 31;
    /// DEALLOCATE or DROP PREPARE: [`Item::Deallocated`].
    DEALLOCATE = 32;
    /// XA.
    XA = 33;
    /// BEGIN or START TRANSACTION.
    BEGIN = 34;
    /// … READ ONLY.
    READ_ONLY = 35;
    /// … READ WRITE.
    READ_WRITE = 36;
    /// … WITH CONSISTENT SNAPSHOT.
    SNAPSHOT = 37;
    /// COMMIT.
    COMMIT = 38;
    /// ROLLBACK, but not to a savepoint.
    ROLLBACK = 39;
    /// … AND CHAIN.
    CHAIN = 40;
    /// … RELEASE: the server closes the connection.
    RELEASE = 41;
    /// SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO.
    SAVEPOINT = 42;
    /// SET of a session's system variable: [`Item::Assigned`].
    SET_SYSTEM = 43;
    /// SET of a global or persisted variable, or of a global characteristic.
    SET_GLOBAL = 44;
    /// SET autocommit.
    SET_AUTOCOMMIT = 45;
    /// SET SESSION TRANSACTION.
    SET_TRANSACTION = 46;
    /// SET TRANSACTION or `SET @@transaction_isolation`: for the next transaction only.
    SET_TRANSACTION_ONCE = 47;
    /// SET NAMES, SET CHARACTER SET.
    SET_NAMES = 48;
    /// SET PASSWORD.
    SET_PASSWORD = 49;
    /// SET ROLE, SET DEFAULT ROLE.
    SET_ROLE = 50;
    /// SET STATEMENT … FOR: the statement behind it is looked at as any.
    SET_STATEMENT = 51;
    /// USE: [`Item::Use`].
    USE = 52;
    /// CALL: what the procedure does is not looked at.
    CALL = 53;
    /// LOAD DATA or LOAD XML.
    LOAD = 54;
    /// … LOCAL: the client will be asked for a file.
    LOAD_LOCAL = 55;
    /// DO.
    DO = 56;
    /// BEGIN NOT ATOMIC and other statements of stored programs outside of one.
    BLOCK = 57;
    /// KILL.
    KILL = 58;
    /// SHOW PROCESSLIST.
    PROCESSLIST = 59;
    /// CREATE or ALTER of something with statements inside, which run later.
    ROUTINE = 60;
    /// EXPLAIN, DESCRIBE, ANALYZE of a statement.
    EXPLAIN = 61;
    /// NEXTVAL: LASTVAL of this connection changes.
    SEQUENCE_NEXT = 62;
    /// LASTVAL depends on an earlier statement.
    SEQUENCE_LAST = 63;
}

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);

    /// What is true at most until another statement runs; see [`Self::CALC_FOUND_ROWS`] for one
    /// that depends on an earlier one.
    pub const NEEDS_PREVIOUS: Self = Self(
        Self::FOUND_ROWS.0
            | Self::ROW_COUNT.0
            | Self::LAST_INSERT_ID.0
            | Self::SHOW_WARNINGS.0
            | Self::SHOW_ERRORS.0
            | Self::WARNING_COUNT.0
            | Self::ERROR_COUNT.0
            | Self::DIAGNOSTICS.0,
    );

    /// Whether all of these are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of these is set.
    #[must_use]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether none is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut separator = "";
        for (name, _) in Self::ALL.iter().filter(|(_, flag)| self.contains(*flag)) {
            write!(f, "{separator}{name}")?;
            separator = " | ";
        }
        if self.is_empty() { f.write_str("NONE") } else { Ok(()) }
    }
}

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
}

impl Span {
    /// The bytes of it.
    #[must_use]
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// From the beginning of this to the end of that.
    pub(super) const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// Something with a name, in the order of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// This gets this value.
    Assigned(Target, Value),
    /// The user variable is read; with its `@` and quotes.
    Read(Span),
    /// USE of this schema.
    Use(Span),
    /// CREATE TEMPORARY TABLE of this, perhaps with a schema: `a`, `` `a`.b ``.
    Created(Span),
    /// DROP \[TEMPORARY\] TABLE of this.
    Dropped(Span),
    /// PREPARE with this name.
    Prepared(Span),
    /// EXECUTE of this name.
    Executed(Span),
    /// DEALLOCATE PREPARE of this name.
    Deallocated(Span),
}

/// What gets a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A user variable, with its `@` and quotes.
    User(Span),
    /// A system variable, perhaps in quotes.
    System(Scope, Span),
    /// SET NAMES.
    Names,
    /// SET CHARACTER SET.
    CharacterSet,
}

/// Whose system variable is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The session's: `SESSION a`, `LOCAL a`, `@@session.a`, or nothing said.
    Session,
    /// `@@a`: the session's, except that it is the next transaction's where there is such a thing.
    Bare,
    /// Everybody's, or in the server's file.
    Global,
}

/// What is on the right side of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// All of it, with introducer, sign and COLLATE; nothing for [`ValueKind::Unknown`].
    pub span: Span,
    /// `_utf8mb4` of `_utf8mb4'a'`.
    pub introducer: Option<Span>,
    /// The name behind COLLATE.
    pub collation: Option<Span>,
}

impl Value {
    /// No value that the text tells.
    pub const UNKNOWN: Self = Self {
        kind: ValueKind::Unknown,
        span: Span { start: 0, end: 0 },
        introducer: None,
        collation: None,
    };
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A decimal number, perhaps with a sign.
    Number,
    /// One string. Without introducer and COLLATE it has those of the connection.
    Text,
    /// `0x1F`, `x'1F'`, `0b1`, `b'1'`: a binary string.
    Hex,
    /// NULL.
    Null,
    /// TRUE or FALSE.
    Bool,
    /// DEFAULT.
    Default,
    /// A word or quoted name, as a value of a system variable: ON, `utf8mb4`.
    Word,
    /// Anything else, or an assignment inside an expression.
    Unknown,
}

/// What is said of a statement text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The facts.
    pub flags: Flags,
    /// How many statements there are; empty ones do not count. 0: it was not asked, which is so for
    /// a text found harmless at a glance, and then it is one.
    pub statements: u32,
    /// What has names. Bounded: [`Flags::UNSURE`] is set when there are more than 256.
    pub items: Vec<Item>,
    /// The text is one SET of nothing but system variables of the session to literals.
    pub only_sets: bool,
}

impl Findings {
    /// Of a whole text. Allocates only for items.
    #[must_use]
    #[inline]
    pub fn of(text: &[u8], mode: LexMode) -> Self {
        if may_matter(text) { Self::looked_for(text, mode) } else { Self::default() }
    }

    /// The same without the first glance, so statements are counted.
    #[must_use]
    pub fn looked_for(text: &[u8], mode: LexMode) -> Self {
        let mut scan = Scan::new(mode);
        let end = whole(text, mode, &mut scan);
        scan.finish(end)
    }

    /// More than one statement.
    #[must_use]
    pub const fn is_multi(&self) -> bool {
        self.statements > 1
    }

    /// The assignments, if the text is one SET of nothing but session system variables to literals.
    #[must_use]
    pub fn plain_sets(&self) -> Option<impl Iterator<Item = (Scope, Span, Value)>> {
        let sets = self.items.iter().filter_map(|item| match item {
            Item::Assigned(Target::System(scope, name), value) => Some((*scope, *name, *value)),
            Item::Assigned(..)
            | Item::Read(_)
            | Item::Use(_)
            | Item::Created(_)
            | Item::Dropped(_)
            | Item::Prepared(_)
            | Item::Executed(_)
            | Item::Deallocated(_) => None,
        });
        self.only_sets.then_some(sets)
    }
}

/// Findings of a text that comes in pieces. Places count from the beginning of the text.
#[derive(Clone, Debug)]
pub struct FindingsInPieces {
    pieces: Pieces,
    scan: Scan,
}

impl FindingsInPieces {
    /// At the beginning of a text.
    #[must_use]
    pub fn new(mode: LexMode) -> Self {
        Self { pieces: Pieces::new(mode), scan: Scan::new(mode) }
    }

    /// Goes on.
    pub fn feed(&mut self, piece: &[u8]) {
        self.pieces.feed(piece, &mut self.scan);
    }

    /// What was found so far; more may follow.
    #[must_use]
    pub const fn flags_so_far(&self) -> Flags {
        self.scan.flags()
    }

    /// The text is over.
    #[must_use]
    pub fn finish(self) -> Findings {
        let Self { pieces, mut scan } = self;
        let end: Result<(), Unsure> = pieces.finish(&mut scan);
        scan.finish(end)
    }
}

/// A name without its quotation marks, `@` and escapes.
#[must_use]
pub fn unquoted(name: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let name = name.strip_prefix(b"@").unwrap_or(name);
    let (Some(&mark @ (b'`' | b'"' | b'\'')), Some(inside)) =
        (name.first(), name.get(1..name.len().saturating_sub(1)))
    else {
        return name.into();
    };
    if memchr::memchr2(mark, b'\\', inside).is_none() {
        return inside.into();
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter().copied();
    while let Some(byte) = bytes.next() {
        let escapes = byte == mark || byte == b'\\' && mark != b'`';
        match escapes.then(|| bytes.next()).flatten() {
            Some(next) => out.push(next),
            None => out.push(byte),
        }
    }
    out.into()
}
