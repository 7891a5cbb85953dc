//! Connections and what is done for them while no client needs them.
//!
//! Purpose: each begins with its backend's `init_query`, with every pooling and after every reset;
//! as many as are wanted stay and are made, and nobody waits because of them.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use weir_tests::{Flavour, RunFolder, Server, ServerOptions, TestCertificates, WeirConfig};

use crate::fixture::{
    Database, On, PASSWORD, Proxy, USER, config, connect, database, eventually, on_every_server,
    options, run,
};

on_every_server!(
    init_query_comes_first_with_every_pooling,
    an_init_query_that_fails_is_told,
    what_init_query_sets_is_kept_apart_from_what_clients_set,
    a_command_that_may_not_wait_is_answered_and_its_session_goes_on,
    idle_connections_are_made_ahead_and_stay,
    idle_connections_are_made_ahead_encrypted_and_compressed,
    who_waits_comes_before_idle_connections,
    a_refused_user_has_nothing_made_ahead,
);

fn pooled(on: On, server: &Server, pooling: &'static str, init: &str) -> WeirConfig {
    let mut settings = WeirConfig { pooling, ..config(on, server) };
    settings.backend_lines.push(format!("init_query = '{init}'"));
    settings
}

fn counted(proxy: &Proxy, what: &str) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
}

async fn seen(conn: &mut Conn) -> (String, u64, String) {
    let sql = "SELECT @@time_zone, @@sort_buffer_size, @@sql_mode";
    conn.query_first(sql).await.unwrap().unwrap()
}

const INIT: &str = "SET SESSION time_zone = \"+03:00\", sort_buffer_size = 65536, sql_mode = \"\";";

fn as_set() -> (String, u64, String) {
    ("+03:00".to_owned(), 65536, String::new())
}

fn init_query_comes_first_with_every_pooling(on: On) {
    let server = Database::shared(on);
    let name = database(server, "first", on);
    for pooling in ["transaction", "session", "none"] {
        let proxy = Proxy::start_with(on, &pooled(on, server, pooling, INIT));
        run(async {
            for _ in 0..3 {
                let mut conn = connect(proxy.weir.address(), Some(&name)).await;
                assert_eq!(seen(&mut conn).await, as_set(), "{pooling}");
                conn.query_drop("SET SESSION time_zone = '+09:00', sql_mode = 'ANSI'")
                    .await
                    .unwrap();
                conn.query_drop("SET SESSION sort_buffer_size = 131072").await.unwrap();
                conn.reset().await.unwrap();
                assert_eq!(seen(&mut conn).await, as_set(), "{pooling}, after a reset");
                let schema: Option<String> = conn.query_first("SELECT DATABASE()").await.unwrap();
                assert_eq!(schema.as_deref(), Some(name.as_str()));
                // Behind a reset in the same breath.
                conn.query_drop("SET SESSION sort_buffer_size = 131072").await.unwrap();
                conn.disconnect().await.unwrap();
            }
        });
        assert_eq!(counted(&proxy, "init_failures"), 0.0);
        if pooling == "session" {
            assert_eq!(counted(&proxy, "spoiled"), 0.0);
        }
        proxy.finish();
    }
}

fn an_init_query_that_fails_is_told(on: On) {
    let server = Database::shared(on);
    for pooling in ["transaction", "session", "none"] {
        for (init, code, why) in [
            ("SET SESSION no_such_variable = 1", 1105, "its init_query failed: error 1193: "),
            ("START TRANSACTION", 1105, "its init_query leaves a transaction open"),
            ("SELECT REPEAT(\"x\", 70000)", 1105, "its init_query has a result above 64 KiB"),
        ] {
            let proxy = Proxy::start_with(on, &pooled(on, server, pooling, init));
            run(async {
                let options = options(proxy.weir.address(), None);
                let error = Conn::new(options).await.unwrap_err();
                let Error::Server(error) = error else { panic!("{error}") };
                assert_eq!(error.code, code);
                let begin = "weir: backend 'primary' (";
                assert!(error.message.starts_with(begin), "{}", error.message);
                assert!(error.message.contains(why), "{}", error.message);
            });
            assert_eq!(counted(&proxy, "init_failures"), 1.0);
            proxy.finish();
        }
    }
}

