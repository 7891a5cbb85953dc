//! What Weir itself answers for a client that has no backend connection at the moment.
//!
//! Purpose: every such answer is byte for byte the server's, what is not certain reaches the server,
//! and a transaction that was begun on Weir's word is a transaction.

use std::time::Duration;

use weir::wire::{Capabilities, Command};
use weir_tests::{Login, RawClient, Server, WeirConfig};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, database, on_every_server};

on_every_server!(
    what_weir_answers_is_what_the_server_would,
    a_transaction_begins_with_its_first_statement,
);

fn query(sql: &str) -> Vec<u8> {
    [&[Command::Query.as_byte()], sql.as_bytes()].concat()
}

fn start(on: On, server: &Server) -> Proxy {
    Proxy::start_with(on, &WeirConfig { pooling: "transaction", ..config(on, server) })
}

/// What drivers and frameworks say, and what looks like it.
const SCRIPT: &[&str] = &[
    "select @@version_comment limit 1",
    "SELECT @@version_comment",
    "SELECT @@VERSION_COMMENT",
    "ROLLBACK",
    // Its answer says that no index was used.
    "SELECT * FROM numbers.n LIMIT 2",
    "COMMIT",
    "COMMIT WORK",
    "SET autocommit=1",
    "set session autocommit = ON",
    "SET @@session.autocommit = 1",
    "SET autocommit = 2 - 1",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET NAMES utf8mb4",
    "SET NAMES utf8mb4",
    "SET NAMES 'utf8mb4'",
    "SELECT @@collation_connection, 'a'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
    "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci'",
    "SET NAMES utf8mb4",
    // It is deprecated on MySQL, which warns of it each time.
    "SET NAMES utf8",
    "SET NAMES utf8",
    "SHOW WARNINGS",
    "SET character_set_results = utf8mb4",
    "SET NAMES utf8mb4",
    "SET character_set_results = NULL",
    "SET character_set_results = NULL",
    "select @@version_comment limit 1",
    "SET time_zone = '+00:00'",
    "SET time_zone='+00:00'",
    "SET time_zone = '+01:00', time_zone = '+00:00'",
    "SET sql_mode = ''",
    "SET sql_mode=''",
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES'",
    "SET SESSION sql_mode = 'strict_trans_tables'",
    "SHOW WARNINGS",
    "SET foreign_key_checks = 0",
    "SET foreign_key_checks = OFF",
    "SET foreign_key_checks = 1",
    "SET sql_auto_is_null = 0",
    "SET SESSION wait_timeout = 1000",
    "SET SESSION wait_timeout = 1000",
    "SET wait_timeout = 1000, sql_auto_is_null = OFF",
    "SET wait_timeout = 1000, nonsense = OFF",
    "SET GLOBAL wait_timeout = 28800",
    "/* from the driver */ COMMIT",
    "BEGIN",
    "COMMIT",
    "START TRANSACTION",
    "ROLLBACK",
    "BEGIN",
    "SELECT 7",
    "COMMIT",
    "START TRANSACTION READ ONLY",
    "ROLLBACK",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "COMMIT",
    "SET completion_type = CHAIN",
    "COMMIT",
    "SET completion_type = NO_CHAIN",
    "ROLLBACK",
    "SET autocommit = 0",
    "SET autocommit = 0",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "SET autocommit = 1",
    "BEGIN; SELECT 1",
    "ROLLBACK",
    // Until then warnings may be asked for.
    "DO 0",
    "SET NAMES utf8mb4 COLLATE nonsense",
    "SHOW WARNINGS",
    "SET default_collation_for_utf8mb4 = utf8mb4_general_ci",
    "SET NAMES utf8mb4",
    "SET NAMES utf8mb4",
    "SELECT @@collation_connection",
];

