//! What a statement will have done to its connection once it has succeeded.
//!
//! Purpose: turn what was found in a text into changes of pins and settings, to be applied when the
//! answer is there.
//! Never: apply anything; that is [`crate::share::Carried`]'s.

use crate::share::pins::Pin;
use crate::share::question::text_literal;
use crate::share::settings::Settings;
use crate::sql::{
    Findings, Flags, Item, Kind, LexMode, Lexer, Scope, Span, Target, Token, Value, ValueKind,
    unquoted,
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add(Pin),
    Remove(Pin),
    Hold(Pin, Box<[u8]>),
    /// A table has another name.
    Rename,
    /// One of that name has ended.
    Free(Pin, Box<[u8]>),
    /// All of that name have.
    FreeAllOf(Pin, Box<[u8]>),
    FreeAll(Pin),
    /// A user variable has that literal's value, or one that has to be asked for.
    User(Box<[u8]>, Option<Box<[u8]>>),
    /// A system variable has its default.
    Default(Box<[u8]>),
    /// A system variable was set, which the server has to report.
    Set(Box<[u8]>),
    /// A text was prepared under that name; whether it does nothing to its connection.
    Prepare(Box<[u8]>, bool),
    /// EXECUTE of that name.
    Execute(Box<[u8]>),
    AskCollation,
    AskInsertId,
    /// COMMIT RELEASE: the server closes the connection.
    Close,
}

/// What a text does, if it succeeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub(super) flags: Flags,
    /// It is one statement.
    pub(super) single: bool,
    pub(super) changes: Vec<Change>,
    /// ALTER, which may be one of a temporary table.
    pub(super) alters: bool,
    /// A value it sets is no literal: a function that gives it may set variables of its own.
    pub(super) calls: bool,
}

/// Flags that change nothing a connection carries.
const HARMLESS: Flags = Flags::NEEDS_PREVIOUS
    .union(Flags::USER_READ)
    .union(Flags::SAVEPOINT)
    .union(Flags::COMMIT)
    .union(Flags::ROLLBACK)
    .union(Flags::EXPLAIN)
    .union(Flags::ROUTINE)
    .union(Flags::KILL)
    .union(Flags::PROCESSLIST)
    .union(Flags::DO)
    .union(Flags::SET_GLOBAL)
    .union(Flags::SET_PASSWORD)
    .union(Flags::READ_ONLY)
    .union(Flags::READ_WRITE)
    .union(Flags::SNAPSHOT)
    .union(Flags::CHAIN)
    .union(Flags::NAMED_LOCK_ASKED)
    .union(Flags::SEQUENCE_NEXT)
    .union(Flags::SEQUENCE_LAST);

/// Statements that may change LAST_INSERT_ID() without an id in their answer.
const MAY_INSERT: Flags = Flags::LAST_INSERT_ID_SET
    .union(Flags::CALL)
    .union(Flags::BLOCK)
    .union(Flags::EXECUTE)
    .union(Flags::LOAD)
    .union(Flags::UNSURE);

/// Questions for diagnostics leave them as they are.
pub(super) const ASKS_DIAGNOSTICS: Flags = Flags::SHOW_WARNINGS
    .union(Flags::SHOW_ERRORS)
    .union(Flags::WARNING_COUNT)
    .union(Flags::ERROR_COUNT)
    .union(Flags::DIAGNOSTICS);

/// Why a server may report a change of the session without saying which.
pub(super) const EXPLAINS: Flags = Flags::UNSURE
    .union(Flags::USER_SET)
    .union(Flags::USER_UNKNOWN)
    .union(Flags::TEMPORARY_CREATED)
    .union(Flags::TEMPORARY_DROPPED)
    .union(Flags::TABLE_DROPPED)
    .union(Flags::RENAMED)
    .union(Flags::PREPARE)
    .union(Flags::EXECUTE)
    .union(Flags::DEALLOCATE)
    .union(Flags::SET_SYSTEM)
    .union(Flags::SET_AUTOCOMMIT)
    .union(Flags::SET_TRANSACTION)
    .union(Flags::SET_NAMES)
    .union(Flags::SET_ROLE)
    .union(Flags::SET_STATEMENT)
    .union(Flags::LAST_INSERT_ID_SET)
    .union(Flags::INSERT_ID)
    .union(Flags::USE)
    .union(Flags::CALL)
    .union(Flags::BLOCK);

