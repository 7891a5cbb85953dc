//! What makes statements the same.

use proptest::prelude::*;

use crate::sql::{Digest, LexMode, Server, digest};

fn of(text: &str) -> Digest {
    digest(text.as_bytes(), LexMode::usual(Server::MySql(90_704)), 4096)
}

fn shown(text: &str) -> String {
    String::from_utf8(of(text).text).unwrap()
}

#[test]
fn normalised() {
    let mut wrong = String::new();
    for (text, want) in [
        ("select * from t where a=1", "SELECT * FROM t WHERE a = ?"),
        ("SELECT  a,b /* x */ FROM `T`.`c` -- y", "SELECT a, b FROM `T`.`c`"),
        ("SELECT a FROM t WHERE b IN (1,2,3)", "SELECT a FROM t WHERE b IN (?)"),
        ("SELECT a FROM t WHERE b IN (1)", "SELECT a FROM t WHERE b IN (?)"),
        ("SELECT a FROM t WHERE b IN (?, ?)", "SELECT a FROM t WHERE b IN (?)"),
        (
            "insert into t (a,b) values (1,'x'),(2,null),(-3, _binary'z')",
            "INSERT INTO t(a, b) VALUES (?)",
        ),
        ("INSERT INTO t VALUES (1,NOW()),(2,NOW())", "INSERT INTO t VALUES (?, NOW()), (?, NOW())"),
        ("SELECT (1,2)=(3,4)", "SELECT (?) = (?)"),
        ("SELECT a FROM t WHERE (a,b) IN ((1,2),(3,4))", "SELECT a FROM t WHERE (a, b) IN ((?))"),
        ("SELECT (1, 2, 3 + a)", "SELECT (?, ? + a)"),
        ("SELECT (1), (2, a), 3", "SELECT (?), (?, a), ?"),
        ("SELECT (1,2), b", "SELECT (?), b"),
        ("SELECT -1, a - 1, a -1, - - 1, +1.5e3", "SELECT ?, a - ?, a - ?, ?, ?"),
        ("SELECT -a, a--b", "SELECT - a, a - - b"),
        ("SELECT 0x1F, x'1f', b'1', 'a' 'b', \"c\"", "SELECT ?, ?, ?, ? ?, ?"),
        ("SELECT count(*), COUNT (*), f(1, 2)", "SELECT COUNT(*), COUNT(*), f(?)"),
        ("SELECT a<=1 AND b<>2 OR c->>'$.x'", "SELECT a <= ? AND b <> ? OR c ->> ?"),
        ("SET @a:=1, @@session.x=2", "SET @a := ?, @@SESSION.x = ?"),
        ("/*!40101 SET NAMES utf8 */;", "SET NAMES utf8"),
        (";;SELECT 1;;SELECT 2;", "SELECT ?; SELECT ?"),
        ("SELECT a FROM t LIMIT 10, 20", "SELECT a FROM t LIMIT ?, ?"),
        ("SELECT a IS NULL, b=NULL", "SELECT a IS NULL, b = NULL"),
        ("SELECT t.select FROM T t", "SELECT t.select FROM T t"),
        ("", ""),
    ] {
        let shown = shown(text);
        if shown != want {
            wrong += &format!("{text}\n  is {shown}\n not {want}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_is_the_same_and_what_is_not() {
    let print = |text: &str| of(text).fingerprint;
    let base = print("SELECT a FROM t WHERE b = 1");
    for same in ["select  a from t where b='x'", "SELECT a FROM t WHERE b = -5.0 # c"] {
        assert_eq!(print(same), base, "{same}");
    }
    for other in [
        "SELECT a FROM T WHERE b = 1",
        "SELECT a FROM `t` WHERE b = 1",
        "SELECT c FROM t WHERE b = 1",
        "SELECT a FROM t WHERE b = c",
        "SELECT a FROM t WHERE b = 1 AND 1",
        "SELECT a FROM t WHERE b < 1",
        "SELECT a FROM t WHERE b = @a",
        "SELECT a FROM t WHERE b = 'x",
    ] {
        assert_ne!(print(other), base, "{other}");
    }
    assert!(of("SELECT 'x").unsure);
}

/// What is shown is bounded; what is hashed is not.
#[test]
fn long_texts() {
    let mode = LexMode::usual(Server::Unknown);
    let text = |end: &str| format!("SELECT {} {end}", "a, ".repeat(1000));
    let [a, b] = ["b", "c"].map(|end| digest(text(end).as_bytes(), mode, 100));
    assert_eq!(a.text, b.text);
    assert!(a.truncated && a.text.len() <= 100 && a.text.len() > 90);
    assert_ne!(a.fingerprint, b.fingerprint);
    let rows = |n: usize| format!("INSERT INTO t VALUES {}(1,'x')", "(1,'y'),".repeat(n));
    assert_eq!(of(&rows(10_000)), of(&rows(0)));
}

proptest! {
    /// Whatever the literals are, and however many, the digest is the same; whatever the name is, it
    /// is another.
    #[test]
    fn literals_do_not_matter_and_names_do(
        numbers in proptest::collection::vec(any::<i64>(), 1..20),
        text in "[ -&(-~]{0,20}",
        names in ["[a-z_]{1,20}q", "[a-z_]{1,20}q"],
    ) {
        let list: Vec<String> = numbers.iter().map(i64::to_string).collect();
        let list = list.join(", ");
        let text = text.replace('\\', "\\\\");
        let of = |name: &str| of(&format!("SELECT {name}, '{text}' FROM t WHERE a IN ({list})"));
        let [first, second] = [of(&names[0]), of(&names[1])];
        prop_assert_eq!(
            first.text,
            format!("SELECT {}, ? FROM t WHERE a IN (?)", names[0]).into_bytes()
        );
        prop_assert_eq!(first.fingerprint == second.fingerprint, names[0] == names[1]);
    }
}
