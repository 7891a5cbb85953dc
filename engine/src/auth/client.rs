//! Weir as the server: is this client who it says?
//!
//! ```text
//! login request ─┬─ plugin fits, answer right ─► [01 03 for sha2] ─► Accepted
//!                ├─ plugin fits, answer wrong ─► Denied
//!                └─ plugin does not fit ─► switch ─► answer ─► Accepted or Denied
//! ```
//!
//! Purpose: check the answer against the configured secret, switch plugins where that is needed,
//! and keep from a right answer what logs in to a backend.
//! Never: write the OK or the ERR (the session does, when it has a backend), or treat an unknown
//! user in another way than one with a wrong password.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::auth::plugin::{FAST_AUTH_OK, Plugin};
use crate::auth::proof::Proof;
use crate::auth::scramble::{
    native_check, native_stage1, native_stage2, sha2_check, sha2_stage1, sha2_stage2,
};
use crate::config::{Secret, User};
use crate::wire::{AuthMoreData, AuthSwitch, Capabilities, LoginRequest, NONCE_LEN};

/// What to do after a packet of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send what was written, wait for the next packet.
    Continue,
    /// The client is who it says. Send what was written; an OK goes after it.
    Accepted(Proof),
    /// It is not, or nobody knows the user: an ERR 1045 is due.
    Denied,
}

/// One client's authentication.
#[derive(Debug)]
pub struct ClientAuth {
    user: Option<Arc<User>>,
    nonce: [u8; NONCE_LEN],
    /// The plugin whose answer is awaited; `None` when the exchange is over.
    awaited: Option<Plugin>,
    used_password: bool,
    next_seq: u8,
}

impl ClientAuth {
    /// Begins with the login request. `user` is the configured account of that name, `nonce` and
    /// `greeting_plugin` are what the greeting said, `seq` is the sequence id of a packet written
    /// now.
    ///
    /// An unknown user is handled as one with a password in clear, which fits every plugin. A request
    /// that names no plugin is always switched (if its client can be): that is how servers answer
    /// COM_CHANGE_USER, with a nonce of its own.
    pub fn start(
        request: &LoginRequest,
        user: Option<Arc<User>>,
        nonce: [u8; NONCE_LEN],
        greeting_plugin: Plugin,
        seq: u8,
        out: &mut BytesMut,
    ) -> (Self, ClientStep) {
        let used_password = !matches!(request.auth_response.as_slice(), [] | [0]);
        let mut auth = Self { user, nonce, awaited: None, used_password, next_seq: seq };
        let can_switch = request.capabilities.contains(Capabilities::PLUGIN_AUTH);
        let named = match &request.plugin {
            Some(name) => Plugin::from_name(name),
            // Before plugins there was one way to answer.
            None => (!can_switch).then_some(Plugin::NativePassword),
        };
        // A client may name one plugin and answer by another; the length tells them apart.
        let answered_by = named.filter(|plugin| {
            auth.can_check(*plugin) && plugin.could_have_made(&request.auth_response)
        });
        let step = if let Some(plugin) = answered_by {
            auth.check(plugin, &request.auth_response, seq, out)
        } else if can_switch {
            auth.switch(greeting_plugin, seq, out);
            ClientStep::Continue
        } else {
            ClientStep::Denied
        };
        (auth, step)
    }

    /// Takes the client's answer to the switch. `seq` is the sequence id of a packet written now.
    pub fn on_packet(&mut self, payload: &[u8], seq: u8, out: &mut BytesMut) -> ClientStep {
        self.next_seq = seq;
        match self.awaited.take() {
            Some(plugin) => {
                self.used_password = !plugin.says_no_password(payload);
                self.check(plugin, payload, seq, out)
            }
            None => ClientStep::Denied,
        }
    }

    /// The sequence id of the next packet to the client, after what was written here.
    #[must_use]
    pub const fn next_seq(&self) -> u8 {
        self.next_seq
    }

