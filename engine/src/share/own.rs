//! Variables of Weir's own, in the words of servers' variables.
//!
//! Purpose: `SET weir_consistency = …`, `SHOW VARIABLES LIKE 'weir%'` and `SELECT @@weir_consistency`,
//! told from everything else.
//! Never: take a statement that is a server's as well.

use crate::base::Consistency;
use crate::sql::{Findings, Item, LexMode, Scope, Target, ValueKind, unquoted};

/// The one there is.
pub const CONSISTENCY: &str = "weir_consistency";

/// Longer texts are none of these.
const TEXT_BYTES_MAX: usize = 256;

/// A statement about Weir's own variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// SET to that level, or to the default again.
    Set(Option<Consistency>),
    /// SET to what is no level, as it is written.
    Odd(Vec<u8>),
    /// SET GLOBAL.
    Global,
    /// SHOW VARIABLES with a pattern that is about these alone; whether it is there.
    Show(bool),
    /// SELECT of it, with the column's name.
    Select(Vec<u8>),
}

/// What a text says of Weir's own variables, if it is about them.
#[must_use]
pub fn own(text: &[u8], mode: LexMode) -> Option<Own> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = text.trim_ascii();
    let (word, _) = text.split_at_checked(4)?;
    if word.eq_ignore_ascii_case(b"SET ") || word.eq_ignore_ascii_case(b"SET\n") {
        set(text, mode)
    } else if word.eq_ignore_ascii_case(b"SHOW") {
        show(text)
    } else if word.eq_ignore_ascii_case(b"SELE") {
        select(text)
    } else {
        None
    }
}

fn set(text: &[u8], mode: LexMode) -> Option<Own> {
    if !contains(text, CONSISTENCY.as_bytes()) {
        return None;
    }
    let findings = Findings::looked_for(text, mode);
    let [Item::Assigned(Target::System(scope, name), value)] = findings.items.as_slice() else {
        return None;
    };
    let is_own = unquoted(name.of(text)).eq_ignore_ascii_case(CONSISTENCY.as_bytes());
    if !is_own || findings.statements != 1 {
        return None;
    }
    if !matches!(scope, Scope::Session | Scope::Bare) {
        return Some(Own::Global);
    }
    if value.kind == ValueKind::Default {
        return Some(Own::Set(None));
    }
    let word = unquoted(value.span.of(text));
    let is_word = matches!(value.kind, ValueKind::Text | ValueKind::Word);
    let mut levels = Consistency::ALL.into_iter().filter(|_| is_word);
    let level = levels.find(|level| word.eq_ignore_ascii_case(level.name().as_bytes()));
    Some(level.map_or_else(|| Own::Odd(word.to_vec()), |level| Own::Set(Some(level))))
}

fn show(text: &[u8]) -> Option<Own> {
    let text = text.strip_suffix(b";").unwrap_or(text);
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut next = || words.next().map(<[u8]>::to_ascii_lowercase);
    let mut word = next().filter(|word| word == b"show").and_then(|_| next())?;
    if word == b"session" || word == b"local" {
        word = next()?;
    }
    let (like, pattern) = (next()?, next()?);
    if word != b"variables" || like != b"like" || next().is_some() {
        return None;
    }
    let pattern = match pattern.as_slice() {
        [b'\'', pattern @ .., b'\''] | [b'"', pattern @ .., b'"'] => pattern,
        _ => return None,
    };
    // Of others a server has some, too.
    pattern.starts_with(b"weir").then(|| Own::Show(is_like(CONSISTENCY.as_bytes(), pattern)))
}

