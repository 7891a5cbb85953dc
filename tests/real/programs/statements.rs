//! What programs are made of.
//!
//! Purpose: lists of moves, by what they are about. A move is one statement or several that belong
//! together; others may come between them.
//! Never: what differs between two runs on the server itself: times, ids of connections, random
//! numbers, GTIDs, rows in an order that the server chooses; nor anything other sessions feel.
//!
//! `%a` and `%b` are the program's schemas, `%n` is a number, `%w` a word, `%v` a user variable,
//! `%i` the connection's id. A text that begins with `!` is a command of its own.

use weir_tests::Flavour;

type Moves = &'static [&'static [&'static str]];

/// Moves about one thing.
pub(super) struct Topic {
    /// How many of a hundred programs have it.
    pub(super) percent: usize,
    /// Whether nothing may come between the statements of a move.
    pub(super) atomic: bool,
    pub(super) moves: Moves,
}

const fn topic(percent: usize, moves: Moves) -> Topic {
    Topic { percent, atomic: false, moves }
}

/// Everything there is, on one server.
pub(super) fn topics(flavour: Flavour) -> Vec<Topic> {
    let (settings, odd): (Moves, Moves) = match flavour {
        Flavour::MariaDb => (SETTINGS_OF_MARIADB, ODD_OF_MARIADB),
        Flavour::MySql => (SETTINGS_OF_MYSQL, ODD_OF_MYSQL),
    };
    vec![
        topic(100, WRITES),
        topic(60, CHARACTER_SETS),
        topic(70, SETTINGS),
        topic(40, settings),
        topic(50, SCHEMAS),
        topic(60, VARIABLES),
        topic(55, TRANSACTIONS),
        topic(50, DIAGNOSTICS),
        topic(20, TEMPORARY),
        topic(20, LOCKS),
        topic(15, TABLE_LOCKS),
        topic(15, HANDLERS),
        topic(20, SQL_PREPARED),
        topic(25, CALLS),
        topic(35, MULTI),
        topic(20, DDL),
        topic(30, COMMANDS),
        topic(30, odd),
        Topic { percent: 25, atomic: true, moves: ATOMIC },
        Topic { percent: 15, atomic: true, moves: RESETS },
    ]
}

/// Statements that read what a session is told from another one by, and what it did last.
pub(super) fn looks(flavour: Flavour) -> Vec<&'static str> {
    let own = match flavour {
        Flavour::MariaDb => LOOKS_OF_MARIADB,
        Flavour::MySql => LOOKS_OF_MYSQL,
    };
    [LOOKS, own].concat()
}

const LOOKS: &[&str] = &[
    "SELECT @@sql_mode, @@time_zone, @@autocommit",
    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results",
    "SELECT @@collation_connection, @@character_set_database, @@collation_database",
    "SELECT @@sort_buffer_size, @@sql_safe_updates, @@group_concat_max_len, @@wait_timeout",
    "SELECT @@foreign_key_checks, @@unique_checks, @@sql_select_limit, @@max_error_count",
    "SELECT @@auto_increment_increment, @@div_precision_increment, @@sql_notes, @@completion_type",
    "SHOW VARIABLES WHERE Variable_name IN ('sql_mode', 'time_zone', 'autocommit', 'lc_time_names')",
    "SELECT DATABASE()",
    "SELECT SCHEMA(), COUNT(*) FROM items",
    "SELECT @a, @b, @c",
    "SELECT @a, @d, @watched, @set, @noise",
    "SELECT @a + 1, CONCAT(@b, '!'), @c IS NULL",
    "SELECT LAST_INSERT_ID(), ROW_COUNT()",
    "SELECT LAST_INSERT_ID()",
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT @@warning_count, @@error_count",
    "SELECT @@identity, @@last_insert_id, @@insert_id",
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT 'ä', LENGTH('ä'), CHARSET('x'), COLLATION('x'), 'a' = 'A'",
    "SELECT 1 / 3, FROM_UNIXTIME(86400), 'a' || 'b', 'x\\ty', 5 - 3",
    "SELECT IF(@@timestamp < 1000000000, NOW(), 'now')",
    "SELECT DATE_FORMAT('2024-02-29', '%W %M'), WEEK('2024-01-01')",
    "SELECT GROUP_CONCAT(w ORDER BY id SEPARATOR '--') FROM items",
    "SELECT id, n, w, small FROM items ORDER BY id",
    "SELECT * FROM items ORDER BY id",
    "SELECT id, w, at FROM log ORDER BY id",
    "SELECT COUNT(*), MAX(id) FROM log",
    "SHOW TABLES",
    "SELECT IS_USED_LOCK('%a') = CONNECTION_ID(), IS_FREE_LOCK('%a')",
    "SELECT CONNECTION_ID() = %i AS mine",
    "!ping",
];
const LOOKS_OF_MARIADB: &[&str] = &[
    "SELECT @@tx_isolation, @@tx_read_only, @@in_transaction",
    "SELECT @@in_transaction",
    "SHOW VARIABLES LIKE 'tx_%'",
];
const LOOKS_OF_MYSQL: &[&str] =
    &["SELECT @@transaction_isolation, @@transaction_read_only", "SHOW VARIABLES LIKE 'trans%_o%'"];

