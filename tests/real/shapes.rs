//! Results of many shapes.
//!
//! Purpose: what the `mariadb` client prints through Weir is what it prints without.

use std::fmt::Write as _;

use weir_tests::Client;

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, database, on_every_server};

on_every_server!(text_results_are_identical, warnings_and_counts_are_identical);

fn text_results_are_identical(on: On) {
    let server = Database::shared(on);
    let name = database(server, "shapes", on);
    let proxy = Proxy::start(on, server);
    prepare(&server.client(USER, PASSWORD).database(&name));
    let direct = server.client(USER, PASSWORD).database(&name);
    let through = proxy.client().database(&name);
    for statement in statements() {
        let shown = statement.get(..statement.len().min(80)).unwrap();
        let (expected, found) = (direct.run(&statement).unwrap(), through.run(&statement).unwrap());
        assert_eq!(found.status, expected.status, "{shown}");
        assert_eq!(
            String::from_utf8_lossy(&found.stderr),
            String::from_utf8_lossy(&expected.stderr),
            "{shown}"
        );
        // Not assert_eq: some are megabytes.
        assert!(found.stdout == expected.stdout, "different output: {shown}");
    }
    proxy.finish();
}

/// `-vvv` makes the client print counts, warnings and timings' places as well.
fn warnings_and_counts_are_identical(on: On) {
    let server = Database::shared(on);
    let name = database(server, "counts", on);
    let proxy = Proxy::start(on, server);
    prepare(&server.client(USER, PASSWORD).database(&name));
    let verbose = |client: Client| {
        let text = client
            .arg("-vv")
            .arg("--show-warnings")
            .arg("--column-type-info")
            .database(&name)
            .query(
                "INSERT INTO kinds (id, small) VALUES (100, 1), (101, 2); \
                 UPDATE kinds SET small = 5 WHERE id > 99; \
                 SELECT 'abc' + 1; SELECT * FROM kinds ORDER BY id; \
                 INSERT IGNORE INTO kinds (id, small) VALUES (102, 99999); \
                 DELETE FROM kinds WHERE id > 99",
            )
            .unwrap();
        assert!(text.contains("Query OK, 2 rows affected"), "{text}");
        assert!(text.contains("Warning"), "{text}");
        text
    };
    let direct = verbose(server.client(USER, PASSWORD));
    assert_eq!(verbose(proxy.client()), direct);
    proxy.finish();
}

fn prepare(client: &Client) {
    client
        .query(
            "CREATE TABLE kinds (id INT PRIMARY KEY, tiny TINYINT, small SMALLINT UNSIGNED, \
               big BIGINT, amount DECIMAL(20,5), real8 DOUBLE, word VARCHAR(50), body BLOB, \
               day DATE, moment DATETIME(6), span TIME(3), stamp TIMESTAMP NULL, \
               flags BIT(9), choice ENUM('a','b'), many SET('x','y'), doc JSON); \
             INSERT INTO kinds VALUES \
               (1, -128, 65535, -9223372036854775808, 12345678901234.56789, 1.5e300, 'wörd', \
                x'00ff', '2024-02-29', '2024-02-29 23:59:59.999999', '-838:59:59.000', \
                '2020-01-01 00:00:00', b'101010101', 'b', 'x,y', '{\"a\": [1, 2]}'), \
               (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                NULL, NULL), \
               (3, 0, 0, 0, 0, 0, '', '', '0001-01-01', '0001-01-01', '0:0:0', NULL, 0, 'a', '', \
                'null'); \
             \nDELIMITER //\n\
             CREATE PROCEDURE three() BEGIN SELECT 1; SELECT 'two', 2; SELECT 3 FROM DUAL WHERE 0; END//\n\
             DELIMITER ;\n",
        )
        .unwrap();
}

fn statements() -> Vec<String> {
    let mut statements: Vec<String> = [
        "SELECT * FROM kinds ORDER BY id",
        "SELECT 1 FROM kinds WHERE 0",
        "SELECT NULL, '', 0",
        "CALL three(); CALL three(); SELECT 'after'",
        "SELECT seq FROM numbers.n",
        "SELECT seq, REPEAT('r', seq % 3000) FROM numbers.n WHERE seq <= 5000",
        "SELECT REPEAT('b', 250), REPEAT('c', 251), REPEAT('d', 65535), REPEAT('e', 65536)",
        // Packets of exactly 16 MiB - 1 need an empty follower; these come to either side of it.
        "SELECT REPEAT('x', 16777210), 1",
        "SELECT REPEAT('x', 16777211)",
        "SELECT REPEAT('x', 16777212)",
        "SELECT REPEAT('x', 16777215)",
        "SELECT REPEAT('x', 40000000)",
        "SHOW VARIABLES LIKE 'version%'",
        "SHOW CREATE TABLE kinds",
        "EXPLAIN SELECT * FROM kinds",
        "DO 1; SELECT 2; SET @a = 5; SELECT @a",
        "SELECT nonsense",
        "SELECT 1; SELECT * FROM absent; SELECT 3",
        "SELECT 1/0, CAST('x' AS INT)",
        "",
        "SELECT seq FROM numbers.n WHERE seq <= 10 AND 1 = (SELECT seq FROM numbers.n WHERE seq <= 2)",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut wide = "SELECT 0".to_owned();
    for column in 1..2000 {
        write!(wide, ", {column} AS c{column}").unwrap();
    }
    statements.push(wide);
    // A statement of many packets' worth of text.
    statements.push(format!("SELECT LENGTH('{}')", "s".repeat(17 << 20)));
    statements
}
