//! Whether an answer is nothing but an error.
//!
//! Purpose: see it before any of it has gone to the client: also behind the definitions of columns,
//! which a server sends before it begins to run a statement.
//! Never: hold anything: an answer whose head is not all there is not looked at.

use crate::wire::Capabilities;
use crate::wire::error::ErrPacket;
use crate::wire::frame::{HEADER_BYTES, Header};
use crate::wire::prepared::DEFINITIONS_LEFT_OUT;
use crate::wire::reader::Reader;
use crate::wire::reply::control::FLAGGED_COUNT;
use crate::wire::reply::{EOF, ERR, INFILE, OK};

/// The number of the error that this answer of a server is, and all of it: none of it are rows.
#[must_use]
pub fn refusal(answer: &[u8], backend: Capabilities) -> Option<u16> {
    // Most answers have no such byte.
    memchr::memchr(ERR, answer)?;
    let (first, mut rest) = split(answer)?;
    let columns = match *first.first()? {
        ERR => return error(first, rest),
        OK | EOF | INFILE => return None,
        _ => {
            let mut reader = Reader::new(first);
            let count = reader.lenenc_int().ok()?;
            let left_out =
                backend.intersects(FLAGGED_COUNT) && reader.u8() == Ok(DEFINITIONS_LEFT_OUT);
            if left_out { 0 } else { count }
        }
    };
    let eof = u64::from(!backend.contains(Capabilities::DEPRECATE_EOF));
    for _ in 0..columns.checked_add(eof)? {
        rest = split(rest)?.1;
    }
    let (payload, rest) = split(rest)?;
    if payload.first() == Some(&ERR) { error(payload, rest) } else { None }
}

fn error(payload: &[u8], rest: &[u8]) -> Option<u16> {
    let error = ErrPacket::parse(payload).ok()?;
    rest.is_empty().then_some(error.code)
}

/// The payload of the first frame, and what is behind it.
fn split(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = Header::peek(frames)?;
    frames.get(HEADER_BYTES..)?.split_at_checked(header.payload_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata::recordings;
    use crate::wire::frame;
    use bytes::{BufMut, BytesMut};

    fn answer(frames: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        for (seq, payload) in (1..).zip(frames) {
            frame(&mut out, seq, |out| out.put_slice(payload));
        }
        out
    }

    const REFUSED: &[u8] = b"\xFF\x0A\x05#HY000read-only";

    #[test]
    fn an_error_is_found_alone_and_behind_definitions() {
        let new = Capabilities::DEPRECATE_EOF;
        let old = Capabilities::NONE;
        assert_eq!(refusal(&answer(&[REFUSED]), new), Some(1290));
        let definition = b"\x03def and more".as_slice();
        let eof = b"\xFE\0\0\x02\0".as_slice();
        let two = answer(&[b"\x02", definition, definition, REFUSED]);
        assert_eq!(refusal(&two, new), Some(1290));
        assert_eq!(refusal(&two, old), None, "an EOF belongs before it");
        let with_eof = answer(&[b"\x01", definition, eof, REFUSED]);
        assert_eq!(refusal(&with_eof, old), Some(1290));
        for end in 0..two.len() {
            assert_eq!(refusal(&two[..end], new), None, "{end}");
        }
        let rows = answer(&[b"\x01", definition, b"\x01\xFF", REFUSED]);
        assert_eq!(refusal(&rows, new), None, "a row has come");
        let more = answer(&[b"\x01", definition, REFUSED, REFUSED]);
        assert_eq!(refusal(&more, new), None, "something is behind it");
    }

    #[test]
    fn no_recorded_answer_is_taken_for_another_error() {
        let mut refused = 0;
        for recording in recordings() {
            let found = refusal(&recording.bytes, Capabilities::DEPRECATE_EOF);
            let mut last = (&[][..], recording.bytes.as_slice());
            while let Some(next) = split(last.1) {
                last = next;
            }
            let error = ErrPacket::parse(last.0).map(|error| error.code);
            let is_error = last.0.first() == Some(&ERR);
            assert!(found.is_none() || is_error && found == error.ok(), "{}", recording.name);
            refused += usize::from(found.is_some());
        }
        assert!(refused > 3, "of the recordings some are errors");
    }
}
