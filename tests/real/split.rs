//! An endpoint that splits, in front of a primary and two replicas.
//!
//! Purpose: reads are on replicas, everything else is on the primary, and the servers say so.
//! Never: trust Weir's own count of it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use weir::sql::{Class, LexMode, Nodes, Server as Reader, classify};
use weir::wire::Capabilities;
use weir_tests::{
    Flavour, Lifetime, Login, RawClient, RunFolder, Server, Topology, Upstream, WeirConfig,
};

use crate::classes::{SCHEMA, statements};
use crate::fixture::{On, PASSWORD, Proxy, USER, connect, on_each_server, options, run, run_for};

on_each_server!(
    every_statement_lands_where_it_should,
    transactions_stay_on_the_primary,
    a_transaction_that_only_reads_stays_on_one_replica,
    what_a_session_set_holds_on_each_server,
    a_read_that_writes_goes_to_the_primary,
    a_read_that_writes_may_have_a_command_behind_it,
    answers_about_the_statement_before_are_of_where_it_ran,
    an_endpoint_for_reading_takes_no_writes,
    a_transaction_may_read_on_replicas_until_it_writes,
);

/// Servers, shared by tests that leave them as they are; one at a time, for they look at the logs.
pub(crate) struct Cluster {
    pub(crate) topology: Topology,
    pub(crate) mode: LexMode,
    folder: RunFolder,
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    pub(crate) fn start(flavour: Flavour) -> Self {
        let folder = RunFolder::create("cluster").unwrap();
        let topology = Topology::start(flavour, folder.path(), 2, Lifetime::WithParent).unwrap();
        let primary = &topology.primary;
        primary.sql(SCHEMA).unwrap();
        primary.sql(&SCHEMA.replace("test;", "shop;")).unwrap();
        // Nobody who could stop a server, or write on one that is read-only; and one who cannot take
        // away what others look at.
        let accounts = format!(
            "CREATE DATABASE node; CREATE TABLE node.who (name VARCHAR(10)); \
             CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON shop.* TO '{USER}'@'%'; GRANT ALL ON node.* TO '{USER}'@'%'; \
             CREATE USER careful@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE, LOCK TABLES ON test.* TO careful@'%'"
        );
        primary.sql(&accounts).unwrap();
        topology.wait_replicated(PATIENCE).unwrap();
        for (name, server) in named(&topology) {
            let own = format!("SET sql_log_bin = 0; INSERT INTO node.who VALUES ('{name}')");
            server.sql(&own).unwrap();
            server.sql("SET GLOBAL log_output = 'FILE'; SET GLOBAL general_log = ON").unwrap();
        }
        let version = primary.sql("SELECT VERSION()").unwrap();
        let mode = LexMode::usual(Reader::from_version(version.trim()));
        Self { topology, mode, folder }
    }

    pub(crate) fn shared(flavour: Flavour) -> MutexGuard<'static, Self> {
        static MARIADB: OnceLock<Mutex<Cluster>> = OnceLock::new();
        static MYSQL: OnceLock<Mutex<Cluster>> = OnceLock::new();
        let shared = match flavour {
            Flavour::MariaDb => &MARIADB,
            Flavour::MySql => &MYSQL,
        };
        let shared = shared.get_or_init(|| Mutex::new(Self::start(flavour))).lock();
        // A test that failed has left nothing that others could not bear.
        shared.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn upstreams(&self) -> Vec<Upstream> {
        let servers = named(&self.topology).into_iter();
        let upstream = |(name, server): (&str, &Server)| Upstream {
            name: name.to_owned(),
            address: server.address(),
            primary: name == "primary",
        };
        servers.map(upstream).collect()
    }

