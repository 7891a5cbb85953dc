//! Where each command goes.
//!
//! Purpose: one table from commands to what becomes of them.
//! Never: look at more than the command.

use crate::session::login::LOGIN_PACKET_BYTES_MAX;
use crate::wire::Command;
use crate::wire::reply::Expect;

/// An id of four bytes, and what a clumsy client may put behind it.
const SMALL_BYTES_MAX: usize = 64;

/// What becomes of a command.
pub(super) enum Route {
    /// As [`Self::Relay`], but its text may need a look.
    Text(Expect),
    /// It is looked at whole, if it is not longer than this, and refused otherwise.
    Hold { bytes_max: usize },
    /// To the backend, which answers like this.
    Relay(Expect),
    /// To the backend, which does not answer.
    Silent,
    /// To the backend, and the session ends.
    Quit,
    /// ERR 1047.
    Refuse,
}

/// Whether a command leaves traces that a reset of the connection does not undo.
#[inline]
pub(super) const fn spoils(command: Command) -> bool {
    matches!(
        command,
        Command::SetOption
            | Command::ChangeUser
            | Command::BinlogDump
            | Command::BinlogDumpGtid
            | Command::RegisterReplica
    )
}

/// Where a command goes.
#[inline]
pub(super) const fn route(command: Command) -> Route {
    match command {
        Command::Quit => Route::Quit,
        Command::Query => Route::Text(Expect::Query),
        Command::StmtPrepare => Route::Text(Expect::Prepare),
        Command::StmtExecute | Command::StmtBulkExecute => Route::Relay(Expect::Query),
        Command::StmtFetch => Route::Relay(Expect::Fetch),
        Command::FieldList => Route::Relay(Expect::FieldList),
        Command::Statistics => Route::Relay(Expect::Statistics),
        Command::InitDb
        | Command::Ping
        | Command::StmtReset
        | Command::SetOption
        | Command::ResetConnection
        | Command::RegisterReplica
        | Command::Refresh
        | Command::Debug => Route::Relay(Expect::Ok),
        Command::BinlogDump | Command::BinlogDumpGtid => Route::Relay(Expect::Stream),
        Command::StmtClose | Command::StmtSendLongData => Route::Silent,
        Command::ProcessKill | Command::ProcessInfo => Route::Hold { bytes_max: SMALL_BYTES_MAX },
        Command::ChangeUser => Route::Hold { bytes_max: LOGIN_PACKET_BYTES_MAX },
        Command::Daemon | Command::Clone => Route::Refuse,
    }
}
