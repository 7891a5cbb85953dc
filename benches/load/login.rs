//! Logging in as a client with `mysql_native_password`.
//!
//! Purpose: bring a connection to the point where commands may be sent, whatever detour
//! (a plugin switch) the other side takes.
//! Never: support plugins whose cost would show in a benchmark.

use anyhow::{Context, bail};
use sha1::{Digest, Sha1};

use crate::protocol::{Fields, capability, put_frame, put_lenenc_bytes};

/// What a client says it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `DEPRECATE_EOF` and `SESSION_TRACK`, like current MySQL clients.
    Modern,
    /// Neither, like `libmariadb`: a proxy that tracks sessions has to translate for it.
    Classic,
}

impl Profile {
    /// The capability bits of the login request.
    #[must_use]
    pub fn capabilities(self) -> u32 {
        let base = capability::LONG_PASSWORD
            | capability::LONG_FLAG
            | capability::PROTOCOL_41
            | capability::TRANSACTIONS
            | capability::SECURE_CONNECTION
            | capability::MULTI_RESULTS
            | capability::PS_MULTI_RESULTS
            | capability::PLUGIN_AUTH;
        match self {
            Self::Modern => base | capability::SESSION_TRACK | capability::DEPRECATE_EOF,
            Self::Classic => base,
        }
    }
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Account {
    /// User name.
    pub user: String,
    /// Password in clear.
    pub password: String,
    /// Default database, if one is asked for.
    pub database: Option<String>,
}

/// The client's side of one login.
#[derive(Debug)]
pub enum Login {
    /// The greeting has not come yet; the answer is sent in TLS, or not.
    Greeting {
        /// In TLS.
        tls: bool,
    },
    /// The answer was sent.
    Answered,
}

/// What the packet just fed meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send what was written, wait for the next packet.
    Continue,
    /// Send what was written, go on in TLS, and begin it with this.
    StartTls(Vec<u8>),
    /// Commands may follow.
    Done,
}

impl Login {
    /// Feeds one whole packet; answers are appended to `out`.
    ///
    /// # Errors
    /// The server refused, or said something a login does not contain.
    pub fn on_packet(
        &mut self,
        account: &Account,
        profile: Profile,
        (seq, payload): (u8, &[u8]),
        out: &mut Vec<u8>,
    ) -> anyhow::Result<Step> {
        match (&self, payload.first()) {
            (_, Some(0xFF)) => bail!("login refused: {}", error_text(payload)),
            (Self::Greeting { tls }, _) => {
                let nonce = greeting_nonce(payload).context("malformed greeting")?;
                let request = request(account, profile, *tls, nonce);
                let (wish, seq) = (request.get(..TLS_WISH), seq.wrapping_add(1));
                let wish = wish.filter(|_| *tls);
                *self = Self::Answered;
                let Some(wish) = wish else {
                    put_frame(out, seq, &request)?;
                    return Ok(Step::Continue);
                };
                put_frame(out, seq, wish)?;
                let mut inside = Vec::new();
                put_frame(&mut inside, seq.wrapping_add(1), &request)?;
                Ok(Step::StartTls(inside))
            }
            (Self::Answered, Some(0x00)) => Ok(Step::Done),
            (Self::Answered, Some(0xFE)) => {
                let mut fields = Fields(payload.get(1..).unwrap_or_default());
                let plugin = fields.nul_bytes().context("malformed auth switch")?;
                if plugin != NATIVE {
                    bail!("login wants the plugin {}", String::from_utf8_lossy(plugin));
                }
                let nonce = fields.bytes(NONCE).and_then(<[u8]>::first_chunk);
                let answer = scramble(&account.password, nonce.context("short nonce")?);
                put_frame(out, seq.wrapping_add(1), &answer)?;
                Ok(Step::Continue)
            }
            (Self::Answered, first) => bail!("unexpected packet {first:02x?} in the login"),
        }
    }
}

/// Code and text of an ERR payload, for people.
#[must_use]
pub fn error_text(payload: &[u8]) -> String {
    let mut fields = Fields(payload.get(1..).unwrap_or_default());
    let code = fields.u16().unwrap_or(0);
    format!("ERR {code}: {}", String::from_utf8_lossy(fields.0))
}

/// The nonce of a version 10 greeting.
fn greeting_nonce(payload: &[u8]) -> Option<[u8; NONCE]> {
    let mut fields = Fields(payload);
    if fields.u8()? != 10 {
        return None;
    }
    fields.nul_bytes()?;
    fields.u32()?;
    let head = fields.bytes(8)?;
    // NUL, capabilities (low), collation, status, capabilities (high), nonce length, reserved.
    fields.bytes(1 + 2 + 1 + 2 + 2 + 1 + 10)?;
    let tail = fields.bytes(NONCE - 8)?;
    [head, tail].concat().first_chunk().copied()
}

/// The login request's payload.
fn request(account: &Account, profile: Profile, tls: bool, nonce: [u8; NONCE]) -> Vec<u8> {
    let mut capabilities = profile.capabilities();
    if tls {
        capabilities |= capability::SSL;
    }
    if account.database.is_some() {
        capabilities |= capability::CONNECT_WITH_DB;
    }
    let mut payload = Vec::with_capacity(128);
    payload.extend(capabilities.to_le_bytes());
    payload.extend((1_u32 << 30).to_le_bytes());
    payload.push(UTF8MB4);
    payload.extend([0; 23]);
    payload.extend(account.user.as_bytes());
    payload.push(0);
    // At most 20 bytes, so the one-byte length of SECURE_CONNECTION and a lenenc are the same.
    put_lenenc_bytes(&mut payload, &scramble(&account.password, &nonce));
    if let Some(database) = &account.database {
        payload.extend(database.as_bytes());
        payload.push(0);
    }
    payload.extend(NATIVE);
    payload.push(0);
    payload
}

/// `SHA1(p) XOR SHA1(nonce + SHA1(SHA1(p)))`; nothing for an empty password.
fn scramble(password: &str, nonce: &[u8; NONCE]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage1 = Sha1::digest(password.as_bytes());
    let stage2 = Sha1::digest(stage1);
    let mask = Sha1::new().chain_update(nonce).chain_update(stage2).finalize();
    stage1.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
}

/// A login request's first bytes, up to the name, are the wish for TLS.
pub const TLS_WISH: usize = 32;
/// Bytes of a nonce.
pub const NONCE: usize = 20;
/// The one plugin spoken.
pub const NATIVE: &[u8] = b"mysql_native_password";
/// utf8mb4_general_ci.
const UTF8MB4: u8 = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scramble_matches_a_known_answer() {
        // Checked against hashlib: sha1("bench") ^ sha1(nonce + sha1(sha1("bench"))).
        let nonce: [u8; NONCE] = *b"abcdefghijklmnopqrst";
        let hex: String =
            scramble("bench", &nonce).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "70343d48d23e5907ee245987c564d9f13b9f3513");
        assert!(scramble("", &nonce).is_empty());
    }

    #[test]
    fn refusal_and_garbage_are_errors() {
        let account = Account { user: "u".into(), password: "p".into(), database: None };
        let mut out = Vec::new();
        for payload in [&b"\xff\x15\x04no"[..], b"\x0a5.5\0", b"", b"\x09"] {
            let packet = (0, payload);
            Login::Greeting { tls: false }
                .on_packet(&account, Profile::Modern, packet, &mut out)
                .unwrap_err();
        }
        let switch = (2, &b"\xfecaching_sha2_password\0"[..]);
        Login::Answered.on_packet(&account, Profile::Modern, switch, &mut out).unwrap_err();
        assert!(out.is_empty());
    }
}
