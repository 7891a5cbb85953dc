//! Reads statements for what they do to a connection.
//!
//! Purpose: tokens in, [`Findings`] out, one token at a time.
//! Never: look ahead, or know the grammar beyond what decides about a finding. What may happen
//! anywhere in a statement is looked for here; what depends on its first word in [`lead`], SET in
//! [`set`], and the bodies of stored programs are passed over in [`body`].
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of two hundred words a few matter in each place, and all others are as one"
)]

mod body;
mod lead;
mod set;

use crate::sql::findings::{Findings, Flags, Item, Span, Target, Value, unquoted};
use crate::sql::lex::{Kind, Token, Unsure};
use crate::sql::mode::LexMode;
use crate::sql::pieces::Sink;
use crate::sql::words::Word;

/// More items than this are unsure.
const ITEMS_MAX: usize = 256;

/// A token with what it means.
#[derive(Clone, Copy, Debug)]
struct Piece {
    kind: Kind,
    /// What it is if it is a word, and no part of a name with dots.
    word: Word,
    span: Span,
    /// It begins with `_`: perhaps an introducer.
    underscored: bool,
}

impl Piece {
    const NONE: Self = Self {
        kind: Kind::Sign(b';'),
        word: Word::Other,
        span: Span { start: 0, end: 0 },
        underscored: false,
    };

    const fn is_sign(&self, sign: u8) -> bool {
        matches!(self.kind, Kind::Sign(own) if own == sign)
    }

    const fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// A function by its name, until it is known to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Nothing,
    /// Flags to set if a parenthesis follows.
    Named(Flags),
    LastInsertId,
    /// LAST_INSERT_ID and a parenthesis.
    LastInsertIdOpen,
}

/// How far `@@session.name` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    No,
    Mark,
    Scope,
    Dot,
}

/// The state of a reading.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    mode: LexMode,
    found: Findings,
    /// The first word of the statement that is being read.
    lead: Word,
    /// No token of it was seen yet.
    fresh: bool,
    /// Tokens of it so far, without the one at hand.
    count: u32,
    /// How far a system variable is read.
    system: System,
    before: Piece,
    /// A user variable of which it is not known yet whether it is assigned to.
    variable: Option<Span>,
    /// Variables in a list behind INTO are assigned to.
    into: bool,
    call: Call,
    /// NEXT or PREVIOUS, of `NEXT VALUE FOR`.
    sequence: Flags,
    /// Parentheses open.
    depth: u32,
    stage: lead::Stage,
    set: set::Set,
    body: body::Body,
}

impl Scan {
    pub(super) fn new(mode: LexMode) -> Self {
        Self {
            mode,
            found: Findings::default(),
            lead: Word::Other,
            fresh: true,
            count: 0,
            system: System::No,
            before: Piece::NONE,
            variable: None,
            into: false,
            call: Call::Nothing,
            sequence: Flags::NONE,
            depth: 0,
            stage: lead::Stage::Start,
            set: set::Set::default(),
            body: body::Body::default(),
        }
    }

    pub(super) const fn flags(&self) -> Flags {
        self.found.flags
    }

    pub(super) fn finish(mut self, end: Result<(), Unsure>) -> Findings {
        self.end_statement();
        if end.is_err() || !self.body.is_over() {
            self.flag(Flags::UNSURE);
        }
        self.found.only_sets &=
            self.found.statements == 1 && !self.found.flags.contains(Flags::UNSURE);
        self.found
    }

    fn flag(&mut self, flags: Flags) {
        self.found.flags |= flags;
    }

    fn item(&mut self, item: Item) {
        if self.found.items.len() < ITEMS_MAX {
            self.found.items.push(item);
        } else {
            self.flag(Flags::UNSURE);
        }
    }

    fn unknown(&mut self, variable: Span) {
        self.flag(Flags::USER_UNKNOWN);
        self.item(Item::Assigned(Target::User(variable), Value::UNKNOWN));
    }

