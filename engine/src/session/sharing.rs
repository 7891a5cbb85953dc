//! A session that has a backend connection only while it needs one.
//!
//! ```text
//! apart ─ a command that needs one ─► Acquire ─► attached ─► (tuned to what the session has set)
//!   ▲                                                            │ commands and answers
//!   └──────── Release ◄─ (asked what is not known) ◄─ at rest, and nothing pins it
//! ```
//!
//! Purpose: know when a connection is needed, what it has to be set to first, and when it can go.
//! Never: send a command of the client before the connection is as its session left the last one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{Blame, Fault, Time};
use crate::route::Slot;
use crate::session::faults::{not_a_reply, too_far_ahead};
use crate::session::ledger::{Entry, Ledger};
use crate::session::lending::Terms;
use crate::session::relay::{Relay, Wait, What};
use crate::session::routing::{Arrival, Router};
use crate::session::ruled::Ruled;
use crate::session::state::Action;
use crate::session::statements::{Statement, Statements};
use crate::share::{
    Answered, Asked, Carried, Effects, Exchanged, Lent, Pin, Question, Step, Traits, Words, track,
};
use crate::sql::{FindingsInPieces, FoundRows, LexMode};
use crate::wire::reply::{Expect, ReplyError};
use crate::wire::{Edits, OkPacket, Side, Status, code, fault};

/// Bytes a client may send ahead of its connection; long before it is not read any more.
pub(super) const AHEAD_BYTES_MAX: usize = 2 << 20;

/// From here on it is not read.
const AHEAD_BYTES_ENOUGH: usize = 16 << 10;

/// What a command was that the backend owes an answer to.
#[derive(Debug, Default)]
pub(super) struct Issued {
    pub(super) kind: Kind,
    pub(super) effects: Option<Box<Effects>>,
    pub(super) of: Of,
    /// Its places among those who run at the same time, by rules. Held until it is answered.
    pub(super) slots: Vec<Slot>,
}

/// What prepared statement a command is about.
#[derive(Debug, Default)]
pub(super) enum Of {
    #[default]
    Nothing,
    /// One that is being prepared, and has no number yet.
    New(Box<Statement>),
    /// The one with that number of the client's, which is executed, fetched from or reset.
    Execution(u32),
}

/// Commands, as far as their answers mean different things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// A statement, of text or prepared.
    Statement {
        /// What it makes of FOUND_ROWS().
        found_rows: FoundRows,
        /// It may be an INSERT that answers with rows, which tell no generated id.
        inserts: bool,
    },
    /// COM_INIT_DB.
    Schema,
    /// COM_RESET_CONNECTION.
    Reset,
    /// COM_STMT_PREPARE.
    Prepare,
    #[default]
    Other,
}

impl Kind {
    /// A statement of which nothing more is known.
    pub(super) const STATEMENT: Self =
        Self::Statement { found_rows: FoundRows::Unknown, inserts: true };

    /// A statement with that text.
    pub(super) fn of_text(text: &[u8], mode: LexMode) -> Self {
        let first = text.first_chunk::<6>();
        let inserts = !first.is_some_and(|first| first.eq_ignore_ascii_case(b"SELECT"));
        Self::Statement { found_rows: FoundRows::after(text, mode), inserts }
    }
}

/// What Weir itself is talking about with the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// The connection is being set to what the session has set, and a transaction begun if its client
    /// was told that it has.
    Tune,
    /// The session's LAST_INSERT_ID is being restored.
    InsertId,
    /// A statement of that number is being prepared, with other settings for a moment if they are
    /// not those it was prepared with before.
    Prepare { id: u32, is_tuned: bool },
    /// The same, without the other settings, for it was refused.
    Refused,
    /// What is not known is asked for, before the connection can go.
    Settle,
}

