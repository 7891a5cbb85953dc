//! Connections that outlive their client (`pooling = "session"`).
//!
//! Purpose: the next client finds what a login would have given it, whatever the last one did; the
//! server sees few logins; nobody waits for a connection that lies idle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use weir_tests::{Flavour, Server, WeirConfig};

use crate::fixture::{
    Database, On, PASSWORD, Proxy, USER, config, connect, database, eventually, on_every_server,
    options, run,
};

on_every_server!(
    the_next_client_finds_it_as_new,
    many_short_sessions_are_one_login_of_the_server,
    what_a_client_held_is_free_when_it_leaves,
    idle_connections_end_in_time,
    who_waits_has_an_idle_connection_closed,
    a_connection_the_server_closed_is_not_given_out,
    a_schema_that_is_gone_spoils_the_connection,
    another_account_gets_a_connection_of_its_own,
);

const PATIENCE: Duration = Duration::from_secs(20);

fn pooled(on: On, server: &Server) -> WeirConfig {
    WeirConfig { pooling: "session", ..config(on, server) }
}

/// Waits until a connection lies idle.
fn until_idle(proxy: &Proxy, count: f64) {
    eventually("connections are idle", PATIENCE, || {
        let metrics = proxy.weir.metrics().unwrap();
        let recycled = metrics.value("weir_backend_recycled_total", &[]).unwrap()
            + metrics.value("weir_backend_spoiled_total", &[]).unwrap();
        recycled >= count
    });
}

fn counted(proxy: &Proxy, what: &str) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
}

