//! The session after its login: commands one way, replies the other.
//!
//! Purpose: know for every byte of a backend which command it answers.
//! Never: hold a result or a statement of more than [`text::TEXT_BYTES_MAX`]; both stream through.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Blame, ConnectionId, Fault, Time};
use crate::route::Positions;
use crate::session::change::Change;
use crate::session::course::{Route, route, spoils};
use crate::session::faults::{not_a_reply, out_of_order};
use crate::session::guard::Guard;
use crate::session::ledger::{Entry, Ledger};
use crate::session::listing::Listing;
use crate::session::owed::{Owed, OwedQueue};
use crate::session::sharing::{Kind, Of, Sharing, Topic};
use crate::session::state::{Action, Tally};
use crate::session::text::{self, Naming, Refusal, Verdict};
use crate::share::Exchange;
use crate::wire::reply::{Dialect, Expect, ReplyEvent, ReplyWalk, Tracked};
use crate::wire::request::{RequestEvent, RequestWalk};
use crate::wire::{Command, Edits, ErrPacket, Side, Status, code, fault, frame, query_text_at};

/// A command that cannot go on yet, and whatever was sent behind it.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) what: What,
    pub(super) rest: BytesMut,
    /// What its worker has to do for it now.
    pub(super) action: Option<Action>,
}

impl Wait {
    pub(super) fn new(what: What, action: Option<Action>) -> Self {
        Self { what, rest: BytesMut::new(), action }
    }
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per session that waits, in a box")]
pub(super) enum What {
    /// For the threads of other connections.
    Threads(Naming),
    /// For another account.
    Change(Change),
    /// For the backend's list of threads, and what Weir knows of them.
    List(Listing),
    /// For the backend's answers to Weir's own words.
    Exchange(Box<Exchange>, Topic),
}

/// Both directions of a logged-in session.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) request: RequestWalk,
    pub(super) reply: ReplyWalk,
    pub(super) owed: OwedQueue,
    /// When the first byte came of a command of which too little came to know it.
    pub(super) cut_since: Option<Time>,
    /// When the last command began: the one that is being refused, held or waits.
    pub(super) command_since: Time,
    /// The client sends no more, and did not say so with a COM_QUIT; or it is to send no more.
    pub(super) gone: bool,
    /// The backend speaks without being asked (it is being shut down, or killed the connection).
    pub(super) unasked: bool,
    /// The command that comes now is owed an answer, the last one of `owed`.
    pub(super) owes_current: bool,
    pub(super) id: ConnectionId,
    pub(super) is_mariadb: bool,
    /// The backend connection is for the next client when this one leaves, unless it is spoiled.
    keeps_backend: bool,
    pub(super) spoiled: bool,
    /// Changes of account that failed.
    pub(super) failed_changes: u8,
    pub(super) wait: Option<Box<Wait>>,
    /// Why the command that is being refused is.
    pub(super) refusing: Refusal,
    /// What the user may not do, if it has bounds.
    pub(super) guard: Option<Box<Guard>>,
    /// More is said behind a reset of its backend connection, by the worker.
    pub(super) has_init: bool,
    /// It has a backend connection only while it needs one.
    pub(super) sharing: Option<Box<Sharing>>,
    /// What the servers of its cluster have, if it has its connection to itself.
    pub(super) positions: Option<Arc<Positions>>,
}

impl Relay {
    pub(super) fn new(
        id: ConnectionId,
        is_mariadb: bool,
        keeps_backend: bool,
        dialect: Dialect,
        status: Status,
        pipelined_commands_max: usize,
    ) -> Self {
        Self {
            request: RequestWalk::default(),
            reply: ReplyWalk::new(dialect, status),
            owed: OwedQueue::new(pipelined_commands_max),
            cut_since: None,
            command_since: Time::ZERO,
            gone: false,
            unasked: false,
            owes_current: false,
            id,
            is_mariadb,
            keeps_backend,
            spoiled: false,
            failed_changes: 0,
            wait: None,
            refusing: Refusal::UnknownCommand,
            guard: None,
            has_init: false,
            sharing: None,
            positions: None,
        }
    }

    pub(super) fn guarded_by(self, guard: Option<Box<Guard>>) -> Self {
        Self { guard, ..self }
    }

    /// One that shares backend connections.
    pub(super) fn shared(mut self, sharing: Box<Sharing>, tracked: Arc<Tracked>) -> Self {
        self.reply.keep_notes(tracked);
        self.sharing = Some(sharing);
        self
    }

