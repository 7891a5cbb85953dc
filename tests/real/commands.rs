//! Each command of the protocol.
//!
//! Purpose: through Weir it is answered as the server answers it, packet by packet; where it speaks
//! of connections, it means those that clients know.
//! Never: decide by timing.

use std::net::SocketAddr;
use std::time::Duration;

use mysql_async::ChangeUserOpts;
use mysql_async::prelude::Queryable;
use weir_tests::{Login, RawClient, Server};

use crate::fixture::{
    Database, On, PASSWORD, Proxy, USER, config, connect, database, eventually, run,
};

// The commands of both servers are those of MariaDB; what MySQL 9 has lost is in `capabilities`.
mod mariadb {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        command_init_db,
        command_field_list,
        command_statistics,
        command_process_info,
        command_debug,
        command_ping,
        command_refresh,
        command_set_option,
        command_reset_connection,
        command_stmt_prepare_and_execute,
        command_stmt_fetch_reads_a_cursor,
        command_stmt_send_long_data,
        command_stmt_reset_and_close,
        command_daemon_clone_and_unknown_ones,
        command_quit,
        commands_pipelined,
        command_query_connection_id,
        command_query_kill_across_workers,
        command_process_kill,
        command_change_user,
        command_change_user_refused,
        command_change_user_by_a_driver
    );
}

/// Second account, without rights on tables.
const OTHER: (&str, &str) = ("other", "other-secret");

/// A Weir with both accounts and two workers.
fn proxy(on: On, server: &Server) -> Proxy {
    server.create_account(OTHER.0, OTHER.1).unwrap();
    let mut settings = config(on, server);
    settings.users.push((OTHER.0.to_owned(), OTHER.1.to_owned()));
    settings.workers = "2".to_owned();
    Proxy::start_with(on, &settings)
}

fn log_in(address: SocketAddr) -> RawClient {
    RawClient::log_in(address, &Login::new(USER, PASSWORD)).unwrap()
}

/// Runs commands directly and through Weir, in a database with a table `t`; the replies are the
/// same.
fn same(on: On, test: &str, commands: &[&[u8]]) {
    let server = Database::shared(on);
    let name = database(server, test, on);
    server
        .sql(&format!(
            "USE {name}; CREATE TABLE t (a INT, b TEXT); \
             INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)"
        ))
        .unwrap();
    let proxy = Proxy::start(on, server);
    let (mut direct, mut through) = (log_in(server.address()), log_in(proxy.weir.address()));
    for client in [&mut direct, &mut through] {
        client.ask(&[b"\x02", name.as_bytes()].concat()).unwrap();
    }
    for command in commands {
        let expected = asked(&mut direct, command);
        assert_eq!(asked(&mut through, command), expected, "{}", command.escape_ascii());
    }
    proxy.finish();
}

/// The reply to a command, without the id of a prepared statement: MariaDB counts them for all
/// connections, and takes -1 for the last one prepared.
pub(crate) fn asked(client: &mut RawClient, command: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut reply = client.ask(command).unwrap();
    if let (Some(0x16), [(_, first), ..]) = (command.first(), &mut reply[..])
        && first[0] == 0
    {
        first[1..5].fill(0);
    }
    reply
}

fn command_init_db(on: On) {
    same(on, "init_db", &[b"\x02mysql", b"\x02no_such_database", b"\x03SELECT DATABASE()"]);
}

fn command_field_list(on: On) {
    same(on, "field_list", &[b"\x04t\0", b"\x04t\0b%", b"\x04nothing\0", b"\x03DO 1"]);
}

fn command_statistics(on: On) {
    let proxy = Proxy::start(on, Database::shared(on));
    let mut client = log_in(proxy.weir.address());
    let reply = client.ask(b"\x09").unwrap();
    assert_eq!(reply.len(), 1);
    assert!(reply[0].1.starts_with(b"Uptime: "), "{reply:?}");
    drop(client);
    proxy.finish();
}

fn command_process_info(on: On) {
    let proxy = Proxy::start(on, Database::shared(on));
    let mut client = log_in(proxy.weir.address());
    let reply = client.ask(b"\x0A").unwrap();
    // Nine columns, their definitions, at least this connection and the end.
    assert!(reply.len() > 11 && reply[0].1 == [9], "{reply:?}");
    drop(client);
    proxy.finish();
}