const WRITES: Moves = &[
    &["INSERT INTO items (n, w) VALUES (%n, %w)"],
    &["INSERT INTO items (n, w) VALUES (%n, %w)", "SELECT LAST_INSERT_ID()"],
    &["INSERT INTO items (w) VALUES (%w), (%w), (%w)", "SELECT LAST_INSERT_ID(), ROW_COUNT()"],
    &["INSERT INTO items (id, n) VALUES (%n, %n)"],
    &["INSERT INTO items (id, w) VALUES (0, %w)"],
    &["INSERT IGNORE INTO items (id, n, w) VALUES (1, 1, %w), (NULL, %n, %w)", "SHOW WARNINGS"],
    &["INSERT INTO items (n, w) VALUES (%n, %w) ON DUPLICATE KEY UPDATE w = %w"],
    &[
        "INSERT INTO items (n) VALUES (%n) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), w = %w",
        "SELECT LAST_INSERT_ID()",
    ],
    &["REPLACE INTO items (n, w) VALUES (%n, %w)", "SELECT ROW_COUNT(), LAST_INSERT_ID()"],
    &["UPDATE items SET w = %w WHERE id = %n", "SELECT ROW_COUNT()"],
    &["UPDATE items SET w = %w"],
    &["UPDATE items SET w = w WHERE id = 1", "SELECT ROW_COUNT()"],
    &["UPDATE items SET small = LAST_INSERT_ID(%n) WHERE id = 2", "SELECT LAST_INSERT_ID()"],
    &["DELETE FROM items WHERE id = %n", "SELECT ROW_COUNT()"],
    &["DELETE FROM items ORDER BY id DESC LIMIT 1"],
    &["INSERT INTO items (n, small) VALUES (NULL, 1000)", "SHOW WARNINGS"],
    &["INSERT INTO items (w) VALUES (REPEAT('x', 30))", "SELECT @@warning_count"],
    &["UPDATE items SET small = 1 / 0 WHERE id = 1", "SHOW WARNINGS"],
    &[
        "INSERT INTO log (w, at) VALUES (%w, '2024-01-01 00:00:00')",
        "SELECT at FROM log ORDER BY id",
    ],
    &["INSERT INTO log (w) SELECT w FROM items ORDER BY id LIMIT 2", "SELECT LAST_INSERT_ID()"],
    &["INSERT INTO watched (n) VALUES (%n)", "SELECT @watched"],
    &["INSERT INTO children VALUES (%n, 1)"],
    &["INSERT INTO children VALUES (%n, 99)"],
    &["LOAD DATA LOCAL INFILE 'any' INTO TABLE log (id, w)", "SHOW WARNINGS LIMIT 2"],
    &["SELECT LAST_INSERT_ID(%n)", "SELECT LAST_INSERT_ID()"],
    &["SELECT id FROM items WHERE id IS NULL"],
];

const CHARACTER_SETS: Moves = &[
    &["SET NAMES latin1"],
    &["SET NAMES utf8mb4"],
    &["SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'"],
    &["SET NAMES DEFAULT"],
    &["SET CHARACTER SET latin1"],
    &["SET CHARACTER SET DEFAULT"],
    &["SET character_set_results = NULL"],
    &["SET character_set_results = latin1", "SELECT w FROM items ORDER BY id"],
    &["SET collation_connection = latin1_bin"],
    &["SET @@collation_connection = utf8mb4_unicode_ci"],
    &["SET character_set_client = latin1, character_set_connection = utf8mb4"],
    &["INSERT INTO log (w) VALUES ('zwölf')", "SELECT w, HEX(w) FROM log ORDER BY id"],
    &["SET NAMES no_such_set"],
];

