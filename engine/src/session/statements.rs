//! Prepared statements of a session that shares backend connections.
//!
//! Purpose: what a client's number stands for, on whichever connection it is executed next.
//! Never: keep more text than [`TEXT_BYTES_KEPT_MAX`], or talk to a backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::route::{Aim, Why};
use crate::session::reading::Stays;
use crate::session::sharing::Kind;
use crate::share::{Effects, Prepared, Settings, Source, Types, Variant, Wanted};
use crate::sql::{Findings, Flags, LexMode};
use crate::wire::{Bound, Execution, statement_id};

/// MariaDB: the statement that was prepared last.
pub(super) const LAST_PREPARED: u32 = u32::MAX;

/// Texts kept for one session, in bytes.
const TEXT_BYTES_KEPT_MAX: usize = 1 << 20;

/// Texts whose answers depend on the statement before them.
const NEEDS_PREVIOUS: Flags = Flags::FOUND_ROWS
    .union(Flags::ROW_COUNT)
    .union(Flags::SHOW_WARNINGS)
    .union(Flags::SHOW_ERRORS)
    .union(Flags::WARNING_COUNT)
    .union(Flags::ERROR_COUNT)
    .union(Flags::DIAGNOSTICS);

/// What an execution does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Nothing,
    /// What its text says.
    AsWritten(LexMode),
    /// Nobody knows.
    Anything,
}

/// One statement.
#[derive(Debug)]
pub(super) struct Statement {
    /// What it can be prepared from again.
    source: Option<Arc<Source>>,
    /// It stays on its connection, and the session with it, until it is closed.
    is_tied: bool,
    /// The server's statement that only this session uses: for ever, or while it has a cursor or
    /// long data.
    pub(super) own: Option<Variant>,
    pub(super) params: u16,
    /// Types of its first execution.
    pub(super) first: Option<Types>,
    /// Types of its last execution.
    pub(super) types: Option<Types>,
    /// The connection has to say the session's LAST_INSERT_ID() before it is executed.
    pub(super) needs_insert_id: bool,
    pub(super) kind: Kind,
    does: Does,
    /// Where it runs on an endpoint that splits, and why there.
    pub(super) aim: Aim,
    pub(super) why: Why,
    /// And in a transaction that only reads.
    pub(super) stays: Stays,
}

impl Statement {
    /// One whose text is known.
    pub(super) fn of(text: &[u8], settings: &Arc<Settings>, mode: LexMode) -> Self {
        let findings = Findings::of(text, mode);
        let effects = Effects::of(text, &findings, settings, mode);
        let does = if effects.is_some() { Does::AsWritten(mode) } else { Does::Nothing };
        Self {
            source: Some(Arc::new(Source::new(text, settings))),
            is_tied: findings.flags.intersects(NEEDS_PREVIOUS) || lacks_schema(text, settings),
            needs_insert_id: findings.flags.contains(Flags::LAST_INSERT_ID)
                || effects.is_some_and(|it| it.ask_insert_id()),
            kind: Kind::of_text(text, mode),
            does,
            ..Self::unread()
        }
    }

    /// One of which nothing is known.
    pub(super) const fn unread() -> Self {
        Self {
            source: None,
            is_tied: true,
            own: None,
            params: 0,
            first: None,
            types: None,
            needs_insert_id: true,
            kind: Kind::STATEMENT,
            does: Does::Anything,
            aim: Aim::Primary,
            why: Why::COMMAND,
            stays: Stays::Never,
        }
    }

    /// Its text, if that was kept.
    pub(super) fn text(&self) -> Option<&[u8]> {
        self.source.as_ref().map(|source| source.text())
    }

    fn text_bytes(&self) -> usize {
        self.source.as_ref().map_or(0, |source| source.text().len())
    }

    /// What it can be prepared from on another connection, unless it stays on its own.
    pub(super) fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref().filter(|_| !self.is_tied)
    }

    /// What sessions before have prepared it from, if it was the same; unless it stays on its own
    /// connection.
    pub(super) fn share_source(&mut self, prepared: &Prepared) -> Option<Arc<Source>> {
        let source = prepared.known(Arc::clone(self.source()?));
        self.source = Some(Arc::clone(&source));
        Some(source)
    }

    /// Types that an execution has.
    pub(super) fn types_of(&self, execution: Option<&Execution<'_>>) -> Option<Types> {
        match execution.map(|it| &it.bound) {
            Some(Bound::Sent(types)) => {
                let same = self.types.as_ref().filter(|own| ***own == **types);
                Some(same.map_or_else(|| Types::from(&**types), Arc::clone))
            }
            Some(Bound::Kept { .. }) | None => self.types.clone(),
            Some(Bound::None | Bound::Unknown) => None,
        }
    }

    /// What statement of a server an execution with these types needs.
    pub(super) fn wanted<'a>(
        &'a self,
        types: Option<&'a Types>,
        execution: Option<&Execution<'_>>,
        types_stick: bool,
    ) -> Wanted<'a> {
        let first = self.first.as_ref().or(types).map(AsRef::as_ref);
        Wanted { first, has_cursor: execution.map(|it| it.has_cursor), types_stick }
    }

    /// It stays where it is now.
    pub(super) const fn tie(&mut self) {
        self.is_tied = true;
    }

    /// What an execution will have done.
    pub(super) fn effects(&self, settings: &Settings) -> Option<Box<Effects>> {
        match (self.does, self.text()) {
            (Does::Nothing, _) => None,
            (Does::AsWritten(mode), Some(text)) => {
                Effects::of(text, &Findings::of(text, mode), settings, mode)
            }
            (Does::AsWritten(_) | Does::Anything, _) => Some(Effects::unread()),
        }
    }
}

