//! The connections that statements name.

use proptest::prelude::*;

use crate::sql::{Finding, Known, LexMode, Put, Unsure, find, may_name_connections, render};

fn known(threads: &[u32]) -> Known<'_> {
    Known { own_id: 7, threads, ..Known::default() }
}

/// What becomes of a text: own id 7, threads of ids 1, 2, 3… are 1001, 1002, 1003….
fn rewritten(text: &str) -> String {
    let found = match find(text.as_bytes(), LexMode::unknown(true)) {
        Err(Unsure) => return "unsure".to_owned(),
        Ok(Finding::Nothing) => return "nothing".to_owned(),
        Ok(Finding::OddKill) => return "odd".to_owned(),
        Ok(Finding::Threads) => {
            assert!(may_name_connections(text.as_bytes()), "overlooked: {text}");
            return "list".to_owned();
        }
        Ok(Finding::Places(places)) => places,
    };
    assert!(may_name_connections(text.as_bytes()), "overlooked: {text}");
    let ids = found.iter().filter_map(|place| match place.put {
        Put::ThreadOf(id) => Some(id + 1000),
        Put::OwnId | Put::RowCount | Put::FoundRows | Put::Alias(_) => None,
    });
    let threads: Vec<u32> = ids.collect();
    String::from_utf8(render(text.as_bytes(), &found, known(&threads))).unwrap()
}

#[test]
fn own_ids_are_put_in_and_columns_keep_their_names() {
    for (text, want) in [
        ("SELECT CONNECTION_ID()", "SELECT 7 AS `CONNECTION_ID()`"),
        ("select connection_id ( ) ", "select 7 AS `connection_id ( )` "),
        ("SELECT CONNECTION_ID() AS id", "SELECT 7 AS id"),
        ("SELECT CONNECTION_ID()AS id", "SELECT 7 AS id"),
        ("SELECT CONNECTION_ID() id, 2", "SELECT 7 id, 2"),
        ("SELECT CONNECTION_ID() `id`", "SELECT 7 `id`"),
        ("SELECT CONNECTION_ID() 'id'", "SELECT 7 'id'"),
        ("SELECT 1, CONNECTION_ID()+1 FROM t", "SELECT 1, 7+1 AS `CONNECTION_ID()+1` FROM t"),
        ("SELECT CONNECTION_ID() DIV a", "SELECT 7 DIV a AS `CONNECTION_ID() DIV a`"),
        ("SELECT CONNECTION_ID() IS NULL", "SELECT 7 IS NULL AS `CONNECTION_ID() IS NULL`"),
        (
            "SELECT DISTINCT SQL_NO_CACHE CONNECTION_ID()",
            "SELECT DISTINCT SQL_NO_CACHE 7 AS `CONNECTION_ID()`",
        ),
        (
            "SELECT IF(CONNECTION_ID(), 1, 2), 3",
            "SELECT IF(7, 1, 2) AS `IF(CONNECTION_ID(), 1, 2)`, 3",
        ),
        (
            "SELECT (SELECT CONNECTION_ID())",
            "SELECT (SELECT 7 AS `CONNECTION_ID()`) AS `(SELECT CONNECTION_ID())`",
        ),
        (
            "SELECT (SELECT a FROM t WHERE b = CONNECTION_ID() LIMIT 1)",
            "SELECT (SELECT a FROM t WHERE b = 7 LIMIT 1) AS \
             `(SELECT a FROM t WHERE b = CONNECTION_ID() LIMIT 1)`",
        ),
        (
            "SELECT * FROM (SELECT CONNECTION_ID(), 2) d",
            "SELECT * FROM (SELECT 7 AS `CONNECTION_ID()`, 2) d",
        ),
        ("SELECT a FROM t WHERE b = CONNECTION_ID()", "SELECT a FROM t WHERE b = 7"),
        ("SELECT CONNECTION_ID() INTO @x", "SELECT 7 AS `CONNECTION_ID()` INTO @x"),
        ("SELECT 1 UNION SELECT CONNECTION_ID()", "SELECT 1 UNION SELECT 7 AS `CONNECTION_ID()`"),
        ("INSERT INTO t VALUES (CONNECTION_ID())", "INSERT INTO t VALUES (7)"),
        (
            "INSERT INTO t SELECT CONNECTION_ID() ON DUPLICATE KEY UPDATE a=CONNECTION_ID()",
            "INSERT INTO t SELECT 7 AS `CONNECTION_ID()` ON DUPLICATE KEY UPDATE a=7",
        ),
        ("SET @a = CONNECTION_ID()", "SET @a = 7"),
        ("DO 1; SELECT CONNECTION_ID(); DO 2", "DO 1; SELECT 7 AS `CONNECTION_ID()`; DO 2"),
        ("SELECT @@pseudo_thread_id", "SELECT 7 AS `@@pseudo_thread_id`"),
        (
            "SELECT @@session.pseudo_thread_id = 5",
            "SELECT 7 = 5 AS `@@session.pseudo_thread_id = 5`",
        ),
        ("SET @a = @@PSEUDO_THREAD_ID", "SET @a = 7"),
        ("/*!50000 SELECT CONNECTION_ID() */", "/*!50000 SELECT 7 AS `CONNECTION_ID()` */"),
        ("/* x */ SELECT CONNECTION_ID()", "/* x */ SELECT 7 AS `CONNECTION_ID()`"),
        ("SELECT CONNECTION_ID(/* x */)", "SELECT 7"),
        ("SELECT '`', CONNECTION_ID()=`a`", "SELECT '`', 7=`a` AS `CONNECTION_ID()=``a```"),
        (
            "CREATE TABLE t AS SELECT CONNECTION_ID()",
            "CREATE TABLE t AS SELECT 7 AS `CONNECTION_ID()`",
        ),
        (
            "WITH c AS (SELECT CONNECTION_ID()) SELECT * FROM c",
            "WITH c AS (SELECT 7 AS `CONNECTION_ID()`) SELECT * FROM c",
        ),
        ("SELECT ? , CONNECTION_ID()", "SELECT ? , 7 AS `CONNECTION_ID()`"),
        (
            "SELECT CAST(CONNECTION_ID() AS CHAR)",
            "SELECT CAST(7 AS CHAR) AS `CAST(CONNECTION_ID() AS CHAR)`",
        ),
    ] {
        assert_eq!(rewritten(text), want, "{text}");
    }
}

