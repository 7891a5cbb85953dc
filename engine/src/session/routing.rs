//! Where the commands of a session go on an endpoint that splits.
//!
//! Purpose: for each command what its connection has to be good for, and for a session that is on a
//! replica, when it has to leave.
//! Never: choose a server, or let anything but a read begin on a replica of an endpoint that writes.

use std::sync::Arc;

use crate::base::{Blame, Fault};
use crate::route::{Aim, Mode, Splits, Why};
use crate::session::causal::{Awaited, Causal, Going};
use crate::session::ledger::{Entry, Ledger};
use crate::session::relay::Relay;
use crate::session::shared::Ruling;
use crate::session::state::Action;
use crate::session::text::Refusal;
use crate::share::{Lent, Pin, Pins, Settings};
use crate::sql::{LexMode, Reason};
use crate::wire::reply::refusal;
use crate::wire::{
    Command, Edits, Status, code, execution_has_cursor, fault, frame, query_text_at,
};

/// Longer commands are not asked again elsewhere.
const REPEAT_BYTES_MAX: usize = 16 << 10;

/// What a connection is kept for until the next statement, and no longer.
const PASSING: u32 = Pin::Diagnostics.bit() | Pin::FoundRows.bit();

/// What a connection leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// A replica.
    pub is_replica: bool,
    /// A server that takes no writes.
    pub is_fenced: bool,
}

/// A connection that a session is given.
#[derive(Debug)]
pub struct Arrival {
    /// What it is set to.
    pub lent: Box<Lent>,
    /// What it leads to.
    pub reached: Reached,
    /// The server's name.
    pub server: Arc<str>,
    /// What that has to have before anything is read there.
    pub awaited: Option<Awaited>,
}

/// Where a session's commands go.
#[derive(Debug, Default)]
pub(super) struct Router {
    splits: Splits,
    /// What the connection that is asked for is for.
    pub(super) aim: Aim,
    /// Why the command that comes next goes where it goes.
    why: Why,
    /// What the connection there is leads to.
    pub(super) reached: Reached,
    /// It is there for the command that comes next.
    is_for_next: bool,
    /// Why a replica was not good enough for the command that comes next.
    primary_only: Option<Why>,
    /// What is under way is a read that could be asked again elsewhere; a copy is kept.
    can_repeat: bool,
    /// What its reads have to see.
    pub(super) causal: Causal,
}

impl Router {
    pub(super) fn new(splits: Splits) -> Self {
        Self { splits, ..Self::default() }
    }

    /// Where a text goes that is to run, now or later.
    pub(super) fn of_text(&self, text: &[u8], mode: LexMode) -> (Result<Aim, Refusal>, Why) {
        let (aim, why) = self.splits.of_text(text, mode);
        (aim.ok_or(Refusal::ReadOnlyEndpoint), why)
    }

    /// A connection is there.
    pub(super) fn on_attached(&mut self, to: Reached) {
        self.reached = to;
        self.is_for_next = self.splits();
        self.can_repeat = false;
    }

    /// What was said on a replica by Weir itself was refused there, which may be behind; or it is.
    pub(super) const fn distrust(&mut self, why: Why) {
        self.primary_only = Some(why);
    }

    /// The primary is asked, as no replica has what the command that waits has to see.
    pub(super) fn fall_back(&mut self) {
        (self.aim, self.why) = (Aim::Primary, Why::BEHIND);
    }

    /// How a wait for a replica has ended, if there was one.
    pub(super) fn note_wait(&mut self, ledger: &mut Ledger) {
        if let Some(since) = self.causal.take_awaited() {
            let in_time = self.primary_only.is_none();
            ledger.enter(Entry::Waited { in_time, nanos: ledger.nanos_since(since) });
        }
    }

    /// The connection there is leads to a replica, which is left for anything but reads.
    pub(super) const fn at_replica(&self) -> bool {
        self.reached.is_replica && matches!(self.splits.mode, Mode::ReadWrite)
    }

