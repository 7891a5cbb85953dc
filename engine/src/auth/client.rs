//! Weir as the server: is this client who it says?
//!
//! ```text
//! login request ─┬─ plugin fits, answer right ─► [01 03 for sha2] ─► Accepted
//!                ├─ plugin fits, answer wrong ─► Denied
//!                ├─ the password is wanted ─► 01 04 ─┬─ password NUL (secure) ─► Accepted or Denied
//!                │                                   └─ [02 ─► 01 key ─►] sealed ─► Open ─► the same
//!                └─ plugin does not fit ─► switch ─► answer ─► any of the above
//! ```
//!
//! Purpose: check the answer against what is known of the account, switch plugins where that is
//! needed, ask for the password where only its hash is known, and keep what logs in to a backend.
//! An account that the configuration does not have may be one of the backend's: then the password is
//! taken as it is told, and the backend judges.
//!
//! Never: write the OK or the ERR (the session does, when it has a backend), open a sealed password
//! (that takes a millisecond, and is for another thread), or treat an unknown user in another way
//! than one with a wrong password.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::auth::claim::{Account, Channel, Claim};
use crate::auth::plugin::{FAST_AUTH_OK, FULL_AUTH_WANTED, KEY_REQUEST, Plugin};
use crate::auth::proof::Proof;
use crate::auth::rsa_key::Sealed;
use crate::auth::scramble::{
    native_check, native_stage1, native_stage2, same, sha2_check, sha2_stage1, sha2_stage2,
};
use crate::config::{Secret, User};
use crate::wire::{AuthMoreData, AuthSwitch, Capabilities, LoginRequest, NONCE_LEN};

/// What to do after a packet of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send what was written, wait for the next packet.
    Continue,
    /// Open this password, then call [`ClientAuth::on_opened`]. Nothing is to be sent before that.
    Open(Box<Sealed>),
    /// The client is who it says. Send what was written; an OK goes after it.
    Accepted(Proof),
    /// It is not, or nobody knows the user: an ERR 1045 is due.
    Denied,
    /// It has to tell its password, and cannot: an ERR 1251 is due.
    CannotTell,
}

/// What a client has to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Nothing; the exchange is over.
    Nothing,
    /// An answer by that plugin.
    Answer(Plugin),
    /// Its password, or the wish for a key to seal it for.
    Password,
    /// Nothing: its sealed password is being opened.
    Opening,
}

/// One client's authentication.
#[derive(Debug)]
pub struct ClientAuth {
    claim: Claim,
    name: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    awaited: Awaited,
    used_password: bool,
    has_told: bool,
    /// Its answer was that of a known password.
    is_known: bool,
    next_seq: u8,
}

