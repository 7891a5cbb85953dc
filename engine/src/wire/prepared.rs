//! Prepared statements, as far as a proxy must read them.
//!
//! Purpose: the answer to COM_STMT_PREPARE and the id the other COM_STMT_* begin with.
//! Never: decode parameters or rows.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::wire::capability::Capabilities;
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

    /// How many packets follow it, definitions and EOFs, where `negotiated` was. `payload` is its
    /// own.
    #[must_use]
    pub fn packets_behind(&self, payload: &[u8], negotiated: Capabilities) -> usize {
        if Self::leaves_out(payload, negotiated) {
            return 0;
        }
        let eof = usize::from(!negotiated.contains(Capabilities::DEPRECATE_EOF));
        [self.params, self.columns]
            .into_iter()
            .filter(|count| *count > 0)
            .map(|count| usize::from(count) + eof)
            .sum()
    }

    /// Whether the packet says that no definitions follow it.
    #[must_use]
    pub fn leaves_out(payload: &[u8], negotiated: Capabilities) -> bool {
        const FLAG_AT: usize = 12;
        negotiated.contains(Capabilities::OPTIONAL_RESULTSET_METADATA)
            && payload.get(FLAG_AT) == Some(&DEFINITIONS_LEFT_OUT)
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

/// The byte that says so, where definitions may be left out.
pub(super) const DEFINITIONS_LEFT_OUT: u8 = 0;

/// Flag of COM_STMT_BULK_EXECUTE: it has types in it.
const TYPES_SENT: u8 = 0x80;

/// Where the id is in a COM_STMT_* command's payload, and in the answer to COM_STMT_PREPARE.
const ID: std::ops::Range<usize> = 1..5;

/// Writes the id into the payload of a COM_STMT_* command, or of the answer to COM_STMT_PREPARE.
/// Payloads too short for one stay as they are.
pub fn set_statement_id(payload: &mut [u8], id: u32) {
    if let Some(place) = payload.get_mut(ID) {
        place.copy_from_slice(&id.to_le_bytes());
    }
}

/// The types an execution has for its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    /// The statement has no parameters.
    None,
    /// Those of the last execution. This is where the flag that says so is, 0, and where the types
    /// would be.
    Kept {
        /// Place of the flag.
        flag_at: usize,
    },
    /// Two bytes for each parameter.
    Sent(Cow<'a, [u8]>),
    /// They cannot be told: the payload is cut or malformed, or has more than parameters in it.
    Unknown,
}

/// What COM_STMT_EXECUTE and COM_STMT_BULK_EXECUTE begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution<'a> {
    /// It opens a cursor.
    pub has_cursor: bool,
    /// Types of its parameters.
    pub bound: Bound<'a>,
}

impl<'a> Execution<'a> {
    /// Reads the head of one, of a statement that takes `params`. With `has_attributes` the two
    /// sides negotiated CLIENT_QUERY_ATTRIBUTES.
    #[must_use]
    pub fn parse(payload: &'a [u8], params: u16, has_attributes: bool) -> Self {
        let is_bulk = payload.first() == Some(&Command::StmtBulkExecute.as_byte());
        let flags = payload.get(ID.end).copied().unwrap_or_default();
        if is_bulk {
            return Self { has_cursor: false, bound: bound_in_bulk(payload, params) };
        }
        // MySQL's PARAMETER_COUNT_AVAILABLE is no cursor.
        let has_cursor = flags & CURSORS != 0;
        let bound = bound(payload, params, has_attributes, flags).unwrap_or(Bound::Unknown);
        Self { has_cursor, bound }
    }
}

fn bound(
    payload: &[u8],
    params: u16,
    has_attributes: bool,
    flags: u8,
) -> Result<Bound<'_>, Malformed> {
    const HEAD_BYTES: usize = ID.end + 5;
    const COUNTED: u8 = 0x08;
    let count = usize::from(params);
    let mut reader = Reader::new(payload.get(HEAD_BYTES..).unwrap_or_default());
    let is_counted = has_attributes && (count > 0 || flags & COUNTED != 0);
    if is_counted && reader.lenenc_int()? != u64::from(params) {
        return Ok(Bound::Unknown);
    }
    if count == 0 {
        return Ok(Bound::None);
    }
    reader.bytes(count.div_ceil(8))?;
    let flag_at = payload.len() - reader.remaining().len();
    match reader.u8()? {
        0 => Ok(Bound::Kept { flag_at }),
        _ if has_attributes => {
            let mut types = Vec::with_capacity(2 * count);
            for _ in 0..count {
                types.extend_from_slice(reader.bytes(2)?);
                // Its name, which only attributes have.
                reader.lenenc_bytes()?;
            }
            Ok(Bound::Sent(Cow::Owned(types)))
        }
        _ => Ok(Bound::Sent(Cow::Borrowed(reader.bytes(2 * count)?))),
    }
}

