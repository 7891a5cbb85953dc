//! What of a Rust file is code.
//!
//! Purpose: blank out comments, literals and test modules, so that rules look at code only.
//! Never: change the number of lines, or parse more of Rust than that needs.

/// The text with comments, string and character literals and `#[cfg(test)]` modules blanked.
pub(super) fn strip(text: &str) -> String {
    strip_tests(&strip_literals(text))
}

/// Lines of `code` that contain `word` as a whole path, from 1.
pub(super) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| contains_word(line, word))
        .map(|(index, _)| index + 1)
        .collect()
}

/// Whether `word` occurs without an identifier character on either side.
pub(super) fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|s| s.chars().next());
        !before.is_some_and(is_ident) && !after.is_some_and(is_ident)
    })
}

/// Identifiers that follow `prefix` in a line, such as `wire` after `crate::`.
pub(super) fn after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        let rest = line.get(at + prefix.len()..)?;
        let end = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
        // `$crate::` in a macro counts; `my_crate::` does not.
        if before.is_some_and(is_ident) { None } else { rest.get(..end) }
    })
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    Line,
    /// A block comment; they nest.
    Block(u32),
    Text,
    /// A raw string that ends with a quote and this many hashes.
    Raw(usize),
    Char,
}

fn strip_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut state = State::Code;
    let mut i = 0;
    while i < chars.len() {
        let (c, next) = (at(i), at(i + 1));
        let mut width = 1;
        let mut keep = false;
        match state {
            State::Code => {
                keep = true;
                if c == '/' && next == '/' {
                    (state, keep) = (State::Line, false);
                } else if c == '/' && next == '*' {
                    (state, width, keep) = (State::Block(1), 2, false);
                } else if let Some(hashes) = raw_start(&chars, i) {
                    (state, width, keep) = (State::Raw(hashes), hashes + 2, false);
                } else if c == '"' {
                    (state, keep) = (State::Text, false);
                } else if c == '\'' && (next == '\\' || at(i + 2) == '\'') {
                    // Otherwise it is a lifetime.
                    (state, keep) = (State::Char, false);
                }
            }
            State::Line if c == '\n' => state = State::Code,
            State::Block(depth) if c == '*' && next == '/' => {
                width = 2;
                state = if depth == 1 { State::Code } else { State::Block(depth - 1) };
            }
            State::Block(depth) if c == '/' && next == '*' => {
                (width, state) = (2, State::Block(depth + 1));
            }
            State::Text | State::Char if c == '\\' => width = 2,
            State::Text if c == '"' => state = State::Code,
            State::Char if c == '\'' => state = State::Code,
            State::Raw(hashes) if c == '"' && (1..=hashes).all(|n| at(i + n) == '#') => {
                (width, state) = (hashes + 1, State::Code);
            }
            State::Line | State::Block(_) | State::Text | State::Raw(_) | State::Char => {}
        }
        for offset in 0..width {
            out.push(if keep || at(i + offset) == '\n' { at(i + offset) } else { ' ' });
        }
        i += width;
    }
    out
}

/// Number of hashes if a raw string begins here.
fn raw_start(chars: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).and_then(|i| chars.get(i)).copied().unwrap_or(' ');
    // `br"…"` begins with b, which stays as an identifier of its own.
    if chars.get(at) != Some(&'r') || (is_ident(before) && before != 'b') {
        return None;
    }
    let hashes = chars.iter().skip(at + 1).take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Blanks `#[cfg(test)] mod name { … }`.
fn strip_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let end = match (tail.find('{'), tail.find(';')) {
            (Some(open), semicolon) if semicolon.is_none_or(|s| open < s) => closing(tail, open),
            (_, Some(semicolon)) => semicolon + 1,
            (_, None) => tail.len(),
        };
        let (test, after) = tail.split_at(end.min(tail.len()));
        // A declaration stays: `mod tests;` is how the file of that name is reached.
        if test.ends_with(';') {
            out.push_str(test);
        } else {
            out.extend(test.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Index behind the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_u32;
    for (index, c) in code.char_indices().skip_while(|(index, _)| *index < open) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return index + 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_remains() {
        for (text, code) in [
            ("a // tracing\nb", "a           \nb"),
            ("a /* x /* y */ z */ b", "a                   b"),
            ("a \"fs\\\"fs\" b", "a          b"),
            ("a r#\"fs\"fs\"# b", "a            b"),
            ("a br\"fs\" b", "a b      b"),
            ("f::<'a>('x', '\\'', b'\"')", "f::<'a>(   ,     , b   )"),
            ("x #[cfg(test)] mod t { fn f() { } }\ny", "x                                  \ny"),
            ("#[cfg(test)]\nmod tests;\ny", "#[cfg(test)]\nmod tests;\ny"),
        ] {
            assert_eq!(strip(text), code, "{text}");
        }
    }

    #[test]
    fn words_are_whole() {
        assert!(contains_word("unsafe { x }", "unsafe"));
        assert!(!contains_word("#![forbid(unsafe_code)]", "unsafe"));
        assert_eq!(
            after("use crate::wire::X; my_crate::y", "crate::").collect::<Vec<_>>(),
            ["wire"]
        );
        assert_eq!(lines_with("a\nstd::fs::x\nmy_std::fs", "std::fs"), [2]);
    }
}
