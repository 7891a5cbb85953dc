//! What the first word of a statement decides.
//!
//! Purpose: the statements that change a connection, each by the words behind its first.
//! Never: look into expressions.

use super::{Piece, Scan};
use crate::sql::findings::{Flags, Item, Span};
use crate::sql::lex::Kind;
use crate::sql::words::Word;

/// Where in a statement the reading is, for those with several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Start,
    /// DROP TABLE or CREATE TEMPORARY TABLE: names follow, perhaps behind IF EXISTS.
    Names {
        temporary: bool,
    },
    /// In such a name.
    Name {
        temporary: bool,
        name: Span,
    },
    /// The rest does not matter.
    Rest,
    /// A name follows, behind DEALLOCATE PREPARE.
    Statement,
    /// CREATE, before the word that says of what.
    Object {
        temporary: bool,
    },
    /// ROLLBACK TO.
    ToSavepoint,
}

impl Scan {
    /// The first token of a statement.
    pub(super) fn begin_lead(&mut self, piece: &Piece) {
        self.fresh = false;
        self.lead = match piece.kind {
            Kind::Word => piece.word,
            Kind::Sign(b'(') => Word::Select,
            Kind::Number
            | Kind::Hex
            | Kind::Quoted
            | Kind::Text
            | Kind::Variable
            | Kind::System
            | Kind::Assign
            | Kind::Sign(_) => Word::Other,
        };
        let flags = match self.lead {
            Word::Begin => Flags::BEGIN,
            Word::Commit => Flags::COMMIT,
            Word::Savepoint => Flags::SAVEPOINT,
            Word::Backup => Flags::BACKUP,
            Word::Prepare => Flags::PREPARE,
            Word::Execute => Flags::EXECUTE,
            Word::Xa => Flags::XA,
            Word::Use => Flags::USE,
            Word::Call => Flags::CALL,
            Word::Do => Flags::DO,
            Word::Kill => Flags::KILL,
            Word::Explain | Word::Describe | Word::Desc => Flags::EXPLAIN,
            Word::Resignal => Flags::DIAGNOSTICS,
            Word::Rename => Flags::RENAMED,
            Word::If
            | Word::While
            | Word::Loop
            | Word::Repeat
            | Word::For
            | Word::Case
            | Word::Declare => Flags::BLOCK | Flags::UNSURE,
            _ if is_known(self.lead) => Flags::NONE,
            _ => Flags::UNSURE,
        };
        self.flag(flags);
        if self.lead == Word::Create {
            self.stage = Stage::Object { temporary: false };
        }
        self.found.only_sets |= self.lead == Word::Set;
    }

    /// Another token of a statement; also its first.
    pub(super) fn on_lead(&mut self, piece: &Piece) {
        let (first, word) = (self.count == 1, piece.word);
        match self.lead {
            Word::Lock if first => self.flag(match word {
                Word::Instance => Flags::LOCK_INSTANCE,
                _ => Flags::LOCK_TABLES,
            }),
            Word::Unlock if first => self.flag(match word {
                Word::Instance => Flags::UNLOCK_INSTANCE,
                _ => Flags::UNLOCK_TABLES,
            }),
            Word::Flush if self.ends(piece, Word::Read, Word::Lock) => {
                self.flag(Flags::FLUSH_LOCK);
            }
            Word::Flush if self.ends(piece, Word::For, Word::Export) => {
                self.flag(Flags::FLUSH_LOCK);
            }
            Word::Handler if self.count > 1 => match word {
                Word::Open | Word::Read => self.flag(Flags::HANDLER_OPEN),
                Word::Close => self.flag(Flags::HANDLER_CLOSE),
                _ => {}
            },
            Word::Start if first => match word {
                Word::Transaction => self.flag(Flags::BEGIN),
                _ => self.stage = Stage::Rest,
            },
            Word::Start if self.stage == Stage::Start => self.transaction(piece),
            // Anything but these makes it the BEGIN of a block.
            Word::Begin
                if first && word != Word::Work || self.lead == Word::Begin && self.count > 1 =>
            {
                self.flag(Flags::BLOCK | Flags::UNSURE);
            }
            Word::Commit | Word::Rollback => self.end_of_transaction(piece),
            Word::Release if first => self.flag(Flags::SAVEPOINT),
            Word::Use if first => self.item(Item::Use(piece.span)),
            Word::Prepare if first => self.item(Item::Prepared(piece.span)),
            Word::Execute if first => self.item(Item::Executed(piece.span)),
            Word::Deallocate | Word::Drop | Word::Create => self.object(piece),
            Word::Load => self.load(piece, first),
            Word::Show => self.show(piece, first),
            Word::Get if word == Word::Diagnostics => self.flag(Flags::DIAGNOSTICS),
            Word::Analyze if first => {
                let of_tables = matches!(word, Word::Table | Word::Tables | Word::Local)
                    || word == Word::Keyword;
                self.flag(if of_tables { Flags::NONE } else { Flags::EXPLAIN });
            }
            Word::Alter => self.alter(piece),
            _ => {}
        }
    }