fn select(text: &[u8]) -> Option<Own> {
    let text = text.strip_suffix(b";").unwrap_or(text);
    let (word, rest) = text.split_at_checked(b"SELECT ".len())?;
    let column = rest.trim_ascii();
    let limit = b" LIMIT 1";
    let column = match column.len().checked_sub(limit.len()).map(|at| column.split_at(at)) {
        Some((head, tail)) if tail.eq_ignore_ascii_case(limit) => head.trim_ascii(),
        Some(_) | None => column,
    };
    let is_own = [&b"@@"[..], b"@@session.", b"@@local."].iter().any(|scope| {
        let name = column.get(scope.len()..);
        let head = column.get(..scope.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scope))
            && name.is_some_and(|name| name.eq_ignore_ascii_case(CONSISTENCY.as_bytes()))
    });
    (word.eq_ignore_ascii_case(b"SELECT ") && is_own).then(|| Own::Select(column.to_vec()))
}

/// LIKE, of lower-case texts.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    match (text, pattern) {
        (_, [b'%', pattern @ ..]) => {
            (0..=text.len()).any(|at| is_like(text.get(at..).unwrap_or_default(), pattern))
        }
        ([one, text @ ..], [b'\\', other, pattern @ ..]) => one == other && is_like(text, pattern),
        ([_, text @ ..], [b'_', pattern @ ..]) => is_like(text, pattern),
        ([one, text @ ..], [other, pattern @ ..]) => one == other && is_like(text, pattern),
        (text, []) => text.is_empty(),
        ([], [_, ..]) => false,
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|it| it.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Server;

    fn of(text: &str) -> Option<Own> {
        own(text.as_bytes(), LexMode::usual(Server::MySql(90_704)))
    }

    #[test]
    fn a_level_is_set_in_all_the_ways_of_a_session_variable() {
        for text in [
            "SET weir_consistency = 'instance'",
            "set session weir_consistency='instance';",
            "SET LOCAL weir_consistency := Instance",
            "SET @@weir_consistency = \"INSTANCE\"",
            "SET @@session.weir_consistency = instance",
            "SET @@SESSION.`Weir_Consistency` = 'instance'",
        ] {
            assert_eq!(of(text), Some(Own::Set(Some(Consistency::Instance))), "{text}");
        }
        assert_eq!(of("SET weir_consistency = DEFAULT"), Some(Own::Set(None)));
        assert_eq!(of("SET weir_consistency = 'most'"), Some(Own::Odd(b"most".to_vec())));
        assert_eq!(of("SET weir_consistency = 1"), Some(Own::Odd(b"1".to_vec())));
        assert_eq!(of("SET GLOBAL weir_consistency = 'session'"), Some(Own::Global));
        assert_eq!(of("SET @@global.weir_consistency = 'session'"), Some(Own::Global));
    }

    #[test]
    fn it_is_shown() {
        for (text, shown) in [
            ("SHOW VARIABLES LIKE 'weir%'", true),
            ("show session variables like \"WEIR\\_consistency\";", true),
            ("SHOW VARIABLES LIKE 'weir_consistenc_'", true),
            ("SHOW VARIABLES LIKE 'weir_c%n%y'", true),
            ("SHOW VARIABLES LIKE 'weir_other%'", false),
        ] {
            assert_eq!(of(text), Some(Own::Show(shown)), "{text}");
        }
        for text in ["SELECT @@weir_consistency", "select @@session.WEIR_consistency limit 1"] {
            let column = &text.split(' ').nth(1).unwrap();
            assert_eq!(of(text), Some(Own::Select(column.as_bytes().to_vec())), "{text}");
        }
    }

    #[test]
    fn what_is_a_servers_is_left_to_it() {
        for text in [
            "SET autocommit = 1",
            "SET NAMES utf8mb4, weir_consistency = 'session'",
            "SET weir_consistency = 'session', autocommit = 1",
            "SET weir_consistency = 'session'; SELECT 1",
            "SET @weir_consistency = 'session'",
            "SET @a = 'weir_consistency'",
            "SHOW VARIABLES",
            "SHOW VARIABLES LIKE '%'",
            "SHOW VARIABLES LIKE 'w%'",
            "SHOW GLOBAL VARIABLES LIKE 'weir%'",
            "SHOW TABLES LIKE 'weir%'",
            "SELECT @@weir_consistency, 1",
            "SELECT 'weir_consistency'",
            "SELECT 1",
            "",
            "SE",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
