//! What a session has set.
//!
//! Purpose: the values as the server reported them, and the statements that bring a connection from
//! one set of them to another.
//! Never: hold a value that the server did not report or the text did not tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sql::{Charset, LexMode, Server};

/// User variables kept for a session, in bytes of names and values.
const USER_BYTES_MAX: usize = 16 << 10;

/// Variables on which it depends what a text means when it is prepared.
const READING: [&[u8]; 4] =
    [b"sql_mode", b"character_set_client", b"character_set_connection", b"collation_connection"];

/// Schema, system variables and user variables of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Empty without one.
    schema: Vec<u8>,
    /// By lower-case name: those every connection is asked for, and those that were set since.
    variables: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// By lower-case name without `@`: the literal that gives the value.
    user: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Settings {
    /// Those of a new connection.
    #[must_use]
    pub fn new<'a>(schema: &[u8], variables: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let variables = variables.map(|(name, value)| (name.into(), value.into())).collect();
        Self { schema: schema.to_vec(), variables, user: BTreeMap::new() }
    }

    /// The default schema; empty without one.
    #[must_use]
    pub fn schema(&self) -> &[u8] {
        &self.schema
    }

    /// A system variable, as the server reports it.
    #[must_use]
    pub fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        self.variables.get(name).map(AsRef::as_ref)
    }

    /// The literal of a user variable.
    #[must_use]
    pub fn user_variable(&self, name: &[u8]) -> Option<&[u8]> {
        self.user.get(name).map(AsRef::as_ref)
    }

    /// System variables that are others than with those settings, with their values.
    pub fn changed_from<'a>(
        &'a self,
        base: &'a Self,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let all = self.variables.iter().map(|(name, value)| (&**name, &**value));
        all.filter(|(name, value)| base.variable(name) != Some(value))
    }

    /// Names of user variables, without `@`.
    pub fn user_names(&self) -> impl Iterator<Item = &[u8]> {
        self.user.keys().map(AsRef::as_ref)
    }

    /// The default schema is this one now.
    pub fn set_schema(&mut self, schema: &[u8]) {
        schema.clone_into(&mut self.schema);
    }

    /// A system variable has this value now.
    pub fn set_variable(&mut self, name: &[u8], value: &[u8]) {
        match self.variables.get_mut(name) {
            Some(known) if &**known == value => {}
            Some(known) => *known = value.into(),
            None => drop(self.variables.insert(name.into(), value.into())),
        }
    }

    /// A system variable has its default value now, which is not worth carrying unless every
    /// connection is asked for it.
    pub fn forget_variable(&mut self, name: &[u8], base: &Self) {
        if !base.variables.contains_key(name) {
            self.variables.remove(name);
        }
    }

    /// A user variable has the value of this literal now. False if there is no room for it.
    pub fn set_user(&mut self, name: &[u8], literal: &[u8]) -> bool {
        let others = self.user.iter().filter(|(other, _)| ***other != *name);
        let bytes: usize = others.map(|(name, literal)| name.len() + literal.len()).sum();
        let fits = bytes + name.len() + literal.len() <= USER_BYTES_MAX;
        if fits {
            self.user.insert(name.into(), literal.into());
        }
        fits
    }

    /// After a reset of the connection: a reset keeps the schema.
    #[must_use]
    pub fn reset_to(&self, base: &Self) -> Self {
        Self { schema: self.schema.clone(), ..base.clone() }
    }

    /// How well a connection with these settings fits a session with those, 0 being perfectly.
    /// `None`: it never can, for a schema is never unchosen.
    #[must_use]
    pub fn distance_to(self: &Arc<Self>, wanted: &Arc<Self>) -> Option<u8> {
        Some(if Arc::ptr_eq(self, wanted) {
            0
        } else if self == wanted {
            1
        } else if self.schema == wanted.schema {
            2
        } else if wanted.schema.is_empty() {
            return None;
        } else if self.schema.is_empty() {
            4
        } else {
            3
        })
    }

    /// Whether texts mean the same with either: statements are prepared once for both.
    #[must_use]
    pub fn reads_as(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
            || self.schema == other.schema
                && READING.iter().all(|name| self.variable(name) == other.variable(name))
    }

    /// These, but with texts read as with `other`.
    #[must_use]
    pub fn reading_as(&self, other: &Self) -> Self {
        let mut settings = self.clone();
        for name in READING {
            if let Some(value) = other.variable(name) {
                settings.set_variable(name, value);
            }
        }
        // One that has none could not be left without one again.
        if !other.schema.is_empty() && !self.schema.is_empty() {
            settings.set_schema(&other.schema);
        }
        settings
    }

    /// How texts of the session are read.
    #[must_use]
    pub fn lex_mode(&self, server: Server) -> LexMode {
        let charset =
            self.variable(b"character_set_client").map_or(Charset::Unknown, Charset::by_name);
        let mode = LexMode { charset, server, ..LexMode::unknown(true) };
        self.variable(b"sql_mode").map_or(mode, |sql_mode| mode.with_sql_mode(sql_mode))
    }

    /// How long a client may be silent.
    #[must_use]
    pub fn wait_timeout(&self) -> Duration {
        let seconds = self.variable(b"wait_timeout").and_then(|it| std::str::from_utf8(it).ok());
        seconds.and_then(|it| it.parse().ok()).map_or(Duration::MAX, Duration::from_secs)
    }

    /// Character set and collation, where SET NAMES could have set them.
    pub(super) fn names(&self) -> Option<(&[u8], &[u8])> {
        let charset = self.variable(b"character_set_client")?;
        let others = [&b"character_set_connection"[..], b"character_set_results"];
        let collation = self.variable(b"collation_connection")?;
        let alike = others.iter().all(|name| self.variable(name) == Some(charset));
        alike.then_some((charset, collation))
    }

    /// The SET that makes a connection with these settings one with `wanted`, if one is needed. The
    /// schema is not part of it.
    #[must_use]
    pub fn set_to(&self, wanted: &Self) -> Option<Vec<u8>> {
        let mut sets = Sets(Vec::new());
        if let Some((charset, collation)) = wanted.names()
            && self.names() != wanted.names()
        {
            // With the collation also the results have that of the session, which has no name.
            sets.names(charset, collation);
        }
        for (name, value) in &wanted.variables {
            if self.variables.get(name) != Some(value) {
                sets.system(name, &literal(name, value));
            }
        }
        for name in self.variables.keys().filter(|name| !wanted.variables.contains_key(*name)) {
            sets.system_default(name);
        }
        for (name, value) in &wanted.user {
            if self.user.get(name) != Some(value) {
                sets.user(name, value);
            }
        }
        for name in self.user.keys().filter(|name| !wanted.user.contains_key(*name)) {
            sets.user(name, b"NULL");
        }
        (!sets.0.is_empty()).then_some(sets.0)
    }
}

