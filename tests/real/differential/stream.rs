//! What is asked.
//!
//! Purpose: every command, every kind of reply, by hand; and then a few hundred by chance.
//! Never: ask for what differs between two runs: times, ids of connections, positions.

use weir::wire::{Capabilities, Command, put_lenenc_bytes};
use weir_tests::Flavour;

use super::dialogue::{Asked, Step};
use super::random;

/// Builds commands in a dialect.
pub(super) struct Words {
    capabilities: Capabilities,
    pub(super) steps: Vec<Step>,
    /// Statements prepared so far.
    prepared: usize,
}

/// A parameter of a prepared statement.
#[derive(Clone, Copy)]
pub(super) enum Param<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    /// Sent before, in pieces.
    Long,
}

impl Words {
    pub(super) const fn new(capabilities: Capabilities) -> Self {
        Self { capabilities, steps: Vec::new(), prepared: 0 }
    }

    /// COM_QUERY, with room for attributes where they were negotiated.
    pub(super) fn query(&self, sql: &str) -> Asked {
        let mut payload = vec![Command::Query.as_byte()];
        if self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
            payload.extend([0, 1]);
        }
        payload.extend_from_slice(sql.as_bytes());
        Asked { payload, statement: None }
    }

    pub(super) fn command(&self, command: Command, rest: &[u8]) -> Asked {
        Asked { payload: [&[command.as_byte()], rest].concat(), statement: None }
    }

    /// A command about a statement: `rest` follows its id.
    pub(super) fn of_statement(&self, command: Command, ordinal: usize, rest: &[u8]) -> Asked {
        let payload = [&[command.as_byte(), 0, 0, 0, 0], rest].concat();
        Asked { payload, statement: Some(ordinal) }
    }

    /// COM_STMT_EXECUTE.
    pub(super) fn execute(&self, ordinal: usize, cursor: bool, params: &[Param<'_>]) -> Asked {
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        // Bit 3 says that the count of parameters follows, as it does with attributes.
        let mut rest = vec![u8::from(cursor) | u8::from(attributes) << 3, 1, 0, 0, 0];
        if attributes {
            rest.push(u8::try_from(params.len()).unwrap());
        }
        if !params.is_empty() {
            let mut nulls = vec![0_u8; params.len().div_ceil(8)];
            for (at, _) in params.iter().enumerate().filter(|(_, p)| matches!(p, Param::Null)) {
                *nulls.get_mut(at / 8).unwrap() |= 1 << (at % 8);
            }
            rest.extend(nulls);
            rest.push(1);
            for param in params {
                rest.extend(match param {
                    Param::Null => [0x06, 0],
                    Param::Int(_) => [0x08, 0],
                    Param::Text(_) => [0xFD, 0],
                    Param::Long => [0xFC, 0],
                });
                if attributes {
                    rest.push(0);
                }
            }
            for param in params {
                match param {
                    Param::Null | Param::Long => {}
                    Param::Int(value) => rest.extend(value.to_le_bytes()),
                    Param::Text(text) => {
                        let mut out = bytes::BytesMut::new();
                        put_lenenc_bytes(&mut out, text.as_bytes());
                        rest.extend_from_slice(&out);
                    }
                }
            }
        }
        self.of_statement(Command::StmtExecute, ordinal, &rest)
    }

    /// Adds a step of one command.
    pub(super) fn say(&mut self, what: impl Into<String>, asked: Asked) {
        self.together(what, vec![asked]);
    }

    /// Adds commands that are sent without waiting for a reply.
    pub(super) fn together(&mut self, what: impl Into<String>, commands: Vec<Asked>) {
        self.steps.push(Step { what: what.into(), commands });
    }

    pub(super) fn sql(&mut self, sql: &str) {
        let what: String = sql.chars().take(120).collect();
        self.say(what, self.query(sql));
    }

    /// Prepares a statement that the server takes; its ordinal.
    pub(super) fn prepare(&mut self, sql: &str) -> usize {
        self.say(format!("PREPARE {sql}"), self.command(Command::StmtPrepare, sql.as_bytes()));
        self.prepared += 1;
        self.prepared - 1
    }
}

