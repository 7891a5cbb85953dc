//! Commands that cannot go on at once: KILL by Weir's ids, and changes of account.
//!
//! Purpose: ask the worker for what they need, keep what the client sends meanwhile, and let the
//! session go on.
//! Never: let what follows overtake, or keep more of it than allowed.

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

use crate::base::{Blame, Fault};
use crate::session::change::{Change, ChangeRequest, FAILURES_MAX, Step};
use crate::session::faults::{not_a_reply, unexpected};
use crate::session::ledger::{Entry, Ledger};
use crate::session::login::{EARLY_BYTES_MAX, LoginContext, too_long};
use crate::session::relay::{Relay, Wait, What};
use crate::session::sharing::AHEAD_BYTES_MAX;
use crate::session::stake::Stake;
use crate::session::state::Action;
use crate::session::text::{Decision, Refusal, Thread};
use crate::wire::reply::{Dialect, ReplyError};
use crate::wire::{ChangeUser, Edits, ErrPacket, OkPacket, Side, code, fault};

impl Relay {
    /// What is at stake while a backend is asked for another account.
    pub(super) fn stake(&self) -> Option<&Stake> {
        match self.wait.as_deref() {
            Some(Wait { what: What::Change(change), .. }) => change.stake(),
            Some(_) | None => None,
        }
    }

    pub(super) fn threads_asked_for(&self) -> Vec<u32> {
        match self.wait.as_deref() {
            Some(Wait { what: What::Threads(naming), .. }) => naming.ids().collect(),
            Some(_) | None => Vec::new(),
        }
    }

