//! Commands of a session that shares backend connections.
//!
//! Purpose: decide for each command what it needs and does, before any of it goes on.
//! Never: hold a command of more than [`text::TEXT_BYTES_MAX`].

use bytes::BytesMut;

use crate::base::Fault;
use crate::session::course::{Route, route, spoils};
use crate::session::faults::out_of_order;
use crate::session::ledger::{Entry, Ledger};
use crate::session::prepared::HEAD_BYTES;
use crate::session::relay::{Relay, send_whole};
use crate::session::sharing::{Kind, LongText, Of, Topic};
use crate::session::state::Tally;
use crate::session::text::{self, Refusal, Verdict};
use crate::share::{Asked, Effects, Pin, Question, Step, Words};
use crate::sql::{Findings, FindingsInPieces, Flags, Previous};
use crate::wire::frame::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use crate::wire::reply::Expect;
use crate::wire::request::RequestEvent;
use crate::wire::{
    Capabilities, Command, Edits, ErrPacket, Side, frame, query_text_at, set_statement_id,
};

/// What becomes of a command that is whole.
pub(super) enum Ruling {
    /// It goes on, as it is, or in other words, or to that statement of the server.
    Go {
        expect: Option<Expect>,
        kind: Kind,
        effects: Option<Box<Effects>>,
        of: Of,
        instead: Option<BytesMut>,
        statement: Option<u32>,
    },
    /// It needs a connection first.
    Acquire,
    /// It is dealt with; or something has to be said to the backend first, and it comes again.
    Done,
    /// It comes again once something of Weir's own was said to the backend.
    Again,
    /// It comes again as another text.
    Replaced,
    /// As every session does it: the connection is there.
    Usual,
}

impl Ruling {
    /// It goes on, and is about no prepared statement.
    const fn go(
        expect: Option<Expect>,
        kind: Kind,
        effects: Option<Box<Effects>>,
        instead: Option<BytesMut>,
    ) -> Self {
        Self::Go { expect, kind, effects, of: Of::Nothing, instead, statement: None }
    }
}

