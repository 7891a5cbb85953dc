//! The first byte of what a client sends.
//!
//! Purpose: command codes under their names.
//! Never: say whether a command is allowed: that is the session's.

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $byte:literal $name:literal;)*) => {
        /// A command of the client.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Command {
            $($(#[$doc])* $variant = $byte,)*
        }

        impl Command {
            /// Every command, lowest code first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The command with that code, if it is one that a client may send.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name in the manuals.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

commands! {
    /// Ends the session; not answered.
    Quit = 0x01 "COM_QUIT";
    /// Changes the default schema.
    InitDb = 0x02 "COM_INIT_DB";
    /// Runs SQL text.
    Query = 0x03 "COM_QUERY";
    /// Lists a table's columns.
    FieldList = 0x04 "COM_FIELD_LIST";
    /// FLUSH and RESET by number. Gone in MySQL 9.
    Refresh = 0x07 "COM_REFRESH";
    /// One line of figures; answered with plain text.
    Statistics = 0x09 "COM_STATISTICS";
    /// SHOW PROCESSLIST. Gone in MySQL 9.
    ProcessInfo = 0x0A "COM_PROCESS_INFO";
    /// KILL. Gone in MySQL 9.
    ProcessKill = 0x0C "COM_PROCESS_KILL";
    /// Dumps internals to the server's log; answered like the end of a result set.
    Debug = 0x0D "COM_DEBUG";
    /// Asks whether the server is there.
    Ping = 0x0E "COM_PING";
    /// Logs in anew on the same connection.
    ChangeUser = 0x11 "COM_CHANGE_USER";
    /// Streams the binary log from a file position.
    BinlogDump = 0x12 "COM_BINLOG_DUMP";
    /// Says which replica this is.
    RegisterReplica = 0x15 "COM_REGISTER_SLAVE";
    /// Prepares a statement.
    StmtPrepare = 0x16 "COM_STMT_PREPARE";
    /// Runs a prepared statement.
    StmtExecute = 0x17 "COM_STMT_EXECUTE";
    /// Sends a piece of a parameter; not answered.
    StmtSendLongData = 0x18 "COM_STMT_SEND_LONG_DATA";
    /// Forgets a prepared statement; not answered.
    StmtClose = 0x19 "COM_STMT_CLOSE";
    /// Closes a statement's cursor and forgets its parameters.
    StmtReset = 0x1A "COM_STMT_RESET";
    /// Turns MULTI_STATEMENTS on or off; answered like the end of a result set.
    SetOption = 0x1B "COM_SET_OPTION";
    /// Reads rows of a cursor.
    StmtFetch = 0x1C "COM_STMT_FETCH";
    /// Internal to the server, which refuses it.
    Daemon = 0x1D "COM_DAEMON";
    /// Streams the binary log from a GTID position.
    BinlogDumpGtid = 0x1E "COM_BINLOG_DUMP_GTID";
    /// Resets the session's state.
    ResetConnection = 0x1F "COM_RESET_CONNECTION";
    /// MySQL: streams a copy of the data directory.
    Clone = 0x20 "COM_CLONE";
    /// MariaDB: runs a prepared statement for many rows of parameters.
    StmtBulkExecute = 0xFA "COM_STMT_BULK_EXECUTE";
}

impl Command {
    /// Its code.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        self as u8
    }
}
