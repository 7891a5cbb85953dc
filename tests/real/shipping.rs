//! Idle connections that go to the worker where a session waits (`workers = 2`, `connections_max`).
//!
//! Purpose: what the server may have of connections serves whoever needs it, on whichever worker,
//! without new logins; every session keeps what it has set; no permit is lost on the way.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};
use tokio::task::JoinSet;
use weir_tests::{Server, WeirConfig};

use crate::fixture::{Database, On, Proxy, config, connect, database, on_every_server, run};

on_every_server!(
    idle_connections_go_where_they_are_needed,
    connections_that_end_on_the_way_cost_no_permit,
    compressed_ones_are_closed_instead,
);

const CONNECTIONS_MAX: usize = 3;
/// Clients of each worker: one more than there are connections.
const CLIENTS: usize = CONNECTIONS_MAX + 1;
const ROUNDS: usize = 20;

/// A client with settings of its own.
struct Client {
    conn: Conn,
    number: usize,
    zone: String,
    double: Statement,
}

fn two_workers(on: On, server: &Server) -> WeirConfig {
    let mut settings = WeirConfig { pooling: "transaction", ..config(on, server) };
    settings.workers = "2".to_owned();
    settings.backend_keys.push(("connections_max".to_owned(), CONNECTIONS_MAX as u64));
    settings
}

fn counted(proxy: &Proxy, what: &str) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
}

fn of_primary(proxy: &Proxy, what: &str) -> f64 {
    let metrics = proxy.weir.metrics().unwrap();
    metrics.value(&format!("weir_backend_{what}"), &[("backend", "primary")]).unwrap()
}

fn shipped(proxy: &Proxy) -> f64 {
    of_primary(proxy, "connections_shipped_total")
}

fn status(server: &Server, name: &str) -> usize {
    let text = server.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).unwrap();
    text.split_whitespace().last().unwrap().parse().unwrap()
}

/// The same number of clients on each of the workers, which the kernel chooses by their port.
async fn clients(proxy: &Proxy, schema: &str) -> [Vec<Client>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    let mut number = 0;
    while all.iter().any(|clients| clients.len() < CLIENTS) {
        let conn = connect(proxy.weir.address(), Some(schema)).await;
        let of_worker = &mut all[usize::try_from(conn.id() >> 18).unwrap() % 2];
        if of_worker.len() >= CLIENTS {
            conn.disconnect().await.unwrap();
        } else if let Ok(client) = Client::new(conn, number).await {
            of_worker.push(client);
            number += 1;
        }
    }
    all
}

/// All of them work at once; what went wrong.
async fn failed<'a>(
    clients: impl IntoIterator<Item = &'a mut Vec<Client>>,
    round: usize,
) -> Vec<String> {
    let (mut working, mut places) = (JoinSet::new(), Vec::<&mut Vec<Client>>::new());
    for clients in clients {
        for mut client in clients.drain(..) {
            let place = places.len();
            working.spawn(async move {
                let worked = client.work(round).await;
                (place, client, worked)
            });
        }
        places.push(clients);
    }
    let mut errors = Vec::new();
    while let Some(worked) = working.join_next().await {
        let (place, client, worked) = worked.unwrap();
        places[place].push(client);
        errors.extend(worked.err().map(|error| error.to_string()));
    }
    errors
}

impl Client {
    async fn new(mut conn: Conn, number: usize) -> mysql_async::Result<Self> {
        let zone = format!("+{:02}:00", number % 12);
        conn.query_drop(format!("SET @me = {number}, time_zone = '{zone}'")).await?;
        let double = conn.prep("SELECT ? * 2 + @me").await?;
        Ok(Self { conn, number, zone, double })
    }

    /// A transaction that sees what the session has set.
    async fn work(&mut self, round: usize) -> mysql_async::Result<()> {
        let Self { conn, number, zone, double } = self;
        conn.query_drop("BEGIN").await?;
        let seen: Option<(usize, String, String)> =
            conn.query_first("SELECT @me, @@time_zone, DATABASE()").await?;
        let (me, of, schema) = seen.unwrap();
        assert_eq!((me, &of), (*number, &*zone));
        assert!(schema.starts_with("shipping"), "{schema}");
        let doubled: Option<usize> = conn.exec_first(&*double, (round,)).await?;
        assert_eq!(doubled, Some(round * 2 + *number));
        conn.exec_drop("INSERT INTO t (client) VALUES (?)", (*number,)).await?;
        let given = conn.last_insert_id();
        conn.query_drop("COMMIT").await?;
        let last: Option<u64> = conn.query_first("SELECT LAST_INSERT_ID()").await?;
        assert_eq!(last, given);
        Ok(())
    }
}

