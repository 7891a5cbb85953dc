//! Statements whose answers are known beforehand, and that change nothing.
//!
//! Purpose: what drivers and frameworks say at the beginning and between transactions, told from what
//! has to reach a server.
//! Never: be nearly right: what would cause a warning, report something else or change anything that
//! can be asked for later is left to the server.

use crate::share::settings::Settings;
use crate::share::traits::{Traits, VersionComment, transaction_names};
use crate::sql::{
    Findings, Flags, Item, LexMode, Scope, Server, Span, Target, Value, ValueKind, unquoted,
};

/// Longer texts are no chatter.
const TEXT_BYTES_MAX: usize = 512;

/// What a session without a connection says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// What it has set.
    pub settings: &'a Settings,
    /// What its character sets come from.
    pub charsets: Charsets,
    /// The client gets to know of changes (SESSION_TRACK).
    pub reports: bool,
    /// How its texts are read.
    pub mode: LexMode,
}

/// What the character sets of a session come from. The collation of the one for results has no name
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charsets {
    /// The login.
    Login,
    /// SET NAMES: results have the collation of the connection, too.
    Named,
    /// Anything else.
    Other,
}

/// What such a statement is.
#[derive(Debug, PartialEq, Eq)]
pub enum Chatter<'a> {
    /// BEGIN or START TRANSACTION without anything else: it can be said with the next statement.
    Begin,
    /// COMMIT or ROLLBACK.
    End,
    /// SET of what is so already. Clients that get to know of changes are told these.
    Set(Vec<&'a [u8]>),
    /// `SELECT @@version_comment`.
    VersionComment(&'a VersionComment),
}

/// What that text is in a session without a connection, if it is chatter. `None`: it has to reach a
/// server.
#[must_use]
pub fn chatter<'a>(text: &[u8], traits: &'a Traits, of: Circumstances<'a>) -> Option<Chatter<'a>> {
    if text.len() > TEXT_BYTES_MAX || !may_be(text) {
        return None;
    }
    if is_version_comment(text) {
        let known = traits.version_comment.as_ref();
        return known.filter(|_| of.charsets == Charsets::Login).map(Chatter::VersionComment);
    }
    let findings = Findings::looked_for(text, of.mode);
    if findings.statements != 1 {
        return None;
    }
    let settings = of.settings;
    match findings.flags {
        Flags::BEGIN => {
            let [[_, read_only], [_, other]] = transaction_names(traits.server);
            let begins = settings.variable(b"autocommit") == Some(b"ON")
                && settings.variable(read_only) == Some(b"OFF")
                && settings.variable(other).is_none()
                && !has_word(settings.variable(b"sql_mode")?, b"ORACLE")
                && !(of.reports && traits.tracks_transactions);
            begins.then_some(Chatter::Begin)
        }
        Flags::COMMIT | Flags::ROLLBACK => {
            (settings.variable(b"completion_type") == Some(b"NO_CHAIN")).then_some(Chatter::End)
        }
        // What it might report is not looked into.
        _ if traits.tracked.state_change => None,
        Flags::SET_NAMES => names(text, &findings, traits, of),
        Flags::SET_TRANSACTION => isolation(text, traits, settings),
        flags if (Flags::SET_SYSTEM | Flags::SET_AUTOCOMMIT).contains(flags) => {
            sets(text, &findings, traits, of)
        }
        _ => None,
    }
}

/// A look at the first letters.
fn may_be(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 6] =
        [b"SET ", b"BEGIN", b"START ", b"COMMIT", b"ROLLBACK", b"SELECT @@version_comment"];
    WORDS
        .iter()
        .any(|word| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)))
}

/// The column has the name that the text gives it.
fn is_version_comment(text: &[u8]) -> bool {
    let Some((word, rest)) = text.split_at_checked(b"SELECT ".len()) else { return false };
    let limits = |it: &[u8]| it.is_empty() || it.eq_ignore_ascii_case(b" LIMIT 1");
    word.eq_ignore_ascii_case(b"SELECT ")
        && rest.strip_prefix(b"@@version_comment").is_some_and(limits)
}