    /// A command waits for something.
    #[inline]
    pub(super) const fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// What the session wants of its worker.
    pub(super) fn take_action(&mut self) -> Option<Action> {
        if let Some(sharing) = self.sharing.as_deref_mut()
            && sharing.action.is_some()
        {
            return sharing.action.take();
        }
        self.wait.as_deref_mut()?.action.take()
    }

    /// When a change of account has to be over.
    pub(super) fn deadline(&self) -> Time {
        match self.wait.as_deref() {
            Some(Wait { what: What::Change(change), .. }) => change.deadline(),
            Some(_) | None => Time::NEVER,
        }
    }

    /// Inside a file upload, whose end an ERR has to wait for.
    pub(super) const fn is_uploading(&self) -> bool {
        self.request.is_uploading()
    }

    /// The client's side, for what is left of an upload.
    pub(super) fn into_request(self) -> RequestWalk {
        self.request
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.owed.is_empty()
            && self.wait.is_none()
            && self.request.is_idle()
            && !self.unasked
            && !self.reply.status().contains(Status::IN_TRANS)
    }

    /// The client quit or went away: the session is over when nothing is owed any more. Nobody
    /// waits for the end of a binlog dump: it has none.
    pub(super) fn is_done(&self) -> bool {
        let stream = |owed: &Owed| matches!(owed, Owed::Reply { expect: Expect::Stream, .. });
        self.is_leaving() && self.owed.front().is_none_or(stream)
    }

    /// The session is over, and nothing of it is on its way to or from the backend, whose
    /// connection can be made as good as new.
    pub(super) fn leaves_backend_clean(&self) -> bool {
        let is_between = self.request.is_idle() || self.request.is_over();
        let is_silent = self.owed.is_empty() && self.wait.is_none() && !self.unasked;
        self.keeps_backend && !self.spoiled && is_between && is_silent
    }

    fn is_leaving(&self) -> bool {
        self.gone || self.request.is_over()
    }

    /// Whether a reply of the backend is on its way.
    pub(super) fn awaits_reply(&self) -> bool {
        matches!(self.owed.front(), Some(Owed::Reply { .. }))
    }

    pub(super) fn waits_for_backend(&self) -> bool {
        // A server may refuse a command, as one that is too long, before all of it has come, and
        // then close: whoever is still sending has its answer.
        let asks = !self.request.is_idle() && !self.request.is_inside_command();
        let idle = self.owed.is_empty() && self.wait.is_none() && !asks && !self.unasked;
        !self.is_leaving() && !idle
    }

    pub(super) const fn bytes_ahead(&self, side: Side) -> usize {
        match side {
            Side::Client => self.request.bytes_ahead(),
            Side::Backend => self.reply.bytes_ahead(),
        }
    }

    /// The sequence id an ERR would have that ends what is going on; `None` inside a frame.
    pub(super) fn interruption_seq(&self) -> Option<u8> {
        if self.request.is_uploading() {
            return Some(self.request.answer_seq());
        }
        match self.owed.front() {
            Some(_) if self.reply.has_begun() && !self.is_list_next() => {
                self.reply.interruption_seq()
            }
            Some(_) if self.owed.len() == 1 && self.owes_current => Some(self.request.answer_seq()),
            Some(Owed::Reply { seq, .. } | Owed::Refusal { seq, .. } | Owed::Done { seq }) => {
                Some(*seq)
            }
            None => match self.wait.as_deref() {
                Some(Wait { what: What::Change(change), .. }) => Some(change.next_seq()),
                // The client takes it for the answer to the command it sends next.
                _ if self.request.is_between_commands() => Some(1),
                _ => Some(self.request.answer_seq()),
            },
        }
    }

    pub(super) fn on_client(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Tally, Fault> {
        if self.sharing.is_some() {
            return self.on_shared_client(input, edits, ledger);
        }
        let mut tally = Tally::default();
        let mut at = 0;
        loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            if self.wait.is_some() {
                self.set_aside(rest, edits)?;
                return Ok(tally);
            }
            if let Some(used) = self.relay_whole(rest, edits, ledger)? {
                tally.commands += 1;
                at += used;
                if at == input.len() {
                    return Ok(tally);
                }
                continue;
            }
            let walked = self.request.feed(rest, edits).map_err(|_| out_of_order())?;
            at += walked.used;
            match walked.event {
                None => {
                    if self.request.is_cut() && self.request.is_between_commands() {
                        self.cut_since.get_or_insert(ledger.now());
                    }
                    return Ok(tally);
                }
                Some(RequestEvent::Command(command)) => {
                    tally.commands += 1;
                    let since = if self.request.is_cut() { self.cut_since.take() } else { None };
                    self.command_since = since.unwrap_or_else(|| ledger.now());
                    self.on_command(command)?;
                }
                Some(RequestEvent::Long { seq }) => self.on_long(seq),
                Some(RequestEvent::Held | RequestEvent::Head) => self.on_held(edits, ledger)?,
                Some(RequestEvent::Refused { seq }) => {
                    let why = std::mem::replace(&mut self.refusing, Refusal::UnknownCommand);
                    self.refuse_current(seq, why, edits, ledger)?;
                }
                Some(RequestEvent::UploadEnd) => {
                    self.reply.uploaded(self.request.answer_seq().wrapping_sub(1));
                }
            }
        }
    }