    pub(super) const fn mode(&self) -> Mode {
        self.splits.mode
    }

    pub(super) const fn splits(&self) -> bool {
        !matches!(self.splits.mode, Mode::Not)
    }
}

impl Relay {
    /// Before anything else of a command of a session that splits: what its connection is for, or
    /// that it has to leave the one there is, or is refused.
    pub(super) fn steer(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Option<Ruling>, Fault> {
        let in_transaction = self.is_in_transaction();
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(None) };
        let router = &mut sharing.router;
        if !router.splits() {
            return Ok(None);
        }
        let has_lease = sharing.lent.is_some();
        if has_lease && router.primary_only.is_none() && std::mem::take(&mut router.is_for_next) {
            return Ok(None);
        }
        let is_reading = has_lease && in_transaction && router.at_replica();
        if is_reading && let Some(ruling) = self.rule_reading(command, payload, edits, ledger)? {
            return Ok(Some(ruling));
        }
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(None) };
        let router = &mut sharing.router;
        let stays = has_lease && (in_transaction || !router.at_replica());
        if stays && router.splits.mode == Mode::ReadWrite {
            router.why = Why::KEPT;
            return Ok(None);
        }
        if has_lease && !stays && !is_idle {
            // Each has its answer before the next one goes on, so that it can be asked again
            // elsewhere.
            sharing.awaits_answers = true;
            return Ok(Some(Ruling::Again));
        }
        let (aim, why) = self.aim_of(command, payload);
        let aim = match aim {
            Ok(aim) => aim,
            Err(why) => {
                self.answer_with(why, edits, ledger)?;
                return Ok(Some(Ruling::Done));
            }
        };
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(None) };
        let router = &mut sharing.router;
        router.why = if stays { Why::KEPT } else { why };
        if !has_lease {
            if !aim.is_primary() {
                router.causal.on_came();
            }
            router.aim = aim;
            return Ok(None);
        }
        let asks_of_last = why == Why::of(Reason::PreviousStatement);
        let lacks_fence = aim.wish().is_some_and(|wish| wish.fenced) && !router.reached.is_fenced;
        if stays && lacks_fence {
            self.answer_with(Refusal::ReadOnlyEndpoint, edits, ledger)?;
            return Ok(Some(Ruling::Done));
        }
        // A wish may be for another replica.
        if stays || aim == Aim::Reads && router.causal.holds(&aim) || asks_of_last {
            return Ok(None);
        }
        self.leave_replica(ledger)?;
        Ok(Some(Ruling::Again))
    }

    /// The same for a command too long to be held. Whether it has to wait.
    pub(super) fn steer_long(&mut self, ledger: &mut Ledger) -> Result<bool, Fault> {
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(false) };
        let router = &mut sharing.router;
        router.is_for_next = false;
        router.causal.on_unread();
        if sharing.lent.is_none() {
            router.aim = router.splits.aim_unread();
            router.why = Why::LONG;
        }
        if sharing.lent.is_none() || in_transaction || !router.at_replica() {
            return Ok(false);
        }
        self.leave_when_idle(ledger)?;
        Ok(true)
    }

    /// What the connection of a command has to be good for.
    fn aim_of(&self, command: Command, payload: &[u8]) -> (Result<Aim, Refusal>, Why) {
        let primary = |why| (Ok(Aim::Primary), why);
        let Some(sharing) = self.sharing.as_deref() else { return primary(Why::COMMAND) };
        let router = &sharing.router;
        let is_for_reading = router.splits.mode == Mode::ReadOnly;
        if let Some(why) = router.primary_only {
            return primary(why);
        }
        if !is_for_reading {
            if !self.reply.status().contains(Status::AUTOCOMMIT) {
                return primary(Why::IMPLICIT_TRANSACTION);
            }
            let splits = router.splits.in_transactions;
            if sharing.begins && !(splits && reads_committed(&sharing.carried.settings)) {
                return primary(Why::TRANSACTION);
            }
        }
        let text_at = if command == Command::Query {
            query_text_at(payload, self.reply.dialect().client).ok()
        } else if command == Command::StmtPrepare {
            Some(1)
        } else if is_for_reading {
            return (Ok(Aim::Reads), Why::COMMAND);
        } else if command == Command::StmtExecute {
            return self.aim_of_execution(payload);
        } else {
            None
        };
        let Some(text) = text_at.and_then(|at| payload.get(at..)) else {
            return primary(Why::COMMAND);
        };
        let (aim, why) = router.of_text(text, sharing.mode);
        let moves = || sharing.statements.can_move(text, &sharing.carried.settings);
        let is_prepared = command == Command::StmtPrepare && !is_for_reading;
        if is_prepared && aim != Ok(Aim::Primary) && !moves() {
            return primary(Why::TIED);
        }
        (aim, why)
    }

    /// The same of a COM_STMT_EXECUTE.
    pub(super) fn aim_of_execution(&self, payload: &[u8]) -> (Result<Aim, Refusal>, Why) {
        if execution_has_cursor(payload) {
            return (Ok(Aim::Primary), Why::CURSOR);
        }
        let sharing = self.sharing.as_deref();
        let found = sharing.and_then(|it| it.statements.meant(payload, it.is_mariadb));
        found.map_or((Ok(Aim::Primary), Why::COMMAND), |it| (Ok(it.aim.clone()), it.why))
    }

    /// A session gives up a replica's connection. What is known there of the statement before is not
    /// asked for any more; if anything else keeps it, of which the text told nothing, the connection
    /// is reset.
    fn leave_replica(&mut self, ledger: &mut Ledger) -> Result<(), Fault> {
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(()) };
        if sharing.statements.hold_connection() {
            let text = "weir: a prepared statement with parameters that cannot be read keeps this \
                        session on a replica; close it, or connect again";
            return Err(fault(Blame::Client, code::UNKNOWN_ERROR, text));
        }
        let pins = std::mem::take(&mut sharing.carried.pins);
        drop(sharing.carried.take_asked());
        sharing.tell_pins(in_transaction, ledger);
        if let Some(lent) = &mut sharing.lent {
            lent.is_unknown |= pins.bits() & !PASSING != 0;
        }
        sharing.action = Some(Action::Release);
        Ok(())
    }

    /// The same, once what is under way there is answered. The command comes again.
    pub(super) fn leave_when_idle(&mut self, ledger: &mut Ledger) -> Result<(), Fault> {
        if self.owed.is_empty() {
            return self.leave_replica(ledger);
        }
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.awaits_answers = true;
        }
        Ok(())
    }

    /// A command of that payload goes to the backend.
    pub(super) fn on_goes(&mut self, command: Command, payload: &[u8], ledger: &mut Ledger) {
        let is_first = self.owed.is_empty();
        let in_transaction = self.is_in_transaction();
        let is_alone = is_first && !in_transaction;
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        if let Some(notes) = self.reply.notes_mut() {
            notes.is_asked = sharing.carried.pins.has(Pin::Tracking);
        }
        let router = &mut sharing.router;
        let going = Going { command, payload, why: router.why, is_first, in_transaction };
        router.causal.on_goes(going);
        if !router.splits() {
            return;
        }
        let is_read = if router.at_replica() {
            matches!(command, Command::Query | Command::StmtPrepare | Command::StmtExecute)
                && router.why != Why::of(Reason::PreviousStatement)
        } else {
            // Where all goes to replicas, not all of it can be asked twice.
            command == Command::Query && router.why.is_read()
        };
        let fits = payload.len() <= REPEAT_BYTES_MAX;
        router.can_repeat = router.reached.is_replica && is_read && is_alone && fits;
        router.primary_only = None;
        router.is_for_next = false;
        ledger.enter(Entry::Routed { replica: router.reached.is_replica, why: router.why });
        if router.can_repeat
            && let Some(lent) = &mut sharing.lent
        {
            lent.copy.clear();
            frame(&mut lent.copy, 0, |out| out.extend_from_slice(payload));
        }
    }

    /// Its connection leads to a replica, which is left for anything but reads.
    pub(super) fn is_at_replica(&self) -> bool {
        self.sharing.as_deref().is_some_and(|sharing| sharing.router.at_replica())
    }

    /// Whether what is under way can be asked again elsewhere, as nothing of its answer has gone to
    /// the client.
    fn can_repeat(&self) -> bool {
        let can = self.sharing.as_deref().is_some_and(|sharing| sharing.router.can_repeat);
        can && self.owed.len() == 1
            && !self.reply.has_begun()
            && self.wait.is_none()
            && self.request.is_between_commands()
            && !self.request.is_cut()
    }

    /// What came of a backend is a replica's refusal of something that another server may do: it is
    /// asked there.
    pub(super) fn is_refused_here(&mut self, input: &[u8], ledger: &mut Ledger) -> bool {
        if !self.is_at_replica() || !self.can_repeat() {
            return false;
        }
        let Some(refused) = refusal(input, self.reply.dialect().backend) else { return false };
        let is_elsewhere = matches!(
            refused,
            // It writes.
            code::OPTION_PREVENTS_STATEMENT
                | code::CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
                | code::READ_ONLY_MODE
                // The replica may be behind.
                | code::BAD_DB_ERROR
                | code::BAD_FIELD_ERROR
                | code::NO_SUCH_TABLE
                | code::SP_DOES_NOT_EXIST
                // It goes.
                | code::SERVER_SHUTDOWN
        );
        if is_elsewhere {
            ledger.enter(Entry::Repeated);
            self.take_back();
            if let Some(sharing) = self.sharing.as_deref_mut() {
                sharing.router.primary_only = Some(Why::REFUSED);
                // What was sent behind it has waited for its answer.
                sharing.awaits_answers = false;
                sharing.action = Some(Action::Release);
            }
        }
        is_elsewhere
    }

    /// The command under way has not been answered, and comes again.
    fn take_back(&mut self) {
        self.owed.take_back();
        let since = self.command_since;
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        sharing.issued.pop_front();
        sharing.router.can_repeat = false;
        sharing.since = Some(since);
        let Some(lent) = &mut sharing.lent else { return };
        let behind = std::mem::take(&mut sharing.ahead);
        sharing.ahead.extend_from_slice(&lent.copy);
        sharing.ahead.extend_from_slice(&behind);
    }

    /// Its connection to a replica has ended. Whether the session does without: what was asked and
    /// not answered comes again.
    pub(super) fn survives_end(&mut self, ledger: &mut Ledger) -> bool {
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref() else { return false };
        // Anything else only its connection knows.
        let is_held = sharing.statements.hold_connection()
            || !sharing.router.at_replica() && sharing.carried.pins.bits() & !PASSING != 0;
        if !sharing.router.reached.is_replica || in_transaction || is_held || self.unasked {
            return false;
        }
        if !self.owed.is_empty() {
            if !self.can_repeat() {
                return false;
            }
            ledger.enter(Entry::Repeated);
            self.take_back();
        }
        let rest = self.wait.take().map(|wait| wait.rest).unwrap_or_default();
        let Some(sharing) = self.sharing.as_deref_mut() else { return false };
        sharing.ahead.extend_from_slice(&rest);
        sharing.awaits_answers = false;
        sharing.carried.pins = Pins::default();
        sharing.router.on_attached(Reached::default());
        sharing.lent = None;
        sharing.tell_pins(in_transaction, ledger);
        true
    }
}

/// Whether a transaction sees what others have committed since it began.
fn reads_committed(settings: &Settings) -> bool {
    let isolation = [&b"transaction_isolation"[..], b"tx_isolation"]
        .into_iter()
        .find_map(|name| settings.variable(name));
    isolation.is_some_and(|it| matches!(it, b"READ-COMMITTED" | b"READ-UNCOMMITTED"))
}
