//! Writing frames and their fields.
//!
//! Purpose: the header, its length and the splitting of long payloads in one place.
//! Never: send, or decide what is in a packet.

use bytes::{BufMut, BytesMut};

use crate::wire::frame::PAYLOAD_BYTES_MAX;

/// Appends a packet whose payload `body` writes, with sequence id `seq`.
///
/// A payload of [`PAYLOAD_BYTES_MAX`] bytes or more becomes several frames with rising sequence
/// ids, the last one shorter than the maximum and possibly empty. `body` must only append.
pub fn frame(out: &mut BytesMut, seq: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, 4);
    body(out);
    let payload_len = out.len().saturating_sub(start + 4);
    if payload_len < PAYLOAD_BYTES_MAX {
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&header(payload_len, seq));
        }
        return;
    }
    let payload = out.split_off(start + 4);
    out.truncate(start);
    let mut seq = seq;
    let mut rest: &[u8] = &payload;
    loop {
        let (piece, after) = rest.split_at_checked(PAYLOAD_BYTES_MAX).unwrap_or((rest, &[]));
        out.put_slice(&header(piece.len(), seq));
        out.put_slice(piece);
        if piece.len() < PAYLOAD_BYTES_MAX {
            return;
        }
        rest = after;
        seq = seq.wrapping_add(1);
    }
}

/// A frame's four bytes: length, three bytes little-endian, and sequence id.
fn header(payload_len: usize, seq: u8) -> [u8; 4] {
    let [a, b, c, ..] = payload_len.to_le_bytes();
    [a, b, c, seq]
}

/// Appends the three low bytes of `value`, little-endian.
pub fn put_u24(out: &mut BytesMut, value: u32) {
    let [a, b, c, _] = value.to_le_bytes();
    out.put_slice(&[a, b, c]);
}

/// Appends a length-encoded integer in its shortest form.
pub fn put_lenenc_int(out: &mut BytesMut, value: u64) {
    let [a, b, c, ..] = value.to_le_bytes();
    match value {
        0..=0xFA => out.put_u8(a),
        0xFB..=0xFFFF => out.put_slice(&[0xFC, a, b]),
        0x1_0000..=0xFF_FFFF => out.put_slice(&[0xFD, a, b, c]),
        0x100_0000.. => {
            out.put_u8(0xFE);
            out.put_u64_le(value);
        }
    }
}

/// Appends `bytes` behind their length-encoded length.
pub fn put_lenenc_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_lenenc_int(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Appends `bytes` and a NUL. What follows a NUL inside `bytes` is left out: it would be read as
/// the next field.
pub fn put_nul_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    out.put_slice(bytes.get(..end).unwrap_or(bytes));
    out.put_u8(0);
}
