//! Names before a parenthesis.
//!
//! Purpose: tell built-in functions and keywords, which do nothing to data, from anything that may
//! be a stored function.
//! Never: take a name for harmless on a server where it may be a stored function's.
//!
//! The names are in `functions.txt`, as real servers told them; `engine/testdata/functions.py` asks
//! them again. What is a built-in function and yet not harmless is listed here.

use crate::sql::mode::Server;
use crate::sql::words::{WORD_BYTES_MAX, hash};

/// What a call does, as far as it matters where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing; or it is no call.
    Harmless,
    NamedLock,
    Connection,
    Previous,
    Sequence,
    Server,
    /// Perhaps a stored function.
    Unknown,
}

/// Built-in functions that do not go to a replica.
const EFFECTS: &[(&[u8], Effect)] = &[
    (b"GET_LOCK", Effect::NamedLock),
    (b"RELEASE_LOCK", Effect::NamedLock),
    (b"RELEASE_ALL_LOCKS", Effect::NamedLock),
    (b"IS_FREE_LOCK", Effect::NamedLock),
    (b"IS_USED_LOCK", Effect::NamedLock),
    (b"CONNECTION_ID", Effect::Connection),
    (b"LAST_INSERT_ID", Effect::Connection),
    (b"PS_CURRENT_THREAD_ID", Effect::Connection),
    (b"PS_THREAD_ID", Effect::Connection),
    (b"FOUND_ROWS", Effect::Previous),
    (b"ROW_COUNT", Effect::Previous),
    (b"NEXTVAL", Effect::Sequence),
    (b"LASTVAL", Effect::Sequence),
    (b"SETVAL", Effect::Sequence),
    (b"BINLOG_GTID_POS", Effect::Server),
    (b"MASTER_GTID_WAIT", Effect::Server),
    (b"MASTER_POS_WAIT", Effect::Server),
    (b"SOURCE_POS_WAIT", Effect::Server),
    (b"WAIT_FOR_EXECUTED_GTID_SET", Effect::Server),
    (b"WSREP_LAST_SEEN_GTID", Effect::Server),
    (b"WSREP_LAST_WRITTEN_GTID", Effect::Server),
    (b"WSREP_SYNC_WAIT_UPTO_GTID", Effect::Server),
    // Files of the server's machine, and of its keys.
    (b"LOAD_FILE", Effect::Server),
    (b"DES_DECRYPT", Effect::Server),
    (b"DES_ENCRYPT", Effect::Server),
    // From the server's number and its start.
    (b"UUID_SHORT", Effect::Server),
];

/// Where a name is no stored function's, as bits.
mod on {
    pub(super) const MYSQL: u8 = 1;
    pub(super) const MARIADB: u8 = 2;
    /// The same with a blank before the parenthesis.
    pub(super) const MYSQL_BLANK: u8 = 4;
    pub(super) const MARIADB_BLANK: u8 = 8;
    /// MySQL before 9.6.
    pub(super) const OLDER_MYSQL: u8 = 16;
}

/// What `name(` is, or `name (` where there is something between them.
#[inline]
pub(super) fn effect(name: &[u8], server: Server, blank: bool) -> Effect {
    let Some((servers, effect)) = known(name) else { return Effect::Unknown };
    let (mysql, maria) = match blank {
        false => (on::MYSQL, on::MARIADB),
        true => (on::MYSQL_BLANK, on::MARIADB_BLANK),
    };
    // What older servers had is taken to be what both have now.
    let needed = match server {
        Server::MySql(MYSQL_SINCE..) => mysql,
        Server::MariaDb(MARIADB_SINCE..) => maria,
        Server::MySql(_) | Server::MariaDb(_) | Server::Unknown => mysql | maria,
    };
    let older = matches!(server, Server::MySql(version) if version < MYSQL_WITHOUT_OLDER)
        && servers & on::OLDER_MYSQL != 0;
    if servers & needed == needed || older { effect } else { Effect::Unknown }
}

/// The oldest versions that the names are believed of.
const MYSQL_SINCE: u32 = 80_017;
const MARIADB_SINCE: u32 = 101_000;
const MYSQL_WITHOUT_OLDER: u32 = 90_600;

