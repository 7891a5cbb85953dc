//! What makes a statement the same as others.
//!
//! Purpose: a text without what differs from call to call, and 64 bits that stand for it. Literals
//! and parameters become `?`, lists of them and lists of such lists one, blanks and comments go,
//! keywords are in capitals, names are kept.
//! Never: need the whole text, or grow with it: what is shown is bounded, what is hashed is not.
//!
//! A digest of a digest's text is that digest, as long as the text was not cut short.

use crate::sql::lex::{Kind, Token};
use crate::sql::mode::LexMode;
use crate::sql::pieces::{Pieces, Sink, whole};
use crate::sql::words::Word;

/// A statement text, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The same for the same normalised texts, in every build of one version.
    pub fingerprint: u64,
    /// The normalised text, or its beginning.
    pub text: Vec<u8>,
    /// It was longer than was allowed.
    pub truncated: bool,
    /// The text could not be read to its end; what is here is of what could.
    pub unsure: bool,
}

/// The digest of a whole text, of which at most so many bytes are kept as text.
#[must_use]
pub fn digest(text: &[u8], mode: LexMode, bytes_max: usize) -> Digest {
    let mut normal = Normal::new(bytes_max);
    let end = whole(text, mode, &mut normal);
    normal.finish(end.is_err())
}

/// The digest of a text that comes in pieces.
#[derive(Clone, Debug)]
pub struct DigestInPieces {
    pieces: Pieces,
    normal: Normal,
}

impl DigestInPieces {
    /// At the beginning of a text.
    #[must_use]
    pub const fn new(mode: LexMode, bytes_max: usize) -> Self {
        Self { pieces: Pieces::new(mode), normal: Normal::new(bytes_max) }
    }

    /// Goes on.
    pub fn feed(&mut self, piece: &[u8]) {
        self.pieces.feed(piece, &mut self.normal);
    }

    /// The text is over.
    #[must_use]
    pub fn finish(self) -> Digest {
        let Self { pieces, mut normal } = self;
        let end = pieces.finish(&mut normal);
        normal.finish(end.is_err())
    }
}

/// A token, as far as spaces around it depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Start,
    Literal,
    Keyword,
    /// A name of anything but a variable.
    Name,
    /// The same in quotation marks.
    Quoted,
    Variable,
    System,
    Assign,
    Sign(u8),
    End,
}

impl Shape {
    /// A minus behind it belongs to what follows.
    const fn is_before_operand(self) -> bool {
        matches!(self, Self::Start | Self::Keyword | Self::Assign)
            || matches!(self, Self::Sign(sign) if sign != b')')
    }
}

/// A token to be written.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    shape: Shape,
    bytes: &'a [u8],
    /// Nothing is between it and the token before it.
    adjacent: bool,
}

impl Piece<'_> {
    const LITERAL: Piece<'static> = Piece { shape: Shape::Literal, bytes: b"?", adjacent: false };
    const COMMA: Piece<'static> = Piece { shape: Shape::Sign(b','), bytes: b",", adjacent: false };
    const OPEN: Piece<'static> = Piece { shape: Shape::Sign(b'('), bytes: b"(", adjacent: false };
    const END: Piece<'static> = Piece { shape: Shape::End, bytes: b"", adjacent: false };
}

/// How much of a list of literals is read. `more`: there were several, and one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Outside,
    /// Behind the `(`.
    Open,
    Literal {
        more: bool,
    },
    Comma {
        more: bool,
    },
    /// Behind the `)` of a list of nothing else.
    Closed,
    /// Behind a comma there: another list may follow, and nothing more is written of it while it
    /// is but one of literals.
    Between,
    NextOpen,
    NextLiteral {
        more: bool,
    },
    NextComma {
        more: bool,
    },
}

/// The state of a digest.
#[derive(Clone, Debug)]
struct Normal {
    hash: u64,
    out: Vec<u8>,
    bytes_max: usize,
    truncated: bool,
    /// What was written last.
    written: Shape,
    /// It is a dot right behind a word.
    joint: bool,
    list: List,
    /// What was read last, and where it ended.
    read: Shape,
    read_end: usize,
    /// A sign that may belong to a literal, and whether it is adjacent.
    sign: Option<(u8, bool)>,
    introducer: Option<&'static [u8]>,
    semicolon: bool,
}