/// Everything but large packets.
pub(super) fn all(database: &str, capabilities: Capabilities, flavour: Flavour) -> Vec<Step> {
    let mut words = Words::new(capabilities);
    begin(&mut words, database, flavour);
    text(&mut words, database, flavour);
    commands(&mut words, database, flavour);
    prepared(&mut words);
    cursors(&mut words);
    pipelined(&mut words);
    random::statements(&mut words);
    words.steps
}

/// Every kind of command and reply once.
pub(super) fn short(database: &str, capabilities: Capabilities, flavour: Flavour) -> Vec<Step> {
    let mut words = Words::new(capabilities);
    begin(&mut words, database, flavour);
    for sql in SHORT {
        words.sql(sql);
    }
    prepared(&mut words);
    cursors(&mut words);
    pipelined(&mut words);
    words.steps
}

/// Packets around and above 16 MiB.
pub(super) fn large(database: &str, capabilities: Capabilities, flavour: Flavour) -> Vec<Step> {
    let mut words = Words::new(capabilities);
    begin(&mut words, database, flavour);
    for length in [16_777_209, 16_777_210, 16_777_211, 16_777_212, 33_554_425, 33_554_426] {
        words.sql(&format!("SELECT REPEAT('x', {length}), 1"));
    }
    words.sql(&format!("SELECT LENGTH('{}')", "s".repeat(17 << 20)));
    // The statement's packet is exactly as long as one can be, so an empty one follows.
    let head = words.query("SELECT LENGTH('')").payload.len();
    words.sql(&format!("SELECT LENGTH('{}')", "s".repeat(0xFF_FFFF - head)));
    words.sql("CREATE TABLE big (id INT PRIMARY KEY, b LONGBLOB)");
    let insert = words.prepare("INSERT INTO big VALUES (?, ?)");
    let mut piece = vec![0xA5; 17 << 20];
    piece.splice(..2, [1, 0]);
    for _ in 0..2 {
        let asked = words.of_statement(Command::StmtSendLongData, insert, &piece);
        words.say("a long piece", asked);
    }
    words.say("insert it", words.execute(insert, false, &[Param::Int(1), Param::Long]));
    let select = words.prepare("SELECT b, id FROM big WHERE id = ?");
    words.say("read it", words.execute(select, false, &[Param::Int(1)]));
    words.steps
}

/// One packet above 16 MiB each way, of bytes that cannot be made fewer.
pub(super) fn larger(database: &str, capabilities: Capabilities, flavour: Flavour) -> Vec<Step> {
    let mut words = Words::new(capabilities);
    begin(&mut words, database, flavour);
    words.sql("CREATE TABLE big (id INT PRIMARY KEY, b LONGTEXT)");
    let noise = noise(17 << 20);
    words.sql(&format!("INSERT INTO big VALUES (1, '{noise}')"));
    words.sql("SELECT b, id FROM big");
    let select = words.prepare("SELECT REPEAT('x', 16777300), b FROM big WHERE id = ?");
    words.say("both", words.execute(select, false, &[Param::Int(1)]));
    words.steps
}

/// Letters and digits by chance, the same ones in every run.
fn noise(length: usize) -> String {
    let mut state = 0x5eed_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state >> 32 & 0x3F).unwrap())
    };
    // Not the two that mean something inside of quotes.
    (0..length).map(letter).map(|c| if c == '\\' { 'x' } else { c }).collect()
}

/// The same session on either way.
fn begin(words: &mut Words, database: &str, flavour: Flavour) {
    words.say("the database", words.command(Command::InitDb, database.as_bytes()));
    settings(words, flavour);
    words.sql("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, s VARCHAR(100), b BLOB)");
    words
        .sql("INSERT INTO t (a, s, b) VALUES (1, 'one', x'00ff'), (2, 'zwölf', NULL), (3, '', '')");
}

