//! What the reading of a statement depends on besides its bytes.
//!
//! Purpose: the few settings of a session and its server that move the borders between code,
//! strings, names and comments.
//! Never: hold a setting that does not; each may be unknown, and then the lexer doubts.

/// How a text is to be read. Small: made anew for each statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexMode {
    /// A backslash in a string escapes what follows: off under NO_BACKSLASH_ESCAPES.
    pub backslash_escapes: bool,
    /// What `"` quotes.
    pub double_quotes: DoubleQuotes,
    /// The character set the client speaks: `character_set_client`.
    pub charset: Charset,
    /// Who reads the text, for versioned comments.
    pub server: Server,
}

impl LexMode {
    /// Nothing is known but whether backslashes escape.
    #[must_use]
    pub const fn unknown(backslash_escapes: bool) -> Self {
        Self {
            backslash_escapes,
            double_quotes: DoubleQuotes::Unknown,
            charset: Charset::Unknown,
            server: Server::Unknown,
        }
    }

    /// A session as clients of today have it: default `sql_mode`, `utf8mb4`.
    #[must_use]
    pub const fn usual(server: Server) -> Self {
        Self {
            backslash_escapes: true,
            double_quotes: DoubleQuotes::Text,
            charset: Charset::Utf8,
            server,
        }
    }

    /// The same with what a value of `sql_mode`, as servers report it, says.
    #[must_use]
    pub fn with_sql_mode(mut self, sql_mode: &[u8]) -> Self {
        let has =
            |name: &[u8]| sql_mode.split(|b| *b == b',').any(|m| m.eq_ignore_ascii_case(name));
        self.backslash_escapes = !has(b"NO_BACKSLASH_ESCAPES");
        self.double_quotes =
            if has(b"ANSI_QUOTES") { DoubleQuotes::Name } else { DoubleQuotes::Text };
        self
    }
}

/// What `"` quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubleQuotes {
    /// A string.
    Text,
    /// A name: ANSI_QUOTES.
    Name,
    /// One of them. A backslash before a `"` in such quotes is unsure.
    Unknown,
}

/// Character sets, as far as they differ in where a character ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// `utf8mb4`, `utf8mb3`, `ascii`, `binary`, `ujis`, `euckr`, `gb2312`: bytes above 7F are parts of
    /// letters, and no part of a letter looks like a sign.
    Utf8,
    /// `latin1` and the others of one byte: some bytes above 7F are blanks or signs.
    Single,
    /// `gbk`.
    Gbk,
    /// `sjis` and `cp932`.
    Sjis,
    /// `big5`.
    Big5,
    /// `gb18030`.
    Gb18030,
    /// Any of them. A byte that would be a backslash or a backtick, right behind one above 7F, is
    /// unsure.
    Unknown,
}

/// The beginning of a text in some character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// A byte on its own.
    Byte,
    /// A character of this many bytes.
    Bytes(usize),
    /// More bytes are needed to tell.
    Cut,
}

impl Charset {
    /// The set of this name, as in `character_set_client`.
    #[must_use]
    pub fn by_name(name: &[u8]) -> Self {
        let is = |known: &[&[u8]]| known.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is(&[b"utf8mb4", b"utf8mb3", b"utf8", b"ascii", b"binary", b"ujis", b"eucjpms"])
            || is(&[b"euckr", b"gb2312"])
        {
            Self::Utf8
        } else if is(&[b"gbk"]) {
            Self::Gbk
        } else if is(&[b"sjis", b"cp932"]) {
            Self::Sjis
        } else if is(&[b"big5"]) {
            Self::Big5
        } else if is(&[b"gb18030"]) {
            Self::Gb18030
        } else if is(&SINGLE) {
            Self::Single
        } else {
            Self::Unknown
        }
    }

    /// The second byte of a character may look like a sign, and it is known when it does.
    pub(super) const fn has_odd_letters(self) -> bool {
        matches!(self, Self::Gbk | Self::Sjis | Self::Big5 | Self::Gb18030)
    }

    /// A name with bytes above 7F may not be one.
    pub(super) const fn doubts_names(self) -> bool {
        matches!(self, Self::Single | Self::Unknown)
    }

