//! What is classed as a read, on real servers.
//!
//! Purpose: no server refuses one for writing, neither in a transaction that only reads nor where it
//! is read only itself; and the names before parentheses are no stored function's.
//! Never: need a proxy in between.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use weir::sql::{LexMode, Nodes, Server as Reader, classify};
use weir_tests::{Flavour, RunFolder, Server, ServerOptions};

use crate::fixture::{PASSWORD, USER, run};

/// Every statement of the data file.
pub(crate) fn statements() -> Vec<String> {
    let lines = include_str!("../../engine/testdata/statements.txt").lines();
    let is_statement = |line: &&str| {
        !line.is_empty() && !line.starts_with('[') && !line.starts_with("# ") && *line != "#"
    };
    lines.filter(is_statement).map(|line| line.replace('⏎', "\n")).collect()
}

/// Tables that the statements ask for, and functions that write.
pub(crate) const SCHEMA: &str = "CREATE DATABASE test; USE test; \
    CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c INT, name VARCHAR(50), ts DATETIME, \
        FULLTEXT words (name), INDEX name (name)); \
    CREATE TABLE u LIKE t; CREATE TABLE v LIKE t; CREATE TABLE j (id INT, a JSON); \
    CREATE TABLE user (id INT, name VARCHAR(50)); CREATE TABLE users LIKE user; \
    CREATE TABLE log (a INT); \
    INSERT INTO t VALUES (1, 1, 1, 1, 'one', NOW()), (2, 2, 2, 2, 'two', NOW()); \
    SET GLOBAL log_bin_trust_function_creators = 1;";

/// A stored function of any name: it writes.
fn writing_function(name: &str) -> String {
    format!(
        "CREATE FUNCTION `{name}`() RETURNS INT BEGIN INSERT INTO log VALUES (1); RETURN 1; END"
    )
}

struct OnServer {
    server: Server,
    mode: LexMode,
    _folder: RunFolder,
}

impl OnServer {
    fn start(flavour: Flavour) -> Self {
        let folder = RunFolder::create("classes").unwrap();
        let options = ServerOptions { flavour, ..ServerOptions::default() };
        let server = Server::start(folder.path(), options).unwrap();
        server.sql(SCHEMA).unwrap();
        let account = format!(
            "CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, EXECUTE, SHOW VIEW, \
             CREATE ROUTINE \
             ON test.* TO '{USER}'@'%'"
        );
        server.sql(&account).unwrap();
        let version = server.sql("SELECT VERSION()").unwrap();
        let reader = Reader::from_version(version.trim());
        assert_ne!(reader, Reader::Unknown, "{version}");
        Self { server, mode: LexMode::usual(reader), _folder: folder }
    }

    async fn connect(&self) -> Conn {
        let options = OptsBuilder::default()
            .ip_or_hostname(self.server.address().ip().to_string())
            .tcp_port(self.server.address().port())
            .user(Some(USER))
            .pass(Some(PASSWORD))
            .db_name(Some("test"))
            .prefer_socket(false);
        Conn::new(options).await.unwrap()
    }
}

fn code(result: Result<(), Error>) -> u16 {
    match result {
        Ok(()) => 0,
        Err(Error::Server(error)) => error.code,
        Err(error) => panic!("{error}"),
    }
}

/// Writing where only reading is allowed: of the server, of the transaction.
const REFUSED: [u16; 2] = [1290, 1792];

fn reads_are_refused_by_no_server(flavour: Flavour) {
    let on = OnServer::start(flavour);
    let reads: Vec<String> = statements()
        .into_iter()
        .filter(|sql| classify(sql.as_bytes(), on.mode).nodes() == Nodes::Replicas)
        .collect();
    assert!(reads.len() > 500, "{}", reads.len());
    run(async {
        let mut conn = on.connect().await;
        // The server does refuse what it should: the test could fail.
        conn.query_drop("SET SESSION TRANSACTION READ ONLY").await.unwrap();
        assert_eq!(code(conn.query_drop("DELETE FROM t").await), 1792);
        let mut done = 0;
        for sql in &reads {
            let code = code(conn.query_drop(sql).await);
            assert!(!REFUSED.contains(&code), "{code}: {sql}");
            done += usize::from(code == 0);
            conn.query_drop("ROLLBACK").await.unwrap();
        }
        conn.disconnect().await.unwrap();
        assert!(done > reads.len() / 2, "{done} of {} were done", reads.len());

        on.server.sql("SET GLOBAL read_only = 1").unwrap();
        let mut conn = on.connect().await;
        assert_eq!(code(conn.query_drop("DELETE FROM t").await), 1290);
        for sql in &reads {
            let code = code(conn.query_drop(sql).await);
            assert!(!REFUSED.contains(&code), "{code}: {sql}");
            conn.query_drop("ROLLBACK").await.unwrap();
        }
        conn.disconnect().await.unwrap();
    });
}

/// A function of each name that is taken for harmless is made, and not called by that name.
fn harmless_names_call_no_stored_function(flavour: Flavour) {
    let on = OnServer::start(flavour);
    let list = include_str!("../../engine/src/sql/classify/functions.txt").lines();
    let names: Vec<&str> = list
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let is_read = |sql: &str| classify(sql.as_bytes(), on.mode).nodes() == Nodes::Replicas;
    run(async {
        let mut conn = on.connect().await;
        for name in names.iter().copied().chain(["no_builtin"]) {
            conn.query_drop(writing_function(name)).await.unwrap();
        }
        assert!(!is_read("SELECT no_builtin()"));
        assert_eq!(code(conn.query_drop("SELECT no_builtin()").await), 0);
        let written: Option<u32> = conn.query_first("SELECT COUNT(*) FROM log").await.unwrap();
        assert_eq!(written, Some(1), "a stored function can be called, and writes");
        let mut tried = 0;
        for name in names {
            for sql in [format!("SELECT {name}()"), format!("SELECT {name} ()")] {
                if is_read(&sql) {
                    tried += 1;
                    code(conn.query_drop(&sql).await);
                }
            }
        }
        let written: Option<u32> = conn.query_first("SELECT COUNT(*) FROM log").await.unwrap();
        assert_eq!(written, Some(1), "one of the names calls a stored function");
        assert!(tried > 500, "{tried}");
        conn.disconnect().await.unwrap();
    });
}

mod mariadb {
    use weir_tests::Flavour;

    #[test]
    fn reads_are_refused_by_no_server() {
        super::reads_are_refused_by_no_server(Flavour::MariaDb);
    }

    #[test]
    fn harmless_names_call_no_stored_function() {
        super::harmless_names_call_no_stored_function(Flavour::MariaDb);
    }
}

mod mysql {
    use weir_tests::Flavour;

    #[test]
    fn reads_are_refused_by_no_server() {
        super::reads_are_refused_by_no_server(Flavour::MySql);
    }

    #[test]
    fn harmless_names_call_no_stored_function() {
        super::harmless_names_call_no_stored_function(Flavour::MySql);
    }
}