    /// A configuration that splits.
    pub(crate) fn config(&self, driver: &str) -> WeirConfig {
        let mut config = WeirConfig::new(driver, self.upstreams(), USER, PASSWORD);
        config.monitor = ("monitor".to_owned(), "monitor-secret".to_owned());
        let right = match self.topology.primary.flavour() {
            Flavour::MariaDb => "REPLICA MONITOR",
            Flavour::MySql => "REPLICATION CLIENT",
        };
        let account = format!(
            "CREATE USER IF NOT EXISTS monitor@'%' IDENTIFIED BY 'monitor-secret'; \
             GRANT {right} ON *.* TO monitor@'%'"
        );
        self.topology.primary.sql(&account).unwrap();
        self.topology.wait_replicated(PATIENCE).unwrap();
        config.observes_roles = true;
        config.pooling = "transaction";
        config.mode = "read-write";
        config.users.push(("careful".to_owned(), PASSWORD.to_owned()));
        config.endpoint_lines =
            vec!["consistency = \"eventual\"".to_owned(), "policy = \"round-robin\"".to_owned()];
        config
    }

    pub(crate) fn logs(&self) -> Logs {
        let logs = named(&self.topology).into_iter().map(|(name, server)| {
            let file = server.sql("SELECT @@general_log_file").unwrap();
            let home = if name == "primary" { name } else { &format!("replica{}", &name[1..]) };
            let file = self.folder.path().join(home).join("data").join(file.trim());
            (name, file, 0)
        });
        let mut logs = Logs(logs.collect());
        logs.news();
        logs
    }
}

/// The servers by the names they have here: `primary`, `r1`, `r2`.
fn named(topology: &Topology) -> Vec<(&'static str, &Server)> {
    let replicas = ["r1", "r2"].into_iter().zip(&topology.replicas);
    std::iter::once(("primary", &topology.primary)).chain(replicas).collect()
}