/// Without a schema it has none for ever, which another connection may have by then.
fn lacks_schema(text: &[u8], settings: &Settings) -> bool {
    settings.schema().is_empty() && asks_schema(text)
}

/// DATABASE() or SCHEMA().
fn asks_schema(text: &[u8]) -> bool {
    [&b"database"[..], b"schema"]
        .iter()
        .any(|word| text.windows(word.len()).any(|it| it.eq_ignore_ascii_case(word)))
}

/// All statements of a session.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_id: BTreeMap<u32, Box<Statement>>,
    text_bytes: usize,
    /// How many of them keep their session on its connection.
    owning: usize,
    /// The last one that was prepared, which MariaDB's clients may call by another number.
    last: Option<u32>,
}

impl Statements {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether one keeps the session on its connection.
    pub(super) const fn hold_connection(&self) -> bool {
        self.owning > 0
    }

    /// The number of the one prepared last.
    pub(super) const fn last(&self) -> Option<u32> {
        self.last
    }

    /// That one.
    pub(super) fn get(&self, id: u32) -> Option<&Statement> {
        self.by_id.get(&id).map(AsRef::as_ref)
    }

    /// That one.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Statement> {
        self.by_id.get_mut(&id).map(AsMut::as_mut)
    }

    /// Whether a read of that text, once prepared, can be executed on any connection.
    pub(super) fn can_move(&self, text: &[u8], settings: &Settings) -> bool {
        self.text_bytes + text.len() <= TEXT_BYTES_KEPT_MAX && !lacks_schema(text, settings)
    }

    /// The one that an execution is of.
    pub(super) fn meant(&self, execution: &[u8], is_mariadb: bool) -> Option<&Statement> {
        let id = statement_id(execution)?;
        self.get(if is_mariadb && id == LAST_PREPARED { self.last? } else { id })
    }

    /// Whether the text of a statement can be kept.
    pub(super) fn have_room_for(&self, statement: &Statement) -> bool {
        self.text_bytes + statement.text_bytes() <= TEXT_BYTES_KEPT_MAX
    }

    /// A statement was prepared.
    pub(super) fn add(&mut self, id: u32, statement: Box<Statement>) {
        self.last = Some(id);
        self.text_bytes += statement.text_bytes();
        self.owning += usize::from(statement.own.is_some());
        self.by_id.insert(id, statement);
    }

    /// None was, though it was asked for.
    pub(super) const fn none_was_prepared(&mut self) {
        self.last = None;
    }

    /// The server's statement is this session's alone.
    pub(super) fn own(&mut self, id: u32, variant: Variant) {
        if let Some(statement) = self.by_id.get_mut(&id)
            && statement.own.replace(variant).is_none()
        {
            self.owning += 1;
        }
    }

    /// It is everybody's again, with what it was made from; unless it is tied.
    pub(super) fn disown(&mut self, id: u32) -> Option<(Arc<Source>, Variant)> {
        let statement = self.by_id.get_mut(&id)?;
        let source = Arc::clone(statement.source()?);
        let variant = statement.own.take()?;
        self.owning -= 1;
        Some((source, variant))
    }

    /// The client has closed it.
    pub(super) fn remove(&mut self, id: u32) -> Option<Box<Statement>> {
        let statement = self.by_id.remove(&id)?;
        self.text_bytes -= statement.text_bytes();
        self.owning -= usize::from(statement.own.is_some());
        if self.last == Some(id) {
            self.last = None;
        }
        Some(statement)
    }

    /// The server has forgotten them all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Box<Statement> {
        let mut settings = Settings::default();
        settings.set_schema(b"shop");
        Box::new(Statement::of(text.as_bytes(), &Arc::new(settings), LexMode::unknown(true)))
    }

    #[test]
    fn what_depends_on_the_connection_stays_there() {
        for text in ["SELECT ?", "INSERT INTO t VALUES (?)", "SELECT LAST_INSERT_ID()"] {
            assert!(statement(text).source().is_some(), "{text}");
        }
        for text in ["SELECT FOUND_ROWS()", "SHOW WARNINGS", "SELECT @@warning_count"] {
            assert!(statement(text).source().is_none(), "{text}");
        }
        let nowhere = Arc::new(Settings::default());
        let of = |text: &str| Statement::of(text.as_bytes(), &nowhere, LexMode::unknown(true));
        assert!(of("SELECT DATABASE()").source().is_none());
        assert!(of("SELECT 1").source().is_some());
    }

    #[test]
    fn texts_have_a_bound_for_a_session() {
        let long = format!("SELECT '{}'", "x".repeat(TEXT_BYTES_KEPT_MAX / 4));
        let mut statements = Statements::default();
        for id in 1..=3 {
            assert!(statements.have_room_for(&statement(&long)));
            statements.add(id, statement(&long));
        }
        assert!(!statements.have_room_for(&statement(&long)));
        assert!(statements.remove(2).is_some() && statements.remove(2).is_none());
        assert!(statements.have_room_for(&statement(&long)));
    }

    #[test]
    fn a_connection_is_kept_while_a_statement_has_one_to_itself() {
        let mut statements = Statements::default();
        statements.add(1, statement("SELECT 1"));
        assert_eq!((statements.last(), statements.hold_connection()), (Some(1), false));
        statements.own(1, Variant::new(7));
        assert!(statements.hold_connection());
        let (_, variant) = statements.disown(1).unwrap();
        assert_eq!((variant.id, statements.hold_connection()), (7, false));
        statements.own(1, variant);
        if let Some(statement) = statements.get_mut(1) {
            statement.tie();
        }
        assert!(statements.disown(1).is_none(), "it is tied");
        statements.remove(1);
        assert_eq!((statements.last(), statements.hold_connection()), (None, false));
    }
}
