//! Strings.
//!
//! Purpose: find where a string ends, in every character set and `sql_mode`, many bytes at a time
//! where letters cannot look like signs.
//! Never: hold or copy one.

use super::{Inside, Kind, Lexer, Token, Unsure};
use crate::sql::mode::{Charset, DoubleQuotes, Letter};

/// What comes next in a string, and where.
enum Found {
    Mark(usize),
    Backslash(usize),
    /// Nothing up to here.
    Nothing(usize),
}

impl Lexer<'_> {
    /// At a quotation mark.
    pub(super) fn quotes(&mut self, start: usize, mark: u8) -> Result<Option<Token>, Unsure> {
        let is_name = mark == b'`' || mark == b'"' && self.mode.double_quotes == DoubleQuotes::Name;
        let whole_start = self.base + start;
        if is_name {
            self.quoted_name(whole_start, start + 1, mark, Kind::Quoted)
        } else {
            self.quoted_text(whole_start, start + 1, mark, Kind::Text)
        }
    }

    /// Behind the first mark of a string, or further inside: goes behind its counterpart. Two in a
    /// row stand for one, but not in `x'1F'`, where a backslash is none either.
    pub(super) fn quoted_text(
        &mut self,
        start: usize,
        from: usize,
        mark: u8,
        kind: Kind,
    ) -> Result<Option<Token>, Unsure> {
        self.at = from;
        let is_hex = kind == Kind::Hex;
        loop {
            let found = if is_hex { self.hex_end(mark) } else { self.find(mark)? };
            let next = match found {
                Found::Nothing(at) => {
                    self.at = at;
                    break;
                }
                Found::Mark(at) => {
                    self.at = at;
                    match self.peek(1) {
                        Some(next) if next == mark && !is_hex => 2,
                        None if !self.last && !is_hex => break,
                        _ => return Ok(Some(self.whole_token(kind, start, at + 1))),
                    }
                }
                Found::Backslash(at) => {
                    self.at = at;
                    match self.peek(1) {
                        None => break,
                        Some(b'"') if mark == b'"' && self.is_name_perhaps() => return Err(Unsure),
                        Some(_) => 2,
                    }
                }
            };
            self.at += next;
        }
        if self.last {
            return Err(Unsure);
        }
        let inside = Inside::Text { start, mark, kind };
        if kind == Kind::Variable {
            // Its name is wanted.
            self.cut(start, inside);
        } else {
            self.memory.inside = inside;
        }
        Ok(None)
    }

    fn is_name_perhaps(&self) -> bool {
        self.mode.double_quotes == DoubleQuotes::Unknown
    }

    fn hex_end(&self, mark: u8) -> Found {
        let rest = self.rest();
        memchr::memchr(mark, rest)
            .map_or(Found::Nothing(self.text.len()), |found| Found::Mark(self.at + found))
    }

    #[inline]
    fn find(&self, mark: u8) -> Result<Found, Unsure> {
        if self.mode.charset.has_odd_letters() {
            return Ok(self.find_by_letters(mark));
        }
        let rest = self.rest();
        let found = if self.mode.backslash_escapes {
            memchr::memchr2(mark, b'\\', rest)
        } else {
            memchr::memchr(mark, rest)
        };
        let Some(found) = found else {
            // Whether a backslash behind it is one cannot be told without it.
            let half = self.mode.charset == Charset::Unknown && rest.last() >= Some(&0x80);
            return Ok(Found::Nothing(self.text.len() - usize::from(half)));
        };
        if rest.get(found) == Some(&mark) {
            return Ok(Found::Mark(self.at + found));
        }
        let after_high = found.checked_sub(1).and_then(|before| rest.get(before)) >= Some(&0x80);
        if after_high && self.mode.charset == Charset::Unknown {
            return Err(Unsure);
        }
        Ok(Found::Backslash(self.at + found))
    }

    fn find_by_letters(&self, mark: u8) -> Found {
        let mut at = self.at;
        while let Some(rest @ [byte, ..]) = self.text.get(at..) {
            at += match *byte {
                0x80.. => match self.mode.charset.letter(rest, self.last) {
                    Letter::Byte => 1,
                    Letter::Bytes(count) => count,
                    Letter::Cut => return Found::Nothing(at),
                },
                b'\\' if self.mode.backslash_escapes => return Found::Backslash(at),
                byte if byte == mark => return Found::Mark(at),
                _ => 1,
            };
        }
        Found::Nothing(at)
    }
}
