//! What a new connection to a backend is told first.
//!
//! Purpose: accept one statement.
//! Never: parse SQL: whether the statement is right is the server's to say.

use std::sync::Arc;

use super::raw::{Document, Table};

/// Longest statement.
const BYTES_MAX: usize = 4096;

/// What is accepted, in words.
pub(super) const ACCEPTED: &str = "one SQL statement of up to 4096 bytes, no USE, and without a ; \
                                   outside of quotes but at its end";

/// The statement of a backend, if it has one.
pub(super) fn of_backend(document: &Document<'_>, table: &Table<'_>) -> Option<Arc<str>> {
    let text = table.text("init_query")?;
    let statement = text.value.trim();
    let statement = statement.strip_suffix(';').unwrap_or(statement).trim_end();
    let fits = !statement.is_empty() && statement.len() <= BYTES_MAX;
    let word: String = statement.chars().take_while(|it| it.is_alphanumeric()).collect();
    let is_use = word.eq_ignore_ascii_case("use");
    if !fits || is_use || !is_one(statement) {
        document.reject(&text.place, format!("must be {ACCEPTED}"));
    }
    Some(statement.into())
}

/// Whether there is no semicolon but in quotes, read with backslash escapes.
fn is_one(statement: &str) -> bool {
    let mut quote = None;
    let mut bytes = statement.bytes();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b';') | (_, 0) => return false,
            (None, b'\'' | b'"' | b'`') => quote = Some(byte),
            (Some(b'\'' | b'"'), b'\\') => drop(bytes.next()),
            // A doubled one closes and opens.
            (Some(own), byte) if own == byte => quote = None,
            (None | Some(_), _) => {}
        }
    }
    quote.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_is_no_separator_in_quotes() {
        for good in ["SET a = ';'", r"SET a = '\';'", "SET a = 'it''s;'", "SELECT `;`, \";\""] {
            assert!(is_one(good), "{good}");
        }
        for bad in ["SET a = 1; DO 1", "SET a = ''; DO 1", "SET a = 'open", "SET a = '\0'", ";"] {
            assert!(!is_one(bad), "{bad}");
        }
    }
}
