//! Plain bytes to envelopes.
//!
//! Purpose: put packets into envelopes that begin where commands and answers begin.
//! Never: keep plain bytes, but for up to three of a header that was cut.

use bytes::{BufMut, BytesMut};

use super::engines::Engines;
use super::order::Order;
use super::{Algorithm, HEADER_BYTES, PACKED_BYTES_MIN, PIECE_BYTES};
use crate::wire::frame;

/// Puts `plain` into envelopes, appended to `out`.
pub(super) fn deflate(
    algorithm: Algorithm,
    order: &mut Order,
    engines: &mut Engines,
    plain: &[u8],
    out: &mut BytesMut,
) {
    let mut piece = std::mem::take(&mut engines.piece);
    piece.clear();
    let mut rest = plain;
    loop {
        let count = order.take_body(rest.len().min(PIECE_BYTES.saturating_sub(piece.len())));
        let (body, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        piece.extend_from_slice(body);
        rest = after;
        if piece.len() >= PIECE_BYTES {
            flush(algorithm, order, engines, &mut piece, out);
            continue;
        }
        if count > 0 {
            continue;
        }
        let Some(header) = order.take_head(&mut rest) else { break };
        let begins = order.begins(header);
        let packet_bytes = frame::HEADER_BYTES + header.payload_bytes;
        if begins.is_some() || piece.len() + frame::HEADER_BYTES > PIECE_BYTES {
            flush(algorithm, order, engines, &mut piece, out);
        }
        let is_whole =
            piece.is_empty() && header.payload_bytes <= rest.len() && packet_bytes <= PIECE_BYTES;
        piece.extend_from_slice(&order.number_out(header, begins, is_whole));
    }
    flush(algorithm, order, engines, &mut piece, out);
    engines.piece = piece;
}

/// Closes an envelope; nothing in it is nothing to send.
fn flush(
    algorithm: Algorithm,
    order: &mut Order,
    engines: &mut Engines,
    piece: &mut Vec<u8>,
    out: &mut BytesMut,
) {
    if piece.is_empty() {
        return;
    }
    let seq = order.envelope();
    let start = out.len();
    let packed = if piece.len() < PACKED_BYTES_MIN {
        None
    } else {
        // What does not get shorter is stored.
        out.resize(start + HEADER_BYTES + piece.len() - 1, 0);
        let room = out.get_mut(start + HEADER_BYTES..).unwrap_or_default();
        engines.pack(algorithm, piece, room)
    };
    match packed {
        Some(bytes) => {
            out.truncate(start + HEADER_BYTES + bytes);
            if let Some(place) = out.get_mut(start..start + HEADER_BYTES) {
                place.copy_from_slice(&header(bytes, seq, piece.len()));
            }
        }
        None => {
            out.truncate(start);
            out.put_slice(&header(piece.len(), seq, 0));
            out.put_slice(piece);
        }
    }
    piece.clear();
}

/// Both lengths are at most [`PIECE_BYTES`].
const fn header(bytes: usize, seq: u8, plain: usize) -> [u8; HEADER_BYTES] {
    let [a, b, c, ..] = bytes.to_le_bytes();
    let [x, y, z, ..] = plain.to_le_bytes();
    [a, b, c, seq, x, y, z]
}
