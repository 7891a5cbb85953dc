//! What each capability does, seen by a client that has it and by one that has not.
//!
//! Purpose: either way a client of Weir gets what a client of the server gets, and the capability
//! makes the difference it is there for.
//! Never: know what a reply looks like; two servers are compared, packet by packet.

use std::net::SocketAddr;

use weir::wire::Capabilities;
use weir_tests::{Flavour, Login, RawClient};

use crate::commands::asked;
use crate::fixture::{Database, On, PASSWORD, Proxy, USER, database};

/// MariaDB: what capabilities do is the servers', and is compared with the server's own.
const ON: [On; 2] = [
    On { flavour: Flavour::MariaDb, driver: "io_uring" },
    On { flavour: Flavour::MariaDb, driver: "epoll" },
];

/// Packets of a reply: sequence ids and payloads.
type Reply = Vec<(u8, Vec<u8>)>;

fn query(sql: &str) -> Vec<u8> {
    [b"\x03", sql.as_bytes()].concat()
}

/// Runs commands on a new connection; the replies.
fn run(address: SocketAddr, login: &Login, commands: &[Vec<u8>]) -> Vec<Reply> {
    let mut client = RawClient::log_in(address, login).unwrap();
    commands.iter().map(|command| asked(&mut client, command)).collect()
}

/// Compares a client that has a capability, and one that has not, on either side of Weir; the two
/// clients' replies must differ. `setup` runs once, in a database of its own.
fn check(test: &str, capability: Capabilities, setup: &str, commands: &[Vec<u8>]) {
    for on in ON {
        let server = Database::shared(on);
        let name = database(server, test, on);
        server.sql(&format!("USE {name}; {setup}")).unwrap();
        let proxy = Proxy::start(on, server);
        let mut login = Login::new(USER, PASSWORD);
        login.database = Some(name);
        let mut seen = Vec::new();
        for login in [login.clone().with(capability), login.without(capability)] {
            let direct = run(server.address(), &login, commands);
            let through = run(proxy.weir.address(), &login, commands);
            let modern = login.capabilities.contains(Capabilities::DEPRECATE_EOF);
            let shown = |replies: &[Reply]| if modern { replies.to_vec() } else { shapes(replies) };
            assert_eq!(shown(&through), shown(&direct), "{on:?}");
            seen.push(direct);
        }
        assert_ne!(seen.first(), seen.last(), "the capability changes nothing");
        proxy.finish();
    }
}

/// Sequence ids and payloads without the status flags of an EOF, which are not the same in one that
/// Weir puts in.
fn shapes(replies: &[Reply]) -> Vec<Reply> {
    let shape = |(seq, payload): &(u8, Vec<u8>)| match payload.as_slice() {
        [0xFE, _, _, _, _] => (*seq, vec![0xFE]),
        _ => (*seq, payload.clone()),
    };
    replies.iter().map(|reply| reply.iter().map(shape).collect()).collect()
}

/// COM_STMT_EXECUTE of the last statement prepared, without parameters.
const EXECUTE: &[u8] = &[0x17, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, 0, 0, 0];

#[test]
fn capability_found_rows_counts_rows_found() {
    check(
        "found_rows",
        Capabilities::FOUND_ROWS,
        "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)",
        &[query("UPDATE t SET a = a")],
    );
}

#[test]
fn capability_local_files_lets_the_server_ask_for_a_file() {
    // Without the capability there is an error; with it, a wish for a file, answered by none.
    let server = Database::shared(ON[0]);
    for on in ON {
        let name = database(server, "local_files_raw", on);
        server.sql(&format!("CREATE TABLE {name}.t (a INT)")).unwrap();
        let proxy = Proxy::start(on, server);
        let mut login = Login::new(USER, PASSWORD);
        login.database = Some(name);
        let load = query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
        for address in [server.address(), proxy.weir.address()] {
            let mut client = RawClient::log_in(address, &login).unwrap();
            client.send_packet(0, &load).unwrap();
            assert_eq!(client.packet().unwrap(), (1, b"\xFBx".to_vec()));
            client.send_packet(2, b"").unwrap();
            assert_eq!(client.packet().unwrap().0, 3);
            let without = login.clone().without(Capabilities::LOCAL_FILES);
            let mut client = RawClient::log_in(address, &without).unwrap();
            client.send_packet(0, &load).unwrap();
            assert_eq!(client.error().unwrap().code, 4166);
        }
        proxy.finish();
    }
}

#[test]
fn capability_ignore_space_allows_spaces_before_a_parenthesis() {
    check("ignore_space", Capabilities::IGNORE_SPACE, "", &[query("SELECT COUNT (*) FROM DUAL")]);
}

#[test]
fn capability_interactive_chooses_the_other_timeout() {
    Database::shared(ON[0]).sql("SET GLOBAL interactive_timeout = 12345").unwrap();
    check("interactive", Capabilities::INTERACTIVE, "", &[query("SELECT @@wait_timeout")]);
}

#[test]
fn capability_multi_statements_allows_several() {
    check(
        "multi_statements",
        Capabilities::MULTI_STATEMENTS,
        "",
        &[query("SELECT 1; DO 1; SELECT 2"), query("SELECT 3")],
    );
}

#[test]
fn capability_multi_results_allows_procedures_to_select() {
    check(
        "multi_results",
        Capabilities::MULTI_RESULTS.union(Capabilities::MULTI_STATEMENTS),
        "CREATE PROCEDURE p() SELECT 1",
        &[query("CALL p()"), query("SELECT 2")],
    );
}