const SETTINGS: Moves = &[
    &["SET sql_mode = ''"],
    &["SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'", "SELECT \"w\" FROM items ORDER BY id"],
    &["SET sql_mode = 'NO_BACKSLASH_ESCAPES'"],
    &["SET sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO'"],
    &["SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')"],
    &["SET @saved = @@sql_mode, sql_mode = 'NO_UNSIGNED_SUBTRACTION'", "SET sql_mode = @saved"],
    &["SET sql_mode = DEFAULT"],
    &["SET time_zone = '+05:00'"],
    &["SET time_zone = '-03:30'", "SELECT FROM_UNIXTIME(0)"],
    &["SET @@session.time_zone = DEFAULT"],
    &["SET @zone = '+09:00'", "SET time_zone = @zone"],
    &["SET sort_buffer_size = 65536"],
    &["SET LOCAL sort_buffer_size = 65536 + 4096 * %n"],
    &["SET SESSION sort_buffer_size = DEFAULT"],
    &["SET sort_buffer_size = 1", "SHOW WARNINGS"],
    &["SET sql_safe_updates = 1", "UPDATE items SET w = %w"],
    &["SET sql_safe_updates = 0"],
    &["SET group_concat_max_len = 8"],
    &["SET group_concat_max_len = @@GLOBAL.group_concat_max_len"],
    &["SET wait_timeout = 10%n, interactive_timeout = 20%n"],
    &["SET foreign_key_checks = 0", "INSERT INTO children VALUES (%n, 98)"],
    &["SET foreign_key_checks = 1, unique_checks = ON"],
    &["SET sql_select_limit = 2", "SELECT id FROM items ORDER BY id"],
    &["SET sql_select_limit = DEFAULT"],
    &["SET max_error_count = 1"],
    &["SET div_precision_increment = 2", "SELECT 1 / 3"],
    &["SET auto_increment_increment = 5, auto_increment_offset = 3"],
    &["SET auto_increment_increment = DEFAULT, auto_increment_offset = DEFAULT"],
    &["SET lc_time_names = 'de_DE', default_week_format = 3"],
    &["SET sql_notes = 0", "DROP TABLE IF EXISTS absent", "SHOW WARNINGS"],
    &["SET sql_notes = 1"],
    &["SET sql_auto_is_null = 1", "SELECT id FROM items WHERE id IS NULL"],
    &["SET timestamp = 86400", "SELECT IF(@@timestamp < 1000000000, NOW(), 'now')"],
    &["SET timestamp = DEFAULT"],
    &["SET insert_id = 4%n", "INSERT INTO items (w) VALUES (%w)", "SELECT LAST_INSERT_ID()"],
    &["SET last_insert_id = %n", "SELECT LAST_INSERT_ID()"],
    &["SET time_zone = '+03:00'"],
    &["SET completion_type = 'CHAIN'"],
    &["SET completion_type = DEFAULT"],
    &["SET no_such_variable = 1"],
    &["SET time_zone = '+02:00', sql_mode = 'NO_SUCH_MODE'", "SELECT @@time_zone"],
    &["SET @a = %n, time_zone = '+01:00', @b = @@time_zone", "SELECT @a, @b, @@time_zone"],
    &["/* a comment */ SET /*!40101 SQL_MODE = 'ALLOW_INVALID_DATES' */ -- end"],
];
const SETTINGS_OF_MARIADB: Moves = &[
    &["SET max_statement_time = 100", "SELECT @@max_statement_time"],
    &["SET STATEMENT sort_buffer_size = 70000 FOR SELECT @@sort_buffer_size > 0"],
    &["SET STATEMENT sort_buffer_size = 70000 FOR SELECT @@sort_buffer_size"],
    &["SET sql_mode = 'ORACLE'", "SELECT 'a' || NULL"],
    &["SET idle_transaction_timeout = 1000", "SELECT @@idle_transaction_timeout"],
    &["SET tx_isolation = 'READ-COMMITTED'"],
    &["SET tx_read_only = 1", "INSERT INTO log (w) VALUES (%w)"],
    &["SET tx_read_only = 0"],
    &["SET column_compression_threshold = 200", "SELECT @@column_compression_threshold"],
    &["SET ROLE NONE", "SELECT CURRENT_ROLE()"],
    &["SET old_mode = ''", "SELECT @@old_mode"],
    &["SET optimizer_switch = 'mrr=on'", "SELECT @@optimizer_switch LIKE '%%mrr=on%%'"],
];
const SETTINGS_OF_MYSQL: Moves = &[
    &["SET max_execution_time = 100000", "SELECT @@max_execution_time"],
    &["SELECT /*+ SET_VAR(time_zone = '+08:00') */ @@time_zone, FROM_UNIXTIME(0)"],
    &["SET transaction_isolation = 'READ-COMMITTED'"],
    &["SET transaction_read_only = 1", "INSERT INTO log (w) VALUES (%w)"],
    &["SET transaction_read_only = 0"],
    &["SET sql_require_primary_key = 1", "CREATE TABLE keyless (a INT)"],
    &["SET sql_require_primary_key = DEFAULT"],
    &[
        "SET cte_max_recursion_depth = 3",
        "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 9) SELECT x FROM c",
    ],
    &["SET information_schema_stats_expiry = 0", "SELECT @@information_schema_stats_expiry"],
    &["SET ROLE NONE", "SELECT CURRENT_ROLE()"],
    &["SET print_identified_with_as_hex = 1", "SELECT @@print_identified_with_as_hex"],
    &["SET optimizer_switch = 'mrr=off'", "SELECT @@optimizer_switch LIKE '%%mrr=off%%'"],
];

