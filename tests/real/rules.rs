//! Rules in front of real servers.
//!
//! Purpose: each action, for texts and prepared statements, on sessions that were there before.
//! Never: believe Weir's own counts alone.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use weir_tests::{Flavour, WeirConfig};

use crate::fixture::{
    Database, On, Proxy, config, connect, database, eventually, on_every_server, run,
};
use crate::split::{Cluster, PATIENCE};

on_every_server!(
    rejects_and_rewrites,
    a_reload_reaches_a_session_that_is_open,
    so_many_run_at_the_same_time,
    who_waits_for_its_turn_and_leaves_is_forgotten,
    so_many_run_in_a_second,
    a_statement_is_delayed_without_a_connection,
    what_takes_long_is_ended,
    reads_go_where_rules_say,
);

const WHO: &str = "SELECT name FROM node.who";

fn with(on: On, rules: &str) -> WeirConfig {
    let mut config = config(on, Database::shared(on));
    config.pooling = "transaction";
    config.workers = "2".to_owned();
    config.more = rules.to_owned();
    config
}

/// The number and the text of an error.
fn error<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (u16, String) {
    match outcome {
        Err(Error::Server(error)) => (error.code, error.message),
        other => panic!("{other:?}"),
    }
}

fn count(proxy: &Proxy, metric: &str, rule: &str) -> f64 {
    proxy.weir.metrics().unwrap().value(metric, &[("rule", rule)]).unwrap()
}

fn rejects_and_rewrites(on: On) {
    let name = database(Database::shared(on), "rules", on);
    let rules = format!(
        r#"
[[rule]]
name = "no-drop"
schema = "{name}"
regex = "(?i)^DROP"
action = "reject"
message = "ask first"
[[rule]]
name = "old-table"
regex = "\\bold_(\\w+)"
action = "rewrite"
replace = "new_$1"
[[rule]]
name = "no-secret"
regex = "new_secret"
action = "reject"
code = 1142
"#
    );
    let proxy = Proxy::start_with(on, &with(on, &rules));
    run(async {
        let mut conn = connect(proxy.weir.address(), Some(&name)).await;
        conn.query_drop("CREATE TABLE new_t (a INT)").await.unwrap();
        conn.query_drop("INSERT INTO old_t VALUES (7)").await.unwrap();
        let told = (1227, "weir: ask first".to_owned());
        assert_eq!(error(conn.query_drop("drop table new_t").await), told);
        assert_eq!(error(conn.exec_drop("DROP TABLE new_t", ()).await), told);
        assert_eq!(conn.query_first("SELECT a FROM old_t").await.unwrap(), Some(7));
        let sql = "SELECT a FROM old_t WHERE a = ?";
        assert_eq!(conn.exec_first(sql, (7,)).await.unwrap(), Some(7));
        // What it has become is under rules as well.
        let told = (1142, "weir: rule 'no-secret' rejects this statement".to_owned());
        assert_eq!(error(conn.query_drop("SELECT * FROM old_secret").await), told);
        // The session is what it was, in a transaction, too.
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("INSERT INTO new_t VALUES (8)").await.unwrap();
        assert_eq!(error(conn.query_drop("DROP TABLE new_t").await).0, 1227);
        conn.query_drop("ROLLBACK").await.unwrap();
        assert_eq!(conn.query_first("SELECT COUNT(*) FROM new_t").await.unwrap(), Some(1));
        // Longer than a buffer, and sent in pieces.
        let long = format!("SELECT a /* {} */ FROM old_t", "x".repeat(12_000));
        assert_eq!(conn.query_first(long).await.unwrap(), Some(7));
        let longer = format!("SELECT '{}' FROM old_t", "x".repeat(40_000));
        assert_eq!(error(conn.query_drop(longer).await).0, 1146, "too long to be read");
        conn.disconnect().await.unwrap();
    });
    assert!((count(&proxy, "weir_rule_rejected_total", "no-drop") - 3.0).abs() < 0.1);
    assert!((count(&proxy, "weir_rule_matches_total", "old-table") - 5.0).abs() < 0.1);
    assert!((count(&proxy, "weir_rule_rejected_total", "no-secret") - 1.0).abs() < 0.1);
    proxy.finish();
}

