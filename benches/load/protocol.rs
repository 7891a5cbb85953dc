//! The little of MySQL's protocol a load needs.
//!
//! Purpose: frames, capabilities and the few packets both ends of the load write.
//! Never: use the engine's codecs: this is the second opinion on them.

use std::ops::Range;

/// Capability bits, as in the greeting and the login request.
pub mod capability {
    /// Plugin-independent base of every client since 5.0.
    pub const LONG_PASSWORD: u32 = 1;
    /// Longer column flags.
    pub const LONG_FLAG: u32 = 1 << 2;
    /// A database in the login request.
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// The 4.1 protocol.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// TLS.
    pub const SSL: u32 = 1 << 11;
    /// Transaction status flags.
    pub const TRANSACTIONS: u32 = 1 << 13;
    /// 20-byte nonces.
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    /// Several statements in one command.
    pub const MULTI_STATEMENTS: u32 = 1 << 16;
    /// Several results for one statement.
    pub const MULTI_RESULTS: u32 = 1 << 17;
    /// The same for prepared statements.
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    /// Named authentication plugins.
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    /// Attributes in the login request.
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    /// Length-encoded authentication data in the login request.
    pub const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    /// Session trackers in OK packets.
    pub const SESSION_TRACK: u32 = 1 << 23;
    /// OK instead of EOF at the end of rows, nothing at the end of columns.
    pub const DEPRECATE_EOF: u32 = 1 << 24;
}

/// Status flag: more results follow.
pub const MORE_RESULTS: u16 = 0x0008;
/// Status flag: autocommit is on.
pub const AUTOCOMMIT: u16 = 0x0002;
/// Largest payload of one frame, plus one: a payload this long has a follower.
pub const PAYLOAD_MAX: usize = 0xFF_FFFF;
/// Bytes before each payload: length (3, little-endian) and sequence id.
pub const HEADER: usize = 4;

/// Appends one frame. The payload must be shorter than [`PAYLOAD_MAX`].
///
/// # Errors
/// A payload that would need a follower.
pub fn put_frame(out: &mut Vec<u8>, seq: u8, payload: &[u8]) -> Result<(), TooLong> {
    let length = u32::try_from(payload.len()).map_err(|_| TooLong)?;
    if payload.len() >= PAYLOAD_MAX {
        return Err(TooLong);
    }
    let [a, b, c, _] = length.to_le_bytes();
    out.extend_from_slice(&[a, b, c, seq]);
    out.extend_from_slice(payload);
    Ok(())
}

/// A payload of 16 MiB − 1 or more, which the load never sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("payload of 16 MiB - 1 or more")
    }
}

impl std::error::Error for TooLong {}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    let (prefix, size) = match value {
        0..=0xFA => (None, 1),
        0xFB..=0xFFFF => (Some(0xFC), 2),
        0x1_0000..=0xFF_FFFF => (Some(0xFD), 3),
        _ => (Some(0xFE), 8),
    };
    out.extend(prefix);
    out.extend(bytes.iter().take(size));
}

/// Appends a length-encoded string.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_lenenc(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Payload length and sequence id of a frame header.
#[must_use]
pub fn header(bytes: [u8; HEADER]) -> (usize, u8) {
    let [a, b, c, seq] = bytes;
    (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16, seq)
}

/// The first whole frame of `bytes`: sequence id, where its payload is, and where it ends.
#[must_use]
pub fn first_frame(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (length, seq) = header(*bytes.first_chunk()?);
    let end = HEADER + length;
    (bytes.len() >= end).then_some((seq, HEADER..end))
}

/// Reads little-endian fields off the front of a payload; `None` where the payload is too short.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.bytes(2)?.first_chunk()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes(4)?.first_chunk()?))
    }

    /// A length-encoded integer.
    pub fn lenenc(&mut self) -> Option<u64> {
        let size = match self.u8()? {
            0xFC => 2,
            0xFD => 3,
            0xFE => 8,
            0xFB | 0xFF => return None,
            small => return Some(u64::from(small)),
        };
        let taken = self.bytes(size)?;
        let mut wide = [0; 8];
        wide.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        Some(u64::from_le_bytes(wide))
    }

    /// Bytes up to a NUL, which is skipped.
    pub fn nul_bytes(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let taken = self.bytes(end)?;
        self.u8()?;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenenc_round_trip() {
        for value in [0, 250, 251, 0xFFFF, 0x1_0000, 0xFF_FFFF, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            let mut fields = Fields(&out);
            assert_eq!(fields.lenenc(), Some(value));
            assert!(fields.0.is_empty());
        }
        assert_eq!(Fields(&[0xFC, 1]).lenenc(), None);
    }

    #[test]
    fn frames_are_found_only_when_whole() {
        let mut out = Vec::new();
        put_frame(&mut out, 7, b"abc").unwrap();
        for cut in 0..out.len() {
            assert_eq!(first_frame(&out[..cut]), None);
        }
        assert_eq!(first_frame(&out), Some((7, 4..7)));
        assert_eq!(put_frame(&mut out, 0, &vec![0; PAYLOAD_MAX]), Err(TooLong));
    }
}
