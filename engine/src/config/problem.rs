//! What is wrong with a configuration file, and where.
//!
//! Purpose: one printable line per mistake, so that a person mends a file in one go.
//! Never: show a secret, or spread a problem over two lines.

use std::fmt;

/// One mistake. Prints as `line 12: limits.login_timeout_ms = 0: must be between 1 and 3600000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line of the file, from 1. What is missing as a whole is reported at the end of the file.
    pub line: usize,
    /// The key, as in `cluster[0].backend[2].address`; empty when the file is not TOML there.
    pub path: String,
    /// The value as found; empty when there is none to show or it may be a secret.
    pub found: String,
    /// What is wrong or what is accepted.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.path.is_empty() {
            f.write_str(&self.path)?;
            if !self.found.is_empty() {
                write!(f, " = {}", self.found)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Where a value stands and what it looks like: all a problem needs besides its message.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) path: String,
    pub(super) found: String,
}

impl Place {
    /// The problem of the value at this place.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            path: one_line(&self.path),
            found: one_line(&self.found),
            message: one_line(&message.into()),
        }
    }
}

/// Byte offsets to line numbers.
#[derive(Debug)]
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { starts: std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect() }
    }

    /// The line of a byte, from 1.
    pub(super) fn of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// The number of the last line.
    pub(super) fn last(&self) -> usize {
        self.starts.len()
    }
}

/// The accepted word a person most likely meant, if one is near enough.
pub(super) fn nearest<'w>(found: &str, accepted: &[&'w str]) -> Option<&'w str> {
    if found.len() > NEAREST_LEN_MAX {
        return None;
    }
    let distances = accepted.iter().map(|word| (distance(found, word), *word));
    let (distance, word) = distances.min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may differ, so that two swapped ones of four do; beyond that the guess
    // misleads more than it helps.
    (distance <= word.len().max(found.len()).div_ceil(3)).then_some(word)
}

/// Levenshtein distance in bytes, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (from_left, left_byte) in left.bytes().enumerate() {
        let mut diagonal = from_left;
        let mut before = from_left + 1;
        for (cell, right_byte) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = *cell;
            before = replaced.min(*cell + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = from_left + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Text as shown in a problem: no control characters, and not endless.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == SHOWN_CHARS_MAX {
            line.push('…');
            break;
        }
        // Line and paragraph separators also break a line in some viewers.
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Longest word a suggestion is looked for; no key is nearly as long.
const NEAREST_LEN_MAX: usize = 64;
/// Most characters of a path, value or message; the longest message lists a section's keys.
const SHOWN_CHARS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let words = ["login_timeout_ms", "connect_timeout_ms", "clients_max"];
        assert_eq!(nearest("login_timout_ms", &words), Some("login_timeout_ms"));
        assert_eq!(nearest("client_max", &words), Some("clients_max"));
        assert_eq!(nearest("colour", &words), None);
        assert_eq!(nearest("", &words), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn distance_is_the_number_of_edits() {
        for (left, right, edits) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn finds_lines() {
        let lines = Lines::new("a\nbb\n\nc");
        assert_eq!([0, 1, 2, 4, 5, 6, 99].map(|at| lines.of(at)), [1, 1, 2, 2, 3, 4, 4]);
        assert_eq!((Lines::new("").last(), lines.last()), (1, 4));
    }

    #[test]
    fn prints_one_line() {
        let place = Place { line: 3, path: "a\nb".into(), found: "\"\u{2028}\"".into() };
        assert_eq!(place.problem("no\tway").to_string(), "line 3: a\\nb = \"\\u{2028}\": no\\tway");
    }
}