fn table(server: &Server, schema: &str) {
    let columns = "id INT PRIMARY KEY AUTO_INCREMENT, client INT";
    server.sql(&format!("CREATE TABLE {schema}.t ({columns})")).unwrap();
}

fn idle_connections_go_where_they_are_needed(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "shipping", on);
    table(server, &name);
    let proxy = Proxy::start_with(on, &two_workers(on, server));
    run(async {
        // The first client of each worker logs in itself.
        let mut clients = clients(&proxy, &name).await;
        assert_eq!(failed(&mut clients, 0).await, [""; 0]);
        server.sql("FLUSH STATUS").unwrap();
        let kinds = ["logins", "connects", "yielded"];
        let before = (kinds.map(|kind| counted(&proxy, kind)), shipped(&proxy));
        for round in 1..=ROUNDS {
            for of_worker in &mut clients {
                assert_eq!(failed([of_worker], round).await, [""; 0]);
            }
            // And all of them at once.
            assert_eq!(failed(&mut clients, round).await, [""; 0]);
        }
        assert_eq!(kinds.map(|kind| counted(&proxy, kind)), before.0, "{kinds:?}");
        let shipped = shipped(&proxy) - before.1;
        assert!(shipped >= (2 * ROUNDS) as f64, "{shipped} in {ROUNDS} rounds");
        for client in clients.into_iter().flatten() {
            client.conn.disconnect().await.unwrap();
        }
    });
    assert!(counted(&proxy, "logins") <= CONNECTIONS_MAX as f64 + 1.0);
    assert_eq!(of_primary(&proxy, "connections"), CONNECTIONS_MAX as f64);
    assert_eq!(of_primary(&proxy, "connections_idle"), CONNECTIONS_MAX as f64);
    // Besides them the probe and this test's own client.
    let most = status(server, "Max_used_connections");
    assert!(most <= CONNECTIONS_MAX + 2, "{most} connections");
    assert!(status(server, "Threads_connected") <= CONNECTIONS_MAX + 2);
    let written = server.sql(&format!("SELECT COUNT(*) FROM {name}.t")).unwrap();
    assert_eq!(written.trim(), (2 * CLIENTS * (1 + 2 * ROUNDS)).to_string());
    proxy.finish();
}

fn connections_that_end_on_the_way_cost_no_permit(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "shipping", on);
    table(server, &name);
    let proxy = Proxy::start_with(on, &two_workers(on, server));
    let kill = "SELECT CONCAT('KILL ', ID, ';') FROM information_schema.processlist \
                WHERE USER = 'app'";
    run(async {
        for round in 0..ROUNDS {
            let mut clients = clients(&proxy, &name).await;
            for of_worker in &mut clients {
                let killing = async {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    // Some of them may be gone already.
                    let kills = server.sql(kill).unwrap();
                    kills.lines().for_each(|kill| drop(server.sql(kill)));
                };
                // Whoever has one of those that are killed is told so.
                tokio::join!(failed([of_worker], round), killing);
            }
        }
        // Each of the permits is there, on either worker.
        let mut clients = clients(&proxy, &name).await;
        for of_worker in &mut clients {
            let working = &mut of_worker[..CONNECTIONS_MAX];
            for client in working.iter_mut() {
                client.conn.query_drop("BEGIN").await.unwrap();
                client.conn.query_drop("SELECT 1").await.unwrap();
            }
            for client in working {
                client.conn.query_drop("COMMIT").await.unwrap();
            }
        }
    });
    assert_eq!(of_primary(&proxy, "connections"), CONNECTIONS_MAX as f64);
    assert_eq!(counted(&proxy, "wait_timeouts"), 0.0);
    proxy.finish();
}

/// What a compression has kept of the stream stays with its worker.
fn compressed_ones_are_closed_instead(on: On) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    let name = database(server, "shipping", on);
    table(server, &name);
    let mut settings = two_workers(on, server);
    settings.backend_lines.push("compression = \"zlib\"".to_owned());
    let proxy = Proxy::start_with(on, &settings);
    run(async {
        let mut clients = clients(&proxy, &name).await;
        for of_worker in &mut clients {
            assert_eq!(failed([of_worker], 0).await, [""; 0]);
        }
    });
    assert!(counted(&proxy, "yielded") > 0.0);
    assert_eq!(shipped(&proxy), 0.0);
    assert_eq!(counted(&proxy, "wait_timeouts"), 0.0);
    proxy.finish();
}