fn what_weir_answers_is_what_the_server_would(on: On) {
    let server = Database::shared(on);
    let proxy = start(on, server);
    // MySQL warns after each statement of a client that asks for it.
    let usual = Login::new(USER, PASSWORD).without(Capabilities::NO_SCHEMA);
    let logins = [
        usual.clone().without(Capabilities::SESSION_TRACK),
        usual.clone().without(Capabilities::DEPRECATE_EOF),
        usual.without(Capabilities::OPTIONAL_RESULTSET_METADATA),
    ];
    for login in logins {
        let login = login.without(Capabilities::QUERY_ATTRIBUTES);
        let [mut direct, mut through] = [server.address(), proxy.weir.address()]
            .map(|address| RawClient::log_in(address, &login).unwrap());
        for (place, sql) in SCRIPT.iter().enumerate() {
            let [told, said] =
                [&mut through, &mut direct].map(|client| client.ask(&query(sql)).unwrap());
            assert_eq!(in_order(told), in_order(said), "{place}: {sql}: {login:?}");
            // For the connection to be given back.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let local = proxy.weir.metrics().unwrap().value("weir_commands_local_total", &[]).unwrap();
    assert!(local > 60.0, "Weir answered {local} commands itself");
    proxy.finish();
}

/// MariaDB reports several variables in an order that is another one in each of its processes. An EOF
/// before rows that Weir puts in does not know yet what the statement did.
fn in_order(mut reply: Vec<(u8, Vec<u8>)>) -> Vec<(u8, Vec<u8>)> {
    let last = reply.len().saturating_sub(1);
    for (place, (_, payload)) in reply.iter_mut().enumerate() {
        if place < last && matches!(payload.as_slice(), [0xFE, _, _, _, _]) {
            payload.truncate(1);
        }
        let reports = payload.windows(14).any(|it| it == b"character_set_");
        if payload.first() == Some(&0) && reports {
            payload.sort_unstable();
        }
    }
    reply
}

/// Also if what begins it is prepared, fails, or is the end of it.
fn a_transaction_begins_with_its_first_statement(on: On) {
    let server = Database::shared(on);
    let name = database(server, "lazy", on);
    server.sql(&format!("CREATE TABLE {name}.t (id INT PRIMARY KEY)")).unwrap();
    let proxy = start(on, server);
    let login = Login { database: Some(name.clone()), ..Login::new(USER, PASSWORD) };
    let login = login.without(Capabilities::QUERY_ATTRIBUTES);
    let mut client = RawClient::log_in(proxy.weir.address(), &login).unwrap();
    let mut ask = |command: &[u8]| client.ask(command).unwrap();
    let rows = || server.sql(&format!("SELECT COUNT(*) FROM {name}.t")).unwrap().trim().to_owned();
    ask(&query("BEGIN"));
    ask(&query("INSERT INTO t VALUES (1)"));
    assert_eq!(rows(), "0", "the transaction is open");
    ask(&query("ROLLBACK"));
    assert_eq!(rows(), "0");
    ask(&query("BEGIN"));
    assert_eq!(ask(&query("INSERT INTO nowhere VALUES (1)"))[0].1[0], 0xFF);
    ask(&query("INSERT INTO t VALUES (2)"));
    assert_eq!(rows(), "0");
    ask(&query("COMMIT"));
    assert_eq!(rows(), "1");
    ask(&query("START TRANSACTION"));
    ask(&[&[Command::StmtPrepare.as_byte()][..], b"INSERT INTO t VALUES (3)"].concat());
    ask(&[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(rows(), "1");
    ask(&query("ROLLBACK"));
    assert_eq!(rows(), "1");
    ask(&query("BEGIN"));
    ask(&[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(rows(), "1", "an execution begins it as well");
    ask(&query("COMMIT"));
    assert_eq!(rows(), "2");
    // A reset ends what was never begun.
    ask(&query("BEGIN"));
    ask(&[Command::ResetConnection.as_byte()]);
    ask(&query("INSERT INTO t VALUES (4)"));
    assert_eq!(rows(), "3");
    proxy.finish();
}
