//! The responder's replies, built once.
//!
//! Purpose: turn a command into bytes with a look-up, so that the server costs as little as it can.
//! Never: interpret SQL beyond the few words the benchmark uses.

use std::collections::HashMap;
use std::sync::Arc;

use crate::login::{NATIVE, NONCE, Profile};
use crate::protocol::{AUTOCOMMIT, TooLong, capability, put_frame, put_lenenc, put_lenenc_bytes};

/// How a row's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Replies to `COM_QUERY`.
    Text,
    /// Replies to `COM_STMT_EXECUTE`.
    Binary,
}

/// Replies by what they depend on.
#[derive(Debug, Default)]
pub struct Answers {
    results: HashMap<(Encoding, Profile, usize), Arc<[u8]>>,
}

impl Answers {
    /// The result set with one value of `size` bytes; `None` if it would need several frames.
    pub fn cached(
        &mut self,
        encoding: Encoding,
        profile: Profile,
        size: usize,
    ) -> Option<Arc<[u8]>> {
        if let Some(reply) = self.results.get(&(encoding, profile, size)) {
            return Some(Arc::clone(reply));
        }
        let reply: Arc<[u8]> = Self::result(encoding, profile, size).ok()?.into();
        self.results.insert((encoding, profile, size), Arc::clone(&reply));
        Some(reply)
    }

    /// The result set with one column and one row, whose value has `size` bytes.
    ///
    /// # Errors
    /// A value that does not fit one frame.
    pub fn result(encoding: Encoding, profile: Profile, size: usize) -> Result<Vec<u8>, TooLong> {
        let mut reply = Vec::with_capacity(size + 96);
        put_frame(&mut reply, 1, &[1])?;
        put_frame(&mut reply, 2, &column(b"c"))?;
        let mut seq = 3;
        if profile == Profile::Classic {
            put_eof(&mut reply, seq)?;
            seq += 1;
        }
        put_frame(&mut reply, seq, &Self::row(encoding, &Self::value(encoding, size)))?;
        match profile {
            Profile::Modern => put_frame(&mut reply, seq + 1, &ok_payload(0xFE))?,
            Profile::Classic => put_eof(&mut reply, seq + 1)?,
        }
        Ok(reply)
    }

    /// The row payload holding one value.
    #[must_use]
    pub fn row(encoding: Encoding, value: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(value.len() + 16);
        if encoding == Encoding::Binary {
            // Packet header and the NULL bitmap of one column.
            row.extend([0, 0]);
        }
        put_lenenc_bytes(&mut row, value);
        row
    }

    /// The value of `size` bytes: printable, and without a period, so that bytes moved or swapped
    /// anywhere in it are seen.
    #[must_use]
    pub fn value(encoding: Encoding, size: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_u32 ^ u32::from(encoding == Encoding::Binary);
        let mut value = Vec::with_capacity(size);
        for _ in 0..size {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let [byte, ..] = state.to_be_bytes();
            value.push(b' ' + byte % 95);
        }
        value
    }

    /// The value bytes that make a modern client's reply 120 bytes long.
    #[must_use]
    pub fn small(encoding: Encoding) -> usize {
        match encoding {
            Encoding::Text => 72,
            Encoding::Binary => 70,
        }
    }

    /// The reply to `COM_STMT_PREPARE` of a statement with one column.
    ///
    /// # Errors
    /// Never in practice: all frames are small.
    pub fn prepared(profile: Profile, statement: u32, params: u16) -> Result<Vec<u8>, TooLong> {
        let mut reply = Vec::with_capacity(64 * (usize::from(params) + 2));
        let mut head = vec![0];
        head.extend(statement.to_le_bytes());
        head.extend(1_u16.to_le_bytes());
        head.extend(params.to_le_bytes());
        head.extend([0, 0, 0]);
        put_frame(&mut reply, 1, &head)?;
        let mut seq = 2_u8;
        for (count, name) in [(params, &b"?"[..]), (1, b"c")] {
            for _ in 0..count {
                put_frame(&mut reply, seq, &column(name))?;
                seq = seq.wrapping_add(1);
            }
            if count > 0 && profile == Profile::Classic {
                put_eof(&mut reply, seq)?;
                seq = seq.wrapping_add(1);
            }
        }
        Ok(reply)
    }

