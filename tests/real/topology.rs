//! A primary and two replicas as Weir sees them, with no role configured.
//!
//! Purpose: roles, lag and promotions as an operator would make them, read off Weir's metrics and
//! off the server new clients land on; sets of GTIDs against the servers' own functions.

use std::time::Duration;

use weir::base::{MariaDbPosition, MySqlGtids};
use weir_tests::{
    Flavour, Lifetime, RunFolder, Server, ServerOptions, Topology, Upstream, Weir, WeirConfig,
    follow,
};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, eventually, on_each_server};

on_each_server!(
    roles_reads_and_lag_are_what_the_servers_show,
    a_promotion_by_hand_is_followed,
    replicas_are_found_and_forgotten,
    positions_are_what_the_servers_say_they_are,
);

const PATIENCE: Duration = Duration::from_secs(20);

/// Servers that replicate, in a folder that goes away with them.
struct Cluster {
    servers: Topology,
    on: On,
    _folder: RunFolder,
}

impl Cluster {
    fn start(on: On, replicas: u32) -> Self {
        let folder = RunFolder::create("topology").unwrap();
        let servers =
            Topology::start(on.flavour, folder.path(), replicas, Lifetime::WithParent).unwrap();
        servers.primary.create_account(USER, PASSWORD).unwrap();
        servers.wait_replicated(PATIENCE).unwrap();
        Self { servers, on, _folder: folder }
    }

    /// Its servers, replicas first so that their order is no help.
    fn upstreams(&self) -> Vec<Upstream> {
        let replicas = self.servers.replicas.iter().enumerate();
        let replicas = replicas.map(|(index, it)| (format!("replica{index}"), it.address()));
        let all = replicas.chain([("first".to_owned(), self.servers.primary.address())]);
        all.map(|(name, address)| Upstream { name, address, primary: false }).collect()
    }

    fn config(&self, backends: Vec<Upstream>) -> WeirConfig {
        let mut config = WeirConfig::new(self.on.driver, backends, USER, PASSWORD);
        config.observes_roles = true;
        config.more = String::new();
        config
    }
}

/// A statement in the words of a server.
fn said(on: On, mariadb: &'static str, mysql: &'static str) -> &'static str {
    match on.flavour {
        Flavour::MariaDb => mariadb,
        Flavour::MySql => mysql,
    }
}

fn metric(weir: &Weir, name: &str, backend: &str) -> Option<f64> {
    weir.metrics().unwrap().get(&format!("weir_backend_{name}"), &[("backend", backend)])
}

fn has_role(weir: &Weir, backend: &str, role: &str) -> bool {
    let labels = [("backend", backend), ("cluster", "main"), ("role", role)];
    weir.metrics().unwrap().get("weir_backend_up", &labels) == Some(1.0)
}

/// The port of the server that a new client comes to.
fn landing(proxy: &Proxy) -> Option<u16> {
    proxy.client().query("SELECT @@port").ok()?.trim().parse().ok()
}

