//! Transactions that only read, on a replica.
//!
//! Purpose: they stay there as a whole, and what would end one and write behind it does not.
//! Never: rely on the replica's refusing to write; it may be any server.

use crate::base::Fault;
use crate::session::ledger::Ledger;
use crate::session::relay::Relay;
use crate::session::shared::Ruling;
use crate::session::text::Refusal;
use crate::sql::{Class, LexMode, Marks, Reason, classify};
use crate::wire::{Command, Edits, Status, query_text_at};

/// Whether a statement stays in a transaction that only reads, on a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    /// There the server says what is wrong with it.
    Yes,
    /// It ends the transaction first.
    Ended,
    /// It could end the transaction and write.
    Never,
}

impl Stays {
    pub(super) fn of(text: &[u8], mode: LexMode) -> Self {
        let found = classify(text, mode);
        let is_one = !found.marks.contains(Marks::MULTI);
        match found.class {
            Class::Read => Self::Yes,
            Class::Write if found.reason == Reason::Call => Self::Never,
            Class::PrimaryRead | Class::Session | Class::Write | Class::Ddl if is_one => Self::Yes,
            Class::Transaction if is_one => {
                let reads = found.reason == Reason::ReadOnlyTransaction;
                if reads || goes_on(text) { Self::Yes } else { Self::Ended }
            }
            Class::PrimaryRead
            | Class::Session
            | Class::Transaction
            | Class::Write
            | Class::Ddl
            | Class::Admin
            | Class::Unknown => Self::Never,
        }
    }
}

/// COMMIT, ROLLBACK and savepoints: nothing begins behind them that could write.
fn goes_on(text: &[u8]) -> bool {
    let words: [&[u8]; 4] = [b"COMMIT", b"ROLLBACK", b"SAVEPOINT", b"RELEASE"];
    let text = text.trim_ascii_start();
    words
        .iter()
        .any(|word| text.get(..word.len()).is_some_and(|first| first.eq_ignore_ascii_case(word)))
}

impl Relay {
    /// A command in a transaction that only reads, on a replica, if it cannot stay there: it may end
    /// the transaction and write behind it.
    pub(super) fn rule_reading(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Option<Ruling>, Fault> {
        let client = self.reply.dialect().client;
        let Some(sharing) = self.sharing.as_deref() else { return Ok(None) };
        let stays = if command == Command::Query {
            query_text_at(payload, client).map_or(Stays::Never, |at| {
                Stays::of(payload.get(at..).unwrap_or_default(), sharing.mode)
            })
        } else if command == Command::StmtExecute {
            sharing.statements.meant(payload, sharing.is_mariadb).map_or(Stays::Yes, |it| it.stays)
        } else {
            Stays::Yes
        };
        match stays {
            Stays::Yes => Ok(None),
            Stays::Never => {
                self.answer_with(Refusal::ReadOnlyTransaction, edits, ledger)?;
                Ok(Some(Ruling::Done))
            }
            Stays::Ended => {
                if self.owed.is_empty() {
                    self.end_reading();
                }
                self.leave_when_idle(ledger)?;
                Ok(Some(Ruling::Again))
            }
        }
    }

    /// A transaction that has only read ends, as the command that comes next would have ended it: its
    /// connection is reset.
    fn end_reading(&mut self) {
        let open = Status::IN_TRANS.with(Status::IN_TRANS_READONLY);
        self.reply.set_status(self.reply.status().without(open));
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.set_in_transaction(false);
            if let Some(lent) = &mut sharing.lent {
                lent.is_unknown = true;
            }
        }
    }
}