    /// What begins at a byte above 7F, as the servers' `my_ismbchar` has it. `last` if the text ends
    /// with `bytes`.
    pub(super) fn letter(self, bytes: &[u8], last: bool) -> Letter {
        let Some(&head) = bytes.first() else { return Letter::Byte };
        let (is_head, has_tail): (bool, fn(u8) -> bool) = match self {
            Self::Gbk | Self::Gb18030 => {
                (matches!(head, 0x81..=0xFE), |tail| matches!(tail, 0x40..=0x7E | 0x80..=0xFE))
            }
            Self::Sjis => (
                matches!(head, 0x81..=0x9F | 0xE0..=0xFC),
                |tail| matches!(tail, 0x40..=0x7E | 0x80..=0xFC),
            ),
            Self::Big5 => {
                (matches!(head, 0xA1..=0xF9), |tail| matches!(tail, 0x40..=0x7E | 0xA1..=0xFE))
            }
            Self::Utf8 | Self::Single | Self::Unknown => return Letter::Byte,
        };
        if !is_head {
            return Letter::Byte;
        }
        match bytes.get(1) {
            None if !last => Letter::Cut,
            None => Letter::Byte,
            Some(&tail) if has_tail(tail) => Letter::Bytes(2),
            Some(b'0'..=b'9') if self == Self::Gb18030 => match (bytes.get(2), bytes.get(3)) {
                (Some(0x81..=0xFE), Some(b'0'..=b'9')) => Letter::Bytes(4),
                (None, _) | (Some(0x81..=0xFE), None) if !last => Letter::Cut,
                _ => Letter::Byte,
            },
            Some(_) => Letter::Byte,
        }
    }
}

/// Character sets of one byte a letter that a client can speak.
const SINGLE: [&[u8]; 24] = [
    b"latin1",
    b"latin2",
    b"latin5",
    b"latin7",
    b"cp1250",
    b"cp1251",
    b"cp1256",
    b"cp1257",
    b"cp850",
    b"cp852",
    b"cp866",
    b"koi8r",
    b"koi8u",
    b"greek",
    b"hebrew",
    b"hp8",
    b"dec8",
    b"swe7",
    b"tis620",
    b"armscii8",
    b"geostd8",
    b"keybcs2",
    b"macce",
    b"macroman",
];

/// Who reads a text. Versions are as in versioned comments: 80036, 101119.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// MySQL or Percona.
    MySql(u32),
    /// MariaDB.
    MariaDb(u32),
    /// Not known: what only some versions execute is taken for code, and doubted.
    Unknown,
}

/// What a versioned comment is to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versioned {
    /// Its inside is code.
    Code,
    /// A comment, which may have another inside.
    Comment,
    /// One of them.
    Doubtful,
}

impl Server {
    /// From the version a server greets with: `8.0.36`, `9.7.4-commercial`,
    /// `5.5.5-10.11.19-MariaDB-log`.
    #[must_use]
    pub fn from_version(version: &str) -> Self {
        let maria = version.contains("MariaDB");
        let version = version.strip_prefix("5.5.5-").filter(|_| maria).unwrap_or(version);
        let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Self::Unknown;
        };
        if major > 99 || minor > 99 || patch > 99 {
            return Self::Unknown;
        }
        let id = major * 10_000 + minor * 100 + patch;
        if maria { Self::MariaDb(id) } else { Self::MySql(id) }
    }

    /// What a comment of `/*M!` or `/*!` is, and how many of its digits are its version.
    pub(super) fn versioned(self, maria_mark: bool, digits: &[u8]) -> (Versioned, usize) {
        if maria_mark && matches!(self, Self::MySql(_)) {
            return (Versioned::Comment, 0);
        }
        if digits.len() < 5 {
            let certain = !maria_mark || self != Self::Unknown;
            return (if certain { Versioned::Code } else { Versioned::Doubtful }, 0);
        }
        let version = digits.iter().fold(0, |all, digit| all * 10 + u32::from(digit - b'0'));
        let judged = match self {
            // MySQL before 8 takes five digits only, so what six are depends.
            Self::MySql(_) if digits.len() > 5 => Versioned::Doubtful,
            Self::MySql(own) if version <= own => Versioned::Code,
            // MariaDB leaves out what is meant for MySQL since they parted.
            Self::MariaDb(own)
                if version <= own && (maria_mark || !(50_700..=99_999).contains(&version)) =>
            {
                Versioned::Code
            }
            Self::MySql(_) | Self::MariaDb(_) => Versioned::Comment,
            Self::Unknown if version < 50_700 && !maria_mark => Versioned::Code,
            Self::Unknown => Versioned::Doubtful,
        };
        (judged, digits.len())
    }
}
