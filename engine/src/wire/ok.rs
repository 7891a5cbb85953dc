//! OK and EOF packets.
//!
//! Purpose: read what ends a reply, and write it again for a client that negotiated less.
//! Never: find the end of a reply: an FE may also begin a row or an authentication switch, and
//! only who knows the place in the reply can tell.

use bytes::{BufMut, BytesMut};

use crate::wire::capability::Capabilities;
use crate::wire::reader::{Malformed, Reader};
use crate::wire::status::Status;
use crate::wire::tracker::Trackers;
use crate::wire::writer::{frame, put_lenenc_bytes, put_lenenc_int};

/// A statement's success, or (header FE) the end of a result set under DEPRECATE_EOF.
///
/// ```text
/// 00 or FE | affected_rows lenenc | last_insert_id lenenc | status 2 | warnings 2
///          | info, length-encoded | trackers, length-encoded
/// ```
/// `info` is left out when it is empty and no trackers follow; trackers are there only with
/// SESSION_TRACK and SESSION_STATE_CHANGED. The manuals call `info` "the rest of the packet"
/// without SESSION_TRACK, but MariaDB 10.11 writes its length then too, and so does Weir; both
/// are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OkPacket<'a> {
    /// First byte: 00, or FE at the end of a result set.
    pub header: u8,
    /// Rows changed, or found with FOUND_ROWS.
    pub affected_rows: u64,
    /// First AUTO_INCREMENT value the statement made; 0 if none.
    pub last_insert_id: u64,
    /// Status flags.
    pub status: Status,
    /// Warnings of the statement.
    pub warnings: u16,
    /// Text for people.
    pub info: &'a [u8],
    /// Trackers as they came, without the outer length; empty if none.
    pub trackers: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// The first byte of a statement's success.
    pub const OK: u8 = 0x00;
    /// The first byte at the end of a result set.
    pub const END: u8 = 0xFE;

    /// The success of a statement that did nothing.
    #[must_use]
    pub const fn nothing(status: Status) -> Self {
        Self {
            header: Self::OK,
            affected_rows: 0,
            last_insert_id: 0,
            status,
            warnings: 0,
            info: &[],
            trackers: &[],
        }
    }

    /// Reads one as a connection with `capabilities` sends it. Bytes after the last field are not
    /// looked at.
    ///
    /// # Errors
    /// The payload begins with something else than 00 or FE, or ends inside a field.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "an OK packet ends early");
        let header = reader.u8()?;
        if header != Self::OK && header != Self::END {
            return Err(Malformed::new("an OK packet does not begin with 00 or FE"));
        }
        let affected_rows = reader.lenenc_int()?;
        let last_insert_id = reader.lenenc_int()?;
        let status = Status(reader.u16()?);
        let warnings = reader.u16()?;
        let (mut info, mut trackers): (&[u8], &[u8]) = (&[], &[]);
        if !capabilities.contains(Capabilities::SESSION_TRACK) {
            let bare = reader.remaining();
            info = reader.lenenc_bytes().ok().filter(|_| reader.is_empty()).unwrap_or(bare);
        } else if !reader.is_empty() {
            info = reader.lenenc_bytes()?;
            if status.contains(Status::SESSION_STATE_CHANGED) {
                trackers = reader.lenenc_bytes()?;
            }
        }
        Ok(Self { header, affected_rows, last_insert_id, status, warnings, info, trackers })
    }

    /// Appends it as a packet with sequence id `seq`, for a connection with `capabilities`: without
    /// SESSION_TRACK the trackers and the flag that announces them are left out.
    pub fn encode(&self, capabilities: Capabilities, seq: u8, out: &mut BytesMut) {
        let tracked =
            capabilities.contains(Capabilities::SESSION_TRACK) && !self.trackers.is_empty();
        let status = self.status.without(Status::SESSION_STATE_CHANGED);
        let status = if tracked { status.with(Status::SESSION_STATE_CHANGED) } else { status };
        frame(out, seq, |out| {
            out.put_u8(self.header);
            put_lenenc_int(out, self.affected_rows);
            put_lenenc_int(out, self.last_insert_id);
            out.put_u16_le(status.0);
            out.put_u16_le(self.warnings);
            if tracked || !self.info.is_empty() {
                put_lenenc_bytes(out, self.info);
            }
            if tracked {
                put_lenenc_bytes(out, self.trackers);
            }
        });
    }

    /// What changed in the session, in the server's order. After an `Err` nothing follows.
    #[must_use]
    pub const fn trackers(&self) -> Trackers<'a> {
        Trackers::new(self.trackers)
    }
}

/// The end of a result set or of its metadata, without DEPRECATE_EOF.
///
/// ```text
/// FE | warnings 2 | status 2
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EofPacket {
    /// Warnings of the statement.
    pub warnings: u16,
    /// Status flags.
    pub status: Status,
}

impl EofPacket {
    /// Reads one. Bytes after the last field are not looked at.
    ///
    /// # Errors
    /// The payload does not begin with FE or is shorter.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "an EOF packet ends early");
        if reader.u8()? != 0xFE {
            return Err(Malformed::new("an EOF packet does not begin with FE"));
        }
        let warnings = reader.u16()?;
        let status = Status(reader.u16()?);
        Ok(Self { warnings, status })
    }
}

/// Appends an EOF packet with sequence id `seq`.
pub fn encode_eof(status: Status, warnings: u16, seq: u8, out: &mut BytesMut) {
    frame(out, seq, |out| {
        out.put_u8(0xFE);
        out.put_u16_le(warnings);
        out.put_u16_le(status.0);
    });
}