fn bound_in_bulk(payload: &[u8], params: u16) -> Bound<'_> {
    const HEAD_BYTES: usize = ID.end + 2;
    match payload.get(ID.end) {
        Some(flags) if flags & TYPES_SENT != 0 => {
            let types = payload.get(HEAD_BYTES..).and_then(|it| it.get(..2 * usize::from(params)));
            types.map_or(Bound::Unknown, |types| Bound::Sent(Cow::Borrowed(types)))
        }
        Some(_) => Bound::Kept { flag_at: ID.end },
        None => Bound::Unknown,
    }
}

/// An execution that says `types`, two bytes for each parameter, where it said that they are those
/// of the last one.
#[must_use]
pub fn with_types(payload: &[u8], flag_at: usize, types: &[u8], has_attributes: bool) -> BytesMut {
    let is_bulk = payload.first() == Some(&Command::StmtBulkExecute.as_byte());
    let (head, rest) = payload.split_at_checked(flag_at).unwrap_or_default();
    let mut out = BytesMut::with_capacity(payload.len() + 2 * types.len());
    out.extend_from_slice(head);
    if is_bulk {
        let (flags, rest) = rest.split_at_checked(2).unwrap_or_default();
        out.put_slice(&[flags.first().map_or(0, |it| it | TYPES_SENT), 0]);
        out.extend_from_slice(types);
        out.extend_from_slice(rest);
        return out;
    }
    out.put_u8(1);
    for of_one in types.chunks(2) {
        out.extend_from_slice(of_one);
        if has_attributes {
            // No name.
            out.put_u8(0);
        }
    }
    out.extend_from_slice(rest.get(1..).unwrap_or_default());
    out
}

/// Flags of COM_STMT_EXECUTE: read-only, for update, scrollable.
const CURSORS: u8 = 0x07;

/// Whether a COM_STMT_EXECUTE asks for a cursor.
#[must_use]
pub fn execution_has_cursor(payload: &[u8]) -> bool {
    payload.get(5).is_some_and(|flags| flags & CURSORS != 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\x17\x05\0\0\0\0\x01\0\0\0";

    fn bound(payload: &[u8], params: u16, has_attributes: bool) -> Bound<'_> {
        Execution::parse(payload, params, has_attributes).bound
    }

    #[test]
    fn types_of_parameters_are_found() {
        let sent = [HEAD, b"\0\x01\x03\0\xFD\0\x07\0\0\0\x01a"].concat();
        assert_eq!(bound(&sent, 2, false), Bound::Sent(Cow::Borrowed(b"\x03\0\xFD\0")));
        let kept = [HEAD, b"\0\0\x07\0\0\0\x01a"].concat();
        assert_eq!(bound(&kept, 2, false), Bound::Kept { flag_at: 11 });
        assert_eq!(bound(HEAD, 0, false), Bound::None);
        assert_eq!(bound(HEAD, 2, false), Bound::Unknown, "cut");
        let named = [HEAD, b"\x01\0\x01\x03\0\0\x07\0\0\0"].concat();
        assert_eq!(bound(&named, 1, true), Bound::Sent(Cow::Borrowed(b"\x03\0")));
        let attribute = [HEAD, b"\x02\0\x01\x03\0\0\x03\0\x01n\x07\0\0\0\x07\0\0\0"].concat();
        assert_eq!(bound(&attribute, 1, true), Bound::Unknown, "one is no parameter");
        let bulk = b"\xFA\x05\0\0\0\x80\0\x03\0\0\x07\0\0\0";
        assert_eq!(bound(bulk, 1, false), Bound::Sent(Cow::Borrowed(b"\x03\0")));
        let bulk = b"\xFA\x05\0\0\0\0\0\0\x07\0\0\0";
        assert_eq!(bound(bulk, 1, false), Bound::Kept { flag_at: 5 });
    }

    #[test]
    fn types_that_are_put_in_are_found_there() {
        let types = b"\x03\0\xFD\0";
        let kept = [HEAD, b"\0\0\x07\0\0\0\x01a"].concat();
        let bulk = b"\xFA\x05\0\0\0\0\0\0\x07\0\0\0\0\x01a".to_vec();
        let counted = [HEAD, b"\x02\0\0\x07\0\0\0\x01a"].concat();
        for (payload, has_attributes) in [(kept, false), (bulk, false), (counted, true)] {
            let Bound::Kept { flag_at } = bound(&payload, 2, has_attributes) else {
                unreachable!("{payload:02x?}");
            };
            let with = with_types(&payload, flag_at, types, has_attributes);
            assert_eq!(bound(&with, 2, has_attributes), Bound::Sent(Cow::Borrowed(types)));
            let values = &payload[payload.len() - 6..];
            assert!(with.ends_with(values), "{with:02x?}");
        }
    }

    #[test]
    fn only_cursors_are_cursors() {
        for (flags, has_cursor) in [(0, false), (1, true), (8, false), (9, true)] {
            let mut payload = HEAD.to_vec();
            payload[5] = flags;
            assert_eq!(Execution::parse(&payload, 0, false).has_cursor, has_cursor, "{flags}");
        }
        assert!(!Execution::parse(b"\xFA\x05\0\0\0\x81\0", 0, false).has_cursor);
    }
}