fn text(words: &mut Words, database: &str, flavour: Flavour) {
    for sql in QUERIES {
        words.sql(sql);
    }
    // Its name is the server's, not the session's.
    for verb in ["START", "END", "ROLLBACK"] {
        words.sql(&format!("XA {verb} '{database}'"));
    }
    if flavour == Flavour::MariaDb {
        words.sql("BEGIN NOT ATOMIC SELECT 1; SELECT 2; END");
        words.sql("INSERT INTO t (a) VALUES (12), (13) RETURNING id, a");
    } else {
        words.sql("TABLE t ORDER BY id LIMIT 1");
        words.sql("SET resultset_metadata = NONE");
        words.sql("SELECT id, a FROM t ORDER BY id");
        words.sql("SET resultset_metadata = FULL");
    }
}

/// Commands other than queries and those of prepared statements.
fn commands(words: &mut Words, database: &str, flavour: Flavour) {
    words.say("ping", words.command(Command::Ping, b""));
    words.say("statistics", words.command(Command::Statistics, b""));
    words.say("debug", words.command(Command::Debug, b""));
    for (what, rest) in
        [("all of t", &b"t\0"[..]), ("some of t", b"t\0%s%"), ("of nothing", b"absent\0")]
    {
        words.say(format!("field list, {what}"), words.command(Command::FieldList, rest));
    }
    words.say("no database", words.command(Command::InitDb, b"no_such_database"));
    words.say("the database again", words.command(Command::InitDb, database.as_bytes()));
    words.say("no multi-statements", words.command(Command::SetOption, &[1, 0]));
    words.sql("SELECT 1; SELECT 2");
    words.say("multi-statements", words.command(Command::SetOption, &[0, 0]));
    words.sql("SELECT 1; SELECT 2");
    words.say("an unknown option", words.command(Command::SetOption, &[9, 0]));
    words.sql("SET @kept = 5, autocommit = 0");
    words.say("reset", words.command(Command::ResetConnection, b""));
    words.sql("SELECT @kept, @@autocommit, DATABASE()");
    settings(words, flavour);
}

/// Trackers of what is the same in every run: positions are not.
fn settings(words: &mut Words, flavour: Flavour) {
    words.sql("SET session_track_system_variables = 'autocommit,time_zone,sql_mode'");
    if flavour == Flavour::MySql {
        words.sql("SET session_track_gtids = OFF");
    }
    words.sql("SET NAMES utf8mb4");
}

fn prepared(words: &mut Words) {
    let none = words.prepare("SELECT * FROM t ORDER BY id");
    let one = words.prepare("SELECT id, a, s, b FROM t WHERE a > ? ORDER BY id");
    let insert = words.prepare("INSERT INTO t (a, s, b) VALUES (?, ?, ?)");
    let call = words.prepare("CALL p(?, ?)");
    let ddl = words.prepare("CREATE TABLE IF NOT EXISTS made (a INT)");
    for _ in 0..2 {
        words.say("no parameters", words.execute(none, false, &[]));
        words.say("one parameter", words.execute(one, false, &[Param::Int(2)]));
        words.say("a null", words.execute(one, false, &[Param::Null]));
        words.say("a text", words.execute(one, false, &[Param::Text("3")]));
        let values = [Param::Int(-5), Param::Text("prepared ö"), Param::Null];
        words.say("insert", words.execute(insert, false, &values));
        words.say("call", words.execute(call, false, &[Param::Int(3), Param::Null]));
        words.say("ddl", words.execute(ddl, false, &[]));
    }
    for piece in [&b"first, "[..], b"", b"second"] {
        let rest = [&[2, 0], piece].concat();
        words.say("long data", words.of_statement(Command::StmtSendLongData, insert, &rest));
    }
    let values = [Param::Int(6), Param::Text("long"), Param::Long];
    words.say("insert long data", words.execute(insert, false, &values));
    words.say("reset", words.of_statement(Command::StmtReset, insert, b""));
    words.say("close", words.of_statement(Command::StmtClose, ddl, b""));
    words.say("execute what is closed", words.execute(ddl, false, &[]));
    words.say("reset what is closed", words.of_statement(Command::StmtReset, ddl, b""));
    for sql in ["SELECT * FROM absent", "nonsense", ""] {
        words.say(format!("PREPARE {sql}"), words.command(Command::StmtPrepare, sql.as_bytes()));
    }
    // The statement's columns change under it.
    words.sql("ALTER TABLE t ADD COLUMN extra INT DEFAULT 4");
    words.say("after DDL", words.execute(none, false, &[]));
    words.sql("ALTER TABLE t DROP COLUMN extra");
    words.say("after DDL back", words.execute(none, false, &[]));
    words.sql("SELECT * FROM t ORDER BY id");
}

