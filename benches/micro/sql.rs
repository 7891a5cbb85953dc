//! What reading statement texts costs: `cargo bench -p weir-benches --bench sql`.
//!
//! Purpose: nanoseconds of the glance, the lexer, findings and digests, for texts of usual sizes.
//! Never: stand in for `bench`; user-space work is a small part of a query.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::sql::{Findings, LexMode, Lexer, Server, digest, may_matter};

fn texts() -> Vec<(&'static str, String)> {
    let point = "SELECT c, pad, created_at FROM sbtest1 WHERE id=500012 AND name LIKE 'abc%' \
                 ORDER BY c DESC LIMIT 1";
    let row = format!("(501, 'it is', '{}', NULL, 12.5)", "x".repeat(900));
    let insert =
        format!("INSERT INTO sbtest1 (a, b, c, d, e) VALUES {}", [row.as_str(); 10].join(", "));
    let numbers = format!("SELECT a FROM t WHERE b IN ({})", ["123456"; 1200].join(", "));
    vec![
        ("point select, 100 bytes", point.to_owned()),
        ("with a user variable", format!("{point} /* */ -- {}", "@a")),
        (
            "SET of five",
            "SET NAMES utf8mb4, autocommit=1, sql_mode='STRICT_TRANS_TABLES', \
          time_zone='+00:00', foreign_key_checks=0"
                .to_owned(),
        ),
        ("BEGIN", "BEGIN".to_owned()),
        ("insert of 10 kB, long strings", insert),
        ("list of 10 kB, short numbers", numbers),
    ]
}

fn readings(criterion: &mut Criterion) {
    let mode = LexMode::usual(Server::MySql(80_036));
    for (name, text) in texts() {
        let text = text.as_bytes();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("glance", |bencher| bencher.iter(|| may_matter(black_box(text))));
        group.bench_function("tokens", |bencher| {
            bencher.iter(|| {
                let mut lexer = Lexer::new(black_box(text), mode);
                let mut count = 0;
                while let Ok(Some(_)) = lexer.next_token() {
                    count += 1;
                }
                count
            });
        });
        group.bench_function("findings", |bencher| {
            bencher.iter(|| Findings::of(black_box(text), mode));
        });
        group.bench_function("findings without the glance", |bencher| {
            bencher.iter(|| Findings::looked_for(black_box(text), mode));
        });
        group.bench_function("digest", |bencher| {
            bencher.iter(|| digest(black_box(text), mode, 1024));
        });
        group.finish();
    }
}

criterion_group!(benches, readings);
criterion_main!(benches);
