//! What the first words of a statement say.
//!
//! Purpose: the class of every statement that the manuals of MySQL and MariaDB have.
//! Never: look further than the words that decide; nothing that is not listed here is a read.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of two hundred words a few matter in each place, and all others are as one"
)]

use crate::sql::classify::judge::{Judge, Seen, Show, Stage};
use crate::sql::classify::{Class, Marks, Reason};
use crate::sql::lex::Kind;
use crate::sql::words::Word;

/// What a first word decides by itself.
const fn decided(word: Word) -> Option<(Class, Reason)> {
    Some(match word {
        Word::Insert | Word::Replace | Word::Update | Word::Delete => (Class::Write, Reason::Write),
        Word::Call => (Class::Write, Reason::Call),
        Word::Import | Word::Truncate => (Class::Ddl, Reason::Ddl),
        Word::Grant
        | Word::Revoke
        | Word::Optimize
        | Word::Repair
        | Word::Check
        | Word::Cache
        | Word::Flush
        | Word::Kill
        | Word::Reset
        | Word::Purge
        | Word::Change
        | Word::Stop
        | Word::Shutdown
        | Word::Restart
        | Word::Install
        | Word::Uninstall
        | Word::Binlog
        | Word::Clone
        | Word::Backup => (Class::Admin, Reason::Admin),
        Word::Commit | Word::Rollback | Word::Savepoint | Word::Release | Word::Xa => {
            (Class::Transaction, Reason::Transaction)
        }
        Word::Lock | Word::Unlock => (Class::Transaction, Reason::TableLock),
        Word::Use | Word::Prepare | Word::Deallocate | Word::Signal => {
            (Class::Session, Reason::Session)
        }
        Word::Execute => (Class::Unknown, Reason::Prepared),
        Word::Do => (Class::PrimaryRead, Reason::Do),
        Word::Handler => (Class::PrimaryRead, Reason::Handler),
        Word::Help => (Class::PrimaryRead, Reason::ServerShow),
        Word::Get | Word::Resignal => (Class::PrimaryRead, Reason::PreviousStatement),
        Word::If
        | Word::While
        | Word::Loop
        | Word::Repeat
        | Word::For
        | Word::Case
        | Word::Declare => (Class::Unknown, Reason::Block),
        _ => return None,
    })
}