    /// The short way for most commands: all of it is there, and nothing about it is special.
    /// Returns the bytes used.
    #[inline]
    fn relay_whole(
        &mut self,
        input: &[u8],
        edits: &mut Edits,
        ledger: &Ledger,
    ) -> Result<Option<usize>, Fault> {
        let Some((command, payload)) = self.request.whole_command(input) else {
            return Ok(None);
        };
        let is_reset = command == Command::ResetConnection;
        if self.guard.is_some() || is_reset && self.has_init {
            return Ok(None);
        }
        let expect = match route(command) {
            Route::Relay(expect) => expect,
            Route::Text(expect)
                if payload.len() > text::TEXT_BYTES_MAX
                    || !text::may_matter(payload, self.reply.dialect().client) =>
            {
                expect
            }
            Route::Text(_) | Route::Silent | Route::Quit | Route::Refuse | Route::Hold { .. } => {
                return Ok(None);
            }
        };
        self.spoiled |= spoils(command);
        self.command_since = ledger.now();
        self.owe_reply(expect)?;
        self.owes_current = false;
        Ok(Some(self.request.relay_whole(payload.len(), edits)))
    }

    /// A command begins that is cut, or special.
    fn on_command(&mut self, command: Option<Command>) -> Result<(), Fault> {
        let bytes = self.request.command_bytes();
        self.spoiled |= command.is_some_and(spoils);
        self.owes_current = false;
        match command.map_or(Route::Refuse, route) {
            Route::Hold { bytes_max } if bytes <= bytes_max => {
                self.request.hold();
                return Ok(());
            }
            Route::Text(_) if bytes <= self.text_bytes_max() => {
                self.request.hold();
                return Ok(());
            }
            Route::Text(_) if self.is_for_reading() => {
                if let Some(guard) = self.guard.as_deref_mut() {
                    guard.refuse_long();
                }
                self.refusing = Refusal::Guarded;
                self.request.refuse();
                return Ok(());
            }
            Route::Relay(_)
                if command == Some(Command::ResetConnection)
                    && (self.is_for_reading() || self.has_init) =>
            {
                self.request.hold();
                return Ok(());
            }
            Route::Relay(_) if self.guard.is_some() && command == Some(Command::InitDb) => {
                if bytes <= text::TEXT_BYTES_MAX {
                    self.request.hold();
                } else {
                    self.request.refuse();
                }
                return Ok(());
            }
            Route::Hold { .. } | Route::Refuse => {
                self.request.refuse();
                return Ok(());
            }
            Route::Quit if self.keeps_backend => {
                self.request.drop_last();
                return Ok(());
            }
            Route::Quit => {
                self.request.relay_last();
                return Ok(());
            }
            Route::Silent => {}
            Route::Text(expect) | Route::Relay(expect) => {
                self.owe_reply(expect)?;
                self.owes_current = true;
            }
        }
        self.request.relay();
        Ok(())
    }

    /// A relayed command took several frames, and its answer is numbered after them.
    pub(super) fn on_long(&mut self, answer_seq: u8) {
        if self.owes_current
            && let Some(Owed::Reply { seq, .. }) = self.owed.back_mut()
        {
            *seq = answer_seq;
        }
    }

    /// A command that was to be seen whole is whole.
    #[cold]
    fn on_held(&mut self, edits: &mut Edits, ledger: &mut Ledger) -> Result<(), Fault> {
        let payload = self.request.take_held();
        let command = payload.first().and_then(|byte| Command::from_byte(*byte));
        if self.is_guarded_against(command, &payload) {
            return self.answer_with(Refusal::Guarded, edits, ledger);
        }
        self.decide(command, &payload, edits, ledger)
    }

