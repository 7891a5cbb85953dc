//! What stands below MySQL's packets: the compressed protocol and the PROXY protocol.
//!
//! Purpose: any bytes in pieces come to what the whole comes to, in bounded memory.
//! Never: judge the bytes.

use bytes::BytesMut;

use crate::wire::compress::{Algorithm, Codec, Engines};
use crate::wire::proxy::{self, HEADER_BYTES_MAX};
use crate::wire::{Malformed, Side};

/// Envelopes from either side, whole and in pieces; then the same bytes as plain ones, there and
/// back. The first byte has the size of the pieces and the algorithm.
///
/// # Panics
/// Pieces come to something else than the whole, or what was compressed does not read back.
pub fn compress(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let piece = usize::from(first >> 2) + 1;
    let algorithm = if first & 1 == 0 { Algorithm::Zlib } else { Algorithm::Zstd { level: 1 } };
    let far = if first & 2 == 0 { Side::Client } else { Side::Backend };
    let mut engines = Engines::default();
    let whole = inflate(&mut engines, algorithm, far, data, usize::MAX, 1 << 24);
    let pieces = inflate(&mut engines, algorithm, far, data, piece, 64);
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert_eq!(whole.ok(), pieces.ok(), "pieces come to something else");
    }

    let mut envelopes = BytesMut::new();
    let mut client = Codec::new(algorithm, Side::Backend);
    for plain in data.chunks(piece * 16) {
        client.compress(&mut engines, plain, &mut envelopes);
    }
    assert!(envelopes.len() <= data.len() * 8 + 7, "{} from {}", envelopes.len(), data.len());
    let back = inflate(&mut engines, algorithm, Side::Client, &envelopes, piece * 7, 1 << 24);
    let Some(back) = back else { return };
    assert!(back.is_ok(), "what was compressed is refused");
    let back = back.unwrap_or_default();
    // A header that is cut waits for its rest; numbers are the reader's business.
    assert!(back.len() <= data.len() && data.len() - back.len() <= 3, "bytes were lost");
    assert_eq!(without_numbers(&back), without_numbers(data.get(..back.len()).unwrap_or_default()));
}

/// `None`: there was too much to go on.
fn inflate(
    engines: &mut Engines,
    algorithm: Algorithm,
    far: Side,
    data: &[u8],
    piece: usize,
    bytes_max: usize,
) -> Option<Result<Vec<u8>, Malformed>> {
    let mut codec = Codec::new(algorithm, far);
    let mut plain = BytesMut::new();
    for bytes in data.chunks(piece) {
        codec.push(bytes);
        loop {
            let before = plain.len();
            let more = codec.next_plain(engines, bytes_max, &mut plain);
            assert!(plain.len() - before <= bytes_max, "more than was asked for");
            match more {
                Ok(true) if plain.len() < PLAIN_BYTES_MAX => {}
                Ok(true) => return None,
                Ok(false) => break,
                Err(malformed) => return Some(Err(malformed)),
            }
        }
    }
    (plain.len() < PLAIN_BYTES_MAX).then(|| Ok(plain.to_vec()))
}

/// The header that a balancer sends first.
///
/// # Panics
/// More bytes change what was decided, or what was read does not read back.
pub fn proxy(data: &[u8]) {
    let whole = proxy::parse(data);
    assert!(whole != Ok(None) || data.len() < HEADER_BYTES_MAX, "a header without end");
    for cut in 0..data.len().min(HEADER_BYTES_MAX) {
        let part = proxy::parse(data.get(..cut).unwrap_or_default());
        assert!(part == Ok(None) || part == whole, "more bytes change the answer");
    }
    let Ok(Some((origin, length))) = whole else { return };
    assert!(length <= data.len() && length <= HEADER_BYTES_MAX, "a header past its bytes");
    let mut out = BytesMut::new();
    proxy::encode(origin, &mut out);
    let again = proxy::parse(&out);
    let expected = if origin == proxy::Origin::Unix { proxy::Origin::Itself } else { origin };
    assert_eq!(again, Ok(Some((expected, out.len()))), "what was encoded reads back otherwise");
}

/// The stream of packets with their sequence ids taken out.
fn without_numbers(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [a, b, c, _, rest @ ..] = bytes {
        let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
        let (body, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        out.extend_from_slice(&[*a, *b, *c]);
        out.extend_from_slice(body);
        bytes = after;
    }
    out
}

/// Beyond this a bomb has been shown to be harmless.
const PLAIN_BYTES_MAX: usize = 1 << 20;
