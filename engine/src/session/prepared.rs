//! COM_STMT_* of a session that shares backend connections.
//!
//! Purpose: execute each statement on the connection there is, prepared there first if it is not.
//! Never: give the backend a number of the client's, or an execution types that it was not sent.

use std::sync::Arc;

use crate::base::Fault;
use crate::session::ledger::Ledger;
use crate::session::reading::Stays;
use crate::session::relay::Relay;
use crate::session::shared::Ruling;
use crate::session::sharing::{Kind, Of, Sharing, Topic};
use crate::session::statements::{LAST_PREPARED, Statement};
use crate::session::text::{self, Refusal, Verdict};
use crate::share::{Asked, Effects, Lent, Question, Source, Step, Types, Variant, Words};
use crate::sql::Previous;
use crate::wire::frame::PAYLOAD_BYTES_MAX;
use crate::wire::reply::Expect;
use crate::wire::{
    Bound, Capabilities, Command, Edits, Execution, Side, Status, frame, put_u24, set_statement_id,
    statement_id, with_types,
};

/// So much of a long execution is looked at: enough for the types of thousands of parameters.
pub(super) const HEAD_BYTES: usize = 8 << 10;

/// What no statement of a server is called: it says so itself, and knows then that it did.
const NO_STATEMENT: u32 = u32::MAX - 1;

/// What becomes of an execution, or of parameters sent ahead of one.
enum Place {
    /// It goes to that statement of the server.
    At(u32),
    /// The same, and these types have to be put in, there.
    With(u32, usize, Types),
    /// Something comes before it.
    Later,
}