fn command_debug(on: On) {
    same(on, "debug", &[b"\x0D", b"\x0E"]);
}

fn command_ping(on: On) {
    same(on, "ping", &[b"\x0E", b"\x0E"]);
}

fn command_refresh(on: On) {
    same(on, "refresh", &[b"\x07\x10", b"\x03DO 1"]);
}

fn command_set_option(on: On) {
    let two: &[u8] = b"\x03SELECT 1; SELECT 2";
    same(on, "set_option", &[two, b"\x1B\x01\0", two, b"\x1B\0\0", two, b"\x1B\x09\0"]);
}

fn command_reset_connection(on: On) {
    let state: &[u8] = b"\x03SELECT @a, DATABASE(), @@sql_mode";
    same(on, "reset_connection", &[b"\x03SET @a = 1, sql_mode = ''", state, b"\x1F", state]);
}

/// A long integer as the only parameter, its type with it.
const PARAMETER: &[u8] = b"\0\x01\x08\0\x02\0\0\0\0\0\0\0";

fn command_stmt_prepare_and_execute(on: On) {
    let head: &[u8] = b"\x17\xFF\xFF\xFF\xFF\0\x01\0\0\0";
    same(
        on,
        "prepare",
        &[
            b"\x16SELECT a, b FROM t WHERE a >= ?",
            &[head, PARAMETER].concat(),
            &[head, PARAMETER].concat(),
            b"\x16SELECT nothing FROM nowhere",
            b"\x17\xEF\xBE\xAD\x0E\0\x01\0\0\0",
        ],
    );
}

fn command_stmt_fetch_reads_a_cursor(on: On) {
    let fetch: &[u8] = b"\x1C\xFF\xFF\xFF\xFF\x02\0\0\0";
    same(
        on,
        "fetch",
        &[
            b"\x16SELECT a, b FROM t",
            b"\x17\xFF\xFF\xFF\xFF\x01\x01\0\0\0",
            fetch,
            fetch,
            fetch,
            b"\x03SELECT 1",
        ],
    );
}

fn command_stmt_send_long_data(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    for address in [server.address(), proxy.weir.address()] {
        let mut client = log_in(address);
        client.ask(b"\x16SELECT LENGTH(?), RIGHT(?, 3)").unwrap();
        // Not answered: pieces of a megabyte, one longer than a packet's frame.
        for (parameter, bytes) in [(0, 1 << 20), (0, 0xFF_FFFF), (1, 9)] {
            let mut piece = vec![0x18, 0xFF, 0xFF, 0xFF, 0xFF, parameter, 0];
            piece.resize(7 + bytes, b'x');
            client.send_packet(0, &piece).unwrap();
        }
        let types = b"\x17\xFF\xFF\xFF\xFF\0\x01\0\0\0\0\x01\xFC\0\xFC\0";
        let reply = client.ask(types).unwrap();
        let row = &reply[3].1;
        assert_eq!(row[..2], [0, 0]);
        assert_eq!(u32::from_le_bytes(*row[2..].first_chunk().unwrap()), (1 << 20) + 0xFF_FFFF);
        assert!(row.ends_with(b"\x03xxx"));
    }
    proxy.finish();
}

fn command_stmt_reset_and_close(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    for address in [server.address(), proxy.weir.address()] {
        let mut client = log_in(address);
        client.ask(b"\x16SELECT 1").unwrap();
        assert_eq!(client.ask(b"\x1A\xFF\xFF\xFF\xFF").unwrap()[0].1[0], 0);
        client.send_packet(0, b"\x19\xFF\xFF\xFF\xFF").unwrap();
        let reply = client.ask(b"\x17\xFF\xFF\xFF\xFF\0\x01\0\0\0").unwrap();
        assert_eq!(reply[0].1[..3], [0xFF, 0xDB, 0x04], "1243: {reply:?}");
    }
    proxy.finish();
}

fn command_daemon_clone_and_unknown_ones(on: On) {
    same(on, "unknown", &[b"\x1D", b"\x20", b"\x2F", b"\x00"]);
}

fn command_quit(on: On) {
    let proxy = Proxy::start(on, Database::shared(on));
    let mut client = log_in(proxy.weir.address());
    client.send_packet(0, b"\x01").unwrap();
    client.closed().unwrap();
    proxy.finish();
}