#[test]
fn what_only_looks_like_it_is_left_alone() {
    for text in [
        "SELECT 'CONNECTION_ID()'",
        "SELECT \"CONNECTION_ID()\", `CONNECTION_ID()`",
        "SELECT 1 /* CONNECTION_ID() */ -- CONNECTION_ID()\n # CONNECTION_ID()",
        "SELECT my_connection_id(), connection_ids(), s.connection_id()",
        "SELECT connection_id, @connection_id, @@connection_id",
        "SELECT connection_id(1)",
        "SET @@pseudo_thread_id = 5",
        "SET @@session.pseudo_thread_id=5",
        "SET pseudo_thread_id=5",
        "SELECT pseudo_thread_id, @pseudo_thread_id, @@global.pseudo_thread_id",
        // What runs later, for another.
        "CREATE VIEW v AS SELECT CONNECTION_ID()",
        "CREATE TABLE t (a INT DEFAULT (CONNECTION_ID()))",
        "ALTER TABLE t ADD b INT DEFAULT (CONNECTION_ID())",
        "CREATE PROCEDURE p() BEGIN SELECT CONNECTION_ID(); KILL 5; END",
        "CREATE DEFINER=a@b TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a = CONNECTION_ID()",
        // What is compared with ids of the server.
        "SELECT * FROM information_schema.processlist WHERE id = CONNECTION_ID()",
        "SELECT IS_USED_LOCK('a') = CONNECTION_ID()",
        // Whom the server knows better.
        "KILL USER 5",
        "KILL QUERY ID 5",
        "KILL CONNECTION_ID()",
        "KILL SOFT QUERY CONNECTION_ID()",
        "KILL",
        "SELECT kill, 5 FROM killed",
        "KILL 5000000000",
        "KILL 99999999999999999999",
    ] {
        assert_eq!(rewritten(text), "nothing", "{text}");
    }
    assert_eq!(rewritten("SELECT 'a, CONNECTION_ID()"), "unsure");
    assert_eq!(rewritten(&"(".repeat(100)), "unsure");
    assert_eq!(rewritten(&"SELECT CONNECTION_ID();".repeat(100)), "unsure");
}