fn roles_reads_and_lag_are_what_the_servers_show(on: On) {
    let cluster = Cluster::start(on, 2);
    let Topology { primary, replicas } = &cluster.servers;
    if on.flavour == Flavour::MariaDb {
        a_position_is_reached_as_its_replica_says(&replicas[0]);
    }
    let proxy = Proxy::start_with(on, &cluster.config(cluster.upstreams()));
    let weir = &proxy.weir;
    // From the first client on.
    assert_eq!(landing(&proxy), Some(primary.address().port()));
    assert!(has_role(weir, "first", "primary") && has_role(weir, "replica0", "replica"));
    eventually("replicas serve reads", PATIENCE, || {
        ["replica0", "replica1"].iter().all(|name| {
            metric(weir, "serves_reads", name) == Some(1.0)
                && metric(weir, "replication_running", name) == Some(1.0)
                && metric(weir, "read_only", name) == Some(1.0)
                && metric(weir, "lag_seconds", name) == Some(0.0)
                && metric(weir, "gtid_behind", name) == Some(0.0)
        })
    });
    assert_eq!(metric(weir, "read_only", "first"), Some(0.0));
    assert_eq!(metric(weir, "lag_seconds", "first"), Some(0.0));
    assert_eq!(metric(weir, "replication_running", "first"), None);

    let stop = said(on, "STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD");
    let start = said(on, "START SLAVE", "START REPLICA");
    replicas[0].sql(stop).unwrap();
    eventually("a stopped replica is left out", PATIENCE, || {
        metric(weir, "serves_reads", "replica0") == Some(0.0)
    });
    assert_eq!(metric(weir, "lag_seconds", "replica0"), None);
    assert_eq!(metric(weir, "serves_reads", "replica1"), Some(1.0));
    primary.sql("CREATE DATABASE d; CREATE TABLE d.t (a INT); INSERT INTO d.t VALUES (1)").unwrap();
    eventually("it falls behind", PATIENCE, || {
        metric(weir, "gtid_behind", "replica0") == Some(3.0)
            && metric(weir, "gtid_behind", "replica1") == Some(0.0)
    });
    replicas[0].sql(start).unwrap();
    eventually("it comes back", PATIENCE, || {
        metric(weir, "serves_reads", "replica0") == Some(1.0)
            && metric(weir, "gtid_behind", "replica0") == Some(0.0)
    });
    let log = weir.log_text();
    assert_eq!(log.matches("replication does not run").count(), 1, "{log}");
    assert_eq!(log.matches("replication runs again").count(), 1, "{log}");

    let delay = said(
        on,
        "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = 3600; START SLAVE",
        "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 3600; START REPLICA",
    );
    replicas[1].sql(delay).unwrap();
    primary.sql("INSERT INTO d.t VALUES (2)").unwrap();
    eventually("the delay is seen", PATIENCE, || {
        metric(weir, "lag_seconds", "replica1").is_some_and(|lag| lag >= 2.0)
            && metric(weir, "gtid_behind", "replica1") == Some(1.0)
            && metric(weir, "serves_reads", "replica1") == Some(1.0)
    });
    a_heartbeat_is_the_lag(&cluster);
    a_monitor_without_privileges_is_told_what_it_lacks(&cluster);
    proxy.finish();
}

fn a_heartbeat_is_the_lag(cluster: &Cluster) {
    let primary = &cluster.servers.primary;
    primary
        .sql(
            "CREATE TABLE d.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT PRIMARY KEY); \
             INSERT INTO d.heartbeat VALUES (NOW(6) - INTERVAL 500 SECOND, 1)",
        )
        .unwrap();
    let mut config = cluster.config(cluster.upstreams());
    config.cluster_lines.push("heartbeat_table = \"d.heartbeat\"".to_owned());
    let proxy = Proxy::start_with(cluster.on, &config);
    eventually("the heartbeat's age is the lag", PATIENCE, || {
        metric(&proxy.weir, "lag_seconds", "replica0")
            .is_some_and(|lag| (500.0..600.0).contains(&lag))
    });
    primary.sql("UPDATE d.heartbeat SET ts = NOW(6)").unwrap();
    eventually("a beat is seen, in less than seconds", PATIENCE, || {
        let lag = metric(&proxy.weir, "lag_seconds", "replica0").unwrap();
        lag < 100.0 && lag.fract() > 0.0
    });
    proxy.finish();
}

