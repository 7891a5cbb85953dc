//! Many clients on few connections (`pooling = "transaction"`).
//!
//! Purpose: all of them are served, the server never has more connections than it may, a connection
//! is given back the moment nothing needs it, and one that dies is nobody's problem but its user's.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use weir::wire::Capabilities;
use weir_tests::{Login, PsMode, RawClient, Server, Sysbench, WeirConfig, http_get};

use crate::fixture::{
    CROWD, Database, On, PASSWORD, Proxy, USER, config, connect, database, eventually,
    on_every_server, options, run, run_for,
};

on_every_server!(
    sysbench_over_eight_connections,
    a_connection_is_given_back_when_nothing_needs_it,
    a_dead_connection_is_replaced,
    prepared_statements_are_shared_by_text,
    a_client_between_two_connections_can_be_killed,
    what_is_sent_behind_a_command_that_waits_stays_behind,
    long_parameters_and_long_texts,
    a_client_that_is_silent_too_long_is_told_so,
    a_session_can_be_looked_at,
    what_is_sent_behind_a_refused_schema_runs_nowhere,
);

// Which server it is makes no difference to a crowd, and one takes a while.
mod mariadb_crowd {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        ten_thousand_clients_on_fifty_connections
    );
}

const CLIENTS: usize = 10_000;
const CROWD_PATIENCE: Duration = Duration::from_secs(400);

fn shared(on: On, server: &Server, connections_max: u64) -> WeirConfig {
    let mut settings = WeirConfig { pooling: "transaction", ..config(on, server) };
    settings.backend_keys.push(("connections_max".to_owned(), connections_max));
    settings
}

fn counted(proxy: &Proxy, what: &str) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
}

fn number(text: &str) -> usize {
    text.split_whitespace().last().unwrap().parse().unwrap()
}

fn ten_thousand_clients_on_fifty_connections(on: On) {
    const CONNECTIONS_MAX: u64 = 50;
    let _turn = CROWD.lock();
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "crowd", on);
    server.sql(&format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, n INT)")).unwrap();
    let mut settings = shared(on, server, CONNECTIONS_MAX);
    for (key, value) in [("login_timeout_ms", 300_000), ("lease_wait_ms", 300_000)] {
        settings.limits.push((key.to_owned(), value));
    }
    let proxy = Proxy::start_with(on, &settings);
    // Each takes a descriptor here, and one in Weir.
    let open_max = usize::try_from(weir::io::raise_open_files()).unwrap() - 1_000;
    let count = CLIENTS.min(open_max);
    let before = proxy.weir.resident_kib().unwrap();
    run_for(CROWD_PATIENCE, async {
        let (all, mut clients) = (Arc::new(Barrier::new(count)), JoinSet::new());
        for number in 0..count {
            let (all, address, name) = (all.clone(), proxy.weir.address(), name.clone());
            clients.spawn(async move {
                let mut conn = connect(address, Some(&name)).await;
                // From here on they are all there at once.
                all.wait().await;
                work(&mut conn, number).await.map_err(|error| format!("client {number}: {error}"))
            });
        }
        while let Some(worked) = clients.join_next().await {
            worked.unwrap().unwrap();
        }
    });
    let sum = server.sql(&format!("SELECT COUNT(*), SUM(n = id + 1) FROM {name}.t")).unwrap();
    assert_eq!(sum.trim(), format!("{count}\t{count}"), "each has written its row once");
    let most = number(&server.sql("SHOW GLOBAL STATUS LIKE 'Max_used_connections'").unwrap());
    // Besides them the probe, this test's own client, and those that Weir has closed and the server
    // has not yet.
    let besides = 2 + CONNECTIONS_MAX / 4;
    assert!(most as u64 <= CONNECTIONS_MAX + besides, "{most} connections");
    let grown = proxy.weir.resident_kib().unwrap().saturating_sub(before);
    let each = grown * 1024 / u64::try_from(count).unwrap();
    assert!(each < 24 << 10, "{each} bytes for each client");
    proxy.finish();
}

/// What every one of a crowd does: settings, text, prepared statements, a transaction.
async fn work(conn: &mut Conn, number: usize) -> Result<(), Error> {
    conn.query_drop(format!("SET @me = {number}")).await?;
    conn.exec_drop("INSERT INTO t VALUES (?, 0)", (number,)).await?;
    conn.query_drop("BEGIN").await?;
    let n: Option<usize> = conn.query_first("SELECT n FROM t WHERE id = @me FOR UPDATE").await?;
    assert_eq!(n, Some(0), "of client {number}");
    conn.exec_drop("UPDATE t SET n = ? WHERE id = @me", (number + 1,)).await?;
    conn.query_drop("COMMIT").await?;
    let row: Option<(usize, usize)> =
        conn.exec_first("SELECT id, n FROM t WHERE id = ?", (number,)).await?;
    assert_eq!(row, Some((number, number + 1)));
    let me: Option<usize> = conn.query_first("SELECT @me").await?;
    assert_eq!(me, Some(number));
    Ok(())
}

