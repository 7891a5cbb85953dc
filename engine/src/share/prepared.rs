//! Statements that are prepared on a backend connection, for whichever session has it.
//!
//! Purpose: find the one that was made from the same text under the same settings, and close those
//! that nobody used for longest.
//! Never: know a session's ids, or give one statement of the server to executions that it must not
//! mix.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::share::settings::Settings;

/// Two bytes for each parameter, as in COM_STMT_EXECUTE.
pub type Types = Arc<[u8]>;

/// What a statement is prepared from.
#[derive(Debug)]
pub struct Source {
    text: Box<[u8]>,
    settings: Arc<Settings>,
    hash: u64,
}

impl Source {
    /// A text, read in a session with these settings.
    #[must_use]
    pub fn new(text: &[u8], settings: &Arc<Settings>) -> Self {
        let hash =
            BuildHasherDefault::<DefaultHasher>::default().hash_one((text, settings.schema()));
        Self { text: text.into(), settings: Arc::clone(settings), hash }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Under which settings it was prepared.
    #[must_use]
    pub const fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.text == other.text
            && self.settings.reads_as(&other.settings)
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A statement of the server.
#[derive(Debug)]
pub struct Variant {
    /// The server's id of it, on its connection.
    pub id: u32,
    /// Types of its first execution: MySQL holds on to them.
    pub first: Option<Types>,
    /// Types of its last execution, which the next one need not repeat.
    pub last: Option<Types>,
    /// Whether its executions open cursors. MySQL 9.7 hangs where one does and another does not.
    pub has_cursors: Option<bool>,
    used: u64,
}

impl Variant {
    /// One that was prepared just now.
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self { id, first: None, last: None, has_cursors: None, used: 0 }
    }

    /// How well it does for an execution; `None` if it does not.
    fn fits(&self, wanted: &Wanted<'_>) -> Option<u8> {
        if wanted.has_cursor.is_some_and(|it| self.has_cursors.is_some_and(|own| own != it)) {
            return None;
        }
        match (self.first.as_deref(), wanted.first) {
            (Some(own), Some(wanted)) if own == wanted => Some(2),
            (Some(_), _) if wanted.types_stick => None,
            (Some(_) | None, _) => Some(1),
        }
    }
}

/// What an execution needs.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Types of its session's first execution, if there are parameters and they are known.
    pub first: Option<&'a [u8]>,
    /// Whether it opens a cursor, if that is known yet.
    pub has_cursor: Option<bool>,
    /// Whether the server holds on to the types of a first execution.
    pub types_stick: bool,
}

/// How many statements connections may have prepared.
#[derive(Clone, Debug)]
pub struct StatementBudget {
    /// Of all connections together.
    pub used: Arc<AtomicUsize>,
    /// How many that may be. Each connection may have one all the same.
    pub max: usize,
    /// Of one connection.
    pub per_connection_max: usize,
}

/// All statements of one connection that any session may execute.
#[derive(Debug)]
pub struct Prepared {
    by_source: HashMap<Arc<Source>, Vec<Variant>>,
    count: usize,
    clock: u64,
    closed: Vec<u32>,
    budget: StatementBudget,
}

impl Prepared {
    /// Those of a new connection.
    #[must_use]
    pub fn new(budget: StatementBudget) -> Self {
        Self { by_source: HashMap::new(), count: 0, clock: 0, closed: Vec::new(), budget }
    }

    /// The same source as sessions before used it, if one did.
    #[must_use]
    pub fn known(&self, source: Arc<Source>) -> Arc<Source> {
        self.by_source.get_key_value(&source).map_or(source, |(known, _)| Arc::clone(known))
    }

    /// The best statement for an execution, if there is any.
    pub fn find(&mut self, source: &Arc<Source>, wanted: &Wanted<'_>) -> Option<&mut Variant> {
        self.clock += 1;
        let variants = self.by_source.get_mut(source)?;
        let (_, best) = variants
            .iter_mut()
            .filter_map(|variant| Some((variant.fits(wanted)?, variant)))
            .max_by_key(|(fits, _)| *fits)?;
        best.used = self.clock;
        Some(best)
    }

    /// The same, taken out: nobody else gets it until it is put back.
    pub fn take(&mut self, source: &Arc<Source>, wanted: &Wanted<'_>) -> Option<Variant> {
        let id = self.find(source, wanted)?.id;
        let variants = self.by_source.get_mut(source)?;
        let place = variants.iter().position(|variant| variant.id == id)?;
        let taken = variants.swap_remove(place);
        if variants.is_empty() {
            self.by_source.remove(source);
        }
        self.forget(1);
        Some(taken)
    }

