//! Numbers.
//!
//! Purpose: `1`, `1.5`, `.5`, `1e5`, `0x1F`, `0b1`, and names that begin like one.
//! Never: care for values.

use super::{Inside, Kind, Lexer, TOKEN_BYTES_MAX, Token, Unsure};

/// What a run that begins with a digit is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeOf {
    Digits,
    HexDigits,
    BinaryDigits,
    Letters,
}

impl MadeOf {
    fn of(run: &[u8]) -> Self {
        match run {
            [b'0', b'x', rest @ ..] if !rest.is_empty() => Self::HexDigits.and(rest),
            [b'0', b'b', rest @ ..] if !rest.is_empty() => Self::BinaryDigits.and(rest),
            _ => Self::Digits.and(run),
        }
    }

    fn and(self, run: &[u8]) -> Self {
        let fits = match self {
            Self::Digits => run.iter().all(u8::is_ascii_digit),
            Self::HexDigits => run.iter().all(u8::is_ascii_hexdigit),
            Self::BinaryDigits => run.iter().all(|byte| matches!(byte, b'0' | b'1')),
            Self::Letters => true,
        };
        if fits { self } else { Self::Letters }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Digits => Kind::Number,
            Self::HexDigits | Self::BinaryDigits => Kind::Hex,
            Self::Letters => Kind::Word,
        }
    }
}

impl Lexer<'_> {
    /// At a digit.
    pub(super) fn number(&mut self, start: usize) -> Result<Option<Token>, Unsure> {
        let Some(end) = self.end_of_run(start) else {
            let run = self.text.get(start..self.at).unwrap_or_default();
            self.cut_run(start, MadeOf::of(run));
            return Ok(None);
        };
        if self.is_half_letter(end) {
            return Err(Unsure);
        }
        Ok(self.number_of_run(start, end))
    }

    fn number_of_run(&mut self, start: usize, end: usize) -> Option<Token> {
        let run = self.text.get(start..end).unwrap_or_default();
        let made_of = MadeOf::of(run);
        if run.len() > TOKEN_BYTES_MAX
            || matches!(made_of, MadeOf::HexDigits | MadeOf::BinaryDigits)
        {
            return Some(self.token(made_of.kind(), start, end));
        }
        let digits = run.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at = start;
        match run.get(digits..) {
            Some([]) if self.text.get(end) == Some(&b'.') => self.fraction(start, end + 1),
            Some([b'e' | b'E', b'0'..=b'9', ..]) => self.tail(start, start + digits + 1),
            Some([b'e' | b'E']) if matches!(self.text.get(end), Some(b'+' | b'-')) => {
                match self.text.get(end + 1) {
                    Some(b'0'..=b'9') => self.tail(start, end + 1),
                    None if !self.last => None,
                    _ => Some(self.token(Kind::Word, start, end)),
                }
            }
            _ => Some(self.token(made_of.kind(), start, end)),
        }
    }

    /// Behind the dot of a number.
    pub(super) fn fraction(&mut self, start: usize, from: usize) -> Option<Token> {
        let end = self.end_of_digits(from);
        let is_long = end - start > TOKEN_BYTES_MAX;
        if is_long || !matches!(self.text.get(end), Some(b'e' | b'E') | None) {
            return self.tail(start, from);
        }
        let (sign, digit) = (self.text.get(end + 1), self.text.get(end + 2));
        match (sign, digit) {
            (Some(b'0'..=b'9'), _) => self.tail(start, end + 1),
            (Some(b'+' | b'-'), Some(b'0'..=b'9')) => self.tail(start, end + 2),
            (None, _) | (Some(b'+' | b'-'), None) if !self.last => {
                self.at = start;
                None
            }
            _ => Some(self.token(Kind::Number, start, end)),
        }
    }

    /// The digits that end a number.
    fn tail(&mut self, start: usize, from: usize) -> Option<Token> {
        self.at = from;
        self.digits(self.base + start)
    }

    /// In the digits that end a number.
    pub(super) fn digits(&mut self, start: usize) -> Option<Token> {
        let end = self.end_of_digits(self.at);
        if end < self.text.len() || self.last {
            return Some(self.whole_token(Kind::Number, start, end));
        }
        self.at = end;
        self.cut(start, Inside::Digits { start });
        None
    }

    fn end_of_digits(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// A run goes on with the next slice.
    pub(super) const fn cut_run(&mut self, start: usize, made_of: MadeOf) {
        let start = self.base + start;
        self.cut(start, Inside::Run { start, made_of });
    }

    /// In a run that is longer than names and ordinary numbers.
    pub(super) fn run_on(
        &mut self,
        start: usize,
        made_of: MadeOf,
    ) -> Result<Option<Token>, Unsure> {
        let from = self.at;
        let end = self.end_of_run(from);
        let run = self.text.get(from..self.at).unwrap_or_default();
        let made_of = made_of.and(run);
        match end {
            Some(end) if self.is_half_letter(end) => Err(Unsure),
            Some(end) => Ok(Some(self.whole_token(made_of.kind(), start, end))),
            None => {
                self.memory.inside = Inside::Run { start, made_of };
                Ok(None)
            }
        }
    }
}
