//! SHOW PROCESSLIST.
//!
//! Purpose: know the statement whose answer names connections by number.
//! Never: know it among other statements of one text, or prepared in SQL: those answers are the
//! server's own.

use crate::sql::connections::is;
use crate::sql::lex::{Kind, Lexer, Token};
use crate::sql::mode::LexMode;

/// Whether a text may begin with it.
pub(super) fn may_begin(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text, LexMode::unknown(true));
    // Whoever reads all of it will tell what cannot be told here.
    let mut next = || lexer.next_token().unwrap_or_default();
    let is_show = next().is_some_and(|token| is_word(text, token, b"SHOW"));
    is_show
        && next().is_some_and(|token| {
            is_word(text, token, b"PROCESSLIST") || is_word(text, token, b"FULL")
        })
}

/// Whether it is all there is in a text of those tokens.
pub(super) fn is_all(text: &[u8], tokens: &[Token]) -> bool {
    let is = |token: &Token, word: &[u8]| is_word(text, *token, word);
    let rest = match tokens {
        [show, list, rest @ ..] if is(show, b"SHOW") && is(list, b"PROCESSLIST") => rest,
        [show, full, list, rest @ ..]
            if is(show, b"SHOW") && is(full, b"FULL") && is(list, b"PROCESSLIST") =>
        {
            rest
        }
        _ => return false,
    };
    rest.iter().all(|token| token.kind == Kind::Sign(b';'))
}

fn is_word(text: &[u8], token: Token, word: &[u8]) -> bool {
    token.kind == Kind::Word && is(text, token, word)
}