    /// The greeting of a new connection, which may offer TLS.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn greeting(connection: u32, tls: bool) -> Result<Vec<u8>, TooLong> {
        let capabilities = CAPABILITIES | if tls { capability::SSL } else { 0 };
        let [low_a, low_b, high_a, high_b] = capabilities.to_le_bytes();
        let mut payload = vec![10];
        payload.extend(VERSION);
        payload.push(0);
        payload.extend(connection.to_le_bytes());
        let nonce = nonce(connection);
        let (head, tail) = nonce.split_at(8);
        payload.extend(head);
        payload.extend([0, low_a, low_b, UTF8MB4]);
        payload.extend(AUTOCOMMIT.to_le_bytes());
        payload.extend([high_a, high_b, 21]);
        payload.extend([0; 10]);
        payload.extend(tail);
        payload.push(0);
        payload.extend(NATIVE);
        payload.push(0);
        let mut greeting = Vec::with_capacity(payload.len() + 4);
        put_frame(&mut greeting, 0, &payload)?;
        Ok(greeting)
    }

    /// A plain OK.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn ok(seq: u8) -> Result<Vec<u8>, TooLong> {
        let mut reply = Vec::with_capacity(11);
        put_frame(&mut reply, seq, &ok_payload(0))?;
        Ok(reply)
    }

    /// An ERR.
    ///
    /// # Errors
    /// Never in practice: the frame is small.
    pub fn err(seq: u8, code: u16, text: &str) -> Result<Vec<u8>, TooLong> {
        let mut payload = vec![0xFF];
        payload.extend(code.to_le_bytes());
        payload.extend(b"#HY000");
        payload.extend(text.as_bytes());
        let mut reply = Vec::with_capacity(payload.len() + 4);
        put_frame(&mut reply, seq, &payload)?;
        Ok(reply)
    }
}

fn ok_payload(first: u8) -> [u8; 7] {
    let [status, _] = AUTOCOMMIT.to_le_bytes();
    [first, 0, 0, status, 0, 0, 0]
}

fn put_eof(out: &mut Vec<u8>, seq: u8) -> Result<(), TooLong> {
    let [status, _] = AUTOCOMMIT.to_le_bytes();
    put_frame(out, seq, &[0xFE, 0, 0, status, 0])
}

/// A VARCHAR column definition.
fn column(name: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(48);
    put_lenenc_bytes(&mut payload, b"def");
    // Schema, table and original table: none.
    payload.extend([0, 0, 0]);
    put_lenenc_bytes(&mut payload, name);
    payload.push(0);
    put_lenenc(&mut payload, 12);
    payload.extend([UTF8MB4, 0]);
    payload.extend(0x0100_0000_u32.to_le_bytes());
    payload.push(VAR_STRING);
    // Flags, decimals, filler.
    payload.extend([0, 0, 0, 0, 0]);
    payload
}

/// Differs between connections; without zero bytes, which end strings in older clients.
fn nonce(connection: u32) -> [u8; NONCE] {
    let mut nonce = *b"weir-responder-nonce";
    let digits = connection.to_le_bytes().map(|byte| b'A' + byte % 26);
    nonce.iter_mut().zip(digits).for_each(|(to, from)| *to = from);
    nonce
}

const VERSION: &[u8] = b"10.11.6-weir-responder";
const UTF8MB4: u8 = 45;
const VAR_STRING: u8 = 0xFD;
const CAPABILITIES: u32 = capability::LONG_PASSWORD
    | capability::LONG_FLAG
    | capability::CONNECT_WITH_DB
    | capability::PROTOCOL_41
    | capability::TRANSACTIONS
    | capability::SECURE_CONNECTION
    | capability::MULTI_STATEMENTS
    | capability::MULTI_RESULTS
    | capability::PS_MULTI_RESULTS
    | capability::PLUGIN_AUTH
    | capability::CONNECT_ATTRS
    | capability::PLUGIN_AUTH_LENENC
    | capability::SESSION_TRACK
    | capability::DEPRECATE_EOF;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_replies_are_120_bytes() {
        for encoding in [Encoding::Text, Encoding::Binary] {
            let size = Answers::small(encoding);
            assert_eq!(Answers::result(encoding, Profile::Modern, size).unwrap().len(), 120);
            // Two EOFs instead of one OK: a translating proxy sends these bytes too.
            assert_eq!(Answers::result(encoding, Profile::Classic, size).unwrap().len(), 127);
        }
    }

    #[test]
    fn values_have_no_period() {
        let value = Answers::value(Encoding::Text, 1 << 16);
        for shift in [1, 16, 4096, 8192, 16384] {
            assert_ne!(value[..256], value[shift..shift + 256]);
        }
    }

    #[test]
    fn a_value_too_long_for_a_frame_is_refused() {
        let mut answers = Answers::default();
        assert!(answers.cached(Encoding::Text, Profile::Modern, 0xFF_FFFF).is_none());
        assert!(answers.cached(Encoding::Text, Profile::Modern, 1 << 20).is_some());
    }
}