/// Waits until the server has no session of the tests' account. A server that cannot tell at the
/// moment is asked again; what it said last is part of the failure.
fn until_alone(server: &Server, what: &str) {
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE USER = '{USER}'");
    let mut last = String::new();
    let start = Instant::now();
    while last != "0" {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; at the end: {last}");
        last = server
            .sql(&sql)
            .map_or_else(|error| format!("{error:#}"), |count| count.trim().to_owned());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a session can be told from another one by.
async fn look(conn: &mut Conn, flavour: Flavour) -> Vec<String> {
    let isolation = match flavour {
        Flavour::MariaDb => "@@tx_isolation, @@tx_read_only",
        Flavour::MySql => "@@transaction_isolation, @@transaction_read_only",
    };
    let mut seen = Vec::new();
    for columns in [
        "FOUND_ROWS(), ROW_COUNT(), LAST_INSERT_ID()",
        "@@character_set_client, @@character_set_connection, @@character_set_results",
        "@@collation_connection, @@sql_mode, @@time_zone, @@autocommit, @@wait_timeout",
        "@@sort_buffer_size, @@sql_safe_updates, @@foreign_key_checks, @@insert_id",
        isolation,
        "DATABASE(), CURRENT_ROLE(), USER(), CURRENT_USER(), @x, @@last_insert_id",
    ] {
        let row: Row = conn.query_first(format!("SELECT {columns}")).await.unwrap().unwrap();
        seen.push(format!("{columns}: {:?}", row.unwrap()));
    }
    for statement in [
        "SELECT COUNT(*) FROM kept",
        "SELECT COUNT(*) FROM scratch",
        "EXECUTE p",
        "HANDLER kept READ FIRST",
        "ROLLBACK TO SAVEPOINT s",
        "INSERT INTO kept VALUES (NULL, 'probe')",
        "DELETE FROM kept WHERE what = 'probe'",
        "SHOW COUNT(*) WARNINGS",
    ] {
        let outcome: Result<Vec<Row>, _> = conn.query(statement).await;
        let outcome = match outcome {
            Ok(rows) => format!("{:?}", rows.into_iter().map(Row::unwrap).collect::<Vec<_>>()),
            Err(error) => format!("{error}"),
        };
        seen.push(format!("{statement}: {outcome}"));
    }
    seen
}

/// What the client before may have done, each in a session of its own.
const TRACES: &[&[&str]] = &[
    &["SET NAMES latin1"],
    &["SET SESSION sql_mode = '', time_zone = '+05:00', wait_timeout = 7"],
    &["SET SESSION sort_buffer_size = 65536, sql_safe_updates = 1, foreign_key_checks = 0"],
    &["SET autocommit = 0", "INSERT INTO kept VALUES (NULL, 'not committed')"],
    &["BEGIN", "INSERT INTO kept VALUES (NULL, 'not committed')", "SAVEPOINT s"],
    &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"],
    &["SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"],
    &["SET @x = 5", "SELECT @x := @x + 1"],
    &["CREATE TEMPORARY TABLE scratch (a INT)", "INSERT INTO scratch VALUES (1)"],
    &["CREATE TEMPORARY TABLE kept (a INT)"],
    &["PREPARE p FROM 'SELECT 1'"],
    &["HANDLER kept OPEN"],
    &["LOCK TABLES kept READ"],
    &["FLUSH TABLES WITH READ LOCK"],
    &["SELECT GET_LOCK('mine', 1)"],
    &["INSERT INTO kept VALUES (NULL, 'x')", "DELETE FROM kept WHERE what = 'x'"],
    &["SET insert_id = 77, last_insert_id = 78"],
    &["SELECT SQL_CALC_FOUND_ROWS * FROM numbers.n LIMIT 3"],
    &["SELECT 1 + 'x'", "SELECT CAST('abc' AS SIGNED)"],
    &["USE numbers"],
    &["SET ROLE curious"],
    &["XA START 'left'", "INSERT INTO kept VALUES (NULL, 'not committed')"],
];

fn the_next_client_finds_it_as_new(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "pooled", on);
    let create = format!(
        "CREATE TABLE {name}.kept (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT); \
         INSERT INTO {name}.kept (what) VALUES ('one'); CREATE ROLE curious; \
         GRANT SELECT ON {name}.* TO curious; GRANT curious TO {USER}"
    );
    server.sql(&create).unwrap();
    let proxy = Proxy::start_with(on, &pooled(on, server));
    run(async {
        for (number, trace) in TRACES.iter().enumerate() {
            let mut conn = connect(proxy.weir.address(), Some(&name)).await;
            for statement in *trace {
                conn.query_drop(*statement).await.unwrap_or_else(|it| panic!("{statement}: {it}"));
            }
            conn.disconnect().await.unwrap();
            until_idle(&proxy, number as f64 * 2.0 + 1.0);
            let mut next = connect(proxy.weir.address(), Some(&name)).await;
            let seen = look(&mut next, on.flavour).await;
            next.disconnect().await.unwrap();
            until_idle(&proxy, number as f64 * 2.0 + 2.0);
            let mut fresh = connect(server.address(), Some(&name)).await;
            let expected = look(&mut fresh, on.flavour).await;
            fresh.disconnect().await.unwrap();
            assert_eq!(seen, expected, "after {trace:?}");
        }
    });
    let all = TRACES.len() as f64 * 2.0;
    assert_eq!(counted(&proxy, "logins") + counted(&proxy, "reuses"), all);
    assert!(counted(&proxy, "reuses") >= all - 3.0, "{} reuses", counted(&proxy, "reuses"));
    proxy.finish();
}

fn many_short_sessions_are_one_login_of_the_server(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "short", on);
    let proxy = Proxy::start_with(on, &pooled(on, server));
    run(async {
        for database in [Some(name.as_str()), None] {
            for number in 0..40 {
                let mut conn = connect(proxy.weir.address(), database).await;
                let row: Option<(Option<String>, u32)> =
                    conn.query_first(format!("SELECT DATABASE(), {number}")).await.unwrap();
                assert_eq!(row, Some((database.map(str::to_owned), number)));
                conn.disconnect().await.unwrap();
            }
        }
    });
    // A client may come back before its connection is as good as new.
    let logins = counted(&proxy, "logins");
    assert!(logins <= 10.0, "{logins} logins for 80 sessions");
    assert_eq!(counted(&proxy, "reuses") + logins, 80.0);
    assert_eq!(counted(&proxy, "spoiled"), 0.0);
    proxy.finish();
}