fn known(name: &[u8]) -> Option<(u8, Effect)> {
    if name.len() > WORD_BYTES_MAX {
        return None;
    }
    let mut slot = hash(name);
    loop {
        let (from, length, servers, effect) = *TABLE.get(slot)?;
        if length == 0 {
            return None;
        }
        let from = usize::from(from);
        let own = NAMES.get(from..from + usize::from(length))?;
        if own.eq_ignore_ascii_case(name) {
            return Some((servers, effect));
        }
        slot = (slot + 1) % TABLE.len();
    }
}

const NAMES: &[u8] = include_bytes!("functions.txt");

/// Open addressing: where a name is in [`NAMES`], its length, its servers, what it does. Made by the
/// compiler.
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the compiler runs it"
)]
static TABLE: [(u16, u8, u8, Effect); 1024] = {
    let mut table = [(0, 0, 0, Effect::Harmless); 1024];
    let mut at = 0;
    assert!(NAMES.len() < u16::MAX as usize);
    while at < NAMES.len() {
        if NAMES[at] == b'#' {
            while NAMES[at] != b'\n' {
                at += 1;
            }
            at += 1;
            continue;
        }
        let from = at;
        while NAMES[at] != b' ' {
            at += 1;
        }
        let length = at - from;
        assert!(length <= WORD_BYTES_MAX);
        at += 1;
        let mut servers = 0;
        while NAMES[at] != b'\n' {
            servers |= match NAMES[at] {
                b'm' => on::MYSQL,
                b'M' => on::MYSQL_BLANK,
                b'a' => on::MARIADB,
                b'A' => on::MARIADB_BLANK,
                b'o' => on::OLDER_MYSQL,
                _ => panic!("no such server"),
            };
            at += 1;
        }
        at += 1;
        let (_, name) = NAMES.split_at(from);
        let (name, _) = name.split_at(length);
        let mut slot = hash(name);
        while table[slot].1 != 0 {
            slot = (slot + 1) % table.len();
        }
        table[slot] = (from as u16, length as u8, servers, effect_of(name));
    }
    table
};

/// What is listed of a name.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
const fn effect_of(name: &[u8]) -> Effect {
    let mut at = 0;
    while at < EFFECTS.len() {
        let (listed, effect) = EFFECTS[at];
        let mut same = listed.len() == name.len();
        let mut byte = 0;
        while same && byte < name.len() {
            same = listed[byte] == name[byte];
            byte += 1;
        }
        if same {
            return effect;
        }
        at += 1;
    }
    Effect::Harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    const MYSQL: Server = Server::MySql(90_704);
    const MARIA: Server = Server::MariaDb(101_119);
    const SERVERS: [Server; 3] = [MYSQL, MARIA, Server::Unknown];

    #[test]
    fn every_listed_effect_has_a_name() {
        for (name, listed) in EFFECTS {
            let found = SERVERS.iter().map(|server| effect(name, *server, false));
            assert!(found.clone().any(|it| it == *listed), "{}", name.escape_ascii());
            assert!(found.into_iter().all(|it| it != Effect::Harmless), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn names_are_judged_by_server_and_blank() {
        let of = |name: &str, server, blank| effect(name.as_bytes(), server, blank);
        for server in SERVERS {
            assert_eq!(of("count", server, false), Effect::Harmless);
            assert_eq!(of("Count", server, true), Effect::Unknown, "a stored function may be so");
            assert_eq!(of("abs", server, true), Effect::Harmless);
            assert_eq!(of("IN", server, true), Effect::Harmless);
            assert_eq!(of("my_function", server, false), Effect::Unknown);
            assert_eq!(of("", server, false), Effect::Unknown);
            assert_eq!(of(&"a".repeat(300), server, false), Effect::Unknown);
        }
        assert_eq!(of("uuid_to_bin", MYSQL, false), Effect::Harmless);
        assert_eq!(of("uuid_to_bin", MARIA, false), Effect::Unknown);
        assert_eq!(of("uuid_to_bin", Server::Unknown, false), Effect::Unknown);
        assert_eq!(of("uuid_to_bin", Server::MySql(50_744), false), Effect::Unknown);
        assert_eq!(of("md5", Server::MySql(80_036), false), Effect::Harmless);
        assert_eq!(of("md5", MYSQL, false), Effect::Unknown, "a component's since 9.6");
        assert_eq!(of("nextval", MARIA, false), Effect::Sequence);
    }
}
