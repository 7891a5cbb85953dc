//! SET.
//!
//! Purpose: what gets which value, and which other things SET does.
//! Never: evaluate; what is not one literal is [`ValueKind::Unknown`].

use super::{Piece, Scan};
use crate::sql::findings::{Flags, Item, Scope, Span, Target, Value, ValueKind};
use crate::sql::lex::Kind;
use crate::sql::words::Word;

/// Where in a SET the reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The SET itself comes.
    #[default]
    Start,
    /// What is set comes next, at the beginning or behind a comma.
    Option,
    /// Behind GLOBAL, SESSION and so on.
    Scope,
    /// Behind `@@`.
    Mark,
    /// Behind the scope of `@@session.a`: its dot.
    Dot,
    /// Behind the dot: the name.
    Name,
    /// Behind what is set: `=` or `:=`.
    Sign(Target),
    /// Behind CHARACTER.
    Character,
    /// The value.
    Value(Target),
    /// Something of which the rest does not matter, up to a comma or the end.
    Other,
    /// The rest does not matter, with all its commas.
    Rest,
    /// SET STATEMENT, up to its FOR.
    Statement,
}

/// A SET, as far as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    at: At,
    /// Of the option that is read.
    scope: Option<Scope>,
    /// GLOBAL was said in an option before it. Servers differ in whether that goes on.
    was_global: bool,
    value: Value,
    /// COLLATE was read, and its name was not.
    collates: bool,
    /// A sign, an introducer: the value is not complete.
    opened: bool,
}

impl Default for Set {
    fn default() -> Self {
        Self {
            at: At::Start,
            scope: None,
            was_global: false,
            value: Value::UNKNOWN,
            collates: false,
            opened: false,
        }
    }
}

impl Set {
    /// What is set is being read, and not its value.
    pub(super) const fn is_target(&self) -> bool {
        !matches!(self.at, At::Value(_) | At::Other | At::Rest | At::Statement)
    }
}

impl Scan {
    /// A token of a SET; whether it belongs to what is set.
    pub(super) fn on_set(&mut self, piece: &Piece) -> bool {
        let is_target = self.set.is_target();
        let lists = !matches!(self.set.at, At::Rest | At::Statement);
        if self.depth == 0 && piece.is_sign(b',') && lists {
            self.end_option();
            self.set.at = At::Option;
            return false;
        }
        self.set.at = match self.set.at {
            At::Start => At::Option,
            At::Option => self.option(piece),
            At::Scope => self.scoped(piece),
            At::Mark => match piece.word {
                _ if !piece.is_name() => self.odd(),
                Word::Session | Word::Local => self.scope(Scope::Session, At::Dot),
                Word::Global | Word::Persist | Word::PersistOnly => {
                    self.scope(Scope::Global, At::Dot)
                }
                _ => {
                    self.set.scope = Some(Scope::Bare);
                    self.system(piece)
                }
            },
            At::Dot if piece.is_sign(b'.') => At::Name,
            At::Dot => self.odd(),
            At::Name if piece.is_name() => self.system(piece),
            At::Name => self.odd(),
            At::Sign(target) => match piece.kind {
                Kind::Assign | Kind::Sign(b'=') => At::Value(target),
                // A part of something else, as a key cache.
                _ => self.odd(),
            },
            At::Character => self.named_set(piece.word == Word::Set, Target::CharacterSet),
            At::Value(target) => {
                self.value(piece, target);
                At::Value(target)
            }
            At::Statement if piece.word == Word::For && self.depth == 0 => {
                // Another statement begins behind it.
                self.begin_statement();
                return true;
            }
            At::Other => At::Other,
            At::Rest => At::Rest,
            At::Statement => At::Statement,
        };
        is_target
    }

    /// The first token of an option.
    fn option(&mut self, piece: &Piece) -> At {
        let first = self.count == 1;
        self.set.scope = None;
        self.set.value = Value::UNKNOWN;
        (self.set.collates, self.set.opened) = (false, false);
        match (piece.kind, piece.word) {
            (Kind::Variable, _) => {
                self.found.only_sets = false;
                At::Sign(Target::User(piece.span))
            }
            (Kind::System, _) => At::Mark,
            (Kind::Quoted, _) => self.system(piece),
            (Kind::Word, Word::Session | Word::Local) => self.scope(Scope::Session, At::Scope),
            (Kind::Word, Word::Global | Word::Persist | Word::PersistOnly) => {
                self.set.was_global = true;
                self.scope(Scope::Global, At::Scope)
            }
            (Kind::Word, Word::Names) => self.named_set(true, Target::Names),
            (Kind::Word, Word::Charset) => self.named_set(true, Target::CharacterSet),
            (Kind::Word, Word::Character) => At::Character,
            (Kind::Word, Word::Transaction) if first => self.rest(Flags::SET_TRANSACTION_ONCE),
            (Kind::Word, Word::Password) => self.other(Flags::SET_PASSWORD),
            (Kind::Word, Word::Role | Word::Default) if first => self.rest(Flags::SET_ROLE),
            (Kind::Word, Word::Statement) if first => {
                self.other(Flags::SET_STATEMENT);
                At::Statement
            }
            (Kind::Word, Word::Resource) if first => self.rest(Flags::UNSURE),
            (Kind::Word, _) => self.system(piece),
            _ => self.odd(),
        }
    }

