//! Levels of consistency: what each shows of what others write, and how they are chosen.
//!
//! Purpose: each level sees all it has to, the level below does not; every way to choose one.
//! Never: take a level's name for its effect.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, Error, Row};
use weir_tests::free_port;

use crate::causal_held::{ALL_ARE_LATE, Blocked, Held, config, outcomes, phases, restart_counting};
use crate::causal_load::{Load, Plan, Read, Tallies, Write, sum};
use crate::fixture::{On, PASSWORD, Proxy, connect, on_each_server, options, run};
use crate::split::{Cluster, PATIENCE};

on_each_server!(
    all_writes_through_weir_are_seen_at_instance,
    writes_behind_weir_are_seen_at_global,
    levels_are_set_and_shown,
    another_account_begins_with_its_own_level,
    each_level_sees_what_it_has_to,
);

/// Of sessions that have to see everything, and of others that do not.
fn check(seed: u64, strict: &Tallies, loose: &Tallies) {
    for (phase, tally) in strict.iter().enumerate().take(ALL_ARE_LATE + 1) {
        assert!(tally.stale == 0 && tally.reads > 10, "{seed}: {phase} {strict:?}");
    }
    let on_replicas: usize = strict.iter().map(|tally| tally.on_replicas).sum();
    assert!(on_replicas > 30, "{seed}: {strict:?}");
    // A session that had to ask the primary sees no less from then on, which may be soon.
    let reads: usize = loose.iter().map(|tally| tally.reads).sum();
    let stale: usize = loose.iter().map(|tally| tally.stale).sum();
    assert!(stale > reads / 50 && reads > 100, "{seed}: {loose:?}");
}

fn all_writes_through_weir_are_seen_at_instance(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    let mut config = config(&cluster, on, "instance");
    let port = free_port().unwrap();
    config.more = format!(
        "[[endpoint]]\nname = \"writer\"\nlisten = \"127.0.0.1:{port}\"\ncluster = \"main\"\n\
         mode = \"primary\"\npooling = \"none\"\n"
    );
    let proxy = Proxy::start_with(on, &config);
    let here = || options(proxy.weir.address(), Some("shop"));
    // Sessions that write and do nothing else, of the same endpoint and of the other.
    let plans = (0..14_u32).map(|number| Plan {
        writes: Some(if number % 2 == 0 { here() } else { here().tcp_port(port) }),
        first: (number >= 10).then_some("SET SESSION weir_consistency = 'session'"),
        ..Plan::alone(here())
    });
    let load = Load::new(plans.collect(), here());
    let tallies = load.while_doing(|load| phases(&cluster, load));
    let (strict, loose) = tallies.split_at(10);
    check(load.seed, &sum(strict), &sum(loose));
    let counts = outcomes(&proxy);
    assert!(counts.iter().all(|count| *count > 0.5), "{counts:?}");
    proxy.finish();
}

/// Somebody whose level is that of the account.
const FRESH: &str = "fresh";

fn create_fresh(cluster: &Cluster) {
    let account = format!(
        "CREATE USER IF NOT EXISTS {FRESH}@'%' IDENTIFIED BY '{PASSWORD}'; \
         GRANT ALL ON shop.* TO {FRESH}@'%'; GRANT SELECT ON node.* TO {FRESH}@'%'"
    );
    cluster.topology.primary.sql(&account).unwrap();
    cluster.topology.wait_replicated(PATIENCE).unwrap();
}

fn fresh() -> String {
    format!("[[user]]\nname = \"{FRESH}\"\npassword = \"{PASSWORD}\"\nconsistency = \"global\"\n")
}

/// Servers, and a Weir at eventual that has that account.
fn with_fresh(on: On) -> (Held, Proxy) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    create_fresh(&cluster);
    let mut config = config(&cluster, on, "eventual");
    config.more = fresh();
    let proxy = Proxy::start_with(on, &config);
    (cluster, proxy)
}