#[test]
fn kill_finds_the_servers_thread() {
    for (text, want) in [
        ("KILL 5", "KILL 1005"),
        ("kill query 5;", "kill query 1005;"),
        ("KILL CONNECTION 5", "KILL CONNECTION 1005"),
        ("KILL HARD CONNECTION 5", "KILL HARD CONNECTION 1005"),
        ("KILL SOFT QUERY 5 -- now", "KILL SOFT QUERY 1005 -- now"),
        (" /* me */ KILL (5)", " /* me */ KILL (1005)"),
        ("SELECT 1; KILL 5; kill query 6", "SELECT 1; KILL 1005; kill query 1006"),
        ("SELECT 1;/**/KILL 5", "SELECT 1;/**/KILL 1005"),
    ] {
        assert_eq!(rewritten(text), want, "{text}");
    }
    for text in [
        "KILL @a",
        "KILL 5 + 1",
        "KILL ?",
        "KILL (SELECT 5)",
        "KILL 'x'",
        "KILL CONNECTION_ID() + 1",
    ] {
        assert_eq!(rewritten(text), "odd", "{text}");
        assert!(may_name_connections(text.as_bytes()));
    }
}

/// Wherever it is in a text of any length.
#[test]
fn the_first_look_overlooks_nothing() {
    for marker in
        ["CONNECTION_ID()", "connection_id ()", "@@pseudo_thread_id", ";KILL 5", "; kill 5"]
    {
        for before in 0..50 {
            for after in [0, 1, 2, 15, 16, 17, 40] {
                let text = format!("D{}{marker}{}", "x".repeat(before), " ".repeat(after));
                assert!(may_name_connections(text.as_bytes()), "{text}");
                let plain = format!("D{}{}", "x".repeat(before), " _y".repeat(after));
                assert!(!may_name_connections(plain.as_bytes()), "{plain}");
            }
        }
    }
}

#[test]
fn ordinary_statements_are_passed_at_a_glance() {
    for text in [
        "SELECT c FROM sbtest1 WHERE id=5000",
        "SELECT user_id, order_id FROM t; ",
        "INSERT INTO kills VALUES (1)",
        "SELECT 1; SELECT 2;",
        "/* app */ SELECT a_b",
        "(SELECT 1)",
        "",
        "_id",
    ] {
        assert!(!may_name_connections(text.as_bytes()), "{text}");
    }
}

proptest! {
    /// No text makes a panic; what is found lies in the text, in order, and reads back as nothing
    /// more to replace.
    #[test]
    fn any_text(parts in proptest::collection::vec(part(), 0..12), escapes in any::<bool>()) {
        let text = parts.concat();
        let may = may_name_connections(&text);
        let Ok(Finding::Places(places)) = find(&text, LexMode::unknown(escapes)) else { return Ok(()) };
        prop_assert!(may, "overlooked by the first look");
        let mut end = 0;
        for place in &places {
            prop_assert!(place.range.start >= end && place.range.end <= text.len());
            end = place.range.end;
        }
        let ids: Vec<u32> = places.iter().map(|_| 9).collect();
        let again = render(&text, &places, known(&ids));
        if let Ok(Finding::Places(more)) = find(&again, LexMode::unknown(escapes)) {
            prop_assert!(more.iter().all(|place| matches!(place.put, Put::ThreadOf(_))));
        }
    }
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "SELECT ",
        "CONNECTION_ID()",
        "connection_id",
        "(",
        ")",
        ",",
        ";",
        "KILL ",
        "5",
        " AS x",
        "'",
        "\"",
        "`",
        "\\",
        "/*",
        "*/",
        "/*!",
        "-- ",
        "\n",
        "@@",
        "pseudo_thread_id",
        "FROM ",
        "CREATE ",
        "SET ",
        "=",
        "é",
        ".",
        "QUERY ",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

#[test]
fn show_processlist_is_known_when_it_is_all_there_is() {
    for text in [
        "SHOW PROCESSLIST",
        "show full processlist;",
        "\tShow\n Processlist ; ;",
        "/* a */ SHOW /* b */ FULL PROCESSLIST -- c",
        "# a\nSHOW PROCESSLIST # b",
        "/*!50000 SHOW */ PROCESSLIST",
        "SHOW /*!32302 FULL */PROCESSLIST",
    ] {
        assert_eq!(rewritten(text), "list", "{text}");
    }
    for text in [
        "SHOW",
        "SHOW FULL",
        "SHOW PROCESSLISTS",
        "SHOW `PROCESSLIST`",
        "SHOW FULL FULL PROCESSLIST",
        "SHOW PROCESSLIST LIKE 'a'",
        "SHOW PROCESSLIST; DO 1",
        "DO 1; SHOW PROCESSLIST",
        "SHOW FULL TABLES",
        "SHOW CREATE TABLE processlist",
        "EXPLAIN SHOW PROCESSLIST",
        "(SHOW PROCESSLIST)",
        "SELECT * FROM processlist",
    ] {
        assert_eq!(rewritten(text), "nothing", "{text}");
    }
    assert_eq!(rewritten("SHOW PROCESSLIST '"), "unsure");
}
