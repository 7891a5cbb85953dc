//! What it costs to tell where a statement may run: `cargo bench -p weir-benches --bench classify`.
//!
//! Purpose: nanoseconds of the classifier for texts of usual sizes, beside a full parse and beside
//! regular expressions as users of ProxySQL write them.
//! Never: compare what they find; only the classifier doubts.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use regex::bytes::{Regex, RegexBuilder};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;
use weir::sql::{LexMode, Server, classify, classify_fully};

fn texts() -> Vec<(&'static str, String)> {
    let point = "SELECT c, pad, created_at FROM sbtest1 WHERE id=500012 AND name LIKE 'abc%' \
                 ORDER BY c DESC LIMIT 1";
    let row = format!("(501, 'it is', '{}', NULL, 12.5)", "x".repeat(900));
    let insert =
        format!("INSERT INTO sbtest1 (a, b, c, d, e) VALUES {}", [row.as_str(); 10].join(", "));
    let semicolons = insert.replace("it is", "it is;");
    let numbers = format!("SELECT a FROM t WHERE b IN ({})", ["123456"; 1200].join(", "));
    vec![
        ("point select, 100 bytes", point.to_owned()),
        ("with calls", point.replace("c, pad", "COUNT(c), MAX(pad)")),
        ("locking", point.replace("LIMIT 1", "FOR UPDATE")),
        ("with a comment", format!("/* weir:replica */ {point}")),
        ("with columns of a table", "WITH a (b) AS (SELECT 1) SELECT b FROM a".to_owned()),
        ("update", "UPDATE sbtest1 SET k=k+1 WHERE id=500012".to_owned()),
        ("BEGIN", "BEGIN".to_owned()),
        ("insert of 10 kB, long strings", insert),
        ("the same with semicolons in strings", semicolons),
        ("list of 10 kB, short numbers", numbers),
    ]
}

/// The rules of the documentation's example, and what users add as they learn.
fn rules() -> Vec<Regex> {
    let rules = [
        "^SELECT.*FOR UPDATE",
        "^SELECT.*LOCK IN SHARE MODE",
        "^SELECT.*INTO",
        "(GET_LOCK|RELEASE_LOCK|LAST_INSERT_ID|FOUND_ROWS|NEXTVAL)\\s*\\(",
        "^SELECT",
        "^(SHOW|DESCRIBE|EXPLAIN)",
    ];
    let build = |rule| RegexBuilder::new(rule).case_insensitive(true).unicode(false).build();
    rules.into_iter().filter_map(|rule| build(rule).ok()).collect()
}

fn classes(criterion: &mut Criterion) {
    let mode = LexMode::usual(Server::MySql(80_036));
    let rules = rules();
    for (name, text) in texts() {
        let bytes = text.as_bytes();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("classify", |bencher| {
            bencher.iter(|| classify(black_box(bytes), mode));
        });
        group.bench_function("without the glance", |bencher| {
            bencher.iter(|| classify_fully(black_box(bytes), mode));
        });
        group.bench_function("sqlparser", |bencher| {
            bencher.iter(|| Parser::parse_sql(&MySqlDialect {}, black_box(&text)).is_ok());
        });
        group.bench_function("regular expressions", |bencher| {
            bencher.iter(|| rules.iter().position(|rule| rule.is_match(black_box(bytes))));
        });
        group.finish();
    }
}

criterion_group!(benches, classes);
criterion_main!(benches);
