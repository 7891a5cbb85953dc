//! TOML as written: tables and values that know their line and their path.
//!
//! Purpose: read one key at a time against the table in `default`, noting every mistake and going
//! on with the default, so that one run finds them all.
//! Never: judge how keys fit together; that is `check`'s.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Lookup;
use super::default::{Key, Kind, ROOT, SECTIONS, Section};
use super::expand::expand;
use super::problem::{Lines, Place, Problem, nearest};
use super::words::Word;

/// A file that is TOML, and the problems found in it so far.
pub(super) struct Document<'t> {
    pub(super) lookup: &'t dyn Lookup,
    table: Spanned<DeTable<'t>>,
    lines: Lines,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// Parses the text.
    ///
    /// # Errors
    /// Everything that is not TOML. Nothing else is judged then: behind a broken header every key
    /// would seem to stand in the wrong table.
    pub(super) fn read(text: &'t str, lookup: &'t dyn Lookup) -> Result<Self, Vec<Problem>> {
        let lines = Lines::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { lookup, table, lines, problems: RefCell::default() });
        }
        let problems = errors.iter().map(|error| {
            let line = error.span().map_or(lines.last(), |span| lines.of(span.start));
            let place = Place { line, path: String::new(), found: String::new() };
            // Only the message: the error's own text quotes the line, and with it a password.
            place.problem(format!("not TOML: {}", error.message()))
        });
        Err(sorted(problems.collect()))
    }

    /// The file as a table.
    pub(super) fn root(&self) -> Table<'_> {
        let entries = Some(self.table.get_ref());
        Table::new(self, &ROOT, String::new(), self.lines.last(), entries)
    }

    /// Notes a problem.
    pub(super) fn reject(&self, place: &Place, message: impl Into<String>) {
        self.problems.borrow_mut().push(place.problem(message));
    }

    /// All problems noted, by line.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        sorted(self.problems.into_inner())
    }
}

fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A number, and whether the file is right about it: if not, it is the default.
#[derive(Clone, Debug)]
pub(super) struct Number<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) good: bool,
}

/// A value of a known key.
struct Found<'d> {
    value: &'d DeValue<'d>,
    place: Place,
}

/// A table of the file, or the absence of one, which reads as an empty table.
pub(super) struct Table<'d> {
    document: &'d Document<'d>,
    section: &'static Section,
    path: String,
    line: usize,
    entries: Option<&'d DeTable<'d>>,
}

impl<'d> Table<'d> {
    fn new(
        document: &'d Document<'d>,
        section: &'static Section,
        path: String,
        line: usize,
        entries: Option<&'d DeTable<'d>>,
    ) -> Self {
        let table = Self { document, section, path, line, entries };
        table.reject_unknown_keys();
        table
    }

    fn reject_unknown_keys(&self) {
        let keys = self.section.keys.iter().map(|key| key.name);
        let accepted: Vec<&str> = keys.chain(self.section.children.iter().copied()).collect();
        for key in self.entries.into_iter().flat_map(DeTable::keys) {
            let name: &str = key.get_ref();
            if accepted.contains(&name) {
                continue;
            }
            let place = Place {
                line: self.document.lines.of(key.span().start),
                path: join(&self.path, name),
                found: String::new(),
            };
            let guess = nearest(name, &accepted)
                .map(|word| format!(" did you mean {word}?"))
                .unwrap_or_default();
            let list = accepted.join(", ");
            self.document.reject(&place, format!("unknown key;{guess} accepted here: {list}"));
        }
    }

    /// The table's header.
    pub(super) fn place(&self) -> Place {
        Place { line: self.line, path: self.path.clone(), found: String::new() }
    }

