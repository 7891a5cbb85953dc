//! Words, literals and signs of a statement.
//!
//! Purpose: tell code from strings, comments and quoted names, in every `sql_mode` and character
//! set a client may have, as the servers' own lexers do; of texts that come in pieces as well.
//! Never: allocate, or guess: text that reads differently under settings that are not known is
//! [`Unsure`].
//!
//! A [`Lexer`] reads one slice. At the end of a slice that is not the last it says [`Step::Short`]
//! before anything it cannot decide, and the few bytes from there on are its caller's to bring
//! again with the next ([`crate::sql::Pieces`]). What may be long it goes through at once, and
//! remembers as [`Inside`] that it is in the middle.

mod blank;
mod name;
mod number;
mod text;

use crate::sql::mode::LexMode;

/// The longest token of which a consumer may ask the bytes. Names have 64 characters at most, in
/// quotation marks and of four bytes each; longer numbers are numbers of another kind.
pub(crate) const TOKEN_BYTES_MAX: usize = 272;

/// What a piece of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a name, or the name of a function.
    Word,
    /// A decimal number, without a sign before it.
    Number,
    /// `0x1F`, `x'1F'`, `0b1` or `b'1'`.
    Hex,
    /// A name in backticks, or in `"` under ANSI_QUOTES.
    Quoted,
    /// A string in `'` or `"`, or a name in `"` where ANSI_QUOTES is not known. Two in a row are two.
    Text,
    /// A user variable with its `@`: `@a`, @`a`, `@'a'`; or the host of a user's name.
    Variable,
    /// `@@`, the name of a system variable follows.
    System,
    /// `:=`
    Assign,
    /// Any other byte.
    Sign(u8),
}

impl Kind {
    /// Its bytes are kept together, unless they are many.
    #[inline]
    pub(crate) const fn is_name_or_number(self) -> bool {
        matches!(self, Self::Word | Self::Number | Self::Quoted | Self::Variable)
    }
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

/// What a step comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A token.
    Token(Token),
    /// The slice has to be continued to tell.
    Short,
    /// The text is over.
    End,
}

/// Something long that a slice ended in, by the place in the whole text where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A comment to the end of its line.
    Line,
    /// A comment, perhaps one that may have another in it.
    Comment {
        nests: bool,
        nested: bool,
    },
    /// A run of letters and digits.
    Run {
        start: usize,
        made_of: number::MadeOf,
    },
    /// The name behind an `@`.
    Host {
        start: usize,
    },
    /// The digits at the end of a number.
    Digits {
        start: usize,
    },
    /// Quotation marks that enclose a name.
    Name {
        start: usize,
        mark: u8,
        kind: Kind,
    },
    /// Quotation marks that enclose a string.
    Text {
        start: usize,
        mark: u8,
        kind: Kind,
    },
}

/// What stands right before the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Other,
    /// A word: a dot is none of a number.
    Word,
    /// A dot: what follows is a name whatever it looks like.
    Dot,
}

/// What a lexer knows between two slices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    inside: Inside,
    before: Before,
    /// Inside a versioned comment whose inside is code.
    versioned: bool,
    after_comment: bool,
    doubtful: bool,
}

impl Memory {
    /// At the beginning of a text.
    pub(crate) const START: Self = Self {
        inside: Inside::Nothing,
        before: Before::Other,
        versioned: false,
        after_comment: false,
        doubtful: false,
    };

    /// The inside of a versioned comment was taken for code, and may be none.
    pub(crate) const fn is_doubtful(&self) -> bool {
        self.doubtful
    }
}

