//! Whether a statement text is worth reading.
//!
//! Purpose: pass ordinary SELECT, INSERT, UPDATE, DELETE and REPLACE in one sweep of many bytes at a
//! time.
//! Never: overlook anything; a false alarm costs a reading.

/// Whether a text may hold anything [`crate::sql::Findings`] speaks of.
#[inline]
#[must_use]
pub fn may_matter(text: &[u8]) -> bool {
    !begins_ordinarily(text) || has_mark(text)
}

/// Whether the first word is one of those that do nothing to a connection by themselves.
#[inline]
fn begins_ordinarily(text: &[u8]) -> bool {
    let begins = |word: &[u8; 6]| {
        text.first_chunk::<6>().is_some_and(|first| first.eq_ignore_ascii_case(word))
            && text.get(6).is_some_and(|next| !next.is_ascii_alphanumeric())
    };
    match text.first().map(u8::to_ascii_lowercase) {
        Some(b's') => begins(b"select"),
        Some(b'i') => begins(b"insert"),
        Some(b'u') => begins(b"update"),
        Some(b'd') => begins(b"delete"),
        Some(b'r') => {
            text.first_chunk::<7>().is_some_and(|first| first.eq_ignore_ascii_case(b"replace"))
                && text.get(7).is_some_and(|next| !next.is_ascii_alphanumeric())
        }
        Some(_) | None => false,
    }
}

/// How many bytes are looked at together.
const STEP: usize = 32;

/// Whether there is a sign or the middle of a word that every finding has.
#[inline]
fn has_mark(text: &[u8]) -> bool {
    let mut padded = [0; STEP + 2];
    if text.len() <= STEP {
        for (to, from) in padded.iter_mut().zip(text) {
            *to = *from;
        }
        return has_mark(&padded);
    }
    let mut seen = [0; STEP];
    let mut look = |blocks: [&[u8]; 3]| {
        let [firsts, seconds, thirds] = blocks.map(|block| block.as_chunks::<STEP>().0);
        // The compiler makes vector instructions of this, which it cannot of a search that stops
        // early.
        for ((first, second), third) in firsts.iter().zip(seconds).zip(thirds) {
            for (((seen, a), b), c) in seen.iter_mut().zip(first).zip(second).zip(third) {
                *seen |= mark(*a, *b, *c);
            }
        }
    };
    let behind = |text, bytes| <[u8]>::get(text, bytes..).unwrap_or_default();
    look([text, behind(text, 1), behind(text, 2)]);
    // The last bytes, together with some that were seen; the very last has none behind it.
    for (to, from) in padded.iter_mut().zip(behind(text, text.len() - STEP - 1)) {
        *to = *from;
    }
    look([&padded, behind(&padded, 1), behind(&padded, 2)]);
    let last = text.last().map_or(0, |last| mark(*last, 0, 0));
    seen.iter().fold(last, |all, seen| all | seen) != 0
}

/// Whether three bytes may belong to something: `@`, `;`, `*!` and `M!` of versioned comments, and
/// - `_ro` `_co` `_in`: FOUND_ROWS, ROW_COUNT, LAST_INSERT_ID, SQL_CALC_FOUND_ROWS
/// - `_lo`: GET_LOCK, RELEASE_LOCK, IS_FREE_LOCK, IS_USED_LOCK, RELEASE_ALL_LOCKS, those of
///   services (`_LOCKS`) and of version tokens (`_LOCK_`, with `_TO` before the unlocking one)
/// - `tva` `rva` `xt` and no letter, `iou`: NEXTVAL, LASTVAL, CURRVAL, NEXT VALUE, PREVIOUS VALUE
#[inline]
const fn mark(a: u8, b: u8, c: u8) -> u8 {
    let (x, y, z) = (a | 0x20, b | 0x20, c | 0x20);
    let sign = (a == b'@') as u8
        | (a == b';') as u8
        | (b == b'!') as u8 & ((a == b'*') as u8 | (a == b'M') as u8);
    let word = (z == b'o') as u8
        & ((y == b'r') as u8 | (y == b'c') as u8 | (y == b'l') as u8 | (y == b't') as u8)
        | (z == b'n') as u8 & (y == b'i') as u8;
    let value = (z == b'a') as u8 & (y == b'v') as u8 & ((x == b't') as u8 | (x == b'r') as u8);
    let next = (x == b'x') as u8 & (y == b't') as u8 & (is_of_name(c) ^ 1);
    let previous = (x == b'i') as u8 & (y == b'o') as u8 & (z == b'u') as u8;
    sign | (a == b'_') as u8 & word | value | next | previous
}

/// 1 or 0. Letters are told by one comparison each, without their capital bit.
#[inline]
const fn is_of_name(byte: u8) -> u8 {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    letter as u8 | digit as u8 | (byte == b'_') as u8
}
