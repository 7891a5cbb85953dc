//! Attributes of a query: what may stand before the text of a COM_QUERY.
//!
//! Purpose: find where the text begins.
//! Never: read an attribute.
//!
//! ```text
//! 03 | count lenenc | sets lenenc (1) | count > 0: NULL bitmap (count + 7) / 8, types follow 1 (1),
//!    | per attribute: type 2, name length-encoded; then the values | text
//! ```

use crate::wire::capability::Capabilities;
use crate::wire::reader::{Malformed, Reader};

/// Where the text begins in the payload of a COM_QUERY of a client with `capabilities`.
///
/// # Errors
/// The attributes end early, or one is of an unknown type.
#[inline]
pub fn query_text_at(payload: &[u8], capabilities: Capabilities) -> Result<usize, Malformed> {
    if !capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(1);
    }
    match payload {
        // As most queries begin.
        [_, 0, 1, ..] => Ok(3),
        _ => behind_attributes(payload),
    }
}

fn behind_attributes(payload: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader::named(payload, "attributes of a query end early");
    reader.u8()?;
    let count = reader.lenenc_int()?;
    reader.lenenc_int()?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > 0 {
        skip_attributes(&mut reader, count)?;
    }
    Ok(payload.len() - reader.remaining().len())
}

fn skip_attributes(reader: &mut Reader<'_>, count: usize) -> Result<(), Malformed> {
    let nulls = reader.bytes(count.div_ceil(8))?;
    if reader.u8()? != 1 {
        return Err(Malformed::new("attributes of a query without types"));
    }
    let head = *reader;
    for _ in 0..count {
        reader.u16()?;
        reader.lenenc_bytes()?;
    }
    let mut types = head;
    for index in 0..count {
        let [kind, _] = types.array()?;
        types.lenenc_bytes()?;
        let null = nulls.get(index / 8).is_some_and(|bits| bits & (1 << (index % 8)) != 0);
        if !null {
            skip_value(reader, kind)?;
        }
    }
    Ok(())
}

/// Skips a value of the binary protocol.
fn skip_value(reader: &mut Reader<'_>, kind: u8) -> Result<(), Malformed> {
    match kind {
        // NULL.
        0x06 => {}
        // TINY, BOOL.
        0x01 | 0xF4 => drop(reader.bytes(1)?),
        // SHORT, YEAR.
        0x02 | 0x0D => drop(reader.bytes(2)?),
        // LONG, FLOAT, INT24.
        0x03 | 0x04 | 0x09 => drop(reader.bytes(4)?),
        // DOUBLE, LONGLONG.
        0x05 | 0x08 => drop(reader.bytes(8)?),
        // TIMESTAMP, DATE, TIME, DATETIME.
        0x07 | 0x0A | 0x0B | 0x0C => {
            let length = reader.u8()?;
            reader.bytes(usize::from(length))?;
        }
        // VARCHAR, BIT, JSON, DECIMAL, ENUM, SET, BLOBs, strings, GEOMETRY.
        0x00 | 0x0F | 0x10 | 0xF5..=0xFF => drop(reader.lenenc_bytes()?),
        _ => return Err(Malformed::new("an attribute of a query has an unknown type")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    #[test]
    fn the_text_is_behind_the_attributes() {
        assert_eq!(query_text_at(b"\x03SELECT 1", Capabilities::NONE), Ok(1));
        assert_eq!(query_text_at(b"\x03\0\x01SELECT 1", NEW), Ok(3));
        // A string, a NULL string, a number and a date.
        let mut payload = b"\x03\x04\x01\x02\x01".to_vec();
        for (kind, name) in [(0xFE, "a"), (0xFE, "bb"), (0x08, "n"), (0x0A, "d")] {
            payload.extend([kind, 0, u8::try_from(name.len()).unwrap()]);
            payload.extend(name.as_bytes());
        }
        payload.extend(b"\x03xyz\x08\0\0\0\0\0\0\0\x04\xE8\x07\x01\x02");
        let at = payload.len();
        payload.extend(b"SELECT 1");
        assert_eq!(query_text_at(&payload, NEW), Ok(at));
        for cut in 1..at {
            assert!(query_text_at(&payload[..cut], NEW).is_err(), "cut at {cut}");
        }
        let mut unknown = payload.clone();
        unknown[5] = 0x20;
        assert!(query_text_at(&unknown, NEW).is_err());
        assert!(query_text_at(b"\x03\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", NEW).is_err());
    }
}