fn writes_behind_weir_are_seen_at_global(on: On) {
    let (cluster, proxy) = with_fresh(on);
    let here = || options(proxy.weir.address(), Some("shop"));
    let behind = || options(cluster.topology.primary.address(), Some("shop"));
    let plans = (0..13_u32).map(|number| {
        let plan = Plan { writes: Some(behind()), ..Plan::alone(here()) };
        match number {
            0..3 => {
                Plan { hint: "/* weir:consistency=global */ ", how_to_read: Read::SINGLE, ..plan }
            }
            3..6 => Plan { first: Some("SET SESSION weir_consistency = 'global'"), ..plan },
            6..9 => Plan { reads: here().user(Some(FRESH)), ..plan },
            // What is written through Weir is all that these have to see.
            9..11 => Plan { first: Some("SET SESSION weir_consistency = 'instance'"), ..plan },
            _ => plan,
        }
    });
    let load = Load::new(plans.collect(), behind());
    let tallies = load.while_doing(|load| phases(&cluster, load));
    check(load.seed, &sum(&tallies[..9]), &sum(&tallies[9..11]));
    check(load.seed, &sum(&tallies[..9]), &sum(&tallies[11..]));
    let counts = outcomes(&proxy);
    assert!(counts.iter().all(|count| *count > 0.5), "{counts:?}");
    proxy.finish();
}

/// What a session is told of its level.
async fn shown(conn: &mut Conn) -> String {
    let rows: Vec<Row> = conn.query("SHOW VARIABLES LIKE 'weir%'").await.unwrap();
    assert!(!rows.is_empty(), "nobody knows of it");
    let names: Vec<_> = rows[0].columns_ref().iter().map(mysql_async::Column::name_str).collect();
    assert_eq!((rows.len(), &*names), (1, &["Variable_name".into(), "Value".into()][..]));
    let (name, value): (String, String) = mysql_async::from_row(rows[0].clone());
    assert_eq!(name, "weir_consistency");
    value
}

