//! Classes: every statement of the data file, the glance, the naive twin and a full parse.

use std::ops::ControlFlow;

use proptest::prelude::*;
use sqlparser::ast::{Expr, Query, Select, Statement, Visit, Visitor};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::plain;
use crate::base::Consistency;
use crate::sql::{
    Charset, Class, Classified, DoubleQuotes, Hints, LexMode, Marks, Nodes, Reason, Role, Server,
    classify, classify_fully,
};

const MYSQL: Server = Server::MySql(90_704);
const MARIA: Server = Server::MariaDb(101_119);

/// A statement of the data file, what is expected of it, and who reads it.
struct Case {
    head: String,
    text: String,
    servers: Vec<Server>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (mut head, mut servers) = (String::new(), Vec::new());
    for line in include_str!("../../../testdata/statements.txt").lines() {
        if line.is_empty() || line == "#" || line.starts_with("# ") {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let mut words = section.split(' ');
            head = [words.next().unwrap(), words.next().unwrap()].join(" ");
            servers = match words.next() {
                None => vec![MYSQL, MARIA],
                Some("mysql") => vec![MYSQL],
                Some("mariadb") => vec![MARIA],
                Some(other) => panic!("no server {other}"),
            };
            continue;
        }
        let text = line.replace('⏎', "\n");
        cases.push(Case { head: head.clone(), text, servers: servers.clone() });
    }
    cases
}

fn judged(text: &str, server: Server) -> Classified<'_> {
    classify_fully(text.as_bytes(), LexMode::usual(server))
}