/// `SET NAMES utf8mb4 [COLLATE …]`. Others cause warnings on some servers.
fn names<'a>(
    text: &[u8],
    findings: &Findings,
    traits: &'a Traits,
    of: Circumstances<'a>,
) -> Option<Chatter<'a>> {
    let [Item::Assigned(Target::Names, value)] = findings.items.as_slice() else { return None };
    let (charset, collation) = of.settings.names().filter(|_| of.charsets != Charsets::Other)?;
    let named = Span {
        start: value.span.start,
        end: value.collation.map_or(value.span.end, |it| it.start),
    };
    let named = named.of(text).trim_ascii();
    let named = match value.collation {
        // Without the word before it.
        Some(_) => named.get(..named.len().checked_sub(b"COLLATE".len())?)?.trim_ascii(),
        None => named,
    };
    let wanted = match value.collation {
        Some(span) => unquoted(span.of(text)).to_ascii_lowercase(),
        None => traits.utf8mb4_collation(of.settings)?.to_vec(),
    };
    let is_same = charset == b"utf8mb4"
        && value.introducer.is_none()
        && unquoted(named).eq_ignore_ascii_case(charset)
        && wanted == collation;
    // MariaDB reports them in an order of the moment.
    if !is_same || traits.is_mariadb() && of.reports {
        return None;
    }
    let reported: [&[u8]; 3] =
        [b"character_set_client", b"character_set_connection", b"character_set_results"];
    Some(Chatter::Set(reported.to_vec()))
}

/// `SET SESSION TRANSACTION ISOLATION LEVEL …`.
fn isolation<'a>(text: &[u8], traits: &Traits, settings: &'a Settings) -> Option<Chatter<'a>> {
    let [[name, _], [other, _]] = transaction_names(traits.server);
    let current = settings.variable(name).filter(|_| settings.variable(other).is_none())?;
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut words = words.map(|word| word.strip_suffix(b";").unwrap_or(word));
    for expected in [&b"SET"[..], b"SESSION", b"TRANSACTION", b"ISOLATION", b"LEVEL"] {
        words.next().filter(|word| word.eq_ignore_ascii_case(expected))?;
    }
    let level = words.collect::<Vec<_>>().join(&b'-');
    let is_same = level.eq_ignore_ascii_case(current) && !traits.tracked.has(name);
    is_same.then(|| Chatter::Set(Vec::new()))
}

/// How the value of a variable is compared with what a server reports.
#[derive(Clone, Copy)]
enum Compared {
    /// 0 and 1, ON and OFF, TRUE and FALSE.
    Switch,
    /// By its digits.
    Number,
    /// As a text, in any case.
    Word,
    /// As a text.
    Text,
    /// As a list of modes, of which MySQL warns of some.
    Mode,
    /// Only NULL: what is set to a character set has its collation as well.
    Charset,
}

/// Variables whose value can be set again without anything to be seen of it.
const VARIABLES: &[(&[u8], Compared)] = &[
    (b"autocommit", Compared::Switch),
    (b"character_set_results", Compared::Charset),
    (b"foreign_key_checks", Compared::Switch),
    (b"group_concat_max_len", Compared::Number),
    (b"innodb_lock_wait_timeout", Compared::Number),
    (b"lock_wait_timeout", Compared::Number),
    (b"net_read_timeout", Compared::Number),
    (b"net_write_timeout", Compared::Number),
    (b"sql_auto_is_null", Compared::Switch),
    (b"sql_mode", Compared::Mode),
    (b"sql_safe_updates", Compared::Switch),
    (b"time_zone", Compared::Text),
    (b"transaction_isolation", Compared::Word),
    (b"tx_isolation", Compared::Word),
    (b"unique_checks", Compared::Switch),
    (b"wait_timeout", Compared::Number),
];

fn sets<'a>(
    text: &[u8],
    findings: &Findings,
    traits: &Traits,
    of: Circumstances<'a>,
) -> Option<Chatter<'a>> {
    let mut reported = Vec::new();
    for (scope, name, value) in findings.plain_sets()? {
        let name = unquoted(name.of(text)).to_ascii_lowercase();
        let (name, compared) = VARIABLES.iter().find(|(known, _)| *known == name)?;
        let current = of.settings.variable(name)?;
        let [[isolation, _], [other, _]] = transaction_names(traits.server);
        // They are two names for one value.
        let is_doubtful = *name == isolation && of.settings.variable(other).is_some();
        if is_doubtful || *name == other {
            return None;
        }
        if scope != Scope::Session || !is_value(text, value, *compared, current, traits.server) {
            return None;
        }
        if traits.tracked.has(name) {
            reported.push(*name);
        }
    }
    // MariaDB reports `SET @@a` otherwise than `SET a`; and several in an order of its own.
    let is_odd = reported.len() > 1 || !reported.is_empty() && text.contains(&b'@');
    (!(of.reports && is_odd)).then_some(Chatter::Set(reported))
}