    /// A statement ends with a semicolon or the text.
    fn end_statement(&mut self) {
        self.settle_variable(false);
        if !self.fresh {
            self.end_lead();
            if self.lead == Word::Set {
                self.end_option();
            }
            self.found.statements = self.found.statements.saturating_add(1);
        }
        self.begin_statement();
    }

    fn begin_statement(&mut self) {
        self.lead = Word::Other;
        self.fresh = true;
        self.count = 0;
        self.system = System::No;
        self.before = Piece::NONE;
        self.into = false;
        self.call = Call::Nothing;
        self.sequence = Flags::NONE;
        self.depth = 0;
        self.stage = lead::Stage::Start;
        self.set = set::Set::default();
    }

    /// The variable before this token is assigned to, or read.
    fn settle_variable(&mut self, assigned: bool) {
        let Some(variable) = self.variable.take() else { return };
        let fills = matches!(self.lead, Word::Call | Word::Load | Word::Get | Word::Execute);
        if assigned || self.into || fills {
            self.unknown(variable);
        } else {
            self.flag(Flags::USER_READ);
            self.item(Item::Read(variable));
        }
    }

    /// What may be anywhere in a statement.
    fn anywhere(&mut self, piece: &Piece) {
        if self.variable.is_some() {
            self.settle_variable(piece.kind == Kind::Assign);
        }
        self.called(piece);
        self.system_read(piece);
        match piece.kind {
            Kind::Variable => {
                // A host behind the name of a user is none: 'a'@'b'.
                let host = matches!(self.before.kind, Kind::Text | Kind::Quoted)
                    && self.before.span.end == piece.span.start;
                if !host {
                    self.variable = Some(piece.span);
                }
            }
            Kind::Word | Kind::Quoted => self.named(piece),
            Kind::Sign(b'(') => self.depth += 1,
            Kind::Sign(b')') => self.depth = self.depth.saturating_sub(1),
            Kind::Number | Kind::Hex | Kind::Text | Kind::System | Kind::Assign | Kind::Sign(_) => {
            }
        }
        if !matches!(piece.kind, Kind::Variable | Kind::Sign(b',')) {
            self.into = piece.word == Word::Into && piece.kind == Kind::Word;
        }
    }

    /// What a system variable depends on, once its name is there.
    fn system_read(&mut self, piece: &Piece) {
        self.system = match (self.system, piece.kind) {
            (_, Kind::System) => System::Mark,
            (System::Mark, Kind::Word)
                if matches!(piece.word, Word::Session | Word::Local | Word::Global) =>
            {
                System::Scope
            }
            (System::Scope, Kind::Sign(b'.')) => System::Dot,
            (System::Mark | System::Dot, Kind::Word | Kind::Quoted) => {
                self.flag(read_of(piece.word));
                System::No
            }
            _ => System::No,
        };
    }

    /// Whether the name before this token is that of a function.
    fn called(&mut self, piece: &Piece) {
        match self.call {
            Call::Nothing => {}
            Call::Named(flags) => {
                if piece.is_sign(b'(') {
                    self.flag(flags);
                }
                self.call = Call::Nothing;
            }
            Call::LastInsertId => {
                self.call = match piece.is_sign(b'(') {
                    true => Call::LastInsertIdOpen,
                    false => Call::Nothing,
                };
            }
            Call::LastInsertIdOpen => {
                let reads = piece.is_sign(b')');
                self.flag(if reads { Flags::LAST_INSERT_ID } else { Flags::LAST_INSERT_ID_SET });
                self.call = Call::Nothing;
            }
        }
    }

