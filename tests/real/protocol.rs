//! A modern driver's use of the protocol.
//!
//! Purpose: transactions, prepared statements, multi-results, local files and errors as a program
//! sees them; its connections negotiate what the command-line client does not.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use mysql_async::prelude::Queryable;
use mysql_async::{
    Compression, Conn, Error, OptsBuilder, SslOpts, TxOpts, Value, WhiteListFsHandler,
};
use weir_tests::{Client, Flavour, RunFolder};

use crate::fixture::{
    Database, On, PASSWORD, Proxy, USER, database, on_every_server, options, run,
};
use crate::transport::{To, Transport, directly_and_through};

on_every_server!(
    transactions,
    prepared_statements,
    errors_leave_the_session_usable,
    several_results_per_statement,
    local_files,
    local_file_that_is_missing,
    session_state_stays_with_its_session,
    reset_of_a_connection,
);

fn transactions(on: On) {
    with(on, "transactions", async |mut one, mut two| {
        one.query_drop("CREATE TABLE t (a INT)").await.unwrap();
        let count = "SELECT COUNT(*) FROM t";
        let mut transaction = one.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("INSERT INTO t VALUES (1), (2)").await.unwrap();
        assert_eq!(transaction.query_first(count).await.unwrap(), Some(2));
        assert_eq!(two.query_first(count).await.unwrap(), Some(0));
        transaction.commit().await.unwrap();
        assert_eq!(two.query_first(count).await.unwrap(), Some(2));
        let mut transaction = one.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("DELETE FROM t").await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(two.query_first(count).await.unwrap(), Some(2));
    });
}

fn prepared_statements(on: On) {
    with(on, "prepared", async |mut conn, _| {
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, w VARCHAR(20), f DOUBLE)")
            .await
            .unwrap();
        let insert = conn.prep("INSERT INTO t VALUES (?, ?, ?)").await.unwrap();
        let rows = (0..500).map(|id| (id, format!("w{id}"), f64::from(id) / 2.0));
        conn.exec_batch(&insert, rows).await.unwrap();
        let select = conn.prep("SELECT id, w, f FROM t WHERE id >= ? ORDER BY id").await.unwrap();
        for from in [0, 499, 500] {
            let rows: Vec<(i32, String, f64)> = conn.exec(&select, (from,)).await.unwrap();
            let expected: Vec<_> =
                (from..500).map(|id| (id, format!("w{id}"), f64::from(id) / 2.0)).collect();
            assert_eq!(rows, expected);
        }
        conn.close(insert).await.unwrap();
        // More statements than the driver keeps, so that it closes old ones.
        for number in 0..100 {
            let found: Option<i32> =
                conn.exec_first(format!("SELECT {number} + ?"), (1,)).await.unwrap();
            assert_eq!(found, Some(number + 1));
        }
        let nothing: Option<Value> = conn.exec_first("SELECT ?", (Value::NULL,)).await.unwrap();
        assert_eq!(nothing, Some(Value::NULL));
        conn.exec_drop("DO ?", (vec![0_u8; 3 << 20],)).await.unwrap();
    });
}

fn errors_leave_the_session_usable(on: On) {
    // What MySQL says to a prepared SIGNAL.
    let unpreparable = (1295, "HY000");
    with(on, "errors", async |mut conn, _| {
        conn.query_drop("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        for (statement, code, state) in [
            ("SELECT * FROM absent", 1146, "42S02"),
            ("INSERT INTO t VALUES (1)", 1062, "23000"),
            ("nonsense", 1064, "42000"),
            ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own', MYSQL_ERRNO = 5555", 5555, "45000"),
        ] {
            for prepared in [false, true] {
                let result = if prepared {
                    conn.exec_drop(statement, ()).await
                } else {
                    conn.query_drop(statement).await
                };
                let Err(Error::Server(error)) = result else { panic!("{statement}: {result:?}") };
                let expected = match on.flavour {
                    Flavour::MySql if prepared && code == 5555 => unpreparable,
                    Flavour::MySql | Flavour::MariaDb => (code, state),
                };
                assert_eq!((error.code, error.state.as_str()), expected, "{statement}");
            }
            assert_eq!(conn.query_first("SELECT 1").await.unwrap(), Some(1));
        }
    });
}

fn several_results_per_statement(on: On) {
    with(on, "several", async |mut conn, _| {
        conn.query_drop(
            "CREATE PROCEDURE p(n INT) BEGIN SELECT n; SELECT n + 1, 'x'; DO 1; SELECT seq FROM numbers.n WHERE seq <= 3; END",
        )
        .await
        .unwrap();
        for prepared in [false, true] {
            let sizes: Vec<usize> = if prepared {
                let mut result = conn.exec_iter("CALL p(?)", (7,)).await.unwrap();
                let mut sizes = Vec::new();
                while !result.is_empty() {
                    sizes.push(result.collect::<mysql_async::Row>().await.unwrap().len());
                }
                sizes
            } else {
                let mut result = conn.query_iter("CALL p(7)").await.unwrap();
                let mut sizes = Vec::new();
                while !result.is_empty() {
                    sizes.push(result.collect::<mysql_async::Row>().await.unwrap().len());
                }
                sizes
            };
            assert_eq!(sizes, [1, 1, 3], "prepared: {prepared}");
        }
        let mut result =
            conn.query_iter("SELECT 1; DO 2; SELECT 3; SELECT * FROM absent").await.unwrap();
        assert_eq!(result.collect::<i32>().await.unwrap(), [1]);
        assert_eq!(result.collect::<i32>().await.unwrap(), [0; 0]);
        assert_eq!(result.collect::<i32>().await.unwrap(), [3]);
        assert!(result.collect::<i32>().await.is_err());
        drop(result);
        assert_eq!(conn.query_first("SELECT 9").await.unwrap(), Some(9));
    });
}

