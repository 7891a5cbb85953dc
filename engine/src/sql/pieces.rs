//! A text in pieces.
//!
//! Purpose: the same tokens whether a text comes whole or cut at any byte.
//! Never: hold more of it than a token that may still be a word or a number.

use crate::sql::lex::{Lexer, Memory, Step, TOKEN_BYTES_MAX, Token, Unsure};
use crate::sql::mode::LexMode;

/// What takes tokens.
pub trait Sink {
    /// The next token. `bytes` are its own where it is a word, a number, a quoted name or a user
    /// variable of no more than 272 bytes, and none else: strings may have come in pieces.
    fn token(&mut self, token: &Token, bytes: &[u8]);
}

/// Both, for a text that is looked at in two ways.
impl<A: Sink, B: Sink> Sink for (A, B) {
    #[inline]
    fn token(&mut self, token: &Token, bytes: &[u8]) {
        self.0.token(token, bytes);
        self.1.token(token, bytes);
    }
}

/// Takes a text apart that is in one piece.
///
/// # Errors
/// [`Unsure`]: the tokens given so far may be wrong, and there may be more.
#[inline]
pub fn whole(text: &[u8], mode: LexMode, sink: &mut impl Sink) -> Result<(), Unsure> {
    let mut lexer = Lexer::new(text, mode);
    while let Some(token) = lexer.next_token()? {
        give(&lexer, &token, sink);
    }
    if lexer.memory().is_doubtful() { Err(Unsure) } else { Ok(()) }
}

#[inline]
fn give(lexer: &Lexer, token: &Token, sink: &mut impl Sink) {
    let bytes = if token.kind.is_name_or_number() { lexer.bytes(token) } else { &[] };
    sink.token(token, bytes);
}

/// What a slice can end in without a decision: a token, and what is looked at behind it.
const SHORT_BYTES_MAX: usize = TOKEN_BYTES_MAX + 16;

/// Takes a text apart that comes in pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    mode: LexMode,
    memory: Memory,
    /// Where what is carried begins in the whole text.
    base: usize,
    carried: usize,
    unsure: bool,
    /// The end of the last piece, and the beginning of the next behind it.
    seam: [u8; 2 * SHORT_BYTES_MAX],
}

impl Pieces {
    /// At the beginning of a text.
    #[must_use]
    pub const fn new(mode: LexMode) -> Self {
        Self {
            mode,
            memory: Memory::START,
            base: 0,
            carried: 0,
            unsure: false,
            seam: [0; 2 * SHORT_BYTES_MAX],
        }
    }

    /// Goes on with a piece. Of a text that is found unsure nothing more is read.
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl Sink) {
        if !self.unsure && self.try_feed(piece, sink).is_err() {
            self.unsure = true;
        }
    }

    /// The text is over.
    ///
    /// # Errors
    /// [`Unsure`], as for [`whole`].
    pub fn finish(mut self, sink: &mut impl Sink) -> Result<(), Unsure> {
        if self.unsure {
            return Err(Unsure);
        }
        let text = self.seam.get(..self.carried).unwrap_or_default();
        let mut lexer = Lexer::resumed(text, self.base, true, self.mode, self.memory);
        while let Some(token) = lexer.next_token()? {
            give(&lexer, &token, sink);
        }
        self.memory = lexer.memory();
        if self.memory.is_doubtful() { Err(Unsure) } else { Ok(()) }
    }

    fn try_feed(&mut self, piece: &[u8], sink: &mut impl Sink) -> Result<(), Unsure> {
        let mut done = 0;
        if self.carried > 0 {
            match self.cross_seam(piece, sink)? {
                Some(of_piece) => done = of_piece,
                None => return Ok(()),
            }
        }
        let mut lexer = Lexer::resumed(piece, self.base, false, self.mode, self.memory);
        lexer.skip(done);
        while let Step::Token(token) = lexer.step()? {
            give(&lexer, &token, sink);
        }
        let rest = piece.get(lexer.at()..).unwrap_or_default();
        self.memory = lexer.memory();
        self.base += lexer.at();
        self.carried = rest.len();
        let seam = self.seam.get_mut(..rest.len()).ok_or(Unsure)?;
        seam.copy_from_slice(rest);
        Ok(())
    }

    /// Reads what is carried together with the beginning of a piece; how much of the piece is done
    /// with then. `None`: all of it, and it did not suffice.
    fn cross_seam(&mut self, piece: &[u8], sink: &mut impl Sink) -> Result<Option<usize>, Unsure> {
        let old = self.carried;
        let room = self.seam.get_mut(old..).unwrap_or_default();
        let taken = room.len().min(piece.len());
        let (Some(room), Some(bytes)) = (room.get_mut(..taken), piece.get(..taken)) else {
            return Err(Unsure);
        };
        room.copy_from_slice(bytes);
        let text = self.seam.get(..old + taken).unwrap_or_default();
        let mut lexer = Lexer::resumed(text, self.base, false, self.mode, self.memory);
        while lexer.at() < old {
            let Step::Token(token) = lexer.step()? else { break };
            give(&lexer, &token, sink);
        }
        let at = lexer.at();
        self.memory = lexer.memory();
        if let Some(of_piece) = at.checked_sub(old) {
            self.base += old;
            return Ok(Some(of_piece));
        }
        if taken < piece.len() {
            // More is carried than any token needs.
            return Err(Unsure);
        }
        self.seam.copy_within(at..old + taken, 0);
        self.carried = old + taken - at;
        self.base += at;
        Ok(None)
    }
}
