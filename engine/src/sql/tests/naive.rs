//! The lexer once more, one character at a time.
//!
//! Purpose: be obviously right. It holds the whole text and asks nothing twice; what the other does
//! with states and many bytes at a time, this does by looking at each byte where it stands.
//! Never: be fast, or share code with what it is compared with.

use super::super::{Charset, DoubleQuotes, Kind, LexMode, Server};

/// A token: what it is, its place, and whether a comment is before it.
pub(super) type Plain = (Kind, usize, usize, bool);

/// The tokens up to where the text is unsure, and whether it is.
pub(super) fn tokens(text: &[u8], mode: LexMode) -> (Vec<Plain>, bool) {
    let mut twin = Twin { text, mode, at: 0, versioned: false, doubtful: false };
    let mut out: Vec<Plain> = Vec::new();
    loop {
        let Some(commented) = twin.blanks() else { return (out, true) };
        if twin.at >= text.len() {
            return (out, twin.versioned || twin.doubtful);
        }
        let start = twin.at;
        let before = out.last().filter(|last| last.2 == start).map(|last| last.0);
        let Some(kind) = twin.token(before) else { return (out, true) };
        out.push((kind, start, twin.at, commented));
    }
}

struct Twin<'a> {
    text: &'a [u8],
    mode: LexMode,
    at: usize,
    versioned: bool,
    doubtful: bool,
}