fn code(outcome: Result<(), Error>) -> u16 {
    match outcome {
        Err(Error::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

fn levels_are_set_and_shown(on: On) {
    let cluster = Held::take(on.flavour);
    create_fresh(&cluster);
    let mut config = config(&cluster, on, "eventual");
    config.more = fresh();
    let proxy = Proxy::start_with(on, &config);
    let forms = [
        "SET SESSION weir_consistency = ",
        "SET weir_consistency = ",
        "SET @@weir_consistency = ",
        "SET @@session.weir_consistency = ",
        "set session  weir_consistency=",
    ];
    run(async {
        let mut logs = cluster.logs();
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        assert_eq!(shown(&mut conn).await, "eventual");
        for form in forms {
            for level in ["global", "instance", "session", "eventual"] {
                conn.query_drop(format!("{form}'{level}'")).await.unwrap();
                assert_eq!(shown(&mut conn).await, level, "{form}");
            }
            conn.query_drop(format!("{form}'instance'")).await.unwrap();
            for wrong in ["'strong'", "''", "'globally'"] {
                assert_eq!(code(conn.query_drop(format!("{form}{wrong}")).await), 1231, "{form}");
                assert_eq!(shown(&mut conn).await, "instance", "{form}");
            }
        }
        // Other variables are the server's.
        let version: Option<(String, String)> =
            conn.query_first("SHOW VARIABLES LIKE 'version'").await.unwrap();
        assert_eq!(version.unwrap().0, "version");
        // A reset takes back what was set.
        assert!(conn.reset().await.unwrap());
        assert_eq!(shown(&mut conn).await, "eventual");
        conn.disconnect().await.unwrap();

        let options = options(proxy.weir.address(), Some("shop")).user(Some(FRESH));
        let mut conn = Conn::new(options).await.unwrap();
        assert_eq!(shown(&mut conn).await, "global");
        conn.query_drop("SET weir_consistency = 'session'").await.unwrap();
        assert_eq!(shown(&mut conn).await, "session");
        assert!(conn.reset().await.unwrap());
        assert_eq!(shown(&mut conn).await, "global");
        conn.disconnect().await.unwrap();
        // No server has heard of it.
        for (name, log) in logs.news() {
            let heard = log.contains("weir_consistency") || log.contains("'weir%'");
            assert!(!heard, "{name}: {log}");
        }
    });
    proxy.finish();
}

fn another_account_begins_with_its_own_level(on: On) {
    let cluster = Held::take(on.flavour);
    create_fresh(&cluster);
    let mut config = config(&cluster, on, "eventual");
    config.more = fresh();
    let proxy = Proxy::start_with(on, &config);
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        conn.query_drop("SET weir_consistency = 'global'").await.unwrap();
        conn.change_user(ChangeUserOpts::default()).await.unwrap();
        assert_eq!(shown(&mut conn).await, "eventual");
        // Who has a level of his own begins with it.
        let other = ChangeUserOpts::new().with_user(Some(FRESH.to_owned()));
        conn.change_user(other).await.unwrap();
        assert_eq!(shown(&mut conn).await, "global");
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

/// A row that no replica gets the news of.
const ID: usize = 30;

/// What a session sees in it.
async fn seen(conn: &mut Conn, hint: &str) -> i64 {
    let text = format!("{hint}SELECT n FROM counter WHERE id = {ID}");
    let first: Option<i64> = conn.query_first(&*text).await.unwrap();
    let prepared: Option<i64> = conn.exec_first(text, ()).await.unwrap();
    assert_eq!(first, prepared, "{hint}");
    first.unwrap()
}

fn each_level_sees_what_it_has_to(on: On) {
    let (cluster, proxy) = with_fresh(on);
    run(async {
        let blocked = Blocked::row(&cluster, ID).await;
        let mut other = connect(proxy.weir.address(), Some("shop")).await;
        let mut behind = connect(cluster.topology.primary.address(), Some("shop")).await;
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        let hint = |level: &str| format!("/* weir:consistency={level} */ ");
        Write::Text.run(&mut behind, ID).await.unwrap();
        // For one statement, and no more.
        assert_eq!(seen(&mut conn, "").await, 0);
        for level in ["eventual", "session", "instance"] {
            assert_eq!(seen(&mut conn, &hint(level)).await, 0, "{level}");
        }
        assert_eq!(seen(&mut conn, &hint("global")).await, 1);
        assert_eq!(seen(&mut conn, "").await, 0);
        // Until another is set.
        conn.query_drop("SET weir_consistency = 'global'").await.unwrap();
        assert_eq!(seen(&mut conn, "").await, 1);
        assert_eq!(seen(&mut conn, &hint("eventual")).await, 0);
        assert_eq!(seen(&mut conn, "").await, 1);
        assert!(conn.reset().await.unwrap());
        assert_eq!(seen(&mut conn, "").await, 0);

        Write::Text.run(&mut other, ID).await.unwrap();
        let mut another = connect(proxy.weir.address(), Some("shop")).await;
        for (level, sees) in [("session", 0), ("instance", 2), ("eventual", 0)] {
            another.query_drop(format!("SET weir_consistency = '{level}'")).await.unwrap();
            assert_eq!(seen(&mut another, "").await, sees, "{level}");
        }
        Write::Text.run(&mut conn, ID).await.unwrap();
        assert_eq!(seen(&mut conn, "").await, 0);
        conn.query_drop("SET weir_consistency = 'session'").await.unwrap();
        assert_eq!(seen(&mut conn, "").await, 3, "written before the level was set");
        assert_eq!(seen(&mut conn, &hint("eventual")).await, 0);

        Write::Text.run(&mut behind, ID).await.unwrap();
        let options = options(proxy.weir.address(), Some("shop")).user(Some(FRESH));
        let mut fresh = Conn::new(options).await.unwrap();
        assert_eq!(seen(&mut fresh, "").await, 4);
        assert_eq!(seen(&mut fresh, &hint("eventual")).await, 0);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(seen(&mut other, "").await, 0, "replicas have nothing of it all the time");
        blocked.release().await;
        for conn in [conn, other, behind, another, fresh] {
            conn.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}