#[test]
fn every_statement_of_the_file_has_its_class_and_reason() {
    let cases = cases();
    assert!(cases.len() > 1_400, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        for server in &case.servers {
            let found = judged(&case.text, *server);
            let shown = format!("{} {}", found.class.name(), found.reason);
            if shown != case.head {
                wrong.push(format!("{server:?}: {} is {shown}, not {}", case.text, case.head));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_class_and_reason_is_in_the_file() {
    let cases = cases();
    for reason in Reason::ALL {
        let suffix = format!(" {reason}");
        assert!(cases.iter().any(|case| case.head.ends_with(&suffix)), "{reason}");
    }
}

/// The glance decides as the lexer does, except where the lexer cannot read to the end, or where
/// no server accepts the text.
fn check_glance(text: &[u8], mode: LexMode) {
    let (fast, full) = (classify(text, mode), classify_fully(text, mode));
    if fast.marks != Marks::NONE || fast.hints != Hints::NONE {
        assert_eq!(fast, full, "{}", text.escape_ascii());
        return;
    }
    let same = fast.class == full.class && fast.nodes() == full.nodes() && fast.hints == full.hints;
    let unread = full.marks.contains(Marks::UNREADABLE);
    let refused = fast.class == Class::Read && full.reason == Reason::Write;
    assert!(same || unread || refused, "{}: {fast:?} {full:?}", text.escape_ascii());
    let several = full.marks.contains(Marks::MULTI);
    assert!(!several, "{}", text.escape_ascii());
}

#[test]
fn the_glance_decides_as_the_lexer_does() {
    let mut decided = 0;
    for case in cases() {
        for server in [MYSQL, MARIA, Server::Unknown, Server::MySql(50_744)] {
            check_glance(case.text.as_bytes(), LexMode::usual(server));
            let padded = format!("{}{}", case.text, " ".repeat(100));
            check_glance(padded.as_bytes(), LexMode::usual(server));
        }
        let mode = LexMode::usual(MYSQL);
        decided += usize::from(super::super::classify::decides(case.text.as_bytes(), mode));
    }
    assert!(decided > 450, "{decided} are decided at a glance");
}

#[test]
fn an_old_or_unknown_server_makes_no_read_of_a_write() {
    for case in cases() {
        let is_read = case.head.starts_with("read") || case.head.contains("read-only-transaction");
        // A function that old versions have.
        let old = case.text.contains("MD5");
        let odd = case.text.contains("/*!") || case.text.contains("/*M!") || is_read || old;
        for server in [Server::Unknown, Server::MySql(50_744), Server::MariaDb(100_500)] {
            let nodes = judged(&case.text, server).nodes();
            assert!(odd || nodes == Nodes::Primary, "{server:?}: {}", case.text);
        }
    }
}

#[test]
fn settings_move_the_borders() {
    let usual = LexMode::usual(MYSQL);
    let ansi = usual.with_sql_mode(b"ANSI_QUOTES");
    let plain = usual.with_sql_mode(b"NO_BACKSLASH_ESCAPES");
    let single = LexMode { charset: Charset::Single, ..usual };
    let unknown = LexMode::unknown(true);
    for (text, mode, reason) in [
        (r#"SELECT "f" (1)"#, usual, Reason::UnknownFunction),
        (r#"SELECT "f"(1)"#, ansi, Reason::UnknownFunction),
        (r#"SELECT "f"(1)"#, unknown, Reason::UnknownFunction),
        (r#"SELECT "a", 'b' FROM "t""#, ansi, Reason::PlainRead),
        (r#"SELECT a FROM "mysql"."user""#, ansi, Reason::ServerTable),
        (r"SELECT '\' FOR UPDATE -- '", plain, Reason::LockingRead),
        (r"SELECT '\' FOR UPDATE -- ' # ", usual, Reason::PlainRead),
        (r#"SELECT "\"" FROM t FOR UPDATE"#, usual, Reason::LockingRead),
        (r#"SELECT "a\" /* " FROM t"#, unknown, Reason::Unreadable),
        ("SELECT caf\u{e9} FROM t /* */", usual, Reason::PlainRead),
        ("SELECT caf\u{e9} FROM t /* */", single, Reason::Unreadable),
        ("SELECT a FROM t FOR\u{a0}UPDATE", single, Reason::Unreadable),
        // Half a letter for some character sets.
        ("SELECT \u{e9}|abs(1)", unknown, Reason::Unreadable),
    ] {
        assert_eq!(classify(text.as_bytes(), mode).reason, reason, "{text} {mode:?}");
    }
    let odd = LexMode { double_quotes: DoubleQuotes::Unknown, ..usual };
    assert_eq!(classify(b"SELECT `a`(1)", odd).reason, Reason::UnknownFunction);
}

#[test]
fn marks_are_told() {
    for (text, expected) in [
        (
            "SELECT @a, f(1), @b := 2 FROM t FOR UPDATE",
            "user-variable, user-variable-assignment, unknown-function, locking-read",
        ),
        ("CREATE TEMPORARY TABLE a (b INT)", "temporary-table"),
        ("DROP TEMPORARY TABLE a", "temporary-table"),
        ("SELECT 1; SELECT 2", "multi-statement"),
        ("SELECT 1;", ""),
        ("SELECT 1; -- x", ""),
        ("START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT", "read-only, consistent-snapshot"),
        ("START TRANSACTION READ WRITE", "read-write"),
        ("XA START 'x'", "xa"),
        ("EXPLAIN SELECT 1", "explain"),
        ("ANALYZE TABLE t", ""),
        ("SET STATEMENT a = 1 FOR SELECT @@b", "set-statement, system-variable"),
        ("WITH c (a) AS (SELECT 1) SELECT a FROM c", "parsed"),
        ("WITH c (a) AS (SELECT f(1)) SELECT a FROM c", "unknown-function"),
        ("SHOW WARNINGS", "previous-statement"),
        ("SELECT LAST_INSERT_ID(), FOUND_ROWS()", "connection-dependent, previous-statement"),
        ("SELECT SQL_CALC_FOUND_ROWS a FROM t", "calc-found-rows"),
        ("SELECT GET_LOCK('a', 1), NEXT VALUE FOR s", "named-lock, sequence"),
        ("SELECT a FROM mysql.user INTO @a", "server-dependent, into, user-variable"),
        ("SELECT 'open", "unreadable"),
        ("CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END", ""),
    ] {
        let mut found: Vec<_> = judged(text, MYSQL).marks.names().collect();
        let mut expected: Vec<_> = expected.split(", ").filter(|name| !name.is_empty()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn hints_are_read_where_proxies_have_them() {
    let none = Hints::NONE;
    let role = |role| Hints { role: Some(role), ..none };
    let (primary, replica) = (role(Role::Primary), role(Role::Replica));
    let backend = |name: &'static str| Hints { backend: Some(name.as_bytes()), ..none };
    let lag = |ms| Hints { max_lag_ms: Some(ms), ..none };
    let level = |level| Hints { consistency: Some(level), ..none };
    let odd = Hints { odd: true, ..none };
    for (text, expected) in [
        ("/* weir:primary */ SELECT 1", primary),
        ("/*weir:primary*/SELECT 1", primary),
        ("SELECT /* WEIR:Replica */ 1", replica),
        ("SELECT 1 -- weir:primary", primary),
        ("SELECT 1 # weir:primary", primary),
        ("-- weir:replica\nSELECT 1", replica),
        ("/* app=x */ /* weir:primary */ SELECT 1", primary),
        ("/* weir:primary */ SELECT 1 /* weir:replica */", primary),
        ("SELECT 1; /* weir:primary */", primary),
        ("/* weir:backend=db-2 */ SELECT 1", backend("db-2")),
        ("/* weir:max_lag_ms=500 */ SELECT 1", lag(500)),
        ("/* weir:consistency=global */ SELECT 1", level(Consistency::Global)),
        ("/* weir:Consistency=GLOBAL */ SELECT 1", level(Consistency::Global)),
        ("/* weir:consistency=eventual */ SELECT 1", level(Consistency::Eventual)),
        ("/* weir:consistency=session */ SELECT 1", level(Consistency::Session)),
        ("/* weir:consistency=instance */ SELECT 1", level(Consistency::Instance)),
        (
            "/* weir:replica, weir:max_lag_ms=5 weir:consistency=session please */ SELECT 1",
            Hints { max_lag_ms: Some(5), consistency: Some(Consistency::Session), ..replica },
        ),
        ("/* weir:sideways */ SELECT 1", odd),
        ("/* weir:max_lag_ms=soon */ SELECT 1", odd),
        ("/* weir:max_lag_ms=99999999999999999999 */ SELECT 1", odd),
        ("/* weir:primary=1 */ SELECT 1", odd),
        ("/* weir:backend= */ SELECT 1", odd),
        ("/* no weir:primary */ SELECT 1", none),
        ("SELECT '/* weir:primary */'", none),
        ("/*! weir:primary */", none),
        ("/*FORCE_MASTER*/ SELECT 1", primary),
        ("/* force_master */ SELECT 1", primary),
        ("/*FORCE_SLAVE*/ SELECT 1", replica),
        ("/*FORCE_SLAVE now*/ SELECT 1", none),
        ("/*force_node='pi-1'*/ SELECT 1", backend("pi-1")),
        ("SELECT 1 -- maxscale route to master", primary),
        ("SELECT 1 # maxscale route to slave", replica),
        ("/* maxscale route to server db1 */ SELECT 1", backend("db1")),
        ("/* maxscale route to last */ SELECT 1", none),
        ("SELECT 1 /* maxscale max_slave_replication_lag=5 */", lag(5_000)),
        ("/* maxscale begin */ SELECT 1", none),
        ("/*vt+ ROLE=PRIMARY */ SELECT 1", primary),
        ("SELECT /*vt+ ALLOW_SCATTER ROLE=REPLICA */ 1", replica),
        ("/*vt+ ROLE=RDONLY */ SELECT 1", replica),
        ("/*vt+ DML_SPLIT=true */ DELETE FROM t", none),
        ("/* weir:primary */ INSERT INTO t VALUES (1)", primary),
        ("INSERT INTO t VALUES (1) /* weir:backend=a */", backend("a")),
        ("/*!50000 SELECT */ /* weir:primary */ 1", primary),
        ("/*!99999 x /* weir:primary */ y */ SELECT 1", none),
        ("/*!50000 */ /* weir:primary */ SELECT 1", primary),
    ] {
        let found = classify(text.as_bytes(), LexMode::usual(MYSQL)).hints;
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_hint_takes_reads_to_the_primary_and_nothing_to_a_replica() {
    for case in cases() {
        for server in &case.servers {
            let before = judged(&case.text, *server);
            let text = format!("/* weir:replica */ {}", case.text);
            assert_eq!(judged(&text, *server).nodes(), before.nodes(), "{}", case.text);
            let text = format!("/* weir:primary */ {}", case.text);
            assert_eq!(judged(&text, *server).nodes(), Nodes::Primary, "{}", case.text);
        }
    }
}

#[test]
fn lists_of_columns_are_no_calls_and_calls_are_no_lists() {
    let calls = [
        "WITH c (x) AS (SELECT 1) SELECT c (1)",
        "WITH c (x) AS (SELECT 1), d AS (SELECT d (1)) SELECT 1",
        "SELECT * FROM (SELECT 1) f (a), t WHERE f(1)",
        "SELECT * FROM t AS f (a)",
        "SELECT * FROM f (1) AS f (a)",
        "SELECT CAST(a AS f(1)) FROM t",
        "WITH c AS (SELECT 1) SELECT 1, f (2)",
        "SELECT JSON_TABLE(1)",
        "SELECT COLUMNS(1)",
        "SELECT JSON_TABLE(1) FROM JSON_TABLE('[]', '$[*]' COLUMNS (x INT PATH '$')) AS j",
        "WITH c (x) AS (SELECT 1) SELECT x FROM c WHERE JSON_TABLE(x)",
    ];
    for text in calls {
        assert_eq!(judged(text, MARIA).nodes(), Nodes::Primary, "{text}");
    }
    // What is too long or too deep is not parsed, and stays a doubt.
    let long =
        format!("WITH c (x) AS (SELECT 1) SELECT x FROM c WHERE x = '{}'", "x".repeat(9_000));
    let deep = format!("WITH c (x) AS (SELECT 1) SELECT {}1{}", "(".repeat(14), ")".repeat(14));
    let many: String = (0..9).map(|at| format!("c{at} (x) AS (SELECT 1), ")).collect();
    let many = format!("WITH {many} d AS (SELECT 1) SELECT 1");
    for text in [long, deep, many] {
        let found = judged(&text, MYSQL);
        assert_eq!(found.reason, Reason::UnknownFunction, "{text}");
        assert!(!found.marks.contains(Marks::PARSED), "{text}");
    }
}

/// What a full parse finds.
#[derive(Default)]
struct Parsed {
    writes: bool,
    locks: bool,
    into: bool,
    calls: bool,
}

impl Visitor for Parsed {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let reads = matches!(
            statement,
            Statement::Query(_)
                | Statement::Explain { .. }
                | Statement::ExplainTable { .. }
                | Statement::ShowTables { .. }
                | Statement::ShowDatabases { .. }
                | Statement::ShowSchemas { .. }
                | Statement::ShowColumns { .. }
                | Statement::ShowCreate { .. }
                | Statement::ShowCollation { .. }
                | Statement::ShowCharset { .. }
                | Statement::ShowVariable { .. }
                | Statement::ShowFunctions { .. }
        );
        let begins = matches!(statement, Statement::StartTransaction { .. });
        self.writes |= !reads && !begins;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.locks |= !query.locks.is_empty();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.into |= select.into.is_some();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let name = function.name.to_string();
            self.calls |= !plain::is_harmless(&name.to_ascii_uppercase(), MYSQL, false);
        }
        ControlFlow::Continue(())
    }
}

/// Nothing that a full parse knows to write, lock, call or select into goes to a replica.
fn check_parsed(text: &str) -> bool {
    if text.contains("/*!") || text.contains("/*M!") {
        // It knows nothing of versions.
        return false;
    }
    let Ok(statements) = Parser::parse_sql(&MySqlDialect {}, text) else { return false };
    let mut parsed = Parsed::default();
    assert!(statements.visit(&mut parsed).is_continue());
    let bad = parsed.writes || parsed.locks || parsed.into || parsed.calls;
    let nodes = classify(text.as_bytes(), LexMode::usual(MYSQL)).nodes();
    assert!(!bad || nodes == Nodes::Primary, "to a replica: {text}");
    true
}

#[test]
fn a_full_parse_of_the_file_finds_nothing_that_was_overlooked() {
    let parsed = cases().iter().filter(|case| check_parsed(&case.text)).count();
    assert!(parsed > 1_000, "{parsed} are parsed");
}

fn check_twin(text: &[u8], mode: LexMode) {
    check_glance(text, mode);
    let nodes = classify_fully(text, mode).nodes();
    if let Some(expected) = plain::may_go_to_a_replica(text, mode) {
        let expected = if expected { Nodes::Replicas } else { Nodes::Primary };
        assert_eq!(nodes, expected, "{} {mode:?}", text.escape_ascii());
    }
}

#[test]
fn the_naive_twin_agrees_on_the_file() {
    for case in cases() {
        for server in case.servers {
            check_twin(case.text.as_bytes(), LexMode::usual(server));
        }
    }
}

/// Pieces of statements, and of what makes them others.
const FRAGMENTS: &[&str] = &[
    "SELECT ",
    "select",
    "SELECT",
    " FROM t",
    " a",
    "`a`",
    "\"b\"",
    "'x'",
    "1",
    "1.5",
    "NULL",
    "*",
    " FOR ",
    "FOR UPDATE",
    " UPDATE",
    " SHARE",
    " LOCK",
    " LOCK IN SHARE MODE",
    " INTO ",
    " @a",
    ":=",
    "@@x",
    "(",
    ")",
    "(",
    ")",
    ",",
    ";",
    " count(",
    " COUNT (",
    " my_f(",
    " abs(",
    " abs (",
    " now(",
    "db.",
    ".",
    "/* c */",
    "/*!50000 ",
    "/*!99999 ",
    "/*M! ",
    "*/",
    "-- \n",
    "#\n",
    "\n",
    "\\",
    " NEXT VALUE FOR s",
    " PREVIOUS",
    " VALUE",
    ".nextval",
    " mysql.",
    " `sys`.",
    " sys.",
    " information_schema.",
    "tables",
    "processlist",
    " SQL_CALC_FOUND_ROWS",
    " GET_LOCK(",
    " LAST_INSERT_ID(",
    " EXPLAIN ",
    " UNION ",
    " REPLACE",
    " INSERT",
    " DELETE",
    " WITH ",
    " AS ",
    " IN ",
    " IF(",
    "\u{b}",
    "\u{a0}",
    "é",
    "0x1F",
    "x'1F'",
    " DECIMAL(",
    " USING ",
    "into",
    " lock",
    " performance_schema.",
    " WHERE ",
    "=",
    "--",
    "/",
    "@",
    ":",
    "'",
    "\"",
    "`",
    " VALUES ",
    " TABLE ",
];

fn any_mode() -> impl Strategy<Value = LexMode> {
    let servers = prop_oneof![Just(MYSQL), Just(MARIA), Just(Server::Unknown)];
    let quotes = prop_oneof![
        Just(DoubleQuotes::Text),
        Just(DoubleQuotes::Name),
        Just(DoubleQuotes::Unknown)
    ];
    let charsets = prop_oneof![
        4 => Just(Charset::Utf8),
        1 => Just(Charset::Single),
        1 => Just(Charset::Gbk),
        1 => Just(Charset::Unknown),
    ];
    (servers, quotes, charsets, any::<bool>()).prop_map(
        |(server, double_quotes, charset, backslash_escapes)| LexMode {
            backslash_escapes,
            double_quotes,
            charset,
            server,
        },
    )
}

/// An expression, with subqueries down to a depth.
fn any_expr() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "a",
        "t.a",
        "`b`",
        "'it''s; FOR UPDATE'",
        "NULL",
        "my_f(a)",
        "db.g(1)",
        "COUNT(*)",
        "MAX(a)",
        "LOWER(a)",
        "GET_LOCK('a', 1)",
        "LAST_INSERT_ID()",
        "UUID()",
        "SLEEP(0)",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        let tail = prop::sample::select(vec!["", "", "", " FOR UPDATE", " LOCK IN SHARE MODE"]);
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} + {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} = ({b})")),
            inner.clone().prop_map(|a| format!("COALESCE({a}, 1)")),
            inner.clone().prop_map(|a| format!("CASE WHEN {a} THEN 1 ELSE 2 END")),
            (inner.clone(), inner).prop_flat_map(move |(a, b)| {
                let tail = tail.clone();
                tail.prop_map(move |tail| format!("(SELECT {a} FROM u WHERE {b} LIMIT 1{tail})"))
            }),
        ]
    })
}

/// A statement that sqlparser mostly understands.
fn any_statement() -> impl Strategy<Value = String> {
    let heads = prop::sample::select(vec![
        "",
        "",
        "",
        "WITH c AS (SELECT 1 AS x) ",
        "WITH c (x) AS (SELECT 1) ",
        "EXPLAIN ",
        "/* c */ ",
        "(",
        "INSERT INTO t ",
        "REPLACE INTO t ",
        "CREATE TABLE v AS ",
    ]);
    let tails = prop::sample::select(vec![
        "",
        "",
        "",
        " FOR UPDATE",
        " FOR SHARE",
        " LOCK IN SHARE MODE",
        " UNION SELECT 1",
        " ORDER BY a LIMIT 3",
        "; DELETE FROM t",
        "; SELECT 2",
        " FOR UPDATE SKIP LOCKED",
        ";",
    ]);
    let from = prop::sample::select(vec![
        "t",
        "t, u",
        "t JOIN u USING (id)",
        "(SELECT 1) d",
        "(SELECT 1) d (x)",
        "test.t AS x",
        "(SELECT a FROM t FOR UPDATE) d",
        "t AS insert_t",
    ]);
    (heads, any_expr(), from, any_expr(), tails).prop_map(|(head, a, from, b, tail)| {
        let close = if head == "(" { ")" } else { "" };
        format!("{head}SELECT {a} FROM {from} WHERE {b}{close}{tail}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn fragments_are_judged_as_the_naive_twin_does(
        first in prop::sample::select(vec!["SELECT ", "", "(", "WITH c AS (SELECT 1) "]),
        parts in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..12),
        mode in any_mode(),
    ) {
        let text = format!("{first}{}", parts.concat());
        check_twin(text.as_bytes(), mode);
        check_parsed(&text);
    }

    #[test]
    fn any_bytes_are_judged_as_the_naive_twin_does(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        mode in any_mode(),
    ) {
        let text = [&b"SELECT "[..], &bytes].concat();
        check_twin(&text, mode);
    }

    #[test]
    fn what_a_full_parse_finds_is_not_overlooked(text in any_statement()) {
        check_twin(text.as_bytes(), LexMode::usual(MYSQL));
        check_parsed(&text);
    }
}