impl Relay {
    pub(super) fn on_shared_client(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let mut at = 0;
        loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            if self.wait.is_some() {
                self.set_aside(rest, edits)?;
                return Ok(tally);
            }
            if self.sharing.as_ref().is_some_and(|sharing| sharing.awaits_answers) {
                self.set_ahead(rest)?;
                edits.discard(rest.len());
                return Ok(tally);
            }
            if self.sharing.as_ref().is_some_and(|sharing| sharing.action.is_some()) {
                // What is left comes again with the connection.
                return Ok(tally);
            }
            if let Some(command) = self.sharing.as_ref().and_then(|sharing| sharing.undecided) {
                if !self.decide_long(command, edits, ledger)? {
                    return Ok(tally);
                }
                continue;
            }
            if let Some(used) = self.shared_whole(rest, edits, ledger)? {
                if used == 0 {
                    continue;
                }
                tally.commands += 1;
                at += used;
                if at == input.len() {
                    self.settle(edits);
                    return Ok(tally);
                }
                continue;
            }
            let before = self.request.is_between_commands();
            let walked = self.request.feed(rest, edits).map_err(|_| out_of_order())?;
            self.read_long(rest.get(..walked.used).unwrap_or_default(), before);
            at += walked.used;
            let Some(event) = walked.event else {
                if self.request.is_cut() && self.request.is_between_commands() {
                    self.cut_since.get_or_insert(ledger.now());
                }
                self.end_long();
                if !input.is_empty() {
                    self.settle(edits);
                }
                return Ok(tally);
            };
            tally.commands += u32::from(matches!(event, RequestEvent::Command(_)));
            let rest = input.get(at..).unwrap_or_default();
            if !self.on_request_event(event, rest, edits, ledger)? {
                edits.discard(rest.len());
                return Ok(tally);
            }
        }
    }

    /// Something happened in what a client sends. False if it waits for a connection, together with
    /// the rest of the input.
    fn on_request_event(
        &mut self,
        event: RequestEvent,
        rest: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<bool, Fault> {
        match event {
            RequestEvent::Command(command) => {
                let since = if self.request.is_cut() { self.cut_since.take() } else { None };
                self.command_since = since.unwrap_or_else(|| ledger.now());
                self.on_cut_command(command);
            }
            RequestEvent::Long { seq } => {
                self.on_long(seq);
                self.end_long();
            }
            RequestEvent::Held => {
                let mut payload = self.request.take_held();
                return self.shared_held(&mut payload, rest, edits, ledger);
            }
            RequestEvent::Head => {
                let head = self.request.take_held();
                if let Some(sharing) = self.sharing.as_deref_mut() {
                    sharing.undecided =
                        Some(Command::from_byte(head.first().copied().unwrap_or(0)));
                    sharing.head = Some(head);
                }
            }
            RequestEvent::Refused { seq } => self.refuse_at(seq, edits, ledger)?,
            RequestEvent::UploadEnd => {
                self.reply.uploaded(self.request.answer_seq().wrapping_sub(1));
            }
        }
        Ok(true)
    }

    /// A command that is not whole begins.
    fn on_cut_command(&mut self, command: Option<Command>) {
        let bytes = self.request.command_bytes();
        match command.map_or(Route::Refuse, route) {
            Route::Refuse => self.request.refuse(),
            Route::Hold { bytes_max } if bytes > bytes_max => self.request.refuse(),
            Route::Quit => self.request.drop_last(),
            _ if bytes <= text::TEXT_BYTES_MAX => self.request.hold(),
            Route::Hold { .. } => self.request.hold(),
            Route::Text(_) | Route::Relay(_) | Route::Silent if command.is_some_and(has_head) => {
                self.request.hold_head(HEAD_BYTES);
            }
            Route::Text(_) | Route::Relay(_) | Route::Silent => {
                if let Some(sharing) = self.sharing.as_deref_mut() {
                    sharing.undecided = Some(command);
                }
            }
        }
    }

    /// A long command goes on, once there is a connection. False while there is none.
    fn decide_long(
        &mut self,
        command: Option<Command>,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<bool, Fault> {
        let client = self.reply.dialect().client;
        let bytes = self.request.command_bytes();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(true) };
        if sharing.denied.is_some() {
            sharing.undecided = None;
            sharing.head = None;
            // The execution that follows them is told.
            sharing.drops = command == Some(Command::StmtSendLongData);
            self.request.refuse();
            return Ok(true);
        }
        let has_lease = sharing.lent.is_some();
        if ledger.has_rules()
            && let Some(goes_on) = self.obey_long(command, edits, ledger)
        {
            return Ok(goes_on);
        }
        if self.steer_long(ledger)? {
            return Ok(false);
        }
        if !has_lease {
            self.acquire(ledger.now());
            return Ok(false);
        }
        if self.is_lost()? {
            return Ok(false);
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(true) };
        if let Some(command) = command.filter(|command| has_head(*command)) {
            // If it has to wait, it is looked at again with what comes behind it.
            if self.decide_head(command, edits)?
                && let Some(sharing) = self.sharing.as_deref_mut()
            {
                sharing.undecided = None;
            }
            return Ok(true);
        }
        sharing.undecided = None;
        let (kind, expect) = match command.map_or(Route::Refuse, route) {
            Route::Text(expect) => {
                let is_query = command == Some(Command::Query);
                let kind = if is_query { Kind::STATEMENT } else { Kind::Prepare };
                if bytes < PAYLOAD_BYTES_MAX && is_query {
                    let findings = FindingsInPieces::new(sharing.mode);
                    let attributes =
                        if client.contains(Capabilities::QUERY_ATTRIBUTES) { 2 } else { 0 };
                    // With the head in pieces, it has gone by.
                    let head = if self.request.is_cut() { 0 } else { HEADER_BYTES + 1 };
                    let skip = head + attributes;
                    sharing.long = Some(Box::new(LongText { skip, findings }));
                }
                (kind, Some(expect))
            }
            Route::Relay(expect) => (Kind::STATEMENT, Some(expect)),
            Route::Silent | Route::Quit | Route::Refuse | Route::Hold { .. } => (Kind::Other, None),
        };
        let unread =
            kind == Kind::STATEMENT && command == Some(Command::Query) && sharing.long.is_none();
        if let Some(expect) = expect {
            self.issue(expect, kind, unread.then(Effects::unread), Of::Nothing)?;
            self.owes_current = true;
        } else {
            self.owes_current = false;
        }
        self.request.relay();
        Ok(true)
    }

    /// Reads on in a long text that goes by.
    fn read_long(&mut self, bytes: &[u8], was_between: bool) {
        let long = self.sharing.as_deref_mut().and_then(|sharing| sharing.long.as_deref_mut());
        let Some(long) = long else { return };
        if was_between {
            return;
        }
        let skipped = long.skip.min(bytes.len());
        long.skip -= skipped;
        long.findings.feed(bytes.get(skipped..).unwrap_or_default());
    }

    /// A long text is over: what was found in it counts when its answer is there.
    fn end_long(&mut self) {
        if self.request.is_inside_command() {
            return;
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        if let Some(long) = sharing.long.take()
            && let Some(issued) = sharing.issued.back_mut()
        {
            issued.effects = Effects::of_long(&long.findings.finish());
        }
    }

    /// A whole command that is there in the input. Returns the bytes used: none if it waits for
    /// something. `None`: it is not whole, or ends the session.
    fn shared_whole(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Option<usize>, Fault> {
        let Some((command, payload)) = self.request.whole_command(input) else {
            return Ok(None);
        };
        match route(command) {
            Route::Quit | Route::Refuse => return Ok(None),
            Route::Hold { bytes_max } if payload.len() > bytes_max => return Ok(None),
            Route::Hold { .. } | Route::Text(_) | Route::Relay(_) | Route::Silent => {}
        }
        let bytes = payload.len();
        self.command_since = self.since(ledger);
        let used = HEADER_BYTES + bytes;
        match self.rule(command, payload, edits, ledger)? {
            Ruling::Go { expect, kind, effects, of, instead, statement } => {
                self.on_goes(command, payload, ledger);
                if let Some(expect) = expect {
                    self.issue(expect, kind, effects, of)?;
                }
                self.owes_current = false;
                if let Some(number) = statement {
                    set_statement_id(input.get_mut(HEADER_BYTES..used).unwrap_or_default(), number);
                }
                if let Some(payload) = instead {
                    edits.discard(used);
                    send_whole(&payload, edits);
                } else {
                    self.request.relay_whole(bytes, edits);
                }
            }
            Ruling::Acquire => {
                self.acquire(ledger.now());
                return Ok(Some(0));
            }
            Ruling::Again => return Ok(Some(0)),
            Ruling::Done => edits.discard(used),
            Ruling::Replaced => {
                edits.discard(used);
                return Ok(Some(0));
            }
            Ruling::Usual => {
                let payload = BytesMut::from(input.get(HEADER_BYTES..used).unwrap_or_default());
                edits.discard(used);
                self.on_whole(command, &payload, edits, ledger)?;
            }
        }
        Ok(Some(used))
    }

    /// A command that came in pieces is whole. False if it waits for a connection, together with
    /// the rest of the input.
    fn shared_held(
        &mut self,
        payload: &mut BytesMut,
        rest: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<bool, Fault> {
        let command = payload.first().and_then(|byte| Command::from_byte(*byte));
        let Some(command) = command else { return Ok(true) };
        match self.rule(command, payload, edits, ledger)? {
            Ruling::Go { expect, kind, effects, of, instead, statement } => {
                self.on_goes(command, payload, ledger);
                if let Some(expect) = expect {
                    self.issue(expect, kind, effects, of)?;
                }
                if let Some(number) = statement {
                    set_statement_id(payload, number);
                }
                send_whole(instead.as_ref().unwrap_or(payload), edits);
            }
            ruling @ (Ruling::Acquire | Ruling::Again) => {
                let mut again = BytesMut::new();
                frame(&mut again, 0, |out| out.extend_from_slice(payload));
                again.extend_from_slice(rest);
                if matches!(ruling, Ruling::Acquire) {
                    self.set_ahead(&again)?;
                    self.acquire(self.command_since);
                } else if self.wait.is_some() {
                    self.set_aside_again(&again)?;
                } else {
                    self.set_ahead(&again)?;
                }
                return Ok(false);
            }
            Ruling::Done | Ruling::Replaced => {}
            Ruling::Usual => self.on_whole(command, payload, edits, ledger)?,
        }
        Ok(true)
    }

    /// When the command began that is dealt with now.
    fn since(&self, ledger: &Ledger) -> crate::base::Time {
        let since = self.sharing.as_ref().and_then(|sharing| sharing.since);
        since.unwrap_or_else(|| ledger.now())
    }

    /// Decides what becomes of a command.
    fn rule(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Ruling, Fault> {
        let ruling = self.rule_next(command, payload, edits, ledger)?;
        if matches!(ruling, Ruling::Done | Ruling::Usual) {
            self.forget_ruled();
        }
        Ok(ruling)
    }

    fn rule_next(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Ruling, Fault> {
        if self.is_lost()? {
            return Ok(Ruling::Again);
        }
        if let Command::StmtClose | Command::StmtReset = command {
            return self.rule_statement(command, payload, edits, ledger);
        }
        if command == Command::StmtSendLongData && self.is_denied() {
            // The execution that follows them is told.
            return Ok(Ruling::Done);
        }
        if self.answer_denied(1, edits, ledger) {
            return Ok(Ruling::Done);
        }
        if let Some(ruling) = self.rule_own(command, payload, edits, ledger)? {
            return Ok(ruling);
        }
        if ledger.has_rules()
            && let Some(ruling) = self.obey(command, payload, edits, ledger)?
        {
            return Ok(ruling);
        }
        if let Some(ruling) = self.steer(command, payload, edits, ledger)? {
            return Ok(ruling);
        }
        self.aim_as_ruled();
        let dialect = self.reply.dialect();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        if sharing.lent.is_none() {
            let is_done = self.answers(command, payload, edits, ledger);
            return Ok(if is_done { Ruling::Done } else { Ruling::Acquire });
        }
        if spoils(command) {
            sharing.carried.pins.add(Pin::Protocol);
        }
        let go = |expect, kind, effects| Ruling::go(Some(expect), kind, effects, None);
        Ok(match (command, route(command)) {
            (Command::Query, _) => {
                let Ok(text_at) = query_text_at(payload, dialect.client) else {
                    return Ok(go(Expect::Query, Kind::STATEMENT, Some(Effects::unread())));
                };
                return self.rule_text(payload, text_at, edits, ledger);
            }
            (Command::StmtPrepare, _) => return self.rule_prepare(payload, edits, ledger),
            (Command::StmtExecute | Command::StmtBulkExecute, _) => {
                self.rule_execute(payload, edits)
            }
            (Command::StmtSendLongData | Command::StmtFetch, _) => {
                return self.rule_statement(command, payload, edits, ledger);
            }
            (Command::InitDb, Route::Relay(expect)) => go(expect, Kind::Schema, None),
            (Command::ResetConnection, _) if self.has_init => Ruling::Usual,
            (Command::ResetConnection, Route::Relay(expect)) => go(expect, Kind::Reset, None),
            (_, Route::Relay(expect)) => go(expect, Kind::Other, None),
            (
                _,
                Route::Text(_) | Route::Silent | Route::Hold { .. } | Route::Quit | Route::Refuse,
            ) => Ruling::Usual,
        })
    }

    fn rule_text(
        &mut self,
        payload: &[u8],
        text_at: usize,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Ruling, Fault> {
        let client = self.reply.dialect().client;
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        let text = payload.get(text_at..).unwrap_or_default();
        let findings = Findings::of(text, sharing.mode);
        if findings.flags.contains(Flags::LAST_INSERT_ID) && !self.has_insert_id(edits) {
            return Ok(Ruling::Again);
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        if findings.flags.contains(Flags::FOUND_ROWS) && !sharing.knows_found_rows && !is_idle {
            sharing.awaits_answers = true;
            return Ok(Ruling::Again);
        }
        sharing.asks_found_rows |= findings.flags.contains(Flags::FOUND_ROWS);
        let effects = Effects::of(text, &findings, &sharing.carried.settings, sharing.mode);
        let fresh = sharing.is_fresh && is_idle;
        // If the connection says the same id behind it as before, it must have been the session's.
        if effects.as_ref().is_some_and(|it| it.ask_insert_id()) && !self.has_insert_id(edits) {
            return Ok(Ruling::Again);
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        if fresh && findings.flags.contains(Flags::DIAGNOSTICS) && names_row_count(text) {
            self.answer_with(Refusal::Diagnostics, edits, ledger)?;
            return Ok(Ruling::Done);
        }
        let kind = Kind::of_text(text, sharing.mode);
        let previous = Previous {
            row_count: fresh && findings.flags.contains(Flags::ROW_COUNT),
            found_rows: is_idle
                && !sharing.knows_found_rows
                && findings.flags.contains(Flags::FOUND_ROWS),
        };
        if previous != Previous::default() || text::may_matter(payload, client) {
            let known = (sharing.row_count, sharing.found_rows);
            let verdict =
                text::judge_shared(payload, text_at, sharing.mode, previous, known, self.id);
            return self.go_verdict(verdict, kind, effects, edits, ledger);
        }
        Ok(Ruling::go(Some(Expect::Query), kind, effects, None))
    }

    /// Whether the connection's LAST_INSERT_ID() is the session's, for a statement that asks for it.
    /// If it is not, that comes first.
    pub(super) fn has_insert_id(&mut self, edits: &mut Edits) -> bool {
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return true };
        let Some(lent) = sharing.lent.as_deref() else { return true };
        let (own, capabilities) = (sharing.carried.last_insert_id, lent.capabilities);
        let is_asking = sharing.carried.is_asking(&Asked::LastInsertId);
        if !is_asking && lent.last_insert_id == Some(own) {
            return true;
        }
        if !is_idle {
            sharing.awaits_answers = true;
            return false;
        }
        let mut words = Words::default();
        if sharing.carried.take_question(&Asked::LastInsertId) {
            let question = Question::new(vec![Asked::LastInsertId], capabilities);
            self.talk(Topic::InsertId, words, Some(question), edits);
        } else {
            let set = format!("SET last_insert_id = {own}");
            words.say(Step::Statement(set.as_bytes()), capabilities);
            self.talk(Topic::InsertId, words, None, edits);
        }
        false
    }

    fn go_verdict(
        &mut self,
        verdict: Verdict,
        kind: Kind,
        effects: Option<Box<Effects>>,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Ruling, Fault> {
        let expect = Some(Expect::Query);
        Ok(match verdict {
            Verdict::AsIs => Ruling::go(expect, kind, effects, None),
            Verdict::Instead(payload) => Ruling::go(expect, kind, effects, Some(payload)),
            Verdict::Refuse(why) => {
                self.answer_with(why, edits, ledger)?;
                Ruling::Done
            }
            Verdict::Ask(_) | Verdict::List => Ruling::Usual,
        })
    }

    /// The backend connection is there again, or cannot be had: what the client sent meanwhile, to
    /// be fed again.
    pub(super) fn take_ahead(&mut self) -> BytesMut {
        self.sharing.as_deref_mut().map_or_else(BytesMut::new, |it| std::mem::take(&mut it.ahead))
    }

    fn set_aside_again(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Some(wait) = self.wait.as_deref_mut() {
            wait.rest.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn refuse_at(&mut self, seq: u8, edits: &mut Edits, ledger: &mut Ledger) -> Result<(), Fault> {
        let dropped = self.sharing.as_deref_mut().is_some_and(|it| std::mem::take(&mut it.drops));
        if dropped || self.answer_denied(seq, edits, ledger) {
            return Ok(());
        }
        let why = std::mem::replace(&mut self.refusing, Refusal::UnknownCommand);
        self.refuse_current(seq, why, edits, ledger)
    }

    fn is_denied(&self) -> bool {
        self.sharing.as_ref().is_some_and(|sharing| sharing.denied.is_some())
    }

    /// Answers a command with why there is no connection for it, if there is none.
    pub(super) fn answer_denied(
        &mut self,
        seq: u8,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> bool {
        let Some(sharing) = self.sharing.as_deref_mut() else { return false };
        let Some(fault) = sharing.denied.take() else { return false };
        sharing.since = None;
        ledger.answered(self.command_since);
        ledger.enter(Entry::OwnError(fault.code));
        edits.send(Side::Client, |out| ErrPacket::from(&fault).encode(seq, out));
        true
    }
}

/// Commands of which more than the first byte is needed, however long they are.
const fn has_head(command: Command) -> bool {
    matches!(command, Command::StmtExecute | Command::StmtBulkExecute | Command::StmtSendLongData)
}

/// GET DIAGNOSTICS … = ROW_COUNT.
fn names_row_count(text: &[u8]) -> bool {
    text.windows(9).any(|it| it.eq_ignore_ascii_case(b"ROW_COUNT"))
}
