//! Bodies of stored programs.
//!
//! Purpose: find where a CREATE that has statements inside ends, in a text of several statements.
//! Never: find anything in a body: it runs later, and its CALL is what counts.
//!
//! Blocks are counted by the words that open and close them. A word counted too often leaves a block
//! open at the end of the text, one counted too rarely is an END too many: both are unsure.

use super::{Piece, Scan};
use crate::sql::findings::Flags;
use crate::sql::lex::Kind;
use crate::sql::words::Word;

/// Blocks inside each other; more are unsure.
const BLOCKS_MAX: u32 = 64;

/// A body, as far as it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Body {
    is_open: bool,
    /// Open blocks.
    blocks: u32,
    /// One bit for each of them: it is a CASE in an expression.
    expressions: u64,
    /// A statement may begin here.
    at_start: bool,
    /// The word before was END.
    ended: bool,
}

impl Body {
    pub(super) const fn open(&mut self) {
        self.is_open = true;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// A semicolon here ends no statement of the text.
    pub(super) const fn is_in_block(&self) -> bool {
        self.blocks > 0
    }

    /// Nothing is open.
    pub(super) const fn is_over(&self) -> bool {
        self.blocks == 0
    }

    const fn is_in_expression(&self) -> bool {
        self.expressions & 1 != 0
    }

    const fn begin(&mut self, is_expression: bool) {
        self.blocks += 1;
        self.expressions = self.expressions << 1 | is_expression as u64;
    }

    const fn end(&mut self) {
        self.blocks -= 1;
        self.expressions >>= 1;
    }
}

impl Scan {
    /// A token of a body.
    pub(super) fn in_body(&mut self, piece: &Piece) {
        let body = &mut self.body;
        let (was_start, was_end) = (body.at_start, body.ended);
        body.ended = false;
        body.at_start = match piece.kind {
            Kind::Word => {
                let starts = !body.is_in_expression();
                match piece.word {
                    // END IF, END CASE and so on.
                    Word::If | Word::Case | Word::Loop | Word::Repeat | Word::While | Word::For
                        if was_end =>
                    {
                        false
                    }
                    Word::Begin => {
                        body.begin(false);
                        true
                    }
                    Word::Case => {
                        body.begin(!was_start);
                        false
                    }
                    Word::Loop | Word::Repeat if was_start => {
                        body.begin(false);
                        true
                    }
                    Word::If | Word::While | Word::For if was_start => {
                        body.begin(false);
                        false
                    }
                    Word::End if body.blocks == 0 => {
                        self.found.flags |= Flags::UNSURE;
                        false
                    }
                    Word::End => {
                        body.end();
                        body.ended = true;
                        false
                    }
                    Word::Then | Word::Else | Word::Do => starts,
                    Word::Row => body.blocks == 0,
                    _ => false,
                }
            }
            Kind::Sign(b';' | b':') => true,
            Kind::Sign(b')') => body.blocks == 0,
            Kind::Number
            | Kind::Hex
            | Kind::Quoted
            | Kind::Text
            | Kind::Variable
            | Kind::System
            | Kind::Assign
            | Kind::Sign(_) => false,
        };
        if self.body.blocks > BLOCKS_MAX - 1 {
            self.found.flags |= Flags::UNSURE;
            self.body.blocks = BLOCKS_MAX - 1;
        }
    }
}