/// One connection for all: what one client sets is not what the next begins with, and what comes
/// back from a reset of Weir's own is as good as new.
fn what_init_query_sets_is_kept_apart_from_what_clients_set(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "apart", on);
    server.sql(&format!("CREATE TABLE {name}.log (id INT AUTO_INCREMENT PRIMARY KEY)")).unwrap();
    let log = format!("INSERT INTO {name}.log VALUES ()");
    for init in [INIT, log.as_str(), "SELECT 1"] {
        let mut settings = pooled(on, server, "transaction", init);
        settings.backend_keys.push(("connections_max".to_owned(), 1));
        let proxy = Proxy::start_with(on, &settings);
        run(async {
            let mut one = connect(proxy.weir.address(), Some(&name)).await;
            let mut other = connect(proxy.weir.address(), Some(&name)).await;
            let before = seen(&mut other).await;
            one.query_drop("SET SESSION sort_buffer_size = 131072, time_zone = '+01:00'")
                .await
                .unwrap();
            assert_eq!(seen(&mut other).await, before);
            assert_eq!(seen(&mut one).await.1, 131_072);
            // In the middle of its session the connection is reset by its own client.
            one.query_drop("SET @gone = 1").await.unwrap();
            one.reset().await.unwrap();
            assert_eq!(seen(&mut one).await, before);
            assert_eq!(seen(&mut other).await, before);
            let last: Option<u64> = other.query_first("SELECT LAST_INSERT_ID()").await.unwrap();
            assert_eq!(last, Some(0), "{init}");
            // A connection that is lent and found to be unknown.
            one.query_drop("BEGIN").await.unwrap();
            one.query_drop("SET SESSION sort_buffer_size = 262144").await.unwrap();
            drop(one);
            assert_eq!(seen(&mut other).await, before);
            other.disconnect().await.unwrap();
        });
        let mariadb = on.flavour == Flavour::MariaDb;
        assert!(counted(&proxy, "logins") <= if mariadb { 3.0 } else { 4.0 });
        proxy.finish();
    }
}

fn a_command_that_may_not_wait_is_answered_and_its_session_goes_on(on: On) {
    let server = Database::shared(on);
    let mut settings = WeirConfig { pooling: "transaction", ..config(on, server) };
    settings.backend_keys.push(("connections_max".to_owned(), 1));
    settings.limits.push(("lease_waiters_max".to_owned(), 1));
    settings.limits.push(("lease_wait_ms".to_owned(), 60_000));
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let address = proxy.weir.address();
        let mut keeper = connect(address, None).await;
        let mut patient = connect(address, None).await;
        let mut other = connect(address, None).await;
        keeper.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.unwrap();
        let mut asked = Box::pin(patient.query_first::<u32, _>("SELECT 1"));
        let early = tokio::time::timeout(Duration::from_millis(200), &mut asked).await;
        assert!(early.is_err(), "{early:?}");
        let Err(Error::Server(error)) = other.query_drop("SELECT 2").await else {
            panic!("it was served")
        };
        assert_eq!((error.code, error.message.contains("lease_waiters_max")), (1040, true));
        keeper.query_drop("COMMIT").await.unwrap();
        assert_eq!(asked.await.unwrap(), Some(1));
        let two: Option<u32> = other.query_first("SELECT 2").await.unwrap();
        assert_eq!(two, Some(2));
    });
    assert_eq!(counted(&proxy, "waits_refused"), 1.0);
    assert_eq!(counted(&proxy, "denials"), 1.0);
    proxy.finish();
}

fn idle(proxy: &Proxy) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value("weir_backend_connections_idle", &[("backend", "primary")]).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);

fn idle_connections_are_made_ahead_and_stay(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let kill = format!(
        "SELECT CONCAT('KILL ', ID, ';') FROM information_schema.processlist WHERE USER = '{USER}'"
    );
    let mut settings = pooled(on, server, "transaction", INIT);
    let pool = [("idle_min", 3), ("idle_ms_max", 300), ("ping_idle_ms", 200)];
    settings.pool.extend(pool.map(|(key, value)| (key.to_owned(), value)));
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        eventually("three lie idle", PATIENCE, || idle(&proxy) == 3.0);
        eventually("they are asked", PATIENCE, || counted(&proxy, "pings") >= 9.0);
        assert_eq!((idle(&proxy), counted(&proxy, "expired")), (3.0, 0.0));
        // What is made ahead is as good as what a session has made.
        conn.query_drop("SET @a = 1").await.unwrap();
        assert_eq!(seen(&mut conn).await, as_set());
        server.sql(&server.sql(&kill).unwrap()).unwrap();
        eventually("their end is noticed", PATIENCE, || counted(&proxy, "lost_idle") >= 3.0);
        eventually("others are made", PATIENCE, || idle(&proxy) == 3.0);
        assert_eq!(seen(&mut conn).await, as_set());
        conn.disconnect().await.unwrap();
    });
    assert!(counted(&proxy, "made_ahead") >= 5.0);
    assert_eq!(counted(&proxy, "login_failures"), 0.0);
    assert_eq!(counted(&proxy, "ping_failures"), 0.0);
    proxy.finish();
}

