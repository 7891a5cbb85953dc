//! ERR packets and the error numbers Weir itself uses.
//!
//! Purpose: read a server's error, write one of our own.
//! Never: choose the text a client sees.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::base::{Blame, Fault};
use crate::wire::reader::{Malformed, Reader};
use crate::wire::writer::frame;

/// An error.
///
/// ```text
/// FF | code 2 | '#' sqlstate 5 (not before the greeting) | message, to the end
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// Error number. MariaDB's 0xFFFF is a progress report and no error; it comes only to clients
    /// with [`crate::wire::Capabilities::MARIADB_PROGRESS`].
    pub code: u16,
    /// SQLSTATE.
    pub sqlstate: [u8; 5],
    /// Text, in the connection's character set.
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    /// Reads one. One without SQLSTATE, as sent in place of a greeting, gets the usual one of its
    /// code.
    ///
    /// # Errors
    /// The payload does not begin with FF or has no code.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "an ERR packet ends early");
        if reader.u8()? != 0xFF {
            return Err(Malformed::new("an ERR packet does not begin with FF"));
        }
        let code = reader.u16()?;
        let unmarked = reader;
        if reader.u8() == Ok(b'#')
            && let Ok(sqlstate) = reader.array()
        {
            return Ok(Self { code, sqlstate, message: reader.rest() });
        }
        Ok(Self { code, sqlstate: sqlstate(code), message: unmarked.remaining() })
    }

    /// The same as a fault with that blame.
    #[must_use]
    pub fn to_fault(&self, blame: Blame) -> Fault {
        let message = String::from_utf8_lossy(self.message).into_owned().into();
        Fault { blame, code: self.code, sqlstate: self.sqlstate, message }
    }

    /// Appends it as a packet with sequence id `seq`.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        frame(out, seq, |out| {
            out.put_u8(0xFF);
            out.put_u16_le(self.code);
            out.put_u8(b'#');
            out.put_slice(&self.sqlstate);
            out.put_slice(self.message);
        });
    }

    /// Appends it as the packet that stands in place of a greeting: sequence id 0 and no SQLSTATE,
    /// which a client that has negotiated nothing would show as text.
    pub fn encode_as_greeting(&self, out: &mut BytesMut) {
        frame(out, 0, |out| {
            out.put_u8(0xFF);
            out.put_u16_le(self.code);
            out.put_slice(self.message);
        });
    }
}

impl<'a> From<&'a Fault> for ErrPacket<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self { code: fault.code, sqlstate: fault.sqlstate, message: fault.message.as_bytes() }
    }
}

