//! Backends that fail.
//!
//! Purpose: a failure ends the sessions it concerns, with an error, and no other; Weir goes on.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use weir_tests::Server;

use crate::fixture::{Database, On, Proxy, connect, database, eventually, on_every_server, run};

on_every_server!(
    a_backend_connection_killed_mid_result_ends_its_session_alone,
    a_killed_server_ends_its_sessions_and_weir_goes_on,
    a_client_that_leaves_mid_result_frees_its_backend_connection,
);

/// A result of gigabytes: it cannot be over before the test is.
const ENDLESS: &str = "SELECT /* endless */ REPEAT('x', 100000) FROM numbers.n";

fn a_backend_connection_killed_mid_result_ends_its_session_alone(on: On) {
    let server = Database::shared(on);
    let name = database(server, "killed", on);
    let proxy = Proxy::start(on, server);
    run(async {
        let mut other = connect(proxy.weir.address(), Some(&name)).await;
        other.query_drop("CREATE TABLE t (a INT)").await.unwrap();
        other.query_drop("BEGIN").await.unwrap();
        other.query_drop("INSERT INTO t VALUES (1)").await.unwrap();

        let mut victim = connect(proxy.weir.address(), Some(&name)).await;
        let mut result = victim.query_iter(ENDLESS).await.unwrap();
        assert!(result.next().await.unwrap().is_some());
        server.sql(&format!("KILL CONNECTION {}", endless_thread(server, &name))).unwrap();
        let end = loop {
            match result.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(end.is_err(), "the result looked complete");
        drop(result);

        other.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
        other.query_drop("COMMIT").await.unwrap();
        assert_eq!(other.query_first("SELECT SUM(a) FROM t").await.unwrap(), Some(3));
    });
    proxy.finish();
}

fn a_killed_server_ends_its_sessions_and_weir_goes_on(on: On) {
    let mut database = Database::start(on.flavour);
    let proxy = Proxy::start(on, &database.server);
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let mut idle = connect(proxy.weir.address(), None).await;
        let mut result = conn.query_iter(ENDLESS).await.unwrap();
        assert!(result.next().await.unwrap().is_some());
        database.server.crash().unwrap();
        let mut rows = 0_u32;
        let end = loop {
            match result.next().await {
                Ok(Some(_)) => rows += 1,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(end.is_err(), "the result looked complete after {rows} rows");
        drop(result);
        assert!(idle.query_drop("SELECT 1").await.is_err());
    });
    // Without a server there is an error, not a hang.
    assert!(proxy.client().query("SELECT 1").is_err());
    database.server.restart().unwrap();
    eventually("the server is used again", Duration::from_secs(10), || {
        proxy.client().query("SELECT 5").is_ok_and(|answer| answer == "5\n")
    });
    let mut weir = proxy;
    weir.weir.stop().unwrap();
}

fn a_client_that_leaves_mid_result_frees_its_backend_connection(on: On) {
    let server = Database::shared(on);
    let name = database(server, "leaves", on);
    let proxy = Proxy::start(on, server);
    run(async {
        let conn = connect(proxy.weir.address(), Some(&name)).await;
        let mut result = leaked_query(conn).await;
        assert!(result.next().await.unwrap().is_some());
        assert_ne!(endless_thread(server, &name), 0);
    });
    // The runtime is gone, and the client's socket with it.
    eventually("the backend connection is gone", Duration::from_secs(10), || {
        endless_thread(server, &name) == 0
    });
    proxy.finish();
}

async fn leaked_query(
    conn: Conn,
) -> mysql_async::QueryResult<'static, 'static, mysql_async::TextProtocol> {
    use mysql_async::prelude::Query;
    ENDLESS.run(conn).await.unwrap()
}

/// The server's thread that computes the endless result for a database; 0 if there is none.
fn endless_thread(server: &Server, database: &str) -> u64 {
    let text = server
        .sql(&format!(
            "SELECT COALESCE(MAX(id), 0) FROM information_schema.processlist \
             WHERE db = '{database}' AND info LIKE 'SELECT /* endless */%'"
        ))
        .unwrap();
    text.trim().parse().unwrap()
}
