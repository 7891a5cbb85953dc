//! Another account on a connection that is logged in.
//!
//! Purpose: drive COM_CHANGE_USER, or the reset a refused one leaves behind, from the command to the
//! server's OK or ERR.
//! Never: show a client's bytes to the server before it is over.

use std::sync::Arc;

use bytes::BytesMut;

use crate::auth::{BackendAuth, BackendStep};
use crate::pool::init::InitReply;
use crate::pool::login::{LOGIN_PACKET_BYTES_MAX, LoginError};
use crate::pool::recycle::fence;
use crate::share::query;
use crate::wire::frame::Assembler;
use crate::wire::{Capabilities, ChangeUser, Command, OkPacket, frame};

/// What to do after bytes were fed.
#[derive(Debug)]
pub enum ChangeStep {
    /// Send what was written, wait for more.
    Wait,
    /// Done: payload of the server's OK.
    Done(BytesMut),
    /// The server refused: payload of its ERR.
    Refused(BytesMut),
    /// It cannot go on.
    Failed(LoginError),
}

/// One change in progress.
#[derive(Debug)]
pub struct BackendChange {
    assembler: Assembler,
    /// `None` for a reset, which asks nothing.
    auth: Option<BackendAuth>,
    /// The session may only read afterwards; with what was negotiated.
    read_only: Option<Capabilities>,
    /// The backend's `init_query`, with what was negotiated; until it is said.
    init: Option<(Arc<str>, Capabilities)>,
    /// Its answer, while it is waited for.
    init_reply: Option<InitReply>,
    /// The server's OK, while it is told all that.
    ok: Option<BytesMut>,
}

impl BackendChange {
    /// Becomes the account of `command`, which `auth` proves; on a connection that negotiated
    /// `capabilities`.
    #[must_use]
    pub fn user(
        command: &ChangeUser,
        auth: BackendAuth,
        capabilities: Capabilities,
        out: &mut BytesMut,
    ) -> Self {
        command.encode(capabilities, out);
        Self::new(Some(auth))
    }

    /// Forgets the session's state, and keeps the account.
    #[must_use]
    pub fn reset(out: &mut BytesMut) -> Self {
        frame(out, 0, |out| out.extend_from_slice(&[Command::ResetConnection.as_byte()]));
        Self::new(None)
    }

    fn new(auth: Option<BackendAuth>) -> Self {
        let assembler = Assembler::new(LOGIN_PACKET_BYTES_MAX);
        Self { assembler, auth, read_only: None, init: None, init_reply: None, ok: None }
    }

    /// A change after which the session may only read, if `read_only`, on a connection that
    /// negotiated that.
    #[must_use]
    pub fn with_read_only(self, read_only: Option<Capabilities>) -> Self {
        Self { read_only, ..self }
    }

    /// A change after which the backend's `init_query` is said again, on a connection that
    /// negotiated that.
    #[must_use]
    pub fn with_init(self, init: Option<Arc<str>>, capabilities: Capabilities) -> Self {
        Self { init: init.map(|text| (text, capabilities)), ..self }
    }