#[test]
fn capability_ps_multi_results_allows_them_in_prepared_statements() {
    check(
        "ps_multi_results",
        Capabilities::PS_MULTI_RESULTS,
        "CREATE PROCEDURE p(OUT b INT) SELECT 1",
        &[
            [b"\x16", &b"CALL p(?)"[..]].concat(),
            [EXECUTE, b"\0\x01\x08\0\0\0\0\0\0\0\0\0"].concat(),
        ],
    );
}

#[test]
fn capability_connect_with_db_begins_in_a_schema() {
    let server = Database::shared(ON[0]);
    let name = database(server, "connect_with_db", ON[1]);
    let proxy = Proxy::start(ON[1], server);
    for address in [server.address(), proxy.weir.address()] {
        let mut login = Login::new(USER, PASSWORD);
        login.database = Some(name.clone());
        let mut client = RawClient::log_in(address, &login).unwrap();
        assert_eq!(client.value("SELECT DATABASE()").unwrap(), name);
    }
    proxy.finish();
}

#[test]
fn capability_can_handle_expired_passwords_lets_them_in() {
    let server = Database::shared(ON[0]);
    server.create_account("expired", "old").unwrap();
    let expire =
        "ALTER USER expired PASSWORD EXPIRE; SET GLOBAL disconnect_on_expired_password = ON";
    server.sql(expire).unwrap();
    let mut config = crate::fixture::config(ON[1], server);
    config.users.push(("expired".to_owned(), "old".to_owned()));
    let proxy = Proxy::start_with(ON[1], &config);
    let handles = Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS;
    let login = Login::new("expired", "old");
    for address in [server.address(), proxy.weir.address()] {
        let mut client = RawClient::log_in(address, &login.clone().with(handles)).unwrap();
        client.send_query("SELECT 1").unwrap();
        assert_eq!(client.error().unwrap().code, 1820);
        let refused = RawClient::log_in(address, &login.clone().without(handles));
        assert!(format!("{:#}", refused.unwrap_err()).contains("1862"));
    }
    proxy.finish();
}

#[test]
fn capability_session_track_reports_changes() {
    check(
        "session_track",
        Capabilities::SESSION_TRACK,
        "CREATE TABLE t (a INT)",
        &[
            query("SET autocommit = 0"),
            query("SET NAMES latin1"),
            query("SET autocommit = 1"),
            query("USE mysql"),
        ],
    );
}

#[test]
fn capability_deprecate_eof_leaves_packets_out() {
    check(
        "deprecate_eof",
        Capabilities::DEPRECATE_EOF,
        "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL)",
        &[
            query("SELECT * FROM t"),
            query("SELECT 1; DO 1; SELECT 2 FROM t"),
            b"\x16SELECT a, b FROM t WHERE a >= 0".to_vec(),
            EXECUTE.to_vec(),
            b"\x04t\0".to_vec(),
            b"\x1B\0\0".to_vec(),
        ],
    );
}

#[test]
fn capability_mariadb_extended_metadata_names_types() {
    check(
        "extended_metadata",
        Capabilities::MARIADB_EXTENDED_METADATA,
        "CREATE TABLE t (j JSON, p POINT)",
        &[query("SELECT * FROM t")],
    );
}

#[test]
fn capability_mariadb_cache_metadata_sends_definitions_once() {
    check(
        "cache_metadata",
        Capabilities::MARIADB_CACHE_METADATA,
        "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)",
        &[
            b"\x16SELECT a FROM t".to_vec(),
            EXECUTE.to_vec(),
            EXECUTE.to_vec(),
            query("SELECT a FROM t"),
        ],
    );
}

/// For a client without DEPRECATE_EOF the EOF behind the definitions is there even without them.
#[test]
fn capability_mariadb_cache_metadata_for_an_old_client() {
    let server = Database::shared(ON[0]);
    let proxy = Proxy::start(ON[1], server);
    let login = Login::new(USER, PASSWORD)
        .with(Capabilities::MARIADB_CACHE_METADATA)
        .without(Capabilities::DEPRECATE_EOF);
    let commands = [b"\x16SELECT 5, 'x'".to_vec(), EXECUTE.to_vec(), EXECUTE.to_vec()];
    let direct = run(server.address(), &login, &commands);
    let through = run(proxy.weir.address(), &login, &commands);
    assert_eq!(shapes(&through), shapes(&direct));
    assert_eq!(through.last().unwrap().len(), 4, "no definitions: {through:02x?}");
    proxy.finish();
}

#[test]
fn capability_mariadb_stmt_bulk_operations_runs_many_rows() {
    let server = Database::shared(ON[0]);
    for on in ON {
        let name = database(server, "bulk", on);
        let proxy = Proxy::start(on, server);
        // Trackers would tell the position in the binary log, which differs.
        let mut login = Login::new(USER, PASSWORD)
            .with(Capabilities::MARIADB_STMT_BULK_OPERATIONS)
            .without(Capabilities::SESSION_TRACK);
        login.database = Some(name.clone());
        let rows =
            [&b"\xFA\xFF\xFF\xFF\xFF\x80\0\x03\0"[..], b"\0\x01\0\0\0\0\x02\0\0\0\0\x03\0\0\0"]
                .concat();
        let mut seen = Vec::new();
        for address in [server.address(), proxy.weir.address()] {
            server.sql(&format!("CREATE OR REPLACE TABLE {name}.t (a INT PRIMARY KEY)")).unwrap();
            let insert = b"\x16INSERT INTO t VALUES (?)".to_vec();
            let replies = run(address, &login, &[insert, rows.clone(), rows.clone()]);
            assert_eq!(server.sql(&format!("SELECT COUNT(*) FROM {name}.t")).unwrap(), "3\n");
            seen.push(replies);
        }
        assert_eq!(seen.first(), seen.last());
        proxy.finish();
    }
}
