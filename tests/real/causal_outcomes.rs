//! What it takes to see what was written, by the servers' own logs and by Weir's counts.
//!
//! Purpose: a replica that has it is not asked twice, one that has not is waited for, and then the
//! primary is asked, which is never told to wait; in transactions as well.
//! Never: count on a replica to be slow: a lock keeps it.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};
use weir_tests::Flavour;

use crate::causal_held::{Blocked, Held, config, outcomes, restart_counting, wait_function};
use crate::causal_load::Write;
use crate::fixture::{On, Proxy, connect, on_each_server, run};
use crate::split::{Cluster, Logs};

on_each_server!(
    each_outcome_is_counted,
    a_transaction_that_only_reads_sees_what_was_written,
    the_first_reads_of_a_transaction_see_what_was_written,
);

/// The row that is written.
const ID: usize = 31;

/// The default level, with replicas that may be waited for so long.
fn proxy(cluster: &Cluster, on: On, wait_ms: Option<u32>, more: &str) -> Proxy {
    let mut config = config(cluster, on, "");
    config.workers = "1".to_owned();
    config.endpoint_lines[0] = more.to_owned();
    if let Some(wait_ms) = wait_ms {
        config.endpoint_lines.push(format!("causal_wait_ms = {wait_ms}"));
    }
    Proxy::start_with(on, &config)
}

/// An entry of a general log: thread, command, text.
fn entry(line: &str) -> Option<(&str, &str, &str)> {
    let (head, text) = line.rsplit_once('\t')?;
    let (thread, command) = head.rsplit('\t').next()?.trim().split_once(' ')?;
    Some((thread, command, text))
}

/// Where a text ran since the last look, and whether its connection was told to wait before.
fn runs(logs: &mut Logs, text: &str, flavour: Flavour) -> Vec<(&'static str, bool)> {
    let mut runs = Vec::new();
    for (name, log) in logs.news() {
        let mut waiting = Vec::new();
        for (thread, command, said) in log.lines().filter_map(entry) {
            if said.contains(wait_function(flavour)) {
                assert_ne!(name, "primary", "{said}");
                waiting.push(thread);
            }
            if said.contains(text) && ["Query", "Execute"].contains(&command) {
                runs.push((name, waiting.contains(&thread)));
            }
        }
    }
    runs
}

/// A read in one of its forms, with a text of its own.
struct Reading {
    sql: String,
    mark: String,
    statement: Option<Statement>,
}

impl Reading {
    async fn prepare(conn: &mut Conn, mark: &str, is_prepared: bool) -> Self {
        let mark = format!("'{mark} {}'", if is_prepared { "prepared" } else { "text" });
        let sql = format!("SELECT n, {mark} FROM counter WHERE id = {ID}");
        let statement = if is_prepared { Some(conn.prep(&*sql).await.unwrap()) } else { None };
        Self { sql, mark, statement }
    }

    async fn run(&self, conn: &mut Conn) -> i64 {
        let row: Option<(i64, String)> = match &self.statement {
            Some(statement) => conn.exec_first(statement, ()).await.unwrap(),
            None => conn.query_first(&*self.sql).await.unwrap(),
        };
        row.unwrap().0
    }
}

/// What a step adds to the counts: exactly one read, of that outcome.
fn counts_one(proxy: &Proxy, before: [f64; 3], outcome: usize) {
    let after = outcomes(proxy);
    for (at, (after, before)) in after.iter().zip(before).enumerate() {
        let expected = if at == outcome { 1.0 } else { 0.0 };
        let added = after - before;
        assert!((added - expected).abs() < 0.1, "outcome {outcome}: {added} more of {at}");
    }
}

const CURRENT: usize = 0;
const WAITED: usize = 1;
const PRIMARY: usize = 2;