impl Relay {
    /// A whole COM_STMT_PREPARE.
    pub(super) fn rule_prepare(
        &mut self,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Ruling, Fault> {
        let client = self.reply.dialect().client;
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        let mut instead = None;
        if text::may_matter(payload, client) {
            let nothing = (Previous::default(), (0, None));
            match text::judge_shared(payload, 1, sharing.mode, nothing.0, nothing.1, self.id) {
                Verdict::AsIs | Verdict::List => {}
                Verdict::Instead(payload) => instead = Some(payload),
                Verdict::Refuse(why) => {
                    self.answer_with(why, edits, ledger)?;
                    return Ok(Ruling::Done);
                }
                Verdict::Ask(_) => return Ok(Ruling::Usual),
            }
        }
        let count = sharing.statements.len();
        if count >= sharing.statements_max {
            self.answer_with(Refusal::TooManyStatements(count), edits, ledger)?;
            return Ok(Ruling::Done);
        }
        if !self.knows_reading(edits) {
            return Ok(Ruling::Again);
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        let payload = instead.as_deref().unwrap_or(payload);
        let text = payload.get(1..).unwrap_or_default();
        let mut statement = Statement::of(text, &sharing.carried.settings, sharing.mode);
        if sharing.router.splits()
            && let (Ok(aim), why) = sharing.router.of_text(text, sharing.mode)
        {
            (statement.aim, statement.why) = (aim, why);
            statement.stays = Stays::of(text, sharing.mode);
        }
        Ok(Ruling::Go {
            expect: Some(Expect::Prepare),
            kind: Kind::Prepare,
            effects: None,
            of: Of::New(Box::new(statement)),
            instead,
            statement: None,
        })
    }

    /// Whether all is known of how a text is read, as far as the server told it: each of two
    /// variables changes with the other, of which it reports one. If it is not, it is asked first.
    fn knows_reading(&mut self, edits: &mut Edits) -> bool {
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return true };
        let Some(lent) = sharing.lent.as_deref() else { return true };
        let pair = [&b"collation_connection"[..], b"character_set_connection"];
        let mut asked = pair.map(Asked::Variable).to_vec();
        asked.retain(|it| sharing.carried.is_asking(it));
        if asked.is_empty() {
            return true;
        }
        if !is_idle {
            sharing.awaits_answers = true;
            return false;
        }
        for it in &asked {
            sharing.carried.take_question(it);
        }
        let question = Question::new(asked, lent.capabilities);
        self.talk(Topic::Settle, Words::default(), Some(question), edits);
        false
    }

    /// A whole COM_STMT_EXECUTE or COM_STMT_BULK_EXECUTE.
    pub(super) fn rule_execute(&mut self, payload: &[u8], edits: &mut Edits) -> Ruling {
        let (id, place) = self.place(payload, edits);
        let client = self.reply.dialect().client;
        let has_attributes = client.contains(Capabilities::QUERY_ATTRIBUTES);
        let (number, instead) = match place {
            Place::Later => return Ruling::Again,
            Place::At(number) => (number, None),
            Place::With(number, at, types) => {
                let mut instead = with_types(payload, at, &types, has_attributes);
                set_statement_id(&mut instead, number);
                (number, Some(instead))
            }
        };
        let (kind, effects) = self.execution(id);
        let (of, statement) = (Of::Execution(id), Some(number));
        Ruling::Go { expect: Some(Expect::Query), kind, effects, of, instead, statement }
    }

    /// What an execution of that statement is to the session.
    fn execution(&self, id: u32) -> (Kind, Option<Box<Effects>>) {
        let sharing = self.sharing.as_deref();
        let statement = sharing.and_then(|it| Some((it, it.statements.get(id)?)));
        statement.map_or((Kind::STATEMENT, None), |(sharing, statement)| {
            (statement.kind, statement.effects(&sharing.carried.settings))
        })
    }

    /// Where an execution, or parameters sent ahead of one, can go, by its payload's head. Returns
    /// also the client's number of the statement.
    fn place(&mut self, head: &[u8], edits: &mut Edits) -> (u32, Place) {
        let client = self.reply.dialect().client;
        let has_attributes = client.contains(Capabilities::QUERY_ATTRIBUTES);
        let asked = statement_id(head).unwrap_or_default();
        let Some(sharing) = self.sharing.as_deref_mut() else {
            return (asked, Place::At(NO_STATEMENT));
        };
        let mut id = asked;
        if asked == LAST_PREPARED && sharing.is_mariadb {
            if sharing.issued.iter().any(|issued| issued.kind == Kind::Prepare) {
                sharing.awaits_answers = true;
                return (id, Place::Later);
            }
            id = sharing.statements.last().unwrap_or(asked);
        }
        let Some(statement) = sharing.statements.get(id) else {
            return (asked, Place::At(NO_STATEMENT));
        };
        let is_execution = matches!(
            head.first().and_then(|byte| Command::from_byte(*byte)),
            Some(Command::StmtExecute | Command::StmtBulkExecute)
        );
        let execution =
            is_execution.then(|| Execution::parse(head, statement.params, has_attributes));
        if is_execution && statement.needs_insert_id && !self.has_insert_id(edits) {
            return (id, Place::Later);
        }
        if !self.is_ready(id, execution.as_ref(), edits) {
            return (id, Place::Later);
        }
        let Some(sharing) = self.sharing.as_deref_mut() else {
            return (id, Place::At(NO_STATEMENT));
        };
        (id, sharing.bind(id, execution.as_ref()))
    }

    /// Whether a statement is prepared on the connection there is. If it is not, that comes first.
    fn is_ready(&mut self, id: u32, execution: Option<&Execution<'_>>, edits: &mut Edits) -> bool {
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return true };
        let Some(source) = sharing.lacks(id, execution) else { return true };
        let Some(lent) = sharing.lent.as_deref() else { return true };
        if !is_idle {
            sharing.awaits_answers = true;
            return false;
        }
        let (words, is_tuned) = preparing(&source, lent);
        self.talk(Topic::Prepare { id, is_tuned }, words, None, edits);
        false
    }

    /// COM_STMT_RESET, COM_STMT_FETCH, COM_STMT_CLOSE and COM_STMT_SEND_LONG_DATA.
    pub(super) fn rule_statement(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Ruling, Fault> {
        let id = statement_id(payload).unwrap_or_default();
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(Ruling::Usual) };
        let known = sharing.statements.get(id);
        let (is_known, own) = (known.is_some(), known.and_then(|it| it.own.as_ref()?.id.into()));
        let lacks = sharing.lacks(id, None).is_some();
        let to = |number, expect, of| {
            let (kind, effects, instead) = (Kind::Other, None, None);
            Ruling::Go { expect, kind, effects, of, instead, statement: Some(number) }
        };
        Ok(match (command, own) {
            (Command::StmtClose, _) => {
                sharing.statements.remove(id);
                sharing.tell_pins(in_transaction, ledger);
                own.map_or(Ruling::Done, |number| to(number, None, Of::Nothing))
            }
            (Command::StmtReset, Some(number)) => to(number, Some(Expect::Ok), Of::Execution(id)),
            (Command::StmtReset, None) if !is_known => match sharing.lent {
                Some(_) => to(NO_STATEMENT, Some(Expect::Ok), Of::Nothing),
                None => Ruling::Acquire,
            },
            (Command::StmtFetch, None) if lacks => {
                self.answer_with(Refusal::NoCursor(id, self.is_mariadb), edits, ledger)?;
                Ruling::Done
            }
            (Command::StmtFetch | Command::StmtSendLongData, _) => {
                match self.place(payload, edits).1 {
                    Place::At(number) | Place::With(number, ..) => {
                        let is_fetch = command == Command::StmtFetch;
                        let of = if is_fetch { Of::Execution(id) } else { Of::Nothing };
                        to(number, is_fetch.then_some(Expect::Fetch), of)
                    }
                    Place::Later => Ruling::Again,
                }
            }
            _ => {
                self.answer_done(edits, ledger)?;
                Ruling::Done
            }
        })
    }