/// In steady load connections change hands without a word of Weir's own.
fn sysbench_over_eight_connections(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "eight", on);
    let mut settings = shared(on, server, 8);
    settings.limits.push(("lease_wait_ms".to_owned(), 60_000));
    let proxy = Proxy::start_with(on, &settings);
    let mut sysbench = Sysbench::read_write(proxy.client(), &name);
    sysbench.ps_mode = PsMode::Auto;
    sysbench.script = "oltp_point_select".to_owned();
    sysbench.prepare().unwrap();
    sysbench.threads = 256;
    sysbench.seconds = 2;
    sysbench.run().unwrap();
    let kinds = ["tunings", "prepares"];
    let before = kinds.map(|kind| counted(&proxy, kind));
    let report = sysbench.run().unwrap();
    assert!(report.transactions > 0);
    assert_eq!((report.reconnects, report.ignored_errors), (0, 0), "{report:?}");
    // Eight connections, four tables, one text for each.
    let [tunings, prepares] = kinds.map(|kind| counted(&proxy, kind));
    assert_eq!(tunings, before[0], "settings are alike");
    assert!(prepares <= 32.0, "{prepares} statements were prepared again");
    assert_eq!(counted(&proxy, "recycled"), 0.0, "nothing was reset");
    proxy.finish();
}