fn waits(proxy: &Proxy) -> [f64; 2] {
    let metrics = proxy.weir.metrics().unwrap();
    ["count", "sum"].map(|what| {
        let name = format!("weir_causal_wait_duration_seconds_{what}");
        metrics.value(&name, &[("endpoint", "main")]).unwrap()
    })
}

fn each_outcome_is_counted(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    waited_for_and_then_current(&cluster, on);
    asked_of_the_primary(&cluster, on);
}

fn waited_for_and_then_current(cluster: &Cluster, on: On) {
    let proxy = proxy(cluster, on, Some(5000), "");
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        let mut logs = cluster.logs();
        for (is_prepared, n) in [(false, 1), (true, 2)] {
            let first = Reading::prepare(&mut conn, "first", is_prepared).await;
            let second = Reading::prepare(&mut conn, "second", is_prepared).await;
            let blocked = Blocked::row(cluster, ID).await;
            Write::Text.run(&mut conn, ID).await.unwrap();
            logs.news();
            let (counts, waited, start) = (outcomes(&proxy), waits(&proxy), Instant::now());
            let late = Duration::from_millis(250);
            let (read, ()) = tokio::join!(first.run(&mut conn), async {
                tokio::time::sleep(late).await;
                blocked.release().await;
            });
            assert_eq!(read, n);
            assert!(start.elapsed() >= late, "{:?}", start.elapsed());
            counts_one(&proxy, counts, WAITED);
            let now = waits(&proxy);
            let (count, took) = (now[0] - waited[0], now[1] - waited[1]);
            assert!((count - 1.0).abs() < 0.1 && took > 0.2 && took < 5.0, "{count} {took}");
            let ran = runs(&mut logs, &first.mark, on.flavour);
            assert!(matches!(ran[..], [("r1" | "r2", true)]), "{ran:?}");
            // What it has waited for it has.
            for _ in 0..3 {
                let counts = outcomes(&proxy);
                assert_eq!(second.run(&mut conn).await, n);
                counts_one(&proxy, counts, CURRENT);
                assert_eq!(runs(&mut logs, &second.mark, on.flavour), [(ran[0].0, false)]);
            }
        }
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn asked_of_the_primary(cluster: &Cluster, on: On) {
    let wait = Duration::from_millis(150);
    let proxy = proxy(cluster, on, Some(150), "");
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        let mut logs = cluster.logs();
        for (is_prepared, n) in [(false, 3), (true, 4)] {
            let reading = Reading::prepare(&mut conn, "late", is_prepared).await;
            let blocked = Blocked::row(cluster, ID).await;
            Write::Text.run(&mut conn, ID).await.unwrap();
            logs.news();
            let (counts, start) = (outcomes(&proxy), Instant::now());
            assert_eq!(reading.run(&mut conn).await, n);
            // Weir takes the time once in each turn.
            assert!(start.elapsed() >= wait.mul_f32(0.8), "{:?}", start.elapsed());
            counts_one(&proxy, counts, PRIMARY);
            let ran = runs(&mut logs, &reading.mark, on.flavour);
            // Behind a wait in vain it runs as well, and nobody is told.
            assert_eq!(ran.first(), Some(&("primary", false)), "{ran:?}");
            assert!(ran[1..].iter().all(|(_, waited)| *waited), "{ran:?}");
            blocked.release().await;
            // The session goes back to replicas.
            let start = Instant::now();
            loop {
                assert_eq!(reading.run(&mut conn).await, n);
                let ran = runs(&mut logs, &reading.mark, on.flavour);
                if matches!(ran[..], [("r1" | "r2", _)]) {
                    break;
                }
                assert!(start.elapsed() < Duration::from_secs(5), "{ran:?}");
            }
        }
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

/// Who answers, and the count.
async fn read(conn: &mut Conn) -> (String, i64) {
    let sql = format!("SELECT (SELECT name FROM node.who), n FROM counter WHERE id = {ID}");
    conn.query_first(sql).await.unwrap().unwrap()
}

fn a_transaction_that_only_reads_sees_what_was_written(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    let mut n = 0;
    let patient = proxy(&cluster, on, Some(5000), "");
    run(async {
        let mut conn = connect(patient.weir.address(), Some("shop")).await;
        let kinds = [Write::Text, Write::Prepared, Write::Transaction, Write::Function];
        for (round, write) in (0..24).zip(kinds.into_iter().cycle()) {
            n += write.run(&mut conn, ID).await.unwrap();
            let begins = if round % 3 == 0 {
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
            } else {
                "START TRANSACTION READ ONLY"
            };
            conn.query_drop(begins).await.unwrap();
            for _ in 0..2 {
                let (who, seen) = read(&mut conn).await;
                assert_eq!(seen, n, "{round} {write:?} on {who}");
                assert!(who != "primary" || round % 3 == 0, "{round} {write:?}");
            }
            conn.query_drop("COMMIT").await.unwrap();
        }
        conn.disconnect().await.unwrap();
    });
    patient.finish();

    // All of it is on the primary, if no replica has it in time.
    let hasty = proxy(&cluster, on, None, "");
    run(async {
        let blocked = Blocked::row(&cluster, ID).await;
        let mut conn = connect(hasty.weir.address(), Some("shop")).await;
        for _ in 0..3 {
            n += Write::Text.run(&mut conn, ID).await.unwrap();
            conn.query_drop("START TRANSACTION READ ONLY").await.unwrap();
            assert_eq!(read(&mut conn).await, ("primary".to_owned(), n));
            assert_eq!(read(&mut conn).await, ("primary".to_owned(), n));
            let written = Write::Text.run(&mut conn, ID).await;
            assert!(written.is_err(), "it may only read");
            conn.query_drop("COMMIT").await.unwrap();
        }
        blocked.release().await;
        conn.disconnect().await.unwrap();
    });
    hasty.finish();
}

fn the_first_reads_of_a_transaction_see_what_was_written(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    let mut n = 0;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    let patient = proxy(&cluster, on, Some(5000), "transaction_split = true");
    run(async {
        let mut conn = connect(patient.weir.address(), Some("shop")).await;
        conn.query_drop(isolation).await.unwrap();
        for round in 0..12 {
            n += Write::Text.run(&mut conn, ID).await.unwrap();
            conn.query_drop("BEGIN").await.unwrap();
            for _ in 0..2 {
                let (who, seen) = read(&mut conn).await;
                assert_eq!(seen, n, "{round} on {who}");
                assert_ne!(who, "primary", "{round}");
            }
            let update = format!("UPDATE counter SET n = n + 1 WHERE id = {ID}");
            conn.query_drop(update).await.unwrap();
            assert_eq!(read(&mut conn).await, ("primary".to_owned(), n + 1));
            if round % 2 == 0 {
                conn.query_drop("COMMIT").await.unwrap();
                n += 1;
            } else {
                conn.query_drop("ROLLBACK").await.unwrap();
            }
            let (who, seen) = read(&mut conn).await;
            assert_eq!(seen, n, "{round} on {who}");
            assert_ne!(who, "primary", "{round}");
        }
        conn.disconnect().await.unwrap();
    });
    patient.finish();

    let hasty = proxy(&cluster, on, None, "transaction_split = true");
    run(async {
        let blocked = Blocked::row(&cluster, ID).await;
        let mut conn = connect(hasty.weir.address(), Some("shop")).await;
        conn.query_drop(isolation).await.unwrap();
        for _ in 0..3 {
            n += Write::Text.run(&mut conn, ID).await.unwrap();
            conn.query_drop("BEGIN").await.unwrap();
            assert_eq!(read(&mut conn).await, ("primary".to_owned(), n));
            conn.query_drop("COMMIT").await.unwrap();
        }
        blocked.release().await;
        conn.disconnect().await.unwrap();
    });
    hasty.finish();
}
