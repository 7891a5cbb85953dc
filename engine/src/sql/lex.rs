//! Words, literals and signs of a statement.
//!
//! Purpose: tell code from strings, comments and quoted names, in every `sql_mode` and character
//! set a client may have.
//! Never: allocate, or guess: text that reads differently under different settings is [`Unsure`].
//!
//! What the settings could change, and what is done about it:
//! - NO_BACKSLASH_ESCAPES is in the server's status flags, so the caller knows it.
//! - ANSI_QUOTES makes `"` quote a name, in which a backslash is nothing special: a backslash
//!   before a `"` in such quotes is unsure.
//! - In gbk, sjis, big5 and gb18030 the second byte of a character can look like a backslash or a
//!   backtick (not like `'` or `"`): one right behind a byte above 7F is unsure.

/// What a piece of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a name, or the name of a function.
    Word,
    /// Begins with a digit and is not a name.
    Number,
    /// A name in backticks.
    Quoted,
    /// A string, or under ANSI_QUOTES a name, in `"` or `'`.
    Text,
    /// Any other byte.
    Sign(u8),
}

/// A piece of a statement, by its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
    /// A comment, or the mark of a versioned one, stands between it and the token before it.
    pub after_comment: bool,
}

/// The text ends inside something, or reads differently under settings that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

/// Takes a statement apart, one token at a time. Comments are left out; the contents of versioned
/// comments are code.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    backslash_escapes: bool,
    /// Inside a versioned comment.
    versioned: bool,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    #[must_use]
    pub const fn new(text: &'a [u8], backslash_escapes: bool) -> Self {
        Self { text, at: 0, backslash_escapes, versioned: false }
    }

    /// The next token; `None` at the end.
    ///
    /// # Errors
    /// [`Unsure`]; nothing after it can be told.
    pub fn next_token(&mut self) -> Result<Option<Token>, Unsure> {
        let after_comment = self.skip_blanks()?;
        let start = self.at;
        let Some(first) = self.peek(0) else {
            return if self.versioned { Err(Unsure) } else { Ok(None) };
        };
        let kind = match first {
            b'\'' | b'"' => {
                self.quotes(first)?;
                Kind::Text
            }
            b'`' => {
                self.backticks()?;
                Kind::Quoted
            }
            _ if is_of_name(first) => {
                self.name();
                self.kind_of_name(start)
            }
            sign => {
                self.at += 1;
                Kind::Sign(sign)
            }
        };
        Ok(Some(Token { kind, start, end: self.at, after_comment }))
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips spaces and comments; whether there were any of the latter.
    fn skip_blanks(&mut self) -> Result<bool, Unsure> {
        let mut comments = false;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(space), _) if is_space(space) => {
                    self.at += 1;
                    continue;
                }
                (Some(b'#'), _) => self.skip_line(),
                (Some(b'-'), Some(b'-')) if self.peek(2).is_none_or(|b| b <= b' ') => {
                    self.skip_line();
                }
                (Some(b'/'), Some(b'*')) => self.open_comment()?,
                (Some(b'*'), Some(b'/')) if self.versioned => {
                    self.versioned = false;
                    self.at += 2;
                }
                _ => return Ok(comments),
            }
            comments = true;
        }
    }

    fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
    }

    /// At `/*`: skips the comment, or the mark that makes it code.
    fn open_comment(&mut self) -> Result<(), Unsure> {
        let mark_bytes = match self.rest() {
            [b'/', b'*', b'!', ..] => 3,
            [b'/', b'*', b'M', b'!', ..] => 4,
            rest => {
                let end = memchr::memmem::find(rest.get(2..).unwrap_or_default(), b"*/");
                self.at += end.ok_or(Unsure)? + 4;
                return Ok(());
            }
        };
        if self.versioned {
            // Servers differ in how such comments nest.
            return Err(Unsure);
        }
        self.at += mark_bytes;
        while self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.versioned = true;
        Ok(())
    }

    /// At a quotation mark: goes behind its counterpart. Two in a row stand for one.
    fn quotes(&mut self, mark: u8) -> Result<(), Unsure> {
        self.at += 1;
        loop {
            let rest = self.rest();
            let found = memchr::memchr2(mark, b'\\', rest).ok_or(Unsure)?;
            self.at += found;
            if rest.get(found) == Some(&b'\\') {
                let after_high = found > 0 && rest.get(found - 1).is_some_and(|b| *b >= 0x80);
                let is_followed_by_mark = self.peek(1) == Some(mark);
                if after_high || mark == b'"' && is_followed_by_mark {
                    return Err(Unsure);
                }
                self.at += if self.backslash_escapes { 2 } else { 1 };
            } else if self.peek(1) == Some(mark) {
                self.at += 2;
            } else {
                self.at += 1;
                return Ok(());
            }
        }
    }

    /// At a backtick: goes behind its counterpart. Two in a row stand for one.
    fn backticks(&mut self) -> Result<(), Unsure> {
        if self.at > 0 && self.text.get(self.at - 1).is_some_and(|byte| *byte >= 0x80) {
            return Err(Unsure);
        }
        self.at += 1;
        loop {
            let rest = self.rest();
            let found = memchr::memchr(b'`', rest).ok_or(Unsure)?;
            if found > 0 && rest.get(found - 1).is_some_and(|byte| *byte >= 0x80) {
                return Err(Unsure);
            }
            self.at += found + 1;
            if self.peek(0) != Some(b'`') {
                return Ok(());
            }
            self.at += 1;
        }
    }

    fn name(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|byte| !is_of_name(*byte)).unwrap_or(rest.len());
    }

    /// Names may begin with digits, but not be made of digits only; `1e5` and `0x1F` are numbers.
    fn kind_of_name(&self, start: usize) -> Kind {
        let name = self.text.get(start..self.at).unwrap_or_default();
        let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match name.get(digits..) {
            Some([]) => Kind::Number,
            Some([b'e' | b'E' | b'x' | b'X' | b'b' | b'B', ..]) if digits > 0 => Kind::Number,
            Some(_) | None => Kind::Word,
        }
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

/// A byte of an unquoted name. Bytes above 7F are parts of letters in every character set.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}
