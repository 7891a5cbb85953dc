//! ORMs and drivers through an endpoint that splits.
//!
//! Purpose: what they say when they start, and how they write and read, works there; and reads
//! outside of transactions are on replicas.
//! Never: look at what they show in detail; `clients` and `rust` do.

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions, Connection, Row};
use weir_tests::{Driver, Flavour};

use crate::fixture::{On, PASSWORD, Proxy, USER, on_each_server, run};
use crate::split::Cluster;

on_each_server!(sqlalchemy, django, node_mysql2);

/// Only MariaDB, as in `rust`: sqlx makes a wrong short proof of MySQL's usual plugin.
#[test]
fn mariadb_rust_sqlx() {
    rust_sqlx(On { flavour: Flavour::MariaDb, driver: "io_uring" });
}

fn sqlalchemy(on: On) {
    script(on, Driver::Python, "orm.py", &["sqlalchemy"]);
}

fn django(on: On) {
    script(on, Driver::Python, "orm.py", &["django"]);
}

fn node_mysql2(on: On) {
    script(on, Driver::Node, "split.mjs", &[]);
}

fn script(on: On, driver: Driver, name: &str, args: &[&str]) {
    through_a_split(on, |proxy| {
        let address = proxy.weir.address();
        let mut command = driver.script(&format!("tests/real/clients/{name}")).unwrap();
        command.args(args).args(["--host", &address.ip().to_string()]);
        command.args(["--port", &address.port().to_string(), "--database", "shop"]);
        command.args(["--user", USER, "--password", PASSWORD]);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {args:?}: {errors}");
    });
}

fn rust_sqlx(on: On) {
    through_a_split(on, |proxy| {
        let address = proxy.weir.address();
        let options = MySqlConnectOptions::new()
            .host(&address.ip().to_string())
            .port(address.port())
            .username(USER)
            .password(PASSWORD)
            .database("shop")
            .ssl_mode(MySqlSslMode::Disabled);
        run(async {
            let mut conn = options.connect().await.unwrap();
            let mut work = conn.begin().await.unwrap();
            let insert = "INSERT INTO u (id, a) VALUES (?, ?)";
            sqlx::query(insert).bind(77).bind(1).execute(&mut *work).await.unwrap();
            let own = sqlx::query("SELECT a FROM u WHERE id = ?").bind(77);
            assert_eq!(own.fetch_one(&mut *work).await.unwrap().get::<i32, _>(0), 1);
            work.rollback().await.unwrap();
            for id in [1, 2, 1, 2] {
                let read = sqlx::query("SELECT id FROM t WHERE id = ?").bind(id);
                assert_eq!(read.fetch_one(&mut conn).await.unwrap().get::<i32, _>(0), id);
            }
            conn.close().await.unwrap();
        });
    });
}

/// Runs a client, of whose reads some have to be on replicas.
fn through_a_split(on: On, client: impl FnOnce(&Proxy)) {
    let cluster = Cluster::shared(on.flavour);
    let proxy = Proxy::start_with(on, &cluster.config(on.driver));
    client(&proxy);
    let metrics = proxy.weir.metrics().unwrap();
    let labels = [("endpoint", "main"), ("nodes", "replicas"), ("reason", "plain-read")];
    let reads = metrics.value("weir_commands_routed_total", &labels).unwrap();
    assert!(reads >= 1.0, "{reads}");
    proxy.finish();
}
