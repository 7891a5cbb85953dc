//! COM_CHANGE_USER, the client's side of it.
//!
//! ```text
//! Queued ─ all answers given ─► (context) Authenticate ─ right ─► AtBackend ─► OK or the backend's ERR
//!                                            └─ wrong ─► AtBackend (reset only) ─► ERR 1045
//! ```
//!
//! Purpose: find out who the client is now, with a new nonce and always by a switch, as servers do.
//! Never: show a backend an account whose client has not proven it, or let what follows overtake.

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

use crate::auth::{ClientAuth, ClientStep, Plugin, Proof, Sealed};
use crate::base::{Fault, Time};
use crate::session::faults::out_of_order;
use crate::session::guard::Guard;
use crate::session::login::{LoginContext, access_denied, cannot_tell, too_long};
use crate::session::stake::Stake;
use crate::wire::frame::{Assembler, FrameError};
use crate::wire::{Capabilities, ChangeUser, Edits, LoginRequest, Side, ZSTD_LEVEL_DEFAULT};

/// The longest packet of the exchange.
const PACKET_BYTES_MAX: usize = 4 << 10;

/// Failures on one connection after which servers know the command no longer.
pub(super) const FAILURES_MAX: u8 = 3;

/// A change of account to be carried out on the session's backend connection.
#[derive(Debug)]
pub struct ChangeRequest {
    /// The account, schema, character set and attributes, and what proves the account; `None` when
    /// the client did not prove it, and its session is only to be reset, as servers do it.
    pub user: Option<(ChangeUser, Proof)>,
    /// It did not prove it.
    pub is_denied: bool,
}

#[derive(Debug)]
enum Stage {
    /// Answers to earlier commands are owed, or a nonce is on its way.
    Queued,
    Authenticate {
        auth: ClientAuth,
        assembler: Assembler,
        context: Box<LoginContext>,
        /// The client has sealed its password, which is being opened.
        opening: bool,
    },
    /// The backend is being asked; the fault is what the client is told when it has answered.
    AtBackend { denied: Option<Fault> },
}

/// A change of account in progress.
#[derive(Debug)]
pub(super) struct Change {
    command: ChangeUser,
    /// Sequence id of the next packet to the client.
    next_seq: u8,
    deadline: Time,
    stage: Stage,
    is_reset: bool,
    /// What the backend's verdict means for the memory of passwords.
    stake: Option<Box<Stake>>,
    /// What the new user may not do.
    guard: Option<Box<Guard>>,
}

/// What a feed came to.
#[derive(Debug)]
pub(super) enum Step {
    Wait,
    /// The password has to be opened.
    Open(Box<Sealed>),
    /// The backend has to be asked; the bytes came behind the exchange.
    Ask(ChangeRequest, BytesMut),
}

impl Change {
    pub(super) const fn new(command: ChangeUser) -> Self {
        Self::at(command, Stage::Queued)
    }

    /// A change that is refused before anything is asked: the session is reset, and the client told.
    pub(super) const fn refused(command: ChangeUser, fault: Fault) -> Self {
        let stage = Stage::AtBackend { denied: Some(fault) };
        Self::at(command, stage)
    }

    /// No change: the session is reset, as its client wants it.
    pub(super) const fn reset() -> Self {
        let nobody = ChangeUser {
            user: Vec::new(),
            database: None,
            collation: 0,
            plugin: None,
            connect_attrs: None,
        };
        let mut change = Self::at(nobody, Stage::AtBackend { denied: None });
        change.is_reset = true;
        change
    }

    const fn at(command: ChangeUser, stage: Stage) -> Self {
        Self {
            command,
            next_seq: 1,
            deadline: Time::NEVER,
            stage,
            is_reset: false,
            stake: None,
            guard: None,
        }
    }

    pub(super) const fn is_reset(&self) -> bool {
        self.is_reset
    }