/// One connection: while somebody keeps it nobody else is served.
fn a_connection_is_given_back_when_nothing_needs_it(on: On) {
    let server = Database::shared(on);
    let name = database(server, "given", on);
    let proxy = Proxy::start_with(on, &shared(on, server, 1));
    let reasons: &[(&str, &str)] = &[
        ("BEGIN; SELECT * FROM numbers.n LIMIT 1", "COMMIT"),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "ROLLBACK"),
        ("SET autocommit = 0; SELECT * FROM numbers.n LIMIT 1", "COMMIT"),
        ("CREATE TEMPORARY TABLE scratch (a INT)", "DROP TEMPORARY TABLE scratch"),
        ("SELECT GET_LOCK('mine', 1)", "SELECT RELEASE_LOCK('mine')"),
        ("LOCK TABLES numbers.n READ", "UNLOCK TABLES"),
        ("PREPARE p FROM 'SELECT 1'", "DEALLOCATE PREPARE p"),
        ("HANDLER numbers.n OPEN AS h", "HANDLER h CLOSE"),
        ("SELECT SQL_CALC_FOUND_ROWS * FROM numbers.n LIMIT 1", "DO 0"),
        ("SELECT 1 + 'x'", "SELECT * FROM numbers.n LIMIT 1"),
    ];
    run(async {
        for (begins, ends) in reasons {
            let mut keeper = connect(proxy.weir.address(), Some(&name)).await;
            let mut other = connect(proxy.weir.address(), Some(&name)).await;
            for statement in begins.split("; ") {
                keeper.query_drop(statement).await.unwrap();
            }
            let mut asked = Box::pin(other.query_first::<u32, _>("SELECT 1"));
            let early = tokio::time::timeout(Duration::from_millis(100), &mut asked).await;
            assert!(early.is_err(), "served beside {begins}: {early:?}");
            keeper.query_drop(*ends).await.unwrap();
            let answer = asked.await;
            assert!(matches!(answer, Ok(Some(1))), "after {ends}: {answer:?}");
            keeper.disconnect().await.unwrap();
            other.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}

/// Sessions of the tests' account, killed by the server.
fn kill_all(server: &Server) {
    let ids = format!("SELECT id FROM information_schema.processlist WHERE USER = '{USER}'");
    for id in server.sql(&ids).unwrap().split_whitespace() {
        drop(server.sql(&format!("KILL {id}")));
    }
}

fn a_dead_connection_is_replaced(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "dead", on);
    server.sql(&format!("CREATE TABLE {name}.t (a INT)")).unwrap();
    let proxy = Proxy::start_with(on, &shared(on, server, 4));
    let address = proxy.weir.address();
    run(async {
        // Between two statements nobody notices, and what was set is still set.
        let mut calm = connect(address, Some(&name)).await;
        calm.query_drop("SET @kept = 7").await.unwrap();
        let prepared = calm.prep("SELECT @kept + ?").await.unwrap();
        for _ in 0..3 {
            kill_all(server);
            let answer: Option<i64> = calm.exec_first(&prepared, (1,)).await.unwrap();
            assert_eq!(answer, Some(8));
        }
        // In a transaction its session alone is told, and nothing of it is left.
        let mut writer = connect(address, Some(&name)).await;
        writer.query_drop("BEGIN").await.unwrap();
        writer.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
        kill_all(server);
        writer.query_drop("INSERT INTO t VALUES (2)").await.unwrap_err();
        // In a statement too.
        let mut asker = connect(address, Some(&name)).await;
        let mut sleep = Box::pin(asker.query_drop("SELECT SLEEP(30)"));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut sleep).await;
        assert!(early.is_err(), "{early:?}");
        kill_all(server);
        // A server may call a SLEEP that was killed a success, but it answers.
        drop(sleep.await);
        let rows: Option<u32> = calm.query_first("SELECT COUNT(*) FROM t").await.unwrap();
        assert_eq!(rows, Some(0), "what was not committed is gone");
        calm.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn prepared_statements_are_shared_by_text(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let proxy = Proxy::start_with(on, &shared(on, server, 1));
    let open = || number(&server.sql("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'").unwrap());
    run(async {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut conn = connect(proxy.weir.address(), None).await;
            let statement = conn.prep("SELECT ? + 1").await.unwrap();
            clients.push((conn, statement));
        }
        for (number, (conn, statement)) in clients.iter_mut().enumerate() {
            let answer: Option<usize> = conn.exec_first(&*statement, (number,)).await.unwrap();
            assert_eq!(answer, Some(number + 1));
        }
        let count = open();
        assert!(count <= 2, "{count} statements of the server for twenty clients");
        let (conn, closed) = clients.remove(0);
        drop(closed);
        conn.disconnect().await.unwrap();
        let (conn, statement) = clients.first_mut().unwrap();
        let answer: Option<usize> = conn.exec_first(&*statement, (5,)).await.unwrap();
        assert_eq!(answer, Some(6), "one client's end is no other's");
        for (conn, _) in clients {
            conn.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}

/// Whatever comes while a session waits for a connection waits as well, in packets or in pieces.
fn what_is_sent_behind_a_command_that_waits_stays_behind(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let proxy = Proxy::start_with(on, &shared(on, server, 1));
    // MySQL warns of the last at every statement, and a warning keeps a connection.
    let account = Login::new(USER, PASSWORD)
        .without(Capabilities::QUERY_ATTRIBUTES)
        .without(Capabilities::OPTIONAL_RESULTSET_METADATA)
        .without(Capabilities::NO_SCHEMA);
    let log_in = || RawClient::log_in(proxy.weir.address(), &account).unwrap();
    let (mut keeper, mut waiter) = (log_in(), log_in());
    let running = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE info = 'SELECT SLEEP(0.5)'";
    for _ in 0..3 {
        keeper.send_packet(0, b"\x03SELECT SLEEP(0.5)").unwrap();
        eventually("the keeper has it", Duration::from_secs(30), || {
            server.sql(running).unwrap().trim() == "1"
        });
        let more = b"\x09\0\0\0\x03SELECT 8";
        for piece in [&b"\x09\0\0\0\x03SELECT 7"[..], b"\x01\0\0\0\x0E", &more[..7], &more[7..]] {
            waiter.send(piece).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut first_of_each = Vec::new();
        while first_of_each.len() < 3 {
            let (seq, payload) = waiter.packet().unwrap();
            assert_ne!(payload[0], 0xFF, "{}", String::from_utf8_lossy(&payload));
            if seq == 1 {
                first_of_each.push(payload[0]);
            }
        }
        assert_eq!(first_of_each, [1, 0, 1], "rows, the ping's OK, rows");
        // The rest of the last rows, and all of the keeper's.
        (0..3).for_each(|_| drop(waiter.packet().unwrap()));
        (0..4).for_each(|_| drop(keeper.packet().unwrap()));
    }
    drop((keeper, waiter));
    proxy.finish();
}

fn a_client_between_two_connections_can_be_killed(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    server.create_account("stranger", PASSWORD).unwrap();
    let mut settings = shared(on, server, 4);
    settings.users.push(("stranger".to_owned(), PASSWORD.to_owned()));
    // The one who is to die may be on either.
    settings.workers = "2".to_owned();
    let proxy = Proxy::start_with(on, &settings);
    let address = proxy.weir.address();
    run(async {
        let mut killer = connect(address, None).await;
        for _ in 0..4 {
            let mut idle = connect(address, None).await;
            let id: u32 = idle.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
            let stranger = options(address, None).user(Some("stranger"));
            let mut stranger = Conn::new(stranger).await.unwrap();
            let denied = stranger.query_drop(format!("KILL {id}")).await.unwrap_err();
            assert!(matches!(&denied, Error::Server(it) if it.code == 1095), "{denied}");
            killer.query_drop(format!("KILL QUERY {id}")).await.unwrap();
            let one: Option<u32> = idle.query_first("SELECT 1").await.unwrap();
            assert_eq!(one, Some(1), "there was no query to kill");
            killer.query_drop(format!("KILL {id}")).await.unwrap();
            let ended = idle.query_drop("SELECT 1").await;
            assert!(ended.is_err(), "it was killed");
            let unknown = killer.query_drop(format!("KILL {id}")).await.unwrap_err();
            assert!(matches!(&unknown, Error::Server(it) if it.code == 1094), "{unknown}");
            stranger.disconnect().await.unwrap();
        }
        // One whose connection is in use is the server's to kill.
        let mut busy = connect(address, None).await;
        let id: u32 = busy.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
        busy.query_drop("BEGIN").await.unwrap();
        killer.query_drop(format!("KILL {id}")).await.unwrap();
        busy.query_drop("SELECT 1").await.unwrap_err();
        killer.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn long_parameters_and_long_texts(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "long", on);
    server.sql(&format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, b LONGBLOB)")).unwrap();
    let proxy = Proxy::start_with(on, &shared(on, server, 2));
    run(async {
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut conn = connect(proxy.weir.address(), Some(&name)).await;
            // Numbers of the server's are others than the client's from here on.
            conn.prep("SELECT 1").await.unwrap();
            let insert = conn.prep("REPLACE INTO t VALUES (?, ?)").await.unwrap();
            let length =
                conn.prep("SELECT LENGTH(b), SHA2(b, 256) FROM t WHERE id = ?").await.unwrap();
            clients.push((conn, insert, length));
        }
        for bytes in [100, 8_190, 16_380, 20_000, 1 << 20, 5 << 20] {
            for (id, (conn, insert, length)) in clients.iter_mut().enumerate() {
                let value = vec![b'a' + u8::try_from(id).unwrap(); bytes];
                let sum: Option<String> =
                    conn.exec_first("SELECT SHA2(?, 256)", (value.clone(),)).await.unwrap();
                conn.exec_drop(&*insert, (id, value)).await.unwrap();
                let row: Option<(usize, String)> = conn.exec_first(&*length, (id,)).await.unwrap();
                assert_eq!(row, Some((bytes, sum.unwrap())));
                let text = format!("SELECT LENGTH('{}') + ?", "x".repeat(bytes));
                let sum: Option<usize> = conn.exec_first(text.as_str(), (id,)).await.unwrap();
                assert_eq!(sum, Some(bytes + id));
                // Nothing is known of what a long text does: a reset lets the connection go.
                conn.reset().await.unwrap();
                *insert = conn.prep("REPLACE INTO t VALUES (?, ?)").await.unwrap();
                *length =
                    conn.prep("SELECT LENGTH(b), SHA2(b, 256) FROM t WHERE id = ?").await.unwrap();
            }
        }
        for (conn, ..) in clients {
            conn.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}

/// Also while it has no connection of which the server could see to that.
fn a_client_that_is_silent_too_long_is_told_so(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start_with(on, &shared(on, server, 1));
    // MySQL warns after each statement of a client without schemas, which pins it.
    let unusual = Capabilities::QUERY_ATTRIBUTES.union(Capabilities::NO_SCHEMA);
    let login = Login::new(USER, PASSWORD).without(unusual);
    let [direct, through] = [server.address(), proxy.weir.address()].map(|address| {
        let mut client = RawClient::log_in(address, &login).unwrap();
        client.ask(b"\x03SET wait_timeout = 1").unwrap();
        // As long as it says something it stays.
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(400));
            client.ask(b"\x03COMMIT").unwrap();
        }
        client.rest().unwrap().0
    });
    assert_eq!(through, direct);
    let metrics = proxy.weir.metrics().unwrap();
    assert_eq!(metrics.value("weir_sessions_silent_total", &[]).unwrap(), 1.0);
    proxy.finish();
}

/// What it has set, and why it keeps its connection.
fn a_session_can_be_looked_at(on: On) {
    let server = Database::shared(on);
    let name = database(server, "looked_at", on);
    let proxy = Proxy::start_with(on, &shared(on, server, 2));
    let held = |reason: &str| {
        let metrics = proxy.weir.metrics().unwrap();
        let labels = [("reason", reason)];
        ["weir_session_pins", "weir_session_pins_total"]
            .map(|name| metrics.value(name, &labels).unwrap())
    };
    run(async {
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        let id = conn.id();
        let shown = || {
            let page = http_get(proxy.weir.admin(), &format!("/sessions?id={id}")).unwrap();
            let page: serde_json::Value = serde_json::from_str(&page.body).unwrap();
            page[0].clone()
        };
        conn.query_drop("SET time_zone = '+05:00', @mine = 'secret'").await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        let begun = shown();
        assert_eq!(begun["backend"], serde_json::Value::Null, "{begun}");
        assert_eq!(begun["in_transaction"], true, "{begun}");
        conn.query_drop("CREATE TEMPORARY TABLE scratch (a INT)").await.unwrap();
        conn.query_drop("SELECT * FROM scratch").await.unwrap();
        let session = shown();
        assert_eq!(session["user"], USER);
        assert_eq!(session["client"], "127.0.0.1");
        assert_eq!(session["backend"], "primary");
        assert_eq!(session["thread"].as_u64().unwrap(), thread_of(&mut conn).await);
        let shared = &session["shared"];
        assert_eq!(shared["schema"], *name);
        assert_eq!(shared["settings"], serde_json::json!({ "time_zone": "+05:00" }));
        assert_eq!(shared["user_variables"], serde_json::json!(["mine"]));
        assert_eq!(shared["pins"], serde_json::json!(["temporary_table", "transaction"]));
        assert!(!session.to_string().contains("secret"), "{session}");
        assert_eq!((held("transaction"), held("temporary_table")), ([1.0, 1.0], [1.0, 1.0]));
        conn.query_drop("COMMIT").await.unwrap();
        assert_eq!((held("transaction"), held("temporary_table")), ([0.0, 1.0], [1.0, 1.0]));
        conn.disconnect().await.unwrap();
    });
    eventually("the session is over", Duration::from_secs(5), || {
        held("temporary_table") == [0.0, 1.0]
    });
    let all = http_get(proxy.weir.admin(), "/sessions").unwrap();
    assert_eq!(all.body.trim(), "[]");
    proxy.finish();
}

/// The server's id of the connection, which is not the client's.
async fn thread_of(conn: &mut Conn) -> u64 {
    let sql = "SELECT /* of the server */ id FROM information_schema.processlist \
               WHERE info LIKE '%of the server%'";
    conn.query_first(sql).await.unwrap().unwrap()
}

/// A client that does not wait for answers, whose schema is gone, on a connection that was in another
/// one.
fn what_is_sent_behind_a_refused_schema_runs_nowhere(on: On) {
    let server = Database::shared(on);
    let [gone, other] = ["gone", "other"].map(|name| database(server, name, on));
    for name in [&gone, &other] {
        server.sql(&format!("CREATE TABLE {name}.t (a INT)")).unwrap();
    }
    let proxy = Proxy::start_with(on, &shared(on, server, 1));
    let log_in = |name: &str| {
        let unusual = Capabilities::QUERY_ATTRIBUTES.union(Capabilities::NO_SCHEMA);
        let login = Login { database: Some(name.to_owned()), ..Login::new(USER, PASSWORD) };
        RawClient::log_in(proxy.weir.address(), &login.without(unusual)).unwrap()
    };
    let (mut lost, mut user) = (log_in(&gone), log_in(&other));
    for begins in [false, true] {
        server.sql(&format!("CREATE DATABASE IF NOT EXISTS {gone}")).unwrap();
        if begins {
            lost.ask(b"\x03BEGIN").unwrap();
        }
        user.ask(b"\x03SELECT a FROM t").unwrap();
        server.sql(&format!("DROP DATABASE {gone}")).unwrap();
        for number in 1..=3 {
            lost.send_query(&format!("INSERT INTO t VALUES ({number})")).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(lost.error().unwrap().code, 1049, "begins: {begins}");
        }
        lost.ask(b"\x03COMMIT").unwrap();
        user.ask(b"\x03INSERT INTO t VALUES (7)").unwrap();
    }
    assert_eq!(server.sql(&format!("SELECT a FROM {other}.t")).unwrap(), "7\n7\n");
    proxy.finish();
}
