//! A second driver of Rust's, beside the one most tests use.
//!
//! Purpose: sqlx prepares almost everything and negotiates what others do not; the same assertions
//! hold directly and through Weir, plain and inside of TLS. (It cannot compress.)

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, MySqlConnection, Row};

use crate::fixture::{On, PASSWORD, USER, run};
use crate::transport::{Transport, directly_and_through};

// Only MariaDB: sqlx 0.8 makes a wrong short proof of `caching_sha2_password` and relies on the
// full exchange that follows, which Weir does not offer to clients yet.
mod mariadb {
    crate::fixture::on_both_drivers!(weir_tests::Flavour::MariaDb, sqlx);
}

fn sqlx(on: On) {
    directly_and_through(on, "sqlx", &[Transport::PLAIN, Transport::TLS], |to| {
        let options = MySqlConnectOptions::new()
            .host(&to.address.ip().to_string())
            .port(to.address.port())
            .username(USER)
            .database(&to.database);
        let options = if to.way.tls {
            options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(&to.ca)
        } else {
            options.ssl_mode(MySqlSslMode::Disabled)
        };
        run(async {
            let refused = options.clone().password("wrong").connect().await.unwrap_err();
            assert!(refused.to_string().contains("1045"), "{refused}");
            let mut conn = options.password(PASSWORD).connect().await.unwrap();
            prepared_and_text(&mut conn).await;
            transactions_and_errors(&mut conn).await;
            conn.close().await.unwrap();
        });
    });
}

async fn prepared_and_text(conn: &mut MySqlConnection) {
    ::sqlx::query(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, w VARCHAR(50), b LONGBLOB) CHARSET utf8mb4",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    let blob = vec![0xA5_u8; 20 << 20];
    for (id, word) in [(1_i64, Some("wörd 🎉 漢字")), (2, None)] {
        let done = ::sqlx::query("INSERT INTO t VALUES (?, ?, ?)")
            .bind(id)
            .bind(word)
            .bind(blob.get(..usize::try_from(id - 1).unwrap() * blob.len()))
            .execute(&mut *conn)
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
    let rows = ::sqlx::query("SELECT w, b FROM t WHERE id >= ? ORDER BY id")
        .bind(1_i64)
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    let words: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(words, [Some("wörd 🎉 漢字".to_owned()), None]);
    let blobs: Vec<Vec<u8>> = rows.iter().map(|row| row.get(1)).collect();
    assert!(blobs == [Vec::new(), blob], "a value differs");
    // Without placeholders and prepared statement.
    let results = ::sqlx::raw_sql("SELECT 1; DO 1; SELECT 2").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(results.len(), 2);
}

async fn transactions_and_errors(conn: &mut MySqlConnection) {
    let count = "SELECT COUNT(*) FROM t";
    for (keep, expected) in [(false, 2_i64), (true, 1)] {
        let mut transaction = conn.begin().await.unwrap();
        ::sqlx::query("DELETE FROM t WHERE id = 1").execute(&mut *transaction).await.unwrap();
        if keep {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let found: i64 = ::sqlx::query_scalar(count).fetch_one(&mut *conn).await.unwrap();
        assert_eq!(found, expected, "committed: {keep}");
    }
    for (statement, state) in
        [("SELECT * FROM absent", "42S02"), ("INSERT INTO t VALUES (2, '', '')", "23000")]
    {
        let error = ::sqlx::query(statement).execute(&mut *conn).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, state, "{statement}");
    }
    conn.ping().await.unwrap();
}