impl Sink for Normal {
    fn token(&mut self, token: &Token, bytes: &[u8]) {
        let adjacent = token.start == self.read_end;
        self.read_end = token.end;
        let is_named = matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Variable);
        // Of long ones nothing is known.
        let bytes = if is_named && bytes.is_empty() { b"_" } else { bytes };
        match token.kind {
            Kind::Number | Kind::Hex | Kind::Text | Kind::Sign(b'?') => self.literal(),
            Kind::Word => self.word(bytes, adjacent),
            Kind::Quoted => self.other(Piece { shape: Shape::Quoted, bytes, adjacent }),
            Kind::Variable => self.other(Piece { shape: Shape::Variable, bytes, adjacent }),
            Kind::System => self.other(Piece { shape: Shape::System, bytes: b"@@", adjacent }),
            Kind::Assign => self.other(Piece { shape: Shape::Assign, bytes: b":=", adjacent }),
            Kind::Sign(b';') => {
                self.other(Piece::END);
                self.list(Piece::END);
                self.semicolon = true;
                self.read = Shape::Start;
            }
            Kind::Sign(sign @ (b'-' | b'+')) if self.read.is_before_operand() => {
                // One before another is as good as none.
                if self.sign.is_none() {
                    self.other(Piece::END);
                }
                self.sign = Some((sign, adjacent));
                self.read = Shape::Sign(sign);
            }
            Kind::Sign(sign) => {
                self.other(Piece { shape: Shape::Sign(sign), bytes: &[sign], adjacent });
            }
        }
    }
}

impl Normal {
    const fn new(bytes_max: usize) -> Self {
        Self {
            hash: 0,
            out: Vec::new(),
            bytes_max,
            truncated: false,
            written: Shape::Start,
            joint: false,
            list: List::Outside,
            read: Shape::Start,
            read_end: 0,
            sign: None,
            introducer: None,
            semicolon: false,
        }
    }

    fn finish(mut self, unsure: bool) -> Digest {
        self.other(Piece::END);
        self.list(Piece::END);
        // Whatever the bits are, each shall depend on all.
        let mut hash = self.hash ^ u64::from(unsure);
        for factor in [0xFF51_AFD7_ED55_8CCD, 0xC4CE_B9FE_1A85_EC53] {
            hash = (hash ^ hash >> 33).wrapping_mul(factor);
        }
        let fingerprint = hash ^ hash >> 33;
        Digest { fingerprint, text: self.out, truncated: self.truncated, unsure }
    }

    fn literal(&mut self) {
        self.sign = None;
        self.introducer = None;
        self.list(Piece::LITERAL);
        self.read = Shape::Literal;
    }

    fn word(&mut self, bytes: &[u8], adjacent: bool) {
        let is_part = self.read == Shape::Sign(b'.');
        let word = if is_part { Word::Other } else { Word::of(bytes) };
        let is_value = matches!(word, Word::Null | Word::True | Word::False)
            && matches!(self.read, Shape::Sign(b'(' | b','));
        if is_value {
            self.literal();
            return;
        }
        let introducers = INTRODUCERS.iter().find(|known| known.eq_ignore_ascii_case(bytes));
        if let Some(introducer) = introducers.filter(|_| bytes.first() == Some(&b'_') && !is_part) {
            if self.introducer.is_some() {
                self.other(Piece::END);
            }
            self.introducer = Some(introducer);
            // A sign behind it is none of a literal's.
            self.read = Shape::Name;
            return;
        }
        if word == Word::Other {
            self.other(Piece { shape: Shape::Name, bytes, adjacent });
            return;
        }
        let mut capitals = [0; 32];
        for (capital, byte) in capitals.iter_mut().zip(bytes) {
            *capital = byte.to_ascii_uppercase();
        }
        let bytes = capitals.get(..bytes.len()).unwrap_or_default();
        let shape = if is_function(word) { Shape::Name } else { Shape::Keyword };
        self.other(Piece { shape, bytes, adjacent });
    }

    /// A token that is no literal: what waited for one is written, too.
    fn other(&mut self, piece: Piece) {
        if let Some((sign, adjacent)) = self.sign.take() {
            self.list(Piece { shape: Shape::Sign(sign), bytes: &[sign], adjacent });
        }
        if let Some(introducer) = self.introducer.take() {
            self.list(Piece { shape: Shape::Name, bytes: introducer, adjacent: false });
        }
        if piece.shape != Shape::End {
            self.list(piece);
            self.read = piece.shape;
        }
    }

