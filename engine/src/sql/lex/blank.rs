//! What stands between tokens: spaces and comments.
//!
//! Purpose: skip them, in all their forms, and open versioned comments whose inside is code.
//! Never: look into a comment.

use super::{Before, CLASSES, Class, Inside, Lexer, Unsure};
use crate::sql::mode::Versioned;

/// `/*M!` and six digits, and what shows that there is no seventh.
const OPENING_BYTES_MAX: usize = 4 + 6;

impl Lexer<'_> {
    /// Skips spaces and comments; whether what follows can be told.
    #[inline]
    pub(super) fn skip_blanks(&mut self) -> Result<bool, Unsure> {
        if self.peek(0) == Some(b' ') {
            self.at += 1;
            self.memory.before = Before::Other;
        }
        match self.peek(0).and_then(|byte| CLASSES.get(usize::from(byte))) {
            // What most tokens begin with.
            Some(Class::Name | Class::Digit | Class::Quote | Class::Odd) => Ok(true),
            Some(Class::Sign) | None => self.skip_more_blanks(),
        }
    }

    fn skip_more_blanks(&mut self) -> Result<bool, Unsure> {
        loop {
            match self.peek(0) {
                Some(b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r') => {
                    self.at += 1;
                    self.memory.before = Before::Other;
                    continue;
                }
                Some(b'#') => self.skip_line(),
                Some(b'-') => match (self.peek(1), self.peek(2)) {
                    (Some(b'-'), None) | (None, None) if !self.last => return Ok(false),
                    // Servers see a NUL behind the end.
                    (Some(b'-'), None | Some(0..=b' ' | 0x7F)) => self.skip_line(),
                    _ => return Ok(true),
                },
                Some(b'/') => match self.peek(1) {
                    Some(b'*') => {
                        if !self.open_comment()? {
                            return Ok(false);
                        }
                    }
                    None if !self.last => return Ok(false),
                    _ => return Ok(true),
                },
                Some(b'*') if self.memory.versioned => match self.peek(1) {
                    Some(b'/') => {
                        self.memory.versioned = false;
                        self.at += 2;
                    }
                    None if !self.last => return Ok(false),
                    _ => return Ok(true),
                },
                _ => return Ok(true),
            }
            self.memory.after_comment = true;
            self.memory.before = Before::Other;
            if self.memory.inside != Inside::Nothing {
                return Ok(false);
            }
        }
    }

    /// In a comment that ends with its line; for servers a NUL ends it, too.
    pub(super) fn skip_line(&mut self) {
        let rest = self.rest();
        match memchr::memchr2(b'\n', 0, rest) {
            Some(end) => {
                self.at += end + usize::from(rest.get(end) == Some(&b'\n'));
                self.memory.inside = Inside::Nothing;
            }
            None => {
                self.at = self.text.len();
                self.memory.inside = if self.last { Inside::Nothing } else { Inside::Line };
            }
        }
    }

    /// At `/*`: skips the comment, or the mark that makes it code. Whether there was enough to see.
    fn open_comment(&mut self) -> Result<bool, Unsure> {
        let (mark_bytes, maria_mark) = match (self.peek(2), self.peek(3)) {
            (Some(b'!'), _) => (3, false),
            (Some(b'M'), Some(b'!')) => (4, true),
            (None, _) | (Some(b'M'), None) if !self.last => return Ok(false),
            _ => {
                self.at += 2;
                self.skip_comment(false, false)?;
                return Ok(true);
            }
        };
        if !self.sees(OPENING_BYTES_MAX) {
            return Ok(false);
        }
        let behind = self.rest().get(mark_bytes..).unwrap_or_default();
        let count = behind.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        let digits = behind.get(..count).unwrap_or_default();
        let (judged, version_bytes) = self.mode.server.versioned(maria_mark, digits);
        if judged == Versioned::Comment {
            self.at += 2;
            // A plain comment for MySQL, a version too high for the rest.
            self.skip_comment(version_bytes > 0, false)?;
            return Ok(true);
        }
        if self.memory.versioned {
            // The first end is the end of both.
            return Err(Unsure);
        }
        self.memory.doubtful |= judged == Versioned::Doubtful;
        self.memory.versioned = true;
        self.at += mark_bytes + version_bytes;
        Ok(true)
    }

    /// In a comment. One that is left out for its version may have another in it.
    pub(super) fn skip_comment(&mut self, nests: bool, mut nested: bool) -> Result<(), Unsure> {
        loop {
            let rest = self.rest();
            let found = if nests && !nested {
                memchr::memchr2_iter(b'*', b'/', rest)
                    .find(|at| matches!(rest.get(*at..*at + 2), Some(b"*/" | b"/*")))
            } else {
                memchr::memmem::find(rest, b"*/")
            };
            let Some(found) = found else {
                if self.last {
                    return Err(Unsure);
                }
                // It may be the first half of what is looked for.
                let half = matches!(rest.last(), Some(b'*' | b'/'));
                self.at = self.text.len() - usize::from(half);
                self.memory.inside = Inside::Comment { nests, nested };
                return Ok(());
            };
            self.at += found + 2;
            let opens = rest.get(found) == Some(&b'/');
            if !opens && !nested {
                self.memory.inside = Inside::Nothing;
                return Ok(());
            }
            nested = opens;
        }
    }
}