/// What a shared session has besides a relay.
#[derive(Debug)]
pub(super) struct Sharing {
    pub(super) carried: Carried,
    pub(super) lent: Option<Box<Lent>>,
    /// No statement of this session has run on the connection since it was lent.
    pub(super) is_fresh: bool,
    pub(super) mode: LexMode,
    pub(super) traits: Arc<Traits>,
    pub(super) is_mariadb: bool,
    /// One for each answer the backend owes.
    pub(super) issued: VecDeque<Issued>,
    pub(super) row_count: i64,
    pub(super) found_rows: Option<u64>,
    /// The connection knows FOUND_ROWS() itself.
    pub(super) knows_found_rows: bool,
    /// It has asked for FOUND_ROWS(), which is therefore asked for where it cannot be told.
    pub(super) asks_found_rows: bool,
    /// The last id that an answer told of since LAST_INSERT_ID() was asked for.
    pub(super) insert_id_seen: u64,
    pub(super) was_in_transaction: bool,
    /// The client was told that a transaction has begun; the backend was not.
    pub(super) begins: bool,
    /// The backend reports nothing any more, since a reset.
    is_untracked: bool,
    /// The head of a command has come, which waits for a connection.
    pub(super) undecided: Option<Option<crate::wire::Command>>,
    /// What came while there was no connection.
    pub(super) ahead: BytesMut,
    pub(super) action: Option<Action>,
    /// A command waits until those before it are answered.
    pub(super) awaits_answers: bool,
    /// Why there is no connection, to be told in answer to the command that needs one.
    pub(super) denied: Option<Fault>,
    /// When the first byte came of a command that waits.
    pub(super) since: Option<Time>,
    /// The client sends no more behind what waits.
    pub(super) client_ended: bool,
    /// Prepared statements that are open.
    pub(super) statements: Statements,
    pub(super) statements_max: usize,
    /// The head of a long execution, or of long parameters, that waits.
    pub(super) head: Option<BytesMut>,
    /// The command that is dropped has no answer.
    pub(super) drops: bool,
    /// Why it keeps its connection, as it was entered last.
    pub(super) pins_told: u32,
    /// How long its client may be silent (`wait_timeout`), and since when it has been.
    pub(super) silence_max: Duration,
    pub(super) silent_since: Time,
    /// A text that is too long to be held, read as it goes by.
    pub(super) long: Option<Box<LongText>>,
    /// Where its commands go.
    pub(super) router: Router,
    /// What rules say of the command that comes next.
    pub(super) ruled: Ruled,
}

/// A text that is read while it is relayed.
#[derive(Debug)]
pub(super) struct LongText {
    /// Bytes before the text that have not come yet.
    pub(super) skip: usize,
    pub(super) findings: FindingsInPieces,
}

impl Sharing {
    pub(super) fn new(terms: Terms) -> Self {
        let Terms { settings, traits, statements_max, splits, asker } = terms;
        let (server, is_mariadb) = (traits.server, traits.is_mariadb());
        let mode = settings.lex_mode(server);
        let silence_max = settings.wait_timeout();
        Self {
            carried: Carried::new(settings, server),
            lent: None,
            is_fresh: true,
            mode,
            traits,
            is_mariadb,
            issued: VecDeque::new(),
            row_count: 0,
            found_rows: Some(0),
            knows_found_rows: false,
            asks_found_rows: false,
            insert_id_seen: 0,
            was_in_transaction: false,
            begins: false,
            is_untracked: false,
            undecided: None,
            ahead: BytesMut::new(),
            action: None,
            awaits_answers: false,
            denied: None,
            since: None,
            client_ended: false,
            statements: Statements::default(),
            statements_max,
            head: None,
            drops: false,
            pins_told: 0,
            silence_max,
            silent_since: Time::ZERO,
            long: None,
            router: Router::new(splits),
            ruled: Ruled::new(asker),
        }
    }

    /// What the session has set is another now.
    pub(super) fn adopt_settings(&mut self) {
        self.mode = self.carried.settings.lex_mode(self.traits.server);
        self.silence_max = self.carried.settings.wait_timeout();
    }

    /// The server has closed all prepared statements.
    pub(super) fn forget_statements(&mut self) {
        self.statements.clear();
        if let Some(lent) = &mut self.lent {
            lent.prepared.clear();
        }
    }

    /// The session was reset on its connection, and its backend's `init_query` said behind that.
    pub(super) fn on_reset(&mut self) {
        self.carried.reset();
        self.router.causal.set_level(None);
        if let Some(lent) = &mut self.lent {
            lent.settings = Arc::clone(&self.carried.settings);
            lent.last_insert_id = None;
        }
        self.adopt_settings();
        self.is_untracked = true;
        self.is_fresh = true;
        self.knows_found_rows = false;
        self.set_in_transaction(false);
        self.row_count = 0;
    }

    /// The client has reset the session, on its connection.
    fn on_own_reset(&mut self) {
        self.carried.reset();
        self.router.causal.set_level(None);
        if let Some(lent) = &mut self.lent {
            lent.last_insert_id = Some(0);
        }
        self.is_untracked = true;
        self.forget_statements();
    }

