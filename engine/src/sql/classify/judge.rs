//! Reads a statement for where it may run.
//!
//! Purpose: tokens in, [`Classified`] out. What may stand anywhere in a read and keep it on the
//! primary is looked for here; what the first words say is in [`super::kinds`].
//! Never: know the grammar beyond that. A word that only a lock or a write can have is one wherever it
//! stands, and a name before a parenthesis is a call.

use crate::sql::classify::functions::{Effect, effect};
use crate::sql::classify::{Class, Classified, Hints, Marks, Reason};
use crate::sql::findings::unquoted;
use crate::sql::lex::{Kind, Lexer, Token};
use crate::sql::mode::LexMode;
use crate::sql::slow;
use crate::sql::words::Word;

/// The verdict on a whole text.
pub(super) fn judged(text: &[u8], mode: LexMode) -> Classified<'_> {
    let mut judge = Judge::new(text, mode);
    let mut lexer = Lexer::new(text, mode);
    loop {
        match lexer.next_token() {
            Ok(Some(token)) if !judge.over => judge.token(&token),
            Ok(Some(_) | None) => break,
            Err(_) => {
                judge.unreadable();
                break;
            }
        }
    }
    if lexer.memory().is_doubtful() {
        judge.unreadable();
    }
    judge.finish()
}

/// A token, as far as the next ones ask for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    /// What it is if it is a word, and no part of a name with dots.
    pub(super) word: Word,
    pub(super) start: usize,
    end: usize,
    /// It stands behind a dot, or is the name of a system variable.
    is_part: bool,
}

impl Seen {
    const NONE: Self =
        Self { kind: Kind::Sign(b';'), word: Word::Other, start: 0, end: 0, is_part: false };

    pub(super) const fn is_sign(&self, sign: u8) -> bool {
        matches!(self.kind, Kind::Sign(own) if own == sign)
    }

    pub(super) const fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// Where in a statement the reading is, for those whose first word does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No token was seen.
    Fresh,
    /// Behind `(`: a read, or nothing that is known.
    Open,
    /// What the next word is decides, of a statement that began with this one.
    Second(Word),
    /// Behind START TRANSACTION.
    Transaction,
    /// CREATE, ALTER, DROP or RENAME, before the word that says of what.
    Object(Word),
    /// EXPLAIN and the like, before the statement.
    Explain,
    /// SHOW, and whatever the word before says.
    Show(Show),
    /// SET, before a name.
    Set,
    /// SET STATEMENT, before its FOR.
    SetStatement,
    /// The rest is only looked through.
    Rest,
}

/// What a SHOW is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Start,
    Create,
    /// CHARACTER: SET follows.
    Character,
    /// PROCEDURE, FUNCTION, PACKAGE, TABLE: STATUS follows.
    Status,
}

/// How far `information_schema.name` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Information {
    No,
    Dot,
}

pub(super) struct Judge<'a> {
    pub(super) text: &'a [u8],
    mode: LexMode,
    /// Of the statements before.
    whole: Option<(Class, Reason)>,
    pub(super) marks: Marks,
    hints: Hints<'a>,
    /// Nothing that follows matters.
    pub(super) over: bool,
    pub(super) stage: Stage,
    /// Of the statement that is read, as far as its first words tell.
    pub(super) verdict: (Class, Reason),
    /// It is a read so far, and looked through for what keeps it on the primary.
    pub(super) reads: bool,
    /// What does.
    lowered: Option<Reason>,
    /// What EXPLAIN or ANALYZE is for is executed.
    pub(super) executes: bool,
    pub(super) depth: u32,
    pub(super) before: Seen,
    before_that: Seen,
    information: Information,
    doubts: slow::Doubts,
}

impl<'a> Judge<'a> {
    const fn new(text: &'a [u8], mode: LexMode) -> Self {
        Self {
            text,
            mode,
            whole: None,
            marks: Marks::NONE,
            hints: Hints::NONE,
            over: false,
            stage: Stage::Fresh,
            verdict: (Class::Unknown, Reason::Empty),
            reads: false,
            lowered: None,
            executes: false,
            depth: 0,
            before: Seen::NONE,
            before_that: Seen::NONE,
            information: Information::No,
            doubts: slow::Doubts::NONE,
        }
    }