impl Effects {
    /// What was found in `text`, in a session with these settings; `None` if that is nothing.
    #[must_use]
    pub fn of(
        text: &[u8],
        findings: &Findings,
        settings: &Settings,
        mode: LexMode,
    ) -> Option<Box<Self>> {
        if findings.flags.without(HARMLESS).is_empty()
            && !findings.flags.intersects(ASKS_DIAGNOSTICS)
        {
            return None;
        }
        let mut effects = Self {
            flags: findings.flags,
            single: !findings.is_multi(),
            changes: Vec::new(),
            alters: begins_with(text, b"ALTER", mode),
            calls: findings.flags.contains(Flags::USER_UNKNOWN) && text.contains(&b'('),
        };
        effects.note_flags(text, mode);
        for item in &findings.items {
            effects.note_item(*item, text, settings, mode);
        }
        if findings.flags.contains(Flags::TEMPORARY_CREATED)
            && !findings.items.iter().any(|item| matches!(item, Item::Created(_)))
        {
            effects.push(Change::Add(Pin::TemporaryTable));
        }
        Some(Box::new(effects))
    }

    /// A text too long to be read as a whole, of which that was found.
    #[must_use]
    pub fn of_long(findings: &Findings) -> Option<Box<Self>> {
        if findings.flags.without(HARMLESS).is_empty() {
            return None;
        }
        // Names and values are not at hand any more.
        let changes = vec![Change::Add(Pin::Unread)];
        Some(Box::new(Self {
            flags: findings.flags,
            single: false,
            changes,
            alters: false,
            calls: false,
        }))
    }

    /// What is known of a command that has no text: nothing.
    #[must_use]
    pub fn unread() -> Box<Self> {
        let changes = vec![Change::Add(Pin::Unread), Change::AskInsertId];
        Box::new(Self { flags: Flags::UNSURE, single: false, changes, alters: false, calls: false })
    }

    /// Whether it may generate an id that no answer tells.
    #[must_use]
    pub fn ask_insert_id(&self) -> bool {
        self.changes.contains(&Change::AskInsertId)
    }

    fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn note_flags(&mut self, text: &[u8], mode: LexMode) {
        let has = |flag: Flags| self.flags.contains(flag);
        let mut changes = Vec::new();
        for (flag, pin) in [
            (Flags::UNSURE, Pin::Unread),
            (Flags::CALC_FOUND_ROWS, Pin::FoundRows),
            (Flags::CALL, Pin::Procedure),
            (Flags::BLOCK, Pin::Procedure),
            (Flags::INSERT_ID, Pin::OneShot),
            (Flags::SET_ROLE, Pin::Role),
            (Flags::SET_TRANSACTION_ONCE, Pin::NextTransaction),
        ] {
            if has(flag) {
                changes.push(Change::Add(pin));
            }
        }
        // What a text both begins and ends lasts, for its order is not looked at.
        if has(Flags::UNLOCK_TABLES) && self.single {
            changes.push(Change::Remove(Pin::TableLock));
            changes.push(Change::FreeAllOf(Pin::GlobalLock, (*b"tables").into()));
        }
        if has(Flags::UNLOCK_INSTANCE) && self.single {
            changes.push(Change::FreeAllOf(Pin::GlobalLock, (*b"instance").into()));
        }
        if has(Flags::BEGIN) && self.single {
            changes.push(Change::Remove(Pin::TableLock));
        }
        if has(Flags::LOCK_TABLES) {
            changes.push(Change::Add(Pin::TableLock));
        }
        for (flag, name) in [
            (Flags::FLUSH_LOCK, &b"tables"[..]),
            (Flags::LOCK_INSTANCE, b"instance"),
            (Flags::BACKUP, b"backup"),
        ] {
            if has(flag) {
                changes.push(Change::Hold(Pin::GlobalLock, name.into()));
            }
        }
        if has(Flags::NAMED_LOCK) || has(Flags::NAMED_UNLOCK) {
            changes.push(self.named_lock(text, mode));
        }
        if has(Flags::HANDLER_OPEN) || has(Flags::HANDLER_CLOSE) {
            changes.extend(self.handler(text, mode));
        }
        if has(Flags::XA) {
            changes.extend(self.xa(text, mode));
        }
        if has(Flags::RENAMED) {
            changes.push(Change::Rename);
        }
        if has(Flags::SET_NAMES) {
            changes.push(Change::AskCollation);
        }
        if self.flags.intersects(MAY_INSERT) {
            changes.push(Change::AskInsertId);
        }
        if has(Flags::RELEASE) {
            changes.push(Change::Close);
        }
        self.changes = changes;
    }