    /// Writes a token, unless it is one more of a list of literals.
    fn list(&mut self, piece: Piece) {
        let (literal, comma) = (Piece::LITERAL, Piece::COMMA);
        let is = |sign| piece.shape == Shape::Sign(sign);
        let is_literal = piece.shape == Shape::Literal;
        // What was kept back of a list that turns out to be another, and how the list stands then.
        let (kept, list): (&[Piece], List) = match self.list {
            List::Literal { more } if is(b',') => {
                self.list = List::Comma { more };
                return;
            }
            List::NextLiteral { more } if is(b',') => {
                self.list = List::NextComma { more };
                return;
            }
            List::Comma { .. } if is_literal => {
                self.list = List::Literal { more: true };
                return;
            }
            List::NextComma { .. } if is_literal => {
                self.list = List::NextLiteral { more: true };
                return;
            }
            List::Closed if is(b',') => {
                self.list = List::Between;
                return;
            }
            List::Between if is(b'(') => {
                self.list = List::NextOpen;
                return;
            }
            List::NextOpen if is_literal => {
                self.list = List::NextLiteral { more: false };
                return;
            }
            List::NextLiteral { .. } if is(b')') => {
                self.list = List::Closed;
                return;
            }
            List::Literal { .. } if is(b')') => (&[], List::Closed),
            List::Outside | List::Closed => (&[], List::Outside),
            List::Open if is_literal => (&[], List::Literal { more: false }),
            List::Open => (&[], List::Outside),
            List::Literal { more: false } => (&[], List::Outside),
            List::Literal { more: true } => (&[comma, literal], List::Outside),
            List::Comma { more: false } | List::Between => (&[comma], List::Outside),
            List::Comma { more: true } => (&[comma, literal, comma], List::Outside),
            List::NextOpen => (&[comma, Piece::OPEN], List::Outside),
            List::NextLiteral { more: false } => (&[comma, Piece::OPEN, literal], List::Outside),
            List::NextLiteral { more: true } => {
                (&[comma, Piece::OPEN, literal, comma, literal], List::Outside)
            }
            List::NextComma { more: false } => {
                (&[comma, Piece::OPEN, literal, comma], List::Outside)
            }
            List::NextComma { more: true } => {
                (&[comma, Piece::OPEN, literal, comma, literal, comma], List::Outside)
            }
        };
        for piece in kept {
            self.write(piece);
        }
        self.list = if is(b'(') { List::Open } else { list };
        self.write(&piece);
    }

    fn write(&mut self, piece: &Piece) {
        if piece.shape == Shape::End {
            return;
        }
        if std::mem::take(&mut self.semicolon) && self.written != Shape::Start {
            self.put(b";", false);
            self.written = Shape::Sign(b';');
        }
        // The dot of no name would make a number of what follows.
        let number = self.written == Shape::Sign(b'.')
            && !self.joint
            && piece.bytes.first().is_some_and(u8::is_ascii_digit);
        let spaced = number || needs_space(self.written, piece);
        self.put(piece.bytes, spaced);
        self.joint = piece.shape == Shape::Sign(b'.')
            && matches!(self.written, Shape::Keyword | Shape::Name);
        self.written = piece.shape;
    }

    fn put(&mut self, bytes: &[u8], spaced: bool) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let mut mix = |word: u64| {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
        };
        for chunk in chunks {
            mix(u64::from_le_bytes(*chunk));
        }
        mix(u64::from_le_bytes(last));
        mix((bytes.len() as u64) << 1 | u64::from(spaced));
        if self.truncated || self.out.len() + usize::from(spaced) + bytes.len() > self.bytes_max {
            self.truncated = true;
            return;
        }
        if spaced {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(bytes);
    }
}

/// Whether two tokens have a space between them. Those that have none must not be read as another
/// then.
fn needs_space(before: Shape, piece: &Piece) -> bool {
    match (before, piece.shape) {
        (Shape::Start | Shape::System | Shape::Sign(b'(' | b'.'), _) => false,
        (_, Shape::Sign(b',' | b')' | b';')) => false,
        (before, Shape::Sign(b'.')) => before == Shape::Variable,
        (Shape::Name | Shape::Quoted | Shape::Literal, Shape::Sign(b'(')) => false,
        // `<=`, `->>`, `||`, but never `--`.
        (Shape::Sign(before), Shape::Sign(sign)) if piece.adjacent => {
            let joins = |sign: u8| matches!(sign, b'<' | b'>' | b'=' | b'!' | b'&' | b'|');
            !(joins(sign) && (joins(before) || before == b'-' && sign == b'>'))
        }
        _ => true,
    }
}

/// Functions stand right before their parentheses.
const fn is_function(word: Word) -> bool {
    matches!(
        word,
        Word::Builtin
            | Word::Count
            | Word::FoundRows
            | Word::GetLock
            | Word::IsFreeLock
            | Word::IsUsedLock
            | Word::LastInsertId
            | Word::Lastval
            | Word::Nextval
            | Word::ReleaseAllLocks
            | Word::ReleaseLock
            | Word::RowCount
    )
}

/// Character sets of strings, as clients write them before one.
const INTRODUCERS: [&[u8]; 7] =
    [b"_binary", b"_utf8mb4", b"_utf8mb3", b"_utf8", b"_latin1", b"_ascii", b"_ucs2"];