impl Twin<'_> {
    /// The byte so far ahead; NUL behind the end, as servers have it.
    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn is(&self, what: &[u8]) -> bool {
        self.text[self.at..].starts_with(what)
    }

    /// Skips what is between tokens; whether there were comments. `None`: unsure.
    fn blanks(&mut self) -> Option<bool> {
        let mut commented = false;
        loop {
            if self.at >= self.text.len() {
                return Some(commented);
            }
            let rest = self.text.len() - self.at;
            let byte = self.byte(0);
            if b" \t\n\x0B\x0C\r".contains(&byte) {
                self.at += 1;
                continue;
            }
            let dashes = self.is(b"--") && (rest == 2 || self.byte(2) <= 32 || self.byte(2) == 127);
            if byte == b'#' || dashes {
                while self.at < self.text.len() && self.byte(0) != b'\n' && self.byte(0) != 0 {
                    self.at += 1;
                }
                if self.at < self.text.len() && self.byte(0) == b'\n' {
                    self.at += 1;
                }
            } else if self.versioned && self.is(b"*/") {
                self.versioned = false;
                self.at += 2;
            } else if self.is(b"/*!") || self.is(b"/*M!") {
                self.versioned_comment()?;
            } else if self.is(b"/*") {
                self.at += 2;
                self.comment(0)?;
            } else {
                return Some(commented);
            }
            commented = true;
        }
    }

    /// Goes behind `*/`; so many comments may be inside each other.
    fn comment(&mut self, inner: u32) -> Option<()> {
        while self.at < self.text.len() {
            if self.is(b"*/") {
                self.at += 2;
                return Some(());
            }
            if inner > 0 && self.is(b"/*") {
                self.at += 2;
                self.comment(inner - 1)?;
            } else {
                self.at += 1;
            }
        }
        None
    }

    fn versioned_comment(&mut self) -> Option<()> {
        let maria = self.is(b"/*M");
        let mark = if maria { 4 } else { 3 };
        let mut digits = 0;
        let mut version = 0_u32;
        while digits < 6 && self.byte(mark + digits).is_ascii_digit() {
            version = version * 10 + u32::from(self.byte(mark + digits) - b'0');
            digits += 1;
        }
        if digits < 5 {
            (digits, version) = (0, 0);
        }
        let (mut sure, runs) = match self.mode.server {
            Server::MySql(_) if maria => {
                self.at += 2;
                return self.comment(0);
            }
            Server::MySql(own) => (digits < 6, version <= own),
            Server::MariaDb(own) => {
                (true, version <= own && (maria || !(50_700..=99_999).contains(&version)))
            }
            Server::Unknown => (!maria && version < 50_700 && digits < 7, true),
        };
        if digits == 6 && self.mode.server == Server::Unknown {
            sure = version < 50_700 && !maria;
        }
        if sure && !runs {
            self.at += 2;
            return self.comment(1);
        }
        if self.versioned {
            return None;
        }
        self.versioned = true;
        self.doubtful |= !sure;
        self.at += mark + digits;
        Some(())
    }

    /// How many bytes the letter here has; 1 if it is none of several.
    fn letter(&self) -> usize {
        let (a, b) = (self.byte(0), self.byte(1));
        let ranges =
            |byte: u8, ranges: &[(u8, u8)]| ranges.iter().any(|r| r.0 <= byte && byte <= r.1);
        let pair = match self.mode.charset {
            Charset::Gbk | Charset::Gb18030 => {
                ranges(a, &[(0x81, 0xFE)]) && ranges(b, &[(0x40, 0x7E), (0x80, 0xFE)])
            }
            Charset::Sjis => {
                ranges(a, &[(0x81, 0x9F), (0xE0, 0xFC)]) && ranges(b, &[(0x40, 0x7E), (0x80, 0xFC)])
            }
            Charset::Big5 => ranges(a, &[(0xA1, 0xF9)]) && ranges(b, &[(0x40, 0x7E), (0xA1, 0xFE)]),
            Charset::Utf8 | Charset::Single | Charset::Unknown => false,
        };
        let four = self.mode.charset == Charset::Gb18030
            && ranges(a, &[(0x81, 0xFE)])
            && b.is_ascii_digit()
            && ranges(self.byte(2), &[(0x81, 0xFE)])
            && self.byte(3).is_ascii_digit();
        if pair {
            2
        } else if four {
            4
        } else {
            1
        }
    }

    fn token(&mut self, before: Option<Kind>) -> Option<Kind> {
        let first = self.byte(0);
        let after_dot = before == Some(Kind::Sign(b'.'));
        match first {
            b'`' => self.name(b'`').map(|()| Kind::Quoted),
            b'"' if self.mode.double_quotes == DoubleQuotes::Name => {
                self.name(b'"').map(|()| Kind::Quoted)
            }
            b'"' | b'\'' => self.string(first).map(|()| Kind::Text),
            b'@' if self.byte(1) == b'@' => {
                self.at += 2;
                Some(Kind::System)
            }
            b'@' => self.variable().map(|()| Kind::Variable),
            b':' if self.byte(1) == b'=' => {
                self.at += 2;
                Some(Kind::Assign)
            }
            b'x' | b'X' | b'b' | b'B' if self.byte(1) == b'\'' && !after_dot => {
                self.at += 2;
                while self.byte(0) != b'\'' {
                    if self.at >= self.text.len() {
                        return None;
                    }
                    self.at += 1;
                }
                self.at += 1;
                Some(Kind::Hex)
            }
            b'n' | b'N' if self.byte(1) == b'\'' && !after_dot => {
                self.at += 1;
                self.string(b'\'').map(|()| Kind::Text)
            }
            b'.' if self.byte(1).is_ascii_digit() && before != Some(Kind::Word) => {
                self.at += 1;
                self.fraction(1);
                Some(Kind::Number)
            }
            b'0'..=b'9' if !after_dot => self.number(),
            _ if is_name(first) => {
                self.run()?;
                Some(Kind::Word)
            }
            _ => {
                self.at += 1;
                Some(Kind::Sign(first))
            }
        }
    }

    /// A run of letters and digits.
    fn run(&mut self) -> Option<()> {
        let mut last = 0;
        while self.at < self.text.len() && is_name(self.byte(0)) {
            last = self.byte(0);
            self.at += self.letter();
            self.at = self.at.min(self.text.len());
        }
        let half = b"@[\\]^`{|}~".contains(&self.byte(0)) && self.at < self.text.len();
        (!(self.mode.charset == Charset::Unknown && last >= 0x80 && half)).then_some(())
    }

    fn number(&mut self) -> Option<Kind> {
        let start = self.at;
        self.run()?;
        let run = &self.text[start..self.at];
        let hex =
            run.len() > 2 && run.starts_with(b"0x") && run[2..].iter().all(u8::is_ascii_hexdigit);
        let bin = run.len() > 2
            && run.starts_with(b"0b")
            && run[2..].iter().all(|b| *b == b'0' || *b == b'1');
        if hex || bin {
            return Some(Kind::Hex);
        }
        let only_digits = run.iter().all(u8::is_ascii_digit);
        if run.len() > 272 {
            return Some(if only_digits { Kind::Number } else { Kind::Word });
        }
        if only_digits {
            if self.byte(0) == b'.' && self.at < self.text.len() {
                self.at += 1;
                self.fraction(self.at - start);
            }
            return Some(Kind::Number);
        }
        let digits = run.iter().take_while(|b| b.is_ascii_digit()).count();
        if run[digits] | 0x20 == b'e' {
            let behind = self.text.get(start + digits + 1).copied().unwrap_or(0);
            let then = self.text.get(start + digits + 2).copied().unwrap_or(0);
            if behind.is_ascii_digit() {
                self.at = start + digits + 1;
                self.digits();
                return Some(Kind::Number);
            }
            if (behind == b'+' || behind == b'-') && then.is_ascii_digit() {
                self.at = start + digits + 2;
                self.digits();
                return Some(Kind::Number);
            }
        }
        Some(Kind::Word)
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while self.byte(0).is_ascii_digit() {
            self.at += 1;
        }
        self.at - from
    }

    /// Behind the dot of a number that has so many bytes so far.
    fn fraction(&mut self, bytes: usize) {
        let bytes = bytes + self.digits();
        if bytes > 272 || self.byte(0) | 0x20 != b'e' {
            return;
        }
        let sign = usize::from(self.byte(1) == b'+' || self.byte(1) == b'-');
        if self.byte(1 + sign).is_ascii_digit() {
            self.at += 1 + sign;
            self.digits();
        }
    }

    fn variable(&mut self) -> Option<()> {
        self.at += 1;
        match self.byte(0) {
            b'`' => self.name(b'`'),
            b'"' if self.mode.double_quotes == DoubleQuotes::Name => self.name(b'"'),
            mark @ (b'"' | b'\'') => self.string(mark),
            _ => {
                while self.at < self.text.len() && (is_name(self.byte(0)) || self.byte(0) == b'.') {
                    let plain = matches!(self.mode.charset, Charset::Utf8 | Charset::Single);
                    if self.byte(0) >= 0x80 && !plain {
                        return None;
                    }
                    self.at += 1;
                }
                Some(())
            }
        }
    }

    fn name(&mut self, mark: u8) -> Option<()> {
        self.at += 1;
        while self.at < self.text.len() {
            let byte = self.byte(0);
            let letter = self.letter();
            if letter > 1 {
                self.at += letter;
                continue;
            }
            if byte == 0 {
                return None;
            }
            if self.mode.charset == Charset::Unknown
                && byte >= 0x80
                && mark == b'`'
                && self.byte(1) == b'`'
            {
                return None;
            }
            self.at += 1;
            if byte == mark {
                if self.at < self.text.len() && self.byte(0) == mark {
                    self.at += 1;
                } else {
                    return Some(());
                }
            }
        }
        None
    }

    fn string(&mut self, mark: u8) -> Option<()> {
        self.at += 1;
        let mut escaped_end = self.at;
        while self.at < self.text.len() {
            let byte = self.byte(0);
            let letter = self.letter();
            if letter > 1 {
                self.at += letter;
                continue;
            }
            if byte == b'\\' && self.mode.backslash_escapes {
                let unknown = self.mode.charset == Charset::Unknown;
                if self.at + 1 >= self.text.len() {
                    return None;
                }
                if unknown && self.at > escaped_end && self.text[self.at - 1] >= 0x80 {
                    return None;
                }
                let odd = self.mode.double_quotes == DoubleQuotes::Unknown && mark == b'"';
                if odd && self.byte(1) == b'"' {
                    return None;
                }
                self.at += 2;
                escaped_end = self.at;
                continue;
            }
            self.at += 1;
            if byte == mark {
                if self.at < self.text.len() && self.byte(0) == mark {
                    self.at += 1;
                    escaped_end = self.at;
                } else {
                    return Some(());
                }
            }
        }
        None
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