    /// The threads that were asked for: the command goes on, or is answered. Returns what the
    /// client sent behind it.
    pub(super) fn on_threads(
        &mut self,
        threads: &[Thread],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(BytesMut, Option<u32>), Fault> {
        let wait = self.wait.take().map(|wait| *wait);
        let Some(Wait { what: What::Threads(naming), rest, .. }) = wait else {
            return Err(unexpected("threads"));
        };
        let mut killed = None;
        match naming.decide(self.id, threads) {
            Ok(Decision::Send(payload)) => self.send_command(naming.command(), &payload, edits)?,
            Ok(Decision::Done { kills }) => {
                killed = kills;
                self.answer_done(edits, ledger)?;
            }
            Err(why) => self.answer_with(why, edits, ledger)?,
        }
        if rest.is_empty() {
            self.settle(edits);
        }
        Ok((rest, killed))
    }

    pub(super) fn on_change_user(
        &mut self,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        let command = ChangeUser::parse(payload, self.reply.dialect().client);
        let Ok(command) = command else {
            return self.answer_with(Refusal::UnknownCommand, edits, ledger);
        };
        // MariaDB resets the session all the same.
        let change = if self.failed_changes < FAILURES_MAX {
            Change::new(command)
        } else {
            Change::refused(
                command,
                fault(Blame::Client, code::UNKNOWN_COM_ERROR, "Unknown command"),
            )
        };
        let what = What::Change(change);
        self.wait = Some(Box::new(Wait::new(what, None)));
        self.begin_change();
        Ok(())
    }

    /// A reset behind which more is said: that the session may still only read, or its backend's
    /// `init_query`. The worker sees to that.
    pub(super) fn on_guarded_reset(&mut self) {
        self.wait = Some(Box::new(Wait::new(What::Change(Change::reset()), None)));
        self.begin_change();
    }

    /// Begins a change of account when everything before it is answered.
    pub(super) fn begin_change(&mut self) {
        if self.owed.is_empty()
            && !self.unasked
            && let Some(Wait { what: What::Change(change), action, .. }) = self.wait.as_deref_mut()
        {
            let is_denied = change.is_refused();
            *action = Some(if is_denied || change.is_reset() {
                Action::ChangeUser(Box::new(ChangeRequest { user: None, is_denied }))
            } else {
                Action::Identify
            });
        }
    }

    /// A nonce, and the rules of the moment, for a change of account.
    pub(super) fn on_identity(
        &mut self,
        context: LoginContext,
        edits: &mut Edits,
    ) -> Result<(), Fault> {
        let client = self.reply.dialect().client;
        let Some(Wait { what: What::Change(change), .. }) = self.wait.as_deref_mut() else {
            return Err(unexpected("a nonce"));
        };
        let step = change.authenticate(context, client, edits);
        self.after_step(step)?;
        // The client may have answered before it was asked.
        let early = self.wait.as_deref_mut().map(|wait| std::mem::take(&mut wait.rest));
        let early = early.unwrap_or_default();
        if !early.is_empty() {
            self.set_aside_bytes(&early, edits)?;
        }
        Ok(())
    }

    /// The password of a client that changes its account was opened, or could not be.
    pub(super) fn on_opened(&mut self, password: Option<&Zeroizing<Vec<u8>>>) -> Result<(), Fault> {
        let Some(Wait { what: What::Change(change), .. }) = self.wait.as_deref_mut() else {
            return Ok(());
        };
        let step = change.on_opened(password);
        self.after_step(step)
    }

    /// Takes what the client sends while a command waits: its part of an exchange, or what is for
    /// later.
    #[cold]
    pub(super) fn set_aside(&mut self, input: &mut [u8], edits: &mut Edits) -> Result<(), Fault> {
        edits.discard(input.len());
        let set = self.set_aside_bytes(input, edits);
        // A password may be in there.
        input.zeroize();
        set
    }

    fn set_aside_bytes(&mut self, input: &[u8], edits: &mut Edits) -> Result<(), Fault> {
        let Some(wait) = self.wait.as_deref_mut() else { return Ok(()) };
        if let What::Change(change) = &mut wait.what
            && change.is_authenticating()
        {
            let step = change.on_bytes(input, edits)?;
            return self.after_step(step);
        }
        wait.rest.extend_from_slice(input);
        let is_shared = self.sharing.is_some();
        if wait.rest.len() > if is_shared { AHEAD_BYTES_MAX } else { EARLY_BYTES_MAX } {
            return Err(too_long());
        }
        Ok(())
    }

    fn after_step(&mut self, step: Step) -> Result<(), Fault> {
        let Some(wait) = self.wait.as_deref_mut() else { return Ok(()) };
        let (request, mut rest) = match step {
            Step::Wait => return Ok(()),
            Step::Open(sealed) => {
                wait.action = Some(Action::Open(sealed));
                return Ok(());
            }
            Step::Ask(request, rest) => (request, rest),
        };
        if request.user.is_none() {
            self.failed_changes += 1;
            if !self.is_mariadb
                && let What::Change(change) = &mut wait.what
                && let Some(denied) = change.take_denied()
            {
                // MySQL ends the connection.
                return Err(denied);
            }
        }
        rest.extend_from_slice(&wait.rest);
        wait.rest = rest;
        wait.action = Some(Action::ChangeUser(Box::new(request)));
        Ok(())
    }

    fn take_change(&mut self) -> Option<(Change, BytesMut)> {
        match *self.wait.take()? {
            Wait { what: What::Change(change), rest, .. } => Some((change, rest)),
            Wait { what: What::Threads(_) | What::List(_) | What::Exchange(..), .. } => None,
        }
    }

    /// The backend changed the account, or only reset the session. Returns what the client sent
    /// behind the command.
    pub(super) fn on_user_changed(
        &mut self,
        ok: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<BytesMut, Fault> {
        let Dialect { client, backend } = self.reply.dialect();
        let packet = OkPacket::parse(ok, backend)
            .map_err(|malformed| not_a_reply(ReplyError::Malformed(malformed)))?;
        let Some((mut change, rest)) = self.take_change() else {
            return Err(unexpected("a change of account"));
        };
        if let Some(stake) = change.stake() {
            stake.accepted();
        }
        if !change.is_refused() && !change.is_reset() {
            self.guard = change.take_guard();
        }
        self.reply.set_status(packet.status);
        if let Some(sharing) = self.sharing.as_deref_mut() {
            if change.is_reset() {
                sharing.on_reset();
            }
            sharing.router.causal.set_level(None);
            sharing.forget_statements();
        }
        ledger.answered(self.command_since);
        let seq = change.next_seq();
        edits.send(Side::Client, |out| match change.take_denied() {
            None => packet.encode(client, seq, out),
            Some(fault) => ErrPacket::from(&fault).encode(seq, out),
        });
        if rest.is_empty() {
            self.settle(edits);
        }
        Ok(rest)
    }

    /// The backend refused to change the account: its ERR goes to the client. Returns what the
    /// client sent behind the command.
    pub(super) fn on_user_refused(
        &mut self,
        err: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<BytesMut, Fault> {
        let packet = ErrPacket::parse(err)
            .map_err(|malformed| not_a_reply(ReplyError::Malformed(malformed)))?;
        let Some((mut change, rest)) = self.take_change() else {
            return Err(unexpected("a refused account"));
        };
        let denied = change.take_denied();
        let own = change.stake().and_then(|stake| stake.refused(packet.code));
        ledger.answered(self.command_since);
        if denied.is_none() {
            ledger.enter(Entry::BackendError(packet.code));
        }
        edits.send(Side::Client, |out| {
            denied.as_ref().or(own).map_or(packet, ErrPacket::from).encode(change.next_seq(), out);
        });
        self.failed_changes += u8::from(denied.is_none());
        // MySQL ends the connection; and a session that could not be reset must not go on.
        self.gone = !self.is_mariadb || denied.is_some();
        Ok(rest)
    }
}
