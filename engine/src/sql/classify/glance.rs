//! Statements of which a look at their bytes decides.
//!
//! Purpose: pass ordinary SELECT, INSERT, UPDATE, DELETE and REPLACE in a sweep of many bytes at a
//! time.
//! Never: tell strings from code. What is nowhere in the bytes is nowhere in the code; anything else
//! is left to the lexer.

use crate::sql::classify::functions::{Effect, effect};
use crate::sql::classify::{Class, Reason};
use crate::sql::mode::Server;

/// Class and reason of a text that has no [`super::Marks`] and no comments; of writes, none but
/// those that are their own.
#[inline]
pub(super) fn decided(text: &[u8], server: Server) -> Option<(Class, Reason)> {
    let begins = |word: &[u8]| {
        text.get(..word.len()).is_some_and(|first| first.eq_ignore_ascii_case(word))
            && text.get(word.len()).is_some_and(|next| !is_of_name(*next))
    };
    match text.first()? | 0x20 {
        b's' if begins(b"SELECT") && !sweep(text, mark_of_read) && calls_harmless(text, server) => {
            Some((Class::Read, Reason::PlainRead))
        }
        b'i' | b'u' | b'd' | b'r' => {
            let words: [&[u8]; 4] = [b"INSERT", b"UPDATE", b"DELETE", b"REPLACE"];
            let writes = words.iter().any(|word| begins(word)) && !sweep(text, mark_of_text);
            writes.then_some((Class::Write, Reason::Write))
        }
        _ => None,
    }
}

/// Whether every name before a parenthesis is that of a harmless function, or a keyword.
#[inline]
fn calls_harmless(text: &[u8], server: Server) -> bool {
    memchr::memchr_iter(b'(', text).all(|at| {
        let before = text.get(..at).unwrap_or_default();
        let trimmed = before.trim_ascii_end();
        let Some(last) = trimmed.last() else { return true };
        if !is_of_name(*last) {
            // Quotation marks may be those of a name.
            return !matches!(last, b'"' | b'\'' | b'`' | 0x0B) && !ends_in_half(trimmed);
        }
        let from = trimmed.iter().rposition(|byte| !is_of_name(*byte)).map_or(0, |at| at + 1);
        let (rest, name) = trimmed.split_at_checked(from).unwrap_or_default();
        let blank = trimmed.len() != before.len();
        effect(name, server, blank) == Effect::Harmless
            && !matches!(rest.trim_ascii_end().last(), Some(b'.' | 0x0B))
            && !ends_in_half(rest)
    })
}

/// Whether a sign at the end may be the second half of a letter, and so a part of a name.
const fn ends_in_half(bytes: &[u8]) -> bool {
    matches!(bytes, [.., 0x80..=0xFF, b'@' | b'['..=b'^' | b'`' | b'{'..=b'~'])
}

/// How many bytes are looked at together.
const STEP: usize = 32;

/// Whether there is a mark somewhere.
#[inline]
fn sweep(text: &[u8], mark: impl Fn(u8, u8, u8, u8) -> u8) -> bool {
    let mut seen = [0; STEP];
    let mut look = |text: &[u8]| {
        let behind = |bytes| <[u8]>::get(text, bytes..).unwrap_or_default().as_chunks::<STEP>().0;
        // The compiler makes vector instructions of this, which it cannot of a search that stops
        // early.
        for (((first, second), third), fourth) in
            behind(0).iter().zip(behind(1)).zip(behind(2)).zip(behind(3))
        {
            let letters = first.iter().zip(second).zip(third).zip(fourth);
            for (seen, (((a, b), c), d)) in seen.iter_mut().zip(letters) {
                *seen |= mark(*a, *b, *c, *d);
            }
        }
    };
    if let Some(last) = text.last_chunk::<{ STEP + 3 }>() {
        look(text);
        // The last ones, together with some that were seen.
        look(last);
    } else {
        let mut padded = [0; 2 * STEP + 3];
        for (to, from) in padded.iter_mut().zip(text) {
            *to = *from;
        }
        look(&padded);
    }
    // Those with less than three behind them.
    let [.., a, b, c] = text else { return true };
    let ends = mark(*a, *b, *c, 0) | mark(*b, *c, 0, 0) | mark(*c, 0, 0, 0);
    seen.iter().fold(ends, |all, seen| all | seen) != 0
}

/// Whether four bytes may belong to something that keeps a read from replicas, or to a comment:
/// - `;` `@` `#` `/*` `--` `:=`
/// - `nto` of INTO, `for` of FOR UPDATE and VALUE FOR, `lock`, `_cal` of SQL_CALC_FOUND_ROWS
/// - `_sch` and `ysql` of the server's own schemas, `sys`, each of the last without a letter behind it
/// - `xtva`, `rrva` of sequences
#[inline]
const fn mark_of_read(a: u8, b: u8, c: u8, d: u8) -> u8 {
    let (w, x, y, z) = (a | 0x20, b | 0x20, c | 0x20, d | 0x20);
    let o = (x == b'o') as u8
        & ((w == b'f') as u8 & (y == b'r') as u8 & not_a_letter(z)
            | (w == b'l') as u8 & (y == b'c') as u8 & (z == b'k') as u8);
    let into = (w == b'n') as u8 & (x == b't') as u8 & (y == b'o') as u8 & not_a_letter(z);
    let schema = (a == b'_') as u8
        & ((x == b's') as u8 & (y == b'c') as u8 & (z == b'h') as u8
            | (x == b'c') as u8 & (y == b'a') as u8 & (z == b'l') as u8);
    let own = (y == b's') as u8 & (w == b's') as u8 & (x == b'y') as u8 & not_a_letter(z)
        | (w == b'y') as u8 & (x == b's') as u8 & (y == b'q') as u8 & (z == b'l') as u8;
    let sequence = (y == b'v') as u8
        & (z == b'a') as u8
        & ((w == b'x') as u8 & (x == b't') as u8 | (w == b'r') as u8 & (x == b'r') as u8);
    let assign = (a == b':') as u8 & (b == b'=') as u8;
    mark_of_text(a, b, c, d) | (a == b'@') as u8 | assign | o | into | schema | own | sequence
}

/// Whether bytes may belong to a comment, or end a statement: `;` `#` `/*` `--`
#[inline]
const fn mark_of_text(a: u8, b: u8, _: u8, _: u8) -> u8 {
    (a == b';') as u8
        | (a == b'#') as u8
        | (a == b'/') as u8 & (b == b'*') as u8
        | (a == b'-') as u8 & (b == b'-') as u8
}

/// 1 or 0, of a byte without its capital bit.
#[inline]
const fn not_a_letter(byte: u8) -> u8 {
    (byte.wrapping_sub(b'a') >= 26) as u8
}

/// A byte of an unquoted name.
const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}