/// Its connection lives on, but its locks do not, although nobody uses the connection yet.
fn what_a_client_held_is_free_when_it_leaves(on: On) {
    let server = Database::shared(on);
    let name = database(server, "held", on);
    server.sql(&format!("CREATE TABLE {name}.t (a INT); INSERT INTO {name}.t VALUES (1)")).unwrap();
    let proxy = Proxy::start_with(on, &pooled(on, server));
    let lock = format!("held_{}", on.driver);
    run(async {
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("UPDATE t SET a = 2").await.unwrap();
        conn.query_drop(format!("SELECT GET_LOCK('{lock}', 1)")).await.unwrap();
        // Without a goodbye, in the middle of its transaction.
        drop(conn);
    });
    until_idle(&proxy, 1.0);
    let free = format!(
        "SELECT IS_FREE_LOCK('{lock}'); UPDATE {name}.t SET a = a + 10; SELECT a FROM {name}.t"
    );
    assert_eq!(server.sql(&free).unwrap(), "1\n11\n");
    assert_eq!(counted(&proxy, "recycled"), 1.0);
    proxy.finish();
}

fn idle_connections_end_in_time(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let settings = |key: &str, ms| {
        let mut settings = pooled(on, server);
        settings.pool.push((key.to_owned(), ms));
        settings
    };
    let proxy = Proxy::start_with(on, &settings("idle_ms_max", 300));
    let serve = |address: SocketAddr| {
        run(async {
            let mut conn = connect(address, None).await;
            conn.query_drop("DO 1").await.unwrap();
            conn.disconnect().await.unwrap();
        });
    };
    serve(proxy.weir.address());
    until_alone(server, "the idle connection is closed");
    assert_eq!(counted(&proxy, "expired"), 1.0);
    let metrics = proxy.weir.metrics().unwrap();
    for gauge in ["weir_backend_connections", "weir_backend_connections_idle"] {
        assert_eq!(metrics.value(gauge, &[("backend", "primary")]).unwrap(), 0.0, "{gauge}");
    }
    proxy.finish();

    // Whoever logs in after that time is let in by the server itself.
    let proxy = Proxy::start_with(on, &settings("auth_cache_ttl_ms", 0));
    for _ in 0..3 {
        serve(proxy.weir.address());
    }
    assert_eq!((counted(&proxy, "logins"), counted(&proxy, "reuses")), (3.0, 0.0));
    proxy.finish();
    until_alone(server, "a stopped Weir leaves none");
}

fn who_waits_has_an_idle_connection_closed(on: On) {
    let server = Database::shared(on);
    let names = [database(server, "waits_a", on), database(server, "waits_b", on)];
    let mut settings = pooled(on, server);
    settings.workers = "2".to_owned();
    settings.backend_keys.push(("connections_max".to_owned(), 2));
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        // Every worker may hold both of them.
        for number in 0..20 {
            let (a, b) = (&names[number % 2], &names[(number + 1) % 2]);
            let mut one = connect(proxy.weir.address(), Some(a)).await;
            let mut other = connect(proxy.weir.address(), Some(a)).await;
            let seen: Option<String> = one.query_first("SELECT DATABASE()").await.unwrap();
            assert_eq!(seen.as_ref(), Some(a));
            // The third waits, and has the connection of the first as soon as that one leaves.
            let address = proxy.weir.address();
            let third = async {
                let mut third = connect(address, Some(b)).await;
                let seen: Option<String> = third.query_first("SELECT DATABASE()").await.unwrap();
                assert_eq!(seen.as_ref(), Some(b));
                third.disconnect().await.unwrap();
            };
            let leave = async {
                other.query_drop("SELECT SLEEP(0.02)").await.unwrap();
                one.disconnect().await.unwrap();
                other.disconnect().await.unwrap();
            };
            tokio::join!(third, leave);
        }
    });
    assert!(counted(&proxy, "yielded") > 0.0);
    assert_eq!(counted(&proxy, "wait_timeouts"), 0.0);
    proxy.finish();
}