    /// A whole command of a session that shares its connection, which is there.
    pub(super) fn on_whole(
        &mut self,
        command: Command,
        payload: &BytesMut,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        self.spoiled |= spoils(command);
        self.owes_current = false;
        self.decide(Some(command), payload, edits, ledger)
    }

    fn decide(
        &mut self,
        command: Option<Command>,
        payload: &BytesMut,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        let dialect = self.reply.dialect();
        let verdict = match command {
            Some(Command::ResetConnection) => {
                self.on_guarded_reset();
                return Ok(());
            }
            Some(Command::InitDb) => Verdict::AsIs,
            Some(Command::ChangeUser) => return self.on_change_user(payload, edits, ledger),
            Some(Command::ProcessKill) => text::judge_process_kill(payload, dialect),
            Some(Command::ProcessInfo) => Verdict::List,
            Some(_) | None => text::judge(payload, dialect, self.reply.status(), self.id),
        };
        match verdict {
            Verdict::AsIs => self.send_command(command, payload, edits),
            Verdict::Instead(payload) => self.send_command(command, &payload, edits),
            Verdict::Refuse(why) => self.answer_with(why, edits, ledger),
            Verdict::List => self.begin_list(command, payload, edits),
            Verdict::Ask(naming) => {
                let action = Some(Action::FindThreads);
                self.wait = Some(Box::new(Wait::new(What::Threads(naming), action)));
                Ok(())
            }
        }
    }