const SCHEMAS: Moves = &[
    &["USE %a"],
    &["USE %b"],
    &["USE %b", "SELECT id, w FROM items ORDER BY id"],
    &["USE no_such_schema", "SELECT DATABASE()"],
    &["!use %a"],
    &["!use %b", "INSERT INTO log (w) VALUES (%w)"],
    &["!use no_such_schema", "SELECT DATABASE()"],
    &["INSERT INTO %b.log (w) VALUES (%w)", "SELECT LAST_INSERT_ID()"],
    &["SELECT id, w FROM %a.items UNION ALL SELECT id, w FROM %b.items ORDER BY id, w"],
    &["INSERT INTO %b.items (w) SELECT w FROM %a.items ORDER BY id", "SELECT LAST_INSERT_ID()"],
    &["DROP DATABASE IF EXISTS %b", "SELECT DATABASE()", "CREATE DATABASE IF NOT EXISTS %b"],
];

const VARIABLES: Moves = &[
    &["SET @a = %n"],
    &["SET @b = 1.50"],
    &["SET @c = %w"],
    &["SET @d = x'00ff41'", "SELECT @d, HEX(@d), CHARSET(@d)"],
    &["SET %v = NULL"],
    &["SET @a = @a + 1"],
    &["SET @a := @b, @b := @c"],
    &["SET %v = %n", "SELECT %v"],
    &["SET @e = 1e10", "SELECT @e, @e / 3"],
    &["SET @f = 18446744073709551615", "SELECT @f, @f DIV 2"],
    &["SET @`odd name` = %w", "SELECT @`odd name`, @'odd name', @\"odd name\""],
    &[
        "SET @g = _latin1'x' COLLATE latin1_bin",
        "SELECT CHARSET(@g), COLLATION(@g), COERCIBILITY(@g)",
    ],
    &["SET @h = (SELECT COUNT(*) FROM items)", "SELECT @h"],
    &["SET @k = DATE '2024-01-01', @l = TRUE", "SELECT @k, @l, @k + INTERVAL 1 DAY"],
    &["SET @m = REPEAT('long ', 2000)", "SELECT LENGTH(@m), MD5(@m)"],
    &["SET @n = JSON_OBJECT('k', 1)", "SELECT @n, JSON_EXTRACT(@n, '$.k')"],
    &["SET @o = 'it''s', @p = 'back\\\\slash', @q = 'ünï'", "SELECT @o, @p, @q, LENGTH(@q)"],
    &["SELECT @b := 5", "SELECT @b"],
    &["SELECT @a := @a + 1, @b"],
    &[
        "SELECT @a := IFNULL(@watched, 0) + id FROM items FORCE INDEX (PRIMARY) ORDER BY id",
        "SELECT @a",
    ],
    &["DO @a := 7"],
    &["SELECT MAX(id) INTO @c FROM items", "SELECT @c"],
    &["SELECT n, w FROM items ORDER BY id LIMIT 1 INTO @a, @b", "SELECT @a, @b"],
    &["SELECT id INTO @a FROM items FORCE INDEX (PRIMARY) ORDER BY id", "SELECT @a"],
    &["SELECT id INTO @a FROM items WHERE 0", "SHOW WARNINGS", "SELECT @a"],
    &["INSERT INTO log (w) VALUES (@c)", "SELECT w FROM log ORDER BY id"],
    &["SET @r = 0", "UPDATE items SET small = (@r := @r + 1) ORDER BY id", "SELECT @r"],
    &["SELECT @a, @b, @c, @never_set"],
    &["SELECT * FROM items WHERE n > @a ORDER BY id"],
    &["SET @x = @@sort_buffer_size, @y = @@sql_mode", "SELECT @x, @y"],
];