    /// A word or a quoted name, with none before it that it belongs to.
    fn named(&mut self, piece: &Piece) {
        if self.before.is_sign(b'.') {
            match piece.word {
                Word::Nextval => self.flag(Flags::SEQUENCE_NEXT),
                Word::Currval => self.flag(Flags::SEQUENCE_LAST),
                _ => {}
            }
            return;
        }
        self.call = match piece.word {
            Word::GetLock
            | Word::ServiceGetReadLocks
            | Word::ServiceGetWriteLocks
            | Word::VersionTokensLockShared
            | Word::VersionTokensLockExclusive => Call::Named(Flags::NAMED_LOCK),
            Word::ReleaseLock
            | Word::ReleaseAllLocks
            | Word::ServiceReleaseLocks
            | Word::VersionTokensUnlock => Call::Named(Flags::NAMED_UNLOCK),
            Word::IsFreeLock | Word::IsUsedLock => Call::Named(Flags::NAMED_LOCK_ASKED),
            Word::FoundRows => Call::Named(Flags::FOUND_ROWS),
            Word::RowCount => Call::Named(Flags::ROW_COUNT),
            Word::LastInsertId => Call::LastInsertId,
            Word::Nextval => Call::Named(Flags::SEQUENCE_NEXT),
            Word::Lastval => Call::Named(Flags::SEQUENCE_LAST),
            _ => Call::Nothing,
        };
        if piece.kind == Kind::Quoted {
            return;
        }
        match piece.word {
            Word::SqlCalcFoundRows => self.flag(Flags::CALC_FOUND_ROWS),
            Word::Value if self.before.word == Word::Next => self.sequence = Flags::SEQUENCE_NEXT,
            Word::Value if self.before.word == Word::Previous => {
                self.sequence = Flags::SEQUENCE_LAST;
            }
            Word::For if self.before.word == Word::Value => self.flag(self.sequence),
            _ => {}
        }
    }

    /// A token of a statement, and the first of one as well.
    fn piece(&mut self, piece: &Piece) {
        if self.fresh {
            self.begin_lead(piece);
        }
        if self.body.is_open() {
            self.in_body(piece);
        } else {
            // The variable that SET assigns to is not one that is read.
            let is_target = self.lead == Word::Set && self.on_set(piece);
            if !is_target {
                self.anywhere(piece);
            }
            if self.lead != Word::Set {
                self.on_lead(piece);
            }
        }
    }

    /// The word that a token is, by its place.
    fn word_of(&self, kind: Kind, bytes: &[u8]) -> Word {
        let word = match kind {
            Kind::Word => Word::of(bytes),
            Kind::Quoted => Word::of(&unquoted(bytes)),
            Kind::Number
            | Kind::Hex
            | Kind::Text
            | Kind::Variable
            | Kind::System
            | Kind::Assign
            | Kind::Sign(_) => Word::Other,
        };
        // Behind a dot a word is but a name; except a sequence's in Oracle's way, and a system
        // variable's behind its scope.
        let is_plain = !self.before.is_sign(b'.')
            || self.system == System::Dot
            || self.lead == Word::Set && self.set.is_target()
            || matches!(word, Word::Nextval | Word::Currval);
        if is_plain { word } else { Word::Other }
    }
}

impl Sink for Scan {
    fn token(&mut self, token: &Token, bytes: &[u8]) {
        let span = Span { start: token.start, end: token.end };
        let odd = matches!(token.kind, Kind::Word | Kind::Variable)
            && self.mode.charset.doubts_names()
            && !bytes.is_ascii();
        if odd {
            // Some of these letters are blanks, or signs.
            self.flag(Flags::UNSURE);
        }
        let word = self.word_of(token.kind, bytes);
        let underscored = bytes.first() == Some(&b'_');
        let piece = Piece { kind: token.kind, word, span, underscored };
        if piece.is_sign(b';') && !self.body.is_in_block() {
            self.end_statement();
            self.body = body::Body::default();
            return;
        }
        self.piece(&piece);
        if !self.fresh {
            self.count = self.count.saturating_add(1);
        }
        // One by one: copied as a whole, what was just written in parts would be waited for.
        self.before.kind = token.kind;
        self.before.word = word;
        self.before.span.end = token.end;
    }
}

/// What reading a system variable depends on.
const fn read_of(variable: Word) -> Flags {
    match variable {
        Word::LastInsertId | Word::Identity => Flags::LAST_INSERT_ID,
        Word::InsertId => Flags::INSERT_ID,
        Word::WarningCount => Flags::WARNING_COUNT,
        Word::ErrorCount => Flags::ERROR_COUNT,
        _ => Flags::NONE,
    }
}