fn commands_pipelined(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    let mut client = log_in(proxy.weir.address());
    let id = client.connection_id;
    // An answer of the server, one with Weir's number in it, one of Weir's own, in this order.
    for round in 0..50 {
        client.send_query(&format!("DO {round}")).unwrap();
        client.send_query(&format!("DO CONNECTION_ID() + {round}")).unwrap();
        client.send_packet(0, b"\x1D").unwrap();
    }
    for _ in 0..50 {
        for first in [0x00, 0x00, 0xFF] {
            let (seq, payload) = client.packet().unwrap();
            assert_eq!((seq, payload.first()), (1, Some(&first)));
        }
    }
    assert_eq!(client.value("SELECT CONNECTION_ID()").unwrap(), id.to_string());
    drop(client);
    proxy.finish();
}

fn command_query_connection_id(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let id = u64::from(conn.id());
        for sql in
            ["SELECT CONNECTION_ID()", "SELECT connection_id( ) AS x", "SELECT @@pseudo_thread_id"]
        {
            assert_eq!(conn.query_first(sql).await.unwrap(), Some(id), "{sql}");
            assert_eq!(conn.exec_first(sql, ()).await.unwrap(), Some(id), "prepared: {sql}");
        }
        let mut result =
            conn.query_iter("SELECT 1, CONNECTION_ID( ), connection_id()+0").await.unwrap();
        let names: Vec<String> =
            result.columns_ref().iter().map(|c| c.name_str().into_owned()).collect();
        assert_eq!(names, ["1", "CONNECTION_ID( )", "connection_id()+0"]);
        result.for_each(drop).await.unwrap();
        let text: Option<String> = conn.query_first("SELECT 'CONNECTION_ID()'").await.unwrap();
        assert_eq!(text.unwrap(), "CONNECTION_ID()");
        conn.query_drop("DO GET_LOCK('weir_own', 0)").await.unwrap();
        let holds = "SELECT IS_USED_LOCK('weir_own') = CONNECTION_ID()";
        assert_eq!(conn.query_first(holds).await.unwrap(), Some(1));
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

/// Two clients on different workers.
fn strangers(proxy: &Proxy) -> (RawClient, RawClient) {
    let one = log_in(proxy.weir.address());
    // The kernel spreads connections over workers by their port.
    for _ in 0..200 {
        let two = log_in(proxy.weir.address());
        if one.connection_id >> 18 != two.connection_id >> 18 {
            return (one, two);
        }
    }
    panic!("all connections went to one worker");
}

/// Waits until the server runs a statement with this text.
fn running(server: &Server, text: &str) {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE info LIKE '%{text}%' AND info NOT LIKE '%processlist%'"
    );
    eventually("the statement to run", Duration::from_secs(20), || {
        server.sql(&sql).unwrap().trim() == "1"
    });
}

fn command_query_kill_across_workers(on: On) {
    let server = Database::shared(on);
    let proxy = proxy(on, server);
    let (mut victim, mut killer) = strangers(&proxy);
    let id = victim.connection_id;
    let mark = format!("kill_{}", on.driver);
    victim.send_query(&format!("SELECT SLEEP(100) AS {mark}")).unwrap();
    running(server, &mark);
    assert_eq!(killer.ask(format!("\x03KILL QUERY {id}").as_bytes()).unwrap()[0].1[0], 0);
    let first = victim.packet().unwrap();
    // MariaDB's SLEEP gives 1 when it is interrupted, or the statement fails with 1317.
    let failed = first.1.starts_with(&[0xFF, 0x25, 0x05]);
    assert!(failed || first.1 == [1], "{first:02x?}");
    drop(victim);
    let (mut victim, mut killer) = strangers(&proxy);
    let id = victim.connection_id;
    assert_eq!(victim.value("SELECT 7").unwrap(), "7");
    for text in [format!("\x03KILL {}", id + 50_000), "\x03KILL 4000000000".to_owned()] {
        let reply = killer.ask(text.as_bytes()).unwrap();
        assert_eq!(reply[0].1[..3], [0xFF, 0x46, 0x04], "1094: {reply:?}");
    }
    assert_eq!(killer.ask(format!("\x03KILL HARD CONNECTION {id}").as_bytes()).unwrap()[0].1[0], 0);
    let (_, _) = victim.rest().unwrap();
    // One's own.
    killer.send_query("KILL CONNECTION_ID()").unwrap();
    let error = killer.error().unwrap();
    assert!([1317, 1927].contains(&error.code), "{error:?}");
    killer.rest().unwrap();
    proxy.finish();
}