    #[inline]
    fn token(&mut self, token: &Token) {
        if token.after_comment {
            self.hints.read(self.text.get(self.before.end..token.start).unwrap_or_default());
        }
        let seen = self.see(token);
        if seen.is_sign(b';') {
            self.end_statement();
            self.before.end = token.end;
            return;
        }
        match self.stage {
            Stage::Rest => {}
            Stage::Fresh => {
                if self.whole.is_some() {
                    self.marks |= Marks::MULTI;
                }
                self.begin(&seen);
            }
            Stage::Open
            | Stage::Second(_)
            | Stage::Transaction
            | Stage::Object(_)
            | Stage::Explain
            | Stage::Show(_)
            | Stage::Set
            | Stage::SetStatement => self.lead(&seen),
        }
        if self.reads {
            self.anywhere(&seen);
        }
        self.before_that = self.before;
        self.before = seen;
    }

    #[inline]
    fn see(&mut self, token: &Token) -> Seen {
        let is_part = matches!(self.before.kind, Kind::Sign(b'.') | Kind::System);
        let mut word = Word::Other;
        if matches!(token.kind, Kind::Word | Kind::Variable) {
            let bytes = self.text.get(token.start..token.end).unwrap_or_default();
            if self.mode.charset.doubts_names() && !bytes.is_ascii() {
                // Some of these letters are blanks, or signs.
                self.unreadable();
            }
            if token.kind == Kind::Word && !is_part {
                word = Word::of(bytes);
            }
        }
        Seen { kind: token.kind, word, start: token.start, end: token.end, is_part }
    }

    /// What may be anywhere in a read.
    #[inline]
    fn anywhere(&mut self, seen: &Seen) {
        match seen.kind {
            Kind::Word => self.word(seen),
            Kind::Sign(b'(') => {
                self.depth += 1;
                self.called(seen);
            }
            Kind::Sign(b')') => self.depth = self.depth.saturating_sub(1),
            Kind::Sign(b'.') => self.schema(),
            Kind::Variable => {
                // A host behind the name of a user is none: 'a'@'b'.
                let host = matches!(self.before.kind, Kind::Text | Kind::Quoted)
                    && self.before.end == seen.start;
                if !host {
                    self.marks |= Marks::USER_VARIABLE;
                }
            }
            Kind::System => self.lower(Reason::SystemVariable, Marks::SYSTEM_VARIABLE),
            Kind::Assign => self.lower(Reason::Assignment, Marks::ASSIGNMENT),
            Kind::Quoted => self.information_table(seen),
            Kind::Number | Kind::Hex | Kind::Text | Kind::Sign(_) => {}
        }
        if matches!(self.before.word, Word::Insert | Word::Replace) && !seen.is_sign(b'(') {
            // Not the function.
            self.writes();
        }
    }

    #[inline]
    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of two hundred words matter")]
    fn word(&mut self, seen: &Seen) {
        match seen.word {
            Word::Other if seen.is_part => {
                self.information_table(seen);
                if self.before.is_sign(b'.') && is_sequence(self.bytes(seen)) {
                    self.lower(Reason::Sequence, Marks::SEQUENCE);
                }
            }
            Word::Into => self.lower(Reason::Into, Marks::INTO),
            Word::Update | Word::Share if self.before.word == Word::For => {
                self.lower(Reason::LockingRead, Marks::LOCKING);
            }
            Word::Lock => self.lower(Reason::LockingRead, Marks::LOCKING),
            Word::Update | Word::Delete => self.writes(),
            Word::SqlCalcFoundRows => self.lower(Reason::CalcFoundRows, Marks::CALC_FOUND_ROWS),
            Word::For
                if self.before.word == Word::Value
                    && matches!(self.before_that.word, Word::Next | Word::Previous) =>
            {
                self.lower(Reason::Sequence, Marks::SEQUENCE);
            }
            Word::With => self.doubts.has_with = true,
            _ => {}
        }
    }