    pub(super) const fn stake(&self) -> Option<&Stake> {
        match &self.stake {
            Some(stake) => Some(stake),
            None => None,
        }
    }

    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.stage, Stage::AtBackend { denied: Some(_) })
    }

    pub(super) const fn deadline(&self) -> Time {
        self.deadline
    }

    pub(super) const fn next_seq(&self) -> u8 {
        self.next_seq
    }

    /// What the client sends now belongs to the exchange.
    pub(super) const fn is_authenticating(&self) -> bool {
        matches!(self.stage, Stage::Authenticate { opening: false, .. })
    }

    /// What the new user may not do.
    pub(super) fn take_guard(&mut self) -> Option<Box<Guard>> {
        self.guard.take()
    }

    /// What the client is to be told once its session is reset.
    pub(super) fn take_denied(&mut self) -> Option<Fault> {
        match &mut self.stage {
            Stage::AtBackend { denied } => denied.take(),
            Stage::Queued | Stage::Authenticate { .. } => None,
        }
    }

    /// There is a nonce: asks the client for its answer.
    pub(super) fn authenticate(
        &mut self,
        context: LoginContext,
        client: Capabilities,
        edits: &mut Edits,
    ) -> Step {
        let claim = context.claim(&self.command.user);
        let plugin = Plugin::from_name(&context.server.plugin).unwrap_or(Plugin::NativePassword);
        let request = self.as_login(client);
        let mut out = BytesMut::new();
        let (auth, step) =
            ClientAuth::start(&request, claim, context.nonce, plugin, self.next_seq, &mut out);
        self.deadline = context.deadline;
        let assembler = Assembler::new(PACKET_BYTES_MAX);
        self.stage =
            Stage::Authenticate { auth, assembler, context: Box::new(context), opening: false };
        self.answer(&out, edits);
        self.after(step)
    }

    /// Bytes of the client, during the exchange.
    pub(super) fn on_bytes(&mut self, input: &[u8], edits: &mut Edits) -> Result<Step, Fault> {
        let Stage::Authenticate { auth, assembler, .. } = &mut self.stage else {
            return Ok(Step::Wait);
        };
        assembler.push(input);
        let mut packet = match assembler.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(Step::Wait),
            Err(FrameError::TooLong) => return Err(too_long()),
            Err(FrameError::OutOfOrder) => return Err(out_of_order()),
        };
        if packet.seq != self.next_seq {
            return Err(out_of_order());
        }
        self.next_seq = packet.seq.wrapping_add(1);
        let mut out = BytesMut::new();
        let step = auth.on_packet(&packet.payload, self.next_seq, &mut out);
        // It may have been a password.
        packet.payload.zeroize();
        self.answer(&out, edits);
        match self.after(step) {
            // The next packet of the exchange may have come along.
            Step::Wait => self.on_bytes(&[], edits),
            step @ (Step::Open(_) | Step::Ask(..)) => Ok(step),
        }
    }

    /// The client's password was opened, or could not be.
    pub(super) fn on_opened(&mut self, password: Option<&Zeroizing<Vec<u8>>>) -> Step {
        let Stage::Authenticate { auth, opening, .. } = &mut self.stage else {
            return Step::Wait;
        };
        *opening = false;
        let step = auth.on_opened(password.map(|password| password.as_slice()));
        self.after(step)
    }

    /// Sends what the exchange says.
    fn answer(&mut self, out: &BytesMut, edits: &mut Edits) {
        if !out.is_empty() {
            self.next_seq = self.next_seq.wrapping_add(1);
            edits.send(Side::Client, |bytes| bytes.extend_from_slice(out));
        }
    }

    fn after(&mut self, step: ClientStep) -> Step {
        let Stage::Authenticate { auth, assembler, context, opening } = &mut self.stage else {
            return Step::Wait;
        };
        let denial =
            |auth: &ClientAuth| access_denied(context, &self.command.user, auth.used_password());
        let (user, denied) = match step {
            ClientStep::Continue => return Step::Wait,
            ClientStep::Open(sealed) => {
                *opening = true;
                return Step::Open(sealed);
            }
            ClientStep::Accepted(proof) if context.admits(&self.command.user) => {
                self.guard = Guard::of(context, &self.command.user);
                let guard = self.guard.as_deref();
                match guard.and_then(|it| it.denied(self.command.database.as_deref())) {
                    Some(fault) => (None, Some(fault)),
                    None => {
                        self.stake = Stake::of(context, auth, &self.command.user, &proof);
                        (Some((self.command.clone(), proof)), None)
                    }
                }
            }
            ClientStep::Accepted(_) | ClientStep::Denied => (None, Some(denial(auth))),
            ClientStep::CannotTell => (None, Some(cannot_tell())),
        };
        let rest = assembler.take_rest();
        self.stage = Stage::AtBackend { denied };
        let is_denied = user.is_none();
        Step::Ask(ChangeRequest { user, is_denied }, rest)
    }

    /// The command as a login that names no plugin, which always leads to a switch.
    fn as_login(&self, capabilities: Capabilities) -> LoginRequest {
        LoginRequest {
            capabilities,
            packet_bytes_max: 0,
            collation: 0,
            user: self.command.user.clone(),
            auth_response: Vec::new(),
            database: None,
            plugin: None,
            connect_attrs: None,
            zstd_level: ZSTD_LEVEL_DEFAULT,
        }
    }
}
