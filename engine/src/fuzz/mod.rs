//! Bodies of the fuzz targets: test support, not used by the proxy.
//!
//! Purpose: ordinary functions that take any bytes and panic when a promise of the pure modules is
//! broken, so that `engine/fuzz` and the unit tests run the same code.
//! Never: judge the bytes; only crashes and encodings that do not read back are findings.
#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock};

use bytes::BytesMut;

use crate::auth::{
    BackendAuth, BackendStep, Channel, Claim, ClientAuth, ClientStep, Plugin, Proof, RsaKey, Seed,
};
use crate::config::{Secret, User};
use crate::wire::{
    AuthMoreData, AuthSwitch, Capabilities, ChangeUser, Command, Edit, Edits, EofPacket, ErrPacket,
    Greeting, LoginRequest, Malformed, OkPacket, PrepareOk, Side, SslRequest, encode_eof,
    statement_id,
};

mod probe;
mod session;
mod texts;
mod transport;
mod walks;

pub use probe::probe;
pub use session::session;
pub use texts::{classify, lex};
pub use transport::{compress, proxy};
pub use walks::{frames, reply};

#[cfg(test)]
mod tests;

/// The packets of a login, and the authentication machines of both sides.
///
/// # Panics
/// Something accepted does not read back, or a client got in that should not.
pub fn handshake(data: &[u8]) {
    settles(data, |p, out| Greeting::parse(p).map(|packet| packet.encode(0, out)));
    settles(data, |p, out| LoginRequest::parse(p).map(|packet| packet.encode(1, out)));
    settles(data, |p, out| {
        let request = SslRequest::parse(p).ok_or(Malformed::new("no wish for TLS"))?;
        request.encode(1, out);
        Ok(())
    });
    settles(data, |p, out| AuthSwitch::parse(p).map(|packet| packet.encode(2, out)));
    settles(data, |p, out| AuthMoreData::parse(p).map(|packet| packet.encode(2, out)));
    client_auth(data);
    backend_auth(data);
}

/// What a client sends first in a command.
///
/// # Panics
/// A code and its name disagree, or a COM_CHANGE_USER does not read back.
pub fn command(data: &[u8]) {
    let capabilities = Capabilities::SECURE_CONNECTION
        .union(Capabilities::PLUGIN_AUTH)
        .union(Capabilities::CONNECT_ATTRS);
    settles(data, |p, out| {
        ChangeUser::parse(p, capabilities).map(|packet| packet.encode(capabilities, out))
    });
    let id = statement_id(data);
    let Some(command) = data.first().and_then(|byte| Command::from_byte(*byte)) else {
        assert_eq!(id, None, "a statement id without a command");
        return;
    };
    assert_eq!(data.first(), Some(&command.as_byte()), "a command's code does not read back");
    let prefix = ["COM_STMT_", "COM_"].into_iter().find(|p| command.name().starts_with(p));
    assert!(id.is_none() || prefix == Some("COM_STMT_"), "{} has a statement id", command.name());
}

/// The single packets that answer a command.
///
/// # Panics
/// Something accepted does not read back.
pub fn answer(data: &[u8]) {
    settles(data, |p, out| ErrPacket::parse(p).map(|packet| packet.encode(1, out)));
    settles(data, |p, out| PrepareOk::parse(p).map(|packet| packet.encode(1, out)));
    settles(data, |p, out| {
        EofPacket::parse(p).map(|packet| encode_eof(packet.status, packet.warnings, 1, out))
    });
    for capabilities in [Capabilities::SESSION_TRACK, Capabilities::NONE] {
        settles(data, |p, out| {
            let packet = OkPacket::parse(p, capabilities)?;
            // Each tracker has two bytes at least, so the walk ends.
            assert!(packet.trackers().count() <= packet.trackers.len() / 2 + 1);
            packet.encode(capabilities, 1, out);
            Ok(())
        });
    }
}

/// Reads and writes `data` by `step`, then what was written once more: the second writing must be
/// as the first.
fn settles(data: &[u8], step: impl Fn(&[u8], &mut BytesMut) -> Result<(), Malformed>) {
    let (mut first, mut second) = (BytesMut::new(), BytesMut::new());
    if step(data, &mut first).is_err() {
        return;
    }
    let payload = first.get(4..).unwrap_or_default();
    let again = step(payload, &mut second);
    assert_eq!(again, Ok(()), "what was encoded is refused");
    assert_eq!(first, second, "what was encoded reads back as something else");
}