/// Whether that is the value there is.
fn is_value(text: &[u8], value: Value, compared: Compared, current: &[u8], server: Server) -> bool {
    if value.introducer.is_some() || value.collation.is_some() {
        return false;
    }
    let written = value.span.of(text);
    let word = unquoted(written);
    match (compared, value.kind) {
        (Compared::Switch, ValueKind::Number | ValueKind::Word | ValueKind::Bool) => {
            let on = [&b"1"[..], b"ON", b"TRUE"].iter().any(|it| written.eq_ignore_ascii_case(it));
            let off =
                [&b"0"[..], b"OFF", b"FALSE"].iter().any(|it| written.eq_ignore_ascii_case(it));
            on && current == b"ON" || off && current == b"OFF"
        }
        (Compared::Number, ValueKind::Number) => written == current,
        (Compared::Word, ValueKind::Text) => word.eq_ignore_ascii_case(current),
        (Compared::Text, ValueKind::Text) => *word == *current,
        (Compared::Mode, ValueKind::Text) => {
            let warns = !matches!(server, Server::MariaDb(_)) && warns_of_mode(current);
            word.eq_ignore_ascii_case(current) && !warns
        }
        (Compared::Charset, ValueKind::Null) => current.is_empty(),
        _ => false,
    }
}

/// MySQL warns of modes that are to be one with strict mode, without each other, and of old ones.
fn warns_of_mode(sql_mode: &[u8]) -> bool {
    let has = |word: &[u8]| has_word(sql_mode, word);
    let merged = [&b"NO_ZERO_DATE"[..], b"NO_ZERO_IN_DATE", b"ERROR_FOR_DIVISION_BY_ZERO"];
    let merged = merged.iter().filter(|it| has(it)).count();
    let is_strict = has(b"STRICT_TRANS_TABLES") || has(b"STRICT_ALL_TABLES");
    merged != if is_strict { 3 } else { 0 } || has(b"PAD_CHAR_TO_FULL_LENGTH")
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|it| it.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::reply::Tracked;

    fn traits(server: Server) -> Traits {
        let variables = b"autocommit,character_set_client,time_zone".to_vec();
        Traits {
            tracked: Arc::new(Tracked { variables, schema: true, ..Tracked::default() }),
            tracks_transactions: false,
            utf8mb4_collation: b"utf8mb4_general_ci".to_vec(),
            version_comment: Some(VersionComment { definition: vec![1], value: b"mine".to_vec() }),
            ..Traits::of(server)
        }
    }

    fn settings(server: Server) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in [
            ("autocommit", "ON"),
            ("character_set_client", "utf8mb4"),
            ("character_set_connection", "utf8mb4"),
            ("character_set_results", "utf8mb4"),
            ("collation_connection", "utf8mb4_general_ci"),
            ("completion_type", "NO_CHAIN"),
            ("foreign_key_checks", "OFF"),
            ("sql_mode", "STRICT_TRANS_TABLES"),
            ("time_zone", "SYSTEM"),
            ("wait_timeout", "28800"),
        ] {
            settings.set_variable(name.as_bytes(), value.as_bytes());
        }
        let [[isolation, read_only], _] = transaction_names(server);
        settings.set_variable(isolation, b"READ-COMMITTED");
        settings.set_variable(read_only, b"OFF");
        settings
    }

    const MARIADB: Server = Server::MariaDb(101_100);
    const MYSQL: Server = Server::MySql(90_704);

    fn is_on(server: Server, change: impl FnOnce(&mut Settings), text: &str) -> bool {
        is(server, change, text, |_| ())
    }

    fn is(
        server: Server,
        change: impl FnOnce(&mut Settings),
        text: &str,
        circumstances: impl FnOnce(&mut Circumstances<'_>),
    ) -> bool {
        let mut settings = settings(server);
        change(&mut settings);
        let mut of = Circumstances {
            settings: &settings,
            charsets: Charsets::Login,
            reports: true,
            mode: settings.lex_mode(server),
        };
        circumstances(&mut of);
        chatter(text.as_bytes(), &traits(server), of).is_some()
    }

    #[test]
    fn what_changes_nothing_is_chatter() {
        for text in [
            "BEGIN",
            "begin work",
            "START TRANSACTION;",
            "COMMIT",
            "ROLLBACK WORK",
            "SET autocommit = 1",
            "SET SESSION autocommit=TRUE",
            "SET @@session.wait_timeout = 28800",
            "SET wait_timeout = 28800, foreign_key_checks = OFF",
            "SET time_zone = 'SYSTEM'",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET SESSION tx_isolation = 'read-committed'",
            "SET sql_mode = 'STRICT_TRANS_TABLES'",
            "select @@version_comment limit 1",
        ] {
            assert!(is_on(MARIADB, |_| (), text), "{text}");
        }
    }

    #[test]
    fn what_changes_something_or_might_is_none() {
        for text in [
            "BEGIN; SELECT 1",
            "BEGIN NOT ATOMIC SELECT 1; END",
            "START TRANSACTION READ ONLY",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            "COMMIT AND CHAIN",
            "COMMIT RELEASE",
            "ROLLBACK TO a",
            "SET autocommit = 0",
            "SET autocommit = 2 - 1",
            "SET GLOBAL autocommit = 1",
            "SET autocommit = DEFAULT",
            "SET @@autocommit = 1",
            "SET @@session.autocommit = 1",
            "SET autocommit = 1, time_zone = 'SYSTEM'",
            "SET wait_timeout = 28800, sql_log_bin = 1",
            "SET wait_timeout = 028800",
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
            "SET NAMES utf8mb4, autocommit = 1",
            "SET NAMES latin1",
            "SET NAMES _utf8mb4'utf8mb4'",
            "SET CHARACTER SET utf8mb4",
            "SET time_zone = 'system'",
            "SET character_set_results = utf8mb4",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET @a = 1",
            "SET PASSWORD = 'a'",
            "SELECT @@VERSION_COMMENT",
            "SELECT 1",
            "PREPARE a FROM 'COMMIT'",
        ] {
            assert!(!is_on(MARIADB, |_| (), text), "{text}");
            assert!(!is_on(MYSQL, |_| (), text), "{text}");
        }
    }

    #[test]
    fn settings_decide() {
        let set = |name: &'static str, value: &'static str| {
            move |it: &mut Settings| it.set_variable(name.as_bytes(), value.as_bytes())
        };
        for (name, value, text) in [
            ("autocommit", "OFF", "BEGIN"),
            ("sql_mode", "PIPES_AS_CONCAT,ORACLE", "BEGIN"),
            ("completion_type", "CHAIN", "COMMIT"),
            ("completion_type", "RELEASE", "ROLLBACK"),
            ("character_set_collations", "utf8mb4=utf8mb4_bin", "SET NAMES utf8mb4"),
            ("character_set_results", "latin1", "SET NAMES utf8mb4"),
            ("transaction_read_only", "ON", "BEGIN"),
            ("default_collation_for_utf8mb4", "utf8mb4_0900_ai_ci", "SET NAMES utf8mb4"),
        ] {
            assert!(!is_on(MYSQL, set(name, value), text), "{text} with {name} = {value}");
        }
        assert!(is_on(MARIADB, set("autocommit", "OFF"), "SET autocommit = 0"));
        assert!(is_on(MARIADB, set("character_set_results", ""), "SET character_set_results=NULL"));
    }

    #[test]
    fn two_names_of_one_value_are_doubtful() {
        let text = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        for text in [text, "SET tx_isolation = 'READ-COMMITTED'"] {
            assert!(is_on(MARIADB, |_| (), text), "{text}");
            let twice = |it: &mut Settings| {
                it.set_variable(b"transaction_isolation", b"REPEATABLE-READ");
            };
            assert!(!is_on(MARIADB, twice, text), "{text}");
        }
        let twice = |it: &mut Settings| it.set_variable(b"transaction_read_only", b"ON");
        assert!(!is_on(MARIADB, twice, "BEGIN"));
    }

    #[test]
    fn mysql_warns_of_modes() {
        for (mode, warns) in [
            ("", false),
            ("ANSI_QUOTES", false),
            ("STRICT_TRANS_TABLES", true),
            ("NO_ZERO_DATE", true),
            ("STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO", false),
            ("PAD_CHAR_TO_FULL_LENGTH", true),
        ] {
            let set = |it: &mut Settings| it.set_variable(b"sql_mode", mode.as_bytes());
            let text = format!("SET sql_mode = '{mode}'");
            assert_eq!(is_on(MYSQL, set, &text), !warns, "{text}");
            assert!(is_on(MARIADB, set, &text), "{text}");
        }
    }

    #[test]
    fn circumstances_decide() {
        let named = |charsets: Charsets| move |of: &mut Circumstances<'_>| of.charsets = charsets;
        assert!(!is(MYSQL, |_| (), "SET NAMES utf8mb4", named(Charsets::Other)));
        assert!(is(MYSQL, |_| (), "SET NAMES utf8mb4", named(Charsets::Named)));
        assert!(!is(MYSQL, |_| (), "SELECT @@version_comment", named(Charsets::Named)));
        let silent = |of: &mut Circumstances<'_>| of.reports = false;
        for text in ["SET NAMES utf8mb4", "SET NAMES 'utf8mb4' COLLATE `utf8mb4_general_ci`"] {
            assert!(is(MARIADB, |_| (), text, silent) && is_on(MYSQL, |_| (), text), "{text}");
            assert!(!is_on(MARIADB, |_| (), text), "{text}: several are reported in any order");
        }
        assert!(is(MARIADB, |_| (), "SET @@session.autocommit = 1", silent));
    }
}