fn a_monitor_without_privileges_is_told_what_it_lacks(cluster: &Cluster) {
    let primary = &cluster.servers.primary;
    primary.create_account("blind", "blind-secret").unwrap();
    primary.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM blind").unwrap();
    let mut config = cluster.config(cluster.upstreams());
    // The delayed one does not know the account yet.
    config.backends.retain(|backend| backend.name != "replica1");
    config.monitor = ("blind".to_owned(), "blind-secret".to_owned());
    let proxy = Proxy::start_with(cluster.on, &config);
    // The only one that takes writes is the primary, whatever cannot be seen.
    eventually("the primary is found", PATIENCE, || {
        landing(&proxy) == Some(primary.address().port())
    });
    assert_eq!(metric(&proxy.weir, "serves_reads", "replica0"), Some(0.0));
    eventually("some more probes", PATIENCE, || {
        metric(&proxy.weir, "probes_total", "replica0") > Some(5.0)
    });
    let log = proxy.weir.log_text();
    let grant = said(cluster.on, "GRANT REPLICA MONITOR ON *.*", "GRANT REPLICATION CLIENT ON *.*");
    let warned =
        |name: &str| log.lines().filter(|line| line.contains(grant) && line.contains(name)).count();
    assert_eq!((warned("first"), warned("replica0")), (1, 1), "{log}");
    // As told.
    primary.sql(&format!("{grant} TO blind")).unwrap();
    eventually("it sees", PATIENCE, || {
        metric(&proxy.weir, "serves_reads", "replica0") == Some(1.0)
    });
    proxy.finish();
}

fn a_promotion_by_hand_is_followed(on: On) {
    let cluster = Cluster::start(on, 2);
    let Topology { primary, replicas } = &cluster.servers;
    let (old, new) = (primary.address().port(), replicas[1].address().port());
    let proxy = Proxy::start_with(on, &cluster.config(cluster.upstreams()));
    let weir = &proxy.weir;
    assert_eq!(landing(&proxy), Some(old));
    primary.sql("SET GLOBAL read_only = 1").unwrap();
    eventually("nobody is the primary", PATIENCE, || has_role(weir, "first", "replica"));
    assert_eq!(landing(&proxy), None);
    cluster.servers.wait_replicated(PATIENCE).unwrap();
    let promote = said(
        on,
        "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0",
        "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = 0",
    );
    replicas[1].sql(promote).unwrap();
    eventually("the new primary is found", PATIENCE, || has_role(weir, "replica1", "primary"));
    eventually("new clients come to it", PATIENCE, || landing(&proxy) == Some(new));
    // The others follow it.
    follow(primary, &replicas[1]).unwrap();
    replicas[0]
        .sql(said(on, "STOP SLAVE; RESET SLAVE ALL", "STOP REPLICA; RESET REPLICA ALL"))
        .unwrap();
    follow(&replicas[0], &replicas[1]).unwrap();
    eventually("they serve reads", PATIENCE, || {
        ["first", "replica0"].iter().all(|name| metric(weir, "serves_reads", name) == Some(1.0))
    });
    // A second one that takes writes changes nothing.
    replicas[0].sql(promote).unwrap();
    eventually("two primaries are spoken of", PATIENCE, || {
        weir.log_text().contains("two primaries")
    });
    assert!(has_role(weir, "replica1", "primary") && has_role(weir, "replica0", "replica"));
    assert_eq!(landing(&proxy), Some(new));
    let log = weir.log_text();
    assert_eq!(log.matches("no primary").count(), 1, "{log}");
    assert_eq!(log.matches("two primaries").count(), 1, "{log}");
    proxy.finish();
}

