//! Connections come and go.
//!
//! Purpose: nothing stays behind: no descriptor, no backend connection, no memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use weir_tests::Server;

use crate::fixture::{
    Database, On, Proxy, USER, config, connect, eventually, on_every_server, run,
};

on_every_server!(short_connections_leave_nothing);

const CONNECTIONS: usize = 1000;
/// Growth that warm buffers and the allocator explain; 1,000 leaked sessions would be more.
const GROWTH_KIB_MAX: u64 = 8 << 10;

fn short_connections_leave_nothing(on: On) {
    // A server of its own: other tests' connections would blur the count.
    let database = Database::start(on.flavour);
    let mut settings = config(on, &database.server);
    // 200 in a row vanish before they log in.
    settings.limits.push(("host_errors_max".to_owned(), 0));
    let proxy = Proxy::start_with(on, &settings);
    come_and_go(&proxy, 50);
    let settled = |limit: usize| {
        eventually("descriptors are closed", Duration::from_secs(10), || {
            proxy.weir.descriptors().unwrap() <= limit
        });
    };
    eventually("backend connections are closed", Duration::from_secs(10), || {
        sessions(&database.server) == 0
    });
    let descriptors = proxy.weir.descriptors().unwrap();
    let memory = proxy.weir.resident_kib().unwrap();
    come_and_go(&proxy, CONNECTIONS);
    // The probe's connection may be open at either look.
    settled(descriptors + 1);
    eventually("backend connections are closed", Duration::from_secs(10), || {
        sessions(&database.server) == 0
    });
    let growth = proxy.weir.resident_kib().unwrap().saturating_sub(memory);
    assert!(growth < GROWTH_KIB_MAX, "weir grew by {growth} KiB");
    proxy.finish();
}

/// Polite clients, clients that vanish, and clients that vanish before they log in.
fn come_and_go(proxy: &Proxy, count: usize) {
    run(async {
        for number in 0..count {
            let mut conn = connect(proxy.weir.address(), None).await;
            assert_eq!(conn.query_first("SELECT 1").await.unwrap(), Some(1));
            if number % 4 == 0 {
                drop(conn);
            } else {
                conn.disconnect().await.unwrap();
            }
        }
    });
    for number in 0..count / 5 {
        let mut stream = TcpStream::connect(proxy.weir.address()).unwrap();
        if number % 2 == 0 {
            let mut first = [0_u8; 4];
            stream.read_exact(&mut first).unwrap();
            stream.write_all(&[0x20, 0x00]).unwrap();
        }
    }
}

/// Client sessions on the server; Weir's probes have another account.
fn sessions(server: &Server) -> u64 {
    let count =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}'");
    server.sql(&count).unwrap().trim().parse().unwrap()
}
