//! Stopping Weir (SIGTERM).
//!
//! Purpose: work in progress ends well, idle clients are closed, nothing new begins, and the
//! deadline holds.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use crate::fixture::{
    Database, On, Proxy, config, connect, database, eventually, on_every_server, run,
};

on_every_server!(
    a_transaction_in_flight_finishes,
    idle_clients_are_closed,
    a_statement_in_flight_finishes,
    the_deadline_ends_what_does_not_finish,
);

fn a_transaction_in_flight_finishes(on: On) {
    let server = Database::shared(on);
    let name = database(server, "drain", on);
    let mut proxy = Proxy::start(on, server);
    run(async {
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        conn.query_drop("CREATE TABLE t (a INT)").await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
        proxy.weir.terminate().unwrap();
        eventually("new clients are refused", Duration::from_secs(5), || !greeted(&proxy));
        conn.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
        conn.query_drop("COMMIT").await.unwrap();
    });
    proxy.weir.wait_clean(Duration::from_secs(5)).unwrap();
    assert_eq!(server.sql(&format!("SELECT SUM(a) FROM {name}.t")).unwrap(), "3\n");
}

fn idle_clients_are_closed(on: On) {
    let mut proxy = Proxy::start(on, Database::shared(on));
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        conn.query_drop("SET @x = 1").await.unwrap();
        let began = Instant::now();
        proxy.weir.terminate().unwrap();
        // The drain timeout is 10 s; an idle client must not use it up.
        proxy.weir.wait_clean(Duration::from_secs(4)).unwrap();
        assert!(began.elapsed() < Duration::from_secs(4));
        assert!(conn.query_drop("SELECT 1").await.is_err());
    });
}

fn a_statement_in_flight_finishes(on: On) {
    let mut proxy = Proxy::start(on, Database::shared(on));
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let query = conn.query_first::<(i32, i32), _>("SELECT 42, SLEEP(1.5)");
        let (answer, ()) = tokio::join!(query, async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.weir.terminate().unwrap();
        });
        assert_eq!(answer.unwrap(), Some((42, 0)));
    });
    proxy.weir.wait_clean(Duration::from_secs(5)).unwrap();
}

fn the_deadline_ends_what_does_not_finish(on: On) {
    let mut settings = config(on, Database::shared(on));
    settings.drain_timeout_ms = 1500;
    let mut proxy = Proxy::start_with(on, &settings);
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        conn.query_drop("BEGIN").await.unwrap();
        let began = Instant::now();
        proxy.weir.terminate().unwrap();
        proxy.weir.wait_clean(Duration::from_secs(6)).unwrap();
        let waited = began.elapsed();
        assert!(waited > Duration::from_millis(1300), "ended after {waited:?}");
        assert!(waited < Duration::from_secs(4), "ended after {waited:?}");
        assert!(conn.query_drop("COMMIT").await.is_err());
    });
}

/// Whether a new client is still taken.
fn greeted(proxy: &Proxy) -> bool {
    TcpStream::connect_timeout(&proxy.weir.address(), Duration::from_secs(1)).is_ok_and(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut first = [0_u8; 5];
        std::io::Read::read_exact(&mut &stream, &mut first).is_ok() && first.ends_with(&[0x0a])
    })
}