/// Takes a statement apart, one token at a time. Comments are left out; the contents of versioned
/// comments are code where the server executes them.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Where `text` begins in the whole text.
    base: usize,
    /// The whole text ends with `text`.
    last: bool,
    mode: LexMode,
    memory: Memory,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of a whole text.
    #[must_use]
    pub const fn new(text: &'a [u8], mode: LexMode) -> Self {
        Self::resumed(text, 0, true, mode, Memory::START)
    }

    /// A lexer that goes on in the middle of a text.
    pub(crate) const fn resumed(
        text: &'a [u8],
        base: usize,
        last: bool,
        mode: LexMode,
        memory: Memory,
    ) -> Self {
        Self { text, at: 0, base, last, mode, memory }
    }

    /// The next token of a whole text; `None` at the end.
    ///
    /// # Errors
    /// [`Unsure`]; nothing after it can be told.
    #[inline]
    pub fn next_token(&mut self) -> Result<Option<Token>, Unsure> {
        match self.step()? {
            Step::Token(token) => Ok(Some(token)),
            Step::Short => Err(Unsure),
            Step::End => Ok(None),
        }
    }

    /// How much of the slice is done with.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Continues behind what another lexer read of the same slice.
    pub(crate) const fn skip(&mut self, bytes: usize) {
        self.at = bytes;
    }

    pub(crate) const fn memory(&self) -> Memory {
        self.memory
    }

    /// The bytes of a token, if it lies in this slice and is short enough.
    #[inline]
    pub(crate) fn bytes(&self, token: &Token) -> &'a [u8] {
        if token.end - token.start > TOKEN_BYTES_MAX {
            return &[];
        }
        let start = token.start.checked_sub(self.base);
        start.and_then(|start| self.text.get(start..token.end - self.base)).unwrap_or_default()
    }

    /// The next token, or why there is none.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Step, Unsure> {
        if self.memory.inside != Inside::Nothing {
            match self.go_on()? {
                Some(token) => return Ok(Step::Token(token)),
                None if self.memory.inside != Inside::Nothing => return Ok(Step::Short),
                None => {}
            }
        }
        if !self.skip_blanks()? {
            return Ok(Step::Short);
        }
        let Some(first) = self.peek(0) else {
            return match (self.last, self.memory.versioned) {
                (true, true) => Err(Unsure),
                (true, false) => Ok(Step::End),
                (false, _) => Ok(Step::Short),
            };
        };
        let start = self.at;
        let token = match CLASSES.get(usize::from(first)) {
            Some(Class::Name) => self.word(start)?,
            Some(Class::Digit) if self.memory.before == Before::Dot => self.word(start)?,
            Some(Class::Digit) => self.number(start)?,
            Some(Class::Quote) => self.quotes(start, first)?,
            Some(Class::Odd) => self.odd_sign(start, first)?,
            Some(Class::Sign) | None => Some(self.token(Kind::Sign(first), start, start + 1)),
        };
        Ok(token.map_or(Step::Short, Step::Token))
    }

    /// A sign that may be the first of two.
    fn odd_sign(&mut self, start: usize, first: u8) -> Result<Option<Token>, Unsure> {
        if !self.sees(2) {
            return Ok(None);
        }
        let (kind, bytes) = match (first, self.peek(1)) {
            (b'@', Some(b'@')) => (Kind::System, 2),
            (b'@', _) => return self.variable(start),
            (b':', Some(b'=')) => (Kind::Assign, 2),
            (b'.', Some(b'0'..=b'9')) if self.memory.before != Before::Word => {
                return Ok(self.fraction(start, start + 1));
            }
            _ => (Kind::Sign(first), 1),
        };
        let token = self.token(kind, start, start + bytes);
        if first == b'.' {
            self.memory.before = Before::Dot;
        }
        Ok(Some(token))
    }

    /// Ends a token.
    #[inline]
    const fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.whole_token(kind, self.base + start, end)
    }

    /// Ends a token that began at a place in the whole text.
    #[inline]
    const fn whole_token(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.at = end;
        self.memory.inside = Inside::Nothing;
        self.memory.before = if matches!(kind, Kind::Word) { Before::Word } else { Before::Other };
        let after_comment = self.memory.after_comment;
        self.memory.after_comment = false;
        Token { kind, start, end: self.base + end, after_comment }
    }

    /// Goes on inside something; `None` if it was a comment, or is not over.
    fn go_on(&mut self) -> Result<Option<Token>, Unsure> {
        match self.memory.inside {
            Inside::Nothing => Ok(None),
            Inside::Line => {
                self.skip_line();
                Ok(None)
            }
            Inside::Comment { nests, nested } => {
                self.skip_comment(nests, nested)?;
                Ok(None)
            }
            Inside::Run { start, made_of } => self.run_on(start, made_of),
            Inside::Host { start } => self.host(start),
            Inside::Digits { start } => Ok(self.digits(start)),
            Inside::Name { start, mark, kind } => self.quoted_name(start, self.at, mark, kind),
            Inside::Text { start, mark, kind } => self.quoted_text(start, self.at, mark, kind),
        }
    }

    #[inline]
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Whether this many bytes are there, or all there will be.
    #[inline]
    const fn sees(&self, bytes: usize) -> bool {
        self.last || self.text.len() - self.at >= bytes
    }

    /// Whether a token that began there, and goes on with the next slice, is too long to be brought
    /// again.
    const fn is_long(&self, start: usize, end: usize) -> bool {
        self.base + end - start > TOKEN_BYTES_MAX
    }
}

/// What a byte can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Sign,
    Name,
    Digit,
    Quote,
    /// `@`, `:` and `.`
    Odd,
}

#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Sign; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'0'..=b'9' => Class::Digit,
            b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' | 0x80.. => Class::Name,
            b'\'' | b'"' | b'`' => Class::Quote,
            b'@' | b':' | b'.' => Class::Odd,
            _ => Class::Sign,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// A byte of an unquoted name. Bytes above 7F are taken for parts of letters.
#[inline]
fn is_of_name(byte: u8) -> bool {
    matches!(CLASSES.get(usize::from(byte)), Some(Class::Name | Class::Digit))
}