    /// These two words, one right behind the other.
    fn ends(&self, piece: &Piece, before: Word, word: Word) -> bool {
        piece.word == word && self.before.word == before
    }

    /// START TRANSACTION and what may follow.
    fn transaction(&mut self, piece: &Piece) {
        if self.ends(piece, Word::Read, Word::Only) {
            self.flag(Flags::READ_ONLY);
        } else if self.ends(piece, Word::Read, Word::Write) {
            self.flag(Flags::READ_WRITE);
        } else if self.ends(piece, Word::Consistent, Word::Snapshot) {
            self.flag(Flags::SNAPSHOT);
        }
    }

    /// COMMIT, ROLLBACK and what may follow.
    fn end_of_transaction(&mut self, piece: &Piece) {
        match piece.word {
            Word::Chain if self.before.word != Word::No => self.flag(Flags::CHAIN),
            Word::Release if self.before.word != Word::No => self.flag(Flags::RELEASE),
            Word::To => self.stage = Stage::ToSavepoint,
            _ => {}
        }
    }

    fn load(&mut self, piece: &Piece, first: bool) {
        match piece.word {
            Word::Data | Word::Xml if first => self.flag(Flags::LOAD),
            Word::Local => self.flag(Flags::LOAD_LOCAL),
            _ => {}
        }
    }

    /// SHOW WARNINGS, SHOW COUNT(*) WARNINGS and so on.
    fn show(&mut self, piece: &Piece, first: bool) {
        let counted = self.before.is_sign(b')');
        match piece.word {
            Word::Warnings if first => self.flag(Flags::SHOW_WARNINGS),
            Word::Errors if first => self.flag(Flags::SHOW_ERRORS),
            Word::Warnings if counted => self.flag(Flags::WARNING_COUNT),
            Word::Errors if counted => self.flag(Flags::ERROR_COUNT),
            Word::Processlist => self.flag(Flags::PROCESSLIST),
            _ => {}
        }
    }

    fn alter(&mut self, piece: &Piece) {
        match piece.word {
            Word::Rename => self.flag(Flags::RENAMED),
            // Their bodies are what runs later.
            Word::Event | Word::View if self.stage == Stage::Start => self.open_body(),
            Word::Table | Word::User | Word::Database | Word::Schema => self.stage = Stage::Rest,
            _ => {}
        }
    }