fn replicas_are_found_and_forgotten(on: On) {
    let mut cluster = Cluster::start(on, 2);
    let only = Upstream {
        name: "first".to_owned(),
        address: cluster.servers.primary.address(),
        primary: true,
    };
    let mut config = cluster.config(vec![only]);
    for line in ["discover = true", "discover_forget_ms = 1000"] {
        config.cluster_lines.push(line.to_owned());
    }
    config.backend_keys.push(("connections_max".to_owned(), 7));
    let mut proxy = Proxy::start_with(on, &config);
    let name = |server: &Server| format!("127.0.0.1-{}", server.address().port());
    let names: Vec<String> = cluster.servers.replicas.iter().map(name).collect();
    eventually("both are found and serve reads", PATIENCE, || {
        names.iter().all(|name| metric(&proxy.weir, "serves_reads", name) == Some(1.0))
    });
    let found =
        |weir: &Weir| weir.metrics().unwrap().get("weir_backends_found", &[("cluster", "main")]);
    assert_eq!(found(&proxy.weir), Some(2.0));
    assert_eq!(landing(&proxy), Some(cluster.servers.primary.address().port()));
    // A reload keeps them.
    let toml = config.to_toml(proxy.weir.port()).unwrap();
    let admin = format!("listen = \"{}\"", proxy.weir.admin());
    let toml = toml.replace("listen = \"disabled\"", &admin);
    let said =
        proxy.weir.reload(&toml.replace("connections_max = 7", "connections_max = 8")).unwrap();
    assert!(said.contains("connections_max") && !said.contains("removed"), "{said}");
    for name in &names {
        assert!(said.contains(&format!("backend[{name}].connections_max")), "{said}");
        assert_eq!(metric(&proxy.weir, "serves_reads", name), Some(1.0));
    }
    // One ends, and the primary notices.
    cluster.servers.replicas[0].stop().unwrap();
    let gone = |weir: &Weir| metric(weir, "serves_reads", &names[0]).is_none();
    eventually("it is forgotten", PATIENCE, || {
        // Until it has something to send, the primary does not notice.
        cluster.servers.primary.sql("FLUSH BINARY LOGS").unwrap();
        gone(&proxy.weir)
    });
    assert_eq!(found(&proxy.weir), Some(1.0));
    assert_eq!(metric(&proxy.weir, "serves_reads", &names[1]), Some(1.0));
    proxy.finish();
}

fn positions_are_what_the_servers_say_they_are(on: On) {
    let server = Database::shared(on);
    match on.flavour {
        Flavour::MySql => sets_are_mysqls(server),
        Flavour::MariaDb => positions_are_mariadbs(server),
    }
}

fn sets_are_mysqls(server: &Server) {
    let (a, b) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "4E11FA47-71CA-11E1-9E33-C80AA9429562");
    let texts = [
        String::new(),
        format!("{a}:1-5"),
        format!("{a}:1-3:5:7-9"),
        format!("{a}:4:6,{b}:1-1000000"),
        format!("{b}:1-10:20-30:tag:1-5:15"),
        format!("{a}:1:x:1-3,{b}:tag:4-7:9-1"),
        format!("{b}:5-9223372036854775806"),
    ];
    let count = "(SELECT COALESCE(SUM(CAST(SUBSTRING_INDEX(i, '-', -1) AS UNSIGNED) - \
                 CAST(SUBSTRING_INDEX(i, '-', 1) AS UNSIGNED) + 1), 0) \
                 FROM JSON_TABLE(CONCAT('[\"', REGEXP_REPLACE(REPLACE(s, ':', '\",\"'), ',\\n', '\",\"'), \
                 '\"]'), '$[*]' COLUMNS (i VARCHAR(80) PATH '$')) AS parts \
                 WHERE i REGEXP '^[0-9]+(-[0-9]+)?$')";
    for one in &texts {
        let own = MySqlGtids::parse(one).unwrap();
        for other in &texts {
            let asked = format!(
                "SELECT GTID_SUBSET('{other}', '{one}'), {count}, \
                 REPLACE(GTID_SUBTRACT('{one}', ''), '\\n', '') \
                 FROM (SELECT GTID_SUBTRACT('{other}', '{one}') AS s) AS difference"
            );
            let other = MySqlGtids::parse(other).unwrap();
            let said = server.sql(&asked).unwrap();
            let ours =
                format!("{}\t{}\t{own}\n", u8::from(own.contains(&other)), own.missing(&other));
            assert_eq!(said, ours, "{asked}");
        }
    }
    for (text, is_good) in [
        ("x".to_owned(), false),
        (format!("{a}:0"), false),
        (format!("{a}:1-x"), false),
        (a.to_owned(), true),
        (format!("{a}:"), false),
        (format!("{a}:1:"), false),
        (format!("{a}:1:tag"), true),
        (format!("{a}:9223372036854775807"), false),
        (format!("{a}:1-2-3"), false),
        (format!("{a}:1:+2"), false),
        (format!("{}:1", a.replace('-', "")), true),
    ] {
        let asked = format!("SELECT GTID_SUBSET('{text}', '{a}:1-9')");
        let (said, ours) = (server.sql(&asked), MySqlGtids::parse(&text));
        assert_eq!((said.is_ok(), ours.is_ok()), (is_good, is_good), "{text}: {said:?}");
    }
}