    fn note_item(&mut self, item: Item, text: &[u8], settings: &Settings, mode: LexMode) {
        match item {
            Item::Assigned(Target::User(name), value) => match user_name(name.of(text)) {
                Some(name) => {
                    let literal = user_literal(text, value, settings);
                    self.push(Change::User(name, literal.filter(|_| self.single)));
                }
                None => self.push(Change::Add(Pin::UserVariable)),
            },
            Item::Assigned(Target::System(Scope::Session | Scope::Bare, name), value) => {
                let name = lower(&unquoted(name.of(text)));
                if name.starts_with(b"session_track_") {
                    self.push(Change::Add(Pin::Tracking));
                } else if value.kind == ValueKind::Default && self.single
                    || &*name == b"timestamp" && value.span.of(text) == b"0"
                {
                    self.push(Change::Set(name.clone()));
                    self.push(Change::Default(name));
                } else {
                    if &*name == b"character_set_connection" {
                        self.push(Change::AskCollation);
                    }
                    self.push(Change::Set(name));
                }
            }
            Item::Created(name) => match table_name(name.of(text), settings) {
                Some(name) => {
                    self.push(Change::FreeAllOf(Pin::TemporaryTable, name.clone()));
                    self.push(Change::Hold(Pin::TemporaryTable, name));
                }
                None => self.push(Change::Add(Pin::TemporaryTable)),
            },
            Item::Dropped(name) if self.single => {
                if let Some(name) = table_name(name.of(text), settings) {
                    self.push(Change::FreeAllOf(Pin::TemporaryTable, name));
                }
            }
            Item::Prepared(name) => {
                let harmless = self.single && prepares_harmless(text, mode);
                self.push(Change::Prepare(lower(&unquoted(name.of(text))), harmless));
            }
            Item::Executed(name) => {
                self.push(Change::Execute(lower(&unquoted(name.of(text)))));
            }
            Item::Deallocated(name) if self.single => {
                let name = lower(&unquoted(name.of(text)));
                self.push(Change::FreeAllOf(Pin::TextStatement, name));
            }
            Item::Assigned(..)
            | Item::Read(_)
            | Item::Use(_)
            | Item::Dropped(_)
            | Item::Deallocated(_) => {}
        }
    }

    /// GET_LOCK or RELEASE_LOCK of one literal name, alone in its statement, is understood.
    fn named_lock(&self, text: &[u8], mode: LexMode) -> Change {
        let any = Change::Add(Pin::NamedLock);
        if !self.single {
            return any;
        }
        let Some(words) = first_tokens::<7>(text, mode) else { return any };
        let [lead, function, open, name, next, ..] = words;
        let word = |token: Option<Token>| token.map(|it| lower(it.bytes(text)));
        let sign = |token: Option<Token>, sign| token.is_some_and(|it| it.kind == Kind::Sign(sign));
        if !matches!(word(lead).as_deref(), Some(b"select" | b"do")) || !sign(open, b'(') {
            return any;
        }
        let ends_at = |place: usize| {
            let rest = words.get(place..).unwrap_or_default();
            rest.iter().flatten().all(|it| it.kind == Kind::Sign(b';'))
        };
        let literal = name.filter(|it| it.kind == Kind::Text).map(|it| it.bytes(text));
        let literal = literal.filter(|it| !it.contains(&b'\\')).map(|it| lower(&unquoted(it)));
        match (word(function).as_deref(), literal) {
            (Some(b"release_all_locks"), None) if sign(name, b')') && ends_at(4) => {
                Change::FreeAll(Pin::NamedLock)
            }
            (Some(b"release_lock"), Some(name)) if sign(next, b')') && ends_at(5) => {
                Change::Free(Pin::NamedLock, name)
            }
            (Some(b"get_lock"), Some(name)) if sign(next, b',') => {
                // The number of seconds and the parenthesis fill the rest.
                let alone = self.flags.contains(Flags::NAMED_LOCK)
                    && text.iter().filter(|byte| **byte == b'(').count() == 1;
                if alone { Change::Hold(Pin::NamedLock, name) } else { any }
            }
            _ => any,
        }
    }

    fn handler(&self, text: &[u8], mode: LexMode) -> Option<Change> {
        let any = Some(Change::Add(Pin::Handler));
        if !self.single {
            return any;
        }
        let Some(words) = first_tokens::<7>(text, mode) else { return any };
        let (name, verb, rest, alias) = match words {
            // It is known by its last name.
            [_, _, Some(dot), name, verb, rest, alias] if dot.kind == Kind::Sign(b'.') => {
                (name, verb, rest, alias)
            }
            [_, name, verb, rest, alias, ..] => (name, verb, rest, alias),
        };
        let (Some(name), Some(verb)) = (name, verb) else { return any };
        let own = |token: Token| lower(&unquoted(token.bytes(text)));
        match &*lower(verb.bytes(text)) {
            b"open" => {
                let alias = match rest.map(|it| lower(it.bytes(text))).as_deref() {
                    None | Some(b";") => name,
                    Some(b"as") => alias?,
                    Some(_) => rest?,
                };
                Some(Change::Hold(Pin::Handler, own(alias)))
            }
            b"close" => Some(Change::FreeAllOf(Pin::Handler, own(name))),
            b"read" => None,
            _ => any,
        }
    }