fn idle_connections_are_made_ahead_encrypted_and_compressed(on: On) {
    let folder = RunFolder::create("keeping").unwrap();
    let certificates = TestCertificates::create(folder.path(), USER).unwrap();
    let own = Database::start_with(ServerOptions {
        flavour: on.flavour,
        extra: certificates.server_args(),
        ..ServerOptions::default()
    });
    let mut settings = pooled(on, &own.server, "transaction", INIT);
    let lines = ["tls = \"required\"", "compression = \"zlib\""];
    settings.backend_lines.extend(lines.map(str::to_owned));
    settings.pool.extend([("idle_min".to_owned(), 2), ("ping_idle_ms".to_owned(), 200)]);
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let mut keeper = connect(proxy.weir.address(), None).await;
        let mut other = connect(proxy.weir.address(), None).await;
        eventually("two lie idle", PATIENCE, || idle(&proxy) == 2.0);
        eventually("they are asked", PATIENCE, || counted(&proxy, "pings") >= 4.0);
        keeper.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.unwrap();
        assert_eq!(seen(&mut other).await, as_set());
        keeper.disconnect().await.unwrap();
        other.disconnect().await.unwrap();
    });
    assert!(counted(&proxy, "made_ahead") >= 1.0);
    assert_eq!((counted(&proxy, "ping_failures"), counted(&proxy, "login_failures")), (0.0, 0.0));
    let metrics = proxy.weir.metrics().unwrap();
    let handshakes = metrics.value("weir_tls_backend_handshakes_total", &[]).unwrap();
    assert_eq!(handshakes, counted(&proxy, "logins"));
    proxy.finish();
}

/// Two pools, and fewer connections than both would keep.
fn who_waits_comes_before_idle_connections(on: On) {
    let server = Database::shared(on);
    let other = format!("keeper_{}", on.driver);
    server.sql(&format!("DROP USER IF EXISTS {other}")).unwrap();
    server.create_account(&other, PASSWORD).unwrap();
    let mut settings = WeirConfig { pooling: "transaction", ..config(on, server) };
    settings.users.push((other.clone(), PASSWORD.to_owned()));
    settings.backend_keys.push(("connections_max".to_owned(), 3));
    settings.pool.push(("idle_min".to_owned(), 3));
    settings.workers = "2".to_owned();
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let address = proxy.weir.address();
        let mut one = connect(address, None).await;
        eventually("all lie idle", PATIENCE, || idle(&proxy) == 3.0);
        let options = options(address, None).user(Some(other.as_str()));
        let mut two = Conn::new(options).await.unwrap();
        for number in 0..50u32 {
            for conn in [&mut one, &mut two] {
                let row: Option<u32> = conn.query_first(format!("SELECT {number}")).await.unwrap();
                assert_eq!(row, Some(number));
            }
        }
        two.disconnect().await.unwrap();
        one.disconnect().await.unwrap();
    });
    assert_eq!(counted(&proxy, "wait_timeouts"), 0.0);
    let metrics = proxy.weir.metrics().unwrap();
    let all = metrics.value("weir_backend_connections", &[("backend", "primary")]).unwrap();
    assert!(all <= 3.0, "{all} connections");
    proxy.finish();
}

fn a_refused_user_has_nothing_made_ahead(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let other = "locked_out";
    server.create_account(other, PASSWORD).unwrap();
    let mut settings = WeirConfig { pooling: "transaction", ..config(on, server) };
    settings.users.push((other.to_owned(), PASSWORD.to_owned()));
    let pool = [("idle_min", 2), ("age_ms_max", 2_000)];
    settings.pool.extend(pool.map(|(key, value)| (key.to_owned(), value)));
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let options = options(proxy.weir.address(), None).user(Some(other));
        let conn = Conn::new(options).await.unwrap();
        eventually("two lie idle", PATIENCE, || idle(&proxy) == 2.0);
        server.sql(&format!("ALTER USER {other} IDENTIFIED BY 'another'")).unwrap();
        eventually("they are too old", PATIENCE, || idle(&proxy) == 0.0);
        eventually("one is refused", PATIENCE, || counted(&proxy, "login_failures") >= 1.0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(counted(&proxy, "login_failures") <= 2.0, "it is not tried again");
        drop(conn);
    });
    proxy.finish();
}