/// A login request, then answers, against each kind of secret. Nobody who does not know the
/// password gets in: the nonce is fixed and no fuzzer inverts a hash.
fn client_auth(data: &[u8]) {
    let (login, answers) = halves(data);
    let Ok(request) = LoginRequest::parse(login) else { return };
    let secrets = [
        Secret::Clear("correct horse".into()),
        Secret::NativeHash([7; 20]),
        Secret::Sha2Hash([7; 32]),
    ];
    let user = |secret| Some(Arc::new(User::new("app".into(), secret)));
    let channels = [Channel::Open, Channel::Secure, Channel::Sealed(rsa_key())];
    for user in secrets.map(user).into_iter().chain([None]) {
        let claims = channels.clone().map(|channel| {
            let asks_all = matches!(channel, Channel::Secure);
            Claim { channel, asks_all, ..Claim::of(user.clone()) }
        });
        let plugins = [Plugin::NativePassword, Plugin::CachingSha2];
        for (claim, plugin) in claims.iter().flat_map(|claim| plugins.map(|it| (claim, it))) {
            let mut out = BytesMut::new();
            let (mut auth, mut step) =
                ClientAuth::start(&request, claim.clone(), [1; 20], plugin, 2, &mut out);
            for answer in answers.chunks(32) {
                assert!(!matches!(step, ClientStep::Accepted(_)), "let in without a password");
                step = auth.on_packet(answer, 4, &mut out);
            }
        }
    }
}

/// Reading a key takes longer than an exchange.
fn rsa_key() -> Arc<RsaKey> {
    static KEY: LazyLock<Arc<RsaKey>> = LazyLock::new(|| {
        let pem = include_str!("../../testdata/rsa-key.pem");
        Arc::new(RsaKey::from_pem(pem).expect("a key of the test data"))
    });
    KEY.clone()
}

/// A backend's packets, against each kind of proof. Whatever it asks for, the password does not
/// leave.
fn backend_auth(data: &[u8]) {
    let (plugin, packets) = halves(data);
    let password = "correct horse";
    let user = Arc::new(User::new("app".into(), Secret::Clear(password.into())));
    let proofs = [
        Proof::Empty,
        Proof::Clear(user),
        Proof::NativeStage1([7; 20]),
        Proof::Sha2Stage1([7; 32]),
    ];
    for proof in proofs {
        let mut auth = BackendAuth::new(proof, false, Seed::new([3; Seed::BYTES]));
        let mut out = BytesMut::new();
        if auth.first_response(plugin, &[1; 20]).is_err() {
            continue;
        }
        for packet in packets.split(|byte| *byte == 0xAA) {
            if auth.on_packet(packet, 3, &mut out) != BackendStep::Continue {
                break;
            }
        }
        let leaked = out.windows(password.len()).any(|window| window == password.as_bytes());
        assert!(!leaked, "a password left in the clear");
    }
}

/// The first byte's many bytes after it, and the rest.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, data)) = data.split_first() else { return (&[], &[]) };
    data.split_at_checked(usize::from(*length)).unwrap_or((data, &[]))
}

/// What reached each side of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    /// What the client got.
    pub(crate) client: Vec<u8>,
    /// What the backend got.
    pub(crate) backend: Vec<u8>,
}

impl Sides {
    /// Does what a worker does with edits. Returns how many bytes of the input they speak of.
    pub(crate) fn carry_out(&mut self, edits: &Edits, from: Side, input: &[u8]) -> usize {
        let mut at = 0;
        for edit in edits.list() {
            match edit {
                Edit::Forward(count) => {
                    let bytes = input.get(at..at + count);
                    assert!(bytes.is_some(), "more is forwarded than came");
                    let other = if from == Side::Client { Side::Backend } else { Side::Client };
                    self.side(other).extend_from_slice(bytes.unwrap_or_default());
                    at += count;
                }
                Edit::Discard(count) => {
                    at += count;
                    assert!(at <= input.len(), "more is dropped than came");
                }
                Edit::Send(side, range) => self.side(*side).extend_from_slice(edits.bytes(range)),
            }
        }
        at
    }

    const fn side(&mut self, side: Side) -> &mut Vec<u8> {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }
}
