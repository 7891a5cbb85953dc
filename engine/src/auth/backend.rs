//! Weir as the client: logging in to a backend with a user's proof.
//!
//! ```text
//! caching_sha2_password:  answer ─► 01 03 ─► OK
//!                         answer ─► 01 04 ─► password NUL ─► OK            (the link is secure)
//!                         answer ─► 01 04 ─► 02 ─► 01 key ─► sealed password ─► OK
//! ```
//!
//! Purpose: answer the greeting's plugin, a switch, and the steps of `caching_sha2_password`.
//! Never: send a password in the clear over a link that others can read, whatever the backend asks
//! for.

use bytes::{BufMut, BytesMut};

use crate::auth::plugin::{FAST_AUTH_OK, FULL_AUTH_WANTED, KEY_REQUEST, Plugin};
use crate::auth::proof::Proof;
use crate::auth::rsa_key::{seal, with_nul};
use crate::auth::scramble::{native_answer, native_stage1, sha2_answer, sha2_stage1};
use crate::auth::seed::Seed;
use crate::base::{Blame, Fault};
use crate::wire::{
    AuthMoreData, AuthSwitch, Greeting, Malformed, NONCE_LEN, code, frame, sqlstate,
};

/// Why a login cannot go on although the backend has not refused it. Nothing but the login was
/// sent, so whatever waited for it may be tried elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The backend asks for a plugin Weir does not speak. Its name, with odd bytes escaped.
    #[error(
        "the account uses the authentication plugin {0}, which is not supported: use \
         mysql_native_password or caching_sha2_password"
    )]
    UnsupportedPlugin(String),
    /// The backend has not cached the account's password and wants it itself, not its hash.
    #[error(
        "the backend has not cached the account's password and asks for it, and the user is \
         configured by a hash: connect again with caching_sha2_password, which then asks the \
         client for it, configure the password itself, or log in to the backend once directly"
    )]
    FullExchangeNeeded,
    /// The backend's RSA key is none, or too short for the password.
    #[error(
        "the backend's RSA key cannot seal the password: use TLS to the backend, or look at its \
         caching_sha2_password_public_key_path"
    )]
    UnusableKey,
    /// The user is configured by a hash that belongs to the other plugin.
    #[error(
        "the account uses {}, but the user is configured by a hash of another plugin: configure \
         the password itself or a hash for that plugin", .0.name()
    )]
    SecretDoesNotFit(Plugin),
    /// The backend wants a second authentication factor.
    #[error("the account needs several authentication factors, which is not supported")]
    SeveralFactors,
    /// The backend switches plugins without end.
    #[error("the backend asks for one authentication plugin after another")]
    TooManySwitches,
    /// The backend broke the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl AuthError {
    /// The same as the end of a session, with a text the client may see.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault {
            blame: Blame::Backend,
            code: code::UNKNOWN_ERROR,
            sqlstate: sqlstate(code::UNKNOWN_ERROR),
            message: format!("weir: cannot log in to the backend: {self}").into(),
        }
    }
}

/// What to do after a packet of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendStep {
    /// Send what was written, if anything, and wait for the next packet.
    Continue,
    /// Logged in; the payload is the OK packet.
    Ready,
    /// Refused; the payload is an ERR packet.
    Refused,
    /// The login cannot go on: close the connection.
    Failed(AuthError),
}

/// One login to a backend.
#[derive(Debug)]
pub struct BackendAuth {
    proof: Proof,
    /// The plugin answered last, and the nonce it was answered to.
    plugin: Option<Plugin>,
    nonce: [u8; NONCE_LEN],
    switches: u8,
    secure: bool,
    /// The backend was asked for its RSA key.
    awaits_key: bool,
    seed: Seed,
}

impl BackendAuth {
    /// A login with `proof`. `secure`: nobody else can read what is sent, as through TLS or a unix
    /// socket. `seed` is for this login alone.
    #[must_use]
    pub const fn new(proof: Proof, secure: bool, seed: Seed) -> Self {
        Self {
            proof,
            plugin: None,
            nonce: [0; NONCE_LEN],
            switches: 0,
            secure,
            awaits_key: false,
            seed,
        }
    }

    /// From here on the link is encrypted.
    pub const fn set_secure(&mut self) {
        self.secure = true;
    }

    /// The plugin to name in the login request and to pass to [`Self::first_response`]: the
    /// greeting's where the proof can answer it, else the one it can answer. The account may use
    /// another plugin than the greeting names, and the backend then switches.
    #[must_use]
    pub fn plugin_for(&self, greeting: &Greeting) -> Plugin {
        let fallback = match &self.proof {
            Proof::Sha2Stage1(_) => Plugin::CachingSha2,
            Proof::Empty | Proof::Clear(_) | Proof::NativeStage1(_) => Plugin::NativePassword,
        };
        Plugin::from_name(&greeting.plugin).filter(|plugin| self.fits(*plugin)).unwrap_or(fallback)
    }

    /// The `auth_response` of the login request, for the plugin named in it (empty: the server has
    /// no plugins) and the greeting's nonce.
    ///
    /// # Errors
    /// The plugin is not supported, the proof does not fit it, or the nonce has not twenty bytes.
    pub fn first_response(&mut self, plugin: &[u8], nonce: &[u8]) -> Result<Vec<u8>, AuthError> {
        let name =
            if plugin.is_empty() { Plugin::NativePassword.name().as_bytes() } else { plugin };
        let plugin =
            Plugin::from_name(name).ok_or_else(|| AuthError::UnsupportedPlugin(shown(name)))?;
        self.plugin = Some(plugin);
        self.answer(plugin, nonce)
    }