fn local_files(on: On) {
    let folder = RunFolder::create("local-files").unwrap();
    let file = folder.path().join("rows.tsv");
    let rows = 50_000_u64;
    let mut text = String::new();
    for row in 0..rows {
        writeln!(text, "{row}\tword {row}").unwrap();
    }
    fs::write(&file, text).unwrap();
    directly_and_through(on, "local_files", &WAYS, |to| {
        run(async {
            let handler = WhiteListFsHandler::new([file.clone()]);
            let opts = opts(&to).local_infile_handler(Some(handler));
            let mut conn = Conn::new(opts).await.unwrap();
            conn.query_drop("CREATE TABLE t (a INT, w VARCHAR(40))").await.unwrap();
            let load = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE t", file.display());
            conn.query_drop(load).await.unwrap();
            assert_eq!(conn.affected_rows(), rows);
            let sum: Option<(u64, u64)> =
                conn.query_first("SELECT COUNT(*), SUM(a) FROM t").await.unwrap();
            assert_eq!(sum, Some((rows, rows * (rows - 1) / 2)));
            conn.disconnect().await.unwrap();
        });
    });
}

fn local_file_that_is_missing(on: On) {
    let server = Database::shared(on);
    let name = database(server, "local_file", on);
    let proxy = Proxy::start(on, server);
    server.sql(&format!("CREATE TABLE {name}.t (a INT, w VARCHAR(40))")).unwrap();
    // A file the client cannot send: its own error, and the session goes on.
    let missing = format!("LOAD DATA LOCAL INFILE '{}/none' INTO TABLE t; SELECT 4", name);
    let ask = |client: Client| {
        client.database(&name).arg("--local-infile=1").arg("--force").run(&missing).unwrap()
    };
    let (direct, through) = (ask(server.client(USER, PASSWORD)), ask(proxy.client()));
    assert_eq!(through.stdout, b"4\n");
    assert_eq!(String::from_utf8_lossy(&through.stderr), String::from_utf8_lossy(&direct.stderr));
    proxy.finish();
}

fn session_state_stays_with_its_session(on: On) {
    with(on, "state", async |mut one, mut two| {
        one.query_drop("SET @x = 5, time_zone = '+05:00', NAMES utf8mb4").await.unwrap();
        one.query_drop("CREATE TEMPORARY TABLE t AS SELECT 1 AS a").await.unwrap();
        let state = "SELECT @x, @@time_zone";
        assert_eq!(one.query_first(state).await.unwrap(), Some((Some(5), "+05:00".to_owned())));
        assert_eq!(two.query_first(state).await.unwrap(), Some((None::<i32>, "SYSTEM".to_owned())));
        assert_eq!(one.query_first("SELECT a FROM t").await.unwrap(), Some(1));
        assert!(two.query_drop("SELECT a FROM t").await.is_err());
        one.query_drop("DO GET_LOCK('weir', 0)").await.unwrap();
        assert_eq!(two.query_first("SELECT IS_FREE_LOCK('weir')").await.unwrap(), Some(0));
    });
}

fn reset_of_a_connection(on: On) {
    with(on, "reset", async |mut conn, _| {
        conn.query_drop("SET @x = 5").await.unwrap();
        conn.reset().await.unwrap();
        assert_eq!(conn.query_first("SELECT @x").await.unwrap(), Some(None::<i32>));
        conn.ping().await.unwrap();
    });
}

/// What the driver can do: it compresses by zlib.
const WAYS: [Transport; 4] =
    [Transport::PLAIN, Transport::TLS, Transport::ZLIB, Transport::TLS_ZLIB];

/// Runs a test with two sessions in a database of its own, directly and through Weir, over each way
/// the driver knows.
fn with(on: On, test: &str, body: impl AsyncFn(Conn, Conn)) {
    directly_and_through(on, test, &WAYS, |to| {
        run(async {
            let one = Conn::new(opts(&to)).await.unwrap();
            let two = Conn::new(opts(&to)).await.unwrap();
            body(one, two).await;
        });
    });
}

fn opts(to: &To) -> OptsBuilder {
    let trusted = || SslOpts::default().with_root_certs(vec![PathBuf::from(&to.ca).into()]);
    options(to.address, Some(&to.database))
        .ssl_opts(to.way.tls.then(trusted))
        .compression(to.way.compression.map(|_| Compression::default()))
}
