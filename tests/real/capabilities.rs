//! What each capability does, seen by a client that has it and by one that has not.
//!
//! Purpose: either way a client of Weir gets what a client of the server gets, and the capability
//! makes the difference it is there for.
//! Never: know what a reply looks like; two servers are compared, packet by packet.

use std::net::SocketAddr;
use std::sync::Once;

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

/// Reports come as packets of their own before the reply, and only to who can read them.
#[test]
fn capability_mariadb_progress_reports_before_the_reply() {
    let server = Database::shared(ON[0]);
    for on in ON {
        let name = database(server, "progress", on);
        let proxy = Proxy::start(on, server);
        // The first report of each stage comes at once, but only behind 10,000 rows.
        server.sql(&format!("CREATE TABLE {name}.t AS SELECT * FROM numbers.n")).unwrap();
        for capable in [true, false] {
            let progress = Capabilities::MARIADB_PROGRESS;
            // Trackers would tell the position in the binary log, which differs.
            let login = Login::new(USER, PASSWORD)
                .with(Capabilities::MARIADB_CACHE_METADATA)
                .without(Capabilities::SESSION_TRACK);
            let mut login = if capable { login.with(progress) } else { login.without(progress) };
            login.database = Some(name.clone());
            let ask = |address| {
                let mut client = RawClient::log_in(address, &login).unwrap();
                // No second one of a stage, however slow the machine is.
                asked(&mut client, &query("SET progress_report_time = 100000"));
                client.send_query("ALTER TABLE t FORCE, ALGORITHM=COPY").unwrap();
                let mut packets = vec![client.packet().unwrap()];
                while let Some((_, report)) = packets.last_mut()
                    && report.starts_with(&[0xFF, 0xFF, 0xFF])
                {
                    // How far it is, by an estimate of the table's size.
                    report[6..9].fill(0);
                    packets.push(client.packet().unwrap());
                }
                assert_eq!(client.value("SELECT 'after'").unwrap(), "after");
                packets
            };
            let (direct, through) = (ask(server.address()), ask(proxy.weir.address()));
            assert_eq!(direct.len() > 1, capable, "{direct:02x?}");
            assert_eq!(through, direct);
        }
        proxy.finish();
    }
}

/// What only MySQL has.
mod mysql {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MySql,
        capability_query_attributes_reach_the_server,
        capability_optional_resultset_metadata_leaves_definitions_out
    );
}

/// Runs commands directly and through Weir; the replies are the same.
fn same_on_mysql(on: On, login: &Login, commands: &[Vec<u8>]) -> Vec<Reply> {
    let server = Database::shared(on);
    // So that MySQL knows the password: these clients have only the short exchange.
    server.client(USER, PASSWORD).query("SELECT 1").unwrap();
    let proxy = Proxy::start(on, server);
    let direct = run(server.address(), login, commands);
    assert_eq!(run(proxy.weir.address(), login, commands), direct);
    proxy.finish();
    direct
}

/// The server's function shows them, of a text and of a prepared statement.
fn capability_query_attributes_reach_the_server(on: On) {
    static INSTALLED: Once = Once::new();
    let install = "INSTALL COMPONENT 'file://component_query_attributes'";
    INSTALLED.call_once(|| drop(Database::shared(on).sql(install).unwrap()));
    // A NULL map, types, a name and a value of one attribute.
    let attribute = b"\0\x01\xFE\0\x04mine\x08the-text";
    let select = b"SELECT mysql_query_attribute_string('mine')";
    let text = [&b"\x03\x01\x01"[..], attribute, select].concat();
    let prepare = [&b"\x16"[..], select].concat();
    // The first statement of a session is number 1; bit 3 says that there is a count.
    let execute = [&b"\x17\x01\0\0\0\x08\x01\0\0\0\x01"[..], attribute].concat();
    let login = Login::new(USER, PASSWORD).with(Capabilities::QUERY_ATTRIBUTES);
    let replies = same_on_mysql(on, &login, &[text, prepare, execute]);
    for reply in [&replies[0], &replies[2]] {
        let shown = |(_, packet): &(u8, Vec<u8>)| packet.ends_with(b"\x08the-text");
        assert!(reply.iter().any(shown), "{reply:02x?}");
    }
}

fn capability_optional_resultset_metadata_leaves_definitions_out(on: On) {
    let optional = Capabilities::OPTIONAL_RESULTSET_METADATA;
    let login = Login::new(USER, PASSWORD).without(Capabilities::QUERY_ATTRIBUTES);
    let ask = |login: &Login, what: &str| {
        let set = query(&format!("SET resultset_metadata = {what}"));
        let prepare = b"\x16SELECT 5, 'x'".to_vec();
        let execute = b"\x17\x01\0\0\0\0\x01\0\0\0".to_vec();
        let replies = same_on_mysql(on, login, &[set, query("SELECT 5, 'x'"), prepare, execute]);
        replies.iter().map(Vec::len).collect::<Vec<_>>()
    };
    // A count, two definitions, a row and the end; a prepared statement's two definitions.
    assert_eq!(ask(&login.clone().with(optional), "FULL"), [1, 5, 3, 5]);
    assert_eq!(ask(&login.clone().with(optional), "NONE"), [1, 3, 1, 3]);
    // Who does not know it gets them, or an error, as from the server itself.
    assert_eq!(ask(&login.without(optional), "FULL"), [1, 5, 3, 5]);
}
