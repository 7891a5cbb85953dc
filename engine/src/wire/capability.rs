//! What the two ends of a connection can do.
//!
//! Purpose: the capability bits of the handshake under their names.
//! Never: decide which of them Weir offers or asks for.

use std::fmt;

/// A set of capabilities. The low 32 bits are MySQL's; the high 32 are MariaDB's extended ones,
/// which exist only between peers that leave [`Self::LONG_PASSWORD`] unset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u64);

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        impl Capabilities {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Every named bit, lowest first.
            const NAMES: &'static [(Self, &'static str)] =
                &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

capabilities! {
    /// MySQL's old "new password" flag. MariaDB calls it CLIENT_MYSQL: a MariaDB server leaves it
    /// unset to say that the greeting carries extended capabilities, and so does its client.
    LONG_PASSWORD = 0;
    /// Affected rows of an UPDATE are the rows found, not the rows changed.
    FOUND_ROWS = 1;
    /// Column flags have two bytes. Always set.
    LONG_FLAG = 2;
    /// The login request names a database.
    CONNECT_WITH_DB = 3;
    /// `database.table.column` is refused.
    NO_SCHEMA = 4;
    /// The zlib compressed protocol follows the login.
    COMPRESS = 5;
    /// Nothing since MySQL 3.22.
    ODBC = 6;
    /// LOAD DATA LOCAL may ask the client for a file.
    LOCAL_FILES = 7;
    /// Spaces may stand before the parenthesis of a function call.
    IGNORE_SPACE = 8;
    /// The protocol since MySQL 4.1. Weir speaks no other.
    PROTOCOL_41 = 9;
    /// `interactive_timeout` applies instead of `wait_timeout`.
    INTERACTIVE = 10;
    /// TLS follows this packet.
    SSL = 11;
    /// Client only: it ignores SIGPIPE.
    IGNORE_SIGPIPE = 12;
    /// Status flags are in OK and EOF packets. Always set.
    TRANSACTIONS = 13;
    /// An old name of PROTOCOL_41.
    RESERVED = 14;
    /// Passwords are 4.1 scrambles with a length before them.
    SECURE_CONNECTION = 15;
    /// One COM_QUERY may hold several statements.
    MULTI_STATEMENTS = 16;
    /// COM_QUERY may have several results.
    MULTI_RESULTS = 17;
    /// COM_STMT_EXECUTE may have several results.
    PS_MULTI_RESULTS = 18;
    /// Authentication plugins are named and can be switched.
    PLUGIN_AUTH = 19;
    /// The login request carries connection attributes.
    CONNECT_ATTRS = 20;
    /// The password scramble's length is length-encoded.
    PLUGIN_AUTH_LENENC = 21;
    /// A login with an expired password is allowed, to change it.
    CAN_HANDLE_EXPIRED_PASSWORDS = 22;
    /// OK packets report changes of session state.
    SESSION_TRACK = 23;
    /// Result sets end with an OK packet and have no EOF after their metadata.
    DEPRECATE_EOF = 24;
    /// Result set metadata may be left out; the count of columns has a byte behind it that says so.
    OPTIONAL_RESULTSET_METADATA = 25;
    /// The zstd compressed protocol follows the login.
    ZSTD = 26;
    /// COM_QUERY and COM_STMT_EXECUTE carry attributes.
    QUERY_ATTRIBUTES = 27;
    /// Several authentication factors.
    MFA = 28;
    /// The set goes on elsewhere; never used so far.
    CAPABILITY_EXTENSION = 29;
    /// Client only: it checks the server's certificate.
    SSL_VERIFY_SERVER_CERT = 30;
    /// Client only: it keeps options after a failed connect.
    REMEMBER_OPTIONS = 31;
    /// MariaDB: ERR packets with code 0xFFFF report progress.
    MARIADB_PROGRESS = 32;
    /// MariaDB: COM_MULTI, withdrawn.
    MARIADB_COM_MULTI = 33;
    /// MariaDB: COM_STMT_BULK_EXECUTE.
    MARIADB_STMT_BULK_OPERATIONS = 34;
    /// MariaDB: column definitions carry extended type information.
    MARIADB_EXTENDED_METADATA = 35;
    /// MariaDB: metadata of a prepared statement is sent only when it changed; the count of columns
    /// has a byte behind it that says so.
    MARIADB_CACHE_METADATA = 36;
    /// MariaDB: a bulk execution answers with one result per row.
    MARIADB_BULK_UNIT_RESULTS = 37;
}

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// MySQL's 32 bits.
    #[must_use]
    pub const fn base(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// MariaDB's 32 bits.
    #[must_use]
    pub const fn extended(self) -> u32 {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The set of both halves; the extended half is dropped where MySQL's protocol has none.
    #[must_use]
    pub const fn from_halves(base: u32, extended: u32) -> Self {
        let mysql = base as u64;
        if mysql & Self::LONG_PASSWORD.0 == 0 {
            Self(mysql | ((extended as u64) << 32))
        } else {
            Self(mysql)
        }
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in it and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// With `other` if `present`, else without.
    #[must_use]
    pub const fn set(self, other: Self, present: bool) -> Self {
        if present { self.union(other) } else { self.without(other) }
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let mut list = f.debug_list();
        for (flag, name) in Self::NAMES {
            if self.contains(*flag) {
                list.entry(&format_args!("{name}"));
                rest = rest.without(*flag);
            }
        }
        if rest != Self::NONE {
            list.entry(&format_args!("{:#x}", rest.0));
        }
        list.finish()
    }
}