fn cursors(words: &mut Words) {
    let select = words.prepare("SELECT seq, REPEAT('c', seq) FROM numbers.n WHERE seq <= ?");
    let fetch = |words: &Words, rows: u32| {
        words.of_statement(Command::StmtFetch, select, &rows.to_le_bytes())
    };
    words.say("open a cursor", words.execute(select, true, &[Param::Int(25)]));
    for rows in [1, 10, 0, 10, 10] {
        words.say(format!("fetch {rows}"), fetch(words, rows));
    }
    words.say("fetch behind the end", fetch(words, 1));
    words.say("open it again", words.execute(select, true, &[Param::Int(5)]));
    words.say("a query beside it", words.query("SELECT 'beside'"));
    words.say("fetch", fetch(words, 2));
    words.say("close the cursor", words.of_statement(Command::StmtReset, select, b""));
    words.say("fetch what is closed", fetch(words, 2));
    words.say("open an empty one", words.execute(select, true, &[Param::Int(0)]));
    words.say("fetch nothing", fetch(words, 2));
    words.say("close", words.of_statement(Command::StmtClose, select, b""));
}

fn pipelined(words: &mut Words) {
    let insert = words.prepare("INSERT INTO t (a) VALUES (?)");
    words.together(
        "many at once",
        vec![
            words.query("SELECT 1; SELECT 2"),
            words.command(Command::Ping, b""),
            words.query("SELECT seq FROM numbers.n WHERE seq <= 3000"),
            words.execute(insert, false, &[Param::Int(1)]),
            words.query("nonsense"),
            words.of_statement(Command::StmtSendLongData, insert, b"\0\x0055"),
            words.execute(insert, false, &[Param::Long]),
            words.of_statement(Command::StmtClose, insert, b""),
            words.command(Command::StmtPrepare, b"SELECT * FROM absent"),
            words.command(Command::FieldList, b"t\0"),
            words.command(Command::SetOption, &[0, 0]),
            words.query("SELECT a FROM t ORDER BY id"),
        ],
    );
    let pings = (0..200).map(|_| words.command(Command::Ping, b"")).collect();
    words.together("200 pings", pings);
}

/// One of each kind, of those below.
const SHORT: &[&str] = &[
    "SELECT * FROM t ORDER BY id",
    "SELECT REPEAT('a', 250), REPEAT('b', 251), REPEAT('c', 65535), REPEAT('d', 65536)",
    "SELECT seq FROM numbers.n WHERE seq <= 5000",
    "UPDATE t SET a = a + 1 WHERE id < 3",
    "nonsense",
    "SELECT seq FROM numbers.n WHERE 1 = IF(seq < 3, 1, (SELECT id FROM t))",
    "SELECT 1; DO 1; SELECT 2, 3; SET @a = 5; SELECT @a; INSERT INTO t (a) VALUES (9)",
    "SELECT 1; SELECT * FROM absent; SELECT 3",
    "CREATE PROCEDURE p(IN n INT, OUT m INT) BEGIN SELECT n; SELECT id FROM t; SET m = n * 2; END",
    "CALL p(21, @m); SELECT @m; CALL p(1, @m)",
    "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, s)",
    "SELECT 1; LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, s); SELECT COUNT(*) FROM t",
    "SELECT * FROM t ORDER BY id",
];

