//! Users with `read_only = true`.
//!
//! Purpose: what they write is refused, by the server, and nothing they say changes that.

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, Error};
use weir_tests::WeirConfig;

use crate::fixture::{
    Database, On, PASSWORD, Proxy, USER, config, connect, database, on_every_server, run,
};

on_every_server!(readers_write_nothing, readers_say_nothing_that_lets_them_write);

fn proxy(on: On, pooling: &'static str) -> Proxy {
    let mut settings = WeirConfig { pooling, ..config(on, Database::shared(on)) };
    settings.users.clear();
    settings.more =
        format!("[[user]]\nname = \"{USER}\"\npassword = \"{PASSWORD}\"\nread_only = true\n");
    Proxy::start_with(on, &settings)
}

fn code(result: Result<(), Error>) -> u16 {
    match result {
        Ok(()) => 0,
        Err(Error::Server(error)) => error.code,
        Err(error) => panic!("{error}"),
    }
}

/// Statements that write, in whatever way a session is asked to.
async fn refused_by_the_server(conn: &mut Conn) {
    for sql in ["INSERT INTO t VALUES (1)", "CREATE TABLE u (a INT)", "UPDATE t SET a = 2"] {
        assert_eq!(code(conn.query_drop(sql).await), 1792, "{sql}");
    }
    assert_eq!(code(conn.exec_drop("DELETE FROM t WHERE a = ?", (1,)).await), 1792);
    conn.query_drop("BEGIN").await.unwrap();
    assert_eq!(code(conn.query_drop("INSERT INTO t VALUES (1)").await), 1792);
    conn.query_drop("ROLLBACK").await.unwrap();
    let read: Option<u32> = conn.query_first("SELECT COUNT(*) FROM t").await.unwrap();
    assert_eq!(read, Some(0));
}

fn readers_write_nothing(on: On) {
    let name = database(Database::shared(on), "readers", on);
    Database::shared(on).sql(&format!("CREATE TABLE {name}.t (a INT)")).unwrap();
    for pooling in ["none", "session"] {
        let proxy = proxy(on, pooling);
        run(async {
            let mut conn = connect(proxy.weir.address(), Some(&name)).await;
            refused_by_the_server(&mut conn).await;
            assert!(conn.reset().await.unwrap(), "by COM_RESET_CONNECTION");
            refused_by_the_server(&mut conn).await;
            let same = ChangeUserOpts::default().with_db_name(Some(name.clone()));
            conn.change_user(same).await.unwrap();
            refused_by_the_server(&mut conn).await;
            conn.disconnect().await.unwrap();
            let mut conn = connect(proxy.weir.address(), Some(&name)).await;
            refused_by_the_server(&mut conn).await;
            conn.disconnect().await.unwrap();
        });
        let metrics = proxy.weir.metrics().unwrap();
        assert_eq!(metrics.value("weir_backend_recycled_total", &[]).unwrap(), 0.0);
        proxy.finish();
    }
}

fn readers_say_nothing_that_lets_them_write(on: On) {
    let name = database(Database::shared(on), "readers_say", on);
    Database::shared(on).sql(&format!("CREATE TABLE {name}.t (a INT)")).unwrap();
    let proxy = proxy(on, "none");
    run(async {
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        for sql in [
            "SET SESSION TRANSACTION READ WRITE",
            "set session transaction isolation level read committed, read /* x */ write",
            "SET TRANSACTION READ WRITE",
            "START TRANSACTION READ WRITE",
            "SET transaction_read_only = 0, @a = 1",
            "SET @@session.`tx_read_only` = OFF",
            "/*!50700 SET SESSION transaction_read_only = 0 */",
            "SELECT 1; SET SESSION TRANSACTION READ WRITE; INSERT INTO t VALUES (1)",
            "PREPARE p FROM 'SET SESSION TRANSACTION READ WRITE'",
            "EXECUTE IMMEDIATE CONCAT('SET SESSION TRANSACTION READ', ' WRITE')",
        ] {
            assert_eq!(code(conn.query_drop(sql).await), 1290, "{sql}");
            assert_eq!(code(conn.prep(sql).await.map(drop)), 1290, "prepared: {sql}");
        }
        let padded = format!("SET /* {} */ SESSION TRANSACTION READ WRITE", "x".repeat(200 << 10));
        assert_eq!(code(conn.query_drop(padded).await), 1290);
        let long = format!("SELECT LENGTH('{}')", "x".repeat(2 << 20));
        assert_eq!(code(conn.query_drop(long).await), 1290);
        refused_by_the_server(&mut conn).await;
        // What only looks like it, and what readers do.
        for sql in [
            "SELECT 'READ WRITE', 'it is _read_only', 'PREPARE'",
            "SELECT @@tx_isolation OR 1",
            "START TRANSACTION READ ONLY",
            "COMMIT",
        ] {
            let sql = if on.flavour == weir_tests::Flavour::MySql {
                sql.replace("tx_isolation", "transaction_isolation")
            } else {
                sql.to_owned()
            };
            conn.query_drop(sql.as_str()).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let long = format!("SELECT LENGTH('{}')", "x".repeat(500 << 10));
        let read: Option<u32> = conn.query_first(long).await.unwrap();
        assert_eq!(read, Some(500 << 10));
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}
