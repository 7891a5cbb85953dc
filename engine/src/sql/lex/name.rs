//! Names: words, quoted names and user variables.
//!
//! Purpose: find where a name ends, in every character set.
//! Never: tell keywords from names; that is [`crate::sql::words`].

use super::number::MadeOf;
use super::{Inside, Kind, Lexer, Token, Unsure, is_of_name};
use crate::sql::mode::{Charset, DoubleQuotes, Letter};

impl Lexer<'_> {
    /// A word; or a literal that begins like one: `x'1F'`, `b'1'`, `n'text'`.
    // Not called: a token returned through memory is waited for.
    #[inline(always)]
    pub(super) fn word(&mut self, start: usize) -> Result<Option<Token>, Unsure> {
        if self.memory.before != super::Before::Dot
            && let Some(letter @ (b'x' | b'X' | b'b' | b'B' | b'n' | b'N')) = self.peek(0)
        {
            if !self.sees(2) {
                return Ok(None);
            }
            if self.peek(1) == Some(b'\'') {
                let kind = if letter | 0x20 == b'n' { Kind::Text } else { Kind::Hex };
                return self.quoted_text(self.base + start, start + 2, b'\'', kind);
            }
        }
        let Some(end) = self.end_of_run(start) else {
            self.cut_run(start, MadeOf::Letters);
            return Ok(None);
        };
        if self.is_half_letter(end) {
            return Err(Unsure);
        }
        Ok(Some(self.token(Kind::Word, start, end)))
    }

    /// Where a run of letters and digits ends; `None` if that is not in sight. `self.at` is then
    /// where to go on.
    #[inline]
    pub(super) fn end_of_run(&mut self, from: usize) -> Option<usize> {
        self.at = from;
        if self.mode.charset.has_odd_letters() {
            return self.end_of_odd_run();
        }
        let rest = self.rest();
        self.at += rest.iter().position(|byte| !is_of_name(*byte)).unwrap_or(rest.len());
        if self.at < self.text.len() || self.last {
            return Some(self.at);
        }
        // Whether the sign behind it is half a letter cannot be told without it.
        let half = self.mode.charset == Charset::Unknown && rest.last() >= Some(&0x80);
        self.at -= usize::from(half);
        None
    }

    fn end_of_odd_run(&mut self) -> Option<usize> {
        loop {
            match self.peek(0) {
                Some(0x80..) => match self.mode.charset.letter(self.rest(), self.last) {
                    Letter::Byte => self.at += 1,
                    Letter::Bytes(count) => self.at += count,
                    Letter::Cut => return None,
                },
                Some(byte) if is_of_name(byte) => self.at += 1,
                Some(_) => return Some(self.at),
                None => return self.last.then_some(self.at),
            }
        }
    }

    /// Whether a name ends with half a letter, if the sign behind it is the other half.
    pub(super) fn is_half_letter(&self, end: usize) -> bool {
        self.mode.charset == Charset::Unknown
            && end.checked_sub(1).and_then(|last| self.text.get(last)) >= Some(&0x80)
            && matches!(self.text.get(end), Some(b'@' | b'['..=b'^' | b'`' | b'{'..=b'~'))
    }

    /// At `@`.
    pub(super) fn variable(&mut self, start: usize) -> Result<Option<Token>, Unsure> {
        let whole_start = self.base + start;
        match self.peek(1) {
            Some(mark @ b'`') => self.quoted_name(whole_start, start + 2, mark, Kind::Variable),
            Some(mark @ (b'\'' | b'"')) => {
                if mark == b'"' && self.mode.double_quotes == DoubleQuotes::Name {
                    self.quoted_name(whole_start, start + 2, mark, Kind::Variable)
                } else {
                    self.quoted_text(whole_start, start + 2, mark, Kind::Variable)
                }
            }
            _ => {
                self.at = start + 1;
                self.host(whole_start)
            }
        }
    }

    /// In the name behind an `@`, which may have dots. Servers do not look for letters of several
    /// bytes here.
    pub(super) fn host(&mut self, start: usize) -> Result<Option<Token>, Unsure> {
        let rest = self.rest();
        let count = rest.iter().position(|byte| !is_of_name(*byte) && *byte != b'.');
        let bytes = rest.get(..count.unwrap_or(rest.len())).unwrap_or_default();
        let odd = self.mode.charset.has_odd_letters() || self.mode.charset == Charset::Unknown;
        if odd && bytes.iter().any(|byte| *byte >= 0x80) {
            return Err(Unsure);
        }
        let end = self.at + bytes.len();
        if count.is_some() || self.last {
            return Ok(Some(self.whole_token(Kind::Variable, start, end)));
        }
        self.at = end;
        self.cut(start, Inside::Host { start });
        Ok(None)
    }

    /// Behind the first mark of a quoted name, or further inside: goes behind its counterpart. Two in
    /// a row stand for one, and a backslash for itself.
    pub(super) fn quoted_name(
        &mut self,
        start: usize,
        from: usize,
        mark: u8,
        kind: Kind,
    ) -> Result<Option<Token>, Unsure> {
        self.at = from;
        while let Some(&byte) = self.text.get(self.at) {
            if byte >= 0x80 {
                match self.mode.charset.letter(self.rest(), self.last) {
                    Letter::Byte => {}
                    Letter::Bytes(count) => {
                        self.at += count;
                        continue;
                    }
                    Letter::Cut => break,
                }
                let next = self.peek(1);
                if self.mode.charset == Charset::Unknown && mark == b'`' {
                    match next {
                        Some(b'`') => return Err(Unsure),
                        None if !self.last => break,
                        _ => {}
                    }
                }
            } else if byte == 0 {
                // It ends the name, and nobody knows what then.
                return Err(Unsure);
            } else if byte == mark {
                match self.peek(1) {
                    Some(next) if next == mark => self.at += 1,
                    None if !self.last => break,
                    _ => return Ok(Some(self.whole_token(kind, start, self.at + 1))),
                }
            }
            self.at += 1;
        }
        if self.last {
            return Err(Unsure);
        }
        self.cut(start, Inside::Name { start, mark, kind });
        Ok(None)
    }

    /// The slice ends in a token, at `self.at` as far as it is understood: a short one is brought
    /// again as a whole, a long one is gone on with.
    pub(super) const fn cut(&mut self, start: usize, inside: Inside) {
        if self.is_long(start, self.at) {
            self.memory.inside = inside;
        } else {
            self.at = start.saturating_sub(self.base);
            self.memory.inside = Inside::Nothing;
        }
    }
}