    /// A long execution, or long parameters, of which the head is there: it goes on, or it is
    /// dropped. False if something comes before it.
    pub(super) fn decide_head(
        &mut self,
        command: Command,
        edits: &mut Edits,
    ) -> Result<bool, Fault> {
        let bytes = self.request.command_bytes();
        let Some(mut head) = self.sharing.as_deref_mut().and_then(|it| it.head.take()) else {
            return Ok(true);
        };
        let has_attributes = self.reply.dialect().client.contains(Capabilities::QUERY_ATTRIBUTES);
        let is_execution = command != Command::StmtSendLongData;
        let (id, place) = self.place(&head, edits);
        let (number, with) = match place {
            Place::At(number) => (number, None),
            Place::With(number, at, types) => (number, Some((at, types))),
            Place::Later => {
                if let Some(sharing) = self.sharing.as_deref_mut() {
                    sharing.head = Some(head);
                }
                return Ok(false);
            }
        };
        let mut payload_bytes = bytes;
        if let Some((at, types)) = with {
            let longer = with_types(&head, at, &types, has_attributes);
            payload_bytes += longer.len() - head.len();
            head = longer;
            if payload_bytes >= PAYLOAD_BYTES_MAX {
                self.refusing = Refusal::HugeParameters;
                self.request.refuse();
                return Ok(true);
            }
        }
        set_statement_id(&mut head, number);
        edits.send(Side::Backend, |out| {
            put_u24(out, u32::try_from(payload_bytes).unwrap_or(u32::MAX));
            out.extend_from_slice(&[0]);
            out.extend_from_slice(&head);
        });
        if is_execution {
            let (kind, effects) = self.execution(id);
            self.issue(Expect::Query, kind, effects, Of::Execution(id))?;
        }
        self.owes_current = is_execution;
        self.request.relay();
        Ok(true)
    }

    /// A statement was prepared for the client, or could not be.
    pub(super) fn on_prepared(&mut self, statement: Option<Box<Statement>>, edits: &mut Edits) {
        let Some(notes) = self.reply.notes() else { return };
        let (answer, id) = (notes.prepared, notes.statement_id);
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        let (Some(answer), Some(lent)) = (answer, sharing.lent.as_deref_mut()) else {
            sharing.statements.none_was_prepared();
            return;
        };
        let kept = statement.filter(|it| sharing.statements.have_room_for(it));
        let mut statement = kept.unwrap_or_else(|| Box::new(Statement::unread()));
        statement.params = answer.params;
        match statement.share_source(&lent.prepared) {
            Some(source) => lent.prepared.put_new(&source, answer.statement_id),
            None => statement.own = Some(Variant::new(answer.statement_id)),
        }
        sharing.statements.add(id, statement);
        self.close_statements(edits);
    }

    /// An execution, a fetch or a reset of a statement is answered.
    pub(super) fn on_executed(&mut self, id: u32, failed: bool, edits: &mut Edits) {
        let status = self.reply.status();
        let has_cursor = !failed
            && status.contains(Status::CURSOR_EXISTS)
            && !status.contains(Status::LAST_ROW_SENT);
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        if has_cursor {
            return;
        }
        if let Some((source, variant)) = sharing.statements.disown(id)
            && let Some(lent) = sharing.lent.as_deref_mut()
        {
            lent.prepared.put(&source, variant);
        }
        self.close_statements(edits);
    }

