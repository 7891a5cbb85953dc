//! What a statement makes of FOUND_ROWS().
//!
//! Purpose: tell when the number is that of the rows that were sent, or is left alone.
//! Never: be hopeful: servers disagree about the rest, which is unknown.

use crate::sql::lex::{Kind, Lexer, Token};
use crate::sql::mode::{LexMode, Server};

/// FOUND_ROWS() after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundRows {
    /// The number of rows it sent.
    Counted,
    /// What it was before.
    Kept,
    /// Not told by text and answer.
    Unknown,
}

/// First words of statements that leave the number alone, as long as they do not SELECT.
const KEEPING: &[&[u8]] = &[
    b"SET",
    b"BEGIN",
    b"START",
    b"COMMIT",
    b"ROLLBACK",
    b"USE",
    b"SAVEPOINT",
    b"RELEASE",
    b"LOCK",
    b"UNLOCK",
    b"INSERT",
    b"REPLACE",
    b"DELETE",
    b"TRUNCATE",
    b"CREATE",
    b"DROP",
    b"ALTER",
    b"PREPARE",
    b"DEALLOCATE",
    b"XA",
    b"GET",
    b"SIGNAL",
    b"RESIGNAL",
    b"RENAME",
    b"GRANT",
    b"REVOKE",
    b"FLUSH",
    b"EXPLAIN",
    b"ANALYZE",
    b"CHECKSUM",
    b"HANDLER",
    b"OPTIMIZE",
    b"CHECK",
    b"REPAIR",
    b"KILL",
];

impl FoundRows {
    /// After that text.
    #[must_use]
    pub fn after(text: &[u8], mode: LexMode) -> Self {
        let begins =
            |word: &[u8]| text.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if begins(b"SELECT") {
            if has_telling_pair(text) { Self::of_select(text, mode) } else { Self::Counted }
        } else {
            Self::of_other(text, mode)
        }
    }

    /// LIMIT with an offset counts the rows it passes over, and of UNION servers count differently.
    #[cold]
    fn of_select(text: &[u8], mode: LexMode) -> Self {
        const ODD: &[&[u8]] =
            &[b"UNION", b"INTERSECT", b"EXCEPT", b"OFFSET", b"SQL_CALC_FOUND_ROWS", b"INTO"];
        let mut lexer = Lexer::new(text, mode);
        let mut since_limit = usize::MAX;
        while let Ok(Some(token)) = lexer.next_token() {
            let word = bytes(text, token);
            let is_odd = token.kind == Kind::Sign(b';')
                || token.kind == Kind::Sign(b',') && since_limit == 1
                || token.kind == Kind::Word && ODD.iter().any(|it| word.eq_ignore_ascii_case(it));
            if is_odd {
                return Self::Unknown;
            }
            let is_limit = token.kind == Kind::Word && word.eq_ignore_ascii_case(b"LIMIT");
            since_limit = if is_limit { 0 } else { since_limit.saturating_add(1) };
        }
        Self::Counted
    }

    fn of_other(text: &[u8], mode: LexMode) -> Self {
        let mut lexer = Lexer::new(text, mode);
        let Ok(Some(first)) = lexer.next_token() else { return Self::Unknown };
        if matches!(mode.server, Server::MariaDb(_))
            && bytes(text, first).eq_ignore_ascii_case(b"DO")
        {
            return Self::Kept;
        }
        let second = lexer.next_token().ok().flatten();
        let is_show = bytes(text, first).eq_ignore_ascii_case(b"SHOW");
        if let Some(second) = second.filter(|_| is_show) {
            let asks = [&b"WARNINGS"[..], b"ERRORS"];
            let keeps = asks.iter().any(|it| bytes(text, second).eq_ignore_ascii_case(it));
            return if keeps { Self::Kept } else { Self::Unknown };
        }
        let keeps = KEEPING.iter().any(|it| bytes(text, first).eq_ignore_ascii_case(it));
        let selects = text.windows(6).any(|it| it.eq_ignore_ascii_case(b"SELECT"));
        if keeps && !selects { Self::Kept } else { Self::Unknown }
    }
}

fn bytes(text: &[u8], token: Token) -> &[u8] {
    text.get(token.start..token.end).unwrap_or_default()
}

/// Whether there may be a LIMIT, a UNION, an INTO, or another statement.
fn has_telling_pair(text: &[u8]) -> bool {
    // No early end, so that many bytes are compared at a time.
    let next = text.get(1..).unwrap_or_default();
    text.iter().zip(next).fold(false, |found, (byte, next)| {
        let (byte, next) = (byte | 0x20, next | 0x20);
        found
            | ((byte == b'l') & (next == b'i'))
            | ((byte == b'u') & (next == b'n'))
            | ((byte == b'i') & (next == b'n'))
            | ((byte == b'e') & (next == b'x'))
            | ((byte == b's') & (next == b'q'))
            | (byte == b';')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_statements() {
        let mode = LexMode::usual(Server::Unknown);
        for (text, expected) in [
            ("SELECT * FROM t", FoundRows::Counted),
            ("select a from t limit 5", FoundRows::Counted),
            ("SELECT 'LIMIT 1, 2' LIKE 'UNION'", FoundRows::Counted),
            ("SELECT a FROM t LIMIT 5, 6", FoundRows::Unknown),
            ("SELECT a FROM t LIMIT 5 OFFSET 6", FoundRows::Unknown),
            ("SELECT 1 UNION SELECT 2", FoundRows::Unknown),
            ("SELECT 1 INTO @a", FoundRows::Unknown),
            ("SELECT 1; DO 1", FoundRows::Unknown),
            ("SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1", FoundRows::Unknown),
            ("INSERT INTO t VALUES (1)", FoundRows::Kept),
            ("INSERT INTO t SELECT 1", FoundRows::Unknown),
            ("/* x */ SET @a = 1", FoundRows::Kept),
            ("UPDATE t SET a = 1", FoundRows::Unknown),
            ("SHOW TABLES", FoundRows::Unknown),
            ("SHOW WARNINGS", FoundRows::Kept),
            ("", FoundRows::Unknown),
        ] {
            assert_eq!(FoundRows::after(text.as_bytes(), mode), expected, "{text}");
        }
    }
}
