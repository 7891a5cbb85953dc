//! Prepared statements, as far as a proxy must read them.
//!
//! Purpose: the answer to COM_STMT_PREPARE and the id the other COM_STMT_* begin with.
//! Never: decode parameters or rows.

use bytes::{BufMut, BytesMut};

use crate::wire::command::Command;
use crate::wire::reader::{Malformed, Reader};
use crate::wire::writer::frame;

/// The first packet of the answer to COM_STMT_PREPARE.
///
/// ```text
/// 00 | id 4 | columns 2 | params 2 | 00 | warnings 2 | metadata_follows 1 (only if negotiated)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareOk {
    /// The server's id of the statement, for this connection only.
    pub statement_id: u32,
    /// Columns of its result set; 0 if it has none.
    pub columns: u16,
    /// Parameters it takes.
    pub params: u16,
    /// Warnings while preparing it.
    pub warnings: u16,
}

impl PrepareOk {
    /// Reads one. What follows the warnings is not looked at.
    ///
    /// # Errors
    /// The payload is shorter or does not begin with 00.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "the answer to COM_STMT_PREPARE ends early");
        if reader.u8()? != 0x00 {
            return Err(Malformed::new("the answer to COM_STMT_PREPARE does not begin with 00"));
        }
        let statement_id = reader.u32()?;
        let columns = reader.u16()?;
        let params = reader.u16()?;
        reader.u8()?;
        let warnings = reader.u16()?;
        Ok(Self { statement_id, columns, params, warnings })
    }

    /// Appends it as a packet with sequence id `seq`.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        frame(out, seq, |out| {
            out.put_u8(0x00);
            out.put_u32_le(self.statement_id);
            out.put_u16_le(self.columns);
            out.put_u16_le(self.params);
            out.put_u8(0x00);
            out.put_u16_le(self.warnings);
        });
    }
}

/// The id in a COM_STMT_* command's payload; `None` for other commands and payloads too short.
#[must_use]
pub fn statement_id(payload: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(payload);
    match Command::from_byte(reader.u8().ok()?)? {
        Command::StmtExecute
        | Command::StmtSendLongData
        | Command::StmtClose
        | Command::StmtReset
        | Command::StmtFetch
        | Command::StmtBulkExecute => reader.u32().ok(),
        Command::Quit
        | Command::InitDb
        | Command::Query
        | Command::FieldList
        | Command::Refresh
        | Command::Statistics
        | Command::ProcessInfo
        | Command::ProcessKill
        | Command::Debug
        | Command::Ping
        | Command::ChangeUser
        | Command::BinlogDump
        | Command::RegisterReplica
        | Command::StmtPrepare
        | Command::SetOption
        | Command::Daemon
        | Command::BinlogDumpGtid
        | Command::ResetConnection
        | Command::Clone => None,
    }
}