    /// The child that may stand once; absent, it has the line of this table.
    pub(super) fn one(&self, name: &str) -> Table<'d> {
        let section = section(&join(self.section.path, name));
        let path = join(&self.path, name);
        let Some((line, value)) = self.child(name) else {
            return Table::new(self.document, section, path, self.line, None);
        };
        let entries = value.as_table();
        if entries.is_none() {
            let place = Place { line, path: path.clone(), found: show(value) };
            self.document.reject(&place, format!("must be a table, [{}]", section.path));
        }
        Table::new(self.document, section, path, line, entries)
    }

    /// The children that may stand several times, in file order.
    pub(super) fn many(&self, name: &str) -> Vec<Table<'d>> {
        let section = section(&join(self.section.path, name));
        let path = join(&self.path, name);
        let Some((line, value)) = self.child(name) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            let place = Place { line, path, found: show(value) };
            self.document.reject(&place, format!("must be a list, [[{}]]", section.path));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let line = self.document.lines.of(item.span().start);
            let path = format!("{path}[{index}]");
            if let Some(entries) = item.get_ref().as_table() {
                tables.push(Table::new(self.document, section, path, line, Some(entries)));
            } else {
                let place = Place { line, path, found: show(item.get_ref()) };
                self.document.reject(&place, format!("must be a table, [[{}]]", section.path));
            }
        }
        tables
    }

    /// Whether a list has anything in it, right or wrong.
    pub(super) fn has_items(&self, name: &str) -> bool {
        let value = self.child(name).map(|(_, value)| value);
        value.is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty()))
    }

    fn child(&self, name: &str) -> Option<(usize, &'d DeValue<'d>)> {
        let value = self.entries?.get(name)?;
        Some((self.document.lines.of(value.span().start), value.get_ref()))
    }

    /// A number within its key's range.
    pub(super) fn integer<T: TryFrom<u64> + Default>(&self, name: &str) -> Number<T> {
        let key = self.key(name);
        let Kind::Integer { default, min, max, power_of_two } = key.kind else {
            self.document.reject(&self.place_of(name), NOT_LISTED);
            return Number { value: T::default(), place: self.place_of(name), good: false };
        };
        let fallback = T::try_from(default).unwrap_or_default();
        let Some(Found { value, place }) = self.find(key) else {
            return Number { value: fallback, place: self.place_of(name), good: true };
        };
        let number = value.as_integer().and_then(|integer| {
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            let fits = (min..=max).contains(&number) && (!power_of_two || number.is_power_of_two());
            if fits { T::try_from(number).ok() } else { None }
        });
        if let Some(value) = number {
            return Number { value, place, good: true };
        }
        let message = match (power_of_two, value.is_integer()) {
            (false, true) => format!("must be between {min} and {max}"),
            (true, true) | (_, false) => format!("must be {}", key.accepted()),
        };
        self.document.reject(&place, message);
        Number { value: fallback, place, good: false }
    }

    /// One of a few words, or the default.
    pub(super) fn word<W: Word>(&self, name: &str) -> Option<W> {
        let key = self.key(name);
        let Some(Found { value, place }) = self.find(key) else {
            if W::DEFAULT.is_none() {
                self.reject_missing(key);
            }
            return W::DEFAULT;
        };
        let Some(text) = value.as_str() else {
            self.document.reject(&place, format!("must be {}", key.accepted()));
            return W::DEFAULT;
        };
        let text = self.expanded(text, place)?;
        let word = W::of(&text.value);
        if word.is_none() {
            self.document.reject(&text.place, format!("must be {}", key.accepted()));
        }
        word.or(W::DEFAULT)
    }

    /// A string with its variables replaced; `None` when absent or rejected.
    pub(super) fn text(&self, name: &str) -> Option<At<String>> {
        let key = self.key(name);
        let Found { value, place } = self.find(key)?;
        let Some(text) = value.as_str() else {
            self.document.reject(&place, format!("must be {}", key.accepted()));
            return None;
        };
        self.expanded(text, place)
    }

    /// Like [`Table::text`], but absence is a problem.
    pub(super) fn required(&self, name: &str) -> Option<At<String>> {
        let key = self.key(name);
        if self.find(key).is_none() {
            self.reject_missing(key);
        }
        self.text(name)
    }

    /// A switch that is off unless the file says otherwise.
    pub(super) fn flag(&self, name: &str) -> bool {
        let key = self.key(name);
        let Some(Found { value, place }) = self.find(key) else { return false };
        let flag = value.as_bool();
        if flag.is_none() {
            self.document.reject(&place, format!("must be {}", key.accepted()));
        }
        flag.unwrap_or_default()
    }

    /// A list of strings, as they are written; `None` when absent or rejected.
    pub(super) fn texts(
        &self,
        name: &str,
        is_good: impl Fn(&[&str]) -> bool,
    ) -> Option<At<Vec<&'d str>>> {
        let At { value, place } = self.mixed(name)?;
        let texts: Option<Vec<&str>> = value
            .as_array()
            .and_then(|items| items.iter().map(|item| item.get_ref().as_str()).collect());
        let texts = texts.filter(|texts| is_good(texts));
        if texts.is_none() {
            self.reject_value(name, &place);
        }
        texts.map(|value| At { value, place })
    }

    /// A value of several possible kinds.
    pub(super) fn mixed(&self, name: &str) -> Option<At<&'d DeValue<'d>>> {
        self.find(self.key(name)).map(|Found { value, place }| At { value, place })
    }

    /// What a key accepts, in words.
    pub(super) fn accepted(&self, name: &str) -> String {
        self.key(name).accepted()
    }

    /// Rejects a value for not being what its key accepts.
    pub(super) fn reject_value(&self, name: &str, place: &Place) {
        self.document.reject(place, format!("must be {}", self.key(name).accepted()));
    }

    /// A string of the file with its variables replaced.
    pub(super) fn expanded(&self, text: &str, place: Place) -> Option<At<String>> {
        match expand(text, |name| self.document.lookup.variable(name)) {
            Ok(value) => {
                // Shown is what was judged, unless it is hidden.
                let found = if place.found.is_empty() { String::new() } else { quoted(&value) };
                Some(At { value, place: Place { found, ..place } })
            }
            Err(message) => {
                self.document.reject(&place, message);
                None
            }
        }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section.keys.iter().find(|key| key.name == name).unwrap_or_else(|| {
            self.document.reject(&self.place_of(name), NOT_LISTED);
            &UNLISTED
        })
    }

    fn find(&self, key: &Key) -> Option<Found<'d>> {
        let (line, value) = self.child(key.name)?;
        let found = match key.kind {
            Kind::Secret { .. } => String::new(),
            Kind::Integer { .. } | Kind::Word(_) | Kind::Other { .. } => show(value),
        };
        Some(Found { value, place: Place { line, found, ..self.place_of(key.name) } })
    }

    fn reject_missing(&self, key: &Key) {
        let message = format!("is missing: {}", key.accepted());
        self.document.reject(&self.place_of(key.name), message);
    }

    /// The place of a key or child that is not there.
    pub(super) fn place_of(&self, name: &str) -> Place {
        Place { line: self.line, path: join(&self.path, name), found: String::new() }
    }
}

fn section(path: &str) -> &'static Section {
    SECTIONS.iter().find(|section| section.path == path).unwrap_or(&ROOT)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value as a problem shows it.
fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> =
                items.iter().take(LIST_SHOWN_MAX).map(|item| show_item(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

/// An element of a list, whose own elements are not shown: lists nest deeper than lines are long.
fn show_item(value: &DeValue<'_>) -> String {
    if value.is_array() { "[…]".to_owned() } else { show(value) }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Elements of a list shown in a problem.
const LIST_SHOWN_MAX: usize = 32;
/// Stands for a key the table lacks; its problem makes every file fail, so tests see it.
static UNLISTED: Key = Key {
    name: "",
    kind: Kind::Other { accepted: "nothing", default: None, example: "", required: false },
    doc: "",
};
const NOT_LISTED: &str = "a bug in weir: the key is not in the table of defaults";