/// Error numbers, named as in the server's `errmsg` file without the `ER_`.
pub mod code {
    /// Too many connections.
    pub const CON_COUNT_ERROR: u16 = 1040;
    /// Bad handshake.
    pub const HANDSHAKE_ERROR: u16 = 1043;
    /// Access denied to a database.
    pub const DBACCESS_DENIED_ERROR: u16 = 1044;
    /// Access denied.
    pub const ACCESS_DENIED_ERROR: u16 = 1045;
    /// Unknown command.
    pub const UNKNOWN_COM_ERROR: u16 = 1047;
    /// Unknown database.
    pub const BAD_DB_ERROR: u16 = 1049;
    /// Server shutdown in progress.
    pub const SERVER_SHUTDOWN: u16 = 1053;
    /// Unknown column.
    pub const BAD_FIELD_ERROR: u16 = 1054;
    /// You have an error in your SQL syntax.
    pub const PARSE_ERROR: u16 = 1064;
    /// You are not owner of the thread.
    pub const KILL_DENIED_ERROR: u16 = 1095;
    /// Unknown thread id.
    pub const NO_SUCH_THREAD: u16 = 1094;
    /// Unknown error; what Weir uses where no other code fits.
    pub const UNKNOWN_ERROR: u16 = 1105;
    /// Table does not exist.
    pub const NO_SUCH_TABLE: u16 = 1146;
    /// A function or procedure does not exist.
    pub const SP_DOES_NOT_EXIST: u16 = 1305;
    /// Host is blocked because of many connection errors.
    pub const HOST_IS_BLOCKED: u16 = 1129;
    /// Got a packet bigger than `max_allowed_packet`.
    pub const NET_PACKET_TOO_LARGE: u16 = 1153;
    /// Got packets out of order.
    pub const NET_PACKETS_OUT_OF_ORDER: u16 = 1156;
    /// A compressed packet that cannot be decompressed.
    pub const NET_UNCOMPRESS_ERROR: u16 = 1157;
    /// Got an error reading communication packets.
    pub const NET_READ_ERROR: u16 = 1158;
    /// Got timeout reading communication packets.
    pub const NET_READ_INTERRUPTED: u16 = 1159;
    /// Got an error writing communication packets.
    pub const NET_ERROR_ON_WRITE: u16 = 1160;
    /// Got timeout writing communication packets.
    pub const NET_WRITE_INTERRUPTED: u16 = 1161;
    /// A user has more connections than allowed.
    pub const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
    /// A user has reached a limit of its own.
    pub const USER_LIMIT_REACHED: u16 = 1226;
    /// A privilege is missing.
    pub const SPECIFIC_ACCESS_DENIED_ERROR: u16 = 1227;
    /// A variable has a value for sessions only.
    pub const LOCAL_VARIABLE: u16 = 1228;
    /// A variable cannot have that value.
    pub const WRONG_VALUE_FOR_VAR: u16 = 1231;
    /// Unknown prepared statement handler.
    pub const UNKNOWN_STMT_HANDLER: u16 = 1243;
    /// Client does not support the authentication protocol asked for.
    pub const NOT_SUPPORTED_AUTH_MODE: u16 = 1251;
    /// An option, as `read_only`, prevents the statement.
    pub const OPTION_PREVENTS_STATEMENT: u16 = 1290;
    /// Query execution was interrupted.
    pub const QUERY_INTERRUPTED: u16 = 1317;
    /// The statement has no open cursor.
    pub const CLIENT_INTERACTION_TIMEOUT: u16 = 4031;
    /// A statement has no cursor to fetch from.
    pub const STMT_HAS_NO_OPEN_CURSOR: u16 = 1421;
    /// Can't create more than max_prepared_stmt_count statements.
    pub const MAX_PREPARED_STMT_COUNT_REACHED: u16 = 1461;
    /// Access denied, no password used.
    pub const ACCESS_DENIED_NO_PASSWORD_ERROR: u16 = 1698;
    /// The statement cannot run in a read-only transaction.
    pub const CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: u16 = 1792;
    /// Malformed communication packet.
    pub const MALFORMED_PACKET: u16 = 1835;
    /// Running in read-only mode.
    pub const READ_ONLY_MODE: u16 = 1836;
    /// MariaDB: connection was killed.
    pub const CONNECTION_KILLED: u16 = 1927;
    /// Only TLS or a unix socket will do.
    pub const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
}

/// The end of a session with that error number and its SQLSTATE.
#[must_use]
pub fn fault(blame: Blame, code: u16, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault { blame, code, sqlstate: sqlstate(code), message: message.into() }
}

/// The SQLSTATE servers give with that error number; HY000 for those not listed in [`code`].
#[must_use]
pub const fn sqlstate(code: u16) -> [u8; 5] {
    match code {
        code::CON_COUNT_ERROR | code::NOT_SUPPORTED_AUTH_MODE => *b"08004",
        code::HANDSHAKE_ERROR
        | code::UNKNOWN_COM_ERROR
        | code::SERVER_SHUTDOWN
        | code::NET_PACKET_TOO_LARGE
        | code::NET_PACKETS_OUT_OF_ORDER
        | code::NET_UNCOMPRESS_ERROR
        | code::NET_READ_ERROR
        | code::NET_READ_INTERRUPTED
        | code::NET_ERROR_ON_WRITE
        | code::NET_WRITE_INTERRUPTED => *b"08S01",
        code::ACCESS_DENIED_ERROR | code::ACCESS_DENIED_NO_PASSWORD_ERROR => *b"28000",
        code::DBACCESS_DENIED_ERROR
        | code::BAD_DB_ERROR
        | code::PARSE_ERROR
        | code::MAX_PREPARED_STMT_COUNT_REACHED
        | code::TOO_MANY_USER_CONNECTIONS
        | code::USER_LIMIT_REACHED
        | code::SPECIFIC_ACCESS_DENIED_ERROR => *b"42000",
        code::CANT_EXECUTE_IN_READ_ONLY_TRANSACTION => *b"25006",
        code::QUERY_INTERRUPTED | code::CONNECTION_KILLED => *b"70100",
        _ => *b"HY000",
    }
}