    fn is_pinned(&self) -> bool {
        !self.carried.pins.is_empty() || self.statements.hold_connection()
    }

    pub(super) fn set_in_transaction(&mut self, in_transaction: bool) {
        if self.was_in_transaction && !in_transaction {
            self.carried.pins.remove(Pin::NextTransaction);
        }
        self.was_in_transaction = in_transaction;
    }

    /// Enters which reasons to keep the connection have begun and ended.
    pub(super) fn tell_pins(&mut self, in_transaction: bool, ledger: &mut Ledger) {
        let mut pins = self.carried.pins.bits();
        if self.statements.hold_connection() {
            pins |= Pin::Statement.bit();
        }
        if in_transaction {
            pins |= Pin::Transaction.bit();
        }
        let before = std::mem::replace(&mut self.pins_told, pins);
        if before == pins {
            return;
        }
        let (begun, ended) = (pins & !before, before & !pins);
        for (entry, bits) in [(Entry::Pinned(begun), begun), (Entry::Unpinned(ended), ended)] {
            if bits != 0 {
                ledger.enter(entry);
            }
        }
    }
}

impl Relay {
    /// Asks for a connection, unless that was done.
    pub(super) fn acquire(&mut self, now: Time) {
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.since.get_or_insert(now);
            sharing.action.get_or_insert(Action::Acquire);
        }
    }

    /// A connection is there: sets it to what the session has set, if it is not; whether it is not.
    pub(super) fn on_attached(&mut self, arrival: Arrival, edits: &mut Edits) -> bool {
        let Some(sharing) = self.sharing.as_deref_mut() else { return false };
        let Arrival { lent, reached, server, awaited } = arrival;
        let capabilities = lent.capabilities;
        self.reply.set_backend(capabilities);
        sharing.router.on_attached(reached);
        let Router { aim, causal, .. } = &mut sharing.router;
        causal.on_attached(aim, server, awaited);
        let awaited = causal.question(sharing.is_mariadb);
        // The client was told of a transaction, of which this server hears nothing.
        let unsaid = sharing.begins && sharing.router.at_replica();
        self.reply.add_status(if unsaid { Status::IN_TRANS } else { Status::default() });
        sharing.is_fresh = true;
        sharing.knows_found_rows = false;
        let mut words = Words::default();
        if lent.settings.distance_to(&sharing.carried.settings).is_some_and(|it| it < 2) {
            // One copy for all who have set the same.
            sharing.carried.settings = Arc::clone(&lent.settings);
        } else {
            words.tune(&lent.settings, &sharing.carried.settings, lent.capabilities);
            if !sharing.is_mariadb {
                // Clears the warnings that deprecated settings cause.
                words.say(Step::Statement(b"DO 0"), lent.capabilities);
            }
        }
        let differs = !words.is_empty();
        if sharing.begins && !sharing.router.at_replica() {
            words.say(Step::Statement(b"BEGIN"), lent.capabilities);
        }
        sharing.lent = Some(lent);
        let question = awaited.map(|awaited| Question::new(vec![awaited], capabilities));
        if !words.is_empty() || question.is_some() {
            self.talk(Topic::Tune, words, question, edits);
        }
        differs
    }

    /// Says something of Weir's own to the backend. Commands of the client wait meanwhile.
    pub(super) fn talk(
        &mut self,
        topic: Topic,
        words: Words,
        question: Option<Question>,
        edits: &mut Edits,
    ) {
        let mut out = BytesMut::new();
        let exchange = words.send(question, &mut out);
        edits.send(Side::Backend, |it| it.extend_from_slice(&out));
        self.wait = Some(Box::new(Wait::new(What::Exchange(Box::new(exchange), topic), None)));
    }

    /// Bytes of the backend, in an exchange of Weir's own.
    pub(super) fn on_exchange(
        &mut self,
        input: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        edits.discard(input.len());
        let Some(Wait { what: What::Exchange(exchange, topic), .. }) = self.wait.as_deref_mut()
        else {
            return Ok(());
        };
        let topic = *topic;
        let exchanged = exchange
            .on_bytes(input)
            .map_err(|malformed| not_a_reply(ReplyError::Malformed(malformed)))?;
        if exchanged == Exchanged::Wait {
            return Ok(());
        }
        let Some(wait) = self.wait.take() else { return Ok(()) };
        let (Wait { what: What::Exchange(exchange, _), rest, .. }, Some(sharing)) =
            (*wait, self.sharing.as_deref_mut())
        else {
            return Ok(());
        };
        sharing.ahead.extend_from_slice(&rest);
        match exchanged {
            Exchanged::Wait => {}
            Exchanged::Done => sharing.on_exchanged(topic, &exchange),
            Exchanged::Refused(err) => sharing.on_refused(topic, &exchange, &err),
        }
        sharing.router.note_wait(ledger);
        self.close_statements(edits);
        let in_transaction = self.is_in_transaction();
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.tell_pins(in_transaction, ledger);
        }
        if let Topic::Prepare { .. } = topic {
            ledger.enter(Entry::Prepared);
        }
        if let Topic::Prepare { id, is_tuned: true } = topic
            && exchange.is_prepare_refused()
            && !self.is_at_replica()
            && self.refuse_again(id, edits)
        {
            return Ok(());
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(()) };
        let is_quiet =
            sharing.ahead.is_empty() && !sharing.client_ended && sharing.undecided.is_none();
        // What waits may be for another server.
        let may_move = sharing.router.splits() && !sharing.ahead.is_empty();
        if is_quiet || topic == Topic::Settle && may_move {
            self.settle(edits);
        }
        if !is_quiet && let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.action.get_or_insert(Action::Resume);
        }
        Ok(())
    }

    /// An answer of the backend is complete.
    pub(super) fn on_shared_answer(
        &mut self,
        failed: bool,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(), Fault> {
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(()) };
        let Some(mut issued) = sharing.issued.pop_front() else { return Ok(()) };
        issued.slots.clear();
        let Some(notes) = self.reply.notes() else { return Ok(()) };
        let error = if failed { self.reply.error_code().max(1) } else { 0 };
        let returns = matches!(issued.kind, Kind::Statement { inserts: true, .. });
        let may_have_inserted =
            notes.last_insert_id != 0 || failed || returns && notes.affected_rows.is_none();
        let answered = Answered {
            error,
            warnings: notes.warnings,
            may_have_inserted,
            is_statement: matches!(issued.kind, Kind::Statement { .. }),
            chooses_schema: issued.kind == Kind::Schema,
        };
        let insert_id = sharing.carried.last_insert_id;
        sharing
            .carried
            .on_answered(issued.effects.as_deref(), &notes.trackers, answered)
            .map_err(|malformed| not_a_reply(ReplyError::Malformed(malformed)))?;
        match issued.kind {
            Kind::Statement { inserts: true, .. } if failed => sharing.is_fresh = false,
            Kind::Statement { found_rows, .. } => {
                sharing.is_fresh = false;
                if found_rows != FoundRows::Kept {
                    sharing.knows_found_rows = true;
                    let is_counted = found_rows == FoundRows::Counted && !failed;
                    sharing.found_rows = notes.rows.filter(|_| is_counted);
                }
            }
            Kind::Reset if !failed => sharing.on_own_reset(),
            Kind::Schema | Kind::Reset | Kind::Prepare | Kind::Other => {}
        }
        if issued.kind != Kind::Prepare || failed {
            let affected = notes.affected_rows.filter(|_| !failed);
            let rows = affected.and_then(|rows| i64::try_from(rows).ok());
            sharing.row_count = rows.unwrap_or(-1);
        }
        let in_transaction = self.reply.status().contains(Status::IN_TRANS) && !sharing.begins;
        sharing.set_in_transaction(in_transaction);
        if notes.last_insert_id != 0 {
            sharing.insert_id_seen = notes.last_insert_id;
        }
        if let Some(lent) = &mut sharing.lent {
            if insert_id != sharing.carried.last_insert_id {
                lent.last_insert_id = Some(sharing.carried.last_insert_id);
            }
            // Until it goes back it is whatever the session is.
            if !Arc::ptr_eq(&lent.settings, &sharing.carried.settings) {
                lent.settings = Arc::clone(&sharing.carried.settings);
                sharing.adopt_settings();
            }
        }
        self.gone |= sharing.carried.ends;
        match (issued.of, issued.kind) {
            (Of::New(statement), _) => self.on_prepared(Some(statement), edits),
            (Of::Nothing, Kind::Prepare) => self.on_prepared(None, edits),
            (Of::Execution(id), _) => self.on_executed(id, failed, edits),
            (Of::Nothing, _) => {}
        }
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.tell_pins(in_transaction, ledger);
        }
        Ok(())
    }

    /// A transaction is open on the connection, and the client was not only told so.
    pub(super) fn is_in_transaction(&self) -> bool {
        let begins = self.sharing.as_ref().is_some_and(|sharing| sharing.begins);
        self.reply.status().contains(Status::IN_TRANS) && !begins
    }

    /// Whether the connection is in no known state, so that nothing more may be said on it: it goes.
    ///
    /// # Errors
    /// A transaction is open on it, which ends with it.
    pub(super) fn is_lost(&mut self) -> Result<bool, Fault> {
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(false) };
        let is_unknown = sharing.lent.as_ref().is_some_and(|lent| lent.is_unknown);
        if !is_unknown || sharing.denied.is_some() {
            return Ok(false);
        }
        if in_transaction {
            let text = "weir: the backend has refused to restore the session's settings, and the \
                        transaction is lost; connect again";
            return Err(fault(Blame::Backend, code::UNKNOWN_ERROR, text));
        }
        sharing.action = Some(Action::Release);
        Ok(true)
    }

    /// Lets the connection go if nothing needs it, after asking what only it knows.
    pub(super) fn settle(&mut self, edits: &mut Edits) {
        let rests = self.owed.is_empty()
            && self.wait.is_none()
            && self.request.is_idle()
            && !self.unasked
            && !self.spoiled;
        let is_open = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        let Some(lent) = sharing.lent.as_deref() else { return };
        let is_called_for = !sharing.ahead.is_empty() && !sharing.router.splits();
        if !rests || is_open || sharing.is_pinned() || is_called_for {
            return;
        }
        if lent.is_unknown {
            sharing.action = Some(Action::Release);
            return;
        }
        let capabilities = lent.capabilities;
        let mut words = Words::default();
        if std::mem::take(&mut sharing.is_untracked) {
            words.say(Step::Statement(&track(sharing.is_mariadb)), capabilities);
        }
        if sharing.asks_found_rows && sharing.found_rows.is_none() && sharing.knows_found_rows {
            sharing.carried.ask(Asked::FoundRows);
            if !sharing.is_mariadb {
                words.close();
            }
        }
        if words.is_empty() && !sharing.carried.has_asked() {
            sharing.action = Some(Action::Release);
            return;
        }
        let asked = sharing.carried.take_asked();
        let question = (!asked.is_empty()).then(|| Question::new(asked, capabilities));
        self.talk(Topic::Settle, words, question, edits);
    }

    /// What comes before a command that waits is answered.
    pub(super) fn go_on(&mut self, edits: &mut Edits) {
        match self.sharing.as_deref_mut() {
            Some(sharing) if sharing.awaits_answers => {
                sharing.awaits_answers = false;
                sharing.action = Some(Action::Resume);
            }
            Some(_) => self.settle(edits),
            None => {}
        }
    }

    /// What the session keeps for later, while it waits.
    pub(super) fn set_ahead(&mut self, input: &[u8]) -> Result<(), Fault> {
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(()) };
        sharing.ahead.extend_from_slice(input);
        if sharing.ahead.len() > AHEAD_BYTES_MAX {
            return Err(too_far_ahead());
        }
        Ok(())
    }

    /// Whether so much waits that the client is not to be read.
    pub(super) fn is_far_ahead(&self) -> bool {
        let waiting = self.wait.as_ref().map_or(0, |wait| wait.rest.len());
        let ahead = self.sharing.as_ref().map_or(0, |sharing| sharing.ahead.len());
        ahead + waiting >= AHEAD_BYTES_ENOUGH
    }

    /// Sends an OK of Weir's own.
    pub(super) fn send_ok(&mut self, seq: u8, trackers: &[u8], edits: &mut Edits) {
        let client = self.reply.dialect().client;
        let status = self.reply.status().of_the_session();
        let packet = OkPacket { trackers, ..OkPacket::nothing(status) };
        edits.send(Side::Client, |out| packet.encode(client, seq, out));
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.row_count = 0;
            sharing.is_fresh = true;
        }
    }

    /// Issues a command: the backend owes an answer.
    pub(super) fn issue(
        &mut self,
        expect: Expect,
        kind: Kind,
        effects: Option<Box<Effects>>,
        of: Of,
    ) -> Result<(), Fault> {
        self.owe_reply(expect)?;
        if let Some(sharing) = self.sharing.as_deref_mut() {
            let slots = sharing.ruled.end();
            sharing.issued.push_back(Issued { kind, effects, of, slots });
            sharing.since = None;
        }
        Ok(())
    }
}