    /// Behind GLOBAL, SESSION and so on.
    fn scoped(&mut self, piece: &Piece) -> At {
        let is_global = self.set.scope == Some(Scope::Global);
        match piece.word {
            Word::Transaction if self.count == 2 && piece.kind == Kind::Word => {
                self.rest(if is_global { Flags::SET_GLOBAL } else { Flags::SET_TRANSACTION })
            }
            _ if piece.is_name() => self.system(piece),
            _ => self.odd(),
        }
    }

    const fn scope(&mut self, scope: Scope, at: At) -> At {
        self.set.scope = Some(scope);
        at
    }

    /// A system variable by its name.
    fn system(&mut self, piece: &Piece) -> At {
        let scope = self.set.scope.unwrap_or(Scope::Session);
        if self.set.scope.is_none() && self.set.was_global {
            self.flag(Flags::UNSURE);
        }
        if scope == Scope::Global {
            self.found.only_sets = false;
            self.flag(Flags::SET_GLOBAL);
        } else {
            self.flag(Flags::SET_SYSTEM | set_of(piece.word, scope));
        }
        At::Sign(Target::System(scope, piece.span))
    }

    fn named_set(&mut self, is: bool, target: Target) -> At {
        self.found.only_sets = false;
        if !is {
            return self.odd();
        }
        self.flag(Flags::SET_NAMES);
        At::Value(target)
    }

    fn other(&mut self, flags: Flags) -> At {
        self.found.only_sets = false;
        self.flag(flags);
        At::Other
    }

    fn rest(&mut self, flags: Flags) -> At {
        self.other(flags);
        At::Rest
    }

    fn odd(&mut self) -> At {
        self.other(Flags::UNSURE)
    }

    /// A token of a value.
    fn value(&mut self, piece: &Piece, target: Target) {
        let is_first = self.set.value == Value::UNKNOWN && !self.set.opened;
        let was = self.set.value;
        if is_first || self.set.opened && was.kind == ValueKind::Unknown {
            self.begin_value(piece, target, is_first);
            return;
        }
        let collates = piece.word == Word::Collate
            && was.collation.is_none()
            && matches!(was.kind, ValueKind::Text | ValueKind::Hex | ValueKind::Word);
        if self.set.collates && (piece.is_name() || piece.kind == Kind::Text) {
            self.set.collates = false;
            self.set.value.collation = Some(piece.span);
            self.set.value.span.end = piece.span.end;
        } else if collates && !self.set.collates {
            self.set.collates = true;
        } else {
            self.spoil_value();
        }
    }

    /// It is more than a literal.
    const fn spoil_value(&mut self) {
        self.set.value = Value::UNKNOWN;
        // No token is the first any more, and none completes it.
        self.set.opened = false;
        self.set.collates = true;
        self.set.value.span = Span { start: 1, end: 1 };
    }

    fn begin_value(&mut self, piece: &Piece, target: Target, is_first: bool) {
        let signed = !is_first && self.set.value.introducer.is_none();
        let kind = match (piece.kind, piece.word) {
            (Kind::Number, _) if is_first || signed => ValueKind::Number,
            (Kind::Text, _) if !signed => ValueKind::Text,
            (Kind::Hex, _) if !signed => ValueKind::Hex,
            (Kind::Sign(b'-' | b'+'), _) if is_first => {
                self.set.opened = true;
                self.set.value.span = piece.span;
                return;
            }
            (Kind::Word, _)
                if is_first && piece.underscored && matches!(target, Target::User(_)) =>
            {
                self.set.opened = true;
                self.set.value.span = piece.span;
                self.set.value.introducer = Some(piece.span);
                return;
            }
            (Kind::Word, Word::Null) if is_first => ValueKind::Null,
            (Kind::Word, Word::True | Word::False) if is_first => ValueKind::Bool,
            (Kind::Word, Word::Default) if is_first => ValueKind::Default,
            (Kind::Word | Kind::Quoted, _) if is_first && !matches!(target, Target::User(_)) => {
                ValueKind::Word
            }
            _ => {
                self.spoil_value();
                return;
            }
        };
        let span = if is_first { piece.span } else { self.set.value.span.to(piece.span) };
        self.set.opened = false;
        self.set.value = Value { kind, span, ..self.set.value };
    }

    /// A comma or the end of the statement.
    pub(super) fn end_option(&mut self) {
        self.settle_variable(false);
        let value = self.set.value;
        let complete = !self.set.opened && !self.set.collates && value.kind != ValueKind::Unknown;
        let value = if complete { value } else { Value::UNKNOWN };
        match self.set.at {
            At::Value(Target::User(name)) if value.kind == ValueKind::Unknown => {
                self.unknown(name);
            }
            At::Value(target) => {
                if matches!(target, Target::User(_)) {
                    self.flag(Flags::USER_SET);
                }
                self.found.only_sets &= value.kind != ValueKind::Unknown;
                self.item(Item::Assigned(target, value));
            }
            At::Other | At::Rest => {}
            // It ends too early; the server will say so.
            _ => self.found.only_sets = false,
        }
    }
}

/// What setting a system variable does besides.
const fn set_of(variable: Word, scope: Scope) -> Flags {
    match (variable, scope) {
        (Word::Autocommit, _) => Flags::SET_AUTOCOMMIT,
        (Word::LastInsertId | Word::Identity, _) => Flags::LAST_INSERT_ID_SET,
        (Word::InsertId, _) => Flags::INSERT_ID,
        (
            Word::TransactionIsolation
            | Word::TxIsolation
            | Word::TransactionReadOnly
            | Word::TxReadOnly,
            Scope::Bare,
        ) => Flags::SET_TRANSACTION_ONCE,
        (_, _) => Flags::NONE,
    }
}