/// What servers were asked, as they log it.
pub(crate) struct Logs(Vec<(&'static str, PathBuf, usize)>);

impl Logs {
    /// What was logged since the last look, by server.
    pub(crate) fn news(&mut self) -> Vec<(&'static str, String)> {
        let news = self.0.iter_mut().map(|(name, file, seen)| {
            let log = fs::read(&*file).unwrap();
            let text = String::from_utf8_lossy(&log[*seen..]).into_owned();
            *seen = log.len();
            (*name, text)
        });
        news.collect()
    }

    /// The servers that were asked that since the last look.
    fn asked(&mut self, text: &str) -> Vec<&'static str> {
        let news = self.news().into_iter();
        news.filter(|(_, log)| log.contains(text)).map(|(name, _)| name).collect()
    }
}

/// Which server answers a read.
const WHO: &str = "SELECT name FROM node.who";

pub(crate) async fn who(conn: &mut Conn) -> String {
    conn.query_first(WHO).await.unwrap().unwrap()
}

fn code(result: &Result<(), Error>) -> u16 {
    match result {
        Ok(()) => 0,
        Err(Error::Server(error)) => error.code,
        // Of the client's own: it does not send files.
        Err(_) => u16::MAX,
    }
}

/// Errors that may come of a replica that is behind: the primary is asked as well.
const MAY_BE_BEHIND: [u16; 4] = [1049, 1054, 1146, 1305];

fn every_statement_lands_where_it_should(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    let mut logs = cluster.logs();
    let (mut reads, mut others) = (0, 0);
    let careful = async || {
        let options = options(proxy.weir.address(), Some("test")).user(Some("careful"));
        Conn::new(options).await.unwrap()
    };
    run_for(Duration::from_secs(170), async {
        let mut conn = careful().await;
        for (number, sql) in statements().iter().enumerate() {
            let found = classify(sql.as_bytes(), cluster.mode);
            let nodes = found.nodes();
            let empty = sql.trim_matches([';', ' ']).is_empty();
            let endless = sql.starts_with("LOOP");
            let upper = sql.to_uppercase();
            let is_own_account = ["PASSWORD", "IDENTIFIED", "ALTER USER", "RENAME USER"]
                .iter()
                .any(|it| found.class == Class::Admin && upper.contains(it));
            if empty || endless || is_own_account {
                continue;
            }
            let is_text = number % 2 == 0;
            let ask = async {
                if is_text {
                    conn.query_drop(sql).await
                } else {
                    conn.exec_drop(sql.as_str(), ()).await
                }
            };
            let done = tokio::time::timeout(Duration::from_secs(10), ask).await.expect(sql);
            let code = code(&done);
            let asked = logs.asked(sql.trim().trim_end_matches(';'));
            let on_replicas = asked.iter().filter(|name| **name != "primary").count();
            match nodes {
                Nodes::Replicas if code == 0 => {
                    // One that is prepared may be executed on another than where it was prepared.
                    assert_eq!(on_replicas, asked.len(), "{sql}: {asked:?}");
                    assert!(on_replicas <= 1 || !is_text && on_replicas == 2, "{sql}: {asked:?}");
                    // Of several statements each is logged by itself, and some comments are not.
                    reads += usize::from(on_replicas > 0);
                }
                Nodes::Replicas => {
                    let on_primary = usize::from(MAY_BE_BEHIND.contains(&code));
                    let replicas_max = if is_text { 1 } else { 2 };
                    assert!(on_replicas <= replicas_max, "{code} {sql}: {asked:?}");
                    assert!(asked.len() - on_replicas <= on_primary, "{code} {sql}: {asked:?}");
                }
                // Some come to replicas by replication, and are logged there.
                Nodes::Primary if asked.first() == Some(&"primary") => others += 1,
                Nodes::Primary => {
                    assert_eq!(on_replicas, 0, "{code} {sql}: {asked:?}");
                }
            }
            // What it may have left must not keep the next one on the primary.
            if found.class != Class::Read || code != 0 {
                conn = careful().await;
                logs.news();
            }
        }
    });
    assert!(reads > 200 && others > 100, "{reads} {others}");
    proxy.finish();
}

/// Small and repeatable.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// A statement, and whether a transaction is open behind it, if it says.
fn any_statement(dice: &mut Dice, step: u32) -> (String, Option<bool>) {
    let id = 1000 + step;
    match dice.roll(12) {
        0 => ("BEGIN".to_owned(), Some(true)),
        1 => ("START TRANSACTION".to_owned(), Some(true)),
        2 => ("COMMIT".to_owned(), Some(false)),
        3 => ("ROLLBACK".to_owned(), Some(false)),
        4 => ("SET autocommit = 0".to_owned(), None),
        5 => ("SET autocommit = 1".to_owned(), None),
        6 => (format!("INSERT INTO u (id, a) VALUES ({id}, 1)"), None),
        7 => ("UPDATE u SET a = a + 1 WHERE id > 990".to_owned(), None),
        8 => ("SELECT a FROM u WHERE id > 990 LIMIT 1 FOR UPDATE".to_owned(), None),
        _ => (WHO.to_owned(), None),
    }
}

/// Steps of random transactions; more where chance has left few of them to replicas.
const STEPS_MIN: u32 = 400;
const STEPS_MAX: u32 = 4_000;
const ON_REPLICAS_MIN: u32 = 10;

/// Random transactions: no write ever reaches a replica, and no read inside of a transaction that
/// may write leaves the primary.
fn transactions_stay_on_the_primary(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    let seed = std::env::var("WEIR_SPLIT_SEED").ok().and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    cluster.topology.primary.sql("DELETE FROM shop.u WHERE id > 990").unwrap();
    let mut logs = cluster.logs();
    let mut dice = Dice(seed);
    run(async {
        let mut conns = Vec::new();
        for _ in 0..4 {
            let mut conn = connect(proxy.weir.address(), Some("shop")).await;
            conn.query_drop("SET innodb_lock_wait_timeout = 1").await.unwrap();
            conns.push((conn, false, true, false));
        }
        let mut on_replicas = 0;
        for step in 0..STEPS_MAX {
            if step >= STEPS_MIN && on_replicas > ON_REPLICAS_MIN {
                break;
            }
            let number = usize::try_from(dice.roll(4)).unwrap();
            let (conn, open, autocommit, failed) = &mut conns[number];
            let (sql, opens) = any_statement(&mut dice, step);
            let is_read = sql == WHO;
            if !is_read {
                // Another session may hold the lock: the statement fails then, and that is all.
                let done = conn.query_drop(&sql).await;
                assert!(matches!(code(&done), 0 | 1205 | 1213), "{seed} {step} {sql}: {done:?}");
                *failed |= code(&done) != 0;
                // A deadlock's victim has no transaction any more.
                if code(&done) == 1213 {
                    *open = false;
                }
                if code(&done) == 0 {
                    *open = opens.unwrap_or(*open || !*autocommit && sql.contains(" u "));
                    match sql.as_str() {
                        "SET autocommit = 0" => *autocommit = false,
                        // What is open is committed if it was off.
                        "SET autocommit = 1" => *open &= std::mem::replace(autocommit, true),
                        _ => {}
                    }
                }
                continue;
            }
            let text = dice.roll(2) == 0;
            let server = if text {
                who(conn).await
            } else {
                conn.exec_first::<String, _, _>(WHO, ()).await.unwrap().unwrap()
            };
            if *open || !*autocommit {
                assert_eq!(server, "primary", "{seed} {step}");
            } else if !std::mem::take(failed) {
                // Behind an error the connection is kept, for who asks for it.
                assert_ne!(server, "primary", "{seed} {step}");
                on_replicas += 1;
            }
            *open |= !*autocommit;
        }
        assert!(on_replicas > ON_REPLICAS_MIN, "{seed}: {on_replicas}");
        for (mut conn, ..) in conns {
            conn.query_drop("ROLLBACK").await.unwrap();
            conn.disconnect().await.unwrap();
        }
    });
    for (name, log) in logs.news() {
        let wrote = ["INSERT INTO u", "UPDATE u", "FOR UPDATE"].map(|it| log.contains(it));
        assert!(name == "primary" || wrote == [false; 3], "{seed} {name}: {log}");
    }
    proxy.finish();
}

fn a_transaction_that_only_reads_stays_on_one_replica(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        for _ in 0..4 {
            conn.query_drop("START TRANSACTION READ ONLY").await.unwrap();
            let first = who(&mut conn).await;
            assert_ne!(first, "primary");
            for _ in 0..3 {
                assert_eq!(who(&mut conn).await, first);
            }
            let written = conn.query_drop("INSERT INTO u (id) VALUES (1)").await;
            // Of the transaction, or of a server that is read-only.
            assert!(matches!(code(&written), 1290 | 1792), "{written:?}");
            conn.query_drop("COMMIT").await.unwrap();
            // They take turns.
            let others = [who(&mut conn).await, who(&mut conn).await];
            assert_ne!(others[0], others[1]);
            conn.query_drop("INSERT INTO u (id) VALUES (1)").await.unwrap();
            conn.query_drop("DELETE FROM u WHERE id = 1").await.unwrap();
        }
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn what_a_session_set_holds_on_each_server(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    run(async {
        let mut conn = connect(proxy.weir.address(), None).await;
        conn.query_drop("SET time_zone = '+05:00', @mine = 'x', sql_mode = 'ANSI_QUOTES'")
            .await
            .unwrap();
        conn.query_drop("USE shop").await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let sql = "SELECT who.name, @mine, FROM_UNIXTIME(0), \
                       (SELECT COUNT(*) FROM \"t\") FROM node.who";
            let row: Option<(String, String, String, u32)> = conn.query_first(sql).await.unwrap();
            let (server, mine, time, count) = row.unwrap();
            assert_eq!((&*mine, &*time, count), ("x", "1970-01-01 05:00:00", 2));
            seen.push(server);
        }
        assert!(seen.contains(&"r1".to_owned()) && seen.contains(&"r2".to_owned()), "{seen:?}");
        // A temporary table is where it was made, and its session with it, until it is gone.
        conn.query_drop("CREATE TEMPORARY TABLE own (a INT)").await.unwrap();
        conn.query_drop("INSERT INTO own VALUES (7)").await.unwrap();
        let own: Option<u32> = conn.query_first("SELECT a FROM own").await.unwrap();
        assert_eq!((own, &*who(&mut conn).await), (Some(7), "primary"));
        conn.query_drop("DROP TEMPORARY TABLE own").await.unwrap();
        assert_ne!(who(&mut conn).await, "primary");
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

/// A view that hides a function that writes.
fn create_counting(cluster: &Cluster) {
    let primary = &cluster.topology.primary;
    let made = "USE shop;\nDROP FUNCTION IF EXISTS counts;\nDELIMITER ;;\n\
                CREATE FUNCTION counts() RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
                  BEGIN INSERT INTO log VALUES (5); RETURN 1; END;;\nDELIMITER ;\n\
                CREATE OR REPLACE VIEW counting AS SELECT counts() AS n;";
    primary.sql(made).unwrap();
    primary.sql("DELETE FROM shop.log").unwrap();
    cluster.topology.wait_replicated(PATIENCE).unwrap();
}

/// The replica refuses, and the client never knows.
fn a_read_that_writes_goes_to_the_primary(on: On) {
    let cluster = Cluster::shared(on.flavour);
    create_counting(&cluster);
    let primary = &cluster.topology.primary;
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        for _ in 0..3 {
            let n: Option<u32> = conn.query_first("SELECT n FROM counting").await.unwrap();
            assert_eq!(n, Some(1));
            let n: Option<u32> = conn.exec_first("SELECT n FROM counting", ()).await.unwrap();
            assert_eq!(n, Some(1));
            // The session goes on as before.
            assert_ne!(who(&mut conn).await, "primary");
        }
        conn.disconnect().await.unwrap();
    });
    let written = primary.sql("SELECT COUNT(*) FROM shop.log").unwrap();
    assert_eq!(written.trim(), "6", "each once");
    let repeated = proxy.weir.metrics().unwrap().value("weir_reads_repeated_total", &[]).unwrap();
    assert!(repeated >= 6.0, "{repeated}");
    proxy.finish();
}

/// It is not asked again then, perhaps, but it is answered, and so is what is behind it.
fn a_read_that_writes_may_have_a_command_behind_it(on: On) {
    let cluster = Cluster::shared(on.flavour);
    create_counting(&cluster);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    let login = Login::new(USER, PASSWORD)
        .without(Capabilities::QUERY_ATTRIBUTES.union(Capabilities::NO_SCHEMA));
    let mut client = RawClient::log_in(proxy.weir.address(), &login).unwrap();
    // COM_PING is behind it.
    let answer = client.ask(b"\x03SELECT n FROM shop.counting").unwrap();
    let is_error = answer[0].1[0] == 0xff;
    let written = cluster.topology.primary.sql("SELECT COUNT(*) FROM shop.log").unwrap();
    assert_eq!(written.trim() == "0", is_error, "{answer:02x?}");
    proxy.finish();
}

fn answers_about_the_statement_before_are_of_where_it_ran(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        for _ in 0..3 {
            let divided: Option<Option<f64>> = conn.query_first("SELECT 1/0").await.unwrap();
            assert_eq!(divided, Some(None));
            let warnings: Vec<(String, u16, String)> = conn.query("SHOW WARNINGS").await.unwrap();
            assert_eq!(warnings[0].1, 1365, "{warnings:?}");
            let rows: Vec<u32> = conn.query("SELECT id FROM t").await.unwrap();
            let found: Option<usize> = conn.query_first("SELECT FOUND_ROWS()").await.unwrap();
            assert_eq!((rows.len(), found), (2, Some(2)));
            let failed = conn.query_drop("SELECT none FROM t").await;
            assert_eq!(code(&failed), 1054);
            let errors: Vec<(String, u16, String)> = conn.query("SHOW ERRORS").await.unwrap();
            assert_eq!(errors[0].1, 1054, "{errors:?}");
            conn.query_drop("UPDATE t SET a = 1 WHERE id = 1").await.unwrap();
            assert_ne!(who(&mut conn).await, "primary");
        }
        conn.disconnect().await.unwrap();
    });
    proxy.finish();
}