fn positions_are_mariadbs(server: &Server) {
    server
        .sql("CREATE DATABASE IF NOT EXISTS gtids; CREATE OR REPLACE TABLE gtids.t (a INT)")
        .unwrap();
    let position = || server.sql("SELECT @@gtid_binlog_pos").unwrap();
    let read = |text: &str| MariaDbPosition::parse(text.trim()).unwrap();
    let before = position();
    assert_eq!(read(&before).to_string(), before.trim());
    server
        .sql(
            "INSERT INTO gtids.t VALUES (1); INSERT INTO gtids.t VALUES (2); \
             SET SESSION gtid_domain_id = 7; INSERT INTO gtids.t VALUES (3)",
        )
        .unwrap();
    let after = position();
    assert_eq!(read(&after).to_string(), after.trim());
    // Others may use the server at the same time.
    assert!(read(&before).missing(&read(&after)) >= 3, "{before}{after}");
    assert!(read(&after).contains(&read(&before)) && !read(&before).contains(&read(&after)));
    for text in ["x", "1-2", "1-2-3-4", "-1-2-3", "1-2-3,4"] {
        assert!(MariaDbPosition::parse(text).is_err(), "{text}");
        let refused = server.sql(&format!("SET GLOBAL gtid_slave_pos = '{text}'")).unwrap_err();
        assert!(refused.to_string().contains("GTID"), "{text}: {refused}");
    }
}

/// A replica says by itself which positions it has reached.
fn a_position_is_reached_as_its_replica_says(replica: &Server) {
    let position = replica.sql("SELECT @@gtid_slave_pos").unwrap();
    let own = MariaDbPosition::parse(position.trim()).unwrap();
    let (source, number) = position.trim().rsplit_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    for asked in [number - 1, number, number + 1, number + 100] {
        let asked = format!("{source}-{asked}");
        let waited = replica.sql(&format!("SELECT MASTER_GTID_WAIT('{asked}', 0)")).unwrap();
        let is_reached = own.contains(&MariaDbPosition::parse(&asked).unwrap());
        assert_eq!(waited, if is_reached { "0\n" } else { "-1\n" }, "{asked} at {own}");
    }
}

/// The plugin is there only with MySQL.
#[test]
fn mysql_a_group_names_its_primary() {
    let options = ServerOptions { flavour: Flavour::MySql, ..ServerOptions::default() };
    let database = Database::start_with(options);
    let on = On { flavour: Flavour::MySql, driver: "io_uring" };
    let other = Database::start(Flavour::MySql);
    let group_port = weir_tests::free_port().unwrap();
    database
        .server
        .sql(&format!(
            "INSTALL PLUGIN group_replication SONAME 'group_replication.so'; \
             SET GLOBAL group_replication_group_name = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'; \
             SET GLOBAL group_replication_local_address = '127.0.0.1:{group_port}'; \
             SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION"
        ))
        .unwrap();
    let upstream = |name: &str, server: &Server| Upstream {
        name: name.to_owned(),
        address: server.address(),
        primary: false,
    };
    // One that takes writes, but is not in the group, stands before it.
    let backends = vec![upstream("stray", &other.server), upstream("member", &database.server)];
    let mut config = WeirConfig::new(on.driver, backends, USER, PASSWORD);
    config.observes_roles = true;
    let proxy = Proxy::start_with(on, &config);
    eventually("the member is the primary", PATIENCE, || {
        has_role(&proxy.weir, "member", "primary") && has_role(&proxy.weir, "stray", "replica")
    });
    eventually("clients come to it", PATIENCE, || {
        landing(&proxy) == Some(database.server.address().port())
    });
    database.server.sql("STOP GROUP_REPLICATION").unwrap();
    // It fences itself as it leaves.
    eventually("the stray one is what is left", PATIENCE, || {
        has_role(&proxy.weir, "stray", "primary")
    });
    proxy.finish();
}