    /// At a parenthesis: whether what is before it is called.
    #[inline]
    fn called(&mut self, seen: &Seen) {
        let before = self.before;
        match before.kind {
            Kind::Word if !before.is_part => {
                let name = self.bytes(&before);
                let blank = before.end != seen.start;
                match effect(name, self.mode.server, blank) {
                    Effect::Harmless => {}
                    Effect::NamedLock => self.lower(Reason::NamedLock, Marks::NAMED_LOCK),
                    Effect::Connection => self.lower(Reason::Connection, Marks::CONNECTION),
                    Effect::Previous => self.lower(Reason::PreviousStatement, Marks::PREVIOUS),
                    Effect::Sequence => self.lower(Reason::Sequence, Marks::SEQUENCE),
                    Effect::Server => self.lower(Reason::ServerFunction, Marks::SERVER),
                    // MATCH (a) AGAINST (b): nothing is called right behind a parenthesis.
                    Effect::Unknown
                        if self.before_that.is_sign(b')')
                            && name.eq_ignore_ascii_case(b"AGAINST") => {}
                    Effect::Unknown => self.doubted(&before),
                }
            }
            Kind::Quoted if !before.is_part => self.doubted(&before),
            Kind::Word | Kind::Quoted => {
                self.doubts.are_calls = true;
                self.lower(Reason::UnknownFunction, Marks::UNKNOWN_FUNCTION);
            }
            // A name, under ANSI_QUOTES.
            Kind::Text => {
                self.doubts.are_calls = true;
                self.lower(Reason::UnknownFunction, Marks::UNKNOWN_FUNCTION);
            }
            Kind::Number
            | Kind::Hex
            | Kind::Variable
            | Kind::System
            | Kind::Assign
            | Kind::Sign(_) => {}
        }
    }

    /// A name before a parenthesis that may be a stored function's, or is none of a function.
    #[cold]
    fn doubted(&mut self, name: &Seen) {
        let before = self.before_that;
        let word = self.bytes(&before);
        let is_word = |known: &[u8]| before.kind == Kind::Word && word.eq_ignore_ascii_case(known);
        // Of these forms only, names before lists of columns are worth a parse.
        let may_be_list = before.is_sign(b')')
            || is_word(b"AS")
            || is_word(b"WITH")
            || is_word(b"RECURSIVE")
            || before.is_sign(b',') && self.doubts.has_with
            || slow::is_of_json_table(self.bytes(name));
        self.doubts.add(name.start..name.end, may_be_list);
        self.lower(Reason::UnknownFunction, Marks::UNKNOWN_FUNCTION);
    }