    /// CREATE, DROP and DEALLOCATE: which kind of thing, and its names.
    fn object(&mut self, piece: &Piece) {
        let word = piece.word;
        self.stage = match self.stage {
            Stage::Start if self.count == 0 => Stage::Start,
            Stage::Start => match word {
                Word::Prepare => {
                    self.flag(Flags::DEALLOCATE);
                    Stage::Statement
                }
                Word::Temporary => Stage::Object { temporary: true },
                Word::Table | Word::Tables => Stage::Names { temporary: false },
                _ => Stage::Rest,
            },
            Stage::Object { temporary } => self.kind_of_object(word, temporary),
            Stage::Names { temporary } => match word {
                Word::If | Word::Not | Word::Exists => Stage::Names { temporary },
                _ if piece.is_name() => Stage::Name { temporary, name: piece.span },
                _ => Stage::Rest,
            },
            Stage::Name { temporary, name } => match piece.kind {
                Kind::Sign(b'.') => Stage::Name { temporary, name },
                Kind::Word | Kind::Quoted if self.before.is_sign(b'.') => {
                    Stage::Name { temporary, name: name.to(piece.span) }
                }
                Kind::Sign(b',') => {
                    self.end_name(temporary, name);
                    Stage::Names { temporary }
                }
                _ => {
                    self.end_name(temporary, name);
                    Stage::Rest
                }
            },
            Stage::Statement => {
                self.item(Item::Deallocated(piece.span));
                Stage::Rest
            }
            Stage::Rest => Stage::Rest,
            Stage::ToSavepoint => Stage::ToSavepoint,
        };
    }

    /// CREATE or DROP TEMPORARY, and what is created.
    fn kind_of_object(&mut self, word: Word, temporary: bool) -> Stage {
        if self.count == 0 || self.before.is_sign(b'=') {
            // CREATE itself, or a DEFINER.
            return Stage::Object { temporary };
        }
        match word {
            Word::Temporary => {
                self.flag(Flags::TEMPORARY_CREATED);
                Stage::Object { temporary: true }
            }
            Word::Table | Word::Tables if temporary => Stage::Names { temporary },
            Word::Procedure
            | Word::Function
            | Word::Trigger
            | Word::Event
            | Word::Package
            | Word::View => {
                self.open_body();
                Stage::Rest
            }
            Word::Table
            | Word::Index
            | Word::Database
            | Word::Schema
            | Word::User
            | Word::Role
            | Word::Server
            | Word::Sequence
            | Word::Tablespace
            | Word::Resource => Stage::Rest,
            _ => Stage::Object { temporary },
        }
    }

    fn end_name(&mut self, temporary: bool, name: Span) {
        if self.lead == Word::Create {
            self.item(Item::Created(name));
        } else {
            let flags = if temporary { Flags::TEMPORARY_DROPPED } else { Flags::TABLE_DROPPED };
            self.flag(flags);
            self.item(Item::Dropped(name));
        }
    }

    fn open_body(&mut self) {
        self.flag(Flags::ROUTINE);
        self.body.open();
    }

    /// The statement is over.
    pub(super) fn end_lead(&mut self) {
        match (self.lead, self.stage) {
            (_, Stage::Name { temporary, name }) => self.end_name(temporary, name),
            (Word::Rollback, Stage::ToSavepoint) => self.flag(Flags::SAVEPOINT),
            (Word::Rollback, _) => self.flag(Flags::ROLLBACK),
            _ => {}
        }
    }
}

/// The other words that statements begin with.
const fn is_known(word: Word) -> bool {
    matches!(
        word,
        Word::Alter
            | Word::Analyze
            | Word::Change
            | Word::Check
            | Word::Checksum
            | Word::Clone
            | Word::Create
            | Word::Deallocate
            | Word::Delete
            | Word::Drop
            | Word::Flush
            | Word::Get
            | Word::Grant
            | Word::Handler
            | Word::Help
            | Word::Import
            | Word::Insert
            | Word::Install
            | Word::Load
            | Word::Lock
            | Word::Optimize
            | Word::Purge
            | Word::Release
            | Word::Repair
            | Word::Replace
            | Word::Reset
            | Word::Restart
            | Word::Revoke
            | Word::Rollback
            | Word::Select
            | Word::Set
            | Word::Show
            | Word::Shutdown
            | Word::Signal
            | Word::Start
            | Word::Stop
            | Word::Table
            | Word::Truncate
            | Word::Uninstall
            | Word::Unlock
            | Word::Update
            | Word::Value
            | Word::Values
            | Word::With
    )
}
