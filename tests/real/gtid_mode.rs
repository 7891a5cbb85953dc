//! Servers whose writes have no GTIDs.
//!
//! Purpose: reads that have to see what was written go to the primary then, and the log says why.
//! Never: share the servers; their settings are changed.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use weir_tests::{Flavour, Topology};

use crate::fixture::{On, Proxy, connect, eventually, run};
use crate::split::{Cluster, PATIENCE, who};

/// Of the primary's writes the replicas get none for an hour, and what they had before has GTIDs.
fn stop_gtids(topology: &Topology) {
    for replica in &topology.replicas {
        replica
            .sql(
                "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 0, \
                 SOURCE_DELAY = 3600",
            )
            .unwrap();
    }
    for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"] {
        for server in topology.replicas.iter().chain([&topology.primary]) {
            server.sql(&format!("SET GLOBAL gtid_mode = {mode}")).unwrap();
        }
    }
    for replica in &topology.replicas {
        replica.sql("START REPLICA").unwrap();
    }
}

#[test]
fn without_gtids_a_session_sees_its_writes_on_the_primary_and_the_log_says_why() {
    let on = On { flavour: Flavour::MySql, driver: "epoll" };
    let cluster = Cluster::start(on.flavour);
    let mut config = cluster.config(on.driver);
    let lines = ["consistency = \"session\"", "max_lag_ms = 0", "policy = \"round-robin\""];
    config.endpoint_lines = lines.map(str::to_owned).to_vec();
    stop_gtids(&cluster.topology);
    let proxy = Proxy::start_with(on, &config);
    eventually("the replicas serve reads", PATIENCE, || {
        let metrics = proxy.weir.metrics().unwrap();
        let serves = |name| metrics.get("weir_backend_serves_reads", &[("backend", name)]);
        ["r1", "r2"].into_iter().all(|name| serves(name) == Some(1.0))
    });
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        assert_ne!(who(&mut conn).await, "primary", "it has nothing to see yet");
        for id in 1000..1020 {
            conn.query_drop(format!("INSERT INTO log VALUES ({id})")).await.unwrap();
            let seen: Option<u32> = if id % 2 == 0 {
                conn.query_first(format!("SELECT COUNT(*) FROM log WHERE a = {id}")).await.unwrap()
            } else {
                conn.exec_first("SELECT COUNT(*) FROM log WHERE a = ?", (id,)).await.unwrap()
            };
            assert_eq!(seen, Some(1), "of {id}");
        }
        assert_eq!(who(&mut conn).await, "primary");
        conn.disconnect().await.unwrap();
    });
    let metrics = proxy.weir.metrics().unwrap();
    let labels = [("endpoint", "main"), ("outcome", "primary")];
    let fell_back = metrics.value("weir_consistent_reads_total", &labels).unwrap();
    assert!(fell_back >= 21.0, "{fell_back}");
    // More than one probe of each.
    std::thread::sleep(Duration::from_secs(3));
    let log = proxy.weir.log_text();
    let said: Vec<_> = log.lines().filter(|line| line.contains("it tells no GTIDs")).collect();
    assert_eq!(said.len(), 3, "{log}");
    for name in ["primary", "r1", "r2"] {
        let is_it = |line: &&&str| {
            line.contains(&format!("backend=\"{name}\"")) && line.contains("gtid_mode has to be ON")
        };
        assert_eq!(said.iter().filter(is_it).count(), 1, "{name}: {said:?}");
    }
    proxy.finish();
}
