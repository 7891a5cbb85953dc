//! What statements do to their connection.

use super::tables;
use crate::sql::{
    Findings, Flags, Item, LexMode, Scope, Server, Span, Target, Value, may_matter, unquoted,
};

const MARIA: Server = Server::MariaDb(101_119);
const MYSQL: Server = Server::MySql(90_704);

/// Flags and items in one line.
fn shown(text: &str, server: Server) -> String {
    let found = Findings::looked_for(text.as_bytes(), LexMode::usual(server));
    let of = |span: Span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned();
    let value = |value: Value| {
        if value == Value::UNKNOWN {
            return "?".to_owned();
        }
        let mut out = format!("{:?}<{}>", value.kind, of(value.span));
        if let Some(introducer) = value.introducer {
            out += &format!(" intro {}", of(introducer));
        }
        if let Some(collation) = value.collation {
            out += &format!(" collate {}", of(collation));
        }
        out
    };
    let mut out = format!("{:?}", found.flags);
    for item in &found.items {
        out += "; ";
        out += &match item {
            Item::Assigned(Target::User(name), v) => format!("{} = {}", of(*name), value(*v)),
            Item::Assigned(Target::System(scope, name), v) => {
                let scope = match scope {
                    Scope::Session => "",
                    Scope::Bare => "@@",
                    Scope::Global => "global ",
                };
                format!("{scope}{} = {}", of(*name), value(*v))
            }
            Item::Assigned(Target::Names, v) => format!("names {}", value(*v)),
            Item::Assigned(Target::CharacterSet, v) => format!("charset {}", value(*v)),
            Item::Read(name) => format!("read {}", of(*name)),
            Item::Use(name) => format!("use {}", of(*name)),
            Item::Created(name) => format!("created {}", of(*name)),
            Item::Dropped(name) => format!("dropped {}", of(*name)),
            Item::Prepared(name) => format!("prepared {}", of(*name)),
            Item::Executed(name) => format!("executed {}", of(*name)),
            Item::Deallocated(name) => format!("deallocated {}", of(*name)),
        };
    }
    if found.statements != 1 {
        out += &format!(" [{}]", found.statements);
    }
    if found.only_sets {
        out += " only sets";
    }
    let glance = Findings::of(text.as_bytes(), LexMode::usual(server));
    // A string that does not end is an error and no more.
    let harmless = found.flags.without(Flags::UNSURE).is_empty();
    assert!(glance == found || harmless, "overlooked {text}");
    out
}

