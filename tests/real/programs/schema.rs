//! What a program finds when it starts.
//!
//! Purpose: two schemas of its own with tables, rows, triggers and stored programs, and the
//! statements that look at what it leaves.
//! Never: anything that two programs share.

use weir_tests::Flavour;

/// Statements, separated by semicolons, that make a program's schemas as they are at its start.
pub(super) fn start_sql(own: &str, flavour: Flavour) -> String {
    let mut sql = String::new();
    for (schema, first) in [(own.to_owned(), 1), (format!("{own}_b"), 101)] {
        sql.push_str(&format!("DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema}; "));
        sql.push_str(&format!("USE {schema}; {TABLES} "));
        sql.push_str(&format!(
            "INSERT INTO items (id, n, w) VALUES ({first}, 1, 'one'), ({first} + 1, 2, 'two'), \
             ({first} + 4, 5, 'fünf'); INSERT INTO log (w) VALUES ('begin of {schema}'); "
        ));
    }
    sql.push_str(&format!("USE {own}; "));
    for program in PROGRAMS {
        sql.push_str(program);
        sql.push_str("; ");
    }
    sql.push_str(&format!("CREATE PROCEDURE named() SELECT GET_LOCK('{own}', 0); "));
    if flavour == Flavour::MariaDb {
        sql.push_str("CREATE SEQUENCE numbered; ");
    }
    sql
}

/// Statements that show what a program has left.
pub(super) fn left_sql(own: &str) -> Vec<String> {
    let mut all = Vec::new();
    for schema in [own.to_owned(), format!("{own}_b")] {
        for table in ["items", "log", "watched", "parents", "children"] {
            all.push(format!("SELECT * FROM {schema}.{table} ORDER BY 1"));
        }
        all.push(format!("SHOW TABLES FROM {schema}"));
    }
    all
}

/// No index but the primary key where a statement might read by either: the order of its rows would
/// be the server's choice.
const TABLES: &str = "\
    CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE, w VARCHAR(20), \
      small TINYINT) CHARSET utf8mb4; \
    CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, w VARCHAR(40), at TIMESTAMP NULL) \
      CHARSET utf8mb4; \
    CREATE TABLE watched (id INT AUTO_INCREMENT PRIMARY KEY, n INT); \
    CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW SET @watched = NEW.id * 10; \
    CREATE TABLE parents (id INT PRIMARY KEY); INSERT INTO parents VALUES (1), (2); \
    CREATE TABLE children (id INT PRIMARY KEY, parent INT, \
      FOREIGN KEY (parent) REFERENCES parents (id));";

/// Stored programs that do to a session what nobody sees in the text of a CALL.
const PROGRAMS: &[&str] = &[
    "CREATE PROCEDURE two() BEGIN SELECT id, w FROM items ORDER BY id; SELECT COUNT(*) FROM log; END",
    "CREATE PROCEDURE put(IN word VARCHAR(20)) INSERT INTO log (w) VALUES (word)",
    "CREATE PROCEDURE sets(IN x INT) BEGIN SET SESSION sort_buffer_size = 65536 + 1024 * x; \
       SET time_zone = '+04:00'; SET @set = x; END",
    "CREATE PROCEDURE makes() BEGIN CREATE TEMPORARY TABLE made (a INT); \
       INSERT INTO made VALUES (7); END",
    "CREATE PROCEDURE gives(IN x INT, OUT y INT) BEGIN SET y = x * 2; SELECT x; END",
    "CREATE PROCEDURE fails() BEGIN SELECT 1; INSERT INTO items (id) VALUES (1); SELECT 2; END",
    "CREATE PROCEDURE begins() BEGIN START TRANSACTION; INSERT INTO log (w) VALUES ('open'); END",
    "CREATE PROCEDURE prepares() BEGIN SET @text = 'SELECT 5, DATABASE()'; \
       PREPARE left_over FROM @text; END",
    "CREATE FUNCTION noisy(x INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
       BEGIN INSERT INTO log (w) VALUES (CONCAT('noisy ', x)); SET @noise = x; RETURN x + 1; END",
];
