//! Ten thousand clients at once.
//!
//! Purpose: all of them are served, and the server sees no more of them at a time than it may.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir::wire::Greeting;
use weir_tests::{Login, RawClient, Server};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, run_for};

// Which server it is makes no difference to a storm, and one takes a while.
mod mariadb {
    crate::fixture::on_both_drivers!(weir_tests::Flavour::MariaDb, a_storm_of_ten_thousand_logins);
}

const CLIENTS: usize = 10_000;
/// What the server may have of sessions at a time, below its `max_connections` of 151.
const CONNECTIONS_MAX: u64 = 100;
const LOGINS_AT_ONCE: u64 = 16;
/// The machine decides how long it takes; a client that hangs still fails the test.
const STORM_PATIENCE: Duration = Duration::from_secs(400);

fn a_storm_of_ten_thousand_logins(on: On) {
    let database = Database::start(on.flavour);
    let server = &database.server;
    let mut settings = config(on, server);
    for (key, value) in [
        ("login_timeout_ms", 300_000),
        ("lease_wait_ms", 300_000),
        ("connect_timeout_ms", 60_000),
        ("backend_handshakes_max", LOGINS_AT_ONCE),
    ] {
        settings.limits.push((key.to_owned(), value));
    }
    settings.backend_keys.push(("connections_max".to_owned(), CONNECTIONS_MAX));
    let proxy = Proxy::start_with(on, &settings);
    // Each takes a descriptor here and up to two in Weir, which has the same limit.
    let files = usize::try_from(weir::io::raise_open_files()).unwrap();
    let at_once = CLIENTS.min((files - 1_000) / 2);
    let before = aborted(server);
    run_for(STORM_PATIENCE, async {
        let address = proxy.weir.address();
        let (open, mut clients) = (std::sync::Arc::new(Semaphore::new(at_once)), JoinSet::new());
        for number in 0..CLIENTS {
            let open = open.clone();
            clients.spawn(async move {
                let place = open.acquire_owned().await.context("closed")?;
                let served = one(address).await.with_context(|| format!("client {number}"));
                drop(place);
                served
            });
        }
        while let Some(served) = clients.join_next().await {
            served.unwrap().unwrap();
        }
    });
    let used: u64 = status(server, "Max_used_connections");
    // The probe, the look at the status, and connections whose end the server has yet to notice.
    assert!(used <= CONNECTIONS_MAX + 40, "{used} connections at once");
    assert_eq!(aborted(server), before);
    assert_eq!(proxy.client().query("SELECT 'calm'").unwrap(), "calm\n");
    proxy.finish();
}

/// Logs in, asks, and takes leave.
async fn one(address: std::net::SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await.context("connect")?;
    let greeting = packet(&mut stream).await.context("greeting")?;
    let greeting = Greeting::parse(&greeting).context("greeting")?;
    stream.write_all(&Login::new(USER, PASSWORD).request(&greeting)).await?;
    packet(&mut stream).await.context("login")?;
    stream.write_all(&RawClient::query_packet("SELECT 1")).await?;
    // Number of columns, definition, row, end.
    for _ in 0..4 {
        packet(&mut stream).await.context("answer")?;
    }
    stream.write_all(&[1, 0, 0, 0, 1]).await?;
    let rest = stream.read(&mut [0]).await.context("end")?;
    ensure!(rest == 0, "it speaks on");
    Ok(())
}

async fn packet(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let [a, b, c, _] = header;
    let mut payload = vec![0; usize::try_from(u32::from_le_bytes([a, b, c, 0]))?];
    stream.read_exact(&mut payload).await?;
    if payload.first() == Some(&0xFF) {
        bail!("refused: {}", String::from_utf8_lossy(&payload));
    }
    Ok(payload)
}

fn aborted(server: &Server) -> u64 {
    status(server, "Aborted_connects") + status(server, "Aborted_clients")
}

fn status(server: &Server, name: &str) -> u64 {
    let text = server.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).unwrap();
    text.trim().split('\t').next_back().unwrap().parse().unwrap()
}