/// The same on both servers.
fn check(table: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (text, want) in table {
        for server in [MARIA, MYSQL] {
            let shown = shown(text, server);
            if shown != *want {
                wrong += &format!("{server:?}: {text}\n  is {shown}\n not {want}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn tables() {
    check(tables::USER_VARIABLES);
    check(tables::FUNCTIONS);
    check(tables::SETTINGS);
    check(tables::TRANSACTIONS);
    check(tables::LOCKS_TABLES_AND_STATEMENTS);
    check(tables::STORED_PROGRAMS);
    check(tables::CHATTER);
}

#[test]
fn several_statements_and_doubt() {
    check(&[
        ("SELECT 1; SELECT 2;", "NONE [2]"),
        (";;", "NONE [0]"),
        ("", "NONE [0]"),
        ("-- nothing", "NONE [0]"),
        (
            "SET @a=1; SELECT @a; SET autocommit=1",
            "USER_READ | USER_SET | SET_SYSTEM | SET_AUTOCOMMIT; @a = Number<1>; read @a; autocommit = Number<1> [3]",
        ),
        ("INSERT INTO t VALUES (1); SELECT LAST_INSERT_ID()", "LAST_INSERT_ID [2]"),
        ("SELECT 'a", "UNSURE"),
        ("FROBNICATE x", "UNSURE"),
        ("'x'", "UNSURE"),
        ("IF 1 THEN SELECT 1; END IF", "UNSURE | BLOCK [2]"),
        ("BINLOG 'x'", "UNSURE"),
        ("(SELECT 1) UNION (SELECT @a)", "USER_READ; read @a"),
        ("((SELECT GET_LOCK('a', 1)))", "NAMED_LOCK"),
        ("WITH c AS (SELECT 1) SELECT * FROM c", "NONE"),
        ("VALUES ROW(1)", "NONE"),
        ("TABLE t", "NONE"),
    ]);
    // Only some versions execute it, and nobody knows which reads it.
    let text = "SET @a = 1 /*!80000 + 1 */";
    assert_eq!(shown(text, MYSQL), "USER_UNKNOWN; @a = ?");
    assert_eq!(shown(text, MARIA), "USER_SET; @a = Number<1>");
    assert_eq!(shown(text, Server::Unknown), "UNSURE | USER_UNKNOWN; @a = ?");
    // A blank in latin1.
    let mode = LexMode::usual(MYSQL);
    let single = LexMode { charset: crate::sql::Charset::Single, ..mode };
    let text = b"SELECT\xA0@a";
    assert_eq!(format!("{:?}", Findings::of(text, single).flags), "UNSURE | USER_READ");
    // More than is kept.
    let many = format!("SELECT {}", ["@a"; 300].join(","));
    let found = Findings::of(many.as_bytes(), mode);
    assert_eq!(
        (found.items.len(), format!("{:?}", found.flags)),
        (256, "UNSURE | USER_READ".into())
    );
}

#[test]
fn ordinary_statements_are_passed_at_a_glance() {
    for text in [
        "SELECT c FROM sbtest1 WHERE id=5000",
        "select user_id, created_at from t where a != 5 and b_i = 1",
        "INSERT INTO sbtest1 (id, k, c, pad) VALUES (0, 5015, '123', '456')",
        "UPDATE sbtest1 SET k=k+1 WHERE id=5015",
        "DELETE FROM sbtest1 WHERE id=5015",
        "REPLACE INTO t VALUES (1)",
        "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 5 AND 100 ORDER BY c",
    ] {
        assert!(!may_matter(text.as_bytes()), "{text}");
        assert_eq!(Findings::of(text.as_bytes(), LexMode::usual(MYSQL)), Findings::default());
    }
    for text in ["", "S", "SELECT", "selects", "COMMIT", " SELECT 1", "SELECT 1;"] {
        assert!(may_matter(text.as_bytes()), "{text}");
    }
}

/// Wherever it is in a text of any length.
#[test]
fn the_glance_overlooks_nothing() {
    for marker in [
        "GET_LOCK(",
        "release_lock(",
        "IS_FREE_LOCK(",
        "IS_USED_LOCK(",
        "RELEASE_ALL_LOCKS(",
        "service_get_read_locks(",
        "service_get_write_locks(",
        "service_release_locks(",
        "version_tokens_lock_shared(",
        "version_tokens_lock_exclusive(",
        "version_tokens_unlock(",
        "SQL_CALC_FOUND_ROWS",
        "FOUND_ROWS(",
        "ROW_COUNT(",
        "LAST_INSERT_ID(",
        "NEXTVAL(",
        "LASTVAL(",
        "x.currval",
        "NEXT VALUE FOR",
        "NEXT\nVALUE FOR",
        "NEXT/**/VALUE FOR",
        "PREVIOUS VALUE FOR",
        "@a",
        "@@identity",
        ";",
        "/*!",
        "/*M!",
    ] {
        for before in 0..70 {
            for after in [0, 1, 2, 30, 31, 32, 33, 70] {
                let text = format!("SELECT {}{marker}{}", " ".repeat(before), " ".repeat(after));
                assert!(may_matter(text.as_bytes()), "{text}");
            }
        }
    }
}

#[test]
fn names_without_their_quotes() {
    for (name, want) in [
        ("@a", "a"),
        ("@`a``b`", "a`b"),
        (r"@'a\'b''c'", "a'b'c"),
        ("a", "a"),
        ("`a`", "a"),
        ("\"a\"", "a"),
        ("@", ""),
        ("`", "`"),
        (r"`a\b`", r"a\b"),
    ] {
        assert_eq!(unquoted(name.as_bytes()).as_ref(), want.as_bytes(), "{name}");
    }
}

#[test]
fn plain_sets_are_listed() {
    let text = b"SET a = 1, @@b = 'x'";
    let found = Findings::of(text, LexMode::usual(MYSQL));
    let sets: Vec<_> = found
        .plain_sets()
        .unwrap()
        .map(|(scope, name, value)| (scope, name.of(text), value.span.of(text)))
        .collect();
    assert_eq!(
        sets,
        [(Scope::Session, &b"a"[..], &b"1"[..]), (Scope::Bare, &b"b"[..], &b"'x'"[..])]
    );
    assert!(Findings::of(b"SET a = b()", LexMode::usual(MYSQL)).plain_sets().is_none());
    assert!(Findings::of(b"SET a = 1; SET b = 1", LexMode::usual(MYSQL)).plain_sets().is_none());
}