    /// Whether the client's last answer was made of a password: the `(using password: YES)` of
    /// ERR 1045.
    #[must_use]
    pub const fn used_password(&self) -> bool {
        self.used_password
    }

    fn can_check(&self, plugin: Plugin) -> bool {
        self.user.as_ref().is_none_or(|user| plugin.fits(&user.secret))
    }

    /// Asks for another plugin, with the nonce of the greeting and the NUL servers put behind it.
    fn switch(&mut self, greeting_plugin: Plugin, seq: u8, out: &mut BytesMut) {
        let plugin = [greeting_plugin, Plugin::NativePassword, Plugin::CachingSha2]
            .into_iter()
            .find(|plugin| self.can_check(*plugin))
            .unwrap_or(greeting_plugin);
        let mut data = BytesMut::with_capacity(NONCE_LEN + 1);
        data.put_slice(&self.nonce);
        data.put_u8(0);
        AuthSwitch { plugin: plugin.name().as_bytes(), data: &data }.encode(seq, out);
        self.next_seq = seq.wrapping_add(1);
        self.awaited = Some(plugin);
    }

    fn check(&mut self, plugin: Plugin, answer: &[u8], seq: u8, out: &mut BytesMut) -> ClientStep {
        let secret = self.user.as_ref().map(|user| &user.secret);
        let without_password = match secret {
            Some(Secret::Empty) => true,
            Some(Secret::Clear(password)) => password.is_empty(),
            Some(Secret::NativeHash(_) | Secret::Sha2Hash(_)) | None => false,
        };
        if without_password {
            return if plugin.says_no_password(answer) {
                ClientStep::Accepted(Proof::Empty)
            } else {
                ClientStep::Denied
            };
        }
        let stage1 = match plugin {
            Plugin::NativePassword => self.check_native(answer).map(Proof::NativeStage1),
            Plugin::CachingSha2 => self.check_sha2(answer).map(Proof::Sha2Stage1),
        };
        // An unknown user was checked against the decoy: never let in, however right the answer.
        let (Some(stage1), Some(user)) = (stage1, &self.user) else { return ClientStep::Denied };
        if plugin == Plugin::CachingSha2 {
            AuthMoreData { data: &[FAST_AUTH_OK] }.encode(seq, out);
            self.next_seq = seq.wrapping_add(1);
        }
        ClientStep::Accepted(match &user.secret {
            Secret::Clear(_) => Proof::Clear(Arc::clone(user)),
            Secret::Empty | Secret::NativeHash(_) | Secret::Sha2Hash(_) => stage1,
        })
    }

    /// SHA1(p), if the answer is right.
    fn check_native(&self, answer: &[u8]) -> Option<[u8; 20]> {
        let answer = answer.try_into().ok()?;
        let of_password = |password: &[u8]| native_stage2(&native_stage1(password));
        let stage2 = match self.user.as_ref().map(|user| &user.secret) {
            Some(Secret::NativeHash(stage2)) => *stage2,
            Some(Secret::Clear(password)) => of_password(password),
            Some(Secret::Empty | Secret::Sha2Hash(_)) => return None,
            None => of_password(DECOY_PASSWORD),
        };
        native_check(&stage2, &self.nonce, answer)
    }

    /// SHA256(p), if the answer is right.
    fn check_sha2(&self, answer: &[u8]) -> Option<[u8; 32]> {
        let answer = answer.try_into().ok()?;
        let of_password = |password: &[u8]| sha2_stage2(&sha2_stage1(password));
        let stage2 = match self.user.as_ref().map(|user| &user.secret) {
            Some(Secret::Sha2Hash(stage2)) => *stage2,
            Some(Secret::Clear(password)) => of_password(password),
            Some(Secret::Empty | Secret::NativeHash(_)) => return None,
            None => of_password(DECOY_PASSWORD),
        };
        sha2_check(&stage2, &self.nonce, answer)
    }
}

/// What unknown users' answers are checked against, so that they take as long as known ones'.
const DECOY_PASSWORD: &[u8] = b"no such user";