fn a_connection_the_server_closed_is_not_given_out(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let proxy = Proxy::start_with(on, &pooled(on, server));
    let kill = "SELECT CONCAT('KILL ', ID, ';') FROM information_schema.processlist \
                WHERE USER = 'app'";
    run(async {
        for number in 0..3 {
            let mut conn = connect(proxy.weir.address(), None).await;
            let seen: Option<u32> = conn.query_first("SELECT 5").await.unwrap();
            assert_eq!(seen, Some(5));
            conn.disconnect().await.unwrap();
            until_idle(&proxy, f64::from(number) + 1.0);
            server.sql(&server.sql(kill).unwrap()).unwrap();
            eventually("its end is noticed", PATIENCE, || {
                counted(&proxy, "lost_idle") + counted(&proxy, "spoiled") == f64::from(number) + 1.0
            });
        }
    });
    assert_eq!((counted(&proxy, "logins"), counted(&proxy, "reuses")), (3.0, 0.0));
    proxy.finish();
}

fn a_schema_that_is_gone_spoils_the_connection(on: On) {
    let server = Database::shared(on);
    let name = database(server, "gone", on);
    let proxy = Proxy::start_with(on, &pooled(on, server));
    run(async {
        let conn = connect(proxy.weir.address(), Some(&name)).await;
        server.sql(&format!("DROP DATABASE {name}")).unwrap();
        conn.disconnect().await.unwrap();
        until_idle(&proxy, 1.0);
        assert_eq!(counted(&proxy, "spoiled"), 1.0);
        let refused = Conn::new(options(proxy.weir.address(), Some(&name))).await.unwrap_err();
        assert!(refused.to_string().contains(&name), "{refused}");
    });
    proxy.finish();
}

/// One whose account changed on it is closed with its client.
fn another_account_gets_a_connection_of_its_own(on: On) {
    let server = Database::shared(on);
    let other = format!("other_{}", on.driver);
    server.sql(&format!("DROP USER IF EXISTS {other}")).unwrap();
    server.create_account(&other, PASSWORD).unwrap();
    let mut settings = pooled(on, server);
    settings.users.push((other.clone(), PASSWORD.to_owned()));
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        for (user, number) in [(USER, 1), (other.as_str(), 2), (USER, 3), (other.as_str(), 4)] {
            let options = options(proxy.weir.address(), None).user(Some(user));
            let mut conn = Conn::new(options).await.unwrap();
            let seen: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.unwrap();
            assert!(seen.unwrap().starts_with(&format!("{user}@")));
            conn.disconnect().await.unwrap();
            until_idle(&proxy, f64::from(number));
        }
        assert_eq!((counted(&proxy, "logins"), counted(&proxy, "reuses")), (2.0, 2.0));
        let mut conn = connect(proxy.weir.address(), None).await;
        let change = mysql_async::ChangeUserOpts::default()
            .with_user(Some(other.clone()))
            .with_pass(Some(PASSWORD.to_owned()));
        conn.change_user(change).await.unwrap();
        conn.disconnect().await.unwrap();
        eventually("its connection is closed", PATIENCE, || sessions_of(&proxy) == 1.0);
    });
    assert_eq!(counted(&proxy, "recycled"), 4.0);
    proxy.finish();
}

fn sessions_of(proxy: &Proxy) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value("weir_backend_connections", &[("backend", "primary")]).unwrap()
}