    /// A statement was refused under other settings than the session's, which have cleared the
    /// error: it is asked for again, so that the connection knows it.
    pub(super) fn refuse_again(&mut self, id: u32, edits: &mut Edits) -> bool {
        let Some(sharing) = self.sharing.as_deref() else { return false };
        let statement = sharing.statements.get(id).and_then(Statement::source);
        let (Some(source), Some(lent)) = (statement, sharing.lent.as_deref()) else { return false };
        let mut words = Words::default();
        words.say(Step::Prepare(source.text()), lent.capabilities);
        self.talk(Topic::Refused, words, None, edits);
        true
    }

    /// Closes what connections have no room for.
    pub(super) fn close_statements(&mut self, edits: &mut Edits) {
        let Some(lent) = self.sharing.as_deref_mut().and_then(|it| it.lent.as_deref_mut()) else {
            return;
        };
        for id in lent.prepared.take_closed() {
            edits.send(Side::Backend, |out| {
                frame(out, 0, |out| {
                    out.extend_from_slice(&[Command::StmtClose.as_byte()]);
                    out.extend_from_slice(&id.to_le_bytes());
                });
            });
        }
    }
}

impl Sharing {
    /// What a statement has to be prepared from before it can be executed, if it has to be.
    fn lacks(&mut self, id: u32, execution: Option<&Execution<'_>>) -> Option<Arc<Source>> {
        let types_stick = !self.is_mariadb;
        let statement = self.statements.get(id).filter(|it| it.own.is_none())?;
        let source = statement.source()?;
        let types = statement.types_of(execution);
        let wanted = statement.wanted(types.as_ref(), execution, types_stick);
        let found = self.lent.as_deref_mut()?.prepared.find(source, &wanted);
        found.is_none().then(|| Arc::clone(source))
    }

    /// Chooses the server's statement for an execution, or for parameters that come before one.
    fn bind(&mut self, id: u32, execution: Option<&Execution<'_>>) -> Place {
        let types_stick = !self.is_mariadb;
        let (Some(statement), Some(lent)) = (self.statements.get_mut(id), self.lent.as_deref_mut())
        else {
            return Place::At(NO_STATEMENT);
        };
        let types = statement.types_of(execution);
        let keeps = execution.is_none_or(|it| it.has_cursor || it.bound == Bound::Unknown);
        if statement.own.is_none() && keeps {
            let wanted = statement.wanted(types.as_ref(), execution, types_stick);
            let taken = statement.source().and_then(|it| lent.prepared.take(it, &wanted));
            let Some(variant) = taken else { return Place::At(NO_STATEMENT) };
            self.statements.own(id, variant);
        }
        let Some(statement) = self.statements.get_mut(id) else { return Place::At(NO_STATEMENT) };
        let Some(execution) = execution else {
            return statement.own.as_ref().map_or(Place::At(NO_STATEMENT), |it| Place::At(it.id));
        };
        if execution.bound == Bound::Unknown {
            statement.tie();
        }
        let found = if statement.own.is_some() {
            statement.own.as_mut()
        } else {
            let wanted = statement.wanted(types.as_ref(), Some(execution), types_stick);
            statement.source().and_then(|it| lent.prepared.find(it, &wanted))
        };
        let Some(variant) = found else { return Place::At(NO_STATEMENT) };
        variant.has_cursors = Some(execution.has_cursor);
        let place = match (&execution.bound, &types) {
            (Bound::Kept { flag_at }, Some(types)) if variant.last.as_ref() != Some(types) => {
                Place::With(variant.id, *flag_at, Arc::clone(types))
            }
            _ => Place::At(variant.id),
        };
        variant.last.clone_from(&types);
        if let Some(types) = types {
            variant.first.get_or_insert_with(|| Arc::clone(&types));
            statement.first.get_or_insert_with(|| Arc::clone(&types));
            statement.types = Some(types);
        }
        place
    }
}

/// What prepares a statement on a connection, read as it was read before; and whether that takes
/// other settings for a moment.
fn preparing(source: &Source, lent: &Lent) -> (Words, bool) {
    let (own, capabilities) = (&lent.settings, lent.capabilities);
    let mut words = Words::default();
    if source.settings().reads_as(own) {
        words.say(Step::Prepare(source.text()), capabilities);
        return (words, false);
    }
    let reading = own.reading_as(source.settings());
    words.tune(own, &reading, capabilities);
    let is_tuned = !words.is_empty();
    words.say(Step::Prepare(source.text()), capabilities);
    words.tune(&reading, own, capabilities);
    (words, is_tuned)
}