fn an_endpoint_for_reading_takes_no_writes(on: On) {
    let cluster = Cluster::shared(on.flavour);
    for pooling in ["transaction", "session", "none"] {
        let mut config = cluster.config(on.driver);
        (config.mode, config.pooling) = ("read-only", pooling);
        let proxy = Proxy::start_with(on, &config);
        let mut logs = cluster.logs();
        run(async {
            let mut seen = Vec::new();
            for _ in 0..4 {
                let mut conn = connect(proxy.weir.address(), Some("shop")).await;
                seen.push(who(&mut conn).await);
                for sql in ["INSERT INTO u (id) VALUES (1)", "CREATE TABLE no (a INT)"] {
                    let text = conn.query_drop(sql).await;
                    let prepared = conn.exec_drop(sql, ()).await;
                    for done in [text, prepared] {
                        assert!(matches!(code(&done), 1290 | 1792), "{pooling} {sql}: {done:?}");
                    }
                }
                conn.query_drop("SET @a = 5").await.unwrap();
                let a: Option<u32> = conn.query_first("SELECT @a").await.unwrap();
                assert_eq!(a, Some(5));
                conn.disconnect().await.unwrap();
            }
            assert!(["r1", "r2"].iter().all(|it| seen.iter().any(|name| name == it)), "{seen:?}");
        });
        let on_primary = logs.news().swap_remove(0);
        assert!(!on_primary.1.contains(WHO), "{on_primary:?}");
        proxy.finish();
    }
}