fn command_process_kill(on: On) {
    let server = Database::shared(on);
    let proxy = proxy(on, server);
    let (mut victim, mut killer) = strangers(&proxy);
    let kill = |id: u32| [&b"\x0C"[..], &id.to_le_bytes()].concat();
    let unknown = killer.ask(&kill(123_456)).unwrap();
    assert!(unknown[0].1.ends_with(b"Unknown thread id: 123456"), "{unknown:?}");
    assert_eq!(killer.ask(&kill(victim.connection_id)).unwrap()[0].1[0], 0);
    victim.rest().unwrap();
    // The server decides who may: another account may not, if it has no rights.
    let lowly = "CREATE OR REPLACE USER lowly@'%' IDENTIFIED VIA mysql_native_password \
                 USING PASSWORD('lowly-secret')";
    server.sql(lowly).unwrap();
    let mut settings = config(on, server);
    settings.users.push(("lowly".to_owned(), "lowly-secret".to_owned()));
    let other = Proxy::start_with(on, &settings);
    let victim = log_in(other.weir.address());
    let mut killer =
        RawClient::log_in(other.weir.address(), &Login::new("lowly", "lowly-secret")).unwrap();
    let denied = killer.ask(&kill(victim.connection_id)).unwrap();
    assert_eq!(denied[0].1[..3], [0xFF, 0x47, 0x04], "1095: {denied:?}");
    drop((victim, killer));
    other.finish();
    proxy.finish();
}

fn command_change_user(on: On) {
    let server = Database::shared(on);
    let name = database(server, "change_user", on);
    let proxy = proxy(on, server);
    let state = "SELECT CONCAT_WS(',', CURRENT_USER(), DATABASE(), @a, @@character_set_client)";
    let mut seen = Vec::new();
    for address in [server.address(), proxy.weir.address()] {
        let mut client = log_in(address);
        client.ask(b"\x03SET @a = 1, NAMES latin1").unwrap();
        assert_eq!(client.change_user(OTHER.0, OTHER.1, Some(&name)).unwrap(), (2, Ok(())));
        let mut states = vec![client.value(state).unwrap()];
        assert_eq!(client.change_user(USER, PASSWORD, None).unwrap(), (2, Ok(())));
        states.push(client.value(state).unwrap());
        seen.push(states);
    }
    assert_eq!(seen.last().unwrap()[0], format!("{}@%,{name},utf8mb4", OTHER.0));
    assert_eq!(seen.first(), seen.last());
    proxy.finish();
}

/// The session is reset, the old account goes on, and after three failures the command is unknown.
fn command_change_user_refused(on: On) {
    let server = Database::shared(on);
    let proxy = proxy(on, server);
    let state = "SELECT CONCAT_WS(',', CURRENT_USER(), IFNULL(@a, 'none'))";
    let mut seen = Vec::new();
    for address in [server.address(), proxy.weir.address()] {
        let mut client = log_in(address);
        let mut came = Vec::new();
        for (user, password, schema) in [
            (OTHER.0, "wrong", None),
            ("nobody", "wrong", None),
            (OTHER.0, OTHER.1, Some("no_such_schema")),
            (OTHER.0, OTHER.1, None),
        ] {
            client.ask(b"\x03SET @a = 1").unwrap();
            let outcome = client.change_user(user, password, schema).unwrap();
            came.push((outcome, client.value(state).unwrap()));
        }
        seen.push(came);
    }
    let unknown = seen.first().unwrap()[3].0.1.clone().unwrap_err();
    assert_eq!(unknown.code, 1047);
    assert_eq!(seen.first(), seen.last());
    proxy.finish();
}

fn command_change_user_by_a_driver(on: On) {
    let server = Database::shared(on);
    let proxy = proxy(on, server);
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let options = ChangeUserOpts::new()
            .with_user(Some(OTHER.0.to_owned()))
            .with_pass(Some(OTHER.1.to_owned()));
        conn.change_user(options).await.unwrap();
        let user: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.unwrap();
        assert_eq!(user.unwrap(), format!("{}@%", OTHER.0));
        let id = conn.id();
        assert_eq!(conn.query_first("SELECT CONNECTION_ID()").await.unwrap(), Some(id));
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}
