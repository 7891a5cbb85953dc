//! Servers that are behind, by as much as a test likes.
//!
//! Purpose: replicas that are late, stand still or wait for a lock, and are as before afterwards.
//! Never: make one leave the picture: a replica that serves no reads cannot serve stale ones.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use weir_tests::{Flavour, Server, WeirConfig};

use crate::causal_load::Load;
use crate::fixture::{On, Proxy, connect};
use crate::split::{Cluster, PATIENCE};
use crate::split_live::replicates;

/// Rows there are to count in; the first is everybody's.
pub(crate) const ROWS: usize = 40;
pub(crate) const SHARED: usize = 0;

/// Counters, and what counts up without saying so.
const COUNTERS: &str = "USE shop;\n\
    CREATE TABLE counter (id INT PRIMARY KEY, n BIGINT NOT NULL);\n\
    CREATE TABLE ids (id INT PRIMARY KEY);\n\
    DELIMITER ;;\n\
    CREATE FUNCTION bump(which INT) RETURNS BIGINT MODIFIES SQL DATA BEGIN \
      UPDATE counter SET n = n + 1 WHERE id = which; \
      RETURN (SELECT n FROM counter WHERE id = which); END;;\n\
    CREATE PROCEDURE bumps(which INT) BEGIN \
      UPDATE counter SET n = n + 1 WHERE id = which; SELECT 1; SELECT 2; END;;\n\
    DELIMITER ;\n\
    CREATE VIEW bumping AS SELECT id, bump(id) AS n FROM ids;\n";

/// Servers that report of themselves only what they do by default, with counters.
pub(crate) fn counting(flavour: Flavour) -> Cluster {
    let cluster = Cluster::start(flavour);
    let primary = &cluster.topology.primary;
    let usual = match flavour {
        Flavour::MariaDb => {
            "SET GLOBAL session_track_system_variables = 'autocommit,character_set_client,\
             character_set_connection,character_set_results,time_zone'"
        }
        Flavour::MySql => "SET GLOBAL session_track_gtids = OFF",
    };
    for server in cluster.topology.replicas.iter().chain([primary]) {
        // Functions are not said to be deterministic, for then one may be called once for many.
        let trust = "SET GLOBAL log_bin_trust_function_creators = ON";
        server.sql(&format!("{usual}; {trust}")).unwrap();
    }
    let rows = (0..ROWS).map(|id| format!("({id})")).collect::<Vec<_>>().join(", ");
    let filled =
        format!("INSERT INTO ids VALUES {rows}; INSERT INTO counter SELECT id, 0 FROM ids");
    primary.sql(&format!("{COUNTERS}{filled}")).unwrap();
    cluster.topology.wait_replicated(PATIENCE).unwrap();
    cluster
}

/// Servers that one test after the other may make as late as it likes.
pub(crate) struct Held(MutexGuard<'static, Cluster>);

impl Held {
    pub(crate) fn take(flavour: Flavour) -> Self {
        static MARIADB: OnceLock<Mutex<Cluster>> = OnceLock::new();
        static MYSQL: OnceLock<Mutex<Cluster>> = OnceLock::new();
        let cluster = match flavour {
            Flavour::MariaDb => &MARIADB,
            Flavour::MySql => &MYSQL,
        };
        let cluster = cluster.get_or_init(|| Mutex::new(counting(flavour))).lock();
        Self(cluster.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Deref for Held {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for Held {
    /// Leaves them as they were, also when the test has failed.
    fn drop(&mut self) {
        let topology = &self.0.topology;
        let undone = topology.replicas.iter().try_for_each(|it| try_delay(it, 0));
        if let Err(error) = undone.and_then(|()| topology.wait_replicated(PATIENCE)) {
            eprintln!("replicas stay behind: {error:#}");
        }
    }
}

/// Makes a replica apply everything so much later; also what it has not applied yet.
pub(crate) fn delay(replica: &Server, seconds: u32) {
    try_delay(replica, seconds).unwrap();
}

fn try_delay(replica: &Server, seconds: u32) -> Result<()> {
    let sql = match replica.flavour() {
        Flavour::MariaDb => {
            format!("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = {seconds}; START SLAVE")
        }
        Flavour::MySql => format!(
            "STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}; \
             START REPLICA"
        ),
    };
    replica.sql(&sql).map(drop)
}

/// The function that waits for a position, and that no primary may be asked.
pub(crate) const fn wait_function(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MariaDb => "MASTER_GTID_WAIT",
        Flavour::MySql => "WAIT_FOR_EXECUTED_GTID_SET",
    }
}

/// Keeps replicas from applying what is written to a row, and so all that comes after it.
pub(crate) struct Blocked(Vec<Conn>);

impl Blocked {
    pub(crate) async fn row(cluster: &Cluster, id: usize) -> Self {
        let mut conns = Vec::new();
        for replica in &cluster.topology.replicas {
            let mut conn = connect(replica.address(), Some("shop")).await;
            conn.query_drop("BEGIN").await.unwrap();
            let lock = format!("SELECT n FROM counter WHERE id = {id} LOCK IN SHARE MODE");
            let locked: Option<i64> = conn.query_first(lock).await.unwrap();
            assert!(locked.is_some());
            conns.push(conn);
        }
        Self(conns)
    }

    pub(crate) async fn release(self) {
        for mut conn in self.0 {
            conn.query_drop("ROLLBACK").await.unwrap();
            conn.disconnect().await.unwrap();
        }
    }
}

/// Two workers, and replicas that stay in however late they are.
pub(crate) fn config(cluster: &Cluster, on: On, level: &str) -> WeirConfig {
    let mut config = cluster.config(on.driver);
    config.workers = "2".to_owned();
    config.endpoint_lines = vec![
        format!("consistency = \"{level}\""),
        "policy = \"round-robin\"".to_owned(),
        "max_lag_ms = 0".to_owned(),
    ];
    config
}

pub(crate) const HEALTHY: usize = 0;
pub(crate) const ONE_PAUSES: usize = 1;
pub(crate) const ONE_STANDS_STILL: usize = 2;
pub(crate) const ALL_ARE_LATE: usize = 3;

/// Everything that makes replicas late, one after the other.
pub(crate) fn phases(cluster: &Cluster, load: &Load) {
    let replicas = &cluster.topology.replicas;
    load.phase(HEALTHY, Duration::from_millis(800));
    for _ in 0..3 {
        replicates(&replicas[0], false);
        load.phase(ONE_PAUSES, Duration::from_millis(120));
        replicates(&replicas[0], true);
        load.phase(ONE_PAUSES, Duration::from_millis(120));
    }
    delay(&replicas[0], 3600);
    load.phase(ONE_STANDS_STILL, Duration::from_millis(700));
    replicas.iter().for_each(|it| delay(it, 1));
    load.phase(ALL_ARE_LATE, Duration::from_millis(1200));
}

/// How many reads had to see something, by what that took.
pub(crate) fn outcomes(proxy: &Proxy) -> [f64; 3] {
    let metrics = proxy.weir.metrics().unwrap();
    ["current", "waited", "primary"].map(|outcome| {
        let labels = [("endpoint", "main"), ("outcome", outcome)];
        metrics.value("weir_consistent_reads_total", &labels).unwrap()
    })
}

/// All counters at nothing, on all servers.
pub(crate) fn restart_counting(cluster: &Cluster) {
    cluster.topology.primary.sql("UPDATE shop.counter SET n = 0").unwrap();
    cluster.topology.wait_replicated(PATIENCE).unwrap();
}