    /// Adds a statement, in the place of the one that was not used for longest if there are too
    /// many.
    pub fn put(&mut self, source: &Arc<Source>, variant: Variant) {
        let is_full = self.count >= self.budget.per_connection_max
            || self.budget.used.load(Ordering::Relaxed) >= self.budget.max;
        if is_full {
            self.evict();
        }
        self.clock += 1;
        let variant = Variant { used: self.clock, ..variant };
        self.by_source.entry(Arc::clone(source)).or_default().push(variant);
        self.count += 1;
        self.budget.used.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a statement that was prepared for a client, unless there is already one that was never
    /// executed: then it is closed.
    pub fn put_new(&mut self, source: &Arc<Source>, id: u32) {
        let variants = self.by_source.get(source);
        let is_fresh = |it: &Variant| it.first.is_none() && it.has_cursors.is_none();
        if variants.is_some_and(|variants| variants.iter().any(is_fresh)) {
            self.closed.push(id);
        } else {
            self.put(source, Variant::new(id));
        }
    }

    /// A statement is of no use to anybody.
    pub fn close(&mut self, id: u32) {
        self.closed.push(id);
    }

    fn evict(&mut self) {
        let all = self.by_source.iter().flat_map(|(source, variants)| {
            variants.iter().map(move |variant| (variant.used, variant.id, source))
        });
        let Some((_, id, source)) = all.min_by_key(|(used, ..)| *used) else { return };
        let source = Arc::clone(source);
        if let Some(variants) = self.by_source.get_mut(&source) {
            variants.retain(|variant| variant.id != id);
            if variants.is_empty() {
                self.by_source.remove(&source);
            }
        }
        self.closed.push(id);
        self.forget(1);
    }

    /// The server has forgotten them all.
    pub fn clear(&mut self) {
        self.by_source.clear();
        self.closed.clear();
        self.forget(self.count);
    }

    /// Ids of statements that are to be closed on the server.
    pub fn take_closed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.closed)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn forget(&mut self, count: usize) {
        self.count -= count;
        self.budget.used.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.forget(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_connection_max: usize, max: usize) -> StatementBudget {
        StatementBudget { used: Arc::new(AtomicUsize::new(0)), max, per_connection_max }
    }

    fn source(text: &str, variables: &[(&str, &str)]) -> Arc<Source> {
        let mut settings = Settings::default();
        for (name, value) in variables {
            settings.set_variable(name.as_bytes(), value.as_bytes());
        }
        Arc::new(Source::new(text.as_bytes(), &Arc::new(settings)))
    }

    const ANY: Wanted<'_> = Wanted { first: None, has_cursor: Some(false), types_stick: true };

    #[test]
    fn the_same_text_is_one_statement_unless_it_is_read_otherwise() {
        let mut prepared = Prepared::new(budget(9, 9));
        prepared.put_new(&source("SELECT 1", &[("sql_mode", "A")]), 7);
        let mut found = |it| prepared.find(&it, &ANY).map(|variant| variant.id);
        assert_eq!(found(source("SELECT 1", &[("sql_mode", "A")])), Some(7));
        assert_eq!(found(source("SELECT 1", &[("sql_mode", "A"), ("time_zone", "B")])), Some(7));
        assert_eq!(found(source("SELECT 1", &[("sql_mode", "B")])), None);
        assert_eq!(found(source("SELECT 2", &[("sql_mode", "A")])), None);
    }

    #[test]
    fn executions_that_a_server_must_not_mix_are_kept_apart() {
        let mut prepared = Prepared::new(budget(9, 9));
        let source = source("SELECT ?", &[]);
        let long: Types = Arc::from(&b"\x03\0"[..]);
        let text = &b"\xFD\0"[..];
        let variant = Variant { first: Some(long.clone()), ..Variant::new(1) };
        prepared.put(&source, Variant { has_cursors: Some(false), ..variant });
        let wanted = Wanted { first: Some(&long), ..ANY };
        assert_eq!(prepared.find(&source, &wanted).map(|it| it.id), Some(1));
        let with_cursor = Wanted { has_cursor: Some(true), ..wanted };
        assert!(prepared.find(&source, &with_cursor).is_none());
        let other = Wanted { first: Some(text), ..ANY };
        assert!(prepared.find(&source, &other).is_none(), "MySQL holds on to the first types");
        let loose = Wanted { types_stick: false, ..other };
        assert_eq!(prepared.find(&source, &loose).map(|it| it.id), Some(1));
        prepared.put_new(&source, 2);
        assert_eq!(prepared.find(&source, &other).map(|it| it.id), Some(2));
        assert_eq!(prepared.find(&source, &wanted).map(|it| it.id), Some(1), "it fits better");
    }

    #[test]
    fn whoever_was_not_used_for_longest_is_closed() {
        let mut prepared = Prepared::new(budget(2, 9));
        let [a, b, c] = ["a", "b", "c"].map(|text| source(text, &[]));
        prepared.put_new(&a, 1);
        prepared.put_new(&a, 11);
        assert_eq!(prepared.take_closed(), [11], "one that was never executed is enough");
        prepared.put_new(&b, 2);
        assert!(prepared.find(&a, &ANY).is_some());
        prepared.put_new(&c, 3);
        assert_eq!((prepared.take_closed(), prepared.len()), (vec![2], 2));
        assert!(prepared.take(&a, &ANY).is_some());
        assert!(prepared.find(&a, &ANY).is_none());
        assert_eq!(prepared.len(), 1);
    }

    #[test]
    fn all_connections_together_have_a_bound() {
        let budget = budget(9, 3);
        let mut one = Prepared::new(budget.clone());
        let mut other = Prepared::new(budget.clone());
        for (id, text) in [(1, "a"), (2, "b"), (3, "c")] {
            one.put_new(&source(text, &[]), id);
        }
        other.put_new(&source("a", &[]), 1);
        assert_eq!((one.len(), other.len()), (3, 1), "each may have one");
        other.put_new(&source("b", &[]), 2);
        assert_eq!((other.len(), other.take_closed()), (1, vec![1]));
        drop(one);
        assert_eq!(budget.used.load(Ordering::Relaxed), 1);
        other.clear();
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
