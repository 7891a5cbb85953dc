//! `weir explain` against a running Weir in front of a primary and two replicas.
//!
//! Purpose: what it says of the servers is how they are, and reads go where it says they would.
//! Never: share the servers; they are stopped, delayed and ended here.

use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use weir_tests::{Flavour, weir_binary};

use crate::fixture::{On, Proxy, connect, eventually, run};
use crate::split::{Cluster, PATIENCE};

/// The control thread answers, on whose runtime a driver has no more than this influence.
mod mariadb {
    use super::*;

    #[test]
    fn it_says_where_reads_go_while_replicas_stop_lag_and_end() {
        follows_the_servers(On { flavour: Flavour::MariaDb, driver: "io_uring" });
    }
}

mod mysql {
    use super::*;

    #[test]
    fn it_says_where_reads_go_while_replicas_stop_lag_and_end() {
        follows_the_servers(On { flavour: Flavour::MySql, driver: "epoll" });
    }
}

const READ: &str = "SELECT name FROM node.who";

fn explain(proxy: &Proxy, args: &[&str]) -> String {
    let admin = proxy.weir.admin().to_string();
    let output = Command::new(weir_binary().unwrap())
        .args(["explain", "--admin", &admin])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// What a line says: a fact by its name, or all of a server.
fn line(said: &str, name: &str) -> String {
    let begins =
        |line: &&str| line.split_whitespace().next() == Some(name) || line.starts_with(name);
    let line = said.lines().find(begins).unwrap_or_else(|| panic!("no {name}:\n{said}"));
    line.strip_prefix(name).unwrap_or(line).trim().to_owned()
}

/// Waits until reads would go there, with this said of the replicas.
fn awaits(proxy: &Proxy, goes_to: &str, replicas: [&str; 2]) {
    let mut said = String::new();
    let start = std::time::Instant::now();
    loop {
        let now = explain(proxy, &[READ]);
        let servers = ["r1", "r2"].map(|name| line(&now, name));
        let holds = line(&now, "goes to") == goes_to
            && servers.iter().zip(replicas).all(|(server, end)| server.contains(end));
        if holds {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not {goes_to}, {replicas:?}, but:\n{now}\n{said}");
        said = now;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The servers that answered some reads of one session, text and prepared.
fn answered(proxy: &Proxy) -> Vec<String> {
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        let mut names: Vec<String> = Vec::new();
        for _ in 0..4 {
            names.push(conn.query_first(READ).await.unwrap().unwrap());
            names.push(conn.exec_first(READ, ()).await.unwrap().unwrap());
        }
        conn.disconnect().await.unwrap();
        names.sort_unstable();
        names.dedup();
        names
    })
}

fn follows_the_servers(on: On) {
    let mut cluster = Cluster::start(on.flavour);
    let mut config = cluster.config(on.driver);
    config.observes_roles = true;
    config.endpoint_lines.retain(|line| !line.starts_with("max_lag_ms"));
    config.endpoint_lines.push("max_lag_ms = 1500".to_owned());
    if on.flavour == Flavour::MariaDb {
        // For the lag, and for who replicates from whom.
        let primary = &cluster.topology.primary;
        primary.sql("GRANT REPLICA MONITOR ON *.* TO monitor@'%'").unwrap();
        cluster.topology.wait_replicated(PATIENCE).unwrap();
    }
    let proxy = Proxy::start_with(on, &config);
    let word = if on.flavour == Flavour::MySql { "REPLICA" } else { "SLAVE" };

    awaits(&proxy, "one of r1, r2, by round-robin", ["yes", "yes"]);
    assert_eq!(answered(&proxy), ["r1", "r2"]);
    let said = explain(&proxy, &["--endpoint", "main", "DELETE FROM shop.t"]);
    assert_eq!(line(&said, "goes to"), "primary, the primary");
    assert_eq!(line(&said, "reason"), "write (it writes)");
    assert!(!said.contains("has to see"), "{said}");
    let seen = line(&explain(&proxy, &[READ]), "has to see");
    assert_eq!(seen, "nothing but what its server happens to have (eventual)");
    let hinted = explain(&proxy, &[&format!("/* weir:consistency=session */ {READ}")]);
    let seen = line(&hinted, "has to see");
    assert!(seen.starts_with("what its session has written and seen (session)"), "{hinted}");
    said_as_json(&proxy);
    // It is known of which kind the servers are.
    let own = explain(&proxy, &["SELECT UUID_TO_BIN('x')"]);
    let nodes = if on.flavour == Flavour::MySql { "replicas" } else { "primary" };
    assert_eq!(line(&own, "nodes"), nodes, "{own}");

    cluster.topology.replicas[0].sql(&format!("STOP {word} SQL_THREAD")).unwrap();
    awaits(&proxy, "r2", ["no: not-replicating", "yes"]);
    assert_eq!(answered(&proxy), ["r2"]);
    let hinted = explain(&proxy, &[&format!("/* weir:backend=r1 */ {READ}")]);
    assert_eq!(line(&hinted, "goes to"), "r2");

    let source = if on.flavour == Flavour::MySql { "REPLICATION SOURCE" } else { "MASTER" };
    let key = if on.flavour == Flavour::MySql { "SOURCE_DELAY" } else { "MASTER_DELAY" };
    let delay = format!("STOP {word}; CHANGE {source} TO {key} = 3600; START {word}");
    cluster.topology.replicas[1].sql(&delay).unwrap();
    cluster.topology.primary.sql("INSERT INTO shop.log VALUES (5)").unwrap();
    let fallback = "primary, the primary, as no other server is fit";
    awaits(&proxy, fallback, ["no: not-replicating", "no: lags"]);
    assert_eq!(answered(&proxy), ["primary"]);

    cluster.topology.replicas[0].sql(&format!("START {word} SQL_THREAD")).unwrap();
    cluster.topology.replicas[1].stop().unwrap();
    awaits(&proxy, "r1", ["yes", "no: unreachable"]);
    assert_eq!(answered(&proxy), ["r1"]);
    eventually("Weir sees it in its metrics as well", PATIENCE, || {
        let metrics = proxy.weir.metrics().unwrap();
        metrics.get("weir_backend_serves_reads", &[("backend", "r2")]) == Some(0.0)
    });
    proxy.finish();
}

/// The same for programs.
fn said_as_json(proxy: &Proxy) {
    let said = explain(proxy, &["--json", READ]);
    for part in [
        "\"class\": \"read\"",
        "\"by\": \"policy\"",
        "\"role\": \"replica\"",
        "\"takes\": true",
        "\"misses\": \"fallback\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