/// With `transaction_split`, where a transaction sees what others have committed.
fn a_transaction_may_read_on_replicas_until_it_writes(on: On) {
    let cluster = Cluster::shared(on.flavour);
    let mut config = cluster.config(on.driver);
    config.endpoint_lines.push("transaction_split = true".to_owned());
    let proxy = Proxy::start_with(on, &config);
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL";
    run(async {
        let mut conn = connect(proxy.weir.address(), Some("shop")).await;
        conn.query_drop(format!("{isolation} REPEATABLE READ")).await.unwrap();
        conn.query_drop("BEGIN").await.unwrap();
        assert_eq!(who(&mut conn).await, "primary", "it has a snapshot");
        conn.query_drop("COMMIT").await.unwrap();
        conn.query_drop(format!("{isolation} READ COMMITTED")).await.unwrap();
        for ends in ["COMMIT", "ROLLBACK"] {
            conn.query_drop("BEGIN").await.unwrap();
            for _ in 0..3 {
                assert_ne!(who(&mut conn).await, "primary");
                let prepared: Option<String> = conn.exec_first(WHO, ()).await.unwrap();
                assert_ne!(prepared.unwrap(), "primary");
            }
            conn.query_drop("INSERT INTO u (id, a) VALUES (900, 1)").await.unwrap();
            assert_eq!(who(&mut conn).await, "primary", "it has written");
            conn.query_drop(ends).await.unwrap();
            assert_ne!(who(&mut conn).await, "primary");
            let kept = cluster.topology.primary.sql("SELECT COUNT(*) FROM shop.u WHERE id = 900");
            assert_eq!(kept.unwrap().trim() == "1", ends == "COMMIT");
            conn.query_drop("DELETE FROM u WHERE id = 900").await.unwrap();
        }
        // One that has written nothing ends without a word to any server.
        conn.query_drop("BEGIN").await.unwrap();
        assert_ne!(who(&mut conn).await, "primary");
        conn.query_drop("COMMIT").await.unwrap();
        conn.disconnect().await.unwrap();
    });
    // What clients are told of the transaction while its reads are elsewhere.
    let unusual = Capabilities::QUERY_ATTRIBUTES.union(Capabilities::NO_SCHEMA);
    let login = Login::new(USER, PASSWORD).without(unusual);
    let mut raw = RawClient::log_in(proxy.weir.address(), &login).unwrap();
    let mut is_open = |sql: &str| {
        let answer = raw.ask(&[b"\x03", sql.as_bytes()].concat()).unwrap();
        let (_, last) = answer.last().unwrap();
        last[3] & 1 != 0
    };
    assert!(!is_open(&format!("{isolation} READ COMMITTED")));
    assert!(is_open("BEGIN") && is_open(WHO) && is_open("SELECT id FROM shop.t") && is_open(WHO));
    assert!(!is_open("COMMIT") && !is_open(WHO));
    proxy.finish();
}