impl Judge<'_> {
    /// The first token of a statement.
    pub(super) fn begin(&mut self, seen: &Seen) {
        self.stage = Stage::Rest;
        let word = seen.word;
        if seen.is_sign(b'(') {
            self.stage = Stage::Open;
            self.reads = true;
            self.verdict = (Class::Unknown, Reason::UnknownStatement);
        } else if let Some(verdict) = decided(word) {
            self.verdict = verdict;
            self.marks |= match word {
                Word::Xa => Marks::XA,
                Word::Get | Word::Resignal => Marks::PREVIOUS,
                _ => Marks::NONE,
            };
            // A block's semicolons end no statement.
            self.over = verdict.1 == Reason::Block;
        } else if !self.begin_read(word) {
            self.begin_other(word);
        }
    }

    /// SELECT and the like; whether it is one.
    fn begin_read(&mut self, word: Word) -> bool {
        let is_read = matches!(word, Word::Select | Word::With | Word::Table | Word::Values);
        if is_read {
            self.reads = true;
            self.verdict = (Class::Read, Reason::PlainRead);
        }
        is_read
    }

    /// Those that need another word.
    fn begin_other(&mut self, word: Word) {
        (self.stage, self.verdict) = match word {
            Word::Set => (Stage::Set, (Class::Session, Reason::Session)),
            Word::Begin => (Stage::Second(word), (Class::Transaction, Reason::Transaction)),
            Word::Start => (Stage::Second(word), (Class::Admin, Reason::Admin)),
            Word::Load => (Stage::Second(word), (Class::Write, Reason::Write)),
            Word::Checksum => (Stage::Second(word), (Class::Unknown, Reason::UnknownStatement)),
            Word::Create | Word::Alter | Word::Drop | Word::Rename => {
                (Stage::Object(word), (Class::Ddl, Reason::Ddl))
            }
            Word::Explain | Word::Describe | Word::Desc => {
                self.reads = true;
                self.marks |= Marks::EXPLAIN;
                (Stage::Explain, (Class::Read, Reason::Schema))
            }
            Word::Analyze => {
                self.marks |= Marks::EXPLAIN;
                self.executes = true;
                (Stage::Explain, (Class::Admin, Reason::Admin))
            }
            Word::Show => {
                self.reads = true;
                (Stage::Show(Show::Start), (Class::PrimaryRead, Reason::ServerShow))
            }
            _ => (Stage::Rest, (Class::Unknown, Reason::UnknownStatement)),
        };
    }

    /// Another token, of a statement whose first word does not decide.
    pub(super) fn lead(&mut self, seen: &Seen) {
        match self.stage {
            Stage::Open if seen.is_sign(b'(') => {}
            Stage::Open => {
                self.stage = Stage::Rest;
                self.reads = self.begin_read(seen.word);
            }
            Stage::Second(first) => self.second(first, seen),
            Stage::Transaction => self.transaction(seen),
            Stage::Object(first) => self.object(first, seen),
            Stage::Explain => self.explain(seen),
            Stage::Show(show) => self.show(seen, show),
            Stage::Set => self.set(seen),
            Stage::SetStatement if seen.word == Word::For && self.depth == 0 => {
                self.next_statement();
            }
            Stage::SetStatement | Stage::Fresh | Stage::Rest => {}
        }
    }

    fn second(&mut self, first: Word, seen: &Seen) {
        self.stage = Stage::Rest;
        match (first, seen.word) {
            (Word::Begin, Word::Work) => {}
            (Word::Begin, _) => {
                self.verdict = (Class::Unknown, Reason::Block);
                self.over = true;
            }
            (Word::Start, Word::Transaction) => {
                self.verdict = (Class::Transaction, Reason::Transaction);
                self.stage = Stage::Transaction;
            }
            (Word::Set, _) => {
                let scope = self.bytes(seen);
                let all: [&[u8]; 3] = [b"GLOBAL", b"PERSIST", b"PERSIST_ONLY"];
                if all.iter().any(|all| all.eq_ignore_ascii_case(scope)) {
                    self.verdict = (Class::Admin, Reason::Admin);
                }
            }
            (Word::Load, Word::Index) => self.verdict = (Class::Admin, Reason::Admin),
            (Word::Checksum, Word::Table | Word::Tables) => {
                self.reads = true;
                self.verdict = (Class::Read, Reason::Checksum);
            }
            _ => {}
        }
    }

    /// START TRANSACTION and what may follow.
    fn transaction(&mut self, seen: &Seen) {
        match (self.before.word, seen.word) {
            (Word::Read, Word::Only) => {
                self.marks |= Marks::READ_ONLY;
                self.verdict.1 = Reason::ReadOnlyTransaction;
            }
            (Word::Read, Word::Write) => self.marks |= Marks::READ_WRITE,
            (Word::Consistent, Word::Snapshot) => self.marks |= Marks::SNAPSHOT,
            _ => {}
        }
        if self.marks.contains(Marks::READ_ONLY | Marks::READ_WRITE) {
            self.verdict.1 = Reason::Transaction;
        }
    }

    /// CREATE, ALTER, DROP or RENAME, before the word that says of what.
    fn object(&mut self, first: Word, seen: &Seen) {
        if self.before.is_sign(b'=') {
            // A DEFINER.
            return;
        }
        match seen.word {
            Word::Temporary => self.marks |= Marks::TEMPORARY,
            Word::Procedure | Word::Function | Word::Trigger | Word::Event | Word::Package => {
                // They have statements inside.
                self.over = first != Word::Drop;
                self.stage = Stage::Rest;
            }
            Word::User | Word::Role | Word::Instance | Word::Resource => {
                self.verdict = (Class::Admin, Reason::Admin);
                self.stage = Stage::Rest;
            }
            Word::Prepare => {
                self.verdict = (Class::Session, Reason::Session);
                self.stage = Stage::Rest;
            }
            Word::Table
            | Word::Tables
            | Word::View
            | Word::Index
            | Word::Database
            | Word::Schema
            | Word::Sequence
            | Word::Server
            | Word::Tablespace => self.stage = Stage::Rest,
            // Its text may be between dollar signs.
            _ if self.bytes(seen).eq_ignore_ascii_case(b"LIBRARY") => self.over = true,
            _ => {}
        }
    }

    /// EXPLAIN, DESCRIBE, ANALYZE, and what is between them and the statement.
    fn explain(&mut self, seen: &Seen) {
        match seen.word {
            Word::Analyze => self.executes = true,
            Word::Table | Word::Tables | Word::Local
                if self.before.word == Word::Analyze && self.verdict.0 == Class::Admin =>
            {
                // ANALYZE TABLE.
                self.stage = Stage::Rest;
                self.marks = self.marks.without(Marks::EXPLAIN);
            }
            Word::Select | Word::With | Word::Table | Word::Values => {
                self.explained((Class::Read, Reason::Explain));
            }
            _ if seen.is_sign(b'(') => {
                // Nothing is called by what is before it.
                self.before.kind = Kind::Sign(b';');
                self.explained((Class::Read, Reason::Explain));
            }
            Word::Insert | Word::Replace | Word::Update | Word::Delete => {
                self.explained(match self.executes {
                    true => (Class::Write, Reason::Write),
                    false => (Class::PrimaryRead, Reason::ExplainedWrite),
                });
            }
            _ if self.before.word == Word::For
                && self.bytes(seen).eq_ignore_ascii_case(b"CONNECTION") =>
            {
                self.explained((Class::PrimaryRead, Reason::ServerShow));
            }
            _ if self.bytes(seen).eq_ignore_ascii_case(b"NO_WRITE_TO_BINLOG") => {
                self.stage = Stage::Rest;
                self.marks = self.marks.without(Marks::EXPLAIN);
            }
            _ => {}
        }
    }

    const fn explained(&mut self, verdict: (Class, Reason)) {
        self.verdict = verdict;
        self.reads = matches!(verdict.0, Class::Read);
        self.stage = Stage::Rest;
    }

    fn show(&mut self, seen: &Seen, show: Show) {
        let word = self.bytes(seen);
        let is = |known: &[&[u8]]| {
            seen.kind == Kind::Word && known.iter().any(|known| known.eq_ignore_ascii_case(word))
        };
        let schema = match show {
            Show::Start if is(&[b"FULL", b"EXTENDED"]) => return,
            Show::Start if is(&[b"CREATE"]) => {
                self.stage = Stage::Show(Show::Create);
                return;
            }
            Show::Start if is(&[b"CHARACTER"]) => {
                self.stage = Stage::Show(Show::Character);
                return;
            }
            Show::Start if is(&[b"PROCEDURE", b"FUNCTION", b"TABLE", b"PACKAGE", b"BODY"]) => {
                self.stage = Stage::Show(Show::Status);
                return;
            }
            Show::Start if is(&[b"WARNINGS", b"ERRORS", b"COUNT"]) => {
                self.verdict.1 = Reason::PreviousStatement;
                self.marks |= Marks::PREVIOUS;
                false
            }
            Show::Start => is(SHOWN),
            Show::Create => !is(&[b"USER"]),
            Show::Character => is(&[b"SET"]),
            Show::Status if is(&[b"BODY"]) => return,
            Show::Status => is(&[b"STATUS"]),
        };
        self.stage = Stage::Rest;
        self.reads = schema;
        if schema {
            self.verdict = (Class::Read, Reason::Schema);
        } else if self.verdict.1 == Reason::ServerShow {
            self.marks |= Marks::SERVER;
        }
    }

    /// The first token of what SET sets.
    fn set(&mut self, seen: &Seen) {
        let word = seen.word;
        self.stage = Stage::Rest;
        match word {
            Word::Statement => {
                self.marks |= Marks::SET_STATEMENT;
                self.stage = Stage::SetStatement;
                self.reads = true;
            }
            Word::Global | Word::Persist | Word::PersistOnly | Word::Password | Word::Default => {
                self.verdict = (Class::Admin, Reason::Admin);
            }
            _ if seen.kind == Kind::System => self.stage = Stage::Second(Word::Set),
            _ => {}
        }
    }
}

/// SHOW of these is about the data, which all servers have.
const SHOWN: &[&[u8]] = &[
    b"CHARSET",
    b"COLLATION",
    b"COLUMNS",
    b"DATABASES",
    b"EVENTS",
    b"FIELDS",
    b"INDEX",
    b"INDEXES",
    b"KEYS",
    b"SCHEMAS",
    b"TABLES",
    b"TRIGGERS",
];