const TRANSACTIONS: Moves = &[
    &["BEGIN", "INSERT INTO items (w) VALUES (%w)", "COMMIT"],
    &["BEGIN", "UPDATE items SET w = %w WHERE id = 1", "ROLLBACK"],
    &[
        "START TRANSACTION",
        "DELETE FROM items WHERE id = 2",
        "SELECT COUNT(*) FROM items",
        "COMMIT",
    ],
    &[
        "START TRANSACTION READ ONLY",
        "SELECT COUNT(*) FROM items",
        "UPDATE items SET w = %w",
        "COMMIT",
    ],
    &["START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT COUNT(*) FROM log", "ROLLBACK"],
    &["BEGIN WORK"],
    &["COMMIT"],
    &["ROLLBACK"],
    &["COMMIT WORK"],
    &[
        "BEGIN",
        "INSERT INTO log (w) VALUES (%w)",
        "SAVEPOINT s",
        "INSERT INTO log (w) VALUES (%w)",
        "ROLLBACK TO s",
        "COMMIT",
    ],
    &["SAVEPOINT t"],
    &["ROLLBACK TO SAVEPOINT t"],
    &["RELEASE SAVEPOINT s"],
    &["COMMIT AND CHAIN", "INSERT INTO log (w) VALUES (%w)", "ROLLBACK"],
    &["ROLLBACK AND CHAIN"],
    &["SET autocommit = 0"],
    &["SET autocommit = 0", "INSERT INTO items (w) VALUES (%w)", "ROLLBACK"],
    &["SET autocommit = 0", "SELECT COUNT(*) FROM items", "SET autocommit = 1"],
    &["SET @@session.autocommit = ON"],
    &["SET autocommit = DEFAULT"],
    &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT COUNT(*) FROM items", "SELECT 1"],
    &[
        "SET TRANSACTION READ ONLY",
        "INSERT INTO log (w) VALUES (%w)",
        "INSERT INTO log (w) VALUES (%w)",
    ],
    &["SET TRANSACTION READ ONLY", "BEGIN", "INSERT INTO log (w) VALUES (%w)", "COMMIT"],
    &["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"],
    &["SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE"],
    &["SET SESSION TRANSACTION READ ONLY", "UPDATE items SET w = %w WHERE id = 1"],
    &["BEGIN", "SELECT id FROM items ORDER BY id FOR UPDATE", "ROLLBACK"],
    // What commits by itself.
    &[
        "BEGIN",
        "INSERT INTO log (w) VALUES (%w)",
        "CREATE TABLE IF NOT EXISTS extra (a INT PRIMARY KEY)",
        "ROLLBACK",
    ],
    &["BEGIN", "INSERT INTO items (id) VALUES (1)", "INSERT INTO log (w) VALUES (%w)", "COMMIT"],
];

const DIAGNOSTICS: Moves = &[
    &["SELECT CAST('abc' AS SIGNED), 1 / 0", "SHOW WARNINGS"],
    &[
        "SELECT CAST('1x' AS SIGNED) + CAST('2x' AS SIGNED)",
        "SELECT @@warning_count",
        "SHOW WARNINGS",
    ],
    &["SELECT CAST('abc' AS SIGNED)", "SHOW WARNINGS LIMIT 1", "SHOW WARNINGS LIMIT 1, 1"],
    &["SELECT * FROM absent", "SHOW ERRORS", "SELECT @@error_count"],
    &["nonsense", "SHOW WARNINGS"],
    &[""],
    &[
        "INSERT INTO items (id) VALUES (1)",
        "GET DIAGNOSTICS CONDITION 1 @d1 = RETURNED_SQLSTATE, @d2 = MESSAGE_TEXT, @d3 = MYSQL_ERRNO",
        "SELECT @d1, @d2, @d3",
    ],
    &["DROP TABLE IF EXISTS absent, absent_too", "GET DIAGNOSTICS @d4 = NUMBER", "SELECT @d4"],
    &["SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own', MYSQL_ERRNO = 5555", "SHOW ERRORS"],
    &["SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'a warning'", "SHOW WARNINGS"],
    &["SELECT SQL_CALC_FOUND_ROWS id FROM items ORDER BY id LIMIT 1", "SELECT FOUND_ROWS()"],
    &["SELECT id FROM items ORDER BY id LIMIT 2", "SELECT FOUND_ROWS()", "SELECT FOUND_ROWS()"],
    &["CREATE TABLE IF NOT EXISTS items (a INT)", "SHOW WARNINGS"],
    &["SELECT (SELECT id FROM items)", "SELECT ROW_COUNT()"],
    &["INSERT INTO items (n) VALUES (1), (2)", "SELECT ROW_COUNT(), @@error_count"],
    &["DO 1", "SELECT ROW_COUNT(), FOUND_ROWS()"],
    &["SET @a = %n", "SELECT ROW_COUNT(), FOUND_ROWS()"],
    &["SHOW COUNT(*) ERRORS"],
];