    /// Feeds bytes of the server; what is to be sent is appended to `out`.
    pub fn on_bytes(&mut self, bytes: &[u8], out: &mut BytesMut) -> ChangeStep {
        self.assembler.push(bytes);
        loop {
            let packet = match self.assembler.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return ChangeStep::Wait,
                Err(error) => return ChangeStep::Failed(LoginError::Frame(error)),
            };
            if let Some(reply) = &mut self.init_reply {
                match reply.on_packet(&packet.payload) {
                    Ok(false) => {}
                    Ok(true) => {
                        self.init_reply = None;
                        if let Some(done) = self.go_on(out) {
                            return done;
                        }
                    }
                    Err(error) => return ChangeStep::Failed(LoginError::Init(error)),
                }
                continue;
            }
            if let Some(ok) = self.ok.take() {
                // A session that may write after all must not go on.
                return match packet.payload.first() {
                    Some(&OkPacket::OK) if self.assembler.is_empty() => ChangeStep::Done(ok),
                    Some(_) | None => ChangeStep::Failed(LoginError::Unasked),
                };
            }
            let step = match (&mut self.auth, packet.payload.first()) {
                (Some(auth), _) => auth.on_packet(&packet.payload, packet.seq.wrapping_add(1), out),
                (None, Some(0xFF)) => BackendStep::Refused,
                (None, _) => BackendStep::Ready,
            };
            match step {
                BackendStep::Continue => {}
                BackendStep::Failed(error) => return ChangeStep::Failed(LoginError::Auth(error)),
                // Only a server that goes away says more here, and that is for the session to see.
                BackendStep::Ready | BackendStep::Refused if !self.assembler.is_empty() => {
                    return ChangeStep::Failed(LoginError::Unasked);
                }
                BackendStep::Ready => {
                    self.ok = Some(packet.payload);
                    if let Some(done) = self.go_on(out) {
                        return done;
                    }
                }
                BackendStep::Refused => return ChangeStep::Refused(packet.payload),
            }
        }
    }

    /// What the session is told next, after its change; the end if there is nothing more.
    fn go_on(&mut self, out: &mut BytesMut) -> Option<ChangeStep> {
        if !self.assembler.is_empty() {
            return Some(ChangeStep::Failed(LoginError::Unasked));
        }
        if let Some((text, capabilities)) = self.init.take() {
            query(out, capabilities, text.as_bytes());
            self.init_reply = Some(InitReply::new(capabilities, BytesMut::new()));
            return None;
        }
        if let Some(capabilities) = self.read_only {
            fence(capabilities, out);
            return None;
        }
        self.ok.take().map(ChangeStep::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AuthError, Proof, Seed};
    use crate::wire::AuthSwitch;

    const NONCE: &[u8] = b"abcdefghijklmnopqrst\0";

    fn command() -> ChangeUser {
        ChangeUser {
            user: b"app".to_vec(),
            database: Some(b"shop".to_vec()),
            collation: 45,
            plugin: Some(b"mysql_native_password".to_vec()),
            connect_attrs: Some(b"\x01a\x01b".to_vec()),
        }
    }

    fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame(&mut out, seq, |out| out.extend_from_slice(payload));
        out.to_vec()
    }

    fn switch() -> Vec<u8> {
        let mut out = BytesMut::new();
        AuthSwitch { plugin: b"mysql_native_password", data: NONCE }.encode(1, &mut out);
        out.to_vec()
    }

    /// What was sent, and how it ended, when the server's words come in pieces.
    fn talk(mut change: BackendChange, said: &[u8], piece: usize) -> (Vec<u8>, ChangeStep) {
        let mut out = BytesMut::new();
        for bytes in said.chunks(piece) {
            let step = change.on_bytes(bytes, &mut out);
            if !matches!(step, ChangeStep::Wait) {
                return (out.to_vec(), step);
            }
        }
        (out.to_vec(), ChangeStep::Wait)
    }

    fn user(proof: Proof) -> (BackendChange, Vec<u8>) {
        let all = Capabilities::from_bits(u64::MAX);
        let mut out = BytesMut::new();
        let auth = BackendAuth::new(proof, false, Seed::new([7; Seed::BYTES]));
        let change = BackendChange::user(&command(), auth, all, &mut out);
        (change, out.to_vec())
    }

    #[test]
    fn command_change_user_is_answered_by_the_accounts_proof() {
        for piece in [1, 7, 1000] {
            let (change, sent) = user(Proof::NativeStage1([7; 20]));
            let asked = ChangeUser::parse(&sent[4..], Capabilities::from_bits(u64::MAX));
            assert_eq!(asked, Ok(command()));
            let said = [switch(), packet(3, &[0, 0, 0, 2, 0, 0, 0])].concat();
            let (sent, end) = talk(change, &said, piece);
            assert_eq!((sent.len(), sent[3]), (24, 2), "twenty bytes, numbered after the switch");
            let ChangeStep::Done(ok) = end else { panic!("{end:?}") };
            assert_eq!(ok[..], [0, 0, 0, 2, 0, 0, 0]);
        }
    }

    #[test]
    fn refusals_and_what_cannot_go_on() {
        let error = b"\xFF\x15\x04#28000Access denied";
        let (_, end) = talk(user(Proof::Empty).0, &[switch(), packet(3, error)].concat(), 9);
        let ChangeStep::Refused(err) = end else { panic!("{end:?}") };
        assert_eq!(err[..], error[..]);
        let (_, end) = talk(user(Proof::Sha2Stage1([1; 32])).0, &switch(), 1000);
        let ChangeStep::Failed(LoginError::Auth(AuthError::SecretDoesNotFit(_))) = end else {
            panic!("{end:?}")
        };
        let more = [switch(), packet(3, &[0, 0, 0, 2, 0, 0, 0]), vec![1]].concat();
        let (_, end) = talk(user(Proof::Empty).0, &more, 1000);
        assert!(matches!(end, ChangeStep::Failed(LoginError::Unasked)), "{end:?}");
        let (_, end) = talk(user(Proof::Empty).0, &[0xFF, 0xFF, 0xFF, 1], 1000);
        assert!(matches!(end, ChangeStep::Failed(LoginError::Frame(_))), "{end:?}");
    }

    #[test]
    fn a_session_that_may_only_read_is_told_so_before_it_goes_on() {
        let ok: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
        for (answer, good) in [(ok, true), (b"\xFF\x17\x04#HY000x", false)] {
            let change =
                BackendChange::reset(&mut BytesMut::new()).with_read_only(Some(Capabilities::NONE));
            let (sent, end) = talk(change, &[packet(1, ok), packet(1, answer)].concat(), 11);
            assert_eq!(sent[4..], *b"\x03SET SESSION TRANSACTION READ ONLY");
            match end {
                ChangeStep::Done(first) => assert!(good && first[..] == *ok),
                ChangeStep::Failed(_) => assert!(!good),
                ChangeStep::Wait | ChangeStep::Refused(_) => panic!("{end:?}"),
            }
        }
    }

    #[test]
    fn an_init_query_is_said_behind_the_change_and_before_the_fence() {
        let (ok, own): (&[u8], &[u8]) = (&[0, 0, 0, 2, 0, 0, 0], &[0, 1, 0, 2, 0, 0, 0]);
        let refused: &[u8] = b"\xFF\x17\x04#HY000x";
        for (answers, read_only, good) in [
            ([own, &[0xFF]], None, true),
            ([own, ok], Some(Capabilities::NONE), true),
            ([refused, ok], None, false),
        ] {
            let change = BackendChange::reset(&mut BytesMut::new())
                .with_read_only(read_only)
                .with_init(Some("DO 1".into()), Capabilities::NONE);
            let said = [packet(1, ok), packet(1, answers[0]), packet(1, answers[1])].concat();
            // Eleven bytes each.
            let (sent, end) = talk(change, &said, 11);
            assert!(sent[4..].starts_with(b"\x03DO 1"));
            assert_eq!(sent.ends_with(b"READ ONLY"), read_only.is_some());
            match end {
                ChangeStep::Done(first) => assert!(good && first[..] == *ok),
                ChangeStep::Failed(LoginError::Init(_)) => assert!(!good),
                ChangeStep::Failed(_) | ChangeStep::Wait | ChangeStep::Refused(_) => {
                    panic!("{end:?}")
                }
            }
        }
    }

    #[test]
    fn a_reset_asks_nothing() {
        for (answer, good) in [(&b"\0\0\0\x02\0\0\0"[..], true), (b"\xFF\x17\x04#08S01x", false)] {
            let mut out = BytesMut::new();
            let change = BackendChange::reset(&mut out);
            assert_eq!(out[..], [1, 0, 0, 0, 0x1F]);
            let (sent, end) = talk(change, &packet(1, answer), 1);
            assert!(sent.is_empty());
            match end {
                ChangeStep::Done(_) => assert!(good),
                ChangeStep::Refused(_) => assert!(!good),
                ChangeStep::Wait | ChangeStep::Failed(_) => panic!("{end:?}"),
            }
        }
    }
}