/// Queries whose replies have something of their own.
const QUERIES: &[&str] = &[
    "SELECT * FROM t ORDER BY id",
    "SELECT * FROM t WHERE 0",
    "SELECT NULL, '', 0, -1, 1.5, 1e10, 'x', x'00', DATE '2024-02-29', TIME '10:11:12'",
    "SELECT REPEAT('a', 250), REPEAT('b', 251), REPEAT('c', 65535), REPEAT('d', 65536)",
    "SELECT seq FROM numbers.n WHERE seq <= 5000",
    "UPDATE t SET a = a + 1 WHERE id < 3",
    "UPDATE t SET a = a",
    "INSERT INTO t (a) VALUES (7), (8)",
    "SELECT LAST_INSERT_ID(), ROW_COUNT(), FOUND_ROWS()",
    "DELETE FROM t WHERE a = 8",
    "INSERT IGNORE INTO t (id, a) VALUES (1, 99999999999)",
    "SHOW WARNINGS",
    "SELECT @@warning_count, @@error_count",
    "SELECT 1/0, CAST('x' AS SIGNED)",
    "SHOW WARNINGS",
    // Errors at every stage of a statement.
    "nonsense",
    "",
    "   ",
    ";",
    "SELECT * FROM absent",
    "INSERT INTO t (id) VALUES (1)",
    "SELECT (SELECT id FROM t)",
    "SELECT seq FROM numbers.n WHERE 1 = IF(seq < 3, 1, (SELECT id FROM t))",
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own', MYSQL_ERRNO = 5555",
    // Several statements and results.
    "SELECT 1; DO 1; SELECT 2, 3; SET @a = 5; SELECT @a; INSERT INTO t (a) VALUES (9)",
    "SELECT 1; SELECT * FROM absent; SELECT 3",
    "INSERT INTO t (a) VALUES (10); nonsense; SELECT 4",
    "CREATE PROCEDURE p(IN n INT, OUT m INT) BEGIN SELECT n; SELECT id FROM t; SET m = n * 2; END",
    "CALL p(21, @m); SELECT @m; CALL p(1, @m)",
    "CREATE PROCEDURE f() BEGIN SELECT 1; SELECT * FROM absent; END",
    "CALL f()",
    "CREATE FUNCTION w(n INT) RETURNS INT DETERMINISTIC BEGIN INSERT INTO t (a) VALUES (n); RETURN n; END",
    "SELECT w(77)",
    "SELECT w(seq) FROM numbers.n WHERE seq <= 3",
    // State of the session and of transactions.
    "SET autocommit = 0",
    "SELECT COUNT(*) FROM t",
    "INSERT INTO t (a) VALUES (11)",
    "ROLLBACK",
    "SET autocommit = 1, time_zone = '+05:00', sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = DEFAULT",
    "BEGIN",
    "SELECT * FROM t WHERE id = 1 FOR UPDATE",
    "SAVEPOINT s1",
    "UPDATE t SET s = 'changed' WHERE id = 1",
    "ROLLBACK TO s1",
    "COMMIT AND CHAIN",
    "COMMIT",
    "START TRANSACTION READ ONLY",
    "UPDATE t SET a = 1",
    "SELECT * FROM t ORDER BY id LIMIT 2",
    "COMMIT",
    "LOCK TABLES t WRITE",
    "UNLOCK TABLES",
    "CREATE TEMPORARY TABLE tmp SELECT 1 AS one",
    "SELECT * FROM tmp",
    "DROP TEMPORARY TABLE tmp",
    "PREPARE s FROM 'SELECT ? + 1'",
    "SET @x = 41",
    "EXECUTE s USING @x",
    "DEALLOCATE PREPARE s",
    // Answers of other shapes.
    "EXPLAIN SELECT * FROM t WHERE id = 1",
    "SHOW CREATE TABLE t",
    "SHOW COLUMNS FROM t",
    "DESCRIBE absent",
    "CHECK TABLE t",
    "CHECKSUM TABLE t",
    "SHOW VARIABLES LIKE 'autocommit'",
    "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, s)",
    "LOAD DATA LOCAL INFILE 'any' INTO TABLE absent",
    "SELECT 1; LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, s); SELECT COUNT(*) FROM t",
    "SELECT * FROM t ORDER BY id",
    "USE no_such_database",
];
