//! A new configuration under load.
//!
//! Purpose: no client notices it, however often it comes; half of them come by TLS, and each time
//! the endpoint's certificate is another one.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, SslOpts, TxOpts};
use tokio::task::LocalSet;
use weir_tests::{RunFolder, TestCertificates};

use crate::fixture::{
    Database, On, PASSWORD, Proxy, USER, config, database, on_every_server, options, run,
};

on_every_server!(no_client_notices_a_reload);

const RELOADS: usize = 30;
const LONG_SESSIONS: usize = 16;
const SHORT_SESSIONS: usize = 8;

fn no_client_notices_a_reload(on: On) {
    let server = Database::shared(on);
    let name = database(server, "reload", on);
    server.sql(&format!("CREATE TABLE {name}.t (a INT)")).unwrap();
    let mut settings = config(on, server);
    settings.workers = "2".to_owned();
    settings.limits.push(("clients_max".to_owned(), 5000));
    let folder = RunFolder::create("certificates").unwrap();
    let certificates = || TestCertificates::create(folder.path(), USER).unwrap();
    for (key, file) in [("certificate", "server.pem"), ("key", "server-key.pem")] {
        let path = certificates().path(file);
        settings.endpoint_lines.push(format!("tls_{key}_file = \"{path}\""));
    }
    let mut proxy = Proxy::start_with(on, &settings);
    let files = files(&proxy, &settings.to_toml(proxy.weir.port()).unwrap());
    let (address, over) = (proxy.weir.address(), Rc::new(Cell::new(false)));
    let done = Rc::new(Cell::new(0_usize));
    run(LocalSet::new().run_until(async {
        let mut clients = Vec::new();
        for number in 0..LONG_SESSIONS {
            let (over, done, name) = (over.clone(), done.clone(), name.clone());
            clients.push(tokio::task::spawn_local(async move {
                let mut conn = connect(number, address, Some(&name)).await;
                let insert = conn.prep("INSERT INTO t VALUES (?)").await.unwrap();
                while !over.get() {
                    let mut work = conn.start_transaction(TxOpts::default()).await.unwrap();
                    work.exec_drop(&insert, (number,)).await.unwrap();
                    assert_eq!(work.query_first("SELECT 6 * 7").await.unwrap(), Some(42));
                    work.commit().await.unwrap();
                    done.set(done.get() + 1);
                }
            }));
        }
        for number in 0..SHORT_SESSIONS {
            let (over, done) = (over.clone(), done.clone());
            clients.push(tokio::task::spawn_local(async move {
                while !over.get() {
                    let mut conn = connect(number, address, None).await;
                    assert_eq!(conn.query_first("SELECT 1").await.unwrap(), Some(1));
                    conn.disconnect().await.unwrap();
                    done.set(done.get() + 1);
                }
            }));
        }
        for (number, file) in files.iter().cycle().take(RELOADS).enumerate() {
            // Some work between two of them, however slow the machine is.
            let before = done.get();
            while done.get() < before + 20 && !clients.iter().any(|it| it.is_finished()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            certificates();
            // Its waiting blocks this thread, and with it the clients; Weir goes on.
            let said = proxy.weir.reload(file).unwrap();
            assert!(said.contains("INFO reloaded: live: "), "reload {number}: {said}");
            assert!(said.contains("endpoint[main].tls"), "reload {number}: {said}");
        }
        over.set(true);
        for client in clients {
            client.await.unwrap();
        }
    }));
    let sum = server.sql(&format!("SELECT COUNT(*) > 100 FROM {name}.t")).unwrap();
    assert_eq!(sum, "1\n");
    proxy.finish();
}

/// Every other one comes by TLS.
async fn connect(number: usize, address: SocketAddr, database: Option<&str>) -> Conn {
    let tls =
        number.is_multiple_of(2).then(|| SslOpts::default().with_danger_accept_invalid_certs(true));
    Conn::new(options(address, database).ssl_opts(tls)).await.unwrap()
}

/// What is changed to and fro: limits, users, the monitor, the backend's name and its place.
fn files(proxy: &Proxy, original: &str) -> Vec<String> {
    let replica = format!(
        "[[cluster.backend]]\nname = \"gone\"\naddress = \"127.0.0.1:{}\"\nrole = \"replica\"\n",
        weir_tests::free_port().unwrap()
    );
    let one = original
        .replacen("clients_max = 5000", "clients_max = 4000\nbackend_handshakes_max = 2", 1)
        .replacen("[[cluster.backend]]", &format!("{replica}[[cluster.backend]]"), 1);
    let two = original.replacen("name = \"primary\"", "name = \"renamed\"", 1);
    let three = format!("{original}\n[[user]]\nname = \"more\"\npassword = \"more\"\n").replacen(
        "[cluster.monitor]",
        "[cluster.monitor]\ninterval_ms = 100",
        1,
    );
    assert!(original.contains(&format!("name = \"{USER}\"\npassword = \"{PASSWORD}\"")));
    for file in [&one, &two, &three] {
        assert_ne!(file, original, "{}", proxy.weir.config().display());
    }
    vec![one, two, three, original.to_owned()]
}