    /// Takes a packet of the backend. `seq` is the sequence id of a packet written now.
    pub fn on_packet(&mut self, payload: &[u8], seq: u8, out: &mut BytesMut) -> BackendStep {
        let result = match payload.first() {
            Some(0x00) => Ok(BackendStep::Ready),
            Some(0xFF) => Ok(BackendStep::Refused),
            Some(0xFE) => self.on_switch(payload, seq, out),
            Some(0x01) => self.on_more_data(payload, seq, out),
            Some(0x02) => Err(AuthError::SeveralFactors),
            Some(_) | None => Err(Malformed::new("a login is answered by no known packet").into()),
        };
        result.unwrap_or_else(BackendStep::Failed)
    }

    fn on_switch(
        &mut self,
        payload: &[u8],
        seq: u8,
        out: &mut BytesMut,
    ) -> Result<BackendStep, AuthError> {
        self.switches += 1;
        if self.switches > SWITCHES_MAX {
            return Err(AuthError::TooManySwitches);
        }
        let switch = AuthSwitch::parse(payload)?;
        let plugin = Plugin::from_name(switch.plugin)
            .ok_or_else(|| AuthError::UnsupportedPlugin(shown(switch.plugin)))?;
        self.plugin = Some(plugin);
        self.awaits_key = false;
        let answer = self.answer(plugin, switch.data)?;
        frame(out, seq, |out| out.put_slice(&answer));
        Ok(BackendStep::Continue)
    }

    fn on_more_data(
        &mut self,
        payload: &[u8],
        seq: u8,
        out: &mut BytesMut,
    ) -> Result<BackendStep, AuthError> {
        let data = AuthMoreData::parse(payload)?.data;
        match (self.plugin, data) {
            (Some(Plugin::CachingSha2), key) if std::mem::take(&mut self.awaits_key) => {
                let password = self.proof.password().ok_or(AuthError::FullExchangeNeeded)?;
                let sealed = seal(key, password, &self.nonce, &self.seed);
                let sealed = sealed.ok_or(AuthError::UnusableKey)?;
                frame(out, seq, |out| out.put_slice(&sealed));
                Ok(BackendStep::Continue)
            }
            (Some(Plugin::CachingSha2), [FAST_AUTH_OK]) => Ok(BackendStep::Continue),
            (Some(Plugin::CachingSha2), [FULL_AUTH_WANTED]) => self.begin_full(seq, out),
            _ => Err(Malformed::new("an authentication step does not belong to its plugin").into()),
        }
    }

    /// The password, or the wish for a key to seal it with.
    fn begin_full(&mut self, seq: u8, out: &mut BytesMut) -> Result<BackendStep, AuthError> {
        let password = self.proof.password().ok_or(AuthError::FullExchangeNeeded)?;
        if self.secure {
            frame(out, seq, |out| out.put_slice(&with_nul(password)));
        } else {
            frame(out, seq, |out| out.put_u8(KEY_REQUEST));
            self.awaits_key = true;
        }
        Ok(BackendStep::Continue)
    }

    const fn fits(&self, plugin: Plugin) -> bool {
        match (&self.proof, plugin) {
            (Proof::Empty | Proof::Clear(_), _)
            | (Proof::NativeStage1(_), Plugin::NativePassword)
            | (Proof::Sha2Stage1(_), Plugin::CachingSha2) => true,
            (Proof::NativeStage1(_), Plugin::CachingSha2)
            | (Proof::Sha2Stage1(_), Plugin::NativePassword) => false,
        }
    }

    fn answer(&mut self, plugin: Plugin, nonce: &[u8]) -> Result<Vec<u8>, AuthError> {
        if let Ok(nonce) = nonce_of(nonce) {
            self.nonce = *nonce;
        }
        let password = self.proof.password();
        if password.is_some_and(<[u8]>::is_empty) {
            return Ok(match plugin {
                Plugin::NativePassword => Vec::new(),
                // As MySQL's own client says it; an empty packet is understood by fewer servers.
                Plugin::CachingSha2 => vec![0],
            });
        }
        let nonce = nonce_of(nonce)?;
        match (plugin, &self.proof, password) {
            (Plugin::NativePassword, _, Some(password)) => {
                Ok(native_answer(&native_stage1(password), nonce).to_vec())
            }
            (Plugin::CachingSha2, _, Some(password)) => {
                Ok(sha2_answer(&sha2_stage1(password), nonce).to_vec())
            }
            (Plugin::NativePassword, Proof::NativeStage1(stage1), None) => {
                Ok(native_answer(stage1, nonce).to_vec())
            }
            (Plugin::CachingSha2, Proof::Sha2Stage1(stage1), None) => {
                Ok(sha2_answer(stage1, nonce).to_vec())
            }
            (Plugin::NativePassword | Plugin::CachingSha2, _, None) => {
                Err(AuthError::SecretDoesNotFit(plugin))
            }
        }
    }
}

/// The twenty bytes of a nonce, which usually has a NUL behind it.
fn nonce_of(nonce: &[u8]) -> Result<&[u8; NONCE_LEN], Malformed> {
    match nonce.split_first_chunk() {
        Some((nonce, [] | [0])) => Ok(nonce),
        Some(_) | None => Err(Malformed::new("an authentication nonce has not twenty bytes")),
    }
}

/// A name the backend chose, fit to be shown: escaped and not longer than any real one.
fn shown(name: &[u8]) -> String {
    name.get(..SHOWN_BYTES_MAX).unwrap_or(name).escape_ascii().to_string()
}

/// MariaDB tries each plugin of an account in turn; no sane account has more.
const SWITCHES_MAX: u8 = 8;

/// Bytes of a backend's plugin name that an error shows.
const SHOWN_BYTES_MAX: usize = 64;