impl ClientAuth {
    /// Begins with the login request. `claim` is what is known of the account it names, `nonce` and
    /// `greeting_plugin` are what the greeting said, `seq` is the sequence id of a packet written
    /// now.
    ///
    /// An unknown user is handled as one with a password in clear, which fits every plugin. A request
    /// that names no plugin is always switched (if its client can be): that is how servers answer
    /// COM_CHANGE_USER, with a nonce of its own.
    pub fn start(
        request: &LoginRequest,
        claim: Claim,
        nonce: [u8; NONCE_LEN],
        greeting_plugin: Plugin,
        seq: u8,
        out: &mut BytesMut,
    ) -> (Self, ClientStep) {
        let used_password = !matches!(request.auth_response.as_slice(), [] | [0]);
        let mut auth = Self {
            claim,
            name: request.user.clone(),
            nonce,
            awaited: Awaited::Nothing,
            used_password,
            has_told: false,
            is_known: false,
            next_seq: seq,
        };
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
        } else if auth.has_to_tell() {
            ClientStep::CannotTell
        } else {
            ClientStep::Denied
        };
        (auth, step)
    }

    /// Takes what the client sends when it was asked for something. `seq` is the sequence id of a
    /// packet written now.
    pub fn on_packet(&mut self, payload: &[u8], seq: u8, out: &mut BytesMut) -> ClientStep {
        self.next_seq = seq;
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Answer(plugin) => {
                self.used_password = !plugin.says_no_password(payload);
                self.check(plugin, payload, seq, out)
            }
            Awaited::Password => self.on_password(payload, seq, out),
            Awaited::Nothing | Awaited::Opening => ClientStep::Denied,
        }
    }

    /// Takes the password of [`ClientStep::Open`], with its NUL; `None` if it could not be opened.
    pub fn on_opened(&mut self, password: Option<&[u8]>) -> ClientStep {
        if std::mem::replace(&mut self.awaited, Awaited::Nothing) != Awaited::Opening {
            return ClientStep::Denied;
        }
        password.map_or(ClientStep::Denied, |password| self.judge(password))
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

    /// Whether the client was accepted for having told its password itself.
    #[must_use]
    pub const fn has_told(&self) -> bool {
        self.has_told
    }

    /// Whether only the password itself will do, or nothing while it should look like that.
    const fn has_to_tell(&self) -> bool {
        match &self.claim.account {
            Account::PassThrough => true,
            Account::Nobody => self.claim.asks_all,
            Account::Listed(_) => false,
        }
    }

    /// Whether a client that was accepted has yet to be judged by a backend: its account is not of the
    /// configuration, and its password is not the remembered one.
    #[must_use]
    pub const fn is_unjudged(&self) -> bool {
        matches!(self.claim.account, Account::PassThrough) && !self.is_known
    }

    fn can_check(&self, plugin: Plugin) -> bool {
        match &self.claim.account {
            Account::PassThrough | Account::Nobody => {
                plugin == Plugin::CachingSha2 || !self.has_to_tell()
            }
            // Whoever tells the password itself may be asked by another plugin than the hash's. Not
            // where it has to be sealed: older clients do not seal, and know both plugins.
            Account::Listed(user) => {
                let tells = plugin == Plugin::CachingSha2
                    && (self.claim.remembered.is_some()
                        || matches!(self.claim.channel, Channel::Secure));
                plugin.fits(&user.secret) || tells
            }
        }
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
        self.awaited = Awaited::Answer(plugin);
    }

    fn check(&mut self, plugin: Plugin, answer: &[u8], seq: u8, out: &mut BytesMut) -> ClientStep {
        if let Account::Listed(user) = &self.claim.account
            && has_no_password(&user.secret)
        {
            return if plugin.says_no_password(answer) {
                ClientStep::Accepted(Proof::Empty)
            } else {
                ClientStep::Denied
            };
        }
        match plugin {
            // That is for the backend to judge.
            _ if self.has_to_tell() && plugin.says_no_password(answer) => {
                match self.claim.account {
                    Account::PassThrough => ClientStep::Accepted(Proof::Empty),
                    Account::Listed(_) | Account::Nobody => ClientStep::Denied,
                }
            }
            Plugin::NativePassword => self.check_native(answer),
            Plugin::CachingSha2 => self.check_sha2(answer, seq, out),
        }
    }

    fn check_native(&self, answer: &[u8]) -> ClientStep {
        let Ok(answer) = answer.try_into() else { return ClientStep::Denied };
        let of_password = |password: &[u8]| native_stage2(&native_stage1(password));
        let (stage2, user) = match &self.claim.account {
            Account::Nobody | Account::PassThrough => (of_password(DECOY_PASSWORD), None),
            Account::Listed(user) => match &user.secret {
                Secret::NativeHash(stage2) => (*stage2, Some(user)),
                Secret::Clear(password) => (of_password(password), Some(user)),
                Secret::Empty | Secret::Sha2Hash(_) => return ClientStep::Denied,
            },
        };
        // An unknown user was checked against the decoy: never let in, however right the answer.
        match (native_check(&stage2, &self.nonce, answer), user) {
            (Some(stage1), Some(user)) => ClientStep::Accepted(match &user.secret {
                Secret::Clear(_) => Proof::Clear(Arc::clone(user)),
                // The password serves every plugin of the backend's, its hash only one.
                Secret::Empty | Secret::NativeHash(_) | Secret::Sha2Hash(_) => {
                    let remembered = self.claim.remembered.clone();
                    remembered.map_or(Proof::NativeStage1(stage1), Proof::Clear)
                }
            }),
            (Some(_) | None, _) => ClientStep::Denied,
        }
    }

    fn check_sha2(&mut self, answer: &[u8], seq: u8, out: &mut BytesMut) -> ClientStep {
        let Ok(answer) = answer.try_into() else { return ClientStep::Denied };
        let known = match (&self.claim.account, &self.claim.remembered) {
            (Account::Listed(user), None) => Some(user),
            (Account::Listed(_) | Account::PassThrough, remembered) => remembered.as_ref(),
            (Account::Nobody, _) => None,
        };
        let of_password = |password: &[u8]| sha2_stage2(&sha2_stage1(password));
        let stage2 = match known.map(|user| &user.secret) {
            Some(Secret::Sha2Hash(stage2)) => *stage2,
            Some(Secret::Clear(password)) => of_password(password),
            // The answer says nothing about that hash.
            Some(Secret::NativeHash(_)) => return self.ask(seq, out),
            Some(Secret::Empty) => return ClientStep::Denied,
            None => of_password(DECOY_PASSWORD),
        };
        let stage1 = sha2_check(&stage2, &self.nonce, answer);
        let (Some(stage1), Some(user)) = (stage1, known) else {
            // It may be a new password, of which only the backend knows.
            return if self.claim.asks_all { self.ask(seq, out) } else { ClientStep::Denied };
        };
        let proof = match &user.secret {
            Secret::Clear(_) => Proof::Clear(Arc::clone(user)),
            // A backend that has not cached the password wants it itself, as servers do of clients.
            _ if !matches!(self.claim.channel, Channel::Open) => return self.ask(seq, out),
            Secret::Empty | Secret::NativeHash(_) | Secret::Sha2Hash(_) => {
                Proof::Sha2Stage1(stage1)
            }
        };
        self.is_known = true;
        AuthMoreData { data: &[FAST_AUTH_OK] }.encode(seq, out);
        self.next_seq = seq.wrapping_add(1);
        ClientStep::Accepted(proof)
    }

    /// Asks for the password itself.
    fn ask(&mut self, seq: u8, out: &mut BytesMut) -> ClientStep {
        if matches!(self.claim.channel, Channel::Open) {
            return ClientStep::CannotTell;
        }
        AuthMoreData { data: &[FULL_AUTH_WANTED] }.encode(seq, out);
        self.next_seq = seq.wrapping_add(1);
        self.awaited = Awaited::Password;
        ClientStep::Continue
    }

    /// The password, in the form the channel allows, or the wish for the key.
    fn on_password(&mut self, payload: &[u8], seq: u8, out: &mut BytesMut) -> ClientStep {
        match &self.claim.channel {
            Channel::Secure => self.judge(payload),
            Channel::Sealed(key) if payload == [KEY_REQUEST] => {
                AuthMoreData { data: key.public_pem().as_bytes() }.encode(seq, out);
                self.next_seq = seq.wrapping_add(1);
                self.awaited = Awaited::Password;
                ClientStep::Continue
            }
            // A client that has the key in a file does not ask for it.
            Channel::Sealed(key) if payload.len() == key.sealed_bytes() => {
                self.awaited = Awaited::Opening;
                ClientStep::Open(Box::new(Sealed::new(Arc::clone(key), payload, self.nonce)))
            }
            // In clear, where others may listen.
            Channel::Sealed(_) | Channel::Open => ClientStep::Denied,
        }
    }

    /// Decides on the password itself, which has a NUL behind it.
    fn judge(&mut self, password: &[u8]) -> ClientStep {
        let Some((0, password)) = password.split_last() else { return ClientStep::Denied };
        if password.is_empty() || password.contains(&0) {
            return ClientStep::Denied;
        }
        let may_enter = match &self.claim.account {
            Account::Listed(user) => is_password_of(password, &user.secret),
            // So far: now the backend judges.
            Account::PassThrough => true,
            Account::Nobody => false,
        };
        if !may_enter {
            return ClientStep::Denied;
        }
        // In one piece: growing would leave a copy behind.
        let secret = Secret::Clear(password.to_vec());
        let name = String::from_utf8_lossy(&self.name).into_owned();
        self.has_told = true;
        ClientStep::Accepted(Proof::Clear(Arc::new(User::new(name, secret))))
    }
}

/// Whether that is the password `secret` is, or is made of.
pub(crate) fn is_password_of(password: &[u8], secret: &Secret) -> bool {
    let stage2 = |password: &[u8]| sha2_stage2(&sha2_stage1(password));
    match secret {
        Secret::Empty => false,
        // Of two texts the hashes are compared: that takes as long wherever they differ.
        Secret::Clear(known) => same(&stage2(password), &stage2(known)),
        Secret::NativeHash(known) => same(&native_stage2(&native_stage1(password)), known),
        Secret::Sha2Hash(known) => same(&stage2(password), known),
    }
}

fn has_no_password(secret: &Secret) -> bool {
    match secret {
        Secret::Empty => true,
        Secret::Clear(password) => password.is_empty(),
        Secret::NativeHash(_) | Secret::Sha2Hash(_) => false,
    }
}

/// What unknown users' answers are checked against, so that they take as long as known ones'.
const DECOY_PASSWORD: &[u8] = b"no such user";
