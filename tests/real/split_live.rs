//! An endpoint that splits while its servers come, go and change; and under load.
//!
//! Purpose: sessions that are open get the new picture at once, and lose nothing.
//! Never: open a session for a change it is to see.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::LocalSet;
use weir_tests::{Flavour, PsMode, Server, Sysbench, WeirConfig};

use crate::fixture::{On, Proxy, USER, connect, eventually, on_each_server, run};
use crate::split::{Cluster, PATIENCE, who};

on_each_server!(
    a_session_that_is_open_sees_every_change,
    a_replica_may_die_under_reads,
    the_servers_count_what_sysbench_asks,
);

/// How often each server has answered so many reads of a session.
async fn answers(conn: &mut Conn, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(who(conn).await).or_default() += 1;
    }
    counts
}

fn names(counts: &BTreeMap<String, usize>) -> Vec<&str> {
    counts.keys().map(String::as_str).collect()
}

/// Waits until just these servers answer.
async fn only(conn: &mut Conn, wanted: &[&str]) {
    let start = Instant::now();
    loop {
        let counts = answers(conn, 12).await;
        if names(&counts) == wanted {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{counts:?}, and should be {wanted:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn a_session_that_is_open_sees_every_change(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let all = cluster.config(on.driver);
    let mut few = all.clone();
    few.backends.truncate(2);
    let mut proxy = Proxy::start_with(on, &few);
    // The third line of the endpoint, if there is one, and lines of `r1`.
    let changed = |config: &WeirConfig, policy: &str, of_r1: &str, port: u16| {
        let mut config = config.clone();
        config.endpoint_lines[1] = format!("policy = \"{policy}\"");
        let toml = config.to_toml(port).unwrap();
        toml.replacen("name = \"r1\"\n", &format!("name = \"r1\"\n{of_r1}\n"), 1)
    };
    let port = proxy.weir.port();
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        only(&mut conn, &["r1"]).await;
        let mut reload = |policy: &str, of_r1: &str, config: &WeirConfig| {
            proxy.weir.reload(&changed(config, policy, of_r1, port)).unwrap()
        };
        // One is added.
        reload("round-robin", "", &all);
        only(&mut conn, &["r1", "r2"]).await;
        // Weight.
        reload("round-robin", "weight = 300", &all);
        assert_eq!(answers(&mut conn, 40).await["r1"], 30);
        // Policy: the one with less to do per weight.
        reload("least-outstanding", "weight = 300", &all);
        assert_eq!(names(&answers(&mut conn, 20).await), ["r1"]);
        // Drain: nothing new, and what is idle there is closed.
        reload("round-robin", "drain = true", &all);
        only(&mut conn, &["r2"]).await;
        let idle = || {
            let of_app = format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}'"
            );
            cluster.topology.replicas[0].sql(&of_app).unwrap()
        };
        eventually("idle connections to close", PATIENCE, || idle().trim() == "0");
        reload("round-robin", "", &all);
        only(&mut conn, &["r1", "r2"]).await;
        // One is gone.
        reload("round-robin", "", &few);
        only(&mut conn, &["r1"]).await;
        reload("round-robin", "", &all);
        // Whose replication stops gets nothing until it goes on.
        replicates(&cluster.topology.replicas[0], false);
        only(&mut conn, &["r2"]).await;
        replicates(&cluster.topology.replicas[1], false);
        only(&mut conn, &["primary"]).await;
        replicates(&cluster.topology.replicas[1], true);
        only(&mut conn, &["r2"]).await;
        replicates(&cluster.topology.replicas[0], true);
        only(&mut conn, &["r1", "r2"]).await;
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

pub(crate) fn replicates(replica: &Server, goes_on: bool) {
    let what = if replica.flavour() == Flavour::MySql { "REPLICA" } else { "SLAVE" };
    let verb = if goes_on { "START" } else { "STOP" };
    replica.sql(&format!("{verb} {what} SQL_THREAD")).unwrap();
}

/// Reads go on without an error, also those that were on their way, and come back with the replica.
fn a_replica_may_die_under_reads(on: On) {
    let mut cluster = Cluster::start(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    let (address, over) = (proxy.weir.address(), Rc::new(Cell::new(false)));
    let reads = Rc::new(Cell::new(0_usize));
    run(LocalSet::new().run_until(async {
        let mut clients = Vec::new();
        for number in 0..8 {
            let (over, reads) = (over.clone(), reads.clone());
            clients.push(tokio::task::spawn_local(async move {
                let mut conn = connect(address, Some("shop")).await;
                let select = conn.prep("SELECT a FROM t WHERE id = ?").await.unwrap();
                while !over.get() {
                    if number % 2 == 0 {
                        who(&mut conn).await;
                    } else {
                        let a: Option<u32> = conn.exec_first(&select, (1,)).await.unwrap();
                        assert!(a.is_some());
                    }
                    reads.set(reads.get() + 1);
                }
                conn.disconnect().await.unwrap();
            }));
        }
        let mut conn = connect(address, Some("shop")).await;
        only(&mut conn, &["r1", "r2"]).await;
        for replica in 0..2 {
            cluster.topology.replicas[replica].crash().unwrap();
            let left = ["r2", "r1"][replica];
            only(&mut conn, &[left]).await;
            cluster.topology.replicas[replica].restart().unwrap();
            replicates(&cluster.topology.replicas[replica], true);
            only(&mut conn, &["r1", "r2"]).await;
        }
        over.set(true);
        for client in clients {
            client.await.unwrap();
        }
        conn.disconnect().await.unwrap();
    }));
    assert!(reads.get() > 100, "{}", reads.get());
    proxy.finish();
}

/// What a server counts of its clients' statements.
fn counted(server: &Server) -> BTreeMap<String, u64> {
    let sql = "SHOW GLOBAL STATUS WHERE Variable_name IN \
               ('Com_select', 'Com_insert', 'Com_update', 'Com_delete', 'Com_commit')";
    let rows = server.sql(sql).unwrap();
    let rows = rows.lines().filter_map(|row| row.split_once('\t'));
    rows.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
}

fn the_servers_count_what_sysbench_asks(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    let mut sysbench = Sysbench::read_write(proxy.client(), "shop");
    (sysbench.tables, sysbench.rows, sysbench.seconds) = (2, 500, 2);
    sysbench.prepare().unwrap();
    cluster.topology.wait_replicated(PATIENCE).unwrap();
    let (topology, mut logs) = (&cluster.topology, cluster.logs());
    let all = || [&topology.primary, &topology.replicas[0], &topology.replicas[1]].map(counted);
    for (script, transactions, ps_mode) in [
        ("oltp_read_only", false, PsMode::Auto),
        ("oltp_read_only", false, PsMode::Disable),
        ("oltp_read_write", false, PsMode::Auto),
        ("oltp_read_write", true, PsMode::Disable),
    ] {
        sysbench.script = script.to_owned();
        // Without transactions, two would delete and insert the same row.
        let is_alone = script == "oltp_read_write" && !transactions;
        sysbench.threads = if is_alone { 1 } else { 8 };
        (sysbench.transactions, sysbench.ps_mode) = (transactions, ps_mode);
        let before = all();
        let report = sysbench.run().unwrap();
        let after = all();
        let grown = |server: usize, what: &str| after[server][what] - before[server][what];
        let what = format!("{script} {transactions} {ps_mode:?} {report:?}");
        assert!(report.transactions > 20 && report.reconnects == 0, "{what}");
        // What is replicated by rows is counted there as well, but not logged as a statement.
        for (name, log) in logs.news() {
            let writes = ["INSERT", "UPDATE", "DELETE"].map(|it| log.contains(&format!("{it} ")));
            assert!(name == "primary" || writes == [false; 3], "{what} on {name}");
        }
        // Probes and the test itself ask now and then as well.
        let few = 100;
        let reads = [0, 1, 2].map(|server| grown(server, "Com_select"));
        if transactions {
            assert!(reads[1] < few && reads[2] < few && reads[0] > few, "{what}: {reads:?}");
            assert!(grown(0, "Com_commit") > 20, "{what}");
        } else {
            assert!(reads[1] > few && reads[2] > few, "{what}: {reads:?}");
            assert!(reads[1].abs_diff(reads[2]) < reads[1] / 4 + few, "they take turns: {reads:?}");
            assert!(reads[0] < reads[1] / 4 + few, "{what}: {reads:?}");
        }
        let writes = grown(0, "Com_insert") + grown(0, "Com_update");
        assert_eq!(writes > 20, script == "oltp_read_write", "{what}");
    }
    sysbench.cleanup().unwrap();
    proxy.finish();
}