const TEMPORARY: Moves = &[
    &["CREATE TEMPORARY TABLE tmp (a INT AUTO_INCREMENT PRIMARY KEY, w VARCHAR(20))"],
    &["CREATE TEMPORARY TABLE IF NOT EXISTS tmp SELECT 1 AS a, 'x' AS w"],
    &["INSERT INTO tmp (w) VALUES (%w)", "SELECT LAST_INSERT_ID()"],
    &["SELECT * FROM tmp ORDER BY a, w"],
    &["UPDATE tmp SET w = %w", "SELECT ROW_COUNT()"],
    &["DROP TEMPORARY TABLE IF EXISTS tmp"],
    &["DROP TEMPORARY TABLE tmp"],
    &["DROP TABLE tmp"],
    &["TRUNCATE TABLE tmp"],
    &["ALTER TABLE tmp ADD COLUMN x INT DEFAULT 3"],
    // It hides the other one.
    &["CREATE TEMPORARY TABLE items (id INT PRIMARY KEY, n INT, w VARCHAR(9), small INT)"],
    &["DROP TEMPORARY TABLE items"],
    &[
        "CREATE TEMPORARY TABLE %b.tmp (a INT)",
        "INSERT INTO %b.tmp VALUES (%n)",
        "SELECT a FROM %b.tmp",
    ],
    &["CREATE TEMPORARY TABLE one (a INT)", "DROP TEMPORARY TABLE one"],
    &["CREATE TEMPORARY TABLE failing (a INT, a INT)"],
];

const LOCKS: Moves = &[
    &["SELECT GET_LOCK('%a', 0)"],
    &["SELECT GET_LOCK('%a', 0)", "SELECT RELEASE_LOCK('%a')"],
    &["SELECT RELEASE_LOCK('%a')"],
    &["SELECT IS_USED_LOCK('%a') = CONNECTION_ID(), IS_FREE_LOCK('%a'), IS_FREE_LOCK('%b')"],
    &["DO GET_LOCK('%b', 0)", "DO RELEASE_LOCK('%b')"],
    &["SELECT GET_LOCK('%a', 0), GET_LOCK('%b', 0)", "SELECT RELEASE_ALL_LOCKS()"],
    &["SELECT RELEASE_ALL_LOCKS()"],
    &["SET @held = GET_LOCK('%a', 0)", "SELECT @held"],
    &["CALL %a.named()"],
];

const TABLE_LOCKS: Moves = &[
    &["LOCK TABLES items WRITE", "INSERT INTO items (w) VALUES (%w)", "UNLOCK TABLES"],
    &[
        "LOCK TABLES items READ",
        "INSERT INTO items (w) VALUES (%w)",
        "SELECT COUNT(*) FROM log",
        "UNLOCK TABLES",
    ],
    &["LOCK TABLES items READ LOCAL, log WRITE"],
    &["LOCK TABLES absent READ"],
    &["UNLOCK TABLES"],
    &["LOCK TABLES items WRITE", "BEGIN", "SELECT COUNT(*) FROM log", "COMMIT"],
];

const HANDLERS: Moves = &[
    &["HANDLER items OPEN", "HANDLER items READ FIRST", "HANDLER items CLOSE"],
    &["HANDLER items OPEN AS h", "HANDLER h READ `PRIMARY` FIRST"],
    &["HANDLER h READ `PRIMARY` NEXT"],
    &["HANDLER h READ `PRIMARY` = (2)"],
    &["HANDLER h READ `PRIMARY` NEXT LIMIT 2"],
    &["HANDLER h CLOSE"],
    &[
        "HANDLER log OPEN",
        "INSERT INTO log (w) VALUES (%w)",
        "HANDLER log READ NEXT",
        "HANDLER log CLOSE",
    ],
];

const SQL_PREPARED: Moves = &[
    &["PREPARE p FROM 'SELECT ? + 1, @a, DATABASE()'", "EXECUTE p USING @a"],
    &["EXECUTE p USING @a"],
    &["EXECUTE p"],
    &["DEALLOCATE PREPARE p"],
    &["DROP PREPARE p"],
    &[
        "PREPARE q FROM 'INSERT INTO items (n, w) VALUES (?, ?)'",
        "SET @x = %n, @y = %w",
        "EXECUTE q USING @x, @y",
        "SELECT LAST_INSERT_ID()",
    ],
    &["EXECUTE q USING @a, @c", "SELECT ROW_COUNT()"],
    &[
        "SET @text = 'SELECT * FROM items ORDER BY id'",
        "PREPARE p FROM @text",
        "EXECUTE p",
        "DEALLOCATE PREPARE p",
    ],
    &["PREPARE p FROM 'SET time_zone = \\'+06:00\\''", "EXECUTE p", "SELECT @@time_zone"],
    &["PREPARE p FROM 'nonsense'", "EXECUTE p"],
    &["PREPARE p FROM 'CREATE TEMPORARY TABLE by_p (a INT)'", "EXECUTE p", "SELECT * FROM by_p"],
];

