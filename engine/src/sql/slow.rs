//! What sqlparser is asked.
//!
//! Purpose: tell lists of columns behind the names of common table expressions and derived tables,
//! and JSON_TABLE, from calls of functions; for the lexer all of them are a name and a parenthesis.
//! Never: decide alone. It only takes back a doubt of [`crate::sql::classify`], which has seen that
//! nothing else in the text writes, locks or calls; and a text it cannot parse stays doubtful.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many forms of the parser a few are known, and no other takes back a doubt"
)]

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Statement, TableAlias, TableFactor, Visit, Visitor,
};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use crate::sql::mode::{Charset, DoubleQuotes, LexMode};

/// Longer texts are not parsed: it takes some ten nanoseconds a byte, and allocates.
const BYTES_MAX: usize = 8 * 1024;

/// Nor are deeper ones: the parser goes back where it guessed wrong, at every depth once more.
const DEPTH_MAX: usize = 12;

/// Names before parentheses that are remembered; of more there is no answer.
const NAMES_MAX: usize = 8;

/// What is doubted of a text: names that are called, or have a list of columns.
#[derive(Clone, Debug)]
pub(super) struct Doubts {
    names: [Range<usize>; NAMES_MAX],
    count: usize,
    /// One of them surely is a call.
    pub(super) are_calls: bool,
    /// There is a WITH.
    pub(super) has_with: bool,
}

impl Doubts {
    pub(super) const NONE: Self =
        Self { names: [const { 0..0 }; NAMES_MAX], count: 0, are_calls: false, has_with: false };

    /// Another name. `may_be_list`: it stands where lists of columns are.
    pub(super) fn add(&mut self, name: Range<usize>, may_be_list: bool) {
        match self.names.get_mut(self.count) {
            Some(slot) if may_be_list => {
                *slot = name;
                self.count += 1;
            }
            Some(_) | None => self.are_calls = true,
        }
    }

    /// Whether a parse may take them back, and reads the text as the server does.
    pub(super) fn are_worth_it(&self, text: &[u8], mode: LexMode) -> bool {
        let depth = text.iter().fold((0_usize, 0), |(depth, most), byte| {
            let depth = match byte {
                b'(' => depth + 1,
                b')' => depth.saturating_sub(1),
                _ => depth,
            };
            (depth, most.max(depth))
        });
        let plain = text.is_ascii() || mode.charset == Charset::Utf8;
        let quotes = mode.double_quotes == DoubleQuotes::Text || !text.contains(&b'"');
        let escapes = mode.backslash_escapes || !text.contains(&b'\\');
        let versioned = memchr::memmem::find(text, b"/*!").is_some()
            || memchr::memmem::find(text, b"/*M!").is_some();
        self.count > 0
            && !self.are_calls
            && text.len() <= BYTES_MAX
            && depth.1 <= DEPTH_MAX
            && plain
            && quotes
            && escapes
            && !versioned
    }
}

/// Words before parentheses in a JSON_TABLE, which MariaDB takes for functions elsewhere.
pub(super) fn is_of_json_table(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"JSON_TABLE") || name.eq_ignore_ascii_case(b"COLUMNS")
}

/// Whether all that is doubted are names of tables with their columns, or JSON_TABLE.
#[cold]
pub(super) fn are_no_calls(text: &[u8], doubts: &Doubts) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let dialect = MySqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(RECURSION_MAX);
    let Ok(statements) = parser.try_with_sql(text).and_then(|mut it| it.parse_statements()) else {
        return false;
    };
    let names = doubts.names.iter().take(doubts.count);
    let names = names.map(|name| text.get(name.clone()).unwrap_or_default().trim_matches('`'));
    let mut search = Search { names: names.map(|name| (name, false)).collect(), json: false };
    let called = statements.visit(&mut search).is_break();
    let json = search.json;
    let all = search
        .names
        .iter()
        .all(|(name, listed)| *listed || json && is_of_json_table(name.as_bytes()));
    !called && all
}

/// Queries inside each other, roughly.
const RECURSION_MAX: usize = 40;

/// Looks for the names in a parsed text.
struct Search<'a> {
    /// Each of them, and whether it was found with a list of columns.
    names: Vec<(&'a str, bool)>,
    /// There is a JSON_TABLE.
    json: bool,
}

impl Search<'_> {
    fn alias(&mut self, alias: &TableAlias) {
        if !alias.columns.is_empty() {
            self.listed(&alias.name);
        }
    }

    fn listed(&mut self, ident: &Ident) {
        for (name, listed) in &mut self.names {
            *listed |= name.eq_ignore_ascii_case(&ident.value);
        }
    }

    /// One of the names is called, or something that may be.
    fn is_called(&self, called: &ObjectName) -> bool {
        let [part] = called.0.as_slice() else { return true };
        let Some(ident) = part.as_ident() else { return true };
        self.names.iter().any(|(name, _)| name.eq_ignore_ascii_case(&ident.value))
    }
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            // What else there is was not asked about.
            _ => ControlFlow::Break(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.alias(&table.alias);
        }
        if query.locks.is_empty() && query.for_clause.is_none() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Table { args: None, alias, .. }
            | TableFactor::NestedJoin { alias, .. } => {
                // Only derived tables have lists of columns.
                match alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
            TableFactor::Derived { alias, .. } => {
                alias.iter().for_each(|alias| self.alias(alias));
                ControlFlow::Continue(())
            }
            TableFactor::JsonTable { .. } => {
                self.json = true;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if self.is_called(&function.name) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}