    /// At a dot: whether the name before it is that of a schema about the server.
    fn schema(&mut self) {
        let before = self.before;
        if !before.is_name() || before.is_part {
            return;
        }
        let bytes = self.bytes(&before);
        let name = if before.kind == Kind::Quoted { &*unquoted(bytes) } else { bytes };
        if SERVER_SCHEMAS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.lower(Reason::ServerTable, Marks::SERVER);
        } else if name.eq_ignore_ascii_case(b"information_schema") {
            self.information = Information::Dot;
        }
    }

    /// A name behind a dot: whether it is a table of information_schema that is about the server.
    #[inline]
    fn information_table(&mut self, seen: &Seen) {
        if self.information == Information::No {
            return;
        }
        self.information = Information::No;
        let bytes = self.bytes(seen);
        let name = if seen.kind == Kind::Quoted { &*unquoted(bytes) } else { bytes };
        if !SCHEMA_TABLES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.lower(Reason::ServerTable, Marks::SERVER);
        }
    }

    /// Something keeps a read on the primary. A function nobody knows is the least of reasons.
    pub(super) fn lower(&mut self, reason: Reason, marks: Marks) {
        self.marks |= marks;
        if matches!(self.lowered, None | Some(Reason::UnknownFunction)) {
            self.lowered = Some(reason);
        }
    }

    /// A word that only a write has.
    fn writes(&mut self) {
        let explained = self.marks.contains(Marks::EXPLAIN);
        self.verdict = match explained && !self.executes {
            true => (Class::PrimaryRead, Reason::ExplainedWrite),
            false => (Class::Write, Reason::Write),
        };
        self.reads = false;
    }

    fn unreadable(&mut self) {
        self.lower(Reason::Unreadable, Marks::UNREADABLE);
    }

    /// The statement is over; so is the text, or another begins.
    fn end_statement(&mut self) {
        if self.stage != Stage::Fresh {
            let verdict = match (self.verdict, self.lowered) {
                ((Class::Read, _), Some(reason)) => (Class::PrimaryRead, reason),
                (verdict, _) => verdict,
            };
            let more = match self.whole {
                None => true,
                Some((class, reason)) => {
                    verdict.0 > class || verdict.0 == class && reason == Reason::UnknownFunction
                }
            };
            if more {
                self.whole = Some(verdict);
            }
        }
        self.next_statement();
        self.lowered = None;
    }

    /// Another statement begins, or what SET STATEMENT is for; what lowered it stays.
    pub(super) const fn next_statement(&mut self) {
        self.stage = Stage::Fresh;
        self.verdict = (Class::Unknown, Reason::Empty);
        self.reads = false;
        self.executes = false;
        self.depth = 0;
        self.before = Seen { end: self.before.end, ..Seen::NONE };
        self.before_that = Seen::NONE;
        self.information = Information::No;
    }

    fn finish(mut self) -> Classified<'a> {
        if !self.over {
            self.hints.read(self.text.get(self.before.end..).unwrap_or_default());
        }
        let unread = self.marks.contains(Marks::UNREADABLE);
        self.end_statement();
        let (mut class, mut reason) = self.whole.unwrap_or((Class::Unknown, Reason::Empty));
        if unread && matches!(class, Class::Read) {
            (class, reason) = (Class::PrimaryRead, Reason::Unreadable);
        }
        if (class, reason) == (Class::PrimaryRead, Reason::UnknownFunction)
            && self.doubts.are_worth_it(self.text, self.mode)
        {
            self.marks |= Marks::PARSED;
            if slow::are_no_calls(self.text, &self.doubts) {
                (class, reason) = (Class::Read, Reason::PlainRead);
                self.marks = self.marks.without(Marks::UNKNOWN_FUNCTION);
            }
        }
        Classified { class, reason, marks: self.marks, hints: self.hints }
    }

    pub(super) fn bytes(&self, seen: &Seen) -> &'a [u8] {
        self.text.get(seen.start..seen.end).unwrap_or_default()
    }
}

/// `s.nextval`, as Oracle has it.
fn is_sequence(name: &[u8]) -> bool {
    name.len() == 7 && [b"nextval", b"currval"].iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// Their tables are about one server.
const SERVER_SCHEMAS: [&[u8]; 3] = [b"mysql", b"performance_schema", b"sys"];

/// Tables of information_schema that are about the data, which all servers have.
const SCHEMA_TABLES: &[&[u8]] = &[
    b"CHARACTER_SETS",
    b"CHECK_CONSTRAINTS",
    b"COLLATIONS",
    b"COLLATION_CHARACTER_SET_APPLICABILITY",
    b"COLUMNS",
    b"EVENTS",
    b"KEYWORDS",
    b"KEY_COLUMN_USAGE",
    b"PARAMETERS",
    b"PARTITIONS",
    b"REFERENTIAL_CONSTRAINTS",
    b"ROUTINES",
    b"SCHEMATA",
    b"SQL_FUNCTIONS",
    b"STATISTICS",
    b"ST_GEOMETRY_COLUMNS",
    b"TABLES",
    b"TABLE_CONSTRAINTS",
    b"TRIGGERS",
    b"VIEWS",
];