const CALLS: Moves = &[
    &["CALL %a.two()"],
    &["CALL two()"],
    &["CALL %a.put(%w)", "SELECT LAST_INSERT_ID(), ROW_COUNT()"],
    &["CALL put(@c)"],
    &["CALL %a.sets(%n)", "SELECT @set, @@sort_buffer_size, @@time_zone"],
    &["CALL makes()", "SELECT * FROM made", "DROP TEMPORARY TABLE made"],
    &["CALL %a.gives(%n, @b)", "SELECT @b"],
    &["CALL fails()", "SHOW ERRORS"],
    &["CALL begins()", "SELECT COUNT(*) FROM log", "ROLLBACK"],
    &["CALL prepares()", "EXECUTE left_over", "DEALLOCATE PREPARE left_over"],
    &["CALL no_such_procedure()"],
    &["SELECT %a.noisy(%n)", "SELECT @noise, LAST_INSERT_ID()"],
    &["SELECT id, noisy(id) FROM items FORCE INDEX (PRIMARY) ORDER BY id LIMIT 2", "SELECT @noise"],
    &["SET @z = noisy(5)", "SELECT @z, @noise"],
];

const MULTI: Moves = &[
    &["SELECT 1; INSERT INTO log (w) VALUES (%w); SELECT LAST_INSERT_ID()"],
    &["SET @a = %n; SELECT @a; USE %b; SELECT DATABASE()"],
    &["BEGIN; UPDATE items SET w = %w WHERE id = 1; COMMIT"],
    &["BEGIN; INSERT INTO log (w) VALUES (%w)", "ROLLBACK"],
    &["SELECT 1; nonsense; SET @a = 99", "SELECT @a"],
    &["SELECT 1; SELECT * FROM absent; SET @a = 98", "SELECT @a"],
    &["SET time_zone = '+07:00'; SELECT @@time_zone; SET time_zone = DEFAULT"],
    &["SET sql_mode = ''; SET NAMES latin1", "SELECT @@sql_mode, @@character_set_client"],
    &["INSERT INTO items (id) VALUES (2); SELECT 1", "SHOW WARNINGS"],
    &["SELECT CAST('q' AS SIGNED); SHOW WARNINGS", "SHOW WARNINGS"],
    &["SELECT SQL_CALC_FOUND_ROWS id FROM items ORDER BY id LIMIT 1; SELECT FOUND_ROWS()"],
    &["INSERT INTO log (w) VALUES (%w); SELECT 5", "SELECT LAST_INSERT_ID(), ROW_COUNT()"],
    &["SELECT @b := 5; SELECT @b; DO GET_LOCK('%a', 0); SELECT RELEASE_LOCK('%a')"],
    &["CREATE TEMPORARY TABLE brief (a INT); DROP TEMPORARY TABLE brief"],
    &["SELECT 1;"],
    &["SELECT ';'; SELECT 1 -- ; SELECT 2"],
    &["CALL %a.two(); SELECT 3"],
];

const DDL: Moves = &[
    &["ALTER TABLE items ADD COLUMN c%n INT DEFAULT %n", "SELECT * FROM items ORDER BY id"],
    &["ALTER TABLE items DROP COLUMN c%n"],
    &["ALTER TABLE items MODIFY w VARCHAR(30)"],
    &["ALTER TABLE items AUTO_INCREMENT = 5%n"],
    &["CREATE TABLE extra%n (a INT AUTO_INCREMENT PRIMARY KEY, w VARCHAR(9))"],
    &["DROP TABLE IF EXISTS extra%n"],
    &["CREATE TABLE copied%n AS SELECT * FROM items ORDER BY id", "SELECT ROW_COUNT()"],
    &["TRUNCATE TABLE log", "INSERT INTO log (w) VALUES (%w)", "SELECT LAST_INSERT_ID()"],
    &["CREATE OR REPLACE VIEW seen AS SELECT id, w FROM items", "SELECT * FROM seen ORDER BY id"],
    &[
        "RENAME TABLE watched TO renamed",
        "INSERT INTO watched (n) VALUES (1)",
        "RENAME TABLE renamed TO watched",
    ],
    &["SHOW CREATE TABLE items"],
    &["DESCRIBE items"],
];

const COMMANDS: Moves =
    &[&["!ping"], &["!multi off", "SELECT 1; SELECT 2", "!multi on"], &["!multi on"]];