    fn is_for_reading(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.is_for_reading())
    }

    /// The longest statement that is looked at whole.
    fn text_bytes_max(&self) -> usize {
        self.guard.as_ref().map_or(text::TEXT_BYTES_MAX, |guard| guard.text_bytes_max())
    }

    fn is_guarded_against(&mut self, command: Option<Command>, payload: &[u8]) -> bool {
        let Some(guard) = self.guard.as_deref_mut() else { return false };
        let backslash_escapes = !self.reply.status().contains(Status::NO_BACKSLASH_ESCAPES);
        let text_at = match command {
            Some(Command::InitDb) => return guard.refuses_schema(payload),
            Some(Command::Query) => query_text_at(payload, self.reply.dialect().client),
            Some(Command::StmtPrepare) => Ok(1),
            Some(_) | None => return false,
        };
        text_at.is_ok_and(|at| {
            guard.refuses_text(payload.get(at..).unwrap_or_default(), backslash_escapes)
        })
    }

    /// Sends a command of one frame to the backend.
    pub(super) fn send_command(
        &mut self,
        command: Option<Command>,
        payload: &[u8],
        edits: &mut Edits,
    ) -> Result<(), Fault> {
        if let Some(Route::Text(expect) | Route::Relay(expect)) = command.map(route) {
            let kind = match command {
                Some(Command::StmtPrepare) => Kind::Prepare,
                Some(Command::Query) => Kind::STATEMENT,
                Some(_) | None => Kind::Other,
            };
            self.issue(expect, kind, None, Of::Nothing)?;
        }
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.router.causal.on_unread();
        }
        send_whole(payload, edits);
        Ok(())
    }

    pub(super) fn answer_with(
        &mut self,
        why: Refusal,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        self.refuse_current(1, why, edits, ledger)
    }

    /// The command that was to be refused is over.
    pub(super) fn refuse_current(
        &mut self,
        seq: u8,
        why: Refusal,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        self.owe(Owed::Refusal { seq, why })?;
        self.refuse_what_is_next(edits, ledger);
        Ok(())
    }

    /// A command is done, by Weir itself.
    pub(super) fn answer_done(
        &mut self,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        self.owe(Owed::Done { seq: 1 })?;
        self.refuse_what_is_next(edits, ledger);
        Ok(())
    }

    pub(super) fn owe_reply(&mut self, expect: Expect) -> Result<(), Fault> {
        let begins = self.owed.is_empty();
        self.owe(Owed::Reply { expect, seq: 1 })?;
        if begins && !self.unasked {
            self.reply.begin(expect);
        }
        Ok(())
    }

    fn owe(&mut self, owed: Owed) -> Result<(), Fault> {
        self.owed.push(owed, self.command_since).map_err(|_| {
            fault(
                Blame::Limit,
                code::UNKNOWN_ERROR,
                "weir: too many commands sent ahead of their answers \
                      (limits.pipelined_commands_max)",
            )
        })
    }

    pub(super) fn on_backend(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let mut at = 0;
        while at < input.len() {
            if self.is_done() {
                edits.discard(input.len() - at);
                break;
            }
            if let Some(Wait { what: What::Exchange(..), .. }) = self.wait.as_deref() {
                self.on_exchange(input.get(at..).unwrap_or_default(), edits, ledger)?;
                break;
            }
            if self.is_list_next() {
                let rest = input.get_mut(at..).unwrap_or_default();
                at += self.collect(rest, edits, (&mut tally, ledger))?;
                continue;
            }
            if self.is_refused_here(input.get(at..).unwrap_or_default(), ledger) {
                edits.discard(input.len() - at);
                break;
            }
            if self.owed.is_empty() && !self.unasked {
                self.unasked = true;
                self.reply.begin(Expect::Unasked);
            }
            let rest = input.get_mut(at..).unwrap_or_default();
            let walked = self.reply.feed(rest, edits).map_err(not_a_reply)?;
            at += walked.used;
            self.note_positions();
            match walked.event {
                None => {}
                Some(ReplyEvent::LocalInfile) => {
                    // The backend would take what was pipelined behind the statement for the file,
                    // and a client that has left for one that goes on.
                    if self.is_leaving()
                        || self.owed.len() > 1
                        || !self.request.is_idle()
                        || self.wait.is_some()
                    {
                        return Err(out_of_order());
                    }
                    self.request.begin_upload(self.reply.shift(), self.reply.last_seq());
                }
                Some(ReplyEvent::End { failed }) => {
                    tally.replies += 1;
                    tally.errors += u32::from(failed);
                    if failed {
                        ledger.enter(Entry::BackendError(self.reply.error_code()));
                    }
                    self.reply_over(failed, edits, ledger)?;
                }
            }
        }
        Ok(tally)
    }

    pub(super) fn reply_over(
        &mut self,
        failed: bool,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        if self.unasked {
            self.unasked = false;
        } else {
            self.owed.pop(ledger);
            self.note_answer();
            self.on_shared_answer(failed, edits, ledger)?;
        }
        self.refuse_what_is_next(edits, ledger);
        if let Some(&Owed::Reply { expect, .. }) = self.owed.front() {
            self.reply.begin(expect);
        } else if self.wait.is_some() {
            self.begin_change();
        } else {
            self.go_on(edits);
        }
        Ok(())
    }

    /// Sends the refusals whose turn has come.
    fn refuse_what_is_next(&mut self, edits: &mut Edits, ledger: &mut Ledger) {
        loop {
            let (seq, why) = match self.owed.front() {
                Some(&Owed::Refusal { seq, why }) => (seq, why),
                Some(&Owed::Done { seq }) => {
                    self.owed.pop(ledger);
                    self.send_ok(seq, &[], edits);
                    continue;
                }
                Some(Owed::Reply { .. }) | None => return,
            };
            self.owed.pop(ledger);
            let (mut code, mut sqlstate, mut message) = why.error();
            if why == Refusal::Guarded
                && let Some(denial) = self.guard.as_deref_mut().and_then(Guard::say)
            {
                (code, message) = (denial.code, denial.text);
                sqlstate = fault(Blame::Client, code, "").sqlstate;
            }
            ledger.enter(Entry::OwnError(code));
            edits.send(Side::Client, |out| {
                ErrPacket { code, sqlstate, message: message.as_bytes() }.encode(seq, out);
            });
        }
    }

    pub(super) fn on_client_end(&mut self, edits: &mut Edits) {
        if self.is_leaving() {
            return;
        }
        if let Some(sharing) = self.sharing.as_deref_mut()
            && (sharing.action.is_some()
                || !sharing.ahead.is_empty()
                || self
                    .wait
                    .as_deref()
                    .is_some_and(|wait| matches!(wait.what, What::Exchange(..) | What::List(_))))
        {
            // What came before the end is dealt with first.
            sharing.client_ended = true;
            return;
        }
        self.gone = true;
        if self.request.is_idle() && (self.wait.is_none() || self.lists()) {
            if self.keeps_backend {
                return;
            }
            edits.send(Side::Backend, |out| {
                frame(out, 0, |payload| {
                    payload.extend_from_slice(&[Command::Quit.as_byte()]);
                });
            });
        } else {
            // Half a command will never be answered.
            self.owed = OwedQueue::new(0);
            self.wait = None;
        }
    }
}

/// Sends a command of one frame to the backend.
pub(super) fn send_whole(payload: &[u8], edits: &mut Edits) {
    edits.send(Side::Backend, |out| frame(out, 0, |out| out.extend_from_slice(payload)));
}