/// One SET that grows.
struct Sets(Vec<u8>);

impl Sets {
    fn next(&mut self) {
        let word: &[u8] = if self.0.is_empty() { b"SET " } else { b", " };
        self.0.extend_from_slice(word);
    }

    fn names(&mut self, charset: &[u8], collation: &[u8]) {
        self.next();
        for part in [b"NAMES '", charset, b"' COLLATE '", collation, b"'"] {
            self.0.extend_from_slice(part);
        }
    }

    fn system(&mut self, name: &[u8], value: &[u8]) {
        self.next();
        for part in [b"SESSION ", name, b" = ", value] {
            self.0.extend_from_slice(part);
        }
    }

    fn system_default(&mut self, name: &[u8]) {
        match name {
            // MySQL 9.7 takes the DEFAULT of these for OFF, which it is not.
            b"foreign_key_checks" | b"unique_checks" => {
                self.system(name, &[b"@@GLOBAL.", name].concat());
            }
            _ => self.system(name, b"DEFAULT"),
        }
    }

    fn user(&mut self, name: &[u8], value: &[u8]) {
        self.next();
        for part in [b"@`", name, b"` = ", value] {
            self.0.extend_from_slice(part);
        }
    }
}

/// A value as it is written in a SET: numbers are refused in quotes, and words without.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    // Reported as nothing, and refused as such.
    let nothing: &[&[u8]] = &[
        b"character_set_results",
        b"default_tmp_storage_engine",
        b"enforce_storage_engine",
        b"external_table_secondary_storage_engine",
        b"external_table_storage_engine",
        b"innodb_ft_user_stopword_table",
        b"innodb_tmpdir",
    ];
    if value.is_empty() && nothing.contains(&name) {
        return b"NULL".to_vec();
    }
    let number = value.strip_prefix(b"-").unwrap_or(value);
    let is_number = number.first().is_some_and(u8::is_ascii_digit)
        && number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && number.iter().filter(|byte| **byte == b'.').count() < 2;
    if is_number {
        return value.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in value {
        // A backslash is one only without NO_BACKSLASH_ESCAPES; no value that is tracked has any.
        if *byte == b'\'' {
            quoted.push(b'\'');
        }
        quoted.push(*byte);
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)], user: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in variables {
            settings.set_variable(name.as_bytes(), value.as_bytes());
        }
        for (name, literal) in user {
            assert!(settings.set_user(name.as_bytes(), literal.as_bytes()));
        }
        settings
    }

    fn set(from: &Settings, to: &Settings) -> Option<String> {
        from.set_to(to).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn nothing_is_said_when_nothing_differs() {
        let one = settings(&[("sql_mode", ""), ("time_zone", "SYSTEM")], &[("a", "5")]);
        assert_eq!(set(&one, &one.clone()), None);
        let mut other = one.clone();
        other.set_schema(b"shop");
        assert_eq!(set(&one, &other), None, "a schema is chosen in another way");
    }

    #[test]
    fn one_set_says_all_that_differs() {
        let base = settings(
            &[("autocommit", "ON"), ("character_set_results", "utf8mb4"), ("sql_mode", "A,B")],
            &[],
        );
        let own = settings(
            &[
                ("autocommit", "OFF"),
                ("character_set_results", ""),
                ("long_query_time", "1.500000"),
                ("sql_mode", "A,B"),
                ("time_zone", "+05:00"),
            ],
            &[("a", "5"), ("b", "NULL")],
        );
        assert_eq!(
            set(&base, &own).unwrap(),
            "SET SESSION autocommit = 'OFF', SESSION character_set_results = NULL, \
             SESSION long_query_time = 1.500000, SESSION time_zone = '+05:00', \
             @`a` = 5, @`b` = NULL"
        );
        assert_eq!(
            set(&own, &base).unwrap(),
            "SET SESSION autocommit = 'ON', SESSION character_set_results = 'utf8mb4', \
             SESSION long_query_time = DEFAULT, SESSION time_zone = DEFAULT, \
             @`a` = NULL, @`b` = NULL"
        );
    }

    #[test]
    fn a_default_is_carried_only_where_connections_may_differ() {
        let base = settings(&[("sql_mode", "A")], &[]);
        let mut own = base.clone();
        own.set_variable(b"sql_mode", b"B");
        own.set_variable(b"sort_buffer_size", b"65536");
        own.forget_variable(b"sort_buffer_size", &base);
        own.forget_variable(b"sql_mode", &base);
        assert_eq!(set(&base, &own).unwrap(), "SET SESSION sql_mode = 'B'");
    }

    #[test]
    fn user_variables_have_a_bound() {
        let mut own = settings(&[], &[("a", "1")]);
        let long = vec![b'7'; USER_BYTES_MAX];
        assert!(!own.set_user(b"b", &long));
        assert_eq!(own.user_variable(b"a"), Some(&b"1"[..]));
        assert_eq!(own.user_variable(b"b"), None);
    }
}