fn a_reload_reaches_a_session_that_is_open(on: On) {
    let mut settings = with(on, "");
    settings.admin_port = None;
    let mut proxy = Proxy::start_with(on, &settings);
    let rule = "[[rule]]\nname = \"no-two\"\nregex = \"^SELECT [?2]\"\naction = \"reject\"\n";
    let file = |rules: &str| {
        let mut settings = settings.clone();
        settings.admin_port = Some(proxy.weir.admin().port());
        settings.more = rules.to_owned();
        settings.to_toml(proxy.weir.port()).unwrap()
    };
    let (none, one) = (file(""), file(rule));
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let statement = conn.prep("SELECT ?").await.unwrap();
        assert_eq!(conn.query_first("SELECT 2").await.unwrap(), Some(2));
        let said = proxy.weir.reload(&one).unwrap();
        assert!(said.contains("rule[no-two] added"), "{said}");
        eventually("the rule holds", PATIENCE, || {
            proxy.weir.metrics().unwrap().get("weir_rule_matches_total", &[("rule", "no-two")])
                == Some(0.0)
        });
        assert_eq!(error(conn.query_drop("SELECT 2").await).0, 1227);
        assert_eq!(error(conn.exec_drop(&statement, (2,)).await).0, 1227);
        assert_eq!(conn.query_first("SELECT 3").await.unwrap(), Some(3));
        let said = proxy.weir.reload(&none).unwrap();
        assert!(said.contains("rule[no-two] removed"), "{said}");
        let mut outcome = None;
        for _ in 0..200 {
            outcome = conn.query_first("SELECT 2").await.ok().flatten();
            if outcome.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(outcome, Some(2));
        assert_eq!(conn.exec_first(&statement, (2,)).await.unwrap(), Some(2));
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

const ONE: &str =
    "[[rule]]\nname = \"one\"\nregex = \"SLEEP\"\naction = \"limit\"\nconcurrent = 1\n";

fn so_many_run_at_the_same_time(on: On) {
    let proxy = Proxy::start_with(on, &with(on, &format!("{ONE}wait_ms = 30000\n")));
    run(async {
        let started = Instant::now();
        let clients = (0..6).map(|number| {
            let address = proxy.weir.address();
            async move {
                let mut conn = connect(address, None).await;
                if number % 2 == 0 {
                    conn.query_drop("SELECT SLEEP(0.2)").await.unwrap();
                } else {
                    conn.exec_drop("SELECT SLEEP(?)", (0.2,)).await.unwrap();
                }
                // What is under no rule does not wait.
                conn.query_drop("SELECT 1").await.unwrap();
                conn.disconnect().await.unwrap();
            }
        });
        let clients: Vec<_> = clients.map(tokio::spawn).collect();
        for client in clients {
            client.await.unwrap();
        }
        assert!(started.elapsed() >= Duration::from_millis(1_150), "{:?}", started.elapsed());
    });
    let waits = count(&proxy, "weir_rule_waits_total", "one");
    assert!((1.0..=5.0).contains(&waits), "{waits}");
    assert!((count(&proxy, "weir_rule_matches_total", "one") - 6.0).abs() < 0.1);
    assert!(count(&proxy, "weir_rule_running", "one").abs() < 0.1);
    proxy.finish();
}

fn who_waits_for_its_turn_and_leaves_is_forgotten(on: On) {
    let rules = format!("{ONE}wait_ms = 1500\nwaiters_max = 1\n");
    let proxy = Proxy::start_with(on, &with(on, &rules));
    let address = proxy.weir.address();
    run(async {
        let runs = tokio::spawn(async move {
            let mut conn = connect(address, None).await;
            conn.query_drop("SELECT SLEEP(6)").await.unwrap();
        });
        until("it runs", || count(&proxy, "weir_rule_running", "one") > 0.5).await;
        let leaves = tokio::spawn(async move {
            let mut conn = connect(address, None).await;
            conn.query_drop("SELECT SLEEP(0.01)").await.unwrap();
        });
        let waiting = || count(&proxy, "weir_rule_waiting", "one");
        until("another waits", || waiting() > 0.5).await;
        let mut conn = connect(address, None).await;
        let text = "weir: rule 'one': too many of these statements; try again later".to_owned();
        let told = error(conn.query_drop("SELECT SLEEP(0.01)").await);
        assert_eq!(told, (1040, text.clone()), "as many wait as may");
        leaves.abort();
        until("it is forgotten", || waiting() < 0.5).await;
        // Patience has an end, and the session goes on.
        let started = Instant::now();
        assert_eq!(error(conn.exec_drop("SELECT SLEEP(?)", (0.01,)).await), (1040, text));
        assert!(started.elapsed() > Duration::from_millis(1_490), "{:?}", started.elapsed());
        runs.await.unwrap();
        conn.query_drop("SELECT SLEEP(0.01)").await.unwrap();
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn so_many_run_in_a_second(on: On) {
    let rules = "[[rule]]\nname = \"now\"\nregex = \"now\"\naction = \"limit\"\nper_second = 1\n\
                 burst = 2\n\
                 [[rule]]\nname = \"later\"\nregex = \"later\"\naction = \"limit\"\n\
                 per_second = 10\nburst = 1\nwait_ms = 5000\n";
    let proxy = Proxy::start_with(on, &with(on, rules));
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let statement = conn.prep("SELECT 'now'").await.unwrap();
        conn.query_drop("SELECT 'now'").await.unwrap();
        conn.exec_drop(&statement, ()).await.unwrap();
        assert_eq!(error(conn.exec_drop(&statement, ()).await).0, 1040);
        assert_eq!(error(conn.query_drop("SELECT 'now'").await).0, 1040);
        let started = Instant::now();
        for _ in 0..6 {
            conn.query_drop("SELECT 'later'").await.unwrap();
        }
        assert!(started.elapsed() >= Duration::from_millis(490), "{:?}", started.elapsed());
        conn.query_drop("SELECT 1").await.unwrap();
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn what_takes_long_is_ended(on: On) {
    let rules = "[[rule]]\nname = \"short\"\nregex = \"(?i)sleep\"\naction = \"timeout\"\n\
                 timeout_ms = 200\n";
    let proxy = Proxy::start_with(on, &with(on, rules));
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        // A sleep that is ended is no error on MySQL: rows that take long are.
        let long = "SELECT COUNT(*), SLEEP(0) FROM numbers.n a JOIN numbers.n b JOIN numbers.n c";
        for _ in 0..2 {
            let started = Instant::now();
            let text = error(conn.query_drop(long).await).0;
            let prepared = error(conn.exec_drop(long, ()).await).0;
            assert!(
                [text, prepared].iter().all(|it| matches!(it, 1969 | 3024)),
                "{text} {prepared}"
            );
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
            let seen: Option<u32> = conn.query_first("SELECT 7 + SLEEP(0)").await.unwrap();
            assert_eq!(seen, Some(7));
            let seen: Option<u32> = conn.exec_first("SELECT ? + SLEEP(0)", (8,)).await.unwrap();
            assert_eq!(seen, Some(8));
        }
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn a_statement_is_delayed_without_a_connection(on: On) {
    let rules = "[[rule]]\nname = \"slow\"\nregex = \"slow\"\naction = \"delay\"\ndelay_ms = 800\n";
    let mut settings = with(on, rules);
    settings.backend_keys = vec![("connections_max".to_owned(), 1)];
    settings.workers = "1".to_owned();
    let proxy = Proxy::start_with(on, &settings);
    let address = proxy.weir.address();
    run(async {
        let mut other = connect(address, None).await;
        let mut conn = connect(address, None).await;
        let statement = conn.prep("SELECT 'slow'").await.unwrap();
        let started = Instant::now();
        let slow = tokio::spawn(async move {
            conn.query_drop("SELECT 'slow'").await.unwrap();
            conn.exec_drop(&statement, ()).await.unwrap();
            conn
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The only connection is free.
        other.query_drop("SELECT 1").await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
        let mut conn = slow.await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(1_600), "{:?}", started.elapsed());
        // In a transaction it keeps what it has.
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop("SELECT 'slow'").await.unwrap();
        conn.query_drop("COMMIT").await.unwrap();
        for conn in [conn, other] {
            conn.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}

/// A cluster of these tests' own: others look at the logs of theirs.
fn cluster(flavour: Flavour) -> std::sync::MutexGuard<'static, Cluster> {
    static MARIADB: OnceLock<Mutex<Cluster>> = OnceLock::new();
    static MYSQL: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let shared = match flavour {
        Flavour::MariaDb => &MARIADB,
        Flavour::MySql => &MYSQL,
    };
    let shared = shared.get_or_init(|| Mutex::new(Cluster::start(flavour))).lock();
    shared.unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn reads_go_where_rules_say(on: On) {
    let cluster = cluster(on.flavour);
    let mut settings = cluster.config(on.driver);
    settings.endpoint_lines.push("primary_reads = \"always\"".to_owned());
    settings.more = r#"
[[rule]]
name = "home"
regex = "/\\* home"
action = "route"
to = "primary"
[[rule]]
name = "second"
regex = "/\\* second"
action = "route"
to = "backend r2"
[[rule]]
name = "away"
action = "route"
to = "replica"
"#
    .to_owned();
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        for _ in 0..6 {
            for (hint, wanted) in [("home", "primary"), ("second", "r2"), ("", "r")] {
                let sql = format!("{WHO} /* {hint} */");
                let text = who(&mut conn, &sql).await;
                let prepared: String = conn.exec_first(&sql, ()).await.unwrap().unwrap();
                for server in [text, prepared] {
                    let is_there =
                        server.starts_with(wanted) && (wanted != "r" || server != "primary");
                    assert!(is_there, "{sql}: {server}");
                }
            }
            // What writes, or locks, goes where it has to.
            let locking = format!("{WHO} /* second */ FOR UPDATE");
            assert_eq!(who(&mut conn, &locking).await, "primary");
            let locking = format!("{WHO} FOR UPDATE");
            assert_eq!(
                conn.exec_first::<String, _, _>(&locking, ()).await.unwrap().unwrap(),
                "primary"
            );
            conn.query_drop("INSERT INTO u (id, a) VALUES (5000, 1)").await.unwrap();
            conn.query_drop("BEGIN").await.unwrap();
            assert_eq!(who(&mut conn, &format!("{WHO} /* second */")).await, "primary");
            conn.query_drop("DELETE FROM u WHERE id = 5000").await.unwrap();
            conn.query_drop("COMMIT").await.unwrap();
        }
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

/// Waits until something holds, while others go on.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn who(conn: &mut Conn, sql: &str) -> String {
    conn.query_first(sql).await.unwrap().unwrap()
}