const ODD_OF_MARIADB: Moves = &[
    &[
        "INSERT INTO items (w) VALUES (%w), (%w) RETURNING id, w",
        "SELECT LAST_INSERT_ID(), ROW_COUNT()",
    ],
    &["DELETE FROM items WHERE id = %n RETURNING id"],
    &["BEGIN NOT ATOMIC SET @a = %n; SELECT @a; SET time_zone = '+10:00'; END", "SELECT @a"],
    &["EXECUTE IMMEDIATE 'SET @a = 9'", "SELECT @a"],
    &["EXECUTE IMMEDIATE 'SELECT ? + 1' USING @a"],
    &["SELECT NEXTVAL(%a.numbered)", "SELECT LASTVAL(%a.numbered)"],
    &["SELECT LASTVAL(%a.numbered)"],
    &["CREATE OR REPLACE TEMPORARY TABLE replaced (a INT)", "DROP TEMPORARY TABLE replaced"],
    &["SELECT GET_LOCK('%a', 0); SELECT RELEASE_LOCK('%a')"],
];
const ODD_OF_MYSQL: Moves = &[
    &["TABLE items ORDER BY id LIMIT 2"],
    &["VALUES ROW(1, 'x'), ROW(2, 'y')"],
    &["INSERT INTO items (w) VALUES (%w) AS new ON DUPLICATE KEY UPDATE w = new.w"],
    &["SELECT STATEMENT_DIGEST_TEXT('SELECT 1')"],
    &["SELECT id FROM items ORDER BY id LIMIT 1 FOR SHARE SKIP LOCKED"],
    &["GET STACKED DIAGNOSTICS @d4 = NUMBER"],
    &["SET @a = %n, SESSION sort_buffer_size = 65536, @@local.time_zone = '+03:00'"],
];

const ATOMIC: Moves = &[
    &["SET rand_seed1 = %n, rand_seed2 = 77", "SELECT RAND()", "SELECT RAND()"],
    &[
        "XA START '%a'",
        "INSERT INTO log (w) VALUES (%w)",
        "XA END '%a'",
        "XA COMMIT '%a' ONE PHASE",
    ],
    &["XA START '%a'", "INSERT INTO log (w) VALUES (%w)", "XA END '%a'", "XA ROLLBACK '%a'"],
    &["SET @id = CONNECTION_ID()", "SELECT 1", "SELECT @id = CONNECTION_ID()"],
];

/// What FOUND_ROWS() is behind those is not for this test to say.
const RESETS: Moves = &[
    &["!reset", "SELECT @a, @@time_zone, @@sql_mode, DATABASE(), LAST_INSERT_ID(), ROW_COUNT()"],
    &["!user %b", "SELECT @a, @@time_zone, @@sql_mode, DATABASE(), @@collation_connection"],
    &["!user", "SELECT @a, DATABASE(), @@character_set_client, @@wait_timeout", "!use %a"],
];

/// Statements to prepare, and how many parameters they have.
pub(super) const PREPARED: &[(&str, usize)] = &[
    ("SELECT * FROM items ORDER BY id", 0),
    ("SELECT id, n, w FROM items WHERE n >= ? ORDER BY id", 1),
    ("INSERT INTO items (n, w) VALUES (?, ?)", 2),
    ("INSERT INTO log (w) VALUES (?)", 1),
    ("UPDATE items SET w = ? WHERE id = ?", 2),
    ("DELETE FROM items WHERE n = ?", 1),
    ("SELECT LAST_INSERT_ID()", 0),
    ("SELECT LAST_INSERT_ID(), ROW_COUNT(), FOUND_ROWS()", 0),
    ("SELECT DATABASE(), @a, @@time_zone", 0),
    ("SELECT ?, ?, ?", 3),
    ("SELECT @a := ?", 1),
    ("SET @b = ?", 1),
    ("SET time_zone = '+11:00'", 0),
    ("SET sort_buffer_size = ?", 1),
    ("DO ?", 1),
    ("SELECT * FROM tmp ORDER BY 1, 2", 0),
    ("INSERT INTO tmp (w) VALUES (?)", 1),
    ("CREATE TEMPORARY TABLE tmp (a INT AUTO_INCREMENT PRIMARY KEY, w VARCHAR(20))", 0),
    ("CALL put(?)", 1),
    ("CALL two()", 0),
    ("SELECT GET_LOCK('%a', 0)", 0),
    ("SELECT RELEASE_LOCK('%a')", 0),
    ("COMMIT", 0),
    ("ROLLBACK", 0),
    ("SELECT w FROM %b.items WHERE id > ? ORDER BY id", 1),
    ("ALTER TABLE items ADD COLUMN p%n INT", 0),
    ("SELECT seq, 1 / ? FROM numbers.n WHERE seq <= 12", 1),
    ("SHOW WARNINGS", 0),
    ("SELECT * FROM absent", 0),
    ("nonsense", 0),
];