    fn xa(&self, text: &[u8], mode: LexMode) -> Option<Change> {
        let any = Some(Change::Add(Pin::Xa));
        if !self.single {
            return any;
        }
        let [_, Some(verb)] = first_tokens::<2>(text, mode)? else { return any };
        match &*lower(verb.bytes(text)) {
            b"commit" | b"rollback" => Some(Change::Remove(Pin::Xa)),
            b"recover" | b"end" | b"prepare" => None,
            _ => any,
        }
    }
}

/// The first tokens of a text; `None` if it cannot be read for sure.
fn first_tokens<const N: usize>(text: &[u8], mode: LexMode) -> Option<[Option<Token>; N]> {
    let mut lexer = Lexer::new(text, mode);
    let mut tokens = [None; N];
    for token in &mut tokens {
        *token = lexer.next_token().ok()?;
    }
    Some(tokens)
}

fn begins_with(text: &[u8], word: &[u8], mode: LexMode) -> bool {
    let first = first_tokens::<1>(text, mode).and_then(|[first]| first);
    first.is_some_and(|first| first.bytes(text).eq_ignore_ascii_case(word))
}

/// `PREPARE name FROM 'text'`, where that text does nothing to its connection.
fn prepares_harmless(text: &[u8], mode: LexMode) -> bool {
    let Some([_, _, _, Some(literal), rest]) = first_tokens::<5>(text, mode) else { return false };
    let bytes = literal.bytes(text);
    let is_plain = literal.kind == Kind::Text && !bytes.contains(&b'\\');
    if !is_plain || rest.is_some_and(|it| it.kind != Kind::Sign(b';')) {
        return false;
    }
    Findings::of(&unquoted(bytes), mode).flags.without(HARMLESS).is_empty()
}

fn lower(name: &[u8]) -> Box<[u8]> {
    name.to_ascii_lowercase().into()
}

/// The name of a user variable, if it can be written anywhere.
fn user_name(written: &[u8]) -> Option<Box<[u8]>> {
    let name = unquoted(written);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$');
    (!name.is_empty() && name.iter().all(plain)).then(|| lower(&name))
}

/// The literal that gives the value a user variable was set to, under all settings.
fn user_literal(text: &[u8], value: Value, settings: &Settings) -> Option<Box<[u8]>> {
    let written = value.span.of(text);
    match value.kind {
        ValueKind::Number | ValueKind::Null | ValueKind::Bool | ValueKind::Hex
            if value.introducer.is_none() && value.collation.is_none() =>
        {
            Some(written.into())
        }
        ValueKind::Text if value.introducer.is_none() && value.collation.is_none() => {
            let inside = written.get(1..written.len().checked_sub(1)?)?;
            let quote = *written.first()?;
            let client = settings.variable(b"character_set_client")?;
            if inside.contains(&b'\\')
                || inside.contains(&quote)
                || Some(client) != settings.variable(b"character_set_connection")
            {
                return None;
            }
            let hex: String = inside.iter().map(|byte| format!("{byte:02X}")).collect();
            text_literal(hex.as_bytes(), settings.variable(b"collation_connection")?)
                .map(Into::into)
        }
        ValueKind::Number
        | ValueKind::Null
        | ValueKind::Bool
        | ValueKind::Hex
        | ValueKind::Text
        | ValueKind::Default
        | ValueKind::Word
        | ValueKind::Unknown => None,
    }
}

/// A table's name with its schema, as `schema.table`, if it is plain.
fn table_name(written: &[u8], settings: &Settings) -> Option<Box<[u8]>> {
    if written.contains(&b'\\') || written.windows(2).any(|pair| pair == b"``") {
        return None;
    }
    let mut parts = written.split(|byte| *byte == b'.');
    let plain = |part: &[u8]| lower(&unquoted(part.trim_ascii()));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(table), None, None) => {
            let schema = settings.schema();
            (!schema.is_empty()).then(|| [schema, b".", &plain(table)].concat().into())
        }
        (Some(schema), Some(table), None) => {
            Some([&*unquoted(schema.trim_ascii()), b".", &plain(table)].concat().into())
        }
        _ => None,
    }
}

/// Where a token is in its text.
trait Place {
    fn bytes(self, text: &[u8]) -> &[u8];
}

impl Place for Token {
    fn bytes(self, text: &[u8]) -> &[u8] {
        Span { start: self.start, end: self.end }.of(text)
    }
}
